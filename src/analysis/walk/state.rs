//! What is known at a point of a path.

use crate::analysis::access::Kind;
use crate::analysis::control_flow::BlockIndex;
use crate::analysis::value::ValueId;
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet};

/// How far an access is ordered before what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Stage {
    /// A copy whose group is not committed.
    Open,
    /// A copy whose group is committed, and so many after it.
    Committed(u32),
    /// Done, as far as its own thread knows.
    Thread,
    /// Ordered before what its warp does.
    Warp,
}

/// An access that not every thread is ordered after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) instruction: usize,
    pub(super) kind: Kind,
    pub(super) address: ValueId,
    pub(super) guard: ValueId,
    pub(super) stage: Stage,
    /// Who made it, as far as threads had gone separate ways for good.
    pub(super) role: usize,
}

/// Index of a set of written bytes in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct WrittenId(usize);

/// A comparison of two numbers that are the same in all threads: `a < b`, or `a = b`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Comparison {
    pub(super) equal: bool,
    pub(super) signed: bool,
    pub(super) bits: u32,
    pub(super) a: ValueId,
    pub(super) b: ValueId,
}

/// A point of a path: the start of a block.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) block: BlockIndex,
    /// Which threads are here: an index into the walk's roles.
    pub(super) role: usize,
    /// Values of the registers of the slice; `None` where dead.
    pub(super) registers: Vec<Option<ValueId>>,
    /// What the predicates of the slice say, by number of the register: a comparison, negated or not.
    pub(super) conditions: BTreeMap<usize, (Comparison, bool)>,
    /// Comparisons that the path has decided.
    pub(super) facts: BTreeMap<Comparison, bool>,
    /// The interval.
    pub(super) entries: BTreeSet<Entry>,
    /// Shared bytes written for certain.
    pub(super) written: WrittenId,
    /// True where a write went who knows where.
    pub(super) wild: bool,
    /// True where the path took a branch whose condition is not known.
    pub(super) guessed: bool,
}

impl State {
    /// Every entry moved on; dropped where `f` gives none.
    fn advance(&mut self, f: impl Fn(Stage) -> Option<Stage>) {
        self.entries = self
            .entries
            .iter()
            .filter_map(|entry| {
                Some(Entry {
                    stage: f(entry.stage)?,
                    ..*entry
                })
            })
            .collect();
    }

    /// `cp.async.commit_group`; ages stop at `cap`.
    pub(super) fn commit(&mut self, cap: u32) {
        self.advance(|stage| {
            Some(match stage {
                Stage::Open => Stage::Committed(0),
                Stage::Committed(age) => Stage::Committed(age.saturating_add(1).min(cap)),
                Stage::Thread | Stage::Warp => stage,
            })
        });
    }

    /// `cp.async.wait_group`
    pub(super) fn wait(&mut self, groups: u32) {
        self.advance(|stage| {
            Some(match stage {
                Stage::Committed(age) if age >= groups => Stage::Thread,
                Stage::Open | Stage::Committed(_) | Stage::Thread | Stage::Warp => stage,
            })
        });
    }

    /// `cp.async.wait_all`
    pub(super) fn wait_all(&mut self) {
        self.advance(|stage| {
            Some(match stage {
                Stage::Open | Stage::Committed(_) => Stage::Thread,
                Stage::Thread | Stage::Warp => stage,
            })
        });
    }

    /// A barrier of the CTA.
    pub(super) fn barrier(&mut self) {
        self.advance(|stage| match stage {
            Stage::Thread | Stage::Warp => None,
            Stage::Open | Stage::Committed(_) => Some(stage),
        });
    }

    /// A named barrier of all threads of the role, and no others.
    pub(super) fn role_barrier(&mut self) {
        let role = self.role;
        self.entries.retain(|entry| {
            entry.role != role || matches!(entry.stage, Stage::Open | Stage::Committed(_))
        });
    }

    /// `bar.warp.sync` of whole warps.
    pub(super) fn warp_barrier(&mut self) {
        self.advance(|stage| {
            Some(match stage {
                Stage::Thread | Stage::Warp => Stage::Warp,
                Stage::Open | Stage::Committed(_) => stage,
            })
        });
    }
}

/// Sets of shared bytes, each once.
#[derive(Debug)]
pub(super) struct WrittenSets {
    all: Vec<Vec<u64>>,
    ids: FxHashMap<Vec<u64>, WrittenId>,
}

/// Shared bytes that are followed: what any card has.
const BYTES_MAX: u64 = 256 * 1024;

impl WrittenSets {
    /// The table, with the empty set.
    pub(super) fn new() -> (Self, WrittenId) {
        let mut sets = Self {
            all: Vec::new(),
            ids: FxHashMap::default(),
        };
        let empty = sets.id(Vec::new());
        (sets, empty)
    }

    fn id(&mut self, set: Vec<u64>) -> WrittenId {
        if let Some(id) = self.ids.get(&set) {
            return *id;
        }
        let id = WrittenId(self.all.len());
        self.all.push(set.clone());
        self.ids.insert(set, id);
        id
    }

    /// The set with these ranges added.
    pub(super) fn with(&mut self, id: WrittenId, ranges: &[(u64, u64)]) -> WrittenId {
        let mut set = self.all[id.0].clone();
        for (start, bytes) in ranges {
            for byte in *start..start.saturating_add(*bytes).min(BYTES_MAX) {
                let word = usize::try_from(byte / 64).expect("below the limit");
                if word >= set.len() {
                    set.resize(word + 1, 0);
                }
                set[word] |= 1 << (byte % 64);
            }
        }
        self.id(set)
    }

    /// The bytes of two sets together.
    pub(super) fn union(&mut self, one: WrittenId, other: WrittenId) -> WrittenId {
        if one == other {
            return one;
        }
        let (mut long, short) = (self.all[one.0].clone(), &self.all[other.0]);
        if long.len() < short.len() {
            long.resize(short.len(), 0);
        }
        long.iter_mut().zip(short).for_each(|(a, b)| *a |= b);
        self.id(long)
    }

    /// Whether a byte is in the set.
    pub(super) fn contains(&self, id: WrittenId, byte: u64) -> bool {
        let word = usize::try_from(byte / 64).unwrap_or(usize::MAX);
        self.all[id.0]
            .get(word)
            .is_some_and(|word| word >> (byte % 64) & 1 == 1)
    }
}
