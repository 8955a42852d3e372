//! Mbarriers: misuse that stops the run, stores over a live one, and uses that its making is not ordered before.
//!
//! **Finds** operations on bytes where no mbarrier has been made, one made again while it lives, counts no mbarrier can
//! have, more arrivals than a phase waits for, transactions beyond the count's range; ordinary stores into the eight
//! bytes of a live mbarrier; a use by a thread with no barrier since another one made it. The machine raises the first (they are undefined behaviour and stop the run), this file says
//! them. A wait that nothing ends is a deadlock, whose report says what each warp waits for.
//!
//! **Source.** PTX ISA 9.7.13.15.
//!
//! **Can miss.** A wait for the wrong parity that happens to succeed (the reads it lets through are `async_proxy.rs`'s
//! business); a phase that completes twice between two looks of a waiting thread.

use super::super::async_event::AsyncEvent;
use super::super::event::{Access, AccessKind, Completion, Harvest, Observer, Step};
use super::super::exec::{Misuse, Program, lanes_of};
use super::super::memory::View;
use super::clocks::Clocks;
use super::{Ledger, Names, Where};
use crate::convert::index;
use crate::diagnostic::Code;
use crate::ptx::{Op, Sm90, Space};
use std::collections::BTreeMap;

const NOT_INITIALISED: Code = Code("mbarrier-not-initialised");
const INITIALISED_TWICE: Code = Code("mbarrier-initialised-twice");
const COUNT: Code = Code("mbarrier-count");
const OVER_ARRIVAL: Code = Code("mbarrier-over-arrival");
const TRANSACTIONS: Code = Code("mbarrier-transactions");
const TENSOR_MAP: Code = Code("invalid-tensor-map");
const REGISTER_POOL: Code = Code("register-pool");
const OVERWRITTEN: Code = Code("mbarrier-overwritten");
const INIT_UNORDERED: Code = Code("mbarrier-init-unordered");

/// Code and help of a misuse.
pub(super) fn code(misuse: Misuse) -> (Code, &'static str) {
    match misuse {
        Misuse::NotInitialised => (
            NOT_INITIALISED,
            "make the mbarrier with mbarrier.init, and let every thread pass a barrier before it uses it",
        ),
        Misuse::InitialisedTwice => (
            INITIALISED_TWICE,
            "make it once, or mbarrier.inval it when nobody uses it any more",
        ),
        Misuse::Count => (COUNT, "the count is the number of arrivals of each phase"),
        Misuse::OverArrival => (
            OVER_ARRIVAL,
            "the count of mbarrier.init has to be the number of arrivals of a phase; `arrive.expect_tx` is one of them",
        ),
        Misuse::Transactions => (
            TRANSACTIONS,
            "expect the bytes of one phase; at most 2^20 - 1 can be outstanding",
        ),
        Misuse::TensorMap => (
            TENSOR_MAP,
            "pass the 128 bytes of the encoder, as a __grid_constant__ parameter of 64-byte alignment",
        ),
        Misuse::RegisterPool => (
            REGISTER_POOL,
            "the counts of all warps, times 32, fit 65536; `dec` goes down and `inc` goes up",
        ),
    }
}

/// Who made an mbarrier, and when.
#[derive(Clone, Copy, Debug)]
struct Made {
    warp: usize,
    lane: usize,
    clock: u32,
    at: usize,
}

/// The detector.
#[derive(Debug)]
pub(super) struct Mbarriers {
    names: Names,
    /// By address.
    live: BTreeMap<u32, Made>,
    clocks: Clocks,
    ledger: Ledger,
}

impl Mbarriers {
    pub(super) fn new(program: &Program<'_>, names: Names) -> Self {
        Self {
            names,
            live: BTreeMap::new(),
            clocks: Clocks::new(index(program.threads().div_ceil(32))),
            ledger: Ledger::default(),
        }
    }
}

impl Mbarriers {
    /// A store: does it touch a live mbarrier?
    fn store(&mut self, step: &Step<'_>, lane: usize, start: u32, bytes: u32) {
        let touched = self
            .live
            .range(start.saturating_sub(7)..start + bytes)
            .next();
        if let Some((&address, _)) = touched {
            let names = self.names;
            let thread = u32::try_from(32 * step.warp + lane).unwrap_or(0);
            self.ledger.report(OVERWRITTEN, step.at, None, || {
                let message = format!("a store into the mbarrier at shared {address:#x}");
                let label = format!("written here by {}", names.thread(thread));
                let help = "keep tiles and mbarriers apart, or mbarrier.inval before the bytes are used again";
                (message, vec![Where { at: step.at, label }], help)
            });
        }
    }

    /// An operation on an mbarrier: is it ordered after its making?
    fn used(&mut self, step: &Step<'_>, lane: usize, address: u32) {
        let Some(&made) = self.live.get(&address) else {
            return;
        };
        let clock = self.clocks.now[step.warp][made.warp];
        let ordered = if made.warp == step.warp {
            made.lane == lane || made.clock < clock
        } else {
            made.clock <= clock
        };
        if !ordered {
            let names = self.names;
            let name = |warp: usize, lane: usize| {
                names.thread(u32::try_from(32 * warp + lane).unwrap_or(0))
            };
            self.ledger.report(INIT_UNORDERED, step.at, Some(made.at), || {
                let message = format!(
                    "the mbarrier at shared {address:#x} is used by a thread that its making is not ordered before"
                );
                let places = vec![
                    Where {
                        at: step.at,
                        label: format!("used here by {}", name(step.warp, lane)),
                    },
                    Where {
                        at: made.at,
                        label: format!("made here by {}", name(made.warp, made.lane)),
                    },
                ];
                (message, places, "a barrier of the cta between mbarrier.init and the first use")
            });
        }
    }
}

impl Observer for Mbarriers {
    fn access(&mut self, step: &Step<'_>, access: &Access<'_>, _: &View<'_>) {
        if access.space != Space::Shared || access.kind == AccessKind::Read {
            return;
        }
        let Op::Sm90(op) = &step.instruction.op else {
            if !self.live.is_empty() {
                for lane in lanes_of(access.mask) {
                    if let Ok(start) = u32::try_from(access.addresses[lane]) {
                        self.store(step, lane, start, access.bytes);
                    }
                }
            }
            return;
        };
        for lane in lanes_of(access.mask) {
            let Ok(address) = u32::try_from(access.addresses[lane]) else {
                continue;
            };
            if matches!(**op, Sm90::MbarrierInit { .. }) {
                let clock = self.clocks.now[step.warp][step.warp];
                let made = Made {
                    warp: step.warp,
                    lane,
                    clock,
                    at: step.at,
                };
                self.live.insert(address, made);
            } else {
                self.used(step, lane, address);
            }
        }
    }

    fn complete(&mut self, completion: &Completion<'_>) {
        self.clocks.complete(completion);
    }

    fn warp_sync(&mut self, step: &Step<'_>, _: u32) {
        self.clocks.advance(step.warp);
    }

    fn asynchronous(&mut self, event: &AsyncEvent<'_>, _: &View<'_>) {
        if let AsyncEvent::Mbarrier {
            address,
            live: false,
        } = event
        {
            self.live.remove(address);
        }
        self.clocks.asynchronous(event);
    }

    fn finish(&mut self, harvest: &mut Harvest) {
        harvest
            .findings
            .extend(std::mem::take(&mut self.ledger).into_findings());
    }
}
