//! What stays known of a number that was computed from another: sums, quotients, and what is left of a division.

use super::execute::immediate;
use super::flow::Flow;
use super::number::Number;
use super::state::{Condition, State};
use crate::ptx::{IntegerBinary, Operand, RegisterId, ScalarType};

impl Flow<'_> {
    /// A sum of a register and a number: both, and the register's number.
    pub(super) fn sum(
        &self,
        operation: IntegerBinary,
        ty: ScalarType,
        operands: [Operand; 2],
    ) -> Option<(RegisterId, usize, i128)> {
        let [Operand::Register(of), Operand::Immediate(bits)] = operands else {
            return None;
        };
        let plus = immediate(bits, ty).is_exact()?;
        let number = self.plan.slice.number(of)?;
        match operation {
            IntegerBinary::Add => Some((of, number, plus)),
            IntegerBinary::Sub => Some((of, number, -plus)),
            IntegerBinary::MulLo
            | IntegerBinary::MulWide
            | IntegerBinary::MulHi
            | IntegerBinary::Div
            | IntegerBinary::Rem
            | IntegerBinary::Min
            | IntegerBinary::Max => None,
        }
    }

    /// Sums of the registers that a condition compares: the register, the sum, and what was added.
    pub(super) fn sums(
        &self,
        state: &State,
        condition: &Condition,
    ) -> Vec<(RegisterId, usize, i128)> {
        let Condition::Compare { a, b, .. } = condition else {
            return Vec::new();
        };
        let mut sums = Vec::new();
        for operand in [a, b] {
            let Operand::Register(register) = operand else {
                continue;
            };
            let Some(number) = self.plan.slice.number(*register) else {
                continue;
            };
            for sum in state.mentioning(number) {
                if let Some(Condition::Plus(_, plus)) = state.conditions.get(&sum) {
                    sums.push((*register, sum, *plus));
                }
            }
        }
        sums
    }

    /// What stays known of a quotient, and of its product with the divisor.
    pub(super) fn of_division(
        &self,
        state: &State,
        operation: IntegerBinary,
        ty: ScalarType,
        operands: [Operand; 2],
    ) -> Option<(Condition, Vec<usize>)> {
        let [Operand::Register(a), Operand::Register(b)] = operands else {
            return None;
        };
        let (a, b) = (self.plan.slice.number(a)?, self.plan.slice.number(b)?);
        if operation == IntegerBinary::Div && ty == ScalarType::U32 {
            return Some((Condition::Quotient(a, b), vec![a, b]));
        }
        if operation != IntegerBinary::MulLo {
            return None;
        }
        [(a, b), (b, a)].into_iter().find_map(|(quotient, factor)| {
            match state.conditions.get(&quotient)? {
                Condition::Quotient(of, by) if self.is_same(state, *by, factor) => {
                    Some((Condition::Multiple(*of, *by), vec![*of, *by]))
                }
                Condition::Quotient(..)
                | Condition::Multiple(..)
                | Condition::Plus(..)
                | Condition::Compare { .. }
                | Condition::Both(..)
                | Condition::Either(..)
                | Condition::Not(_) => None,
            }
        })
    }

    /// Whether two registers hold one number.
    fn is_same(&self, state: &State, one: usize, other: usize) -> bool {
        let exact = |number: usize| state.numbers.get(&number).and_then(Number::is_exact);
        state.alike(one).contains(&other) || (exact(one).is_some() && exact(one) == exact(other))
    }

    /// What is left of a number less the greatest multiple of a divisor.
    pub(super) fn remainder(
        &self,
        state: &State,
        operation: IntegerBinary,
        operands: [Operand; 2],
    ) -> Option<Number> {
        let [Operand::Register(a), Operand::Register(b)] = operands else {
            return None;
        };
        let (a, b) = (self.plan.slice.number(a)?, self.plan.slice.number(b)?);
        let Condition::Multiple(of, by) = state.conditions.get(&b)? else {
            return None;
        };
        if operation != IntegerBinary::Sub || !self.is_same(state, *of, a) {
            return None;
        }
        let dividend = state.numbers.get(of)?.taken(ScalarType::U32)?;
        dividend.divided(&state.numbers.get(by)?.taken(ScalarType::U32)?, true)
    }
}
