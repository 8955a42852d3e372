//! Scores of a tile of rows: their values, what they may be off by, and whether they are exact.
#![expect(
    clippy::neg_cmp_op_on_partial_ord,
    reason = "a comparison with NaN must come out on the safe side"
)]

use super::arithmetic::{SLACK, Sums, power};
use super::tile::{Place, Tile, magnitudes};
use crate::convert::{f64_to_f32, usize_to_f64};
use crate::simd::matmul::{View, matmul};
use flashproof_reference::exp::exp;
use std::ops::Range;

/// Below this argument a weight is 0 in f32, subnormal numbers included: `e^-110 < 2^-158`.
const GONE_BELOW: f64 = -110.0;

impl Tile {
    /// Scores, magnitudes, and what a row's scores are alike.
    pub(super) fn scores(&mut self, place: &Place<'_>) {
        let (rows, d) = (self.rows.len(), place.head.head_dim);
        let q_magnitude = magnitudes(place.q, place.arithmetic);
        self.score.resize(self.count(), 0.0);
        self.magnitude.resize(self.count(), 0.0);
        for run in &self.runs {
            let at = run.first..run.first + rows * run.keys.len();
            let elements = run.keys.start * d..run.keys.end * d;
            matmul(
                View::row_major(place.q, rows, d),
                View::row_major(&place.head.k[elements.clone()], run.keys.len(), d).transposed(),
                &mut self.score[at.clone()],
            );
            matmul(
                View::row_major(&q_magnitude, rows, d),
                View::row_major(&place.head.k_magnitude[elements], run.keys.len(), d).transposed(),
                &mut self.magnitude[at],
            );
        }
        // Partial sums, in any order, lie between those of all negative and of all positive products.
        for (magnitude, score) in self.magnitude.iter_mut().zip(&self.score) {
            *magnitude = 0.5 * (*magnitude + f64_to_f32(score.abs()));
        }
        let scale = f64::from(place.problem.scale);
        for row in 0..rows {
            let q = &place.q[row * d..(row + 1) * d];
            let whole = place.head.v_whole
                && (q.iter().all(|q| q.abs() <= 0.0)
                    || place.head.k_whole && q.iter().all(|q| q.fract().abs() <= 0.0));
            let ranges = std::mem::take(&mut self.rows[row].ranges);
            let (mut max, mut magnitude, mut raises) = (f64::NEG_INFINITY, 0.0_f32, 0);
            let mut argmax = 0;
            let mut tile = (0, f64::NEG_INFINITY); // the current one, and the maximum before it
            for range in &ranges {
                let at = self.at(row, range);
                for (key, x) in range.clone().zip(&mut self.score[at.clone()]) {
                    *x *= scale;
                    if key / place.arithmetic.tile_kv != tile.0 {
                        tile = (key / place.arithmetic.tile_kv, max);
                    }
                    if *x > max {
                        // The first key of this tile that raises it.
                        if tile.1 > f64::NEG_INFINITY {
                            raises += 1;
                            tile.1 = f64::NEG_INFINITY;
                        }
                        (max, argmax) = (*x, key);
                    }
                }
                magnitude = self.magnitude[at]
                    .iter()
                    .fold(magnitude, |most, &x| if x > most { x } else { most });
            }
            let exact = whole
                .then(|| self.equal_scores(place, row, &ranges, max, f64::from(magnitude)))
                .flatten();
            let row = &mut self.rows[row];
            row.ranges = ranges;
            (row.max, row.argmax) = (max, argmax);
            row.raises = raises;
            row.error_max = f64::from(magnitude) * score_unit(place);
            row.exact = exact;
        }
    }

    /// What each score is off by if its products are summed in ascending order of channels.
    pub(super) fn score_errors(&mut self, place: &Place<'_>) {
        let (rows, d) = (self.rows.len(), place.head.head_dim);
        let (terms, cut, last) = place.arithmetic.block(d);
        let scale = f64::from(place.problem.scale).abs();
        let q_magnitude = magnitudes(place.q, place.arithmetic);
        let mut sums = Vec::new();
        let (mut part, mut magnitude) = (Vec::new(), Vec::new());
        self.score_error.clear();
        self.score_error.resize(self.count(), 0.0);
        for run in &self.runs {
            let n = run.keys.len();
            let errors = &mut self.score_error[run.first..run.first + rows * n];
            let elements = run.keys.start * d..run.keys.end * d;
            let q = View::row_major(place.q, rows, d);
            let k = View::row_major(&place.head.k[elements.clone()], n, d);
            let q_magnitude = View::row_major(&q_magnitude, rows, d);
            let k_magnitude = View::row_major(&place.head.k_magnitude[elements], n, d);
            sums.clear();
            sums.resize(rows * n, 0.0_f64);
            part.resize(rows * n, 0.0_f64);
            magnitude.resize(rows * n, 0.0_f32);
            for first in (0..d).step_by(terms) {
                let channels = first..(first + terms).min(d);
                let right = k.columns(channels.clone()).transposed();
                matmul(q.columns(channels.clone()), right, &mut part);
                let right = k_magnitude.columns(channels.clone()).transposed();
                matmul(q_magnitude.columns(channels), right, &mut magnitude);
                let all = sums.iter_mut().zip(errors.iter_mut());
                for ((sum, error), (part, magnitude)) in all.zip(part.iter().zip(&magnitude)) {
                    // The largest addend: the accumulator, or a product.
                    let product = 0.5 * (f64::from(*magnitude) * SLACK + part.abs());
                    let largest = product.max(sum.abs() + *error);
                    *sum += part;
                    *error += cut * largest + last * (sum.abs() + *error);
                }
            }
            errors.iter_mut().for_each(|error| *error *= scale * SLACK);
        }
    }

