//! Retrieval against noise: the figure of a study, and what its caption must say.

use super::figure::{Axis, Figure, Panel, Point, Scale, Series};
use crate::study::{Curve, Family, Metric, PairScore, Plan};

/// What a study's figure is made of.
#[derive(Clone, Copy, Debug)]
pub struct Accuracy<'a> {
    /// The study.
    pub plan: &'a Plan,
    /// One curve an arm, of one measure.
    pub curves: &'a [Curve],
    /// Differences from the baseline, of the same measure.
    pub differences: &'a [Curve],
    /// Cells of the plan that have no result yet.
    pub missing_cells: usize,
    /// Share of each language's contexts that is searched, in a plan that has shares.
    pub share: Option<f64>,
    /// Whether the sample is too small to prove anything.
    pub is_smoke: bool,
    /// More sentences for the caption.
    pub notes: &'a [String],
}

/// Accuracy and paired difference from the baseline, side by side over the achieved noise.
pub fn figure(accuracy: &Accuracy<'_>) -> Figure {
    let metric = accuracy
        .curves
        .first()
        .map_or("", |curve| words(curve.metric));
    let levels = levels(accuracy.curves);
    let x = || Axis::at(noise_words(accuracy.plan.noise), Scale::Linear, &levels);
    let style = |arm: &str| {
        accuracy
            .plan
            .arms
            .iter()
            .position(|name| name == arm)
            .unwrap_or(accuracy.plan.arms.len())
    };
    let series = |curves: &[Curve]| -> Vec<Series> {
        curves
            .iter()
            .map(|curve| Series {
                name: name_of(accuracy.curves, &curve.arm),
                style: style(&curve.arm),
                points: points(curve),
            })
            .collect()
    };
    let baseline = accuracy
        .differences
        .iter()
        .find_map(|curve| curve.baseline.clone());
    let mut panels = vec![Panel {
        title: format!(
            "{metric}, mean over {} language pairs",
            accuracy.plan.pairs.len()
        ),
        x: x(),
        y: Axis::from_zero(metric, 1.0),
        series: series(accuracy.curves),
        reference: None,
    }];
    if let Some(baseline) = baseline {
        let (low, high) = extent(accuracy.differences);
        panels.push(Panel {
            title: format!("{metric} minus that of {baseline}, paired by question"),
            x: x(),
            y: Axis::covering(format!("difference of {metric}"), low, high),
            series: series(accuracy.differences),
            reference: Some(0.0),
        });
    }
    Figure {
        title: "Does sparse attention keep cross-lingual retrieval as noise grows?".to_owned(),
        columns: panels.len(),
        panels,
        caption: caption(accuracy),
        watermark: accuracy
            .is_smoke
            .then(|| "smoke run: no evidence".to_owned()),
    }
}

/// One panel a language pair.
pub fn pairs_figure(accuracy: &Accuracy<'_>, scores: &[PairScore]) -> Figure {
    let [metric, ..] = Metric::of_task(accuracy.plan.task);
    let levels = levels(accuracy.curves);
    let panels = accuracy.plan.pairs.iter().map(|pair| {
        let of_pair: Vec<&PairScore> = scores.iter().filter(|score| score.pair == *pair).collect();
        let (queries, documents) = of_pair
            .first()
            .map_or((0, 0), |score| (score.query_count, score.document_count));
        let series = accuracy
            .plan
            .arms
            .iter()
            .enumerate()
            .map(|(style, arm)| Series {
                name: name_of(accuracy.curves, arm),
                style,
                points: of_pair
                    .iter()
                    .filter(|score| score.arm == *arm)
                    .map(|score| Point {
                        x: achieved(accuracy.curves, arm, score.level),
                        y: metric.of(score.scores),
                        band: None,
                    })
                    .collect(),
            });
        Panel {
            title: format!("{pair}: {queries} questions, {documents} contexts"),
            x: Axis::at(noise_words(accuracy.plan.noise), Scale::Linear, &levels),
            y: Axis::from_zero(words(metric), 1.0),
            series: series.collect(),
            reference: None,
        }
    });
    Figure {
        title: "Does the order of the arms depend on the language? (pairs are CONTEXT-QUESTION)"
            .to_owned(),
        columns: 2,
        panels: panels.collect(),
        caption: caption(accuracy),
        watermark: accuracy
            .is_smoke
            .then(|| "smoke run: no evidence".to_owned()),
    }
}

