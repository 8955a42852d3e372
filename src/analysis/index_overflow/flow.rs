//! Intervals of the registers on which addresses and branches depend, at every block: to a fixed point, or along the one path
//! that a thread takes for certain.

use super::number::Number;
use super::state::{Condition, Effect, State};
use crate::analysis::control_flow::{BlockIndex, Graph};
use crate::analysis::evaluate::Context;
use crate::analysis::slice::Slice;
use crate::analysis::walk::global_access;
use crate::contract::{Contract, PromisedValue};
use crate::ptx::{
    AddressBase, Compare, Function, Op, Operand, Predicate, RegisterId, ScalarType, Sm90,
    TensorPlace,
};
use rustc_hash::FxHashSet;
use std::collections::{BTreeMap, BTreeSet};

/// Visits of a loop head before bounds jump to the next limit.
const VISITS_EXACT: usize = 3;
/// Blocks run, for each block, before the pass gives up.
const RUNS_MAX: usize = 64;
/// Rounds in which bounds that jumped too far come back.
const ROUNDS_BACK: usize = 3;
/// Instructions of one thread that are followed.
const STEPS_MAX: usize = 200_000;

/// A register that holds another number than was computed, where an address is made from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrap {
    /// Where it is taken for what it does not hold.
    pub(super) at: usize,
    /// The instruction that computed it.
    pub(super) made: Option<usize>,
    pub(super) low: i128,
    pub(super) high: i128,
    pub(super) ty: ScalarType,
}

/// What a function's addresses are made from, and how control goes: the same for every launch.
pub(super) struct Plan {
    pub(super) graph: Graph,
    pub(super) slice: Slice,
    /// Registers from which an address in global memory, or a coordinate of a tensor copy, is computed.
    feeding: FxHashSet<RegisterId>,
    /// Instructions that write registers of the slice, or use such a coordinate.
    followed: Vec<bool>,
}

/// The coordinates of a tensor copy.
pub(super) fn place(op: &Op) -> Option<&TensorPlace> {
    let Op::Sm90(op) = op else {
        return None;
    };
    if let Sm90::TensorLoad { place, .. }
    | Sm90::TensorStore { place, .. }
    | Sm90::TensorPrefetch { place, .. } = &**op
    {
        Some(place)
    } else {
        None
    }
}

/// Registers that give the address of an access to global memory, or the coordinates of a tensor copy.
fn asked(op: &Op) -> Option<Vec<RegisterId>> {
    if let Some(place) = place(op) {
        let registers = place
            .coordinates
            .iter()
            .filter_map(|operand| match operand {
                Operand::Register(register) => Some(*register),
                Operand::Immediate(_) | Operand::Address(..) | Operand::Special(_) => None,
            });
        return Some(registers.collect());
    }
    global_access(op).map(|access| access.register().into_iter().collect())
}

impl Plan {
    pub(super) fn new(function: &Function) -> Self {
        let graph = Graph::new(function);
        let slice = Slice::new(function, &graph, asked);
        let mut writers: BTreeMap<RegisterId, Vec<usize>> = BTreeMap::new();
        for (at, instruction) in function.instructions.iter().enumerate() {
            for register in instruction.op.writes() {
                writers.entry(register).or_default().push(at);
            }
        }
        let mut feeding = FxHashSet::default();
        let mut left: Vec<RegisterId> = function
            .instructions
            .iter()
            .filter_map(|instruction| asked(&instruction.op))
            .flatten()
            .collect();
        while let Some(register) = left.pop() {
            if slice.number(register).is_some() && feeding.insert(register) {
                for at in writers.get(&register).into_iter().flatten() {
                    left.extend(function.instructions[*at].op.reads());
                }
            }
        }
        let followed = function
            .instructions
            .iter()
            .map(|instruction| {
                let mut writes = instruction.op.writes().into_iter();
                writes.any(|register| slice.number(register).is_some())
                    || place(&instruction.op).is_some()
            })
            .collect();
        Self {
            graph,
            slice,
            feeding,
            followed,
        }
    }
}

