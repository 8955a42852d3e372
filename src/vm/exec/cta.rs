//! A CTA: its memories, its warps, its barriers, and whose turn it is.
//!
//! A warp runs until it waits, ends, or has had its turn of [`TURN`] instructions; then the next one runs. So a warp that
//! spins on a flag of another one gets there. All of it depends on the program, the memory and the seed alone.

use super::super::event::{Completion, Harvest, Observers, Participant};
use super::super::memory::{View, Writes};
use super::asynchronous::Copies;
use super::program::{Class, Program, thread_of};
use super::warp::{State, Warp};
use super::{Halt, Next, Registers, lanes};
use crate::convert::index;
use crate::ptx::{BarrierReduction, RegisterId};

/// Warp instructions of a turn.
const TURN: u64 = 100_000;
/// Barriers of a CTA.
pub(super) const BARRIERS: usize = 16;

/// What a lane gets when the barrier of its `bar.red` opens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reduction {
    pub(super) operation: BarrierReduction,
    pub(super) d: RegisterId,
}

/// One barrier between its first arrival and its opening.
#[derive(Clone, Debug, Default)]
pub(super) struct Barrier {
    pub(super) participants: Vec<Participant>,
    /// Arrived lanes, by warp.
    pub(super) arrived: Vec<u32>,
    /// Threads it needs; `None` for all of the CTA.
    pub(super) threads: Option<u32>,
    /// `bar.red` of the participants, in the order of their arrival.
    pub(super) reductions: Vec<(usize, u32, Reduction)>,
    /// Over all arrived threads: how many predicates hold, how many there are.
    pub(super) holds: u32,
    pub(super) asked: u32,
}

/// Counts of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// By class, in the order of `Class::ALL`.
    pub(crate) warp_instructions: [u64; Class::ALL.len()],
    pub(crate) thread_instructions: u64,
    pub(crate) barriers: u64,
    pub(crate) copies_left_pending: u64,
}

/// Everything of a CTA but its warps.
pub(super) struct Machine<'a> {
    pub(super) program: &'a Program<'a>,
    pub(super) cta: [u32; 3],
    pub(super) shared: Vec<u8>,
    pub(super) local: Vec<u8>,
    pub(super) view: View<'a>,
    pub(super) observers: Observers,
    pub(super) barriers: Vec<Barrier>,
    pub(super) counts: Counts,
    pub(super) executed: u64,
    pub(super) sm90: super::sm90::State,
}

/// What a CTA left.
#[derive(Debug)]
pub(crate) struct CtaResult {
    pub(crate) writes: Writes,
    pub(crate) harvest: Harvest,
    pub(crate) counts: Counts,
    pub(crate) halt: Option<Halt>,
}

/// Runs a CTA to its end or its halt. `order` gives the warps their turns.
pub(crate) fn run_cta(
    program: &Program<'_>,
    cta: [u32; 3],
    view: View<'_>,
    observers: Observers,
    budget: u64,
    order: &[usize],
) -> CtaResult {
    let threads = program.threads();
    let warp_count = index(threads.div_ceil(32));
    let mut machine = Machine {
        program,
        cta,
        // Not zero: a kernel that reads before it writes must not look right by luck.
        shared: vec![0xcd; program.layout.shared_bytes],
        local: vec![0xcd; program.layout.local_bytes * index(threads)],
        view,
        observers,
        barriers: vec![
            Barrier {
                arrived: vec![0; warp_count],
                ..Barrier::default()
            };
            // One more than programs name: the barrier of the cluster.
            BARRIERS + 1
        ],
        counts: Counts::default(),
        executed: 0,
        sm90: super::sm90::State::new(warp_count),
    };
    let mut warps: Vec<Warp> = (0..warp_count)
        .map(|warp| {
            let present = lanes(|lane| thread_of(warp, lane) < threads);
            let live = super::registers::mask_of(&present, |is| is);
            Warp::new(
                warp,
                live,
                Registers::new(&program.slots),
                Copies::default(),
            )
        })
        .collect();
    let halt = machine.run(&mut warps, budget, order).err();
    let halt = halt.or_else(|| machine.finish_bulk().err());
    let pending: u64 = warps.iter().map(|warp| warp.copies.pending()).sum();
    machine.counts.copies_left_pending = pending + machine.sm90.loads_pending();
    CtaResult {
        writes: machine.view.into_writes(),
        harvest: machine.observers.finish(),
        counts: machine.counts,
        halt,
    }
}

