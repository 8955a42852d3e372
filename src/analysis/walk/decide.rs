//! What a branch that is taken says of the predicates that its condition is made from.

use super::explore::Explorer;
use super::state::State;
use crate::analysis::value::Value;
use crate::ptx::{LogicOp, Op, Operand, RegisterId, ScalarType};

impl Explorer<'_, '_> {
    /// Writes down that a predicate holds or does not, and what it is made from.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "what others give says nothing of what they read"
    )]
    pub(super) fn decide(
        &mut self,
        state: &mut State,
        at: usize,
        register: RegisterId,
        holds: bool,
    ) {
        let start = self.graph.blocks[state.block].instructions.start;
        let mut left = vec![(at, register, holds)];
        while let Some((at, register, holds)) = left.pop() {
            if let Some(number) = self.slice.number(register) {
                let value = Value::exact(u64::from(holds));
                state.registers[number] = Some(self.walk.values.id(value));
            }
            let instructions = &self.context.function.instructions;
            let writes = |at: &usize| instructions[*at].op.writes().contains(&register);
            let Some(source) = (start..at).rev().find(writes) else {
                continue;
            };
            let made = &instructions[source];
            let from: Vec<(Operand, bool)> = match &made.op {
                Op::Not { a, .. } => vec![(*a, !holds)],
                Op::Mov { a, .. } => vec![(*a, holds)],
                Op::Logic {
                    operation: LogicOp::And,
                    a,
                    b,
                    ..
                } if holds => vec![(*a, true), (*b, true)],
                Op::Logic {
                    operation: LogicOp::Or,
                    a,
                    b,
                    ..
                } if !holds => vec![(*a, false), (*b, false)],
                _ => Vec::new(),
            };
            for (operand, holds) in from {
                let Operand::Register(operand) = operand else {
                    continue;
                };
                let is_predicate =
                    self.context.function.register_type(operand) == Some(ScalarType::Pred);
                let rewritten = (source..at)
                    .any(|between| instructions[between].op.writes().contains(&operand));
                if made.guard.is_none() && is_predicate && !rewritten {
                    left.push((source, operand, holds));
                }
            }
        }
    }
}