/// The flow of one launch.
pub(super) struct Flow<'c> {
    pub(super) context: &'c Context<'c>,
    pub(super) plan: &'c Plan,
    pub(super) contract: &'c Contract,
    /// The thread and the CTA that are followed; all of them where `None`.
    pub(super) who: Option<([u32; 3], [u32; 3])>,
    pub(super) offsets: Vec<u64>,
    /// What was found, by where.
    pub(super) wraps: BTreeMap<usize, Wrap>,
    pub(super) steps: usize,
}

impl<'c> Flow<'c> {
    pub(super) fn new(
        context: &'c Context<'c>,
        plan: &'c Plan,
        contract: &'c Contract,
        who: Option<([u32; 3], [u32; 3])>,
    ) -> Self {
        Self {
            context,
            plan,
            contract,
            who,
            offsets: context.function.param_offsets(),
            wraps: BTreeMap::new(),
            steps: 0,
        }
    }

    /// Bounds for all threads; false where no fixed point was reached. What may wrap is in `wraps`.
    pub(super) fn solve(&mut self) -> bool {
        let count = self.plan.graph.blocks.len();
        if count == 0 {
            return true;
        }
        let limits = self.limits();
        let mut states: Vec<Option<State>> = vec![None; count];
        states[0] = Some(State::default());
        let mut visits = vec![0; count];
        let mut left = BTreeSet::from([0]);
        while let Some(block) = left.pop_first() {
            self.steps += 1;
            if self.steps > count * RUNS_MAX {
                return false;
            }
            let state = states[block]
                .clone()
                .expect("only blocks that were reached");
            for (next, state) in self.run(block, state) {
                let Some(before) = &states[next] else {
                    states[next] = Some(state);
                    left.insert(next);
                    continue;
                };
                let mut joined = before.clone();
                joined.join(&state);
                if joined == *before {
                    continue;
                }
                visits[next] += 1;
                if self.plan.graph.is_loop_head[next] && visits[next] > VISITS_EXACT {
                    for (register, number) in &mut joined.numbers {
                        if let Some(before) = before.numbers.get(register) {
                            *number = number.widen(before, &limits);
                        }
                    }
                }
                states[next] = Some(joined);
                left.insert(next);
            }
        }
        for _ in 0..ROUNDS_BACK {
            let mut back: Vec<Option<State>> = vec![None; count];
            back[0] = Some(State::default());
            for (block, state) in states.iter().enumerate() {
                let Some(state) = state.clone() else {
                    continue;
                };
                for (next, state) in self.run(block, state) {
                    match &mut back[next] {
                        Some(others) => others.join(&state),
                        none => *none = Some(state),
                    }
                }
            }
            states = back;
        }
        self.wraps.clear();
        for (block, state) in states.into_iter().enumerate() {
            if let Some(state) = state {
                self.run(block, state);
            }
        }
        true
    }

    /// Follows one thread while it is certain where it goes, up to the first register that has wrapped for certain.
    pub(super) fn follow(&mut self) -> Option<Wrap> {
        let mut state = State::default();
        let mut block = 0;
        while self.steps < STEPS_MAX {
            let instructions = self.plan.graph.blocks.get(block)?.instructions.clone();
            for at in instructions.clone() {
                self.steps += 1;
                let instruction = &self.context.function.instructions[at];
                let holds = match instruction.guard {
                    Some(guard) if self.plan.followed[at] => self.decided(&state, guard)?,
                    Some(_) | None => true,
                };
                if self.plan.followed[at] && holds {
                    self.execute(&mut state, at, true);
                }
                if let Some(wrap) = self.wraps.get(&at) {
                    return Some(wrap.clone());
                }
            }
            let last = &self.context.function.instructions[instructions.end - 1];
            let found = &self.plan.graph.blocks[block];
            let leaves = matches!(last.op, Op::Bra { .. } | Op::Ret | Op::Exit | Op::Trap);
            let taken = leaves
                && match last.guard {
                    Some(guard) => self.decided(&state, guard)?,
                    None => true,
                };
            block = if taken { found.taken } else { found.next }?;
        }
        None
    }

