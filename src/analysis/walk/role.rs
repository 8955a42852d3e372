//! Roles: threads that part by a known condition and never meet at a barrier of the CTA again.
//!
//! A kernel whose warps have different tasks branches once, by the number of the warp, and each task then runs to the end of the
//! kernel beside the others. Each is walked by itself, as if the others did not exist: to its threads a number that they
//! share is one number, and a condition that is the same in all of them is followed both ways. What an access of one role meets in
//! another is asked when all have been walked: nothing but barriers in memory and named barriers orders them.

use super::aligned;
use super::explore::Explorer;
use super::state::{Entry, State};
use crate::analysis::access::shared_access;
use crate::analysis::control_flow::{BlockIndex, Graph};
use crate::analysis::uniformity::{self, Uniformity};
use crate::analysis::value::Value;
use crate::ptx::{Function, Op, RegisterId, Sm90};
use rustc_hash::FxHashSet;
use std::collections::BTreeSet;

/// The role of all threads.
pub(super) const EVERYONE: usize = 0;

/// Roles that are told apart.
const ROLES_MAX: usize = 16;

/// Threads of one task.
#[derive(Clone, Debug)]
pub(super) struct Role {
    pub(super) threads: Vec<usize>,
    /// One in its threads.
    pub(super) active: Value,
    /// Whether it has every warp whole or not at all.
    pub(super) warps: bool,
}

impl Role {
    pub(super) fn new(threads: Vec<usize>, all: usize) -> Self {
        let mut bits = vec![0; all];
        for thread in &threads {
            bits[*thread] = 1;
        }
        let warps = bits
            .chunks(32)
            .all(|warp| warp.iter().all(|bit| *bit == warp[0]));
        Self {
            threads,
            active: Value::each(bits.into_iter()),
            warps,
        }
    }

    /// A value as its threads see it.
    pub(super) fn view(&self, value: &Value) -> Value {
        if self.active.uniform() == Some(1) {
            value.clone()
        } else {
            value.within(&self.threads)
        }
    }
}

/// Whether an instruction waits for a barrier in memory, or starts a copy that completes on one.
fn is_handover(op: &Op) -> bool {
    if let Op::Sm90(op) = op {
        matches!(
            **op,
            Sm90::MbarrierWait(_) | Sm90::BulkLoad { .. } | Sm90::TensorLoad { .. }
        )
    } else {
        false
    }
}

impl Explorer<'_, '_> {
    /// Whether threads that part at the end of a block have tasks of their own: they copy, or wait for others by barriers in
    /// memory or of a part of the CTA, and no barrier of the CTA follows, nor what lanes of a warp that has parted do together.
    pub(super) fn parts_for_good(&self, block: BlockIndex, condition: &Value) -> bool {
        if self.roles.len() >= ROLES_MAX {
            return false;
        }
        let meeting = self.graph.meeting[block];
        let any = |blocks: &[BlockIndex], f: &dyn Fn(&Op) -> bool| {
            let mut instructions = blocks
                .iter()
                .flat_map(|block| self.graph.blocks[*block].instructions.clone());
            instructions.any(|at| f(&self.context.function.instructions[at].op))
        };
        let tasks = self.graph.between(block, meeting);
        let waits = any(&tasks, &|op| {
            is_handover(op)
                || matches!(
                    op,
                    Op::BarrierArrive { .. }
                        | Op::BarrierSync {
                            threads: Some(_),
                            ..
                        }
                )
        });
        let mut after = meeting.map_or_else(Vec::new, |meeting| self.graph.between(meeting, None));
        after.extend(meeting);
        let meets = any(&after, &|op| {
            matches!(
                op,
                Op::BarrierSync { threads: None, .. } | Op::BarrierRed { threads: None, .. }
            )
        });
        let whole_warps = uniformity::of(self.context.threads(), condition) != Uniformity::Varying;
        waits && !meets && (whole_warps || !any(&after, &|op| aligned(op).is_some()))
    }

    /// Goes on with each task by itself.
    pub(super) fn split(&mut self, node: usize, state: &State, condition: &Value) {
        let block = self.graph.blocks[state.block].clone();
        for (target, taken) in [(block.taken, true), (block.next, false)] {
            let holds = |thread: &usize| (condition.number(*thread) != Some(0)) == taken;
            let threads = self.roles[state.role].threads.iter().copied();
            let threads: Vec<usize> = threads.filter(holds).collect();
            let known = self.roles.iter().position(|role| role.threads == threads);
            let role = known.unwrap_or_else(|| {
                self.roles.push(Role::new(threads, self.context.threads()));
                self.roles.len() - 1
            });
            let Some(block) = target else {
                continue;
            };
            let mut state = State {
                block,
                role,
                ..state.clone()
            };
            for id in state.registers.iter_mut().flatten() {
                let value = self.roles[role].view(self.walk.values.get(*id));
                *id = self.walk.values.id(value);
            }
            self.enter(state, Some(node));
        }
    }

