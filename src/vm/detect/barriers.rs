//! Barriers: divergent or miscounted arrivals, and barriers that threads have left behind.
//!
//! **Finds** `bar.sync` and its like (which promise that all threads of a warp come together) executed by part of a warp;
//! a lane that arrives twice before the barrier opens; a barrier of the whole CTA that opens although threads of it
//! have exited. Counts that no barrier can have, and arrivals that disagree on the count, stop the run (memcheck's
//! file says them); so does a deadlock.
//!
//! **Source.** PTX ISA 9.7.13.1: `.aligned`, thread counts, undefined behaviour of mixed arrivals.
//!
//! **Can miss.** Divergence that the machine's reconvergence heals before the barrier, though a GPU need not; barriers whose
//! count fits by accident.

use super::super::event::{Arrival, Completion, Harvest, Observer, Step};
use super::{Ledger, Names, Where};
use crate::diagnostic::Code;

const DIVERGENT: Code = Code("divergent-barrier");
const TWICE: Code = Code("barrier-arrival-repeated");
const EXITED: Code = Code("barrier-after-exit");

/// The detector.
#[derive(Debug)]
pub(super) struct Barriers {
    names: Names,
    ledger: Ledger,
}

impl Barriers {
    pub(super) fn new(names: Names) -> Self {
        Self {
            names,
            ledger: Ledger::default(),
        }
    }
}

impl Observer for Barriers {
    fn arrive(&mut self, step: &Step<'_>, arrival: &Arrival) {
        let names = self.names;
        if arrival.aligned && step.mask != arrival.live {
            self.ledger.report(DIVERGENT, step.at, None, || {
                let message = format!(
                    "barrier {} is reached by lanes {:#010x} of warp {}, while its lanes {:#010x} are elsewhere",
                    arrival.barrier,
                    step.mask,
                    step.warp,
                    arrival.live & !step.mask
                );
                let label = format!("part of warp {} of {} arrives here", step.warp, names.cta());
                (message, vec![Where { at: step.at, label }], "move the barrier out of the divergent branch")
            });
        }
        if arrival.again {
            self.ledger.report(TWICE, step.at, None, || {
                let message = format!(
                    "lanes of warp {} arrive at barrier {} again before it opens ({} of {} threads are there)",
                    step.warp, arrival.barrier, arrival.arrived, arrival.expected
                );
                let label = format!("warp {} of {} arrives here", step.warp, names.cta());
                (message, vec![Where { at: step.at, label }], "a producer may run only one phase ahead of its consumers")
            });
        }
    }

    fn complete(&mut self, completion: &Completion<'_>) {
        let Some(last) = completion.participants.last() else {
            return;
        };
        if completion.whole && completion.exited > 0 {
            let names = self.names;
            self.ledger.report(EXITED, last.at, None, || {
                let message = format!(
                    "a barrier of the whole cta opens although {} threads of it have exited",
                    completion.exited
                );
                let label = format!("warp {} of {} arrives here last", last.warp, names.cta());
                (
                    message,
                    vec![Where { at: last.at, label }],
                    "let threads without work reach the barrier before they return",
                )
            });
        }
    }

    fn finish(&mut self, harvest: &mut Harvest) {
        harvest
            .findings
            .extend(std::mem::take(&mut self.ledger).into_findings());
    }
}
