//! Weighted sums of cells, question by question: differences between arms, areas under curves, differences of
//! differences; each with its band, its p-value and what it could have found.

use crate::stats::{BandOptions, Observation, Sample, area_weights, percentiles};

use super::StudyError;
use super::cell::Cell;
use super::curve::{Metric, cluster_numbers, query_scores};
use super::results::Results;

/// One arm at one level with its weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// The arm.
    pub arm: String,
    /// Noise level.
    pub level: f64,
    /// Factor on its measure.
    pub weight: f64,
}

/// Area under an arm's curve over these levels, times `weight`.
#[must_use]
pub fn area(arm: &str, levels: &[f64], weight: f64) -> Vec<Term> {
    let mut levels = levels.to_vec();
    levels.sort_unstable_by(f64::total_cmp);
    let weights = area_weights(&levels);
    let terms = levels.iter().zip(weights).map(|(&level, share)| Term {
        arm: arm.to_owned(),
        level,
        weight: weight * share,
    });
    terms.collect()
}

/// A mean with all that is said of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Mean over pairs of the mean over questions and seeds.
    pub mean: f64,
    /// Lower end of the two-sided 95 % band.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// One-sided 95 % lower bound.
    pub lower_bound: f64,
    /// Standard deviation of the bootstrap.
    pub standard_error: f64,
    /// Two-sided sign-flip p-value, articles flipped whole.
    pub p: f64,
    /// Variance over that of as many independent questions.
    pub design_effect: f64,
    /// Smallest true difference found with 80 % power at the two-sided 5 % level: 2.80 standard errors.
    pub detectable: f64,
    /// Questions, counted once a pair.
    pub query_count: usize,
    /// Articles.
    pub cluster_count: usize,
    /// Pairs.
    pub pair_count: usize,
}

/// (z of .975) + (z of .8), to three digits.
const POWER_FACTOR: f64 = 2.802;

/// The weighted sum of `terms` for every question of the pairs that `keep` lets through, one observation a question
/// and seed. `None` where a cell that it needs is missing.
///
/// # Errors
/// [`StudyError::Sample`] where no question is left.
pub fn combination(
    results: &Results,
    metric: Metric,
    terms: &[Term],
    keep: impl Fn(&str) -> bool,
) -> Result<Option<Sample>, StudyError> {
    let clusters = cluster_numbers(results);
    let mut observations: Vec<Observation> = Vec::new();
    let pairs = results.plan.pairs.iter().filter(|pair| keep(pair));
    for (group, pair) in (0_u32..).zip(pairs) {
        let Some(judgements) = results.judgements.get(pair) else {
            return Ok(None);
        };
        // (query, seed) in that order, as a question's observations must follow each other.
        let mut sums: Vec<Vec<(usize, f64)>> = Vec::new();
        for &seed in &results.plan.seeds {
            let mut of_seed: Vec<(usize, f64)> = Vec::new();
            for term in terms {
                let cell = Cell {
                    pair: pair.clone(),
                    seed,
                    level: term.level,
                    arm: term.arm.clone(),
                    share: None,
                };
                let Some(line) = results.cells.get(&cell.to_string()) else {
                    return Ok(None);
                };
                for (index, (judgement, scores)) in
                    query_scores(results, pair, line).into_iter().enumerate()
                {
                    if of_seed.len() <= index {
                        of_seed.push((judgement, 0.0));
                    }
                    of_seed[index].1 += term.weight * metric.of(scores);
                }
            }
            sums.push(of_seed);
        }
        for query in 0..sums.first().map_or(0, Vec::len) {
            for (seed, of_seed) in (0_u32..).zip(&sums) {
                let (judgement, value) = of_seed[query];
                observations.push(Observation {
                    cluster: clusters[judgements.clusters[judgement].as_str()],
                    group,
                    seed,
                    value,
                });
            }
        }
    }
    let sample = Sample::new(observations).map_err(|error| {
        let first = terms.first();
        StudyError::Sample {
            arm: first.map_or_else(String::new, |term| term.arm.clone()),
            level: first.map_or(0.0, |term| term.level),
            error,
        }
    })?;
    Ok(Some(sample))
}

/// What a sample says, with as many flips as resamples.
#[must_use]
pub fn estimate(sample: &Sample, options: &BandOptions) -> Estimate {
    let band = sample.band(options);
    let mut means = sample.resampled_means(options);
    // 10 % outside both ends leave 5 % below the lower one.
    let (lower_bound, _) = percentiles(&mut means, 100);
    Estimate {
        mean: band.mean,
        low: band.low,
        high: band.high,
        lower_bound,
        standard_error: band.standard_error,
        p: sample.sign_flip(options.resamples, options.seed),
        design_effect: sample.design_effect(options),
        detectable: POWER_FACTOR * band.standard_error,
        query_count: band.observations,
        cluster_count: band.clusters,
        pair_count: band.groups,
    }
}

/// Whether a pair asks in another language than it answers.
#[must_use]
pub fn is_cross_lingual(pair: &str) -> bool {
    pair.split_once('-')
        .is_some_and(|(context, question)| context != question)
}

/// The context language of a pair.
#[must_use]
pub fn context_language(pair: &str) -> &str {
    pair.split('-').next().unwrap_or(pair)
}

/// The question language of a pair.
#[must_use]
pub fn question_language(pair: &str) -> &str {
    pair.rsplit('-').next().unwrap_or(pair)
}
