//! What a branch that is taken says of the predicates that its condition is made from.

use super::explore::Explorer;
use super::state::{Comparison, State};
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
                if let Some((of, negated)) = state.conditions.get(&number).copied() {
                    state.facts.insert(of, holds != negated);
                    self.equal(state, of, holds != negated);
                }
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

    /// Where an unknown is compared with a number: if it is that number, or one of two and not that one, every register
    /// that holds it is known.
    fn equal(&mut self, state: &mut State, of: Comparison, holds: bool) {
        let values = &mut self.walk.values;
        let (a, b) = (values.get(of.a), values.get(of.b));
        let (unknown, number) = match (a.uniform(), b.uniform()) {
            (None, Some(number)) => (of.a, number),
            (Some(number), None) => (of.b, number),
            (None, None) | (Some(_), Some(_)) => return,
        };
        let base = values.get(unknown).base;
        let is_plain = |value: &Value| {
            value.symbol.is_some()
                && !value.varying
                && value.lanes.len() == 1
                && value.lanes[0].value() == Some(0)
        };
        let other = (!base.known).is_power_of_two().then(|| {
            if number == base.ones {
                base.most()
            } else {
                base.ones
            }
        });
        let known = if holds { Some(number) } else { other };
        let Some(known) = known.filter(|_| of.equal && is_plain(values.get(unknown))) else {
            return;
        };
        let symbol = values.get(unknown).symbol;
        let known = values.id(Value::exact(known));
        for id in state.registers.iter_mut().flatten() {
            let value = values.get(*id);
            if value.symbol == symbol && is_plain(value) {
                *id = known;
            }
        }
    }
}