/// A measure as the field writes it.
pub fn words(metric: Metric) -> &'static str {
    match metric {
        Metric::NdcgAt10 => "nDCG@10",
        Metric::MrrAt10 => "MRR@10",
        Metric::RecallAt1 => "R@1",
        Metric::Map => "MAP",
        Metric::RecallAt100 => "R@100",
    }
}

/// What a level of noise is, as achieved.
fn noise_words(family: Family) -> &'static str {
    match family {
        Family::None | Family::Distractor => "share of distractor tokens (achieved)",
        Family::HardDistractor => "share of hard distractor tokens (achieved)",
        Family::Characters => "character error rate (achieved)",
        Family::Embedding => "deviation of embeddings, relative (achieved)",
    }
}

fn points(curve: &Curve) -> Vec<Point> {
    curve
        .points
        .iter()
        .map(|point| Point {
            x: point.achieved,
            y: point.mean,
            band: Some((point.low, point.high)),
        })
        .collect()
}

/// Achieved share of every level, from the first arm: documents do not depend on the arm.
pub(super) fn levels(curves: &[Curve]) -> Vec<(f64, String)> {
    let first = curves.first().map(|curve| curve.points.as_slice());
    first
        .unwrap_or_default()
        .iter()
        .map(|point| (point.achieved, format!("{:.2}", point.achieved)))
        .collect()
}

fn achieved(curves: &[Curve], arm: &str, level: f64) -> f64 {
    curves
        .iter()
        .filter(|curve| curve.arm == arm)
        .flat_map(|curve| &curve.points)
        .find(|point| point.level.total_cmp(&level).is_eq())
        .map_or(level, |point| point.achieved)
}

/// An arm with the density it realised.
pub(super) fn name_of(curves: &[Curve], arm: &str) -> String {
    let realised = curves
        .iter()
        .find(|curve| curve.arm == arm)
        .map(|curve| curve.points.iter().map(|point| point.realised_density));
    let (low, high) = realised.map_or((1.0, 1.0), |densities| {
        densities.fold(
            (f64::INFINITY, f64::NEG_INFINITY),
            |(low, high), density| (low.min(density), high.max(density)),
        )
    });
    let (low, high) = (format!("{low:.3}"), format!("{high:.3}"));
    if low == high {
        format!("{arm} (attends {low})")
    } else {
        format!("{arm} (attends {low} to {high})")
    }
}

fn extent(curves: &[Curve]) -> (f64, f64) {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let low = points().map(|point| point.low).fold(0.0, f64::min);
    let high = points().map(|point| point.high).fold(0.0, f64::max);
    (low, high)
}

pub(super) fn caption(accuracy: &Accuracy<'_>) -> Vec<String> {
    let plan = accuracy.plan;
    let Some(point) = accuracy
        .curves
        .first()
        .and_then(|curve| curve.points.first())
    else {
        return vec!["No cell of this study is complete yet.".to_owned()];
    };
    let seeds: Vec<String> = plan.seeds.iter().map(u64::to_string).collect();
    let mut caption = vec![
        format!(
            "n = {} questions ({} part) on {} articles, {} pairs ({}), noise seeds {}; {} tokens a text on average. \
             Bands: 95 %, bootstrap over articles.",
            point.query_count,
            if plan.task.has_halves() {
                plan.split.name()
            } else {
                "whole"
            },
            point.cluster_count,
            point.pair_count,
            plan.pairs.join(" "),
            seeds.join(" "),
            point.mean_tokens.round(),
        ),
        format!(
            "Encoder: {}. Corpus: {}. Every arm has the same texts; \"attends\" is its share of (query, key) pairs.",
            plan.encoder(),
            match (accuracy.share, plan.contexts_per_pair) {
                (Some(share), _) if share < 1.0 =>
                    format!("a share of {share} of a pair's contexts"),
                (_, Some(count)) => format!("{count} contexts a pair"),
                (_, None) => "all contexts of a pair".to_owned(),
            },
        ),
    ];
    if accuracy.missing_cells > 0 {
        caption.push(format!(
            "Incomplete: {} of {} cells have no result yet; a point is drawn only where all of its cells have.",
            accuracy.missing_cells,
            plan.cells().len(),
        ));
    }
    caption.extend(accuracy.notes.iter().cloned());
    caption
}
