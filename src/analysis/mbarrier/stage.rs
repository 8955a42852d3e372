//! Stages, and how each is followed through the paths of a role.

use super::super::walk::{CopyBytes, Event, Step, Walk, What};
use crate::contract::Contract;
use rustc_hash::FxHashSet;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;

/// What is wrong with a stage, or why it is not known.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Fault {
    Bytes { expected: u64, copied: u64 },
    Arrivals { made_for: u64, arrive: u64 },
    ReadEarly,
    Refilled,
    Released,
    ReleasedTwice,
    WaitedTwice,
    WaitsForNobody,
    NobodyArrives,
    Unpublished,
    Open(&'static str),
}

/// Places with what to say at each.
pub(super) type Sites = Vec<(usize, String)>;

/// A stage.
#[derive(Debug, Default)]
pub(super) struct Stage {
    /// The barrier that its copies complete on.
    pub(super) full: u64,
    /// The barrier by which it is handed back.
    pub(super) empty: Option<u64>,
    /// First byte and the byte after the last of each copy.
    pub(super) ranges: BTreeSet<(u64, u64)>,
    pub(super) writers: BTreeSet<usize>,
}

impl Stage {
    pub(super) fn has(&self, start: u64, end: u64) -> bool {
        self.ranges
            .iter()
            .any(|range| range.0 < end && start < range.1)
    }
}

/// All stages of a walk.
pub(super) struct Stages<'w> {
    pub(super) walk: &'w Walk,
    contract: Option<&'w Contract>,
    /// Roles that no other is part of.
    leaves: Vec<usize>,
    /// Arrivals that each barrier is made for, and where.
    pub(super) made: BTreeMap<u64, (u64, usize)>,
    pub(super) faults: BTreeMap<Fault, Sites>,
    pub(super) states: usize,
}

impl<'w> Stages<'w> {
    pub(super) fn new(walk: &'w Walk, contract: Option<&'w Contract>) -> Self {
        let is_part = |inner: &[usize], outer: &[usize]| {
            inner.len() < outer.len() && inner.iter().all(|thread| outer.contains(thread))
        };
        let leaves = (0..walk.roles.len())
            .filter(|role| {
                !walk
                    .roles
                    .iter()
                    .any(|other| is_part(other, &walk.roles[*role]))
            })
            .collect();
        Self {
            walk,
            contract,
            leaves,
            made: BTreeMap::new(),
            faults: BTreeMap::new(),
            states: 0,
        }
    }

    pub(super) fn fault(&mut self, fault: Fault, sites: Sites) {
        self.faults.entry(fault).or_insert(sites);
    }

    /// Follows a state through the paths of a leaf, with everything that happens to it; `step` gives the next state, or `None`
    /// where a path need not be followed further.
    pub(super) fn follow<S: Clone + Eq + Hash>(
        &mut self,
        leaf: usize,
        start: S,
        mut step: impl FnMut(&mut Self, S, &Event) -> Option<S>,
        mut end: impl FnMut(&mut Self, &S),
    ) {
        let walk = self.walk;
        let of_leaf = |step: &Step| {
            let role = &walk.roles[step.role];
            walk.roles[leaf].iter().all(|thread| role.contains(thread))
        };
        let on_path: Vec<bool> = walk.steps.iter().map(of_leaf).collect();
        let mut seen: FxHashSet<(usize, S)> = FxHashSet::default();
        let mut left = vec![(0, start)];
        while let Some((node, state)) = left.pop() {
            if !on_path.get(node).copied().unwrap_or(false) || !seen.insert((node, state.clone())) {
                continue;
            }
            self.states += 1;
            let mut state = Some(state);
            for event in &walk.steps[node].events {
                if let Some(before) = state {
                    state = step(self, before, event);
                }
            }
            let Some(state) = state else {
                continue;
            };
            let next = &walk.steps[node].next;
            if next.is_empty() {
                end(self, &state);
            }
            left.extend(next.iter().map(|next| (*next, state.clone())));
        }
    }

    /// How many of these threads a leaf has.
    pub(super) fn count(&self, leaf: usize, by: &[usize]) -> u64 {
        let threads = &self.walk.roles[leaf];
        let count = by.iter().filter(|thread| threads.contains(thread)).count();
        u64::try_from(count).expect("at most 1024")
    }

    pub(super) fn bytes(&self, bytes: CopyBytes) -> Option<u64> {
        match bytes {
            CopyBytes::Known(bytes) => Some(bytes),
            CopyBytes::Map(offset) => self.contract?.box_bytes(offset),
            CopyBytes::Unknown => None,
        }
    }

