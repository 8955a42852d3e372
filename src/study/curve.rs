//! Curves of a measure against noise, with their bands, and differences from a baseline arm.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use crate::retrieval::{Scores, graded_scores, scores};
use crate::stats::{Band, BandOptions, Observation, Sample};

use super::StudyError;
use super::cell::Cell;
use super::plan::Task;
use super::results::{CellLine, Judgements, Results};
use super::run::count_f64;

/// A measure of retrieval, in [0, 1].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// nDCG@10, the main score.
    NdcgAt10,
    /// MRR@10.
    MrrAt10,
    /// Recall@1.
    RecallAt1,
    /// Mean average precision over the whole ranking.
    Map,
    /// Recall@100.
    RecallAt100,
}

impl Metric {
    /// Those of a task, its main score first.
    #[must_use]
    pub fn of_task(task: Task) -> [Self; 3] {
        match task {
            Task::MlqaRetrieval => [Self::NdcgAt10, Self::MrrAt10, Self::RecallAt1],
            Task::MlqaR | Task::XquadR => [Self::Map, Self::NdcgAt10, Self::RecallAt1],
            Task::Beir => [Self::Map, Self::NdcgAt10, Self::RecallAt100],
        }
    }

    /// Its value among a query's, or among means of them.
    #[must_use]
    pub fn of(self, scores: Scores) -> f64 {
        match self {
            Self::NdcgAt10 => scores.ndcg_at_10,
            Self::MrrAt10 => scores.mrr_at_10,
            Self::RecallAt1 => scores.recall_at_1,
            Self::Map => scores.average_precision,
            Self::RecallAt100 => scores.recall_at_100,
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NdcgAt10 => "ndcg_at_10",
            Self::MrrAt10 => "mrr_at_10",
            Self::RecallAt1 => "recall_at_1",
            Self::Map => "map",
            Self::RecallAt100 => "recall_at_100",
        })
    }
}

/// One arm's measure at every level, or its difference from a baseline.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// The arm.
    pub arm: String,
    /// The arm it is compared with, question by question; `None` for the measure itself.
    pub baseline: Option<String>,
    /// The measure.
    pub metric: Metric,
    /// Ascending by level.
    pub points: Vec<Point>,
}

/// One level of a curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Nominal level.
    pub level: f64,
    /// Mean over pairs and seeds of what was achieved.
    pub achieved: f64,
    /// Mean over pairs of the mean over questions of the mean over seeds.
    pub mean: f64,
    /// Lower end of the cluster-bootstrap band.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Standard deviation of the bootstrap.
    pub standard_error: f64,
    /// Questions, counted once a pair.
    pub query_count: usize,
    /// Articles they were written on.
    pub cluster_count: usize,
    /// Pairs.
    pub pair_count: usize,
    /// Noise seeds.
    pub seed_count: usize,
    /// Mean share of (query, key) pairs the arm attends, over pairs and seeds.
    pub realised_density: f64,
    /// Mean tokens of a document.
    pub mean_tokens: f64,
}

/// Curves of all arms, and what is not in them.
#[derive(Clone, Debug, PartialEq)]
pub struct Curves {
    /// In the order of the plan's arms.
    pub curves: Vec<Curve>,
    /// Cells of the plan without results. An arm's point needs all its pairs and seeds; where one is missing there is
    /// no point.
    pub missing_cells: usize,
}

/// Means of one pair under one arm at one level, over its questions and the seeds.
#[derive(Clone, Debug, PartialEq)]
pub struct PairScore {
    /// CONTEXT-QUESTION.
    pub pair: String,
    /// The arm.
    pub arm: String,
    /// Nominal level.
    pub level: f64,
    /// Means.
    pub scores: Scores,
    /// Questions.
    pub query_count: usize,
    /// Documents of the corpus.
    pub document_count: usize,
}

/// One curve an arm.
///
/// # Errors
/// [`StudyError::Sample`] for results that give no mean.
pub fn curves(
    results: &Results,
    metric: Metric,
    options: &BandOptions,
) -> Result<Curves, StudyError> {
    collect(
        results,
        |arm, level| Ok(point_data(results, metric, arm, level)?.map(|data| (data, None))),
        metric,
        options,
    )
}

/// The difference `arm - baseline` of every other arm, paired by question, with its own band.
///
/// # Errors
/// As [`curves`].
pub fn differences(
    results: &Results,
    baseline: &str,
    metric: Metric,
    options: &BandOptions,
) -> Result<Curves, StudyError> {
    let difference = |arm: &str, level: f64| {
        if arm == baseline {
            return Ok(None);
        }
        let theirs = point_data(results, metric, baseline, level)?;
        let ours = point_data(results, metric, arm, level)?;
        minus(
            ours,
            theirs,
            level,
            &format!("{arm} - {baseline}"),
            baseline,
        )
    };
    collect(results, difference, metric, options)
}

