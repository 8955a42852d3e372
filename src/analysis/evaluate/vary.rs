//! Whether a result that is not known is at least the same in all threads.

use super::super::value::Value;
use super::Context;
use crate::ptx::{Op, RegisterId, ShuffleMode};

impl Context<'_> {
    /// Whether what an instruction gives may differ between threads.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "any other gives the same for the same operands"
    )]
    pub(super) fn varies(&self, op: &Op, read: &dyn Fn(RegisterId) -> Value) -> bool {
        match op {
            // What all lanes hold alike they get alike, but for the predicate, which says whose lane exists.
            Op::Shfl {
                mode: ShuffleMode::Idx | ShuffleMode::Bfly,
                p: None,
                a,
                ..
            } => self.operand(*a, read).differs(),
            Op::Shfl {
                mode: ShuffleMode::Idx,
                a,
                b,
                c,
                ..
            } => [a, b, c]
                .into_iter()
                .any(|operand| self.operand(*operand, read).differs()),
            Op::Shfl { .. }
            | Op::Vote { .. }
            | Op::Redux { .. }
            | Op::ActiveMask { .. }
            | Op::Atomic { .. }
            | Op::LdMatrix { .. }
            | Op::MovMatrix { .. }
            | Op::Match { .. }
            | Op::Sm90(_)
            | Op::Mma(_)
            | Op::Wmma(_) => true,
            Op::BarrierRed { .. } => false,
            Op::Mov { a, .. } | Op::Cvt { a, .. } => self.operand(*a, read).differs(),
            _ => op
                .reads()
                .into_iter()
                .any(|register| read(register).differs()),
        }
    }
}
