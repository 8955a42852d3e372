//! What an access of shared memory meets: the accesses of its interval, and the bytes written before it.

use super::explore::{Explorer, Met};
use super::meet::{Meeting, Side, meet, meet_unless_alike};
use super::role::EVERYONE;
use super::state::{Entry, Stage, State};
use super::{Race, Unwritten};
use crate::analysis::access::{Access, Kind, shared_access};
use crate::analysis::value::Value;

impl Explorer<'_, '_> {
    /// Compares an access of shared memory with those of the interval, and adds it.
    pub(super) fn access(
        &mut self,
        state: &mut State,
        at: usize,
        access: Access,
        doing: &Value,
        node: usize,
    ) {
        let address = self
            .context
            .address(access.address, &|register| self.register(state, register));
        let met: Met = (
            at,
            self.walk.values.id(address),
            self.walk.values.id(doing.clone()),
        );
        self.walk
            .visits
            .entry(at)
            .or_default()
            .insert((met.1, met.2));
        let stage = if access.kind == Kind::Copy {
            Stage::Open
        } else {
            Stage::Thread
        };
        let mine = Entry {
            instruction: at,
            kind: access.kind,
            address: met.1,
            guard: met.2,
            stage,
            role: state.role,
        };
        self.of_role(state, mine);
        let earlier: Vec<Entry> = state.entries.iter().copied().collect();
        for entry in earlier {
            self.compare(&entry, &mine, node, Self::meeting_of);
        }
        if access.kind.writes() && access.kind != Kind::Atomic {
            self.compare(&mine, &mine, node, Self::meeting_of_one);
        }
        state.entries.insert(mine);
        self.follow_written(state, access, met, node);
    }

    /// Two accesses of which nothing orders the first before the second.
    fn compare(
        &mut self,
        first: &Entry,
        second: &Entry,
        node: usize,
        meeting_of: fn(&mut Self, &Entry, &Entry) -> Meeting,
    ) {
        let atomic = first.kind == Kind::Atomic && second.kind == Kind::Atomic;
        // A read that meets a pending copy is the question of `copy-wait`.
        let asked_elsewhere = first.kind == Kind::Copy && second.kind == Kind::Read;
        let harmless = !(first.kind.writes() || second.kind.writes());
        if atomic
            || asked_elsewhere
            || harmless
            || self
                .reported
                .contains(&(first.instruction, second.instruction))
        {
            return;
        }
        let found = meeting_of(self, first, second);
        let (pair, open) = match first.stage {
            Stage::Warp => (found.warps, found.warps_open),
            Stage::Open | Stage::Committed(_) | Stage::Thread => {
                (found.threads, found.threads_open)
            }
        };
        let which = (first.instruction, second.instruction);
        if let Some(pair) = pair {
            self.reported.insert(which);
            self.walk.races.push(Race {
                first: first.instruction,
                second: second.instruction,
                kinds: (first.kind, second.kind),
                pair,
                path: self.path(node),
            });
        } else if open {
            self.walk.open_races.insert((which.1, which.0));
        }
    }

    /// How two accesses meet.
    pub(super) fn meeting_of(&mut self, first: &Entry, second: &Entry) -> Meeting {
        let met = |entry: &Entry| (entry.instruction, entry.address, entry.guard);
        let key = (met(first), met(second));
        match self.meetings.get(&key) {
            Some(found) => *found,
            None => {
                let found = meet(
                    self.context.threads(),
                    &self.side(first),
                    &self.side(second),
                );
                self.meetings.insert(key, found);
                found
            }
        }
    }

    /// How threads meet that make one access together: not where they store one value to one place.
    fn meeting_of_one(&mut self, first: &Entry, second: &Entry) -> Meeting {
        let alike = self.context.alike().of(first.instruction);
        if alike == 0 {
            return self.meeting_of(first, second);
        }
        let sides = [first, second].map(|entry| self.side(entry));
        meet_unless_alike(self.context.threads(), &sides[0], &sides[1], alike)
    }

    fn side(&self, entry: &Entry) -> Side<'_> {
        let op = &self.context.function.instructions[entry.instruction].op;
        Side {
            address: self.walk.values.get(entry.address),
            guard: self.walk.values.get(entry.guard),
            shape: shared_access(op).expect("an access of shared memory").shape,
        }
    }

    /// Which bytes are written, and whether what is read has been.
    fn follow_written(&mut self, state: &mut State, access: Access, met: Met, node: usize) {
        if access.kind == Kind::Read || access.kind == Kind::Atomic {
            if self.reads.insert((
                state.written,
                state.wild,
                state.guessed || state.role != EVERYONE,
                met,
            )) {
                self.read(state, access, met, node);
            }
            if access.kind == Kind::Read {
                return;
            }
        }
        let key = (state.written, met);
        let known = match self.writes.get(&key) {
            Some(known) => *known,
            None => {
                let (address, guard) = (self.walk.values.get(met.1), self.walk.values.get(met.2));
                let mut ranges = Vec::new();
                let mut certain = true;
                for thread in 0..self.context.threads() {
                    if !access.shape.gives_address(thread) || guard.number(thread) == Some(0) {
                        continue;
                    }
                    match (guard.number(thread), address.number(thread)) {
                        (Some(_), Some(start)) => ranges.push((start, access.shape.bytes())),
                        _ => certain = false,
                    }
                }
                let id = self.written.with(state.written, &ranges);
                let known = certain.then_some(id);
                self.writes.insert(key, known);
                known
            }
        };
        match known {
            Some(id) => state.written = id,
            None => state.wild = true,
        }
    }

    fn read(&mut self, state: &State, access: Access, met: Met, node: usize) {
        if self
            .walk
            .unwritten
            .iter()
            .any(|found| found.at == met.0 && found.certain)
        {
            return;
        }
        let (address, guard) = (self.walk.values.get(met.1), self.walk.values.get(met.2));
        let mut found = None;
        for thread in 0..self.context.threads() {
            if !access.shape.gives_address(thread) || guard.number(thread) == Some(0) {
                continue;
            }
            // Another role may have written it.
            let known = state.role == EVERYONE && !state.wild && !state.guessed;
            let sure = guard.number(thread).is_some() && known;
            let Some(start) = address.number(thread) else {
                found = found.or(Some((thread, u64::MAX, false)));
                continue;
            };
            let bytes = start..start.saturating_add(access.shape.bytes());
            if let Some(byte) = bytes
                .into_iter()
                .find(|byte| !self.written.contains(state.written, *byte))
            {
                found = Some((thread, byte, sure));
                if sure {
                    break;
                }
            }
        }
        if let Some((thread, byte, certain)) = found {
            let path = self.path(node);
            self.walk.unwritten.push(Unwritten {
                at: met.0,
                thread,
                byte,
                certain,
                path,
            });
        }
    }
}
