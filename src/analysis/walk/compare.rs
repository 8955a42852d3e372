//! Comparisons of numbers that are unknown but the same in all threads: what a path has decided once stays decided.

use super::explore::Explorer;
use super::gather::own_symbol;
use super::state::{Comparison, Entry, State};
use crate::analysis::value::{Bits, Value, ValueId, origin};
use crate::ptx::{Compare, Instruction, Op, Predicate, ScalarType, TypeKind};
use rustc_hash::FxHashMap;

impl Explorer<'_, '_> {
    /// The comparison that a guard stands for, and whether the guard holds where the comparison does not.
    pub(super) fn comparison(&self, state: &State, guard: Predicate) -> Option<(Comparison, bool)> {
        let number = self.slice.number(guard.register)?;
        let (of, negated) = state.conditions.get(&number)?;
        Some((*of, *negated != guard.negated))
    }

    /// The comparison that an instruction makes, and the number of the predicate it writes: of integers, each a number or
    /// an unknown plus a number.
    pub(super) fn compared(
        &mut self,
        state: &State,
        at: usize,
        instruction: &Instruction,
    ) -> Option<(usize, (Comparison, bool))> {
        let Op::Setp {
            compare,
            combine: None,
            ty,
            p: Some(p),
            q: None,
            a,
            b,
            ..
        } = &self.context.function.instructions[at].op
        else {
            return None;
        };
        if ty.kind() == TypeKind::Float || instruction.guard.is_some() {
            return None;
        }
        let number = self.slice.number(*p)?;
        let read = |register| self.register(state, register);
        let [a, b] = [a, b].map(|operand| self.context.operand(*operand, &read));
        let is_plain = |value: &Value| {
            !value.varying && value.lanes.len() == 1 && value.lane(0).value().is_some()
        };
        if !(is_plain(&a) && is_plain(&b)) || (a.symbol.is_none() && b.symbol.is_none()) {
            return None;
        }
        let (a, b) = (self.walk.values.id(a), self.walk.values.id(b));
        let of = |equal, a, b| Comparison {
            equal,
            signed: ty.kind() == TypeKind::Signed,
            bits: ty.bits(),
            a,
            b,
        };
        let (of, negated) = match compare {
            Compare::Eq | Compare::Equ => (of(true, a.min(b), a.max(b)), false),
            Compare::Ne | Compare::Neu => (of(true, a.min(b), a.max(b)), true),
            Compare::Lt | Compare::Lo | Compare::Ltu => (of(false, a, b), false),
            Compare::Ge | Compare::Hs | Compare::Geu => (of(false, a, b), true),
            Compare::Gt | Compare::Hi | Compare::Gtu => (of(false, b, a), false),
            Compare::Le | Compare::Ls | Compare::Leu => (of(false, b, a), true),
            Compare::Num | Compare::Nan => return None,
        };
        Some((number, (of, negated)))
    }

    /// At a loop head, an unknown plus a count becomes an unknown of the loop's own: so a counter that starts at a loaded
    /// number is the same in every iteration, and what it is compared with stays comparable. Everything that holds the old
    /// unknown is shifted by the same count.
    pub(super) fn rebase(&mut self, state: &mut State) {
        let mut shifts: FxHashMap<usize, (usize, u64, Bits)> = FxHashMap::default();
        for number in 0..self.slice.len() {
            let Some(id) = state.registers[number] else {
                continue;
            };
            let value = self.walk.values.get(id);
            let offset = value.lane(0).value().filter(|_| value.lanes.len() == 1);
            if let (Some(symbol), Some(offset), false) = (value.symbol, offset, value.varying)
                && offset != 0
            {
                let own = own_symbol(self.context, self.slice.len(), state.block, number);
                shifts.entry(symbol).or_insert((own, offset, value.bits(0)));
            }
        }
        // A symbol that another is about to become must not be held by anything that stays.
        let targets: Vec<usize> = shifts.values().map(|(own, ..)| *own).collect();
        let clashes = |id: ValueId| {
            self.walk.values.get(id).symbol.is_some_and(|symbol| {
                targets.contains(&origin(symbol)) && !shifts.contains_key(&symbol)
            })
        };
        let addresses = state.entries.iter().map(|entry| entry.address);
        let compared = state
            .facts
            .keys()
            .chain(state.conditions.values().map(|(of, _)| of));
        let mut held = state.registers.iter().flatten().copied().chain(addresses);
        if shifts.is_empty()
            || held.any(clashes)
            || compared
                .into_iter()
                .any(|of| clashes(of.a) || clashes(of.b))
        {
            return;
        }
        let mask = ScalarType::U32.mask();
        let values = &mut self.walk.values;
        let mut shift = |id: ValueId| {
            let value = values.get(id).clone();
            let Some((own, offset, base)) = value.symbol.and_then(|symbol| shifts.get(&symbol))
            else {
                return id;
            };
            let offset = Value::exact(*offset);
            let width = if value
                .lanes
                .iter()
                .all(|lane| lane.known & !mask == !mask && lane.ones & !mask == 0)
            {
                mask
            } else {
                u64::MAX
            };
            let shifted = value
                .linear(&offset, true, width)
                .expect("a number has no symbol");
            values.id(Value {
                symbol: Some(*own),
                base: *base,
                ..shifted
            })
        };
        for id in state.registers.iter_mut().flatten() {
            *id = shift(*id);
        }
        state.entries = state
            .entries
            .iter()
            .map(|entry| Entry {
                address: shift(entry.address),
                ..*entry
            })
            .collect();
        let mut moved = |of: &Comparison| Comparison {
            a: shift(of.a),
            b: shift(of.b),
            ..*of
        };
        state.facts = state
            .facts
            .iter()
            .map(|(of, holds)| (moved(of), *holds))
            .collect();
        for (of, _) in state.conditions.values_mut() {
            *of = moved(of);
        }
    }
}
