//! Every term of the replay's bound that can be told apart is needed: for each, a problem that only it covers.

use super::replay::Terms;
use super::simulation_tests::{f16s, problem};
use super::tests::HOPPER;
use super::*;
use crate::case::Case;
use crate::simulation::run;
use flashproof_reference::attention;

/// The worst distance over the bound, outputs as they come before their last rounding.
fn worst(problem: &Problem, terms: Terms) -> f64 {
    let dtype = problem.dtype();
    let answer = attention(problem).unwrap();
    let bound = Bound::with_terms(problem, &answer, &HOPPER.arithmetic(dtype), terms);
    let replayed = bound.replayed.unwrap();
    let found = run(problem, &HOPPER.design(dtype)).o;
    let ratios = found
        .iter()
        .zip(replayed.centre.iter().zip(&replayed.bound));
    ratios
        .map(|(&found, (centre, bound))| (f64::from(found) - centre).abs() / bound)
        .fold(0.0, f64::max)
}

/// The bound holds with these terms, all that have something to cover in these problems, and fails for one of the
/// problems without the one that `drop` takes away.
#[track_caller]
fn needs(name: &str, problems: &[Problem], whole: Terms, drop: impl Fn(&mut Terms)) {
    let mut terms = whole;
    drop(&mut terms);
    let of = |terms| {
        problems
            .iter()
            .map(|one| worst(one, terms))
            .fold(0.0, f64::max)
    };
    let (whole, crippled) = (of(whole), of(terms));
    println!("{name}: {whole} of the bound, {crippled} without");
    assert!(whole <= 1.0 && crippled > 1.0, "{name}: {whole} {crippled}");
}

/// 2048 - 2048 and what is too small to survive the alignment with them, then `rest`.
fn cut(small: f32, channels: usize, rest: f32) -> Vec<f32> {
    let mut k = vec![0.0; 16];
    (k[0], k[1], k[15]) = (1.0, 1.0, rest);
    k[2..2 + channels].fill(small);
    k
}

/// What remains, the product of o with its rescaling, is a fifth of the exponential beside it.
#[test]
fn every_term_of_a_replay_that_can_be_told_apart_is_needed() {
    let gaussian: Vec<Problem> = (0..8)
        .map(|seed| format!("kernel=k seqlen_q=16 seqlen_kv=64 seed={seed}"))
        .map(|line| line.parse::<Case>().unwrap().problem().unwrap())
        .collect();
    needs(
        "a rounding that is not certain",
        &gaussian,
        Terms::ALL,
        |terms| {
            terms.unsure = 0.0;
        },
    );

    // Equal weights; values of which small ones are cut.
    let zeros = vec![0.0; 16 * 16];
    let small = f16s(&[0.000_05])[0];
    let mut v = vec![small; 16 * 16];
    v[..16].fill(2048.0);
    v[16..32].fill(-2048.0);
    let equal = problem(&zeros[..16], &zeros, &v, 1, 1.0);
    needs("the second product", &[equal], Terms::ALL, |terms| {
        terms.products = 0.0
    });

    // Three equal weights and values whose sum is exact.
    let third = problem(&zeros[..16], &zeros[..48], &[1.5; 48], 1, 1.0);
    let exact = Terms {
        weights: 0.0,
        row_sum: 0.0,
        products: 0.0,
        ..Terms::ALL
    };
    needs("the division", &[third], exact, |terms| {
        terms.division = 0.0;
    });

    // Weights that vanish beside the first, one after the other, with values of 0.
    let mut k = vec![0.0; 16 * 2048];
    k.iter_mut().skip(16).step_by(16).for_each(|k| *k = -17.0);
    let mut v = vec![0.0; 16 * 2048];
    v[..16].fill(1.5);
    let mut q = vec![0.0; 16];
    q[0] = 1.0;
    let lost = problem(&q, &k, &v, 1, 1.0);
    let zeros_are_exact = Terms {
        products: 0.0,
        ..Terms::ALL
    };
    needs(
        "the additions of the row sum",
        &[lost],
        zeros_are_exact,
        |terms| {
            terms.row_sum = 0.0;
        },
    );

    // A score that is off by what was cut; its weight rounds as the right one does, but not in the row sum.
    let mut q = vec![1.0; 16];
    (q[0], q[1]) = (2048.0, -2048.0);
    let small = f16s(&[0.000_06])[0];
    let v: Vec<f32> = [vec![1.0; 16], vec![0.5; 16]].concat();
    let off: Vec<Problem> = (0..16_u8)
        .map(|step| {
            let rest = f16s(&[-0.7 - f32::from(step) / 64.0])[0];
            let k = [vec![0.0; 16], cut(small, 1, rest)].concat();
            problem(&q, &k, &v, 1, 1.0)
        })
        .collect();
    needs("weights in the row sum", &off, Terms::ALL, |terms| {
        terms.weights = 0.0
    });

    // The first tile's maximum is off; its part of o, with the second tile's, is nearly 0.
    let low = cut(0.0, 0, -30.0);
    let k: Vec<f32> = [cut(small, 1, 0.0)]
        .into_iter()
        .chain(std::iter::repeat_n(low, 63))
        .chain([cut(0.0, 0, 1.0)])
        .flatten()
        .collect();
    let mut v = vec![0.0; 16 * 65];
    v[..16].fill(1.0);
    v[16 * 64..].fill(f16s(&[-0.367_9])[0]);
    let shifted = problem(&q, &k, &v, 1, 1.0);
    needs("maxima", &[shifted], Terms::ALL, |terms| terms.shift = 0.0);
}
