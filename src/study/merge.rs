//! Results of shards, put together.

use super::results::{Results, ResultsError};

/// One set of results from several of the same plan: what is in any of them. Where two have a cell it must be the same.
///
/// # Errors
/// [`ResultsError::PlanChanged`], [`ResultsError::Conflict`], and [`ResultsError::Empty`] where there are none.
pub fn merge(parts: Vec<(String, Results)>) -> Result<Results, ResultsError> {
    let mut parts = parts.into_iter();
    let Some((_, mut merged)) = parts.next() else {
        return Err(ResultsError::Empty {
            path: "the list of shards".to_owned(),
        });
    };
    for (path, part) in parts {
        if part.plan != merged.plan {
            return Err(ResultsError::PlanChanged {
                differences: part.plan.differences(&merged.plan),
                path,
            });
        }
        let conflict = |what: &str| ResultsError::Conflict {
            path: path.clone(),
            what: what.to_owned(),
        };
        for (key, judgements) in part.judgements {
            if let Some(known) = merged.judgements.get(&key) {
                if *known != judgements {
                    return Err(conflict(&format!("judgements of {key}")));
                }
            } else {
                merged.judgements.insert(key, judgements);
            }
        }
        for (key, mut cell) in part.cells {
            cell.seconds = None;
            if let Some(known) = merged.cells.get_mut(&key) {
                known.seconds = None;
                if *known != cell {
                    return Err(conflict(&format!("cell '{key}'")));
                }
            } else {
                merged.cells.insert(key, cell);
            }
        }
    }
    Ok(merged)
}