/// The difference of every arm from the same arm in another study of the same questions and levels, paired by question,
/// with its own band; arms that the other study does not have are left out.
///
/// # Errors
/// As [`curves`], and where the questions of the two differ.
pub fn between(
    results: &Results,
    other: &Results,
    metric: Metric,
    options: &BandOptions,
) -> Result<Curves, StudyError> {
    let difference = |arm: &str, level: f64| {
        let theirs = point_data(other, metric, arm, level)?;
        let ours = point_data(results, metric, arm, level)?;
        let named = format!(
            "{arm} ({} - {})",
            results.plan.encoder(),
            other.plan.encoder()
        );
        minus(ours, theirs, level, &named, arm)
    };
    collect(results, difference, metric, options)
}

/// The difference of two points, if both are there.
fn minus(
    ours: Option<PointData>,
    theirs: Option<PointData>,
    level: f64,
    named: &str,
    baseline: &str,
) -> Result<PointOf, StudyError> {
    let (Some(ours), Some(theirs)) = (ours, theirs) else {
        return Ok(None);
    };
    let sample = ours
        .sample
        .minus(&theirs.sample)
        .map_err(|error| StudyError::Sample {
            arm: named.to_owned(),
            level,
            error,
        })?;
    Ok(Some((
        PointData { sample, ..ours },
        Some(baseline.to_owned()),
    )))
}

type PointOf = Option<(PointData, Option<String>)>;

fn collect(
    results: &Results,
    data_of: impl Fn(&str, f64) -> Result<PointOf, StudyError>,
    metric: Metric,
    options: &BandOptions,
) -> Result<Curves, StudyError> {
    let mut levels = results.plan.levels.clone();
    levels.sort_unstable_by(f64::total_cmp);
    let mut curves = Vec::new();
    for arm in &results.plan.arms {
        let mut curve = Curve {
            arm: arm.clone(),
            baseline: None,
            metric,
            points: Vec::new(),
        };
        for &level in &levels {
            if let Some((data, baseline)) = data_of(arm, level)? {
                curve.baseline = baseline;
                curve
                    .points
                    .push(data.point(level, &data.sample.band(options)));
            }
        }
        if !curve.points.is_empty() {
            curves.push(curve);
        }
    }
    let cells = results.plan.cells();
    let missing_cells = cells
        .iter()
        .filter(|cell| !results.cells.contains_key(&cell.to_string()))
        .count();
    Ok(Curves {
        curves,
        missing_cells,
    })
}

struct PointData {
    sample: Sample,
    achieved: f64,
    realised_density: f64,
    mean_tokens: f64,
    seed_count: usize,
}

impl PointData {
    fn point(&self, level: f64, band: &Band) -> Point {
        Point {
            level,
            achieved: self.achieved,
            mean: band.mean,
            low: band.low,
            high: band.high,
            standard_error: band.standard_error,
            query_count: band.observations,
            cluster_count: band.clusters,
            pair_count: band.groups,
            seed_count: self.seed_count,
            realised_density: self.realised_density,
            mean_tokens: self.mean_tokens,
        }
    }
}

/// Cells of (arm, level) by pair, one a seed; `None` if one is missing.
fn cells_of<'a>(
    results: &'a Results,
    arm: &str,
    level: f64,
) -> Option<Vec<(&'a str, Vec<&'a CellLine>)>> {
    let plan = &results.plan;
    let of_pair = |pair: &'a String| {
        let cell = |&seed: &u64| {
            let cell = Cell {
                pair: pair.clone(),
                seed,
                level,
                arm: arm.to_owned(),
                share: None,
            };
            results.cells.get(&cell.to_string())
        };
        plan.seeds
            .iter()
            .map(cell)
            .collect::<Option<Vec<_>>>()
            .map(|cells| (pair.as_str(), cells))
    };
    plan.pairs.iter().map(of_pair).collect()
}

/// Scores of each query of a pair under one cell: (index of the query's first judgement, scores).
pub(super) fn query_scores(results: &Results, pair: &str, cell: &CellLine) -> Vec<(usize, Scores)> {
    let Judgements {
        query_ids: ids,
        grades,
        ..
    } = &results.judgements[pair];
    let mut first = 0;
    let mut found = Vec::new();
    for of_query in ids.chunk_by(|a, b| a == b) {
        let relevant: Vec<u32> = cell.ranks[first..first + of_query.len()]
            .iter()
            .map(|&rank| u32::from(rank))
            .collect();
        let of_query = first..first + of_query.len();
        found.push(match grades.get(of_query.clone()) {
            Some(grades) if !grades.is_empty() => (first, graded_scores(&relevant, grades)),
            // Without grades all are 1.
            _ => (first, scores(&relevant)),
        });
        first = of_query.end;
    }
    found
}

/// Number of every article over the whole file, so that it has one number at every point of every curve.
pub(super) fn cluster_numbers(results: &Results) -> BTreeMap<&str, u32> {
    let mut numbers: BTreeMap<&str, u32> = BTreeMap::new();
    let judgements = results.judgements.values();
    for cluster in judgements.flat_map(|judgements| &judgements.clusters) {
        let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
        numbers.entry(cluster).or_insert(next);
    }
    numbers
}

