//! The reference against MPFR, which knows nothing of this package: `cargo test -p flashproof-reference --release
//! --features mpfr --test mpfr -- --nocapture` prints the table of `reports/verification/reference_mpfr.csv`.

#![cfg(feature = "mpfr")]

mod families;

use families::FAMILIES;
use flashproof_reference::{Problem, attention};
use rug::Float;
use rug::ops::Pow;

/// Bits that hold a score: products from `2^-298` to `2^256`, 24 bits of scale, sums.
const EXACT: u32 = 1024;
/// Bits of weights and sums, one after the other until the rounding is certain; at the last, what is within `2^-4300` of
/// a tie counts as one.
const PRECISIONS: [u32; 3] = [300, 1200, 4400];

/// Outputs and log-sum-exp of one row that sees these keys; inputs are finite.
fn row(problem: &Problem, q_row: usize, kv_rows: &[usize]) -> (Vec<f64>, f64) {
    let d = problem.shape.head_dim;
    let exact = |x: f64| Float::with_val(EXACT, x);
    let at = |tensor: &flashproof_reference::Tensor, index| tensor.get(index).expect("in range");
    let mut scores: Vec<(Float, usize)> = kv_rows
        .iter()
        .map(|&kv_row| {
            let mut sum = exact(0.0);
            for l in 0..d {
                sum += exact(at(&problem.q, q_row * d + l)) * exact(at(&problem.k, kv_row * d + l));
            }
            (sum * exact(f64::from(problem.scale)), kv_row)
        })
        .collect();
    scores.sort_by(|a, b| a.0.partial_cmp(&b.0).expect("finite"));
    let Some((max, _)) = scores.last().cloned() else {
        return (vec![0.0; d], f64::NEG_INFINITY);
    };
    let weights: Vec<std::cell::OnceCell<Vec<Float>>> = vec![Default::default(); PRECISIONS.len()];
    let weights = |level: usize| {
        weights[level].get_or_init(|| {
            let shift = |x: &Float| Float::with_val(EXACT, x - &max);
            let all = scores.iter().map(|(x, _)| shift(x));
            all.map(|shift| Float::with_val(PRECISIONS[level], shift.exp_ref()))
                .collect()
        })
    };
    let o = (0..d).map(|channel| {
        let values: Vec<Float> = scores
            .iter()
            .map(|(_, kv_row)| exact(at(&problem.v, kv_row * d + channel)))
            .collect();
        settle(None, |level| {
            let precision = PRECISIONS[level];
            let zero = || Float::with_val(precision, 0.0);
            let (mut numerator, mut reach, mut sum) = (zero(), zero(), zero());
            let weights = weights(level);
            let mut first = 0;
            while first < scores.len() {
                // Values of equal scores first, exactly.
                let mut value = exact(0.0);
                let mut next = first;
                while next < scores.len() && scores[next].0 == scores[first].0 {
                    value += &values[next];
                    next += 1;
                }
                let weight = &weights[first];
                numerator += Float::with_val(precision, weight * &value);
                reach += Float::with_val(precision, weight * value.abs());
                sum += Float::with_val(
                    precision,
                    weight * f64::from(u32::try_from(next - first).expect("few")),
                );
                first = next;
            }
            let error = Float::with_val(precision, &reach / &sum) * off(precision);
            (numerator / sum, error)
        })
    });
    let o: Vec<f64> = o.collect();
    // More than one weight: above the largest score, by less than any precision shows perhaps.
    let above = (scores.len() > 1).then_some(&max);
    let lse = settle(above, |level| {
        let precision = PRECISIONS[level];
        let mut sum = Float::with_val(precision, 0.0);
        for weight in weights(level) {
            sum += weight;
        }
        let log = sum.ln();
        let total = Float::with_val(EXACT.max(precision) + EXACT, &max + &log);
        let error = (log.abs() + 1_u32) * off(precision);
        (total, error)
    });
    (o, lse)
}

/// A share of what sums of a few thousand roundings may be off.
fn off(precision: u32) -> Float {
    Float::with_val(64, 2.0).pow(40 - i32::try_from(precision).expect("small"))
}