    pub(super) fn check(&mut self) {
        self.initialised();
        let mut stages = self.stages();
        for stage in &mut stages {
            self.pair(stage);
            self.written(stage);
            let mut handed_back = BTreeMap::new();
            for leaf in self.leaves.clone() {
                if let Some((count, at)) = self.read(stage, leaf) {
                    handed_back.insert(leaf, (count, at));
                }
            }
            let Some(empty) = stage.empty else {
                continue;
            };
            let sum: u64 = handed_back.values().map(|(count, _)| count).sum();
            let arrival = handed_back.values().map(|(_, at)| *at).next();
            match (self.made.get(&empty).copied(), arrival) {
                (Some((count, at)), Some(arrival)) if count != sum => self.fault(
                    Fault::Arrivals {
                        made_for: count,
                        arrive: sum,
                    },
                    vec![
                        (
                            arrival,
                            format!("{sum} threads of all readers arrive in a phase"),
                        ),
                        (at, "the barrier is made here".to_owned()),
                    ],
                ),
                _ => {}
            }
        }
        self.strangers(&stages);
        self.others(&stages);
    }

    /// Barriers that are waited for and are of no stage: a phase at which nobody arrives never completes; more is not asked.
    fn others(&mut self, stages: &[Stage]) {
        let (mut waits, mut arrivals) = (BTreeMap::new(), BTreeSet::new());
        let mut complete = self.walk.gaps.is_empty();
        for event in self.walk.steps.iter().flat_map(|step| &step.events) {
            match &event.what {
                What::Wait {
                    barrier, parity, ..
                } => {
                    // Before the first phase, that of parity 1 counts as complete.
                    let first = waits.entry(*barrier).or_insert((event.at, *parity));
                    if *parity == 0 {
                        *first = (event.at, 0);
                    }
                }
                What::Arrive { barrier, .. } | What::Copy { barrier, .. } => {
                    arrivals.insert(*barrier);
                }
                What::Lost(_) => complete = false,
                What::Barrier
                | What::Init { .. }
                | What::Read { .. }
                | What::Commit
                | What::Complete { .. } => {}
            }
        }
        let is_stage = |barrier: u64| {
            let mut of = stages.iter();
            of.any(|stage| stage.full == barrier || stage.empty == Some(barrier))
        };
        for (barrier, (at, parity)) in waits {
            if is_stage(barrier) {
                continue;
            }
            if complete && parity == 0 && !arrivals.contains(&barrier) {
                let label = "waits for its first phase here".to_owned();
                self.fault(Fault::NobodyArrives, vec![(at, label)]);
            } else {
                let why = "a barrier on which no copy completes is not counted";
                self.fault(Fault::Open(why), vec![(at, "this wait".to_owned())]);
            }
        }
    }

    /// Every barrier is made once, and known to all threads before another uses it.
    fn initialised(&mut self) {
        for leaf in self.leaves.clone() {
            // The barriers made since the last barrier of the CTA, and by whom.
            let start: BTreeMap<u64, usize> = BTreeMap::new();
            self.follow(
                leaf,
                start,
                |this, mut fresh, event| {
                    match &event.what {
                        What::Barrier => fresh.clear(),
                        What::Init { barrier, count, by } => {
                            fresh.insert(*barrier, by[0]);
                            let known = this.made.insert(*barrier, (*count, event.at));
                            if by.len() > 1 || known.is_some_and(|known| known != (*count, event.at)) {
                                this.fault(
                                    Fault::Open("a barrier is made more than once"),
                                    vec![(event.at, "here".to_owned())],
                                );
                            }
                        }
                        What::Arrive { barrier, by, .. } | What::Wait { barrier, by, .. } => {
                            let other = |made_by: &usize| {
                                by.iter().any(|thread| {
                                    thread != made_by && this.walk.roles[leaf].contains(thread)
                                })
                            };
                            if fresh.get(barrier).is_some_and(other) {
                                let made = this.made.get(barrier).map_or(event.at, |made| made.1);
                                this.fault(
                                    Fault::Unpublished,
                                    vec![
                                        (event.at, "it is used here".to_owned()),
                                        (made, "one thread makes it here, with no barrier of the CTA between".to_owned()),
                                    ],
                                );
                                return None;
                            }
                        }
                        What::Copy { .. }
                        | What::Read { .. }
                        | What::Commit
                        | What::Complete { .. }
                        | What::Lost(_) => {}
                    }
                    Some(fresh)
                },
                |_, _| {},
            );
        }
    }

