//! What a study does, as a struct and as TOML text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::mlqa::Pair;
use crate::noise::Level;

/// A study, complete: with the data and the model it determines every rank.
///
/// ```
/// let plan = flashproof::study::Plan::from_toml(
///     r#"
///     model = "multilingual-e5-small, 4 bits"
///     pairs = ["de-en", "ar-en"]
///     arms = ["dense", "window:0.25"]
///     noise = "distractor"
///     levels = [0, 0.5, 1]
///     seeds = [0, 1]
///     contexts_per_pair = 100
///     "#,
/// )?;
/// assert_eq!(plan.cells().len(), 2 * 2 * 3 * 2);
/// # Ok::<(), flashproof::study::PlanError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Model and weights, as a person names them; part of the plan so that results of two are never mixed.
    pub model: String,
    /// The task.
    #[serde(default)]
    pub task: Task,
    /// Pairs, CONTEXT-QUESTION.
    pub pairs: Vec<String>,
    /// Attention arms, in the embedder's own words; `dense` is the baseline of differences.
    pub arms: Vec<String>,
    /// Noise family.
    #[serde(default)]
    pub noise: Family,
    /// Noise levels.
    pub levels: Vec<f64>,
    /// Noise seeds; a point of a curve is the mean over them.
    pub seeds: Vec<u64>,
    /// Contexts sampled for each corpus; all of them if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contexts_per_pair: Option<usize>,
    /// Questions asked of each pair at most, drawn from those of the split whose contexts are in the corpus; all if
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queries_per_pair: Option<usize>,
    /// Seed of these samples: the same corpus under every noise seed.
    #[serde(default)]
    pub sample_seed: u64,
    /// Tokens a noisy document aims at, without the encoder's prefix and special tokens.
    #[serde(default = "default_total_tokens")]
    pub total_tokens: usize,
    /// Tokens the gold crop keeps to.
    #[serde(default = "default_gold_tokens")]
    pub gold_tokens: usize,
    /// Which questions are asked.
    #[serde(default)]
    pub split: Split,
    /// Shares of each language's contexts to search through, ascending, each holding the ones before it: a run that
    /// is stopped has answered for a smaller corpus in every language. Pairs of one context language then share its
    /// documents, whose crops hold every answer that any pair of the plan asks for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub corpus_shares: Vec<f64>,
    /// Calibrated thresholds by the name that arms give them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub thresholds: BTreeMap<String, ThresholdFile>,
    /// What is to be tested, written down before the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registered: Option<Registration>,
}

/// A file of thresholds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThresholdFile {
    /// Path, from the plan's folder.
    pub file: String,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
}

/// The tests of a registered run. All are over the cross-lingual pairs and nDCG@10.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// The block-sparse arm.
    pub block: String,
    /// Primary contrast: `block` minus this arm, area over the noise levels. The best local arm on exploration
    /// questions at equal attention FLOPs.
    pub local: String,
    /// Secondary contrast: the best local arm at equal density.
    pub local_equal_density: String,
    /// "Preserves": the one-sided 95 % lower bound of `block` minus this arm lies above `-margin`.
    pub dense: String,
    /// In nDCG, 0 to 1.
    pub margin: f64,
    /// Bootstrap resamples, and permutations.
    pub resamples: u32,
    /// Which results the choice of the local arms was made on.
    pub chosen_on: String,
}

fn default_total_tokens() -> usize {
    480
}

fn default_gold_tokens() -> usize {
    128
}

/// What is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Task {
    /// Retrieval of contexts by questions, as MTEB's `MLQARetrieval`.
    #[default]
    #[serde(rename = "mlqa-retrieval")]
    MlqaRetrieval,
}

/// A family of noise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// Whole contexts as they are: level 0 alone, one seed.
    None,
    /// Share of distractor slots at fixed length (N1).
    #[default]
    Distractor,
}

