//! Mbarriers: misuse that stops the run, and generic stores over a live one.
//!
//! **Finds** operations on bytes where no mbarrier has been made, one made again while it lives, counts no mbarrier can
//! have, more arrivals than a phase waits for, transactions beyond the count's range; stores, copies aside, into the eight
//! bytes of a live mbarrier. The machine raises the first (they are undefined behaviour and stop the run), this file says
//! them. A wait that nothing ends is a deadlock, whose report says what each warp waits for.
//!
//! **Source.** PTX ISA 9.7.13.15.
//!
//! **Can miss.** A wait for the wrong parity that happens to succeed (the reads it lets through are `async_proxy.rs`'s
//! business); a phase that completes twice between two looks of a waiting thread.

use super::super::async_event::AsyncEvent;
use super::super::event::{Access, AccessKind, Harvest, Observer, Step};
use super::super::exec::{Misuse, lanes_of};
use super::super::memory::View;
use super::{Ledger, Names, Where};
use crate::diagnostic::Code;
use crate::ptx::{Op, Space};
use std::collections::BTreeSet;

const NOT_INITIALISED: Code = Code("mbarrier-not-initialised");
const INITIALISED_TWICE: Code = Code("mbarrier-initialised-twice");
const COUNT: Code = Code("mbarrier-count");
const OVER_ARRIVAL: Code = Code("mbarrier-over-arrival");
const TRANSACTIONS: Code = Code("mbarrier-transactions");
const TENSOR_MAP: Code = Code("invalid-tensor-map");
const REGISTER_POOL: Code = Code("register-pool");
const OVERWRITTEN: Code = Code("mbarrier-overwritten");

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

/// The detector of stores.
#[derive(Debug)]
pub(super) struct Mbarriers {
    names: Names,
    live: BTreeSet<u32>,
    ledger: Ledger,
}

impl Mbarriers {
    pub(super) fn new(names: Names) -> Self {
        Self {
            names,
            live: BTreeSet::new(),
            ledger: Ledger::default(),
        }
    }
}

impl Observer for Mbarriers {
    fn access(&mut self, step: &Step<'_>, access: &Access<'_>, _: &View<'_>) {
        if self.live.is_empty()
            || access.space != Space::Shared
            || access.kind == AccessKind::Read
            || matches!(step.instruction.op, Op::Sm90(_))
        {
            return;
        }
        for lane in lanes_of(access.mask) {
            let Ok(start) = u32::try_from(access.addresses[lane]) else {
                continue;
            };
            let touched = self
                .live
                .range(start.saturating_sub(7)..start + access.bytes)
                .next();
            if let Some(&address) = touched {
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
    }

    fn asynchronous(&mut self, event: &AsyncEvent<'_>, _: &View<'_>) {
        if let AsyncEvent::Mbarrier { address, live } = event {
            if *live {
                self.live.insert(*address);
            } else {
                self.live.remove(address);
            }
        }
    }

    fn finish(&mut self, harvest: &mut Harvest) {
        harvest
            .findings
            .extend(std::mem::take(&mut self.ledger).into_findings());
    }
}