    /// The stages: one for each barrier that copies complete on. A box whose size nobody promises is taken for an equal part of
    /// what its phase expects.
    fn stages(&mut self) -> Vec<Stage> {
        let mut stages: BTreeMap<u64, Stage> = BTreeMap::new();
        let shares = self.shares();
        let events = self.walk.steps.iter().flat_map(|step| &step.events);
        let starts: BTreeSet<u64> = events
            .filter_map(|event| {
                if let What::Copy { start, .. } = event.what {
                    Some(start)
                } else {
                    None
                }
            })
            .collect();
        for step in &self.walk.steps {
            for event in &step.events {
                let What::Copy {
                    barrier,
                    start,
                    bytes,
                    by,
                } = &event.what
                else {
                    continue;
                };
                let stage = stages.entry(*barrier).or_default();
                stage.full = *barrier;
                let end = match self.bytes(*bytes) {
                    Some(bytes) => start + bytes,
                    // No further than where another copy begins: they do not overlap.
                    None => {
                        let share = start + shares.get(barrier).copied().unwrap_or(16);
                        let next = starts.range(start + 1..).next().copied();
                        next.map_or(share, |next| share.min(next))
                    }
                };
                stage.ranges.insert((*start, end));
                let writers = self.leaves.iter();
                stage
                    .writers
                    .extend(writers.filter(|leaf| self.count(**leaf, by) > 0));
            }
        }
        stages.into_values().collect()
    }

    /// For each barrier, what its phases expect in a block divided by the copies there.
    fn shares(&self) -> BTreeMap<u64, u64> {
        let mut shares = BTreeMap::new();
        for step in &self.walk.steps {
            let mut sums: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
            for event in &step.events {
                match &event.what {
                    What::Arrive {
                        barrier, expects, ..
                    } => sums.entry(*barrier).or_default().0 += expects,
                    What::Copy { barrier, .. } => sums.entry(*barrier).or_default().1 += 1,
                    What::Barrier
                    | What::Init { .. }
                    | What::Wait { .. }
                    | What::Read { .. }
                    | What::Commit
                    | What::Complete { .. }
                    | What::Lost(_) => {}
                }
            }
            for (barrier, (bytes, copies)) in sums {
                if let Some(share) = bytes.checked_div(copies).filter(|share| *share > 0) {
                    shares.insert(barrier, share);
                }
            }
        }
        shares
    }

    /// Finds the barrier by which a stage comes back to its writer: the last that it waits for before it arrives at full, of
    /// several the one at which a role arrives that waits for full.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "nothing else changes this part"
    )]
    fn pair(&mut self, stage: &mut Stage) {
        let mut waited: BTreeSet<Option<u64>> = BTreeSet::new();
        let full = stage.full;
        for leaf in stage.writers.clone() {
            self.follow(
                leaf,
                None,
                |this, last, event| {
                    match &event.what {
                        What::Wait { barrier, by, .. }
                            if this.count(leaf, by) > 0 && *barrier != full =>
                        {
                            return Some(Some(*barrier));
                        }
                        What::Arrive { barrier, by, .. }
                            if *barrier == full && this.count(leaf, by) > 0 =>
                        {
                            waited.insert(last);
                        }
                        _ => {}
                    }
                    Some(last)
                },
                |_, _| {},
            );
        }
        let candidates: Vec<u64> = waited.iter().flatten().copied().collect();
        stage.empty = match candidates[..] {
            [] => None,
            [one] => Some(one),
            _ => {
                let mut given = candidates.iter().filter(|barrier| {
                    self.leaves.iter().any(|leaf| {
                        let does = |f: &dyn Fn(&What) -> bool| {
                            let steps = self.walk.steps.iter();
                            steps.flat_map(|step| &step.events).any(|event| f(&event.what))
                        };
                        does(&|what| matches!(what, What::Wait { barrier, by, .. } if *barrier == full && self.count(*leaf, by) > 0))
                            && does(&|what| matches!(what, What::Arrive { barrier: at, by, .. } if at == *barrier && self.count(*leaf, by) > 0))
                    })
                });
                match (given.next().copied(), given.next()) {
                    (Some(one), None) => Some(one),
                    _ => {
                        self.fault(
                            Fault::Open(
                                "its writer waits for different barriers before it fills it",
                            ),
                            vec![],
                        );
                        None
                    }
                }
            }
        };
    }

    /// Arrivals at a full barrier by a role that does not fill its stage.
    fn strangers(&mut self, stages: &[Stage]) {
        for step in &self.walk.steps {
            for event in &step.events {
                let What::Arrive { barrier, by, .. } = &event.what else {
                    continue;
                };
                let Some(stage) = stages.iter().find(|stage| stage.full == *barrier) else {
                    continue;
                };
                let is_writer = |leaf: &&usize| stage.writers.contains(leaf);
                let leaves = self.leaves.iter().filter(|leaf| self.count(**leaf, by) > 0);
                if !leaves.clone().all(|leaf| is_writer(&leaf)) {
                    let sites = vec![(event.at, "here".to_owned())];
                    self.faults
                        .entry(Fault::Open(
                            "a role arrives at its full barrier that does not fill it",
                        ))
                        .or_insert(sites);
                }
            }
        }
    }
}
