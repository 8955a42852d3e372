//! MTEB's files in and out of `flashproof score`.

use super::super::modules::read_text;
use super::super::{Failure, Status, write_file};
use crate::cli;
use crate::convert::usize_to_f64;
use crate::report::table::Table;
use crate::retrieval::{Measure, MtebPredictions, MtebResult, MtebScores, Run};
use std::collections::BTreeMap;
use std::io::Write;

/// The rankings to score: TREC's lines, or MTEB's predictions.
pub(super) fn run(arguments: &cli::ScoreTrec) -> Result<Run, Failure> {
    let name = arguments.run.display().to_string();
    let text = read_text(&arguments.run)?;
    if arguments
        .run
        .extension()
        .is_none_or(|ending| ending != "json")
    {
        return Run::parse(&name, &text).map_err(Failure::input);
    }
    let predictions = MtebPredictions::parse(&name, &text).map_err(Failure::input)?;
    let chosen = predictions.run(arguments.subset.as_deref(), arguments.split.as_deref());
    chosen
        .cloned()
        .map_err(|reason| Failure::Input(format!("{name}: {reason}")))
}

/// Writes what the arguments ask for.
pub(super) fn write(
    arguments: &cli::ScoreTrec,
    run: &Run,
    measures: &[Measure],
    means: &[f64],
) -> Result<(), Failure> {
    let subset = arguments.subset.clone().unwrap_or("default".to_owned());
    let split = arguments.split.clone().unwrap_or("test".to_owned());
    if let Some(path) = &arguments.to_run {
        write_file(path, run.to_string())?;
    }
    if let Some(path) = &arguments.to_predictions {
        let of_split = BTreeMap::from([(split.clone(), run.clone())]);
        let predictions = MtebPredictions {
            runs: BTreeMap::from([(subset.clone(), of_split)]),
        };
        write_file(path, predictions.json())?;
    }
    if let (Some(path), Some(task)) = (&arguments.to_result, &arguments.task_name) {
        let named = measures.iter().zip(means);
        let scores = MtebScores {
            main_score: means.first().copied().unwrap_or(0.0),
            hf_subset: subset,
            languages: arguments.languages.clone(),
            others: named
                .map(|(measure, mean)| (mteb_name(*measure), (*mean).into()))
                .collect(),
        };
        let result = MtebResult {
            dataset_revision: "unknown".to_owned(),
            task_name: task.clone(),
            mteb_version: concat!("flashproof ", env!("CARGO_PKG_VERSION")).to_owned(),
            scores: BTreeMap::from([(split, vec![scores])]),
            evaluation_time: None,
            kg_co2_emissions: None,
        };
        write_file(path, result.json().map_err(Failure::input)? + "\n")?;
    }
    Ok(())
}

/// A measure as MTEB names it.
fn mteb_name(measure: Measure) -> String {
    match measure {
        Measure::Map => "map".to_owned(),
        Measure::MapCut(cut) => format!("map_at_{cut}"),
        Measure::Ndcg => "ndcg".to_owned(),
        Measure::NdcgCut(cut) => format!("ndcg_at_{cut}"),
        Measure::RecipRank => "mrr".to_owned(),
        Measure::P(cut) => format!("precision_at_{cut}"),
        Measure::Recall(cut) => format!("recall_at_{cut}"),
        Measure::Success(cut) => format!("hit_rate_at_{cut}"),
    }
}

/// Main scores of a result file, times 100, and their mean in each split.
pub(super) fn result(arguments: &cli::ScoreMteb, out: &mut dyn Write) -> Result<Status, Failure> {
    let name = arguments.result.display().to_string();
    let result =
        MtebResult::parse(&name, &read_text(&arguments.result)?).map_err(Failure::input)?;
    writeln!(
        out,
        "{} (revision {}, {})",
        result.task_name, result.dataset_revision, result.mteb_version
    )?;
    let mut table = Table::new(["split", "subset", "main score"]);
    for (split, subsets) in &result.scores {
        let mut sum = 0.0;
        for subset in subsets {
            sum += subset.main_score;
            table.push([
                split.clone(),
                subset.hf_subset.clone(),
                format!("{:.2}", 100.0 * subset.main_score),
            ]);
        }
        if subsets.len() > 1 {
            table.push([
                split.clone(),
                format!("mean of {}", subsets.len()),
                format!("{:.2}", 100.0 * sum / usize_to_f64(subsets.len())),
            ]);
        }
    }
    out.write_all(table.text().as_bytes())?;
    Ok(Status::Agree)
}
