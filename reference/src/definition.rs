//! Attention as it is defined, in numbers of any precision: slow, and about a page.
//!
//! For query row `i` and channel `c`, with `A_i` the keys the layout lets it see, every input and the scale taken as the
//! exact real number it encodes:
//!
//! ```text
//! x_ij   = scale * sum_l q_il k_jl
//! o_ic   = RN( sum_{j in A_i} e^(x_ij) v_jc  /  sum_{j in A_i} e^(x_ij) )
//! lse_i  = RN( ln sum_{j in A_i} e^(x_ij) )
//! ```
//!
//! `RN` rounds to the nearest binary64, ties to even, and nothing else is rounded. A row that sees no key has `o = +0`,
//! `lse = -inf`. An exact zero is `+0`; a non-zero result that underflows keeps its sign.
//!
//! # Why it ends
//!
//! The sums are enclosed with more and more bits until the enclosure has one rounding. That fails only where the value
//! *is* the boundary `r` between two roundings, and this is decided exactly: `o = r` iff `sum_j e^(x_j) (v_j - r) = 0`;
//! the `x_j` are rational, and exponentials of distinct algebraic numbers are linearly independent over the algebraic
//! numbers (Lindemann-Weierstrass), so this holds iff in every group of equal scores `sum (v_j - r) = 0`. Likewise
//! `lse = r` iff one key alone is seen and `x = r`.
//!
//! Scores may lie so far apart that no number of bits shows what a lower one adds. There the order of magnitude decides:
//! a sum whose first term exceeds all that follow has the sign of the first, and what lies above a score by less than
//! the distance of any boundary from it rounds as if it were the least bit above.
//!
//! # Numbers that are not finite
//!
//! A key's score is NaN where an operand is NaN, where `0 * inf` occurs, or where both infinities occur; else it is that
//! infinity. A NaN score makes the row NaN; a score of `+inf` makes `o` NaN and `lse = +inf`; a key with score `-inf` is
//! not seen. A seen NaN in `v` makes its channel NaN, as do both infinities; one infinity is the result. Hidden keys
//! and values are never read.

use crate::attention::{Answer, AttentionError, Stats};
use crate::exact::{
    Dyadic, Enclosure, Rounded, exp_of_negative, ln, round_enclosure, round_quotient, round_ratio,
};
use crate::problem::{Problem, Tensor};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Bits after which a value is given up: an error, never an uncertified value. No input is known that takes 2^14.
///
/// ```
/// assert_eq!(flashproof_reference::definition::PRECISION_CAP, 65_536);
/// ```
pub const PRECISION_CAP: usize = 1 << 16;

/// Attention, rounded once (module documentation).
///
/// ```
/// # use flashproof_reference::{definition, Layout, Problem, Shape, Tensor};
/// let shape = Shape { batch: 1, num_q_heads: 1, num_kv_heads: 1, seqlen_q: 1, seqlen_kv: 2, head_dim: 1 };
/// let [q, k, v] = [vec![0.0], vec![5.0, 7.0], vec![1.0, 2.0]].map(Tensor::F64);
/// let answer = definition::attention(&Problem::new(shape, q, k, v, 1.0, Layout::dense(1, 2))?)?;
/// assert_eq!((answer.o[0], answer.lse[0]), (1.5, std::f64::consts::LN_2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`AttentionError::Problem`] for a malformed problem; [`AttentionError::Precision`] for a value so close to a rounding
/// boundary that [`PRECISION_CAP`] bits do not tell.
pub fn attention(problem: &Problem) -> Result<Answer, AttentionError> {
    problem.validate()?;
    let shape = problem.shape;
    let group = shape.num_q_heads / shape.num_kv_heads;
    let mut answer = Answer {
        o: Vec::new(),
        lse: Vec::new(),
        stats: Stats::default(),
    };
    for batch in 0..shape.batch {
        for head in 0..shape.num_q_heads {
            let kv_head = batch * shape.num_kv_heads + head / group;
            for query in 0..shape.seqlen_q {
                let q_row = (batch * shape.num_q_heads + head) * shape.seqlen_q + query;
                let kv_rows: Vec<usize> = (0..shape.seqlen_kv)
                    .filter(|&key| problem.layout.is_visible(head, query, key))
                    .map(|key| kv_head * shape.seqlen_kv + key)
                    .collect();
                let (o, lse) = row(problem, q_row, &kv_rows, &mut answer.stats)?;
                answer.o.extend(o);
                answer.lse.push(lse);
            }
        }
    }
    Ok(answer)
}

