//! Global memory of one CTA of one launch: which addresses are accessed, and what lists may hold.

use super::explore::{Explorer, Met};
use super::state::State;
use crate::analysis::access::{Access, Kind, Shape, access};
use crate::analysis::value::{Bits, Value, ValueId};
use crate::ptx::{AddressBase, Op, Operand, RegisterId, Space};

/// Numbers that an entry of a list may be before it is left unknown.
const ENTRIES_MAX: u32 = 16;

/// Numbers that were chosen for entries of lists on the way through a block, and what else they may be.
#[derive(Debug, Default)]
pub(super) struct Choices {
    pub(super) made: Vec<u32>,
    pub(super) next: usize,
    pub(super) others: Vec<Vec<u32>>,
}

/// The access to global memory that an instruction makes: of a copy, the bytes that it reads.
pub(in crate::analysis) fn global_access(op: &Op) -> Option<Access> {
    if let Op::CpAsync { s, bytes, .. } = op {
        return Some(Access {
            address: *s,
            space: Space::Global,
            kind: Kind::Read,
            shape: Shape::Own(u64::from(*bytes)),
        });
    }
    access(op).filter(|access| access.space == Space::Global)
}

/// Registers that the address and the length of an access to global memory need.
pub(super) fn asked_global(op: &Op) -> Option<Vec<RegisterId>> {
    let access = global_access(op)?;
    let mut registers: Vec<RegisterId> = access.register().into_iter().collect();
    if let Op::CpAsync {
        source_bytes: Some(Operand::Register(register)),
        ..
    } = op
    {
        registers.push(*register);
    }
    Some(registers)
}

impl Explorer<'_, '_> {
    /// Notes an access to global memory. A copy of no bytes reads nothing.
    pub(super) fn global(&mut self, state: &State, at: usize, op: &Op, doing: &Value) {
        let Some(access) = global_access(op) else {
            return;
        };
        let read = |register| self.register(state, register);
        let address = self.context.address(access.address, &read);
        let mut doing = doing.clone();
        if let Op::CpAsync {
            source_bytes: Some(bytes),
            ..
        } = op
        {
            let bytes = self.context.operand(*bytes, &read);
            let some = Value::combine(&[&bytes], |bits| match bits[0].value() {
                Some(bytes) => Bits::exact(u64::from(bytes != 0)),
                None => Bits::UNKNOWN.cut(1),
            });
            doing = Value::combine(&[&doing, &some], |bits| bits[0].and(bits[1]).cut(1));
        }
        debug_assert!(!matches!(access.address.base, AddressBase::Absolute));
        let met: Met = (at, self.walk.values.id(address), self.walk.values.id(doing));
        let visits = self.walk.visits.entry(at).or_default();
        visits.insert((met.1, met.2));
    }

    /// The numbers that a load of a list gives: one after the other each that an entry may be.
    pub(super) fn chosen(
        &mut self,
        state: &State,
        op: &Op,
        results: Vec<(RegisterId, ValueId)>,
    ) -> Vec<(RegisterId, ValueId)> {
        let read = |register| self.register(state, register);
        let Some(entries) = self.context.listed(op, &read) else {
            return results;
        };
        if entries.greatest - entries.least >= ENTRIES_MAX {
            return results;
        }
        let mut choose = |register: RegisterId| {
            let choices = &mut self.choices;
            if choices.next == choices.made.len() {
                for other in entries.least + 1..=entries.greatest {
                    let mut made = choices.made.clone();
                    made.push(other);
                    choices.others.push(made);
                }
                choices.made.push(entries.least);
            }
            let number = choices.made[choices.next];
            choices.next += 1;
            let value = Value::exact(u64::from(number));
            (register, self.walk.values.id(value))
        };
        results
            .into_iter()
            .map(|(register, _)| choose(register))
            .collect()
    }
}
