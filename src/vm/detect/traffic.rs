//! Traffic: which global bytes a CTA read and wrote, as runs. No finding by itself: whoever knows what the bytes mean
//! compares it with what the work needs.
//!
//! **Can miss** how often a byte was read, and reads whose value nobody used: all count once.

use super::super::event::{Access, AccessKind, AsyncCopy, Harvest, Observer, Step, Traffic};
use super::super::exec::lanes_of;
use super::super::memory::View;
use crate::ptx::Space;

/// Runs kept before they are sorted and joined.
const JOIN_AT: usize = 1 << 14;

/// The observer.
#[derive(Debug, Default)]
pub(super) struct TrafficLog {
    runs: Vec<Traffic>,
}

impl TrafficLog {
    fn add(&mut self, run: Traffic) {
        match self.runs.last_mut() {
            // Neighbouring lanes make one run.
            Some(last) if last.write == run.write && last.address + last.bytes == run.address => {
                last.bytes += run.bytes;
            }
            Some(_) | None => {
                if self.runs.len() >= JOIN_AT && self.runs.len().is_power_of_two() {
                    join(&mut self.runs);
                }
                self.runs.push(run);
            }
        }
    }
}

/// Sorts runs and joins those that touch or overlap.
fn join(runs: &mut Vec<Traffic>) {
    runs.sort_unstable();
    let mut joined: Vec<Traffic> = Vec::new();
    for run in runs.drain(..) {
        match joined.last_mut() {
            Some(last) if last.write == run.write && run.address <= last.address + last.bytes => {
                let end = (run.address + run.bytes).max(last.address + last.bytes);
                last.bytes = end - last.address;
            }
            Some(_) | None => joined.push(run),
        }
    }
    *runs = joined;
}

impl Observer for TrafficLog {
    fn access(&mut self, _: &Step<'_>, access: &Access<'_>, _: &View<'_>) {
        if access.space != Space::Global {
            return;
        }
        for lane in lanes_of(access.mask) {
            self.add(Traffic {
                write: access.kind != AccessKind::Read,
                address: access.addresses[lane],
                bytes: u64::from(access.bytes),
            });
        }
    }

    fn issue(&mut self, _: &Step<'_>, copy: &AsyncCopy<'_>, _: &View<'_>) {
        for lane in lanes_of(copy.mask).filter(|&lane| copy.source_bytes[lane] > 0) {
            self.add(Traffic {
                write: false,
                address: copy.source[lane],
                bytes: u64::from(copy.source_bytes[lane]),
            });
        }
    }

    fn finish(&mut self, harvest: &mut Harvest) {
        join(&mut self.runs);
        harvest.traffic = std::mem::take(&mut self.runs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_that_touch_become_one() {
        let run = |address, bytes| Traffic {
            write: false,
            address,
            bytes,
        };
        let mut runs = vec![run(8, 4), run(0, 4), run(4, 4), run(20, 4), run(21, 2)];
        join(&mut runs);
        assert_eq!(runs, [run(0, 12), run(20, 4)]);
    }
}
