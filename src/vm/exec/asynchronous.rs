//! `cp.async`: copies that land when their thread waits for them, and no sooner, unless asked otherwise.
//!
//! The source is read at issue; the destination keeps its old bytes until a `wait_group` or `wait_all` of the same
//! thread covers the copy. PTX allows any moment in between: a kernel that is right for the latest is not thereby right
//! for the others, which is why detectors watch the interval.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "dispatch matches every instruction; only those of this class come here"
)]

use super::super::event::{AccessKind, AsyncCopy, Landing};
use super::super::grid::mix;
use super::super::launch::AsyncOrder;
use super::cta::Machine;
use super::dispatch::Site;
use super::memory::{Bytes, Place};
use super::warp::Warp;
use super::{Halt, Lanes, lanes, lanes_of};
use crate::convert::index;
use crate::ptx::{Op, Space};

/// One `cp.async` of a warp that has not landed for all its lanes.
#[derive(Clone, Debug)]
struct Copy {
    /// The instruction.
    at: usize,
    /// Lanes it has still to land for.
    mask: u32,
    destination: Lanes<u64>,
    bytes: u32,
    data: Bytes,
    /// Index of the group it belongs to, by lane.
    group: Lanes<u32>,
    /// Its bytes are there already; only those who watch learn when it was waited for.
    early: bool,
}

/// Copies in flight of a warp, in the order of their issue.
#[derive(Clone, Debug, Default)]
pub(super) struct Copies {
    copies: Vec<Copy>,
    /// Groups each lane has committed.
    committed: Lanes<u32>,
}

impl Copies {
    /// Copies by lane that nobody has waited for.
    pub(super) fn pending(&self) -> u64 {
        self.copies
            .iter()
            .map(|copy| u64::from(copy.mask.count_ones()))
            .sum()
    }
}

impl Machine<'_> {
    /// `cp.async` and its groups.
    pub(super) fn asynchronous(&mut self, warp: &mut Warp, site: &Site<'_>) -> Result<(), Halt> {
        match &site.instruction.op {
            Op::CpAsync { .. } => self.issue(warp, site),
            Op::CpAsyncCommit => {
                for lane in lanes_of(site.mask) {
                    warp.copies.committed[lane] += 1;
                }
                Ok(())
            }
            Op::CpAsyncWait { groups } => {
                let committed = warp.copies.committed;
                let limit = committed.map(|count| count.saturating_sub(*groups));
                self.land(warp, site, &limit);
                Ok(())
            }
            Op::CpAsyncWaitAll => {
                self.land(warp, site, &[u32::MAX; 32]);
                Ok(())
            }
            _ => unreachable!("dispatch sends cp.async only"),
        }
    }

    fn issue(&mut self, warp: &mut Warp, site: &Site<'_>) -> Result<(), Halt> {
        let Op::CpAsync {
            bytes,
            source_bytes,
            ignore,
            d,
            s,
            ..
        } = &site.instruction.op
        else {
            unreachable!("called for cp.async only")
        };
        let bytes = u32::from(*bytes);
        let mut source_bytes = match source_bytes {
            None => [bytes; 32],
            Some(count) => self.read::<u32>(warp, *count).map(|count| count.min(bytes)),
        };
        if let Some(ignore) = ignore {
            for lane in lanes_of(self.predicate(warp, *ignore)) {
                source_bytes[lane] = 0;
            }
        }
        let source = self.addresses(warp, s);
        let to = self.addresses(warp, d);
        let destination = Place {
            space: Space::Shared,
            mask: site.mask,
            addresses: to,
        };
        let mut data: Bytes = [[0; 16]; 32];
        // Lanes that copy nothing read nothing: their source may be anything.
        let mut reading = 0;
        for lane in lanes_of(site.mask) {
            reading |= u32::from(source_bytes[lane] > 0) << lane;
        }
        self.check_quietly(warp, site, &destination, (bytes, bytes), AccessKind::Write)?;
        // Mostly all lanes that read anything read all of it.
        let mut partial = 0;
        for lane in lanes_of(reading) {
            partial |= u32::from(source_bytes[lane] != bytes) << lane;
        }
        if partial == 0 && reading != 0 {
            let all = Place {
                space: Space::Global,
                mask: reading,
                addresses: source,
            };
            self.check_quietly(warp, site, &all, (bytes, bytes), AccessKind::Read)?;
            self.fetch(warp, &all, index(bytes), &mut data);
            reading = 0;
        }
        for lane in lanes_of(reading) {
            // Each lane may read another count; alignment is that of the whole copy.
            let one = Place {
                space: Space::Global,
                mask: 1 << lane,
                addresses: source,
            };
            self.check_quietly(
                warp,
                site,
                &one,
                (source_bytes[lane], bytes),
                AccessKind::Read,
            )?;
            self.fetch(warp, &one, index(source_bytes[lane]), &mut data);
        }
        let copy = AsyncCopy {
            mask: site.mask,
            source: &source,
            source_bytes: &source_bytes,
            destination: &to,
            bytes,
        };
        let step = warp.step(site.at, site.instruction, site.path, site.mask);
        let view = &self.view;
        self.observers
            .each(|observer| observer.issue(&step, &copy, view));
        let group = warp.copies.committed;
        let early = match self.program.options.async_order {
            AsyncOrder::Late => false,
            AsyncOrder::Early => true,
            AsyncOrder::Reordered => self.draw(self.executed).is_multiple_of(3),
        };
        if early {
            self.put(warp, &destination, index(bytes), &data);
        }
        warp.copies.copies.push(Copy {
            early,
            at: site.at,
            mask: site.mask,
            destination: to,
            bytes,
            data,
            group,
        });
        Ok(())
    }

    /// A number of the run's seed.
    fn draw(&self, of: u64) -> u64 {
        mix(mix(self.program.options.seed ^ of) ^ u64::from(self.cta[0]))
    }

    /// Lands every copy whose group is below the lane's limit, in the order of issue.
    pub(super) fn land(&mut self, warp: &mut Warp, site: &Site<'_>, limit: &Lanes<u32>) {
        let mut copies = std::mem::take(&mut warp.copies.copies);
        if self.program.options.async_order == AsyncOrder::Reordered {
            // Groups complete in the order of their commits, the copies of one in any order.
            copies.sort_by_cached_key(|copy| {
                let lane = index(copy.mask.trailing_zeros()).min(31);
                (
                    copy.group[lane],
                    self.draw(copy.destination[lane] ^ self.executed),
                )
            });
        }
        for copy in &mut copies {
            let due = lanes(|lane| copy.group[lane] < limit[lane]);
            let mut mask = 0;
            for lane in lanes_of(copy.mask & site.mask) {
                mask |= u32::from(due[lane]) << lane;
            }
            if mask == 0 {
                continue;
            }
            let place = Place {
                space: Space::Shared,
                mask,
                addresses: copy.destination,
            };
            if !copy.early {
                self.put(warp, &place, index(copy.bytes), &copy.data);
            }
            copy.mask &= !mask;
            let landing = Landing {
                warp: warp.index,
                issued_at: copy.at,
                mask,
                destination: &copy.destination,
                bytes: copy.bytes,
            };
            self.observers.each(|observer| observer.land(&landing));
        }
        copies.retain(|copy| copy.mask != 0);
        warp.copies.copies = copies;
    }
}
