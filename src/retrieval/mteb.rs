//! MTEB's two files: predictions, `{subset: {split: {query: {document: score}}}}`, and the result of a task.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::trec::{Run, TrecErrorKind};

/// Why a file was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {reason}")]
pub struct MtebError {
    /// Name the text was read under.
    pub file: String,
    /// What is wrong, and where.
    pub reason: String,
}

/// A ranking for every subset and split.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MtebPredictions {
    /// By subset, then split.
    pub runs: BTreeMap<String, BTreeMap<String, Run>>,
}

impl MtebPredictions {
    /// From the text of a predictions file; `name` is for messages. MTEB's own `mteb_model_meta` is passed over.
    ///
    /// # Errors
    /// [`MtebError`] where the text is none.
    pub fn parse(name: &str, text: &str) -> Result<Self, MtebError> {
        type Subsets = BTreeMap<String, Value>;
        type Splits = BTreeMap<String, BTreeMap<String, BTreeMap<String, f64>>>;
        let fail = |reason: String| MtebError {
            file: name.to_owned(),
            reason,
        };
        let file: Subsets = serde_json::from_str(text).map_err(|error| fail(error.to_string()))?;
        let mut found = Self::default();
        for (subset, value) in file {
            if subset == "mteb_model_meta" {
                continue;
            }
            let splits: Splits = serde_json::from_value(value)
                .map_err(|error| fail(format!("subset '{subset}': {error}")))?;
            let of_subset = found.runs.entry(subset.clone()).or_default();
            for (split, queries) in splits {
                let fail = |error: TrecErrorKind| {
                    fail(format!("subset '{subset}', split '{split}': {error}"))
                };
                let mut run = Run::new("mteb").map_err(fail)?;
                for (query, documents) in &queries {
                    for (document, score) in documents {
                        run.insert(query, document, *score).map_err(fail)?;
                    }
                }
                of_subset.insert(split, run);
            }
        }
        if found.runs.values().all(BTreeMap::is_empty) {
            return Err(fail("no subset with a split in it".to_owned()));
        }
        Ok(found)
    }

    /// The run of a subset and split; without names the only one.
    ///
    /// # Errors
    /// Which there are, where the names fit none or several.
    pub fn run(&self, subset: Option<&str>, split: Option<&str>) -> Result<&Run, String> {
        let fits = |wanted: Option<&str>, name: &String| wanted.is_none_or(|wanted| wanted == name);
        let all = self.runs.iter().flat_map(|(subset, splits)| {
            splits.iter().map(move |(split, run)| (subset, split, run))
        });
        let found: Vec<(&String, &String, &Run)> = all
            .filter(|(of, at, _)| fits(subset, of) && fits(split, at))
            .collect();
        match found[..] {
            [(_, _, run)] => Ok(run),
            // None, or more than one.
            _ => {
                let names = self.runs.iter().flat_map(|(subset, splits)| {
                    splits.keys().map(move |split| format!("{subset}/{split}"))
                });
                let names: Vec<String> = names.collect();
                let count = found.len();
                Err(format!(
                    "{count} subsets and splits fit; choose one by --subset and --split: {}",
                    names.join(" ")
                ))
            }
        }
    }

    /// As JSON that [`Self::parse`] and MTEB read, names ascending.
    #[must_use]
    pub fn json(&self) -> String {
        let of_run = |run: &Run| -> Value {
            let queries = run.queries().map(|query| {
                let ranking = run.ranking(query).into_iter();
                let documents: serde_json::Map<String, Value> = ranking
                    .map(|(document, score)| (document.to_owned(), Value::from(f64::from(score))))
                    .collect();
                (query.to_owned(), Value::Object(documents))
            });
            Value::Object(queries.collect())
        };
        let subsets = self.runs.iter().map(|(subset, splits)| {
            let splits = splits
                .iter()
                .map(|(split, run)| (split.clone(), of_run(run)));
            (subset.clone(), Value::Object(splits.collect()))
        });
        Value::Object(subsets.collect()).to_string()
    }
}

/// MTEB's result of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MtebResult {
    /// Revision of the data set.
    pub dataset_revision: String,
    /// The task.
    pub task_name: String,
    /// Version of MTEB, or of what wrote the file.
    pub mteb_version: String,
    /// Scores of each subset, by split.
    pub scores: BTreeMap<String, Vec<MtebScores>>,
    /// Seconds.
    #[serde(default)]
    pub evaluation_time: Option<f64>,
    /// Emissions, where they were measured.
    #[serde(default)]
    pub kg_co2_emissions: Option<f64>,
}

