//! Results on disk: JSON lines, append-only, each line whole or absent.
//!
//! Line 1 is the plan with its hash; then, before a pair's first cell, its judgements (question ids and clusters, one
//! entry a relevant document); then a line a cell, its ranks in the order of the pair's judgements. So a results file
//! is enough to draw its curves, without the data set.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::noise::{CharacterReport, Report};

use super::cell::Cell;
use super::plan::Plan;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    flashproof_study: u32,
    plan_sha256: String,
    plan: Plan,
}

impl Header {
    fn of(plan: &Plan) -> Self {
        Self {
            flashproof_study: VERSION,
            plan_sha256: plan.sha256(),
            plan: plan.clone(),
        }
    }
}

/// Version of the format.
const VERSION: u32 = 1;

/// Questions of a pair, one entry a (question, relevant document).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judgements {
    /// CONTEXT-QUESTION.
    pub pair: String,
    /// Share of its contexts, in a plan that has shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// Documents of the corpus.
    pub documents: usize,
    /// SHA-256 of the documents' ids, each followed by a newline.
    pub document_ids_sha256: String,
    /// SHA-256 of `query_ids`, each followed by a newline; every cell of the pair repeats it.
    pub query_ids_sha256: String,
    /// SHA-256 of lines of a question's id, a space and the SHA-256 of its text; absent in files from before it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub questions_sha256: Option<String>,
    /// Question ids; one that has several relevant documents stands there as often, in a row.
    pub query_ids: Vec<String>,
    /// Cluster of each entry: a hash of its English article's title.
    pub clusters: Vec<String>,
    /// Grade of each entry, where not all are 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grades: Vec<i32>,
}

/// Result of one cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellLine {
    /// [`Cell`]'s text.
    pub key: String,
    /// That of the pair's judgements.
    pub query_ids_sha256: String,
    /// Rank from 1 of each judgement's document; 0 where it was not found.
    pub ranks: Vec<u16>,
    /// Mean over documents of the share of (query, key) pairs attended.
    pub realised_density: f64,
    /// Mean over documents of what was achieved: share of distractor tokens, character error rate, or relative deviation of
    /// the embeddings.
    pub achieved_noise: f64,
    /// Mean over documents of their tokens, without prefix and special tokens.
    pub mean_tokens: f64,
    /// What composing the documents took; absent without noise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise: Option<Report>,
    /// Character errors that were made; absent in other families.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub characters: Option<CharacterReport>,
    /// Wall-clock seconds of the cell, what it shared with earlier ones left out. Only while the study runs: a file
    /// that has all cells is a function of its plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

/// A results file as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Results {
    /// Its plan.
    pub plan: Plan,
    /// Judgements by pair; with shares, by `PAIR share=X`.
    pub judgements: BTreeMap<String, Judgements>,
    /// Cells by key.
    pub cells: BTreeMap<String, CellLine>,
}

/// Why a results file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// The system refused.
    #[error("{path}: {cause}")]
    Io {
        /// The file.
        path: String,
        /// What the system says.
        cause: String,
    },
    /// Another run writes it.
    #[error("{path} is in use by another run")]
    InUse {
        /// The file.
        path: String,
    },
    /// A whole line that is no result.
    #[error("{path} line {line}: {reason}")]
    Line {
        /// The file.
        path: String,
        /// Line number from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// No plan in it at all.
    #[error("{path} holds no results")]
    Empty {
        /// The file.
        path: String,
    },
    /// The results are of another plan.
    #[error(
        "{path} holds results of another plan ({}); choose another file, or remove this one to start over",
        differences.join("; ")
    )]
    PlanChanged {
        /// The file.
        path: String,
        /// Field by field: `field: asked for, not what the file has`.
        differences: Vec<String>,
    },
    /// Two shards disagree.
    #[error(
        "{path} has other {what} than the shards before it; one of them was made with other data or another encoder"
    )]
    Conflict {
        /// The file.
        path: String,
        /// What differs.
        what: String,
    },
    /// The data gives other questions or documents than the file has.
    #[error(
        "{path}: pair {pair} has other {what} now than when these results were made; the data has changed"
    )]
    DataChanged {
        /// The file.
        path: String,
        /// The pair.
        pair: String,
        /// `questions` or `documents`.
        what: &'static str,
    },
}

