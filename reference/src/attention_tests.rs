use super::*;
use crate::definition;
use crate::exp::CANONICAL_NAN;
use crate::problem::{DType, Shape, Tensor};
use crate::random::Draws;
use crate::{Extents, Layout, Window};

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

#[test]
fn the_answer_is_the_definition_bit_by_bit() {
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
            let answer = attention(&problem).unwrap();
            let expected = definition::attention(&problem).unwrap();
            assert_eq!(bits(&answer.o), bits(&expected.o));
            assert_eq!(bits(&answer.lse), bits(&expected.lse));
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
