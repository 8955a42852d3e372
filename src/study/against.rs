//! The block-sparse arm of a registered study beside arms that only other studies have: where its answer would be
//! another one.

use crate::stats::BandOptions;

use super::contrast::{Estimate, area, combination, estimate, is_cross_lingual};
use super::curve::{Curve, Metric, mean_density};
use super::encoder::attention_flops;
use super::plan::{Plan, Task};
use super::results::Results;
use super::{Registration, StudyError};

/// The block-sparse arm minus one arm of another study, on that study's questions.
#[derive(Clone, Debug, PartialEq)]
pub struct Against {
    /// The other arm.
    pub arm: String,
    /// Mean over levels of the share of pairs that it attends.
    pub density: f64,
    /// Share of dense attention's FLOPs at that density.
    pub flops: Option<f64>,
    /// Area over the study's levels of nDCG@10 on its cross-lingual pairs, block-sparse arm minus this one.
    pub difference: Estimate,
}

/// The block-sparse arm against every arm of `results` that `plan` does not have, the largest difference first. Empty
/// where the two studies differ in encoder, task, noise or lengths, where `results` have one level, no block-sparse arm, or no
/// cross-lingual pair, and for arms with cells missing. `curves` are those of `results`.
///
/// # Errors
/// [`StudyError::Sample`] for results that give no mean.
pub fn against(
    plan: &Plan,
    registered: &Registration,
    results: &Results,
    curves: &[Curve],
) -> Result<Vec<Against>, StudyError> {
    let other = &results.plan;
    let is_comparable = other.task == Task::MlqaRetrieval
        && plan.model == other.model
        && (plan.task, plan.noise, plan.length) == (other.task, other.noise, other.length)
        && (plan.total_tokens, plan.gold_tokens) == (other.total_tokens, other.gold_tokens)
        && other.levels.len() > 1
        && other.arms.contains(&registered.block)
        && other.pairs.iter().any(|pair| is_cross_lingual(pair));
    if !is_comparable {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for curve in curves {
        if plan.arms.contains(&curve.arm) {
            continue;
        }
        let mut terms = area(&registered.block, &other.levels, 1.0);
        terms.extend(area(&curve.arm, &other.levels, -1.0));
        let Some(sample) = combination(results, Metric::NdcgAt10, &terms, is_cross_lingual)? else {
            continue;
        };
        let density = mean_density(&curve.points);
        found.push(Against {
            flops: attention_flops(&curve.arm, density),
            arm: curve.arm.clone(),
            density,
            difference: estimate(&sample, &BandOptions::default()),
        });
    }
    found.sort_by(|a, b| b.difference.mean.total_cmp(&a.difference.mean));
    Ok(found)
}