/// Which questions are asked. The corpus does not depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// Questions of exploration articles.
    #[default]
    Exploration,
    /// Questions of confirmation articles: only in a plan with a registration, committed before it runs.
    Confirmation,
    /// All questions: only to compare the dense arm on clean contexts with published scores, which are over all.
    All,
}

impl Split {
    /// Its name in a plan.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Exploration => "exploration",
            Self::Confirmation => "confirmation",
            Self::All => "all",
        }
    }
}

/// Why a plan was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// No TOML, an unknown key, or a value of another type.
    #[error("{0}")]
    Toml(String),
    /// A list that must name something names nothing.
    #[error("{field} is empty")]
    Empty {
        /// The field.
        field: &'static str,
    },
    /// The same thing twice.
    #[error("{field} has {value} twice")]
    Twice {
        /// The field.
        field: &'static str,
        /// What is there twice.
        value: String,
    },
    /// A value outside its domain.
    #[error("{field}: {reason}")]
    Value {
        /// The field.
        field: &'static str,
        /// What is wrong and what is allowed.
        reason: String,
    },
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

impl Plan {
    /// A valid plan from TOML text.
    ///
    /// # Errors
    /// [`PlanError`], as [`Plan::check`] and for text that is no such TOML.
    pub fn from_toml(text: &str) -> Result<Self, PlanError> {
        let plan: Self =
            toml::from_str(text).map_err(|error| PlanError::Toml(error.to_string()))?;
        plan.check()?;
        Ok(plan)
    }

    /// The plan as TOML that reads back.
    ///
    /// # Errors
    /// [`PlanError::Toml`] for a seed above 2^63 - 1, which TOML cannot hold.
    pub fn to_toml(&self) -> Result<String, PlanError> {
        toml::to_string(self).map_err(|error| PlanError::Toml(error.to_string()))
    }

    /// Refuses a plan that asks for nothing, for something twice, or for what does not exist. (Whether an arm exists
    /// is the embedder's to say.)
    ///
    /// # Errors
    /// [`PlanError`] for the first thing wrong.
    pub fn check(&self) -> Result<(), PlanError> {
        let levels: Vec<String> = self.levels.iter().map(f64::to_string).collect();
        let seeds: Vec<String> = self.seeds.iter().map(u64::to_string).collect();
        for (field, values) in [
            ("pairs", &self.pairs),
            ("arms", &self.arms),
            ("levels", &levels),
            ("seeds", &seeds),
        ] {
            if values.is_empty() {
                return Err(PlanError::Empty { field });
            }
            let mut seen = BTreeSet::new();
            if let Some(value) = values.iter().find(|value| !seen.insert(*value)) {
                return Err(PlanError::Twice {
                    field,
                    value: value.clone(),
                });
            }
        }
        self.languages()?;
        let wrong = |field: &'static str, reason: String| Err(PlanError::Value { field, reason });
        if let Some(arm) = self
            .arms
            .iter()
            .find(|arm| arm.trim().is_empty() || arm.contains(char::is_whitespace))
        {
            return wrong("arms", format!("'{arm}' is no arm: a word without spaces"));
        }
        for &level in &self.levels {
            if level.is_sign_negative() {
                return wrong("levels", format!("{level} is negative"));
            }
            if let Err(error) = Level::new(level) {
                return wrong("levels", error.to_string());
            }
        }
        self.check_shares()?;
        self.check_registration()?;
        let is_clean = self.noise == Family::None;
        if is_clean && (self.levels.iter().any(|&level| level > 0.0) || self.seeds.len() > 1) {
            return wrong(
                "noise",
                "\"none\" goes with levels = [0] and one seed".to_owned(),
            );
        }
        if self.split == Split::All && !(is_clean && self.arms == ["dense"]) {
            let reason = "\"all\" is for the dense arm without noise, to compare with published scores; every other \
                          study before the registered run asks exploration questions only";
            return wrong("split", reason.to_owned());
        }
        if self.contexts_per_pair.is_some_and(|count| count < 2) {
            return wrong(
                "contexts_per_pair",
                "a corpus needs at least 2 contexts".to_owned(),
            );
        }
        if self.queries_per_pair == Some(0) {
            return wrong("queries_per_pair", "0 questions have no mean".to_owned());
        }
        if self.gold_tokens == 0 || self.total_tokens <= self.gold_tokens {
            let Self {
                total_tokens,
                gold_tokens,
                ..
            } = self;
            let reason = format!(
                "{total_tokens} with gold_tokens = {gold_tokens}: want total_tokens > gold_tokens > 0"
            );
            return wrong("total_tokens", reason);
        }
        Ok(())
    }