/// One query row: its output channels and its log-sum-exp. Rows index `(.., head_dim)` slices of the tensors.
pub(crate) fn row(
    problem: &Problem,
    q_row: usize,
    kv_rows: &[usize],
    stats: &mut Stats,
) -> Result<(Vec<f64>, f64), AttentionError> {
    let channels = 0..problem.shape.head_dim;
    stats.count_row(0, [0, problem.shape.head_dim + 1]);
    match Row::read(problem, q_row, kv_rows) {
        Seen::Special { o, lse } => Ok((channels.map(|_| o).collect(), lse)),
        Seen::Finite(row) => Ok((
            channels
                .map(|c| Ok(stats.count_bits(row.output(c)?)))
                .collect::<Result<_, AttentionError>>()?,
            stats.count_bits(row.log_sum_exp()?),
        )),
    }
}

/// The canonical quiet NaN.
pub(crate) const NAN: f64 = f64::from_bits(0x7ff8_0000_0000_0000);

/// `scale * sum_l q_l k_l` as an extended real.
pub(crate) enum Score {
    Finite(Dyadic),
    PositiveInfinity,
    NegativeInfinity,
    NaN,
}

/// An element of a tensor whose length the problem's validation has checked.
fn value(tensor: &Tensor, index: usize) -> f64 {
    tensor
        .get(index)
        .expect("rows and channels lie inside a validated problem")
}

pub(crate) fn score(problem: &Problem, q_row: usize, kv_row: usize) -> Score {
    let channels = problem.shape.head_dim;
    let q = (0..channels).map(|l| value(&problem.q, q_row * channels + l));
    let k = (0..channels).map(|l| value(&problem.k, kv_row * channels + l));
    let scale = f64::from(problem.scale);
    let exact = |value: f64| Dyadic::from_f64(value);
    let products: Option<Dyadic> = q
        .clone()
        .zip(k.clone())
        .map(|(q, k)| Some(&exact(q)? * &exact(k)?))
        .sum();
    if let (Some(sum), Some(scale)) = (products, exact(scale)) {
        return Score::Finite(&scale * &sum);
    }
    // With an infinity or a NaN among the operands, f64 products and sums follow the extended reals; finite products
    // change nothing, and some would overflow to a false infinity.
    let not_finite = q.zip(k).filter(|(q, k)| !(q.is_finite() && k.is_finite()));
    let sum: f64 = scale * not_finite.map(|(q, k)| q * k).sum::<f64>();
    if sum.is_nan() {
        Score::NaN
    } else if sum > 0.0 {
        Score::PositiveInfinity
    } else {
        Score::NegativeInfinity
    }
}

pub(crate) fn sum_of_non_finite(v: &[f64]) -> f64 {
    let sum: f64 = v.iter().filter(|value| !value.is_finite()).sum();
    if sum.is_nan() { NAN } else { sum }
}

/// What a row sees.
pub(crate) enum Seen<'a> {
    /// A score that is not finite decides the whole row.
    Special { o: f64, lse: f64 },
    /// Finite scores, perhaps none.
    Finite(Row<'a>),
}

/// The finite scores of a row, in groups of equal ones: values of equal scores add up before anything is approximated.
pub(crate) struct Row<'a> {
    problem: &'a Problem,
    kv_rows: Vec<usize>,
    /// Different scores, ascending.
    x: Vec<Dyadic>,
    /// Place in `x` of the score of each of `kv_rows`.
    group: Vec<usize>,
    /// `e^(x - max x)` for the bits asked for so far: all channels share them.
    weights: RefCell<BTreeMap<usize, Rc<[Enclosure]>>>,
}