/// SHA-256 in hexadecimal of lines, each ended by a newline.
pub(super) fn sha256_of_lines<'a>(lines: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    for line in lines {
        hash.update(line);
        hash.update("\n");
    }
    let digest: [u8; 32] = hash.finalize().into();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Judgements {
    /// Where [`Results::judgements`] has it.
    fn key(&self) -> String {
        match self.share {
            Some(share) => format!("{} share={share}", self.pair),
            None => self.pair.clone(),
        }
    }
}

/// Few enough digits for any parser to read back the very number that was written.
pub(super) fn six_decimals(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// Key of the judgements that a cell's ranks are of, from the cell's key.
pub(super) fn judgements_key(cell: &str) -> String {
    let words = || cell.split(' ');
    let pair = words().find_map(|word| word.strip_prefix("pair="));
    let share = words().find(|word| word.starts_with("share="));
    let parts: Vec<&str> = pair.into_iter().chain(share).collect();
    parts.join(" ")
}

impl Results {
    /// The file with all its cells in the order of the plan and without their seconds: a function of the plan, the
    /// data and which cells are there.
    ///
    /// # Errors
    /// [`ResultsError::Io`] for what cannot be written as JSON.
    pub fn canonical(&self) -> Result<String, ResultsError> {
        let fail = |error: serde_json::Error| io("results as JSON", &error.into());
        let mut text = serde_json::to_string(&Header::of(&self.plan)).map_err(fail)? + "\n";
        let cells = self.plan.cells();
        let mut written = BTreeSet::new();
        for cell in &cells {
            let key = judgements_key(&cell.to_string());
            if let Some(judgements) = self.judgements.get(&key)
                && written.insert(key)
            {
                text += &serde_json::to_string(judgements).map_err(fail)?;
                text.push('\n');
            }
        }
        for cell in &cells {
            let Some(line) = self.cells.get(&cell.to_string()) else {
                continue;
            };
            let timeless = CellLine {
                realised_density: six_decimals(line.realised_density),
                achieved_noise: six_decimals(line.achieved_noise),
                mean_tokens: six_decimals(line.mean_tokens),
                seconds: None,
                noise: line.noise.filter(|_| self.plan.tells_noise(cell)),
                characters: line.characters.filter(|_| self.plan.tells_noise(cell)),
                ..line.clone()
            };
            text += &serde_json::to_string(&timeless).map_err(fail)?;
            text.push('\n');
        }
        Ok(text)
    }

    /// The results at one share of the contexts, as those of a plan without shares and with these seeds alone.
    #[must_use]
    pub fn at(&self, share: f64, seeds: &[u64]) -> Self {
        let plan = Plan {
            corpus_shares: Vec::new(),
            seeds: seeds.to_vec(),
            ..self.plan.clone()
        };
        let ending = format!(" share={share}");
        let plain = |key: &String| key.strip_suffix(&ending).map(str::to_owned);
        let wanted: BTreeSet<String> = plan.cells().iter().map(Cell::to_string).collect();
        Self {
            judgements: self
                .judgements
                .iter()
                .filter_map(|(key, judgements)| Some((plain(key)?, judgements.clone())))
                .collect(),
            cells: self
                .cells
                .iter()
                .filter_map(|(key, cell)| Some((plain(key)?, cell.clone())))
                .filter(|(key, _)| wanted.contains(key))
                .collect(),
            plan,
        }
    }

    /// How far a plan with shares has come: the largest share that is whole for its first seed, and the seeds that are
    /// whole at that share. `None` while the first seed has no whole share.
    #[must_use]
    pub fn reached(&self) -> Option<(f64, Vec<u64>)> {
        let mut missing: BTreeMap<(u64, String), usize> = BTreeMap::new();
        for cell in self.plan.cells() {
            let share = cell.share?.to_string();
            let count = missing.entry((cell.seed, share)).or_default();
            *count += usize::from(!self.cells.contains_key(&cell.to_string()));
        }
        let is_whole = |seed: u64, share: f64| missing.get(&(seed, share.to_string())) == Some(&0);
        let first = *self.plan.seeds.first()?;
        let mut shares = self.plan.corpus_shares.iter().copied();
        let share = shares.rfind(|&share| is_whole(first, share))?;
        let seeds = self.plan.seeds.iter().copied();
        Some((share, seeds.filter(|&seed| is_whole(seed, share)).collect()))
    }

    /// Reads a finished or unfinished results file; half a line at its end is ignored.
    ///
    /// # Errors
    /// [`ResultsError`] for a file that is absent, empty, or has a line that is no result.
    pub fn read(path: &Path) -> Result<Self, ResultsError> {
        let name = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|error| io(&name, &error))?;
        let whole = whole_lines(&bytes);
        parse(&name, &bytes[..whole])?.ok_or(ResultsError::Empty { path: name })
    }
}

