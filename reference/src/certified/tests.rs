use super::*;
use crate::definition;
use crate::exact::{Dyadic, round_ratio};
use crate::layout::{Extents, Layout, Window};
use crate::problem::{Shape, Tensor};
use families::{FAMILIES, Family};
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use std::fmt::Write;

#[path = "../../tests/families/mod.rs"]
mod families;

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Values that differ from the definition's.
fn differences(found: &Answer, expected: &Answer) -> usize {
    let differ = |a: &[f64], b: &[f64]| {
        assert_eq!(a.len(), b.len());
        let pairs = bits(a).into_iter().zip(bits(b));
        pairs.filter(|(a, b)| a != b).count()
    };
    differ(&found.o, &expected.o) + differ(&found.lse, &expected.lse)
}

fn levels() -> impl Iterator<Item = Options> {
    Level::available().into_iter().map(|level| Options {
        level,
        ..Options::default()
    })
}

/// Every level, and for some of the problems all rows at the second level where it can.
fn compare(first: u64, count: u64, most: usize) {
    let mut totals = std::collections::BTreeMap::<&str, [usize; 3]>::new();
    for seed in first..first + count {
        let family = FAMILIES[usize::try_from(seed).unwrap() % FAMILIES.len()];
        let problem = family.problem(seed, most);
        let expected = definition::attention(&problem).unwrap();
        for mut options in levels() {
            options.tile_q = [1, 3, 32][usize::try_from(seed / 9).unwrap() % 3];
            if seed % 4 == 0 {
                options.error_factor = f64::INFINITY;
            }
            let found = attention(&problem, &options).unwrap();
            let differ = differences(&found, &expected);
            assert_eq!(differ, 0, "{} seed {seed} {options:?}", family.name);
            let total = totals.entry(family.name).or_default();
            for (total, count) in total.iter_mut().zip(found.stats.values) {
                *total += count;
            }
        }
    }
    for (name, levels) in &totals {
        println!("{name:24} {levels:8?} values by level");
    }
    let by_level: Vec<usize> = (0..3)
        .map(|level| totals.values().map(|levels| levels[level]).sum())
        .collect();
    assert!(by_level.iter().all(|&count| count > 500), "{by_level:?}");
}

/// The short form of `examples/soak.rs`, which compares as many outputs as one has time for.
#[test]
fn every_family_is_the_definition() {
    compare(0, 162, 24);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_row_of_any_floats_is_the_definition(
        q in prop::collection::vec(any::<f32>(), 2),
        kv in prop::collection::vec((-1e3_f32..1e3, any::<f32>(), any::<f32>(), -4_i8..4), 1..40),
        scale in -2.0_f32..2.0,
    ) {
        let shape = Shape {
            batch: 1, num_q_heads: 1, num_kv_heads: 1, seqlen_q: 1, seqlen_kv: kv.len(), head_dim: 2,
        };
        let k = kv.iter().flat_map(|&(a, b, ..)| [a, b]).collect();
        let v = kv.iter().flat_map(|&(_, _, a, b)| [a, f32::from(b)]).collect();
        let [q, k, v] = [q, k, v].map(Tensor::F32);
        let problem = Problem::new(shape, q, k, v, scale, Layout::dense(1, kv.len())).unwrap();
        let found = attention(&problem, &Options::default()).unwrap();
        prop_assert_eq!(differences(&found, &definition::attention(&problem).unwrap()), 0);
    }
}

