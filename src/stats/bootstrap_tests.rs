//! Bands with known answers, clusters that move together, flips that are all made.

use super::*;

fn sample(rows: &[(u32, u32, f64)]) -> Sample {
    Sample::new(
        rows.iter()
            .map(|&(cluster, group, value)| Observation {
                cluster,
                group,
                seed: 0,
                value,
            })
            .collect(),
    )
    .unwrap()
}

#[test]
fn groups_weigh_the_same_whatever_their_size() {
    let unbalanced = sample(&[(0, 0, 1.0), (1, 0, 1.0), (2, 0, 1.0), (3, 1, 0.0)]);
    assert!((unbalanced.mean() - 0.5).abs() <= 0.0, "exact in binary");
}

#[test]
fn one_cluster_or_equal_values_have_no_width() {
    let constant =
        sample(&[(0, 0, 0.25), (1, 0, 0.25), (2, 1, 0.25)]).band(&BandOptions::default());
    assert_eq!(
        (
            constant.low,
            constant.mean,
            constant.high,
            constant.standard_error
        ),
        (0.25, 0.25, 0.25, 0.0)
    );
    let single = sample(&[(7, 0, 0.0), (7, 0, 1.0)]).band(&BandOptions::default());
    assert_eq!((single.low, single.high, single.clusters), (0.5, 0.5, 1));
}

#[test]
fn two_clusters_give_the_binomial_band() {
    // Means of two draws from {0, 1}: 0, 1/2, 1 with weights 1/4, 1/2, 1/4: standard error sqrt(1/8).
    let band = sample(&[(0, 0, 0.0), (1, 0, 1.0)]).band(&BandOptions::default());
    assert_eq!((band.low, band.mean, band.high), (0.0, 0.5, 1.0));
    assert!(
        (band.standard_error - 0.125_f64.sqrt()).abs() < 0.005,
        "{band:?}"
    );
}

/// Normal deviates by the sum of twelve uniforms.
fn normal(seed: u64, index: u64) -> f64 {
    let uniform = |k: u64| {
        f64::from(u32::try_from(draw(seed, index * 12 + k) >> 32).unwrap()) / 4_294_967_296.0
    };
    (0..12).map(uniform).sum::<f64>() - 6.0
}

#[test]
fn iid_clusters_give_the_analytic_standard_error() {
    let rows: Vec<(u32, u32, f64)> = (0..400_u32)
        .map(|index| (index, 0, normal(5, u64::from(index))))
        .collect();
    let band = sample(&rows).band(&BandOptions::default());
    let mean = rows.iter().map(|row| row.2).sum::<f64>() / 400.0;
    let variance = rows.iter().map(|row| (row.2 - mean).powi(2)).sum::<f64>() / 400.0;
    let analytic = (variance / 400.0).sqrt();
    // 10,000 resamples estimate a standard error to 0.7 % (one sigma); 3 % is over four.
    assert!(
        (band.standard_error / analytic - 1.0).abs() < 0.03,
        "{} against {analytic}",
        band.standard_error
    );
    for (end, sign) in [(band.low, -1.0), (band.high, 1.0)] {
        let want = mean + sign * 1.959_964 * analytic;
        assert!((end - want).abs() < 0.15 * analytic, "{end} against {want}");
    }
}

#[test]
fn correlated_questions_widen_the_band() {
    let value = |cluster: u32| normal(9, u64::from(cluster));
    let rows = |cluster_of: fn(u32) -> u32| -> Vec<(u32, u32, f64)> {
        (0..400_u32)
            .map(|index| (cluster_of(index), 0, value(index / 8)))
            .collect()
    };
    let clustered = sample(&rows(|index| index / 8)).band(&BandOptions::default());
    let pretended = sample(&rows(|index| index)).band(&BandOptions::default());
    // Eight equal values a cluster: the error grows by sqrt(8).
    let ratio = clustered.standard_error / pretended.standard_error;
    assert!((ratio / 8.0_f64.sqrt() - 1.0).abs() < 0.06, "{ratio}");
}

