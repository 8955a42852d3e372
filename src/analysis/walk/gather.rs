//! States that meet at a loop head and differ only in what branches ask for.
//!
//! A kernel that decides by its data (a threshold, a bitmap) carries flags and counters from one iteration to the next, each
//! of them any number: followed one by one they multiply. States whose addresses, interval and written bytes are the same
//! are therefore taken together from the fifth on: a register in which they differ becomes an unknown of the loop's own.
//! Where flags go with what was copied, the states differ in that too and stay apart.

use super::explore::Explorer;
use super::state::{Comparison, Entry, State};
use crate::analysis::control_flow::BlockIndex;
use crate::analysis::evaluate::Context;
use crate::analysis::value::{Value, ValueId, origin};

/// States at a loop head that are kept apart.
const APART: usize = 4;

impl Explorer<'_, '_> {
    /// Replaces a state by what holds of it and of all that are like it, where there are many.
    pub(super) fn gather(&mut self, state: &mut State) {
        let mut key = state.clone();
        key.conditions.clear();
        key.facts.clear();
        for number in 0..self.slice.len() {
            if !self.slice.is_exact(number) {
                key.registers[number] = None;
            }
        }
        let mut met = self.gathered.remove(&key).unwrap_or_default();
        if met.len() < APART {
            if !met.contains(state) {
                met.push(state.clone());
            }
        } else {
            // The last is what holds of all.
            for other in &met {
                self.join(state, other);
            }
            met = vec![state.clone(); APART];
        }
        self.gathered.insert(key, met);
    }

    fn join(&mut self, state: &mut State, other: &State) {
        for number in 0..self.slice.len() {
            let (Some(one), Some(two)) = (state.registers[number], other.registers[number]) else {
                state.registers[number] = None;
                continue;
            };
            if one == two {
                continue;
            }
            let values = &self.walk.values;
            let alike = !values.get(one).differs() && !values.get(two).differs();
            let own = own_symbol(self.context, self.slice.len(), state.block, number);
            let value = if alike {
                self.forget(state, |symbol| symbol == own);
                Value::result_of(own, false)
            } else {
                Value::unknown(true)
            };
            state.registers[number] = Some(self.walk.values.id(value));
        }
        state
            .conditions
            .retain(|number, of| other.conditions.get(number) == Some(of));
        state
            .facts
            .retain(|of, holds| other.facts.get(of) == Some(holds));
    }

    /// What holds a symbol that is about to stand for another number is no longer known.
    pub(super) fn forget(&mut self, state: &mut State, gone: impl Fn(usize) -> bool) {
        let values = &mut self.walk.values;
        let mut forget = |id: ValueId| {
            let value = values.get(id);
            if value.symbol.is_some_and(|symbol| gone(origin(symbol))) {
                let forgotten = value.forgotten();
                values.id(forgotten)
            } else {
                id
            }
        };
        for id in state.registers.iter_mut().flatten() {
            *id = forget(*id);
        }
        state.entries = state
            .entries
            .iter()
            .map(|entry| Entry {
                address: forget(entry.address),
                ..*entry
            })
            .collect();
        let mut stays = |of: &Comparison| forget(of.a) == of.a && forget(of.b) == of.b;
        state.facts.retain(|of, _| stays(of));
        state.conditions.retain(|_, (of, _)| stays(of));
    }
}

/// The symbol of a loop's own unknown in a register: above those of instructions.
pub(super) fn own_symbol(
    context: &Context<'_>,
    registers: usize,
    block: BlockIndex,
    number: usize,
) -> usize {
    4 * context.function.instructions.len() + block * registers + number
}