/// The first rounding that is certain, of a value that is known to lie above a number, however little.
fn settle(above: Option<&Float>, at: impl Fn(usize) -> (Float, Float)) -> f64 {
    for level in 0..PRECISIONS.len() {
        let (value, error) = at(level);
        let wide = value.prec() + 64;
        let mut low = rounded(&Float::with_val(wide, &value - &error));
        if let Some(above) = above {
            // The smallest rounding of anything above.
            let little = Float::with_val(64, 2.0).pow(-6000);
            low = low.max(rounded(&Float::with_val(8000, above + &little)));
        }
        let high = rounded(&Float::with_val(wide, &value + &error));
        if low.to_bits() == high.to_bits() {
            return low;
        }
        if level + 1 == PRECISIONS.len() {
            // A tie, or zero: the nearest number of far fewer bits is the exact one.
            if value.clone().abs() <= error {
                return 0.0;
            }
            return rounded(&Float::with_val(PRECISIONS[level] - 100, &value));
        }
    }
    unreachable!("the last precision always answers")
}

/// To f64, with an underflow's sign, and +0 for zero.
fn rounded(x: &Float) -> f64 {
    if x.is_zero() { 0.0 } else { x.to_f64() }
}

/// Distance in floats.
fn ulps(a: f64, b: f64) -> u64 {
    let place = |x: f64| {
        let magnitude = i64::try_from(x.to_bits() & !(1 << 63)).expect("63 bits");
        if x.is_sign_negative() {
            -magnitude - 1
        } else {
            magnitude
        }
    };
    if a.to_bits() == b.to_bits() {
        0
    } else {
        place(a).abs_diff(place(b)).max(1)
    }
}

/// Outputs, log-sum-exps and the largest distance over problems of one family.
fn compare(family: &families::Family, outputs_wanted: usize) -> (usize, usize, u64, [usize; 3]) {
    let (mut outputs, mut logs, mut worst, mut levels) = (0, 0, 0, [0; 3]);
    for number in 0.. {
        if outputs >= outputs_wanted {
            break;
        }
        let problem = match number {
            0 => family.dense(number, 4, 200, 128),
            _ => family.problem(7_000_000 + number, 60),
        };
        let inputs = [&problem.q, &problem.k, &problem.v];
        if inputs
            .iter()
            .any(|tensor| tensor.to_f64().iter().any(|x| !x.is_finite()))
        {
            continue;
        }
        let answer = attention(&problem).expect("a problem");
        let shape = problem.shape;
        let rows =
            (0..shape.num_q_heads).flat_map(|head| (0..shape.seqlen_q).map(move |q| (head, q)));
        for (index, (head, query)) in rows.enumerate() {
            let kv_rows: Vec<usize> = (0..shape.seqlen_kv)
                .filter(|&key| problem.layout.is_visible(head, query, key))
                .map(|key| shape.kv_head(head) * shape.seqlen_kv + key)
                .collect();
            let (o, lse) = row(&problem, index, &kv_rows);
            let found = &answer.o[index * shape.head_dim..][..shape.head_dim];
            for (found, expected) in found.iter().zip(&o) {
                worst = worst.max(ulps(*found, *expected));
            }
            worst = worst.max(ulps(answer.lse[index], lse));
            outputs += o.len();
            logs += 1;
        }
        for (total, count) in levels.iter_mut().zip(answer.stats.values) {
            *total += count;
        }
    }
    (outputs, logs, worst, levels)
}

#[test]
fn every_output_is_the_one_that_mpfr_rounds_to() {
    println!("family,outputs,log_sum_exps,ulp_max,level_1,level_2,level_3");
    let (mut total, mut worst_of_all, mut families) = (0, 0, 0);
    // Families with infinities are the definition's affair.
    for family in FAMILIES
        .iter()
        .filter(|family| !family.name.starts_with("any bits"))
    {
        let (outputs, logs, worst, [first, second, third]) = compare(family, 4200);
        println!(
            "\"{}\",{outputs},{logs},{worst},{first},{second},{third}",
            family.name
        );
        total += outputs;
        families += 1;
        worst_of_all = worst_of_all.max(worst);
    }
    assert_eq!(worst_of_all, 0, "see the table above");
    assert!(
        total >= 100_000 && families >= 20,
        "{total} outputs of {families} families"
    );
}

#[test]
fn the_comparison_sees_one_bit() {
    assert_eq!(ulps(1.0, 1.0_f64.next_up()), 1);
    assert_eq!(ulps(0.0, -0.0), 1);
    assert_eq!(ulps(-1.0, -1.0), 0);
}