    /// Compares the accesses of each two roles of which neither is part of the other.
    pub(super) fn compare_roles(&mut self) {
        let all: Vec<(usize, Entry)> = self
            .of_roles
            .iter()
            .flat_map(|(role, entries)| entries.iter().map(|entry| (*role, *entry)))
            .collect();
        let mut met = BTreeSet::new();
        for (i, (role, first)) in all.iter().enumerate() {
            for (other, second) in &all[i + 1..] {
                let (ours, theirs) = (&self.roles[*role].threads, &self.roles[*other].threads);
                let pair = (first.instruction, second.instruction);
                let apart = role != other && ours.iter().all(|thread| !theirs.contains(thread));
                if !apart || met.contains(&pair) {
                    continue;
                }
                let [first, second] = [first, second].map(|entry| {
                    // An unknown of one role is another in another.
                    let address = self.walk.values.get(entry.address).forgotten();
                    Entry {
                        address: self.walk.values.id(address),
                        ..*entry
                    }
                });
                if self.may_meet(&first, &second) {
                    met.insert(pair);
                }
            }
        }
        self.walk.between_roles = met;
    }

    fn may_meet(&mut self, first: &Entry, second: &Entry) -> bool {
        use crate::analysis::access::Kind;
        let atomic = first.kind == Kind::Atomic && second.kind == Kind::Atomic;
        if atomic || !(first.kind.writes() || second.kind.writes()) {
            return false;
        }
        let found = self.meeting_of(first, second);
        found.threads.is_some() || found.threads_open
    }

    /// Notes an access of a role that is not everyone.
    pub(super) fn of_role(&mut self, state: &State, entry: Entry) {
        if state.role != EVERYONE {
            self.of_roles.entry(state.role).or_default().insert(entry);
        }
    }
}

/// Instructions that wait for a phase of a barrier and are jumped back to until it is complete: where the wait fails, only
/// instructions that change nothing lie on the way back.
pub(super) fn spins(function: &Function, graph: &Graph) -> FxHashSet<usize> {
    let mut spins = FxHashSet::default();
    for (index, block) in graph.blocks.iter().enumerate() {
        for at in block.instructions.clone() {
            let Op::Sm90(op) = &function.instructions[at].op else {
                continue;
            };
            if let Sm90::MbarrierWait(wait) = &**op
                && function.instructions[at].guard.is_none()
                && is_repeated(function, graph, (index, at), wait.d)
            {
                spins.insert(at);
            }
        }
    }
    spins
}

/// Whether control comes back to a wait from where its result is false.
fn is_repeated(
    function: &Function,
    graph: &Graph,
    (home, at): (BlockIndex, usize),
    result: RegisterId,
) -> bool {
    let block = &graph.blocks[home];
    let last = block.instructions.end - 1;
    let (Op::Bra { .. }, Some(guard)) = (
        &function.instructions[last].op,
        function.instructions[last].guard,
    ) else {
        return false;
    };
    if guard.register != result || block.taken == block.next {
        return false;
    }
    let mut next = if guard.negated {
        block.taken
    } else {
        block.next
    };
    let mut inside: Vec<usize> = block.instructions.clone().collect();
    for _ in 0..4 {
        if next == Some(home) {
            return is_harmless(function, &inside, at);
        }
        let Some(on) = next.map(|next| &graph.blocks[next]) else {
            return false;
        };
        inside.extend(on.instructions.clone());
        let mut successors = on.successors();
        next = successors.next();
        if successors.next().is_some() {
            return false;
        }
    }
    false
}

/// Whether instructions that are repeated do the same every time, and nothing but the wait.
fn is_harmless(function: &Function, inside: &[usize], wait: usize) -> bool {
    let instructions = || inside.iter().map(|at| (*at, &function.instructions[*at]));
    let written: Vec<RegisterId> = instructions()
        .filter(|(at, _)| *at != wait)
        .flat_map(|(_, instruction)| instruction.op.writes())
        .collect();
    instructions().all(|(at, instruction)| {
        at == wait
            || matches!(instruction.op, Op::Bra { .. } | Op::Nanosleep { .. })
            || (shared_access(&instruction.op).is_none()
                && matches!(
                    instruction.op,
                    Op::Mov { .. }
                        | Op::IntegerBinary { .. }
                        | Op::Logic { .. }
                        | Op::Shift { .. }
                        | Op::Mad { .. }
                        | Op::Selp { .. }
                        | Op::Setp { .. }
                        | Op::Cvt { .. }
                )
                && instruction.guard.is_none()
                && instruction
                    .op
                    .reads()
                    .iter()
                    .all(|read| !written.contains(read)))
    })
}
