//! Statistics against scipy, on the same resamples: `tests/cases/statistics.py` made the numbers.

use flashproof::stats::{BandOptions, Observation, Sample, area_weights, benjamini_hochberg, holm};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    resamples: u32,
    rows: Vec<(u32, u32, u32, f64)>,
    one_seed: OneSeed,
    two_seeds: TwoSeeds,
    p: Vec<f64>,
    holm: Vec<f64>,
    benjamini_hochberg: Vec<f64>,
    levels: Vec<f64>,
    curve: Vec<f64>,
    area: f64,
}

#[derive(Deserialize)]
struct OneSeed {
    mean: f64,
    means: Vec<f64>,
    standard_error: f64,
    p: f64,
}

#[derive(Deserialize)]
struct TwoSeeds {
    means: Vec<f64>,
    standard_error: f64,
}

#[track_caller]
fn close(found: &[f64], want: &[f64]) {
    assert_eq!(found.len(), want.len());
    for (index, (found, want)) in found.iter().zip(want).enumerate() {
        assert!(
            (found - want).abs() < 1e-12,
            "{index}: {found}, scipy {want}"
        );
    }
}

#[test]
fn resamples_flips_and_adjustments_are_scipys() {
    let fixture: Fixture = serde_json::from_str(include_str!("../cases/statistics.json"))
        .expect("the script wrote it");
    let sample = |seeds: u32| {
        let rows = fixture.rows.iter().filter(|row| row.2 < seeds);
        let observations = rows.map(|&(cluster, group, seed, value)| Observation {
            cluster,
            group,
            seed,
            value,
        });
        Sample::new(observations.collect()).expect("there are rows")
    };
    let options = BandOptions {
        resamples: fixture.resamples,
        ..BandOptions::default()
    };
    let (one, two) = (sample(1), sample(2));
    close(&one.resampled_means(&options), &fixture.one_seed.means);
    close(&two.resampled_means(&options), &fixture.two_seeds.means);
    close(
        &[
            one.mean(),
            one.band(&options).standard_error,
            two.band(&options).standard_error,
            one.sign_flip(10_000, 0),
        ],
        &[
            fixture.one_seed.mean,
            fixture.one_seed.standard_error,
            fixture.two_seeds.standard_error,
            fixture.one_seed.p,
        ],
    );
    close(&holm(&fixture.p), &fixture.holm);
    close(&benjamini_hochberg(&fixture.p), &fixture.benjamini_hochberg);
    let weights = area_weights(&fixture.levels);
    let area: f64 = weights.iter().zip(&fixture.curve).map(|(w, y)| w * y).sum();
    close(&[area], &[fixture.area]);
}
