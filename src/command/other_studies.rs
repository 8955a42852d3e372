//! What lies beside a registered study: the studies that explored before it, or look at another side.

use super::Failure;
use super::eval::Place;
use super::publish::stored;
use crate::encoder::Precision;
use crate::report::table::Table;
use crate::stats::BandOptions;
use crate::study::{
    Against, Curve, Metric, Plan, Registration, Results, against, between, curves, differences,
};

/// Another study of the folder, as far as it is whole.
pub(super) struct Other {
    name: String,
    results: Results,
    metric: Metric,
    curves: Vec<Curve>,
}

/// The studies of the folder that are not registered, without those that give no point yet.
pub(super) fn read(place: &Place) -> Result<Vec<Other>, Failure> {
    let mut others = Vec::new();
    for other in stored(&place.folder) {
        let whole = Results::read(&other.file(".jsonl")).map_err(Failure::input)?;
        if whole.plan.registered.is_some() || other.name == place.name {
            continue;
        }
        let results = match whole.reached() {
            Some((share, seeds)) => whole.at(share, &seeds),
            None => whole,
        };
        let [metric, ..] = Metric::of_task(results.plan.task);
        let drawn = curves(&results, metric, &BandOptions::default()).map_err(Failure::input)?;
        let mut points = drawn.curves.iter().flat_map(|curve| &curve.points);
        if points.next().is_some() {
            others.push(Other {
                name: other.name,
                results,
                metric,
                curves: drawn.curves,
            });
        }
    }
    Ok(others)
}

/// The registered block-sparse arm against the arms that only these studies have, by study.
pub(super) fn other_arms(
    others: &[Other],
    plan: &Plan,
    registered: &Registration,
) -> Result<Vec<(String, Vec<Against>)>, Failure> {
    let mut found = Vec::new();
    for other in others {
        let rows = against(plan, registered, &other.results, &other.curves);
        let rows = rows.map_err(Failure::input)?;
        if !rows.is_empty() {
            let rounding = match other.results.plan.precision {
                Precision::F32 => "",
                Precision::Bf16 => ", bf16",
            };
            found.push((format!("{}{rounding}", other.name), rows));
        }
    }
    Ok(found)
}

/// A table of the other studies of the folder: the sample of each, and at every level of its noise how far the
/// registered arms are from dense attention.
pub(super) fn section(
    place: &Place,
    others: &[Other],
    registered: &Registration,
) -> Result<Option<String>, Failure> {
    let arms = [&registered.block, &registered.local_equal_density];
    let of_arms = arms.map(|arm| format!("`{arm}` minus dense"));
    let mut table = Table::new(
        ["study", "noise", "arms", "pairs", "questions", "articles"]
            .into_iter()
            .chain(of_arms.iter().map(String::as_str)),
    );
    for other in others {
        let plan = &other.results.plan;
        let options = BandOptions::default();
        let first = other.curves.first();
        let Some(point) = first.and_then(|curve| curve.points.first()) else {
            continue;
        };
        let from_dense = differences(&other.results, &registered.dense, other.metric, &options)
            .map_err(Failure::input)?;
        let file = ["svg", "csv"]
            .map(|ending| format!("{}.{ending}", other.name))
            .into_iter()
            .find(|file| place.folder.join(file).exists())
            .unwrap_or_else(|| format!("{}.jsonl", other.name));
        let noise = serde_json::to_value(plan.noise).expect("a name is JSON");
        let row = [
            format!("[{}]({file})", other.name),
            noise.as_str().unwrap_or_default().to_owned(),
            plan.arms.len().to_string(),
            plan.pairs.len().to_string(),
            point.query_count.to_string(),
            point.cluster_count.to_string(),
        ];
        table.push(
            row.into_iter()
                .chain(arms.map(|arm| by_level(&from_dense.curves, arm))),
        );
    }
    Ok((!table.is_empty()).then(|| {
        format!(
            "## Other studies in this folder\n\nSmaller samples, exploration unless their plan says otherwise; none of them \
             decides anything above. Differences in points, from the\nleast to the most noise; whole contexts \
             (`characters`, `embedding`) are shorter, so thresholds\nkeep another share of them: the figures say which.\n\n{}",
            table.markdown()
        )
    }))
}

/// What rounding the factors of the encoder's products cost: every study of the folder in bf16 against the one that differs
/// in nothing else but has as many arms or more.
pub(super) fn precision_section(place: &Place) -> Result<Option<String>, Failure> {
    let mut all = Vec::new();
    for other in stored(&place.folder) {
        all.push((
            Results::read(&other.file(".jsonl")).map_err(Failure::input)?,
            other.name,
        ));
    }
    let mut table = Table::new(["study", "beside", "arm", "bf16 minus f32"]);
    for (rounded, name) in &all {
        if rounded.plan.precision != Precision::Bf16 {
            continue;
        }
        let is_twin = |plan: &Plan| {
            let alike = Plan {
                precision: Precision::F32,
                arms: plan.arms.clone(),
                ..rounded.plan.clone()
            };
            *plan == alike && rounded.plan.arms.iter().all(|arm| plan.arms.contains(arm))
        };
        let Some((exact, twin)) = all.iter().find(|(results, _)| is_twin(&results.plan)) else {
            continue;
        };
        let [metric, ..] = Metric::of_task(rounded.plan.task);
        let drawn = between(rounded, exact, metric, &BandOptions::default());
        let curves = drawn.map_err(Failure::input)?.curves;
        for arm in &rounded.plan.arms {
            table.push([
                format!("[{name}]({name}.csv)"),
                format!("[{twin}]({twin}.csv)"),
                format!("`{arm}`"),
                by_level(&curves, arm),
            ]);
        }
    }
    Ok((!table.is_empty()).then(|| {
        format!(
            "## Precision\n\nThe same texts, questions and arms with the factors of the encoder's affine maps rounded to bf16 \
             (`precision = \"bf16\"`);\ndifferences in points, question by question, from the least to the most noise.\n\n{}",
            table.markdown()
        )
    }))
}

fn by_level(differences: &[Curve], arm: &str) -> String {
    let found = differences.iter().find(|curve| curve.arm == *arm);
    let points = found.into_iter().flat_map(|curve| &curve.points);
    let words: Vec<String> = points
        .map(|point| {
            let [mean, low, high] = [point.mean, point.low, point.high].map(|value| 100.0 * value);
            format!("{mean:+.1} [{low:+.1}, {high:+.1}]")
        })
        .collect();
    if words.is_empty() {
        "-".to_owned()
    } else {
        words.join("; ")
    }
}