    /// Where all is whole numbers, no sum of them can be rounded, and every score is the largest or so far below that
    /// its weight is 0: the largest exact weight of those, 0 if there are none.
    fn equal_scores(
        &self,
        place: &Place<'_>,
        row: usize,
        ranges: &[Range<usize>],
        max: f64,
        magnitude: f64,
    ) -> Option<f64> {
        /// Whole numbers up to here are exact in f32, and so are their sums on tensor cores in any order.
        const EXACT: f64 = 4_194_304.0;
        let zero = place.q[row * place.head.head_dim..(row + 1) * place.head.head_dim]
            .iter()
            .all(|q| q.abs() <= 0.0);
        // A fused product leaves the rounding of row_max * scale_log2 in the argument.
        let argument = zero || max.abs() <= 0.0 || place.arithmetic.argument_magnitude <= 0.0;
        let largest = place.head.largest.iter().copied().fold(1.0, f64::max);
        if !argument
            || !(zero || magnitude <= EXACT)
            || !(usize_to_f64(self.rows[row].n) * largest <= EXACT)
        {
            return None;
        }
        let mut next = f64::NEG_INFINITY;
        for range in ranges {
            for x in &self.score[self.at(row, range)] {
                let below = x - max;
                if below <= GONE_BELOW {
                    next = next.max(below);
                } else if !(below.abs() <= 0.0) {
                    return None;
                }
            }
        }
        Some(exp(next))
    }
}

/// What one score is off by, in natural units: as [`Tile::score_errors`] has it, but addend by addend. `None` where sums
/// are not those of tensor cores.
///
/// An addend loses bits only if its lowest one lies below the unit of the alignment, `2^(E - F)`, with `2^E` at most the
/// largest magnitude, and then less than a unit. The accumulator's lowest bit is no lower than those of all addends so
/// far, nor than 24 bits allow. The cut to 24 bits loses bits only if the sum has more.
pub(super) fn one_score_error(place: &Place<'_>, q: &[f64], k: &[f64]) -> Option<f64> {
    let Sums::TensorCore {
        terms,
        fraction_bits,
        exponent_min,
    } = place.arithmetic.sums
    else {
        return None;
    };
    let least = power(exponent_min);
    // The exact sum so far, what the accumulator is off it, and what it is a multiple of.
    let (mut sum, mut error, mut grain) = (0.0_f64, 0.0_f64, f64::INFINITY);
    for (q, k) in q.chunks(terms).zip(k.chunks(terms)) {
        let before = sum.abs() + error;
        let products = q.iter().zip(k).map(|(&q, &k)| {
            let raised = if (q * k).abs() <= 0.0 {
                0.0
            } else {
                q.abs().max(least) * k.abs().max(least)
            };
            (q * k, raised, lowest_bit(q) * lowest_bit(k))
        });
        let largest = products.clone().fold(before, |most, one| most.max(one.1));
        if largest <= 0.0 {
            continue;
        }
        let unit = (leading_bit(largest) * power(-fraction_bits)).max(power(-149));
        let bits_24 = leading_bit((sum.abs() - error).max(0.0)) * power(-23);
        let mut lost = if grain.max(bits_24) < unit {
            unit.min(before)
        } else {
            0.0
        };
        for (product, _, lowest) in products {
            if product.abs() > 0.0 {
                sum += product;
                grain = grain.min(lowest);
                if lowest < unit {
                    lost += unit.min(product.abs());
                }
                lost += power(-46) * product.abs(); // the sum here is not exact either
            }
        }
        grain = grain.max(unit);
        let last = leading_bit(sum.abs() + error + lost) * power(-23);
        if grain < last {
            lost += last;
        }
        error += lost;
    }
    Some(error * f64::from(place.problem.scale).abs() * SLACK)
}

/// The largest power of two that is not above a magnitude; 0 for 0.
fn leading_bit(magnitude: f64) -> f64 {
    f64::from_bits(magnitude.to_bits() & 0x7ff0_0000_0000_0000)
}

/// The lowest set bit of a number that is normal in f64.
fn lowest_bit(x: f64) -> f64 {
    let bits = x.abs().to_bits();
    if bits & 0x000f_ffff_ffff_ffff == 0 {
        return x.abs();
    }
    f64::from_bits(bits) - f64::from_bits(bits & (bits - 1))
}

/// `|scale| s`: what a score is off by, per unit of its largest partial sum, in natural units.
pub(super) fn score_unit(place: &Place<'_>) -> f64 {
    let scale = f64::from(place.problem.scale).abs();
    scale * place.arithmetic.sum_error(place.head.head_dim, 1) * SLACK
}
