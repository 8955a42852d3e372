//! Where the bound of one element comes from, rounding by rounding.

use super::arithmetic::{Arithmetic, U, power};
use super::tile::count_tiles;
use crate::convert::usize_to_f64;
use flashproof_reference::exp::exp;
use flashproof_reference::{Answer, DType, Problem};
use std::fmt;
use std::ops::Range;

/// A kind of rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The sum of products of a score.
    Score,
    /// The argument of the exponential and the exponential itself.
    Exponential,
    /// A weight as an operand of the second product.
    Weight,
    /// The second product.
    Accumulation,
    /// Factors for a new maximum, and the product of o with them.
    Rescaling,
    /// The sum of a row's weights.
    RowSum,
    /// The division by it.
    Division,
    /// The logarithm, and its sum with the maximum.
    Logarithm,
    /// The last rounding.
    Output,
}

impl Source {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Score => "score",
            Self::Exponential => "exponential",
            Self::Weight => "weight_rounding",
            Self::Accumulation => "accumulation",
            Self::Rescaling => "rescaling",
            Self::RowSum => "row_sum",
            Self::Division => "division",
            Self::Logarithm => "logarithm",
            Self::Output => "output_rounding",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name().replace('_', " "))
    }
}

/// What each rounding may add to the error of one element: of `lse`, or of a channel of `o`, written in `dtype`. The
/// largest first; to first order, so that they sum to a little less than the bound. Empty where the row sees no key or
/// nothing is promised.
pub fn sources(
    problem: &Problem,
    answer: &Answer,
    arithmetic: &Arithmetic,
    row: usize,
    channel: Option<usize>,
    dtype: DType,
) -> Vec<(Source, f64)> {
    let shape = problem.shape;
    let (d, head) = (shape.head_dim, row / shape.seqlen_q);
    let (batch, q_head) = (head / shape.num_q_heads, head % shape.num_q_heads);
    let kv = (batch * shape.num_kv_heads + shape.kv_head(q_head)) * shape.seqlen_kv;
    let layout = &problem.layout;
    let ranges: Vec<Range<usize>> = layout.visible_keys(q_head, row % shape.seqlen_q).collect();
    let keys: Vec<usize> = ranges.iter().cloned().flatten().collect();
    let lse = answer.lse[row];
    if keys.is_empty() || !lse.is_finite() {
        return Vec::new();
    }
    let scale = f64::from(problem.scale);
    let operand_min = arithmetic.operand_min();
    let unit = arithmetic.sum_error(d, 1) * scale.abs();
    let number = |tensor: &flashproof_reference::Tensor, index: usize| {
        tensor.get(index).expect("an index of the problem")
    };
    let mut scores = Vec::with_capacity(keys.len());
    for &key in &keys {
        let (mut score, mut magnitude) = (0.0, 0.0);
        for c in 0..d {
            let (q, k) = (
                number(&problem.q, row * d + c),
                number(&problem.k, (kv + key) * d + c),
            );
            score += q * k;
            magnitude += q.abs().max(operand_min) * k.abs().max(operand_min);
        }
        scores.push((score * scale, magnitude * unit));
    }
    let max = scores
        .iter()
        .map(|one| one.0)
        .fold(f64::NEG_INFINITY, f64::max);
    let error_max = scores.iter().map(|one| one.1).fold(0.0, f64::max);
    let tiles = count_tiles(&ranges, arithmetic.tile_kv);
    let rescales = usize_to_f64(tiles - 1);
    let magnitude = if arithmetic.rescale_magnitude {
        arithmetic.argument_magnitude * max.abs()
    } else {
        0.0
    };
    let factor = rescales * (arithmetic.exponential + magnitude);
    let lanes = arithmetic.row_sum_lanes;
    let depth = keys.len().min(tiles * arithmetic.tile_kv.div_ceil(lanes)) + 2 * tiles;
    let row_sum = usize_to_f64(depth) * U;

    let mut found: Vec<(Source, f64)> = Vec::new();
    let value = channel.map_or(lse, |channel| answer.o[row * d + channel]);
    let mut top = arithmetic.subtracts_max; // whether the weight that is 1 is still to come
    let mut unrounded = 0.0;
    let (mut score_part, mut exponential_part, mut spread, mut mass, mut tiny) =
        (0.0, 0.0, 0.0, 0.0, 0.0);
    for (&key, &(x, error)) in keys.iter().zip(&scores) {
        let p = exp(x - lse);
        let exponential = arithmetic.exponential
            + arithmetic.argument_difference * (max - x + error + error_max)
            + arithmetic.argument_magnitude * (x.abs().max(max.abs()) + error_max);
        let v = channel.map(|channel| number(&problem.v, (kv + key) * d + channel));
        let away = v.map_or(1.0, |v| (v - value).abs());
        score_part += p * error * away;
        exponential_part += p * exponential * away;
        spread += p * away;
        mass += p * v.map_or(0.0, f64::abs);
        if x >= max && std::mem::take(&mut top) {
            unrounded = p * v.map_or(0.0, f64::abs);
        }
        if exp(x - max) < arithmetic.weight_normal {
            tiny += v.map_or(0.0, f64::abs);
        }
    }
    found.push((Source::Score, score_part));
    found.push((Source::Exponential, exponential_part));
    if channel.is_some() {
        let unit = exp(max - lse);
        found.extend([
            (
                Source::Weight,
                arithmetic.weight * (mass - unrounded) + arithmetic.weight_tiny * unit * tiny,
            ),
            (
                Source::Accumulation,
                arithmetic.output_error(keys.len(), tiles) * mass,
            ),
            (Source::Rescaling, factor * spread + rescales * U * mass),
            (Source::RowSum, row_sum * value.abs()),
            (Source::Division, arithmetic.division * value.abs()),
        ]);
    } else {
        let log_sum = (lse - max).abs();
        found.extend([
            (Source::Rescaling, factor),
            (Source::RowSum, row_sum),
            (
                Source::Logarithm,
                arithmetic.logarithm * log_sum.max(std::f64::consts::LN_2)
                    + 2.0 * U * log_sum
                    + arithmetic.lse_max * max.abs()
                    + arithmetic.lse_result * lse.abs(),
            ),
        ]);
    }
    found.push((Source::Output, half_ulp(value, dtype)));
    found.sort_by(|one, other| other.1.total_cmp(&one.1));
    found
}

/// Half the distance from `value`, rounded toward 0 to a format, to the next number of that format.
///
/// ```
/// # use flashproof::bound::half_ulp;
/// assert_eq!(half_ulp(1.5, flashproof_reference::DType::F16), 2_f64.powi(-11));
/// ```
pub fn half_ulp(value: f64, dtype: DType) -> f64 {
    let (bits, least) = match dtype {
        DType::F16 => (11, -24),
        DType::Bf16 => (8, -133),
        DType::F32 => (24, -149),
        DType::F64 => (53, -1021),
    };
    let exponent = i32::try_from(value.to_bits() >> 52 & 0x7ff).expect("11 bits") - 1023;
    power((exponent - bits + 1).max(least) - 1)
}