    /// Numbers at which bounds of loops stop for a while: what the launch gives, and the ends of registers.
    fn limits(&self) -> Vec<i128> {
        let mut limits: Vec<i128> = vec![-(1 << 63), -(1 << 31), -1, 0];
        let mut add = |number: i128| limits.extend([number - 1, number, number + 1]);
        for promise in &self.contract.params {
            match &promise.value {
                PromisedValue::Bits(bits) => add(i128::from(*bits)),
                PromisedValue::Buffer {
                    entries: Some(entries),
                    ..
                } => add(i128::from(entries.greatest)),
                PromisedValue::Buffer { .. } | PromisedValue::Map { .. } => {}
            }
        }
        limits.extend([(1 << 31) - 1, (1 << 32) - 1, (1 << 63) - 1]);
        limits.sort_unstable();
        limits.dedup();
        limits
    }

    /// The states in which a block is left, by where they go.
    fn run(&mut self, block: BlockIndex, mut state: State) -> Vec<(BlockIndex, State)> {
        let instructions = self.plan.graph.blocks[block].instructions.clone();
        for at in instructions.clone() {
            if self.plan.followed[at] {
                let certain = self.context.function.instructions[at].guard.is_none();
                self.execute(&mut state, at, certain);
            }
        }
        let last = &self.context.function.instructions[instructions.end - 1];
        let found = &self.plan.graph.blocks[block];
        let leaves = matches!(last.op, Op::Bra { .. } | Op::Ret | Op::Exit | Op::Trap);
        let guard = last.guard.filter(|_| leaves);
        let mut left = Vec::new();
        for (next, taken) in [(found.taken, true), (found.next, false)] {
            let Some(next) = next else {
                continue;
            };
            let mut state = state.clone();
            if let Some(guard) = guard {
                if self
                    .decided(&state, guard)
                    .is_some_and(|holds| holds != taken)
                {
                    continue;
                }
                if let Some(number) = self.plan.slice.number(guard.register) {
                    self.refine(&mut state, number, taken != guard.negated, 8);
                }
            }
            state.settle(|register| self.plan.slice.is_live(next, register));
            left.push((next, state));
        }
        left
    }

    /// Whether a predicate holds in all threads, or in none.
    fn decided(&self, state: &State, guard: Predicate) -> Option<bool> {
        let number = self.plan.slice.number(guard.register)?;
        Some(self.holds(state, number, 8)? != guard.negated)
    }