fn point_data(
    results: &Results,
    metric: Metric,
    arm: &str,
    level: f64,
) -> Result<Option<PointData>, StudyError> {
    let Some(by_pair) = cells_of(results, arm, level) else {
        return Ok(None);
    };
    let cluster_index = cluster_numbers(results);
    let mut observations = Vec::new();
    for (group, (pair, cells)) in (0_u32..).zip(&by_pair) {
        let clusters = &results.judgements[*pair].clusters;
        let of_seed: Vec<Vec<(usize, Scores)>> = cells
            .iter()
            .map(|cell| query_scores(results, pair, cell))
            .collect();
        for query in 0..of_seed.first().map_or(0, Vec::len) {
            for (seed, scores) in (0_u32..).zip(&of_seed) {
                let (judgement, scores) = scores[query];
                observations.push(Observation {
                    cluster: cluster_index[clusters[judgement].as_str()],
                    group,
                    seed,
                    value: metric.of(scores),
                });
            }
        }
    }
    let sample = Sample::new(observations).map_err(|error| StudyError::Sample {
        arm: arm.to_owned(),
        level,
        error,
    })?;
    let all: Vec<&CellLine> = by_pair.into_iter().flat_map(|(_, cells)| cells).collect();
    let mean = |value: fn(&CellLine) -> f64| {
        all.iter().map(|cell| value(cell)).sum::<f64>() / count_f64(all.len())
    };
    Ok(Some(PointData {
        sample,
        achieved: mean(|cell| cell.achieved_noise),
        realised_density: mean(|cell| cell.realised_density),
        mean_tokens: mean(|cell| cell.mean_tokens),
        seed_count: results.plan.seeds.len(),
    }))
}

/// Mean over points of the share of pairs attended; 0 for none.
#[must_use]
pub fn mean_density(points: &[Point]) -> f64 {
    let sum: f64 = points.iter().map(|point| point.realised_density).sum();
    sum / count_f64(points.len().max(1))
}

/// Means of every (pair, arm, level) whose seeds are all there, in the order of the plan.
#[must_use]
pub fn pair_scores(results: &Results) -> Vec<PairScore> {
    let mut found = Vec::new();
    for pair in &results.plan.pairs {
        for &level in &results.plan.levels {
            for arm in &results.plan.arms {
                let cell = |&seed: &u64| {
                    let cell = Cell {
                        pair: pair.clone(),
                        seed,
                        level,
                        arm: arm.clone(),
                        share: None,
                    };
                    results.cells.get(&cell.to_string())
                };
                let Some(cells) = results
                    .plan
                    .seeds
                    .iter()
                    .map(cell)
                    .collect::<Option<Vec<_>>>()
                else {
                    continue;
                };
                let of_queries: Vec<(usize, Scores)> = cells
                    .iter()
                    .flat_map(|cell| query_scores(results, pair, cell))
                    .collect();
                let count = count_f64(of_queries.len());
                let mean = |metric: Metric| {
                    let values = of_queries.iter().map(|(_, one)| metric.of(*one));
                    values.fold(0.0, |sum, value| sum + value) / count
                };
                found.push(PairScore {
                    pair: pair.clone(),
                    arm: arm.clone(),
                    level,
                    scores: Scores {
                        ndcg_at_10: mean(Metric::NdcgAt10),
                        mrr_at_10: mean(Metric::MrrAt10),
                        recall_at_1: mean(Metric::RecallAt1),
                        average_precision: mean(Metric::Map),
                        recall_at_100: mean(Metric::RecallAt100),
                    },
                    query_count: of_queries.len() / cells.len().max(1),
                    document_count: results.judgements[pair].documents,
                });
            }
        }
    }
    found
}

/// Curves as CSV with a header line, six decimals, one row a point.
#[must_use]
pub fn csv(curves: &[Curve]) -> String {
    let mut text = String::from(
        "arm,baseline,metric,level,achieved_noise,mean,low,high,standard_error,queries,clusters,pairs,seeds,\
         realised_density,mean_tokens\n",
    );
    for curve in curves {
        let (arm, baseline) = (
            field(&curve.arm),
            field(curve.baseline.as_deref().unwrap_or("")),
        );
        for point in &curve.points {
            let Point {
                level,
                achieved,
                mean,
                low,
                high,
                standard_error,
                ..
            } = *point;
            let Point {
                query_count,
                cluster_count,
                pair_count,
                seed_count,
                realised_density,
                mean_tokens,
                ..
            } = *point;
            writeln!(
                text,
                "{arm},{baseline},{},{level},{achieved:.6},{mean:.6},{low:.6},{high:.6},{standard_error:.6},\
                 {query_count},{cluster_count},{pair_count},{seed_count},{realised_density:.6},{mean_tokens:.2}",
                curve.metric
            )
            .expect("writing to a String cannot fail");
        }
    }
    text
}

/// A CSV field, quoted where it must be.
fn field(text: &str) -> String {
    if text.contains([',', '"', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
