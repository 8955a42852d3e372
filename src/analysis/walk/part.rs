//! Threads that go different ways, up to where they meet.

use super::explore::{Explorer, Here, choose};
use super::state::State;
use crate::analysis::control_flow::BlockIndex;
use crate::analysis::value::Value;
use crate::ptx::{Op, RegisterId};
use rustc_hash::FxHashSet;

/// Blocks run on all ways from one branch before the walk gives up on it.
const WAYS_MAX: usize = 3000;

/// A way: where it goes on, what is known, who is on it.
struct Way {
    block: Option<BlockIndex>,
    state: State,
    active: Value,
}

/// The threads that are on a way and for which a condition holds; `None` if there are none.
fn narrowed(active: &Value, condition: &Value) -> Option<Value> {
    let mut narrowed = Value::combine(&[active, condition], |bits| bits[0].and(bits[1]).cut(1));
    if !narrowed.is_known() && (active.differs() || condition.differs()) {
        narrowed.varying = true;
    }
    (narrowed.uniform() != Some(0)).then_some(narrowed)
}

impl Explorer<'_, '_> {
    /// Follows every way from the branch or exit at `at` whose condition differs between threads, then goes on where
    /// they meet with the accesses of all.
    pub(super) fn part(&mut self, node: usize, state: State, at: usize, condition: &Value) {
        let function = self.context.function;
        let block = self.graph.blocks[state.block].clone();
        // Threads that leave never meet the others: theirs is the rest of the function.
        let meeting = self.graph.meeting[state.block];
        let written: Vec<RegisterId> = self
            .graph
            .between(state.block, meeting)
            .into_iter()
            .flat_map(|block| self.graph.blocks[block].instructions.clone())
            .flat_map(|inside| function.instructions[inside].op.writes())
            .collect();
        let mut joined = state.clone();
        let mut ends: Vec<(State, Value)> = Vec::new();
        let mut ways = Vec::new();
        let everyone = self.roles[state.role].active.clone();
        for (block, holds) in [(block.taken, false), (block.next, true)] {
            let active = condition.map_predicate(holds);
            if let Some(active) = narrowed(&everyone, &differing(active, condition)) {
                ways.push(Way {
                    block,
                    state: state.clone(),
                    active,
                });
            }
        }
        let (mut seen, mut count) = (FxHashSet::default(), 0);
        while let Some(mut way) = ways.pop() {
            let Some(block) = way.block.filter(|block| Some(*block) != meeting) else {
                joined.entries.extend(&way.state.entries);
                joined.wild |= way.state.wild;
                if meeting.is_some() {
                    ends.push((way.state, way.active));
                }
                continue;
            };
            way.state.block = block;
            self.settle(&mut way.state);
            count += 1;
            if count > WAYS_MAX {
                self.walk
                    .gaps
                    .insert((at, "too many ways before the threads meet again"));
                return;
            }
            if !seen.insert((way.state.clone(), way.active.clone())) {
                continue;
            }
            // What the other ways did is unordered with what this one does.
            way.state.entries.extend(&joined.entries);
            let here = Here {
                node,
                active: &way.active,
                branch: Some(at),
            };
            if !self.run_block(&mut way.state, here) {
                continue;
            }
            let block = self.graph.blocks[block].clone();
            let last = &function.instructions[block.instructions.end - 1];
            let leaves = matches!(last.op, Op::Bra { .. } | Op::Ret | Op::Exit | Op::Trap);
            let guard = self.predicate(&way.state, last.guard.filter(|_| leaves));
            let mut go = |block: Option<BlockIndex>, condition: Value| {
                if let Some(active) = narrowed(&way.active, &condition) {
                    ways.push(Way {
                        block,
                        state: way.state.clone(),
                        active,
                    });
                }
            };
            if leaves {
                let not = differing(guard.map_predicate(true), &guard);
                go(block.taken, guard);
                go(block.next, not);
            } else {
                go(block.next, guard);
            }
        }
        for register in written {
            let value = merged(self, &ends, register);
            self.write(&mut joined, register, value);
        }
        for (state, _) in &ends {
            // Sets hold what threads wrote that are known to be on the way.
            joined.written = self.written.union(joined.written, state.written);
        }
        self.go(node, &joined, meeting);
    }
}

/// A negation that keeps the mark of differing between threads.
fn differing(mut value: Value, of: &Value) -> Value {
    if of.differs() && !value.is_known() {
        value.varying = true;
    }
    value
}

/// A register where ways meet: each thread has that of the way it was on, where that is known.
fn merged(explorer: &Explorer<'_, '_>, ends: &[(State, Value)], register: RegisterId) -> Value {
    let mut merged: Option<Value> = None;
    if ends.is_empty() || ends.iter().any(|(_, active)| !active.is_known()) {
        return Value::unknown(true);
    }
    for (state, active) in ends {
        let value = explorer.register(state, register);
        merged = Some(match merged {
            None => value,
            Some(others) => choose(active, &value, &others),
        });
    }
    merged.unwrap_or_else(|| Value::unknown(true))
}