fn floats_of_64_bits() -> impl Strategy<Value = f64> {
    prop_oneof![4 => -4.0_f64..4.0, 1 => any::<f64>(), 1 => any::<f32>().prop_map(f64::from)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn floats_of_64_bits_are_the_definition(
        q in prop::collection::vec(floats_of_64_bits(), 4),
        kv in prop::collection::vec((floats_of_64_bits(), floats_of_64_bits()), 1..20),
        scale in -2.0_f32..2.0,
        causal: bool,
    ) {
        let shape = Shape {
            batch: 1, num_q_heads: 2, num_kv_heads: 1, seqlen_q: 2, seqlen_kv: kv.len(), head_dim: 1,
        };
        let (k, v) = kv.into_iter().unzip();
        let [q, k, v] = [q, k, v].map(Tensor::F64);
        let layout = Layout::dense(2, shape.seqlen_kv).with_causal(causal);
        let problem = Problem::new(shape, q, k, v, scale, layout).unwrap();
        let found = attention(&problem, &Options::default()).unwrap();
        prop_assert_eq!(differences(&found, &definition::attention(&problem).unwrap()), 0);
    }
}

/// One head of plain numbers of 53 bits.
fn problem_of_64_bits(seqlen: usize, head_dim: usize) -> Problem {
    let shape = Shape {
        batch: 1,
        num_q_heads: 1,
        num_kv_heads: 1,
        seqlen_q: seqlen,
        seqlen_kv: seqlen,
        head_dim,
    };
    let draws = &mut crate::random::Draws::from_seed(64);
    let mut numbers = || {
        let one = |_| 2.0 * f64::from_bits(0x3ff0_0000_0000_0000 | (draws.bits() >> 12)) - 3.0;
        Tensor::F64((0..seqlen * head_dim).map(one).collect())
    };
    let (q, k, v) = (numbers(), numbers(), numbers());
    Problem::new(shape, q, k, v, 0.3, Layout::dense(seqlen, seqlen)).unwrap()
}

#[test]
fn bits_of_64_bit_inputs_are_pinned_and_take_the_definition() {
    let problem = problem_of_64_bits(12, 8);
    let answer = attention(&problem, &Options::default()).unwrap();
    assert_eq!(answer.stats.values, [0, 0, 12 * 9]);
    assert_eq!(
        sha256(&answer),
        "6cb631f1301cb5e18e7a6e56070a156c0aab0b31f1731a3c16829a8ed42a9c10"
    );
    // The same numbers, rounded, by the fast way.
    let rounded = |tensor: &Tensor| tensor.to_f32();
    let f32s = |tensor: &Tensor| Tensor::F32(rounded(tensor));
    let f64s = |tensor: &Tensor| Tensor::F64(f32s(tensor).to_f64());
    let of = |tensor: &dyn Fn(&Tensor) -> Tensor| {
        let Problem { shape, scale, .. } = problem;
        let [q, k, v] = [&problem.q, &problem.k, &problem.v].map(tensor);
        let problem = Problem::new(shape, q, k, v, scale, problem.layout.clone()).unwrap();
        attention(&problem, &Options::default()).unwrap()
    };
    let (narrow, wide) = (of(&f32s), of(&f64s));
    assert_eq!(narrow, wide);
    assert!(wide.stats.values[0] > 0);
}

#[test]
#[ignore = "a measurement"]
fn cost_of_64_bit_inputs() {
    for (seqlen, head_dim) in [(64, 64), (256, 64)] {
        let problem = problem_of_64_bits(seqlen, head_dim);
        let start = std::time::Instant::now();
        let stats = attention(&problem, &Options::default()).unwrap().stats;
        println!("n={seqlen} d={head_dim}: {:?} {stats:?}", start.elapsed());
    }
}

/// Scores so far apart that no number of bits shows what the lower ones add.
#[test]
fn scores_far_apart_are_decided_by_their_size() {
    let start = std::time::Instant::now();
    let (tie, huge) = (2.0_f32.powi(-52), 3e38_f32);
    let rows: [(&[f32], &[f32], f64, f64); 5] = [
        // The mean of the first two is the tie 1 + 2^-53; the third pulls it up, or down.
        (
            &[0.0, 0.0, -huge],
            &[2.0, tie, 4.0],
            1.0_f64.next_up(),
            std::f64::consts::LN_2,
        ),
        (
            &[0.0, 0.0, -huge],
            &[2.0, tie, -4.0],
            1.0,
            std::f64::consts::LN_2,
        ),
        // A log-sum-exp that is above 0, or a score, by nothing that a float holds.
        (&[0.0, -huge], &[1.0, 0.0], 1.0, 0.0),
        (&[huge, -huge], &[1.0, 0.0], 1.0, f64::from(huge)),
        // The largest weight's value is 0: what is left underflows, and keeps its sign.
        (&[huge, -huge], &[0.0, -1.0], -0.0, f64::from(huge)),
    ];
    for (x, v, o, lse) in rows {
        let shape = Shape {
            batch: 1,
            num_q_heads: 1,
            num_kv_heads: 1,
            seqlen_q: 1,
            seqlen_kv: x.len(),
            head_dim: 1,
        };
        let [q, k, v] = [&[1.0][..], x, v].map(|x| Tensor::F32(x.to_vec()));
        let problem = Problem::new(shape, q, k, v, 1.0, Layout::dense(1, x.len())).unwrap();
        let found = definition::attention(&problem).unwrap();
        assert_eq!(
            (found.o[0].to_bits(), found.lse[0].to_bits()),
            (o.to_bits(), lse.to_bits()),
            "{x:?}"
        );
        assert!(found.stats.bits_max < 10_000, "{x:?}: {:?}", found.stats);
    }
    assert!(start.elapsed().as_secs() < 20);
}

/// Problems whose answers are pinned: every family, and a few longer ones with layouts.
fn pinned() -> Vec<(String, Problem)> {
    let mut problems: Vec<(String, Problem)> = FAMILIES
        .iter()
        .map(|family| (family.name.to_owned(), family.dense(3, 9, 50, 16)))
        .collect();
    let extents = Extents {
        seqlen_q: 50,
        seqlen_kv: 400,
        block_q: 16,
        block_kv: 32,
    };
    let window = Window {
        left: Some(40),
        right: Some(3),
    };
    let layouts = [
        ("dense", Layout::dense(40, 300)),
        ("causal", Layout::dense_causal(70, 260)),
        ("window", Layout::sliding_window(60, 200, window)),
        ("blocks", Layout::random(extents, 0.3, 3).unwrap()),
    ];
    for (name, layout) in layouts {
        for family in &FAMILIES[..3] {
            let mut problem = family.dense(5, layout.seqlen_q(), layout.seqlen_kv(), 40);
            problem.layout = layout.clone();
            problems.push((format!("{name}, {}", family.name), problem));
        }
    }
    problems
}

/// SHA-256 of the bits of an answer, outputs before log-sum-exps, little-endian.
fn sha256(answer: &Answer) -> String {
    let values = answer.o.iter().chain(&answer.lse);
    let bytes: Vec<u8> = values.flat_map(|x| x.to_le_bytes()).collect();
    let digest = Sha256::digest(bytes);
    digest.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all");
        text
    })
}