    /// The pairs, parsed.
    ///
    /// # Errors
    /// [`PlanError::Value`] for text that is no pair of MLQA.
    pub fn languages(&self) -> Result<Vec<Pair>, PlanError> {
        let parse = |text: &String| {
            text.parse().map_err(|error| PlanError::Value {
                field: "pairs",
                reason: format!("{error}"),
            })
        };
        self.pairs.iter().map(parse).collect()
    }

    fn check_shares(&self) -> Result<(), PlanError> {
        let field = "corpus_shares";
        let refuse = |reason: String| Err(PlanError::Value { field, reason });
        if let Some(share) = self
            .corpus_shares
            .iter()
            .find(|share| !(**share > 0.0 && **share <= 1.0))
        {
            return refuse(format!("{share} is not above 0 and at most 1"));
        }
        if let Some(pair) = self
            .corpus_shares
            .windows(2)
            .find(|pair| pair[0] >= pair[1])
        {
            return refuse(format!(
                "{} comes before {}: want them ascending",
                pair[0], pair[1]
            ));
        }
        if !self.corpus_shares.is_empty()
            && (self.contexts_per_pair.is_some() || self.queries_per_pair.is_some())
        {
            return refuse("goes without contexts_per_pair and queries_per_pair".to_owned());
        }
        Ok(())
    }

    fn check_registration(&self) -> Result<(), PlanError> {
        let Some(registered) = &self.registered else {
            return if self.split == Split::Confirmation {
                Err(PlanError::Value {
                    field: "split",
                    reason: "\"confirmation\" is for a plan with a [registered] table, committed before it runs; \
                             ask exploration questions until then"
                        .to_owned(),
                })
            } else {
                Ok(())
            };
        };
        let refuse = |reason: String| {
            Err(PlanError::Value {
                field: "registered",
                reason,
            })
        };
        for arm in [
            &registered.block,
            &registered.local,
            &registered.local_equal_density,
            &registered.dense,
        ] {
            if !self.arms.contains(arm) {
                return refuse(format!("'{arm}' is none of the plan's arms"));
            }
        }
        if !(registered.margin > 0.0 && registered.margin < 1.0) {
            return refuse(format!(
                "margin {} is not between 0 and 1",
                registered.margin
            ));
        }
        if registered.resamples < 40 {
            return refuse(format!(
                "{} resamples; want at least 40",
                registered.resamples
            ));
        }
        Ok(())
    }

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

