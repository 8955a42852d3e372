//! Rankings and judgements of a study as files that `trec_eval` reads.

use std::path::{Path, PathBuf};

use crate::retrieval::{Qrels, Ranking, Run, TrecErrorKind};

use super::StudyError;
use super::cell::Cell;
use super::data::PairData;

/// Documents of a ranking that are written.
pub(super) const DEPTH: usize = 1000;

/// File of a cell's rankings: its key, spaces and colons replaced by `_` and `-`.
#[must_use]
pub fn run_file(folder: &Path, cell: &str) -> PathBuf {
    folder.join(format!("{}.run", cell.replace(' ', "_").replace(':', "-")))
}

/// File of a pair's judgements.
#[must_use]
pub fn qrels_file(folder: &Path, pair: &str) -> PathBuf {
    folder.join(format!("{pair}.qrels"))
}

pub(super) fn write_qrels(folder: &Path, pair: &PairData) -> Result<(), StudyError> {
    let fail = |error: TrecErrorKind| refused(&pair.name, &error);
    let mut qrels = Qrels::default();
    for (index, judgement) in pair.collection.judgements.iter().enumerate() {
        let grade = pair.grades.get(index).copied().unwrap_or(1);
        let query = &pair.collection.queries[judgement.query].id;
        let document = &pair.collection.documents[judgement.document].id;
        qrels.insert(query, document, grade).map_err(fail)?;
    }
    let name = match pair.share {
        Some(share) => format!("{}_share={share}", pair.name),
        None => pair.name.clone(),
    };
    write(&qrels_file(folder, &name), &qrels.to_string(), &pair.name)
}

pub(super) fn write_run(
    folder: &Path,
    cell: &Cell,
    pair: &PairData,
    rankings: &[Ranking],
) -> Result<(), StudyError> {
    let key = cell.to_string();
    let fail = |error: TrecErrorKind| refused(&key, &error);
    let mut run = Run::new(&cell.arm).map_err(fail)?;
    for (query, ranking) in pair.collection.queries.iter().zip(rankings) {
        for &(place, score) in ranking {
            let document = &pair.collection.documents[place].id;
            run.insert(&query.id, document, f64::from(score))
                .map_err(fail)?;
        }
    }
    write(&run_file(folder, &key), &run.to_string(), &key)
}

fn refused(key: &str, cause: &dyn std::fmt::Display) -> StudyError {
    StudyError::Ranking {
        key: key.to_owned(),
        cause: cause.to_string(),
    }
}

/// Whole or not at all, as a run may be killed.
fn write(path: &Path, text: &str, key: &str) -> Result<(), StudyError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let partial = path.with_extension("partial");
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&partial, text))
        .and_then(|()| std::fs::rename(&partial, path))
        .map_err(|error| refused(key, &format!("{}: {error}", path.display())))
}
