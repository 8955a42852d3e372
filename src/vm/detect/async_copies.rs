//! Async copies: shared bytes that are read while a `cp.async` to them is in flight.
//!
//! **Definition.** From the issue of a `cp.async` until its own thread has executed a `wait_group` or `wait_all` that covers
//! it, the destination's bytes are unspecified; any read of them, by any thread, is a finding. Whether other threads
//! are ordered behind that wait is racecheck's question.
//!
//! **Source.** PTX ISA 9.7.10.28 (asynchronous copy, completion mechanisms).
//!
//! **Can miss.** Copies still in flight at the end of the kernel are counted in the run's statistics, not reported: nobody
//! reads them. A wait that is stricter than needed is slow, not wrong, and is not reported.

use super::super::event::{Access, AccessKind, AsyncCopy, Harvest, Landing, Observer, Step};
use super::super::exec::{Program, lanes_of};
use super::super::memory::View;
use super::{Ledger, Names, Where};
use crate::convert::index;
use crate::diagnostic::Code;
use crate::ptx::Space;

const READ_IN_FLIGHT: Code = Code("async-copy-read-early");

/// The copy in flight to a 4-byte word (`cp.async` moves whole ones); `at` is `u32::MAX` where there is none.
#[derive(Clone, Copy, Debug)]
struct Flight {
    at: u32,
    thread: u32,
}

const NONE: Flight = Flight {
    at: u32::MAX,
    thread: 0,
};

/// The detector.
#[derive(Debug)]
pub(super) struct AsyncCopies {
    names: Names,
    words: Vec<Flight>,
    /// Words in flight: most accesses can be waved through when it is 0.
    in_flight: usize,
    ledger: Ledger,
}

impl AsyncCopies {
    pub(super) fn new(program: &Program<'_>, names: Names) -> Self {
        Self {
            names,
            words: vec![NONE; program.layout.shared_bytes.div_ceil(4)],
            in_flight: 0,
            ledger: Ledger::default(),
        }
    }
}

fn words(address: u64, bytes: u32) -> std::ops::Range<usize> {
    let start = usize::try_from(address).unwrap_or(usize::MAX / 2);
    start / 4..(start + index(bytes)).div_ceil(4)
}

impl Observer for AsyncCopies {
    fn access(&mut self, step: &Step<'_>, access: &Access<'_>, _: &View<'_>) {
        if self.in_flight == 0 || access.space != Space::Shared || access.kind == AccessKind::Write
        {
            return;
        }
        for lane in lanes_of(access.mask) {
            for word in words(access.addresses[lane], access.bytes) {
                let flight = self.words[word];
                if flight.at == NONE.at {
                    continue;
                }
                let names = self.names;
                let reader = u32::try_from(32 * step.warp + lane).unwrap_or(0);
                self.ledger.report(READ_IN_FLIGHT, step.at, Some(index(flight.at)), || {
                    let message = format!("shared byte {:#x} is read before its cp.async has been waited for", 4 * word);
                    let places = vec![
                        Where { at: step.at, label: format!("read here by {}", names.thread(reader)) },
                        Where {
                            at: index(flight.at),
                            label: format!("copy issued here by {}, not yet waited for", names.thread(flight.thread)),
                        },
                    ];
                    (message, places, "wait for the group that holds the copy (count the groups committed since), then a barrier")
                });
            }
        }
    }

    fn issue(&mut self, step: &Step<'_>, copy: &AsyncCopy<'_>, _: &View<'_>) {
        let at = u32::try_from(step.at).unwrap_or(0);
        for lane in lanes_of(copy.mask) {
            let thread = u32::try_from(32 * step.warp + lane).unwrap_or(0);
            for word in words(copy.destination[lane], copy.bytes) {
                self.in_flight += usize::from(self.words[word].at == NONE.at);
                self.words[word] = Flight { at, thread };
            }
        }
    }

    fn land(&mut self, landing: &Landing<'_>) {
        for lane in lanes_of(landing.mask) {
            let thread = u32::try_from(32 * landing.warp + lane).unwrap_or(0);
            for word in words(landing.destination[lane], landing.bytes) {
                let flight = &mut self.words[word];
                // A later copy to the same word by another instruction or thread is still in flight.
                if flight.thread == thread && index(flight.at) == landing.issued_at {
                    self.in_flight -= 1;
                    *flight = NONE;
                }
            }
        }
    }

    fn finish(&mut self, harvest: &mut Harvest) {
        harvest
            .findings
            .extend(std::mem::take(&mut self.ledger).into_findings());
    }
}
