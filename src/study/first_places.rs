//! Whose first document changes under an arm, from the ranks that a study stored.
//!
//! Stored ranks are those of the relevant documents, so a change is known where dense attention or the arm puts a
//! relevant document first; from one wrong document to another none is.

use super::cell::Cell;
use super::curve::query_scores;
use super::results::Results;
use super::run::count_f64;

/// Shares of an arm's questions at one level, over all pairs and seeds that both it and the baseline have.
#[derive(Clone, Debug, PartialEq)]
pub struct FirstPlaces {
    /// The arm.
    pub arm: String,
    /// Noise level.
    pub level: f64,
    /// Questions, one a pair and seed.
    pub questions: usize,
    /// A relevant document first under the baseline.
    pub right: f64,
    /// Under the baseline, but not under the arm.
    pub lost: f64,
    /// Under the arm, but not under the baseline.
    pub gained: f64,
}

/// One row a level of each arm but the baseline, in the plan's order.
#[must_use]
pub fn first_places(results: &Results, baseline: &str) -> Vec<FirstPlaces> {
    let mut found = Vec::new();
    for arm in results.plan.arms.iter().filter(|arm| *arm != baseline) {
        for &level in &results.plan.levels {
            let (mut questions, mut right, mut lost, mut gained) = (0, 0, 0, 0);
            for cell in results.plan.cells() {
                if cell.arm != *arm || cell.level.total_cmp(&level).is_ne() {
                    continue;
                }
                let of_baseline = Cell {
                    arm: baseline.to_owned(),
                    ..cell.clone()
                };
                let lines = [&cell, &of_baseline].map(|cell| results.cells.get(&cell.to_string()));
                let [Some(own), Some(base)] = lines else {
                    continue;
                };
                let firsts = |line| -> Vec<bool> {
                    let scores = query_scores(results, &cell.pair, line);
                    scores
                        .into_iter()
                        .map(|(_, scores)| scores.recall_at_1 > 0.0)
                        .collect()
                };
                for (own, base) in firsts(own).into_iter().zip(firsts(base)) {
                    questions += 1;
                    right += usize::from(base);
                    lost += usize::from(base && !own);
                    gained += usize::from(own && !base);
                }
            }
            if questions > 0 {
                let share = |count: usize| count_f64(count) / count_f64(questions);
                found.push(FirstPlaces {
                    arm: arm.clone(),
                    level,
                    questions,
                    right: share(right),
                    lost: share(lost),
                    gained: share(gained),
                });
            }
        }
    }
    found
}