    pub(super) fn holds(&self, state: &State, predicate: usize, depth: u32) -> Option<bool> {
        let depth = depth.checked_sub(1)?;
        match state.conditions.get(&predicate)? {
            Condition::Not(of) => Some(!self.holds(state, *of, depth)?),
            Condition::Quotient(..) | Condition::Multiple(..) | Condition::Plus(..) => None,
            Condition::Both(a, b) => {
                match (self.holds(state, *a, depth), self.holds(state, *b, depth)) {
                    (Some(false), _) | (_, Some(false)) => Some(false),
                    (Some(true), Some(true)) => Some(true),
                    (None | Some(true), None) | (None, Some(true)) => None,
                }
            }
            Condition::Either(a, b) => {
                match (self.holds(state, *a, depth), self.holds(state, *b, depth)) {
                    (Some(true), _) | (_, Some(true)) => Some(true),
                    (Some(false), Some(false)) => Some(false),
                    (None | Some(false), None) | (None, Some(false)) => None,
                }
            }
            Condition::Compare { compare, ty, a, b } => {
                let [a, b] = [a, b].map(|operand| self.value(state, *operand, *ty).taken(*ty));
                let (a, b) = (a?, b?);
                let (below, above) = (a.high < b.low, a.low > b.high);
                let equal = a.is_exact().is_some() && a.is_exact() == b.is_exact();
                let apart = below || above;
                let not_above = a.high <= b.low;
                let not_below = a.low >= b.high;
                let say = |yes: bool, no: bool| match (yes, no) {
                    (true, _) => Some(true),
                    (false, true) => Some(false),
                    (false, false) => None,
                };
                match compare {
                    Compare::Eq | Compare::Equ => say(equal, apart),
                    Compare::Ne | Compare::Neu => say(apart, equal),
                    Compare::Lt | Compare::Lo | Compare::Ltu => say(below, not_below),
                    Compare::Ge | Compare::Hs | Compare::Geu => say(not_below, below),
                    Compare::Gt | Compare::Hi | Compare::Gtu => say(above, not_above),
                    Compare::Le | Compare::Ls | Compare::Leu => say(not_above, above),
                    Compare::Num | Compare::Nan => None,
                }
            }
        }
    }

    /// A predicate holds, or does not: the registers that it compares are bounded by that.
    fn refine(&self, state: &mut State, predicate: usize, holds: bool, depth: u32) {
        let effects = state.effects.get(&predicate).cloned();
        for (register, effect) in effects.unwrap_or_default() {
            let Some((low, high)) = effect[usize::from(holds)] else {
                continue;
            };
            for alike in state.alike(register) {
                if let Some(found) = state.numbers.get_mut(&alike)
                    && found.low.max(low) <= found.high.min(high)
                {
                    found.low = found.low.max(low);
                    found.high = found.high.min(high);
                }
            }
        }
        let (Some(depth), Some(condition)) = (
            depth.checked_sub(1),
            state.conditions.get(&predicate).cloned(),
        ) else {
            return;
        };
        match condition {
            Condition::Not(of) => self.refine(state, of, !holds, depth),
            Condition::Both(a, b) if holds => {
                self.refine(state, a, true, depth);
                self.refine(state, b, true, depth);
            }
            Condition::Either(a, b) if !holds => {
                self.refine(state, a, false, depth);
                self.refine(state, b, false, depth);
            }
            Condition::Both(..)
            | Condition::Either(..)
            | Condition::Quotient(..)
            | Condition::Multiple(..)
            | Condition::Plus(..) => {}
            Condition::Compare { a, b, .. } => {
                for operand in [a, b] {
                    if let Operand::Register(register) = operand
                        && let Some(number) = self.plan.slice.number(register)
                        && let Some(bounded) = self.bounded(state, predicate, holds, register)
                    {
                        for alike in state.alike(number) {
                            if let Some(found) = state.numbers.get_mut(&alike) {
                                let (made, buffer) = (found.made, found.buffer);
                                *found = Number {
                                    made,
                                    buffer,
                                    ..bounded.clone()
                                };
                            } else {
                                state.numbers.insert(alike, bounded.clone());
                            }
                        }
                    }
                }
            }
        }
    }

    /// What predicates that compare a register say of it plus a number.
    pub(super) fn effects(
        &self,
        state: &State,
        register: RegisterId,
        plus: i128,
        predicates: &[usize],
    ) -> Vec<(usize, Effect)> {
        let of = |predicate: usize| -> Effect {
            [false, true].map(|holds| {
                let bounded = self.bounded(state, predicate, holds, register)?;
                Some((bounded.low + plus, bounded.high + plus))
            })
        };
        let effects = predicates
            .iter()
            .map(|predicate| (*predicate, of(*predicate)));
        effects
            .filter(|(_, effect)| effect.iter().any(Option::is_some))
            .collect()
    }

