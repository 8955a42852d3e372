use super::*;
use crate::fixed_point;
use crate::problem::{DType, Shape, Tensor};
use crate::random::Draws;
use crate::{Extents, Window};

/// Numbers with 8 significant bits in `-4..4`, so that every format holds them.
fn values(draws: &mut Draws, count: usize) -> Vec<f32> {
    let eighths = |draw: usize| f32::from(i16::try_from(draw).unwrap() - 128) / 32.0;
    (0..count).map(|_| eighths(draws.below(256))).collect()
}

fn problem(shape: Shape, dtype: DType, scale: f32, layout: Layout, seed: u64) -> Problem {
    let mut draws = Draws::from_seed(seed);
    let mut tensor = |extents: [usize; 4]| {
        Tensor::from_f32_exactly(dtype, &values(&mut draws, extents.iter().product())).unwrap()
    };
    let (q, k, v) = (
        tensor(shape.q_extents()),
        tensor(shape.kv_extents()),
        tensor(shape.kv_extents()),
    );
    Problem::new(shape, q, k, v, scale, layout).unwrap()
}

fn single(seqlen_q: usize, seqlen_kv: usize, head_dim: usize) -> Shape {
    Shape {
        batch: 1,
        num_q_heads: 1,
        num_kv_heads: 1,
        seqlen_q,
        seqlen_kv,
        head_dim,
    }
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// The formula, once more, by `is_visible` and whole rows: no ranges, no transposition, no scratch.
fn naive(problem: &Problem) -> Answer {
    let shape = problem.shape;
    let at = |tensor: &Tensor, heads: usize, len: usize, [b, h, s, c]: [usize; 4]| {
        tensor
            .get(((b * heads + h) * len + s) * shape.head_dim + c)
            .unwrap()
    };
    let (mut o, mut lse) = (Vec::new(), Vec::new());
    for b in 0..shape.batch {
        for h in 0..shape.num_q_heads {
            let kv = h / (shape.num_q_heads / shape.num_kv_heads);
            for i in 0..shape.seqlen_q {
                let keys: Vec<usize> = (0..shape.seqlen_kv)
                    .filter(|&j| problem.layout.is_visible(h, i, j))
                    .collect();
                let score = |j: usize| {
                    let dot = (0..shape.head_dim).fold(0.0, |sum, c| {
                        sum + at(&problem.q, shape.num_q_heads, shape.seqlen_q, [b, h, i, c])
                            * at(
                                &problem.k,
                                shape.num_kv_heads,
                                shape.seqlen_kv,
                                [b, kv, j, c],
                            )
                    });
                    dot * f64::from(problem.scale)
                };
                let scores: Vec<f64> = keys.iter().map(|&j| score(j)).collect();
                let row_max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> = scores.iter().map(|score| exp(score - row_max)).collect();
                let row_sum: f64 = weights.iter().sum();
                for c in 0..shape.head_dim {
                    let sum = keys.iter().zip(&weights).fold(0.0, |sum, (&j, weight)| {
                        sum + weight
                            * at(
                                &problem.v,
                                shape.num_kv_heads,
                                shape.seqlen_kv,
                                [b, kv, j, c],
                            )
                    });
                    o.push(if keys.is_empty() { 0.0 } else { sum / row_sum });
                }
                lse.push(if keys.is_empty() {
                    f64::NEG_INFINITY
                } else {
                    row_max + ln(row_sum).unwrap()
                });
            }
        }
    }
    Answer { o, lse }
}

#[test]
fn the_answer_is_the_formula_bit_by_bit() {
    let shape = Shape {
        batch: 2,
        num_q_heads: 4,
        num_kv_heads: 2,
        seqlen_q: 13,
        seqlen_kv: 21,
        head_dim: 5,
    };
    let extents = Extents {
        seqlen_q: 13,
        seqlen_kv: 21,
        block_q: 4,
        block_kv: 3,
    };
    let layouts = [
        Layout::dense(13, 21),
        Layout::dense_causal(13, 21),
        Layout::random(extents, 0.3, 4).unwrap().with_causal(true),
        Layout::longformer(13, 21, 2, [0, 7, 20]).unwrap(),
        Layout::random(extents, 0.2, 5)
            .unwrap()
            .with_window(Window {
                left: Some(3),
                right: Some(1),
            }),
    ];
    for (seed, layout) in (0..).zip(layouts) {
        for dtype in DType::ALL {
            let problem = problem(shape, dtype, 0.25, layout.clone(), seed);
            let (answer, naive) = (attention(&problem).unwrap(), naive(&problem));
            assert_eq!(bits(&answer.o), bits(&naive.o));
            assert_eq!(bits(&answer.lse), bits(&naive.lse));
        }
    }
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    let shape = Shape {
        batch: 1,
        num_q_heads: 2,
        num_kv_heads: 1,
        seqlen_q: 67,
        seqlen_kv: 90,
        head_dim: 16,
    };
    let problem = problem(shape, DType::Bf16, 0.3, Layout::dense_causal(67, 90), 3);
    let with_threads = |count: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(count)
            .build()
            .unwrap();
        let answer = pool.install(|| attention(&problem)).unwrap();
        (bits(&answer.o), bits(&answer.lse))
    };
    let one = with_threads(1);
    for count in [2, 3, 7] {
        assert_eq!(with_threads(count), one, "{count} threads");
    }
}

