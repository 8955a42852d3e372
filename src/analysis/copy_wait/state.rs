//! What is known at a point of a path.

use crate::analysis::control_flow::BlockIndex;
use crate::analysis::value::ValueId;
use std::collections::BTreeSet;

/// How far a copy has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Issued, its group not committed.
    Open,
    /// Its group is committed, and so are this many after it (counted up to a cap).
    Committed(u32),
    /// Complete and visible to its own thread.
    Waited,
    /// Visible to its warp.
    Warp,
}

/// A copy that some thread of the CTA may not see yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Copy {
    /// The `cp.async`.
    pub(super) instruction: usize,
    /// Shared address, for each thread.
    pub(super) address: ValueId,
    /// Guard: 0 in threads that do not copy.
    pub(super) guard: ValueId,
    /// How far it has come.
    pub(super) stage: Stage,
}

/// A point of a path: the start of a block.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct State {
    /// The block about to run.
    pub(super) block: BlockIndex,
    /// Values of the registers of the slice; `None` where dead.
    pub(super) registers: Vec<Option<ValueId>>,
    /// Copies not yet visible to all.
    pub(super) copies: BTreeSet<Copy>,
}

impl State {
    /// Every copy moved on by `f`; dropped where it gives none.
    fn advance(&mut self, f: impl Fn(Stage) -> Option<Stage>) {
        let moved = self.copies.iter().filter_map(|copy| {
            Some(Copy {
                stage: f(copy.stage)?,
                ..*copy
            })
        });
        self.copies = moved.collect();
    }

    /// `cp.async.commit_group`; ages stop at `cap`, above every wait of the function.
    pub(super) fn commit(&mut self, cap: u32) {
        self.advance(|stage| {
            Some(match stage {
                Stage::Open => Stage::Committed(0),
                Stage::Committed(age) => Stage::Committed(age.saturating_add(1).min(cap)),
                Stage::Waited | Stage::Warp => stage,
            })
        });
    }

    /// `cp.async.wait_group`
    pub(super) fn wait(&mut self, groups: u32) {
        self.advance(|stage| {
            Some(match stage {
                Stage::Committed(age) if age >= groups => Stage::Waited,
                Stage::Open | Stage::Committed(_) | Stage::Waited | Stage::Warp => stage,
            })
        });
    }

    /// `cp.async.wait_all`
    pub(super) fn wait_all(&mut self) {
        self.advance(|stage| {
            Some(match stage {
                Stage::Open | Stage::Committed(_) => Stage::Waited,
                Stage::Waited | Stage::Warp => stage,
            })
        });
    }

    /// A barrier of the whole CTA.
    pub(super) fn barrier(&mut self) {
        self.advance(|stage| match stage {
            Stage::Waited | Stage::Warp => None,
            Stage::Open | Stage::Committed(_) => Some(stage),
        });
    }

    /// `bar.warp.sync` of whole warps.
    pub(super) fn warp_barrier(&mut self) {
        self.advance(|stage| {
            Some(match stage {
                Stage::Waited | Stage::Warp => Stage::Warp,
                Stage::Open | Stage::Committed(_) => stage,
            })
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::value::{Value, Values};

    #[test]
    fn a_copy_becomes_visible_step_by_step() {
        let id = Values::default().id(Value::exact(0));
        let copy = Copy {
            instruction: 0,
            address: id,
            guard: id,
            stage: Stage::Open,
        };
        let mut state = State {
            block: 0,
            registers: Vec::new(),
            copies: BTreeSet::from([copy]),
        };
        let stage = |state: &State| state.copies.first().map(|copy| copy.stage);
        state.wait(0);
        assert_eq!(
            stage(&state),
            Some(Stage::Open),
            "wait_group ignores what is not committed"
        );
        state.commit(3);
        state.commit(3);
        state.wait(2);
        assert_eq!(stage(&state), Some(Stage::Committed(1)));
        state.barrier();
        assert_eq!(
            stage(&state),
            Some(Stage::Committed(1)),
            "a barrier completes no copy"
        );
        state.wait(1);
        assert_eq!(stage(&state), Some(Stage::Waited));
        state.warp_barrier();
        assert_eq!(stage(&state), Some(Stage::Warp));
        state.barrier();
        assert_eq!(stage(&state), None);
    }
}
