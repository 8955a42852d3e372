//! What a study does, as a struct and as TOML text.

use std::collections::{BTreeMap, BTreeSet};

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
    use super::super::cell::Cell;
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
}