    /// Name of the documents that a cell searches: its pair, or its context language where pairs share documents.
    #[must_use]
    pub fn set_of(&self, cell: &Cell) -> String {
        if cell.share.is_some() {
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

    /// SHA-256, in hexadecimal, of the plan as JSON with its fields in the order of the struct.
    #[must_use]
    pub fn sha256(&self) -> String {
        let digest: [u8; 32] = Sha256::digest(self.to_json().as_bytes()).into();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// What differs from `other`, one `field: this, not that` each.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let (ours, theirs) = (self.fields(), other.fields());
        let names: BTreeSet<&String> = [&ours, &theirs]
            .into_iter()
            .filter_map(serde_json::Value::as_object)
            .flat_map(|map| map.keys())
            .collect();
        let value = |of: &serde_json::Value, name: &str| {
            of.get(name).map_or("all".to_owned(), ToString::to_string)
        };
        names
            .into_iter()
            .filter(|name| ours.get(name.as_str()) != theirs.get(name.as_str()))
            .map(|name| {
                format!(
                    "{name}: {}, not {}",
                    value(&ours, name),
                    value(&theirs, name)
                )
            })
            .collect()
    }

    /// Unlike a JSON value's, the order of these fields cannot depend on how the JSON crate was built.
    fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a struct of texts and finite numbers is JSON")
    }

    fn fields(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("a struct of texts and finite numbers is JSON")
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
    fn a_plan_reads_back_and_keeps_its_hash() {
        let plan = Plan::from_toml(TEXT).unwrap();
        assert_eq!(
            (plan.total_tokens, plan.gold_tokens, plan.split),
            (480, 128, Split::Exploration)
        );
        let again = Plan::from_toml(&plan.to_toml().unwrap()).unwrap();
        assert_eq!((again.sha256(), &again), (plan.sha256(), &plan));
        let keys: Vec<String> = plan.cells().iter().map(Cell::to_string).collect();
        assert_eq!(keys[3], "pair=de-en seed=3 level=0.25 arm=window:0.25");
        let other = Plan {
            contexts_per_pair: Some(5),
            ..plan.clone()
        };
        assert_ne!(other.sha256(), plan.sha256());
        assert_eq!(plan.differences(&other), ["contexts_per_pair: all, not 5"]);
    }

    #[track_caller]
    fn refused(from: &str, to: &str, message: &str) {
        assert!(TEXT.contains(from));
        let error = Plan::from_toml(&TEXT.replace(from, to))
            .expect_err("must be refused")
            .to_string();
        assert!(error.contains(message), "{error}");
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        refused("seeds = [3]", "seeds = []", "seeds is empty");
        refused("[0, 0.25]", "[0, 0.0]", "levels has 0 twice");
        refused("[0, 0.25]", "[0.3]", "noise level 0.3 is none of");
        refused("de-en", "de-xx", "unknown language 'xx'");
        refused("\"dense\"", "\"a b\"", "'a b' is no arm");
        refused("model", "modle", "unknown field `modle`");
        refused(
            "seeds = [3]",
            "seeds = [3]\nnoise = \"none\"",
            "\"none\" goes with levels = [0]",
        );
        refused(
            "seeds = [3]",
            "seeds = [3]\nsplit = \"all\"",
            "\"all\" is for the dense arm",
        );
        refused(
            "seeds = [3]",
            "seeds = [3]\nsplit = \"confirmation\"",
            "\"confirmation\" is for a plan with a [registered] table",
        );
        refused(
            "seeds = [3]",
            "seeds = [3]\ncontexts_per_pair = 1",
            "at least 2",
        );
        refused(
            "seeds = [3]",
            "seeds = [3]\nqueries_per_pair = 0",
            "0 questions",
        );
        refused(
            "seeds = [3]",
            "seeds = [3]\ntotal_tokens = 128",
            "128 with gold_tokens = 128",
        );
        for (shares, message) in [
            ("[0.5, 0.5]", "0.5 comes before 0.5"),
            ("[0, 1]", "0 is not above 0"),
            (
                "[0.5, 1]\ncontexts_per_pair = 9",
                "goes without contexts_per_pair",
            ),
        ] {
            refused(
                "seeds = [3]",
                &format!("seeds = [3]\ncorpus_shares = {shares}"),
                message,
            );
        }
        let registered = "seeds = [3]\n[registered]\nblock = \"dense\"\nlocal = \"window:0.25\"\ndense = \"dense\"\n\
                          local_equal_density = \"bare\"\nmargin = 0.02\nresamples = 100\nchosen_on = \"x\"";
        refused(
            "seeds = [3]",
            registered,
            "'bare' is none of the plan's arms",
        );
    }

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
            (parts.sort(), want.sort());
            assert_eq!(parts, want);
        }
        for text in ["", "1", "3/2", "a/b", "0/0", "-1/2"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }
}
