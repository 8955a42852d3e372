//! Barriers of the CTA and of a part of it.
//!
//! A barrier of the whole CTA ends the interval. A named barrier of fewer threads ends it where it is of all threads of one
//! role and of no others; any other orders some threads before some, which is not followed: what lies before it and what lies
//! after it may be ordered or not.

use super::explore::{Explorer, Here};
use super::state::{Entry, State};
use super::{Divergence, NamedBarrier};
use crate::analysis::value::{Bits, Value};
use crate::ptx::{Op, Operand};

impl Explorer<'_, '_> {
    /// A barrier; `certain` where all threads of the role that are followed come to it. False where the way cannot be followed
    /// further.
    #[expect(clippy::wildcard_enum_match_arm, reason = "only barriers come here")]
    pub(super) fn barrier(
        &mut self,
        state: &mut State,
        (at, op): (usize, &Op),
        who: &Value,
        certain: bool,
        here: Here<'_>,
    ) -> bool {
        let (barrier, threads) = match op {
            Op::BarrierSync {
                barrier, threads, ..
            }
            | Op::BarrierRed {
                barrier, threads, ..
            } => (*barrier, *threads),
            Op::BarrierArrive {
                barrier, threads, ..
            } => (*barrier, Some(*threads)),
            _ => unreachable!("a barrier"),
        };
        let waits = !matches!(op, Op::BarrierArrive { .. });
        let all = self.context.threads();
        if waits && self.is_whole_cta(state, threads) {
            if self.roles[state.role].threads.len() < all {
                self.walk.gaps.insert((
                    at,
                    "a barrier of the whole CTA where warps have gone separate ways",
                ));
                return false;
            }
            if !self.is_together(at, all, who, here) {
                self.walk
                    .gaps
                    .insert((at, "threads may part around this barrier"));
                return false;
            }
            state.barrier();
            self.events.push(super::event::Event::of_barrier(at));
            return true;
        }
        self.is_together(at, 32, who, here);
        let read = |register| self.register(state, register);
        let number = self.context.operand(barrier, &read);
        let asked = threads.map(|threads| self.context.operand(threads, &read));
        let number = self.roles[state.role].view(&number).uniform();
        let asked = asked.and_then(|asked| self.roles[state.role].view(&asked).uniform());
        let (Some(number), Some(asked)) = (number, asked) else {
            self.walk
                .gaps
                .insert((at, "which named barrier this is depends on data"));
            return false;
        };
        let members: Vec<usize> = (0..all)
            .filter(|thread| who.number(*thread) != Some(0))
            .collect();
        let own = waits && certain && u64::try_from(members.len()) == Ok(asked);
        self.walk
            .named
            .entry(number)
            .or_default()
            .insert(NamedBarrier {
                at,
                asked,
                role: state.role,
                members,
                own,
            });
        if own {
            state.role_barrier();
        } else {
            self.loosen(state);
        }
        true
    }

    /// A named barrier that was taken for one role's own must not be another's too.
    pub(super) fn check_named(&mut self) {
        for uses in self.walk.named.values() {
            let others = |own: &NamedBarrier| uses.iter().any(|other| other.role != own.role);
            if let Some(own) = uses.iter().find(|own| own.own && others(own)) {
                self.walk.gaps.insert((
                    own.at,
                    "a named barrier of all warps of a task is used by another too",
                ));
            }
        }
    }

    /// From here on it is not known whether an access of the interval is ordered before what follows.
    pub(super) fn loosen(&mut self, state: &mut State) {
        let values = &mut self.walk.values;
        state.entries = state
            .entries
            .iter()
            .map(|entry| {
                let guard = values.get(entry.guard);
                let maybe = |lane: Bits| match lane.value() {
                    Some(0) => lane,
                    _ => Bits::UNKNOWN.cut(1),
                };
                let guard = Value::combine(&[guard], |bits| maybe(bits[0]));
                Entry {
                    guard: values.id(guard),
                    ..*entry
                }
            })
            .collect();
    }

    /// Whether all threads that must execute an instruction together do: groups of so many, each whole or absent. What is not so
    /// is noted.
    pub(super) fn is_together(
        &mut self,
        at: usize,
        group: usize,
        doing: &Value,
        here: Here<'_>,
    ) -> bool {
        let threads = self.context.threads();
        let mut split = None;
        if doing.is_known() {
            let does = |thread: usize| doing.number(thread) != Some(0);
            for first in (0..threads).step_by(group) {
                let members = first..(first + group).min(threads);
                let one = members.clone().find(|thread| does(*thread));
                let other = members.clone().find(|thread| !does(*thread));
                split = split.or(one.zip(other));
            }
            if split.is_none() {
                return true;
            }
        } else if !doing.differs() {
            return true;
        }
        let known = |found: &&mut Divergence| found.at == at;
        match self.walk.divergences.iter_mut().find(known) {
            Some(found) => {
                if found.threads.is_none() && split.is_some() {
                    (found.threads, found.branch) = (split, here.branch);
                }
            }
            None => self.walk.divergences.push(Divergence {
                at,
                branch: here.branch,
                threads: split,
            }),
        }
        false
    }

    fn is_whole_cta(&self, state: &State, threads: Option<Operand>) -> bool {
        threads.is_none_or(|threads| {
            let threads = self
                .context
                .operand(threads, &|register| self.register(state, register));
            threads.uniform() == u64::try_from(self.context.threads()).ok()
        })
    }
}