impl Machine<'_> {
    fn run(&mut self, warps: &mut [Warp], budget: u64, order: &[usize]) -> Result<(), Halt> {
        loop {
            let before = self.executed;
            for &at in order {
                self.turn(&mut warps[at], budget)?;
                self.open_barriers(warps);
                self.wake(warps);
            }
            if warps.iter().all(|warp| warp.live == 0) {
                return Ok(());
            }
            // A barrier that opened made paths ready again.
            let ready = warps.iter().any(Warp::is_ready);
            if self.stands_still(warps, self.executed == before, ready) {
                return Err(self.deadlock(warps));
            }
        }
    }

    /// One warp until it waits, ends or has had its turn.
    fn turn(&mut self, warp: &mut Warp, budget: u64) -> Result<(), Halt> {
        let end = self.executed + TURN;
        while self.executed < end {
            let Some((path, limit)) = warp.pick() else {
                if self.rendezvous(warp)? {
                    continue;
                }
                return Ok(());
            };
            self.follow(warp, path, limit, budget)?;
            if self.sm90.has_yielded() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Follows one path until it meets, splits, waits or ends.
    fn follow(
        &mut self,
        warp: &mut Warp,
        path: usize,
        limit: usize,
        budget: u64,
    ) -> Result<(), Halt> {
        let instructions = self.program.instructions();
        let mask = warp.paths[path].mask;
        let mut at = warp.paths[path].at;
        loop {
            if at >= limit {
                warp.paths[path].at = at;
                return Ok(());
            }
            if self.executed >= budget {
                return Err(Halt::Budget {
                    at,
                    warp: warp.index,
                    budget,
                });
            }
            self.executed += 1;
            let Some(instruction) = instructions.get(at) else {
                // The end of the function is a return.
                self.exit(warp, path, mask, at);
                return Ok(());
            };
            let active = match instruction.guard {
                None => mask,
                Some(guard) => mask & warp.predicate(&self.program.slots, guard),
            };
            if self.waits_for_lanes(warp, &instruction.op, mask, active) {
                warp.paths[path].at = at;
                warp.gather(path);
                return Ok(());
            }
            let step = warp.step(at, instruction, mask, active);
            self.observers.step(&step);
            self.counts.warp_instructions[self.program.classes[at]] += 1;
            self.counts.thread_instructions += u64::from(active.count_ones());
            if active == 0 {
                at += 1;
                continue;
            }
            match self.execute(warp, at, mask, active, instruction)? {
                Next::Continue => at += 1,
                Next::Jump(target) => {
                    if active == mask && (target > at || warp.paths.len() == 1) {
                        at = target;
                    } else if active == mask {
                        // Backwards: where this path meets another one has to be found anew.
                        warp.paths[path].at = target;
                        return Ok(());
                    } else {
                        warp.split(path, at + 1, active, target, State::Ready);
                        return Ok(());
                    }
                }
                Next::Exit => {
                    self.exit(warp, path, active, at + 1);
                    return Ok(());
                }
                Next::Wait(barrier) => {
                    warp.split(path, at + 1, active, at + 1, State::AtBarrier(barrier));
                    return Ok(());
                }
                Next::Park => {
                    warp.split(path, at + 1, active, at, State::Parked);
                    return Ok(());
                }
                Next::Yield => {
                    warp.paths[path].at = at + 1;
                    return Ok(());
                }
                Next::Gather => {
                    warp.paths[path].at = at;
                    warp.gather(path);
                    return Ok(());
                }
            }
        }
    }

    /// Lanes of a path end; the others of it go on at `after`.
    fn exit(&mut self, warp: &mut Warp, path: usize, lanes: u32, after: usize) {
        warp.live &= !lanes;
        if warp.live == 0 {
            self.sm90.leave(warp.index);
        }
        warp.paths[path].mask &= !lanes;
        warp.paths[path].at = after;
        warp.paths.retain(|path| path.mask != 0);
        // What waited for these lanes may go on without them.
        for path in &mut warp.paths {
            if path.state == State::Gathering {
                path.state = State::Ready;
            }
        }
    }

    /// Opens every barrier whose threads have all come.
    fn open_barriers(&mut self, warps: &mut [Warp]) {
        for id in 0..self.barriers.len() {
            if self.barriers[id].participants.is_empty() {
                continue;
            }
            let live: Vec<u32> = warps.iter().map(|warp| warp.live).collect();
            if !self.barriers[id].is_complete(&live) {
                continue;
            }
            let fresh = Barrier {
                arrived: vec![0; warps.len()],
                ..Barrier::default()
            };
            let barrier = std::mem::replace(&mut self.barriers[id], fresh);
            let all: u32 = live.iter().map(|mask| mask.count_ones()).sum();
            let completion = Completion {
                participants: &barrier.participants,
                exited: self.program.threads() - all,
                whole: barrier.threads.is_none(),
            };
            self.observers
                .each(|observer| observer.complete(&completion));
            self.counts.barriers += 1;
            for &(warp, lanes, reduction) in &barrier.reductions {
                let slot = self.program.slots.of(reduction.d);
                let registers = &mut warps[warp].registers;
                match reduction.operation {
                    BarrierReduction::Popc => registers.set_word(slot, lanes, &[barrier.holds; 32]),
                    BarrierReduction::And => {
                        let all = barrier.holds == barrier.asked;
                        registers.set_predicate(slot, lanes, if all { u32::MAX } else { 0 });
                    }
                    BarrierReduction::Or => {
                        registers.set_predicate(
                            slot,
                            lanes,
                            if barrier.holds > 0 { u32::MAX } else { 0 },
                        );
                    }
                }
            }
            for warp in warps.iter_mut() {
                for path in &mut warp.paths {
                    if path.state == State::AtBarrier(id) {
                        path.state = State::Ready;
                    }
                }
            }
        }
    }

    fn deadlock(&self, warps: &[Warp]) -> Halt {
        let mut waiting = Vec::new();
        for warp in warps {
            for path in &warp.paths {
                let (at, what) = match path.state {
                    State::AtBarrier(id) => {
                        let barrier = &self.barriers[id];
                        let arrived: u32 =
                            barrier.arrived.iter().map(|mask| mask.count_ones()).sum();
                        let needed = barrier.threads.unwrap_or(self.program.threads());
                        let what = format!(
                            "barrier {id}, where {arrived} of {needed} threads have arrived"
                        );
                        (path.at.saturating_sub(1), what)
                    }
                    State::Parked => (path.at, self.parked_for(warp, path)),
                    State::Gathering | State::Ready => (
                        path.at,
                        "lanes of its warp that do not come to this instruction".to_owned(),
                    ),
                };
                let place = format!(
                    "warp {}, lanes {:#010x}, waits for {what}",
                    warp.index, path.mask
                );
                waiting.push((at, place));
            }
        }
        Halt::Deadlock { waiting }
    }
}

impl Barrier {
    /// True when every thread it needs has come; lanes that do not exist or have exited count with their warp.
    fn is_complete(&self, live: &[u32]) -> bool {
        match self.threads {
            None => self
                .arrived
                .iter()
                .zip(live)
                .all(|(arrived, live)| live & !arrived == 0),
            Some(threads) => self.count(live) >= threads,
        }
    }

    /// Threads that have come.
    pub(super) fn count(&self, live: &[u32]) -> u32 {
        self.arrived
            .iter()
            .zip(live)
            .filter(|(arrived, _)| **arrived != 0)
            .map(|(arrived, live)| (arrived | !live).count_ones())
            .sum()
    }
}