/// Length of the part of `bytes` that ends in a newline.
fn whole_lines(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |at| at + 1)
}

fn io(path: &str, error: &std::io::Error) -> ResultsError {
    ResultsError::Io {
        path: path.to_owned(),
        cause: error.to_string(),
    }
}

fn parse(path: &str, bytes: &[u8]) -> Result<Option<Results>, ResultsError> {
    let mut results: Option<Results> = None;
    let mut expected = BTreeSet::new();
    for (index, text) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
        let fail = |reason: String| ResultsError::Line {
            path: path.to_owned(),
            line: index + 1,
            reason,
        };
        let Some(results) = &mut results else {
            let header: Header =
                serde_json::from_slice(text).map_err(|error| fail(format!("no plan: {error}")))?;
            if header.flashproof_study != VERSION {
                return Err(fail(format!(
                    "format {}, this program reads {VERSION}",
                    header.flashproof_study
                )));
            }
            if header.plan_sha256 != header.plan.sha256() {
                return Err(fail("the plan does not have the hash beside it".to_owned()));
            }
            header
                .plan
                .check()
                .map_err(|error| fail(error.to_string()))?;
            expected = header.plan.cells().iter().map(Cell::to_string).collect();
            results = Some(Results {
                plan: header.plan,
                judgements: BTreeMap::new(),
                cells: BTreeMap::new(),
            });
            continue;
        };
        let value: serde_json::Value =
            serde_json::from_slice(text).map_err(|error| fail(error.to_string()))?;
        if value.get("key").is_some() {
            let cell: CellLine =
                serde_json::from_value(value).map_err(|error| fail(error.to_string()))?;
            check_cell(&cell, &expected, results).map_err(fail)?;
            results.cells.insert(cell.key.clone(), cell);
        } else {
            let judgements: Judgements =
                serde_json::from_value(value).map_err(|error| fail(error.to_string()))?;
            check_judgements(&judgements, results).map_err(fail)?;
            results.judgements.insert(judgements.key(), judgements);
        }
    }
    Ok(results)
}

fn check_judgements(judgements: &Judgements, results: &Results) -> Result<(), String> {
    let key = judgements.key();
    if results.judgements.contains_key(&key) {
        return Err(format!("judgements of {key} for the second time"));
    }
    let (ids, clusters) = (judgements.query_ids.len(), judgements.clusters.len());
    if ids != clusters || ids == 0 {
        return Err(format!("{ids} question ids and {clusters} clusters"));
    }
    let grades = judgements.grades.len();
    if grades > 0 && grades != ids {
        return Err(format!("{ids} question ids and {grades} grades"));
    }
    if sha256_of_lines(judgements.query_ids.iter().map(String::as_str))
        != judgements.query_ids_sha256
    {
        return Err("the question ids do not have the hash beside them".to_owned());
    }
    Ok(())
}

fn check_cell(
    cell: &CellLine,
    expected: &BTreeSet<String>,
    results: &Results,
) -> Result<(), String> {
    if !expected.contains(&cell.key) {
        return Err(format!("cell '{}' is not in the plan", cell.key));
    }
    if results.cells.contains_key(&cell.key) {
        return Err(format!("cell '{}' for the second time", cell.key));
    }
    let Some(judgements) = results.judgements.get(&judgements_key(&cell.key)) else {
        return Err(format!(
            "cell '{}' before the judgements of its pair",
            cell.key
        ));
    };
    if judgements.query_ids_sha256 != cell.query_ids_sha256
        || judgements.query_ids.len() != cell.ranks.len()
    {
        return Err(format!(
            "cell '{}' is of other questions than its pair",
            cell.key
        ));
    }
    let finite = [
        cell.realised_density,
        cell.achieved_noise,
        cell.mean_tokens,
        cell.seconds.unwrap_or(0.0),
    ];
    if finite
        .iter()
        .any(|number| !number.is_finite() || *number < 0.0)
    {
        return Err(format!(
            "cell '{}' has a number that is negative or not finite",
            cell.key
        ));
    }
    Ok(())
}