fn check_pinned(options: &Options, keep: impl Fn(usize) -> bool) {
    let mut found = String::new();
    let mut expected = String::new();
    let lines = include_str!("../../tests/pinned.txt").lines();
    let problems = pinned();
    assert_eq!(problems.len(), lines.clone().count());
    for (index, ((name, problem), line)) in problems.iter().zip(lines).enumerate() {
        if keep(index) {
            let answer = attention(problem, options).unwrap();
            writeln!(found, "{} {name}", sha256(&answer)).unwrap();
            writeln!(expected, "{line}").unwrap();
        }
    }
    assert!(found == expected, "{options:?} gives\n{found}");
}

#[test]
fn bits_are_pinned_at_every_level() {
    for options in levels() {
        check_pinned(&options, |_| true);
    }
}

#[test]
fn bits_are_pinned_for_every_thread_count_tile_and_order_of_blocks() {
    for options in levels() {
        for (tile_q, threads, order) in [(1, 1, 0), (7, 2, 1), (16, 5, 2), (64, 3, 3)] {
            let options = Options {
                tile_q,
                order,
                ..options
            };
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let last = FAMILIES.len();
            pool.unwrap()
                .install(|| check_pinned(&options, |index| index >= last || index % 3 == 0));
        }
    }
}

#[test]
fn bits_are_pinned_without_the_first_level_or_the_second() {
    let [second, third] =
        [(f64::INFINITY, true), (f64::INFINITY, false)].map(|(error_factor, fixed_point)| {
            Options {
                error_factor,
                fixed_point,
                ..Options::default()
            }
        });
    check_pinned(&second, |_| true);
    check_pinned(&third, |index| index < FAMILIES.len() && index % 3 == 1);
}

/// The bound itself, against enclosures of 300 bits: quotients of plain problems are within it, and not within a
/// millionth of it.
#[test]
fn the_bound_holds_and_is_not_idle() {
    for family in &FAMILIES[..3] {
        let Family { dtype, .. } = family;
        let problem = family.dense(11, 8, 150, 16);
        let mut worst: f64 = 0.0;
        tile::observe(&problem, |q_row, channel, found| {
            let keys: Vec<usize> = (0..150).collect();
            let definition::Seen::Finite(row) = definition::Row::read(&problem, q_row, &keys)
            else {
                panic!("finite inputs");
            };
            let exact = |x: f64| Dyadic::from_f64(x).unwrap();
            let v: Vec<Dyadic> = row.values(channel).into_iter().map(exact).collect();
            let sums = row.sums_less(&v, &(&exact(found.high) + &exact(found.low)));
            let weights = row.weights_from(sums.len() - 1, 300);
            let distance = crate::exact::Enclosure::weighted_sum(300, weights.iter().zip(&sums));
            let ratio = round_ratio(&distance.high(), &row.sum_of_weights(300).low());
            worst = worst.max(ratio.abs() / found.error);
        });
        println!("{dtype}: at most {worst:e} of the bound");
        assert!(worst < 1.0, "{dtype}: {worst} times the bound");
        assert!(
            worst > 1e-6,
            "{dtype}: a bound divided by a million would pass"
        );
    }
}
