//! Barriers of a CTA: arrivals, waits, reductions.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "dispatch matches every instruction; only those of this class come here"
)]

use super::super::event::{Arrival, Participant};
use super::cta::{BARRIERS, Machine, Reduction};
use super::dispatch::Site;
use super::warp::Warp;
use super::{Halt, Next};
use crate::convert::index;
use crate::ptx::Op;

impl Machine<'_> {
    /// `bar.sync`, `bar.arrive`, `bar.red`.
    pub(super) fn barrier(&mut self, warp: &mut Warp, site: &Site<'_>) -> Result<Next, Halt> {
        let (aligned, id, threads, waits) = match &site.instruction.op {
            Op::BarrierSync {
                aligned,
                barrier,
                threads,
            }
            | Op::BarrierRed {
                aligned,
                barrier,
                threads,
                ..
            } => (*aligned, *barrier, *threads, true),
            Op::BarrierArrive {
                aligned,
                barrier,
                threads,
            } => (*aligned, *barrier, Some(*threads), false),
            _ => unreachable!("dispatch sends barriers only"),
        };
        let first = index(site.mask.trailing_zeros());
        let id = index(self.read::<u32>(warp, id)[first]);
        let threads = threads.map(|threads| self.read::<u32>(warp, threads)[first]);
        let fail = |what: String| {
            Err(Halt::Barrier {
                at: site.at,
                warp: warp.index,
                what,
            })
        };
        if id >= BARRIERS {
            return fail(format!("barrier {id}; a cta has barriers 0 to 15"));
        }
        if let Some(threads) = threads
            && (threads == 0 || !threads.is_multiple_of(32))
        {
            return fail(format!(
                "{threads} threads for barrier {id}; the count is a positive multiple of 32"
            ));
        }
        // Aligned barriers promise that the whole warp comes together: wait for lanes that are merely behind.
        let together = site.path == warp.live;
        if aligned && !together && site.mask == site.path && self.could_join(warp, site) {
            return Ok(Next::Gather);
        }
        let fresh = self.barriers[id].participants.is_empty();
        let again = self.barriers[id].arrived[warp.index] & site.mask != 0;
        if fresh {
            self.barriers[id].threads = threads;
        } else if self.barriers[id].threads != threads {
            let known = self.barriers[id].threads;
            let name = |threads: Option<u32>| threads.map_or("all".to_owned(), |n| n.to_string());
            return fail(format!(
                "barrier {id} is waited for by {} threads here, by {} at an earlier arrival of the same turn",
                name(threads),
                name(known)
            ));
        }
        self.barriers[id].arrived[warp.index] |= site.mask;
        let arrived: u32 = self.barriers[id]
            .arrived
            .iter()
            .map(|mask| mask.count_ones())
            .sum();
        let arrival = Arrival {
            barrier: id,
            aligned,
            live: warp.live,
            arrived,
            expected: threads.unwrap_or(self.program.threads()),
            again,
        };
        let step = warp.step(site.at, site.instruction, site.path, site.mask);
        self.observers
            .each(|observer| observer.arrive(&step, &arrival));
        let participant = Participant {
            warp: warp.index,
            lanes: site.mask,
            at: site.at,
            waits,
        };
        if let Op::BarrierRed {
            reduction, d, a, ..
        } = &site.instruction.op
        {
            let holds = self.predicate(warp, *a) & site.mask;
            let barrier = &mut self.barriers[id];
            barrier.holds += holds.count_ones();
            barrier.asked += site.mask.count_ones();
            barrier.reductions.push((
                warp.index,
                site.mask,
                Reduction {
                    operation: *reduction,
                    d: *d,
                },
            ));
        }
        self.barriers[id].participants.push(participant);
        Ok(if waits {
            Next::Wait(id)
        } else {
            Next::Continue
        })
    }

    /// True if lanes of the warp on other paths may still come to this instruction.
    fn could_join(&self, warp: &Warp, site: &Site<'_>) -> bool {
        warp.paths.iter().any(|path| {
            path.mask & site.path == 0
                && path.state == super::warp::State::Ready
                && path.at <= site.at
        })
    }
}