/// A results file open for appending, locked against other runs.
#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    file: File,
    pub(super) results: Results,
    /// Bytes of half a line that were cut.
    pub(super) cut_bytes: u64,
}

impl Writer {
    /// Opens or creates the results of `plan`. Half a line at the end is cut; any other flaw is an error.
    pub(super) fn open(path: &Path, plan: &Plan) -> Result<Self, ResultsError> {
        let name = path.display().to_string();
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|error| io(&name, &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ResultsError::InUse { path: name }),
            Err(TryLockError::Error(error)) => return Err(io(&name, &error)),
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)
            .map_err(|error| io(&name, &error))?;
        let whole = whole_lines(&bytes);
        let existing = parse(&name, &bytes[..whole])?;
        if let Some(existing) = &existing
            && existing.plan != *plan
        {
            return Err(ResultsError::PlanChanged {
                path: name,
                differences: plan.differences(&existing.plan),
            });
        }
        let length = |bytes: usize| u64::try_from(bytes).expect("64 bits hold a file's length");
        let cut_bytes = length(bytes.len() - whole);
        if cut_bytes > 0 {
            // A first line that is no start of a plan was never ours: leave such a file alone.
            if whole == 0 && !br#"{"flashproof_study":"#.starts_with(&bytes[..bytes.len().min(20)])
            {
                let reason = "no plan: this is not a results file".to_owned();
                return Err(ResultsError::Line {
                    path: name,
                    line: 1,
                    reason,
                });
            }
            file.set_len(length(whole))
                .map_err(|error| io(&name, &error))?;
        }
        file.seek(SeekFrom::End(0))
            .map_err(|error| io(&name, &error))?;
        let is_started = existing.is_some();
        let empty = Results {
            plan: plan.clone(),
            judgements: BTreeMap::new(),
            cells: BTreeMap::new(),
        };
        let mut writer = Self {
            path: path.to_owned(),
            file,
            results: existing.unwrap_or(empty),
            cut_bytes,
        };
        if !is_started {
            writer.append(&Header::of(plan))?;
        }
        Ok(writer)
    }

    /// Appends a pair's judgements, or checks that those in the file are the same.
    pub(super) fn judgements(&mut self, judgements: Judgements) -> Result<(), ResultsError> {
        let key = judgements.key();
        let Some(stored) = self.results.judgements.get(&key) else {
            self.append(&judgements)?;
            self.results.judgements.insert(key, judgements);
            return Ok(());
        };
        let known = Judgements {
            questions_sha256: stored
                .questions_sha256
                .as_ref()
                .and(judgements.questions_sha256.clone()),
            ..judgements.clone()
        };
        if *stored == known {
            return Ok(());
        }
        let is_other_documents = stored.document_ids_sha256 != judgements.document_ids_sha256;
        Err(ResultsError::DataChanged {
            path: self.path.display().to_string(),
            pair: judgements.pair,
            what: if is_other_documents {
                "documents"
            } else {
                "questions"
            },
        })
    }

    /// Appends a cell.
    pub(super) fn cell(&mut self, cell: CellLine) -> Result<(), ResultsError> {
        self.append(&cell)?;
        self.results.cells.insert(cell.key.clone(), cell);
        Ok(())
    }

    /// Puts a file that has all cells in the order of the plan, without their seconds: beside its place, then renamed.
    pub(super) fn finish(self) -> Result<(), ResultsError> {
        let name = self.path.display().to_string();
        let text = self.results.canonical()?;
        if std::fs::read(&self.path).is_ok_and(|old| old == text.as_bytes()) {
            return Ok(());
        }
        let partial = self.path.with_extension("jsonl.partial");
        File::create(&partial)
            .and_then(|mut file| {
                file.write_all(text.as_bytes())?;
                file.sync_all()
            })
            .and_then(|()| std::fs::rename(&partial, &self.path))
            .map_err(|error| io(&name, &error))
    }

    /// One write of one whole line, then to the disk: a kill leaves the line whole, absent, or cut at its end.
    fn append(&mut self, line: &impl Serialize) -> Result<(), ResultsError> {
        let fail = |error: &std::io::Error| io(&self.path.display().to_string(), error);
        let mut text = serde_json::to_string(line).map_err(|error| fail(&error.into()))?;
        text.push('\n');
        self.file
            .write_all(text.as_bytes())
            .and_then(|()| self.file.sync_data())
            .map_err(|error| fail(&error))
    }
}