#[test]
fn pairing_removes_what_both_share() {
    let rows = |shift: f64| -> Vec<(u32, u32, f64)> {
        (0..100_u32)
            .map(|index| (index / 2, index % 2, normal(3, u64::from(index)) + shift))
            .collect()
    };
    let (a, b) = (sample(&rows(0.25)), sample(&rows(0.0)));
    let difference = a.minus(&b).unwrap().band(&BandOptions::default());
    assert!(
        (difference.mean - 0.25).abs() < 1e-12 && difference.standard_error < 1e-12,
        "{difference:?}"
    );
    assert!(a.band(&BandOptions::default()).standard_error > 0.05);
}

#[test]
fn the_band_depends_on_seed_alone() {
    let rows: Vec<(u32, u32, f64)> = (0..60_u32)
        .map(|index| (index / 3, index % 4, normal(1, u64::from(index))))
        .collect();
    let band = |seed: u64| {
        sample(&rows).band(&BandOptions {
            seed,
            ..BandOptions::default()
        })
    };
    let alone = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    assert_eq!(band(4), alone.install(|| band(4)));
    assert_ne!(band(4), band(5));
}

#[test]
fn seeds_are_drawn_too() {
    // One question in many articles, all equal; the seeds alone differ: 0 or 1.
    let rows = (0..50).flat_map(|cluster| {
        (0..2_u32).map(move |seed| Observation {
            cluster,
            group: 0,
            seed,
            value: f64::from(seed),
        })
    });
    let sample = Sample::new(rows.collect()).unwrap();
    let band = sample.band(&BandOptions::default());
    assert_eq!((band.low, band.mean, band.high), (0.0, 0.5, 1.0));
    assert!(
        (band.standard_error - 0.125_f64.sqrt()).abs() < 0.005,
        "{band:?}"
    );
    assert_eq!((band.observations, band.clusters), (50, 50));
}

#[test]
fn flips_of_few_clusters_are_all_made() {
    // Signs of 1, 2, 3: |sum| = 6 twice in eight.
    let three = sample(&[(0, 0, 1.0), (1, 0, 2.0), (2, 0, 3.0)]);
    assert!((three.sign_flip(10_000, 0) - 0.25).abs() < 1e-12);
    // A shift of half a deviation in 400 clusters is ten standard errors.
    let shifted: Vec<(u32, u32, f64)> = (0..400_u32)
        .map(|index| (index, 0, normal(5, u64::from(index)) + 0.5))
        .collect();
    assert!(sample(&shifted).sign_flip(999, 0) < 0.0011);
    let centred: Vec<(u32, u32, f64)> = (0..400_u32)
        .map(|index| (index, 0, if index % 2 == 0 { 1.0 } else { -1.0 }))
        .collect();
    assert!(sample(&centred).sign_flip(999, 0) > 0.9);
}

#[test]
fn copies_have_the_design_effect_of_their_number() {
    let copies = |of_cluster: u32| -> Vec<(u32, u32, f64)> {
        (0..400_u32)
            .map(|index| {
                (
                    index / of_cluster,
                    0,
                    normal(2, u64::from(index / of_cluster)),
                )
            })
            .collect()
    };
    let effect = |of_cluster| sample(&copies(of_cluster)).design_effect(&BandOptions::default());
    assert!((effect(1) - 1.0).abs() < 0.1, "{}", effect(1));
    assert!((effect(4) / 4.0 - 1.0).abs() < 0.1, "{}", effect(4));
}

#[test]
fn unusable_samples_are_refused() {
    assert_eq!(Sample::new(Vec::new()), Err(SampleError::Empty));
    let nan = Sample::new(vec![Observation {
        cluster: 0,
        group: 0,
        seed: 0,
        value: f64::NAN,
    }]);
    assert!(matches!(nan, Err(SampleError::NotFinite { index: 0, .. })));
    let (a, b) = (sample(&[(0, 0, 1.0), (1, 0, 1.0)]), sample(&[(0, 0, 1.0)]));
    assert_eq!(
        a.minus(&b),
        Err(SampleError::NotPaired {
            index: 1,
            left: Some((1, 0, 0)),
            right: None
        })
    );
}
