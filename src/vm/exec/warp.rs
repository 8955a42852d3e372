//! A warp: its registers and the paths its lanes are on.
//!
//! Divergence is a set of (instruction, lanes). The path with the lowest instruction runs, and paths that stand at the
//! same instruction become one: code that a compiler laid out in order reconverges at the join.

use super::super::event::Step;
use super::asynchronous::Copies;
use super::{Registers, Slots};
use crate::ptx::{Instruction, Predicate};

/// What a path is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Ready,
    AtBarrier(usize),
    /// At an instruction that waits for an mbarrier.
    Parked,
    /// At an instruction that other lanes must reach first.
    Gathering,
}

/// Lanes that stand at the same instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) at: usize,
    pub(super) mask: u32,
    pub(super) state: State,
}

/// 32 threads that execute together.
#[derive(Clone, Debug)]
pub(super) struct Warp {
    pub(super) index: usize,
    /// Lanes that have not exited.
    pub(super) live: u32,
    pub(super) registers: Registers,
    /// Carry flag of each lane.
    pub(super) carry: u32,
    pub(super) copies: Copies,
    pub(super) paths: Vec<Path>,
}

impl Warp {
    pub(super) fn new(index: usize, live: u32, registers: Registers, copies: Copies) -> Self {
        let paths = vec![Path {
            at: 0,
            mask: live,
            state: State::Ready,
        }];
        Self {
            index,
            live,
            registers,
            carry: 0,
            copies,
            paths,
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.paths.iter().any(|path| path.state == State::Ready)
    }

    /// Lanes for which a guard holds.
    pub(super) fn predicate(&self, slots: &Slots, guard: Predicate) -> u32 {
        let value = self.registers.predicate(slots.of(guard.register));
        if guard.negated { !value } else { value }
    }

    pub(super) fn step<'a>(
        &'a self,
        at: usize,
        instruction: &'a Instruction,
        path: u32,
        mask: u32,
    ) -> Step<'a> {
        Step {
            at,
            instruction,
            warp: self.index,
            path,
            mask,
            registers: &self.registers,
        }
    }

    /// The path to run and the instruction at which it meets another one. `None` if every path waits.
    pub(super) fn pick(&mut self) -> Option<(usize, usize)> {
        let at = self
            .paths
            .iter()
            .filter(|path| path.state == State::Ready)
            .map(|path| path.at)
            .min()?;
        // Join everything that stands there and does not wait at a barrier.
        let mut joined = 0;
        let mut first = None;
        let mut kept = 0;
        self.paths.retain(|path| {
            let here = path.at == at && !matches!(path.state, State::AtBarrier(_));
            if here {
                joined |= path.mask;
                if first.is_some() {
                    return false;
                }
                first = Some(kept);
            }
            kept += 1;
            true
        });
        let first = first?;
        self.paths[first].mask = joined;
        self.paths[first].state = State::Ready;
        let limit = self
            .paths
            .iter()
            .enumerate()
            .filter(|(index, path)| *index != first && !matches!(path.state, State::AtBarrier(_)))
            .map(|(_, path)| path.at)
            .filter(|&other| other > at)
            .min();
        Some((first, limit.unwrap_or(usize::MAX)))
    }

    /// A path waits for other lanes of its warp at its instruction; if some wait there already, they go on as one.
    pub(super) fn gather(&mut self, path: usize) {
        let at = self.paths[path].at;
        let met = self
            .paths
            .iter()
            .any(|other| other.at == at && other.state == State::Gathering);
        self.paths[path].state = if met { State::Ready } else { State::Gathering };
    }

    /// Lanes of a path go on at `target` in a state of their own, the rest of it at `after`.
    pub(super) fn split(
        &mut self,
        path: usize,
        after: usize,
        lanes: u32,
        target: usize,
        state: State,
    ) {
        let rest = self.paths[path].mask & !lanes;
        self.paths[path] = Path {
            at: target,
            mask: lanes,
            state,
        };
        if rest != 0 {
            self.paths.push(Path {
                at: after,
                mask: rest,
                state: State::Ready,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lowest_first_and_equal_ones_join() {
        let slots = Slots::default();
        let mut warp = Warp::new(0, u32::MAX, Registers::new(&slots), Copies::default());
        assert_eq!(warp.pick(), Some((0, usize::MAX)));
        warp.split(0, 5, 0xff, 9, State::Ready);
        let (path, limit) = warp.pick().unwrap();
        assert_eq!(
            (warp.paths[path].at, warp.paths[path].mask, limit),
            (5, !0xff, 9)
        );
        warp.paths[path].at = 9;
        let (path, limit) = warp.pick().unwrap();
        assert_eq!(
            (warp.paths[path].mask, limit, warp.paths.len()),
            (u32::MAX, usize::MAX, 1)
        );
        warp.split(path, 10, 1, 10, State::AtBarrier(0));
        let (path, limit) = warp.pick().unwrap();
        // A path at a barrier neither joins nor is met.
        assert_eq!((warp.paths[path].mask, limit), (!1, usize::MAX));
    }
}