    /// What a register holds where a predicate holds, or does not, that compares it or a copy of it.
    pub(super) fn bounded(
        &self,
        state: &State,
        predicate: usize,
        holds: bool,
        register: RegisterId,
    ) -> Option<Number> {
        let Some(Condition::Compare { compare, ty, a, b }) = state.conditions.get(&predicate)
        else {
            return None;
        };
        let number = self.plan.slice.number(register)?;
        let alike = state.alike(number);
        let is_it = |operand: &Operand| match operand {
            Operand::Register(register) => self
                .plan
                .slice
                .number(*register)
                .is_some_and(|number| alike.contains(&number)),
            Operand::Immediate(_) | Operand::Address(..) | Operand::Special(_) => false,
        };
        let first = is_it(a);
        if !first && !is_it(b) {
            return None;
        }
        let (mine, other) = if first { (a, b) } else { (b, a) };
        let mut mine = self.value(state, *mine, *ty).taken(*ty)?;
        let other = self.value(state, *other, *ty).taken(*ty)?;
        let (less, greater, equal) = match compare {
            Compare::Eq | Compare::Equ => (false, false, true),
            Compare::Ne | Compare::Neu => (true, true, false),
            Compare::Lt | Compare::Lo | Compare::Ltu => (true, false, false),
            Compare::Ge | Compare::Hs | Compare::Geu => (false, true, true),
            Compare::Gt | Compare::Hi | Compare::Gtu => (false, true, false),
            Compare::Le | Compare::Ls | Compare::Leu => (true, false, true),
            Compare::Num | Compare::Nan => return None,
        };
        let [less, greater, equal] = [less, greater, equal].map(|may| may == holds);
        let (less, greater) = if first {
            (less, greater)
        } else {
            (greater, less)
        };
        match (less, greater, equal) {
            (true, false, equal) => mine.high = mine.high.min(other.high - i128::from(!equal)),
            (false, true, equal) => mine.low = mine.low.max(other.low + i128::from(!equal)),
            (false, false, true) => {
                mine.low = mine.low.max(other.low);
                mine.high = mine.high.min(other.high);
            }
            (true, true, _) => {
                if let Some(other) = other.is_exact() {
                    mine.low += i128::from(mine.low == other);
                    mine.high -= i128::from(mine.high == other);
                }
            }
            (false, false, false) => return None,
        }
        (mine.low <= mine.high).then_some(mine)
    }

    /// Where a register's number is taken for another type's: noted where that may be another number and an address is made
    /// from the result.
    pub(super) fn take(
        &mut self,
        at: usize,
        number: &Number,
        ty: ScalarType,
        feeds: bool,
    ) -> Number {
        if let Some(taken) = number.taken(ty) {
            return taken;
        }
        if feeds && ty.bits() == 32 {
            let (low, high) = super::number::range(ty);
            let certain = number.low > high || number.high < low;
            if self.who.is_none() || certain {
                self.wraps.entry(at).or_insert(Wrap {
                    at,
                    made: number.made,
                    low: number.low,
                    high: number.high,
                    ty,
                });
            }
        }
        Number::any(ty)
    }

    pub(super) fn feeds(&self, registers: &[RegisterId]) -> bool {
        registers
            .iter()
            .any(|register| self.plan.feeding.contains(register))
    }

    /// The buffer in whose numbers a load reads, and its promise of them.
    pub(super) fn entries(&self, state: &State, base: AddressBase) -> Option<(i128, i128)> {
        let AddressBase::Register(register) = base else {
            return None;
        };
        let number = self.plan.slice.number(register)?;
        let buffer = state.numbers.get(&number)?.buffer?;
        match &self.contract.params.get(buffer)?.value {
            PromisedValue::Buffer {
                entries: Some(entries),
                ..
            } => Some((i128::from(entries.least), i128::from(entries.greatest))),
            PromisedValue::Buffer { .. } | PromisedValue::Bits(_) | PromisedValue::Map { .. } => {
                None
            }
        }
    }
}
