//! `flashproof score`: answers and rankings that something else made, scored as the official programs do.

mod mteb;

use super::modules::read_text;
use super::{Failure, Status, note};
use crate::cli::{self, Scored};
use crate::mlqa::{self, AnswerMetric, Language, Predictions};
use crate::retrieval::{Denominator, Measure, Qrels, evaluate};
use serde::Deserialize;
use serde_json::Value;
use std::io::{self, Write};

pub(super) fn run(arguments: &cli::Score, out: &mut dyn Write) -> Result<Status, Failure> {
    match &arguments.what {
        Scored::Mlqa(arguments) => answers(arguments, out),
        Scored::Trec(arguments) => rankings(arguments, out),
        Scored::Mteb(arguments) => mteb::result(arguments, out),
    }
}

/// Version of the data set that the official script is for.
const VERSION: &str = "1.0";

#[derive(Deserialize)]
struct Versioned {
    version: Option<Value>,
}

fn answers(arguments: &cli::ScoreMlqa, out: &mut dyn Write) -> Result<Status, Failure> {
    let language: Language = arguments.language.parse().map_err(Failure::input)?;
    let metric = AnswerMetric::new(language).map_err(Failure::input)?;
    let text = read_text(&arguments.dataset)?;
    let corpus =
        mlqa::load(&arguments.dataset.display().to_string(), &text).map_err(Failure::input)?;
    let predictions = Predictions::parse(
        &arguments.predictions.display().to_string(),
        &read_text(&arguments.predictions)?,
    )
    .map_err(Failure::input)?;
    let scores = metric.score(&corpus, &predictions);

    // The words of the script, so that what reads its messages reads these.
    if let Some(version) = other_version(&text) {
        say(&format!(
            "Evaluation expects v-{VERSION}, but got dataset with v-{version}"
        ));
    }
    for id in &scores.unanswered {
        say(&format!("Unanswered question {id} will receive score 0."));
    }
    let answered_count = scores.question_count - scores.unanswered.len();
    let stray_count = predictions.answers.len() - answered_count;
    if stray_count > 0 {
        note(&format!(
            "{stray_count} of {} predictions are for no question of {}",
            predictions.answers.len(),
            corpus.name
        ));
    }
    writeln!(
        out,
        "{{\"exact_match\": {}, \"f1\": {}}}",
        python_float(scores.exact_match),
        python_float(scores.f1)
    )?;
    Ok(Status::Agree)
}

/// The data set's version where it is not the script's.
fn other_version(text: &str) -> Option<String> {
    let versioned: Versioned = serde_json::from_str(text).ok()?;
    let version = match versioned.version {
        Some(Value::String(version)) => version,
        Some(value) => value.to_string(),
        None => "none".to_owned(),
    };
    (version != VERSION).then_some(version)
}

/// A float from 0 to 100 as Python prints it: the shortest digits that read back, an exponent of two digits below
/// 1e-4.
fn python_float(x: f64) -> String {
    if x > 0.0 && x < 1e-4 {
        let text = format!("{x:e}");
        let (mantissa, exponent) = text.split_once("e-").expect("below 1, so `e-`");
        return format!("{mantissa}e-{exponent:0>2}");
    }
    format!("{x:?}")
}

fn say(message: &str) {
    // Nothing depends on a message: if it cannot be written, the work goes on.
    let _ = writeln!(io::stderr(), "{message}");
}

fn rankings(arguments: &cli::ScoreTrec, out: &mut dyn Write) -> Result<Status, Failure> {
    let measures: Vec<Measure> = arguments
        .measures
        .iter()
        .map(|name| name.parse().map_err(Failure::input))
        .collect::<Result<_, _>>()?;
    let (qrels_name, run_name) = (
        arguments.qrels.display().to_string(),
        arguments.run.display().to_string(),
    );
    let qrels = Qrels::parse(&qrels_name, &read_text(&arguments.qrels)?).map_err(Failure::input)?;
    let run = mteb::run(arguments)?;
    let denominator = if arguments.complete {
        Denominator::Judged
    } else {
        Denominator::Retrieved
    };
    let evaluation = evaluate(&qrels, &run, &measures, denominator);

    if !evaluation.missing.is_empty() {
        let treated = if arguments.complete {
            "count 0"
        } else {
            "are left out (`--complete` counts them 0)"
        };
        note(&format!(
            "{} judged queries are not in {run_name} and {treated}; averages are over {}",
            evaluation.missing.len(),
            evaluation.queries.len()
        ));
    }
    if !evaluation.unjudged.is_empty() {
        note(&format!(
            "{} queries of {run_name} have no judgement in {qrels_name} and are left out",
            evaluation.unjudged.len()
        ));
    }
    let Some(means) = &evaluation.means else {
        note("nothing was compared");
        return Ok(Status::Unsupported);
    };
    let mut print = |query: &str, values: &[f64]| -> io::Result<()> {
        for (measure, value) in measures.iter().zip(values) {
            writeln!(out, "{:<22}\t{query}\t{value:6.4}", measure.to_string())?;
        }
        Ok(())
    };
    mteb::write(arguments, &run, &measures, means)?;
    if arguments.per_query {
        for (query, values) in &evaluation.queries {
            print(query, values)?;
        }
    }
    print("all", means)?;
    Ok(Status::Agree)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_pythons() {
        for (x, want) in [
            (0.0, "0.0"),
            (100.0, "100.0"),
            (100.0 / 3.0, "33.333333333333336"),
            (1e-4, "0.0001"),
            (9e-5, "9e-05"),
            (1.25e-11, "1.25e-11"),
        ] {
            assert_eq!(python_float(x), want);
        }
    }

    #[test]
    fn versions_that_differ_are_named() {
        for (text, want) in [
            (r#"{"version": "1.0", "data": []}"#, None),
            (r#"{"version": 1.0}"#, None),
            (r#"{"version": "1.1"}"#, Some("1.1")),
            (r#"{"version": 2}"#, Some("2")),
            ("{}", Some("none")),
        ] {
            assert_eq!(other_version(text).as_deref(), want, "{text}");
        }
    }
}
