//! The cells of a plan, in the order they run, and their parts for several processes.

use std::collections::BTreeMap;
use std::fmt;

use super::plan::{Plan, Task};

/// One unit of work and of results.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// CONTEXT-QUESTION.
    pub pair: String,
    /// Noise seed.
    pub seed: u64,
    /// Noise level.
    pub level: f64,
    /// Attention arm.
    pub arm: String,
    /// Share of the contexts, in a plan that has shares.
    pub share: Option<f64>,
}

/// The stable key of a cell: `pair=de-en seed=0 level=0.25 arm=dense`, and ` share=0.5` where there are shares.
impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pair,
            seed,
            level,
            arm,
            share,
        } = self;
        write!(f, "pair={pair} seed={seed} level={level} arm={arm}")?;
        share.map_or(Ok(()), |share| write!(f, " share={share}"))
    }
}

/// A part of a study's cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Which one, from 0.
    index: usize,
    /// How many there are.
    count: usize,
}

impl Shard {
    /// All cells.
    pub const WHOLE: Self = Self { index: 0, count: 1 };

    /// Part of a file's name: `.shard-0-of-4`; empty for the whole.
    #[must_use]
    pub fn suffix(self) -> String {
        if self == Self::WHOLE {
            String::new()
        } else {
            format!(".shard-{}-of-{}", self.index, self.count)
        }
    }
}

/// `i/n`, `i` from 0 to `n`: `n/n` is `0/n`, so that counting from 0 and counting from 1 both name every shard once.
impl std::str::FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text
            .split_once('/')
            .and_then(|(i, n)| Some((i.parse::<usize>().ok()?, n.parse::<usize>().ok()?)));
        match parsed {
            Some((index, count)) if count > 0 && index <= count => Ok(Self {
                index: index % count,
                count,
            }),
            _ => Err(format!(
                "'{text}' is no shard: write I/N with I from 0 to N and N above 0"
            )),
        }
    }
}

/// The context language of a pair's text.
pub(super) fn context_of(pair: &str) -> &str {
    pair.split('-').next().unwrap_or(pair)
}

impl Plan {
    /// All cells, in the order they run: arms inside levels, because they share a document's texts. With shares, seeds
    /// come first, then shares, then context languages: what a stopped run has is whole in all of them.
    #[must_use]
    pub fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        let cell = |pair: &String, seed: u64, level: f64, arm: &String, share: Option<f64>| Cell {
            pair: pair.clone(),
            seed,
            level,
            arm: arm.clone(),
            share,
        };
        if self.corpus_shares.is_empty() {
            for pair in &self.pairs {
                for &seed in &self.seeds {
                    for &level in &self.levels {
                        let of_arm = |arm| cell(pair, seed, level, arm, None);
                        cells.extend(self.arms.iter().map(of_arm));
                    }
                }
            }
            return cells;
        }
        let mut sets: Vec<&str> = Vec::new();
        for pair in &self.pairs {
            if !sets.contains(&context_of(pair)) {
                sets.push(context_of(pair));
            }
        }
        for &seed in &self.seeds {
            for &share in &self.corpus_shares {
                for &set in &sets {
                    for &level in &self.levels {
                        for arm in &self.arms {
                            let of_set = self.pairs.iter().filter(|pair| context_of(pair) == set);
                            cells.extend(
                                of_set.map(|pair| cell(pair, seed, level, arm, Some(share))),
                            );
                        }
                    }
                }
            }
        }
        cells
    }

    /// Name of the documents that a cell searches: its pair, or what stands before the hyphen where pairs share documents.
    #[must_use]
    pub fn set_of(&self, cell: &Cell) -> String {
        if cell.share.is_some() || self.task != Task::MlqaRetrieval {
            context_of(&cell.pair).to_owned()
        } else {
            cell.pair.clone()
        }
    }

    /// Whether a cell's result says what composing its documents took: where pairs share documents the first pair's
    /// does, under the first arm; the others would repeat it.
    #[must_use]
    pub fn tells_noise(&self, cell: &Cell) -> bool {
        let set = context_of(&cell.pair);
        let mut of_set = self.pairs.iter().filter(|pair| context_of(pair) == set);
        cell.share.is_none()
            || (self.arms.first() == Some(&cell.arm) && of_set.next() == Some(&cell.pair))
    }

    /// The cells of one shard. All cells that search the same documents under the same arm at the same level, whatever
    /// their seed and share, are in one shard, so that no vector is made twice.
    #[must_use]
    pub fn cells_of(&self, shard: Shard) -> Vec<Cell> {
        let mut index_of: BTreeMap<(String, String, String), usize> = BTreeMap::new();
        let mut cells = self.cells();
        cells.retain(|cell| {
            let key = (self.set_of(cell), cell.level.to_string(), cell.arm.clone());
            let next = index_of.len();
            *index_of.entry(key).or_insert(next) % shard.count == shard.index
        });
        cells
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        model = "m"
        pairs = ["de-en"]
        arms = ["dense", "window:0.25"]
        levels = [0, 0.25]
        seeds = [3]
    "#;

    #[test]
    fn shards_part_the_cells() {
        let plan = Plan::from_toml(&TEXT.replace(
            "pairs = [\"de-en\"]",
            "pairs = [\"de-en\", \"ar-en\", \"de-ar\"]\ncorpus_shares = [0.5, 1]",
        ))
        .unwrap();
        let all: Vec<String> = plan.cells().iter().map(Cell::to_string).collect();
        assert_eq!(all[1], "pair=de-ar seed=3 level=0 arm=dense share=0.5");
        assert_eq!(all.len(), 24);
        for (first, count) in [(0, 3_usize), (1, 3), (0, 5), (0, 1)] {
            let mut parts: Vec<String> = Vec::new();
            for index in first..first + count {
                let shard: Shard = format!("{index}/{count}").parse().unwrap();
                parts.extend(plan.cells_of(shard).iter().map(Cell::to_string));
            }
            let mut want = all.clone();
            parts.sort();
            want.sort();
            assert_eq!(parts, want);
        }
        for text in ["", "1", "3/2", "a/b", "0/0", "-1/2"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }
}