/// Distance of an answer from the real one over the distance that the module states, for o and for lse, the largest of
/// all rows. Inputs are multiples of 1/32 and the layout is dense, so that dot products are whole numbers of 2^-10.
fn share_of_stated_distance(problem: &Problem, answer: &Answer) -> (f64, f64) {
    let (u, d) = (2f64.powi(-53), problem.shape.head_dim);
    let fixed = |value: f64, fraction: u32| {
        fixed_point::from_f64(value) >> (fixed_point::FRACTION - fraction)
    };
    let whole = |tensor: &Tensor| -> Vec<i128> {
        tensor.to_f64().iter().map(|x| fixed(x * 32.0, 0)).collect()
    };
    let (q, k, v) = (whole(&problem.q), whole(&problem.k), whole(&problem.v));
    let scale = fixed_point::from_f64(f64::from(problem.scale)) >> 10;
    let n = f64::from(u32::try_from(problem.shape.seqlen_kv).unwrap());
    let (mut worst_o, mut worst_lse): (f64, f64) = (0.0, 0.0);
    for (row, q) in q.chunks(d).enumerate() {
        let terms = |key: usize| q.iter().zip(&k[key * d..]).take(d).map(|(q, k)| q * k);
        let scores: Vec<i128> = (0..k.len() / d)
            .map(|key| scale * terms(key).sum::<i128>())
            .collect();
        let max = *scores.iter().max().unwrap();
        let spread = fixed_point::to_f64(max - scores.iter().min().unwrap());
        let abs_dot = (0..k.len() / d)
            .map(|key| terms(key).map(i128::abs).sum::<i128>())
            .max()
            .unwrap();
        let xi = 1.01
            * u
            * f64::from(u32::try_from(d).unwrap())
            * fixed_point::to_f64(scale.abs() * abs_dot);
        let theta = 1.01 * (xi + u * spread + 2.0 * u);
        // Weights in units of 2^-64: off by 200 * 2^-64 = 1e-17 in all.
        let weights: Vec<i128> = scores
            .iter()
            .map(|score| {
                let (mantissa, exponent) = fixed_point::exp(score - max);
                mantissa >> (52 - exponent).min(127)
            })
            .collect();
        let row_sum: i128 = weights.iter().sum();
        for c in 0..d {
            let weigh = |size: &dyn Fn(i128) -> i128| -> i128 {
                weights
                    .iter()
                    .enumerate()
                    .map(|(key, weight)| weight * size(v[key * d + c]))
                    .sum()
            };
            // (sum - o row_sum) / row_sum in units of 2^-50, one unit of which is lost on the way.
            let o = answer.o[row * d + c];
            let difference = ((weigh(&|x| x) << 45) - fixed(o, 50) * row_sum) / row_sum;
            let distance = fixed_point::to_f64(difference << 66).abs() - 2f64.powi(-49);
            let abs_o = fixed_point::to_f64(((weigh(&i128::abs) << 45) / row_sum) << 66);
            worst_o = worst_o.max(distance / (1.05 * (2.0 * theta + (2.0 * n + 1.0) * u) * abs_o));
        }
        let lse = answer.lse[row];
        let (mantissa, exponent) = fixed_point::exp(fixed_point::from_f64(lse) - max);
        // e^(lse - max) / row_sum - 1, in units of 2^-50.
        let ratio = ((mantissa >> 16 << exponent) << 14) / row_sum - (1 << 50);
        let distance = fixed_point::to_f64(ratio << 66).abs() - 2f64.powi(-49);
        worst_lse =
            worst_lse.max(distance / (1.05 * (theta + n * u + 2.0 * u * n.ln()) + u * lse.abs()));
    }
    (worst_o, worst_lse)
}

#[test]
fn the_stated_distance_from_the_real_answer_holds() {
    for (seed, scale) in (0..).zip([0.25_f32, 0.176_776_7, -0.1, 0.02, 0.9]) {
        let problem = problem(
            single(6, 200, 16),
            DType::F32,
            scale,
            Layout::dense(6, 200),
            seed,
        );
        let mut answer = attention(&problem).unwrap();
        let (o, lse) = share_of_stated_distance(&problem, &answer);
        assert!(
            o <= 1.0 && lse <= 1.0,
            "scale {scale}: {o} and {lse} of the stated distance"
        );
        // The check can fail: one part in 2^40.
        answer.o[7] *= 1.0 + 2f64.powi(-36);
        answer.lse[3] += 2f64.powi(-36);
        let (o, lse) = share_of_stated_distance(&problem, &answer);
        assert!(
            o > 1.0 && lse > 1.0,
            "scale {scale}: {o} and {lse} after a change"
        );
    }
}

const NAN: f32 = f32::NAN;
const INF: f32 = f32::INFINITY;