/// Scores of a subset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MtebScores {
    /// The task's main score, in [0, 1].
    pub main_score: f64,
    /// The subset.
    pub hf_subset: String,
    /// Its languages, such as `deu-Latn`.
    pub languages: Vec<String>,
    /// Everything else that MTEB writes: `ndcg_at_10`, `recall_at_1`, ...
    #[serde(flatten)]
    pub others: BTreeMap<String, Value>,
}

impl MtebResult {
    /// From the text of a result file; `name` is for messages.
    ///
    /// # Errors
    /// [`MtebError`] where the text is none, or a main score is not in [0, 1].
    pub fn parse(name: &str, text: &str) -> Result<Self, MtebError> {
        let fail = |reason: String| MtebError {
            file: name.to_owned(),
            reason,
        };
        let found: Self = serde_json::from_str(text).map_err(|error| fail(error.to_string()))?;
        for (split, subsets) in &found.scores {
            for subset in subsets {
                if !(0.0..=1.0).contains(&subset.main_score) {
                    return Err(fail(format!(
                        "scores.{split}, subset '{}': main_score {} is not from 0 to 1",
                        subset.hf_subset, subset.main_score
                    )));
                }
            }
        }
        if found.scores.values().all(Vec::is_empty) {
            return Err(fail("no scores in it".to_owned()));
        }
        Ok(found)
    }

    /// As indented JSON that [`Self::parse`] and MTEB read.
    ///
    /// # Errors
    /// [`MtebError`] for a number that JSON cannot hold.
    pub fn json(&self) -> Result<String, MtebError> {
        serde_json::to_string_pretty(self).map_err(|error| MtebError {
            file: self.task_name.clone(),
            reason: error.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn predictions_are_read_and_written() {
        let text = r#"{"mteb_model_meta": {"name": "m"}, "deu-eng": {"test": {"q1": {"d1": 0.5, "d2": 0.75}}, "dev": {"q": {"d": 1}}}}"#;
        let found = MtebPredictions::parse("p.json", text).unwrap();
        let run = found.run(None, Some("test")).unwrap();
        assert_eq!(run.ranking("q1"), [("d2", 0.75), ("d1", 0.5)]);
        assert_eq!(
            MtebPredictions::parse("again", &found.json()).unwrap(),
            found
        );
        let error = found.run(None, None).unwrap_err();
        assert!(
            error.contains("2 subsets and splits fit")
                && error.contains("deu-eng/dev deu-eng/test"),
            "{error}"
        );
        for (text, want) in [
            ("[]", "p.json: "),
            ("{}", "p.json: no subset"),
            (
                r#"{"a": {"test": {"q": {"d": "x"}}}}"#,
                "p.json: subset 'a': ",
            ),
            (
                r#"{"a": {"test": {"q 1": {"d": 1}}}}"#,
                "p.json: subset 'a', split 'test': id 'q 1'",
            ),
        ] {
            let error = MtebPredictions::parse("p.json", text)
                .unwrap_err()
                .to_string();
            assert!(error.starts_with(want), "{error}");
        }
    }

    #[test]
    fn results_are_read_and_written() {
        let text = r#"{"dataset_revision": "5bef", "task_name": "MLQARetrieval", "mteb_version": "2.1.17",
            "scores": {"validation": [{"ndcg_at_10": 0.7, "main_score": 0.7, "hf_subset": "deu-eng",
            "languages": ["deu-Latn", "eng-Latn"]}]}, "evaluation_time": 3.5, "kg_co2_emissions": null}"#;
        let found = MtebResult::parse("r.json", text).unwrap();
        assert_eq!(found.scores["validation"][0].others["ndcg_at_10"], 0.7);
        assert_eq!(
            MtebResult::parse("again", &found.json().unwrap()).unwrap(),
            found
        );
        for (from, to, want) in [
            (
                "\"main_score\": 0.7",
                "\"main_score\": 70",
                "main_score 70 is not from 0 to 1",
            ),
            ("\"task_name\"", "\"name\"", "missing field `task_name`"),
        ] {
            let error = MtebResult::parse("r.json", &text.replace(from, to));
            let error = error.unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
    }
}
