//! The block-sparse arm of the committed registered study beside arms of the committed exploration.

use std::path::Path;

use flashproof::stats::{BandOptions, area_weights};
use flashproof::study::{
    Curve, Metric, Plan, Results, against, curves, is_cross_lingual, pair_scores,
};

fn read(name: &str) -> Results {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("reports/accuracy");
    Results::read(&folder.join(format!("{name}.jsonl"))).unwrap()
}

/// The exploration of many arms, as far as it is whole, and its curves.
fn explored() -> (Results, Vec<Curve>) {
    let whole = read("arms");
    let (share, seeds) = whole.reached().unwrap();
    let arms = whole.at(share, &seeds);
    let drawn = drawn(&arms);
    (arms, drawn)
}

fn drawn(results: &Results) -> Vec<Curve> {
    let options = BandOptions {
        resamples: 40,
        ..BandOptions::default()
    };
    curves(results, Metric::NdcgAt10, &options).unwrap().curves
}

/// Mean over cross-lingual pairs of the area under the means of the pairs: no bootstrap, no question paired.
fn area_of(results: &Results, arm: &str) -> f64 {
    let levels = &results.plan.levels;
    let weights = area_weights(levels);
    let scores = pair_scores(results);
    let of_pairs: Vec<f64> = results
        .plan
        .pairs
        .iter()
        .filter(|pair| is_cross_lingual(pair))
        .map(|pair| {
            let terms = levels.iter().zip(&weights).map(|(level, weight)| {
                let point = scores.iter().find(|point| {
                    point.pair == *pair && point.arm == arm && point.level.total_cmp(level).is_eq()
                });
                weight * point.unwrap().scores.ndcg_at_10
            });
            terms.sum()
        })
        .collect();
    of_pairs.iter().sum::<f64>() / f64::from(u32::try_from(of_pairs.len()).unwrap())
}

#[test]
fn differences_are_those_of_the_areas() {
    let core = read("core").plan;
    let registered = core.registered.clone().unwrap();
    let (arms, drawn) = explored();
    let rows = against(&core, &registered, &arms, &drawn).unwrap();
    let unknown = |arm: &&String| !core.arms.contains(arm);
    assert_eq!(rows.len(), arms.plan.arms.iter().filter(unknown).count());
    let block = area_of(&arms, &registered.block);
    for row in &rows {
        let expected = block - area_of(&arms, &row.arm);
        // Both sum some thousand numbers of at most 1 in f64.
        assert!(
            (row.difference.mean - expected).abs() < 1e-12,
            "{}: {} and {expected}",
            row.arm,
            row.difference.mean
        );
        assert!(
            row.difference.low <= row.difference.mean && row.difference.mean <= row.difference.high
        );
    }
    assert!(rows.is_sorted_by(|a, b| a.difference.mean >= b.difference.mean));
}

#[test]
fn another_length_is_not_compared() {
    let core = read("core").plan;
    let registered = core.registered.clone().unwrap();
    let (arms, drawn) = explored();
    let rows = |plan: &Plan| against(plan, &registered, &arms, &drawn).unwrap();
    let longer = Plan {
        total_tokens: core.total_tokens + 1,
        ..core.clone()
    };
    assert!(rows(&longer).is_empty());
    assert!(!rows(&core).is_empty());
}