/// One query, three keys, one channel, f32, scale 1.
fn row(q: f32, k: [f32; 3], v: [f32; 3], layout: Layout) -> (f64, f64) {
    let [q, k, v] = [vec![q], k.to_vec(), v.to_vec()].map(Tensor::F32);
    let answer = attention(&Problem::new(single(1, 3, 1), q, k, v, 1.0, layout).unwrap()).unwrap();
    (answer.o[0], answer.lse[0])
}

#[test]
fn rows_out_of_the_ordinary() {
    let check = |q, k, v, o: f64, lse: f64| {
        let found = row(q, k, v, Layout::dense(1, 3));
        assert_eq!(
            (found.0.to_bits(), found.1.to_bits()),
            (o.to_bits(), lse.to_bits()),
            "{q} {k:?} {v:?}: {found:?}"
        );
    };
    let (nan, inf, ln_2) = (CANONICAL_NAN, f64::INFINITY, std::f64::consts::LN_2);
    check(1.0, [NAN, 0.0, 0.0], [1.0; 3], nan, nan);
    check(0.0, [INF, 0.0, 0.0], [1.0; 3], nan, nan);
    check(NAN, [0.0; 3], [1.0; 3], nan, nan);
    check(1.0, [INF, 0.0, 0.0], [1.0; 3], nan, inf);
    check(1.0, [INF, -INF, NAN], [1.0; 3], nan, nan);
    check(1.0, [-INF, 0.0, 0.0], [NAN, 1.0, 3.0], 2.0, ln_2);
    check(1.0, [-INF; 3], [NAN; 3], 0.0, -inf);
    check(-1.0, [INF; 3], [NAN; 3], 0.0, -inf);
    check(1.0, [0.0, 0.0, -INF], [NAN, INF, 1.0], nan, ln_2);
    check(1.0, [0.0, 0.0, -INF], [1.0, INF, 1.0], inf, ln_2);
    check(1.0, [0.0, 0.0, -INF], [-INF, INF, 1.0], nan, ln_2);
    // A weight that underflows is not zero.
    check(1.0, [0.0, 0.0, -1e4], [1.0, 1.0, -INF], -inf, ln_2);
    // Zeros: cancelled, and of either sign.
    check(1.0, [0.0, 0.0, -INF], [1.0, -1.0, 0.0], 0.0, ln_2);
    check(1.0, [0.0, 0.0, -INF], [-0.0, -0.0, 0.0], 0.0, ln_2);
}

#[test]
fn hidden_keys_and_values_are_not_read() {
    let first = Window {
        left: None,
        right: Some(0),
    };
    let layout = Layout::sliding_window(2, 3, first);
    let shape = single(2, 3, 1);
    let tensor = |values: &[f32]| Tensor::F32(values.to_vec());
    // Query 0 of two over three keys sees keys 0 and 1; query 1 sees all.
    let problem = Problem::new(
        shape,
        tensor(&[1.0, 1.0]),
        tensor(&[0.0, 0.0, NAN]),
        tensor(&[1.0, 3.0, INF]),
        1.0,
        layout,
    );
    let answer = attention(&problem.unwrap()).unwrap();
    assert_eq!(bits(&answer.o), bits(&[2.0, CANONICAL_NAN]));
    assert_eq!(
        bits(&answer.lse),
        bits(&[std::f64::consts::LN_2, CANONICAL_NAN])
    );
}

#[test]
fn lengths_of_zero_are_answered() {
    let check = |shape: Shape| {
        let problem = problem(
            shape,
            DType::F16,
            1.0,
            Layout::dense(shape.seqlen_q, shape.seqlen_kv),
            1,
        );
        let answer = attention(&problem).unwrap();
        assert!(answer.o.iter().all(|o| o.to_bits() == 0));
        assert!(answer.lse.iter().all(|&lse| lse == f64::NEG_INFINITY));
        (answer.o.len(), answer.lse.len())
    };
    assert_eq!(check(single(3, 0, 2)), (6, 3));
    assert_eq!(check(single(0, 3, 2)), (0, 0));
    assert_eq!(
        check(Shape {
            batch: 0,
            ..single(3, 3, 2)
        }),
        (0, 0)
    );
}

#[test]
fn malformed_problems_are_refused() {
    let mut problem = problem(single(2, 2, 2), DType::F16, 1.0, Layout::dense(2, 2), 1);
    problem.layout = Layout::dense(2, 3);
    let expected = ProblemError::LayoutLengths {
        layout: (2, 3),
        shape: (2, 2),
    };
    assert_eq!(attention(&problem), Err(AttentionError::Problem(expected)));
}

#[test]
#[ignore = "a measurement"]
fn speed() {
    let problem = problem(
        single(512, 512, 64),
        DType::F16,
        0.125,
        Layout::dense(512, 512),
        1,
    );
    let start = std::time::Instant::now();
    let answer = attention(&problem).unwrap();
    println!("512 x 512 x 64: {:?} ({})", start.elapsed(), answer.o[0]);
}