impl<'a> Row<'a> {
    /// Reads the keys of `kv_rows`.
    pub(crate) fn read(problem: &'a Problem, q_row: usize, kv_rows: &[usize]) -> Seen<'a> {
        let mut seen = Vec::new();
        let mut positive_infinity = false;
        for &kv_row in kv_rows {
            match score(problem, q_row, kv_row) {
                Score::Finite(x) => seen.push((kv_row, x)),
                Score::NegativeInfinity => {}
                Score::PositiveInfinity => positive_infinity = true,
                Score::NaN => return Seen::Special { o: NAN, lse: NAN },
            }
        }
        if positive_infinity {
            return Seen::Special {
                o: NAN,
                lse: f64::INFINITY,
            };
        }
        Seen::Finite(Self::of_scores(problem, seen))
    }

    /// The row of these keys and their exact scores.
    pub(crate) fn of_scores(problem: &'a Problem, mut seen: Vec<(usize, Dyadic)>) -> Self {
        seen.sort_by(|(_, a), (_, b)| a.cmp(b));
        let (mut x, mut group) = (Vec::new(), Vec::new());
        let mut kv_rows = Vec::new();
        for (kv_row, score) in seen {
            if x.last() != Some(&score) {
                x.push(score);
            }
            group.push(x.len() - 1);
            kv_rows.push(kv_row);
        }
        Self {
            problem,
            kv_rows,
            x,
            group,
            weights: RefCell::default(),
        }
    }

    /// `RN( sum e^(x_j) v_j / sum e^(x_j) )`, and the bits it took; `+0` where there is no key.
    pub(crate) fn output(&self, channel: usize) -> Result<(f64, usize), AttentionError> {
        let v: Vec<f64> = self.values(channel);
        let Some(v) = v
            .iter()
            .map(|&v| Dyadic::from_f64(v))
            .collect::<Option<Vec<_>>>()
        else {
            return Ok((sum_of_non_finite(&v), 0));
        };
        let sums = self.sums_less(&v, &Dyadic::ZERO);
        // Groups that cancel are gone for good.
        let last = sums.iter().rposition(|sum| !sum.is_zero());
        let (Some(x_max), Some(last)) = (self.x.last(), last) else {
            return Ok((0.0, 0));
        };
        // Below e^-4096 times what the values can reach (2^1088), every result rounds to a zero of the numerator's sign:
        // a larger gap changes nothing.
        let gap = (x_max - &self.x[last]).min(Dyadic::from_f64(4096.0).expect("finite"));
        let shift = usize::try_from(&gap.floor_to(0)).expect("at most 4096") * 3 / 2;
        refine(
            |bits| {
                let weights = self.weights_from(last, bits);
                let numerator = Enclosure::weighted_sum(bits, weights.iter().zip(&sums));
                let numerator = numerator.times(&exp_of_negative(&gap, bits + shift));
                round_quotient(&numerator, &self.sum_of_weights(bits))
            },
            |boundary| self.side(&self.sums_less(&v, boundary)),
        )
    }

    /// `RN( ln sum e^(x_j) )`, and the bits it took; `-inf` where there is no key.
    pub(crate) fn log_sum_exp(&self) -> Result<(f64, usize), AttentionError> {
        let Some(x_max) = self.x.last() else {
            return Ok((f64::NEG_INFINITY, 0));
        };
        if self.kv_rows.len() == 1 {
            // The score itself; a boundary between two roundings only ever here.
            let one = Dyadic::from_f64(1.0).expect("finite");
            return Ok((round_ratio(x_max, &one), 0));
        }
        if let Some(value) = self.little_above_max(x_max) {
            return Ok((value, 0));
        }
        refine(
            |bits| round_enclosure(&ln(&self.sum_of_weights(bits)).plus(x_max)),
            // Two keys or more: above the largest score, however little, which bits alone may take long to show.
            |boundary| (boundary <= x_max).then_some(Side::Above),
        )
    }

    /// The sign of `sum e^x s` of these sums `s` of the groups, where all are 0 or the first outweighs the rest: `e^-x`
    /// is below `2^-floor(x)`.
    fn side(&self, sums: &[Dyadic]) -> Option<Side> {
        let Some(first) = sums.iter().rposition(|sum| !sum.is_zero()) else {
            return Some(Side::On);
        };
        let sign = if sums[first].signum() > 0 {
            Side::Above
        } else {
            Side::Below
        };
        let Some(next) = sums[..first].iter().rposition(|sum| !sum.is_zero()) else {
            return Some(sign);
        };
        let log2 = |x: &Dyadic| x.log2_floor().expect("not zero");
        let rest = sums[..=next].iter().filter(|sum| !sum.is_zero());
        let most = rest.map(|sum| log2(sum) + 1).max().expect("one at least");
        let count = i64::from(sums.len().ilog2()) + 1;
        let needed = most + count - log2(&sums[first]);
        self.gap_is_above(first, next, needed).then_some(sign)
    }

    /// Whether the scores of two groups lie at least `distance` apart.
    fn gap_is_above(&self, high: usize, low: usize, distance: i64) -> bool {
        &self.x[high] - &self.x[low] >= Dyadic::new(distance.into(), 0)
    }

    /// The log-sum-exp where one key has the largest score and all others are so far below that what they add is less
    /// than any distance between a score and a boundary: both are whole multiples of a power of two.
    fn little_above_max(&self, x_max: &Dyadic) -> Option<f64> {
        let last = self.x.len() - 1;
        if last == 0 || self.group.iter().filter(|&&group| group == last).count() > 1 {
            return None;
        }
        let unit = x_max.exponent().min(-1075);
        let count = i64::from(self.group.len().ilog2()) + 1;
        let one = Dyadic::new(1.into(), 0);
        let little = Dyadic::new(1.into(), unit - 2);
        self.gap_is_above(last, last - 1, count + 2 - unit)
            .then(|| round_ratio(&(x_max + &little), &one))
    }

    /// Values of a channel, in the order of the groups.
    pub(crate) fn values(&self, channel: usize) -> Vec<f64> {
        let channels = self.problem.shape.head_dim;
        self.kv_rows
            .iter()
            .map(|row| value(&self.problem.v, row * channels + channel))
            .collect()
    }

    /// `sum (v_j - r)` of each group.
    pub(crate) fn sums_less(&self, v: &[Dyadic], r: &Dyadic) -> Vec<Dyadic> {
        let mut sums = vec![Dyadic::ZERO; self.x.len()];
        for (&group, v) in self.group.iter().zip(v) {
            sums[group] = &sums[group] + &(v - r);
        }
        sums
    }

    /// `sum e^(x_j - max x)`: at least 1.
    pub(crate) fn sum_of_weights(&self, bits: usize) -> Enclosure {
        let mut counts = vec![0_usize; self.x.len()];
        for &group in &self.group {
            counts[group] += 1;
        }
        let counts: Vec<Dyadic> = counts
            .into_iter()
            .map(|count| Dyadic::new(count.into(), 0))
            .collect();
        Enclosure::weighted_sum(
            bits,
            self.weights_from(self.x.len() - 1, bits)
                .iter()
                .zip(&counts),
        )
    }

    /// `e^(x - x[last])` for the scores up to `last`.
    pub(crate) fn weights_from(&self, last: usize, bits: usize) -> Rc<[Enclosure]> {
        let compute = || -> Rc<[Enclosure]> {
            self.x[..=last]
                .iter()
                .map(|x| exp_of_negative(&(&self.x[last] - x), bits))
                .collect()
        };
        if last + 1 < self.x.len() {
            return compute();
        }
        let mut known = self.weights.borrow_mut();
        Rc::clone(known.entry(bits).or_insert_with(compute))
    }
}

/// Where a value lies that is known to be near a boundary between two roundings.
enum Side {
    On,
    Above,
    Below,
}

/// Doubles the bits until `enclose` has one rounding, or it is known on which side of the boundary between two it lies.
fn refine(
    enclose: impl Fn(usize) -> Rounded,
    side: impl Fn(&Dyadic) -> Option<Side>,
) -> Result<(f64, usize), AttentionError> {
    let one = Dyadic::from_f64(1.0).expect("finite");
    let mut bits = 128;
    while bits <= PRECISION_CAP {
        match enclose(bits) {
            Rounded::To(value) => return Ok((value, bits)),
            Rounded::Boundary(boundary) => {
                // The boundary is exact, so rounding it breaks the tie to even.
                if let Some(side) = side(&boundary) {
                    let little = Dyadic::new(1.into(), boundary.exponent() - 2);
                    let value = match side {
                        Side::On => boundary,
                        Side::Above => &boundary + &little,
                        Side::Below => &boundary - &little,
                    };
                    return Ok((round_ratio(&value, &one), bits));
                }
            }
            Rounded::Wide => {}
        }
        bits *= 2;
    }
    Err(AttentionError::Precision {
        bits: PRECISION_CAP,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Layout;
    use crate::problem::Shape;

    fn row_of(x: &[f32], v: &[f32]) -> (f64, f64) {
        let shape = Shape {
            batch: 1,
            num_q_heads: 1,
            num_kv_heads: 1,
            seqlen_q: 1,
            seqlen_kv: x.len(),
            head_dim: 1,
        };
        let [q, k, v] = [vec![1.0], x.to_vec(), v.to_vec()].map(Tensor::F32);
        let problem = Problem::new(shape, q, k, v, 1.0, Layout::dense(1, x.len())).unwrap();
        let answer = attention(&problem).unwrap();
        (answer.o[0], answer.lse[0])
    }

    #[test]
    fn weights_of_a_quarter_and_three_quarters() {
        let (o, lse) = row_of(&[0.0, 3_f32.ln()], &[0.0, 4.0]);
        assert!((o - 3.0).abs() < 1e-7 && (lse - 4_f64.ln()).abs() < 1e-7);
    }

    /// `(1 + (1 + 2^-23)) / 2` needs no rounding; a third of `1 + 2^-52 / 2`-like sums sits on a boundary.
    #[test]
    fn ties_are_decided_exactly() {
        // Mean of 1 and 2^-53 * 2 + 1 is not representable in f32 inputs; use three keys whose mean is a tie of f64:
        // (2^0 + 2^-53 * 2^0) with equal scores: v = 2, 2^-52: mean = 1 + 2^-53, halfway between 1 and 1 + 2^-52.
        let (o, _) = row_of(&[0.7, 0.7], &[2.0, 2.0_f32.powi(-52)]);
        assert_eq!(o.to_bits(), 1.0_f64.to_bits());
        // The same with a key of tiny weight that pulls the mean off the tie, up or down.
        let (up, _) = row_of(&[300.0, 300.0, 0.0], &[2.0, 2.0_f32.powi(-52), 4.0]);
        assert_eq!(up.to_bits(), 1.0_f64.to_bits() + 1);
        let (down, _) = row_of(&[300.0, 300.0, 0.0], &[2.0, 3.0 * 2.0_f32.powi(-52), -4.0]);
        assert_eq!(down.to_bits(), 1.0_f64.to_bits() + 1); // the tie 1 + 3 * 2^-53 is even upwards, pulled below it
    }

    #[test]
    fn what_cancels_is_zero_and_what_nearly_cancels_is_not() {
        assert_eq!(row_of(&[5.0, 5.0], &[1.5, -1.5]).0.to_bits(), 0);
        // e^-600 of 1 is left of it.
        let (o, _) = row_of(&[600.0, 600.0, 0.0], &[1.5, -1.5, 1.0]);
        assert!(o > 0.0 && o < 1e-260);
        // and below every float, its sign
        let (o, _) = row_of(&[60000.0, 60000.0, 0.0], &[1.5, -1.5, -1.0]);
        assert_eq!(o.to_bits(), (-0.0_f64).to_bits());
    }

    #[test]
    fn one_key_is_its_own_answer() {
        assert_eq!(
            row_of(&[0.1], &[0.3]),
            (f64::from(0.3_f32), f64::from(0.1_f32))
        );
        assert_eq!(row_of(&[0.0], &[0.3]).1.to_bits(), 0);
    }

    #[test]
    fn numbers_that_are_not_finite() {
        let inf = f32::INFINITY;
        let (o, lse) = row_of(&[inf, 1.0], &[1.0, 2.0]);
        assert!(o.is_nan() && lse == f64::INFINITY);
        let (o, lse) = row_of(&[inf, f32::NAN], &[1.0, 2.0]);
        assert_eq!((o.to_bits(), lse.to_bits()), (NAN.to_bits(), NAN.to_bits()));
        assert_eq!(row_of(&[-inf, 1.0], &[f32::NAN, 2.0]), (2.0, 1.0));
        assert_eq!(row_of(&[-inf], &[1.0]), (0.0, f64::NEG_INFINITY));
        assert_eq!(
            row_of(&[0.0, 1.0], &[inf, 1.0]).0.to_bits(),
            f64::INFINITY.to_bits()
        );
        assert!(row_of(&[0.0, 1.0], &[inf, -inf]).0.is_nan());
    }
}
