//! What a study does, as a struct and as TOML text.

mod check;
mod defaults;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::encoder::Precision;
use crate::mlqa::{Language, Pair, UnknownLanguage};
use crate::noise::Length;

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
    /// What the factors of the model's affine maps are rounded to.
    #[serde(default, skip_serializing_if = "is_f32")]
    pub precision: Precision,
    /// The task.
    #[serde(default)]
    pub task: Task,
    /// Pairs, CONTEXT-QUESTION; in the sentence tasks `all-QUESTION` searches the whole pool; `all` of a folder.
    pub pairs: Vec<String>,
    /// Languages of the pool that `all` searches, in the sentence tasks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pool: Vec<String>,
    /// The folder of a `beir` task, from the plan's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// Name of its judgements, `qrels/NAME.tsv`; `test` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qrels: Option<String>,
    /// Attention arms, in the embedder's own words; `dense` is the baseline of differences.
    pub arms: Vec<String>,
    /// Noise family.
    #[serde(default)]
    pub noise: Family,
    /// Whether a text with distractors has one length or grows with its level.
    #[serde(default, skip_serializing_if = "is_fixed")]
    pub length: Length,
    /// Whether character errors and embedding noise keep off the answers.
    #[serde(default, skip_serializing_if = "is_false")]
    pub protect_answers: bool,
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

// Defaults are left out, so that plans from before a field keep their hash.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over references"
)]
fn is_f32(precision: &Precision) -> bool {
    *precision == Precision::F32
}

fn is_fixed(length: &Length) -> bool {
    *length == Length::Fixed
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over references"
)]
fn is_false(value: &bool) -> bool {
    !*value
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
    /// Sentences that answer, among MLQA's contexts (LAReQA).
    #[serde(rename = "mlqa-r")]
    MlqaR,
    /// Sentences that answer, among XQuAD's parallel contexts (LAReQA).
    #[serde(rename = "xquad-r")]
    XquadR,
    /// Any folder of BEIR's shape.
    #[serde(rename = "beir")]
    Beir,
}

/// What a pair says for all languages, and a folder's only pair.
pub(super) const POOL: &str = "all";

impl Task {
    /// Whether its questions are MLQA's, which are in two halves.
    #[must_use]
    pub fn has_halves(self) -> bool {
        match self {
            Self::MlqaRetrieval | Self::MlqaR => true,
            Self::XquadR | Self::Beir => false,
        }
    }
}

/// A family of noise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// Whole contexts as they are: level 0 alone, one seed.
    None,
    /// Share of distractor slots (N1).
    #[default]
    Distractor,
    /// The same with the nearest paragraphs that do not answer (N2).
    HardDistractor,
    /// Character errors at a rate, in whole contexts (N4).
    Characters,
    /// Gaussian noise on token embeddings, in units of their root mean square, in whole contexts (N6).
    Embedding,
}

impl Family {
    /// Whether it puts other texts beside a gold crop.
    #[must_use]
    pub fn is_of_distractors(self) -> bool {
        match self {
            Self::Distractor | Self::HardDistractor => true,
            Self::None | Self::Characters | Self::Embedding => false,
        }
    }

    /// The levels that its definition names.
    #[must_use]
    pub fn usual_levels(self) -> &'static [f64] {
        match self {
            Self::None => &[0.0],
            Self::Distractor | Self::HardDistractor => &[0.0, 0.25, 0.5, 0.75, 1.0],
            Self::Characters => &[0.0, 0.02, 0.05, 0.1, 0.2, 0.3],
            Self::Embedding => &[0.0, 0.1, 0.25, 0.5, 1.0, 2.0],
        }
    }
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
        let fail = |error: toml::de::Error| PlanError::Toml(error.to_string());
        let table: toml::Table = toml::from_str(text).map_err(fail)?;
        // Only tasks that have values of their own go through a table, which forgets the lines that errors name.
        let plan: Self = match defaults::of_task(&table) {
            Some(filled) => filled.try_into().map_err(fail)?,
            None => toml::from_str(text).map_err(fail)?,
        };
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

    /// The languages of the pool.
    ///
    /// # Errors
    /// [`PlanError::Value`] for text that is no language.
    pub fn pool_languages(&self) -> Result<Vec<Language>, PlanError> {
        let parse = |text: &String| {
            text.parse()
                .map_err(|error: UnknownLanguage| PlanError::Value {
                    field: "pool",
                    reason: error.to_string(),
                })
        };
        self.pool.iter().map(parse).collect()
    }

    /// Model, weights and, where factors are rounded, their type: what vectors depend on besides text and arm.
    #[must_use]
    pub fn encoder(&self) -> String {
        match self.precision {
            Precision::F32 => self.model.clone(),
            Precision::Bf16 => format!("{}, bf16 products", self.model),
        }
    }

    /// The pairs of a sentence task: what is searched, `None` for the pool, and the language of the questions.
    ///
    /// # Errors
    /// [`PlanError::Value`] for text that is no such pair.
    pub fn pool_pairs(&self) -> Result<Vec<(Option<Language>, Language)>, PlanError> {
        let wrong = |reason: String| PlanError::Value {
            field: "pairs",
            reason,
        };
        let parse = |text: &String| {
            let (context, question) = text.split_once('-').ok_or_else(|| {
                wrong(format!("'{text}' is not all-QUESTION or CONTEXT-QUESTION"))
            })?;
            let language = |code: &str| {
                let parsed: Result<Language, UnknownLanguage> = code.parse();
                parsed.map_err(|error| wrong(format!("'{text}': {error}")))
            };
            let context = match context {
                POOL => None,
                code => Some(language(code)?),
            };
            Ok((context, language(question)?))
        };
        self.pairs.iter().map(parse).collect()
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
            let unset = if name.ends_with("_per_pair") {
                "all"
            } else {
                "the default"
            };
            of.get(name).map_or(unset.to_owned(), ToString::to_string)
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
        // What a plan without the key said stays so: results from before it are still of the same plan.
        assert!(!plan.to_toml().unwrap().contains("precision"));
        let rounded = Plan::from_toml(&format!("precision = \"bf16\"\n{TEXT}")).unwrap();
        assert_eq!(
            plan.differences(&rounded),
            ["precision: the default, not \"bf16\""]
        );
        assert_eq!(
            (plan.encoder(), rounded.encoder()),
            ("m".to_owned(), "m, bf16 products".to_owned())
        );
    }
}
