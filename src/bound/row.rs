//! The bounds of one row: the formulas of the module above, in their order.

use super::arithmetic::{Arithmetic, SLACK, U, compounded, power};
use super::tile::{CHUNK, ChannelSums, Place, Row, Tile, TileBounds};
use crate::convert::usize_to_f64;
use flashproof_reference::exp::exp;

/// Failure of Azuma's inequality below 2 exp(-6.5^2 / 2) = 1.3e-9 an output.
const LAMBDA: f64 = 6.5;
impl Tile {
    /// The bounds of one row.
    pub(super) fn row_bounds(&self, place: &Place<'_>, index: usize, bounds: &mut TileBounds) {
        let (arithmetic, head, row) = (place.arithmetic, place.head, &self.rows[index]);
        let d = head.head_dim;
        let answers = &place.o[index * d..(index + 1) * d];
        let lse = place.lse[index];
        let all = |bounds: &mut TileBounds, value: f64| {
            for outputs in [&mut bounds.o, &mut bounds.likely, &mut bounds.deviation] {
                outputs.extend(std::iter::repeat_n(value, d));
            }
            bounds.lse.push(value);
            bounds.exact.push(false);
        };
        if row.n == 0 {
            return all(bounds, 0.0); // o = 0 and lse = -inf, by convention and not by arithmetic
        }
        let Some(gathered) = Gathered::of(arithmetic, row) else {
            return all(bounds, f64::INFINITY);
        };
        let Gathered { ebar, gamma, .. } = gathered;
        let logarithm = logarithm(arithmetic, row, lse);
        if let Some(next) = row.exact {
            // Weights are 1 and 0, sums whole numbers: the division is all there is, and weights that are not quite 0.
            let gone = usize_to_f64(row.n) * next;
            for (answer, largest) in answers.iter().zip(&head.largest) {
                let bound = (answer.abs() * arithmetic.division + 2.0 * gone * largest) * SLACK
                    + reference_error(*answer);
                bounds.o.push(bound);
                bounds.likely.push(bound);
                bounds.deviation.push(bound);
            }
            bounds
                .lse
                .push(SLACK * (logarithm + gone) + reference_error(lse));
            bounds.exact.push(true);
            return;
        }
        let slack = SLACK + usize_to_f64(row.n) * power(-22);
        let sums_error = arithmetic.output_error(row.n, row.tiles);
        let rescales = usize_to_f64(row.tiles - 1);
        let unit_weight = exp(row.error_max) / row.sum; // drift from the exact maximum to the computed one
        let operand_min = arithmetic.operand_min();
        let roundings = usize_to_f64(4 * row.n + row.tiles * (arithmetic.tile_kv + 8));
        let h = (arithmetic.division + gamma) / (1.0 - gamma);
        let likely_gamma = gamma.min(LAMBDA * U * usize_to_f64(gathered.depth).sqrt());
        let likely_h = (arithmetic.division + likely_gamma) / (1.0 - likely_gamma);
        let raises = usize_to_f64(row.raises);
        let likely_ebar = gathered.weights_error(raises);
        // A weight of 1 is a number of the format: what is within eta of it is rounded by no more.
        let eta = SLACK
            * (arithmetic.exponential
                + 2.0 * row.error_max * (1.0 + arithmetic.argument_difference)
                + arithmetic.argument_magnitude * (row.max.abs() + row.error_max));
        let later = 1.0 + gathered.rescaling + 2.0 * row.eta_max;
        let saved = if arithmetic.subtracts_max {
            (arithmetic.weight - later * (eta + eta * eta)).max(0.0) / row.sum
        } else {
            0.0
        };
        for (c, &answer) in answers.iter().enumerate() {
            let sums = self.sums.of(index * d + c, row, head.unit[c], answer);
            let largest = head.largest[c];
            if sums.mass <= 0.0 && self.sees_only_zeros(place, index, c) {
                for outputs in [&mut bounds.o, &mut bounds.likely, &mut bounds.deviation] {
                    outputs.push(0.0);
                }
                continue;
            }
            let tiny = arithmetic.weight_tiny * unit_weight * sums.tiny;
            let mass = sums.mass * (1.0 + gathered.rescaling) + sums.excess_mass;
            let underflow = roundings * power(-125) * unit_weight * (1.0 + largest);
            let spread = (sums.excess_spread + gathered.rescaling * sums.spread) / (1.0 - ebar);
            // Partial sums, in any order, lie between those of all negative and of all positive products.
            let top = head.v[row.argmax * d + c].abs();
            let weights = (arithmetic.weight * mass * (1.0 + usize_to_f64(row.n) * power(-22))
                - saved * top)
                .max(0.0);
            let rounded = weights + tiny;
            let total = answer.abs() * (1.0 + ebar) + spread + rounded;
            let magnitude = 0.5 * (mass + rounded + total)
                + operand_min * unit_weight * (1.0 + operand_min + largest);
            let numerator =
                (rounded + (sums_error + rescales * U) * magnitude + underflow) / (1.0 - ebar);
            let bound = slack * (spread + (answer.abs() + spread) * h + numerator * (1.0 + h))
                + reference_error(answer);
            bounds.o.push(bound);

            // The same with roundings of weights independent of each other and keys in ascending order.
            let spread = (sums.excess_spread + raises * gathered.rescale * sums.spread)
                / (1.0 - likely_ebar);
            let random = arithmetic.weight * sums.square_spread;
            let coherent = arithmetic.weight * answer.abs();
            let weights = weights.min(coherent + LAMBDA * random);
            let chained = arithmetic.chained_error(CHUNK)
                * (sums.prefix + 0.5 * (mass + answer.abs()))
                + raises * U * (answer.abs() + mass / usize_to_f64(row.tiles));
            let numerator = (weights + tiny + chained.min(sums_error * magnitude) + underflow)
                / (1.0 - likely_ebar);
            let likely = spread + answer.abs() * likely_h + numerator;
            bounds
                .likely
                .push(bound.min(slack * likely + reference_error(answer)));
            let third = 1.0 / 3.0;
            let variance = third * (random * random + coherent * coherent)
                + (2.0 * likely_ebar * sums.square_spread).powi(2)
                + (tiny + chained + answer.abs() * likely_h / LAMBDA).powi(2);
            bounds.deviation.push(variance.sqrt());
        }
        bounds.lse.push(
            slack * (ebar / (1.0 - ebar) + gamma / (1.0 - gamma) + logarithm)
                + reference_error(lse),
        );
        bounds.exact.push(false);
    }

    /// Whether all visible values of a channel are 0: then so is its output, whatever the weights.
    fn sees_only_zeros(&self, place: &Place<'_>, row: usize, channel: usize) -> bool {
        let d = place.head.head_dim;
        let keys = self.rows[row].ranges.iter().cloned().flatten();
        keys.map(|key| place.head.v[key * d + channel])
            .all(|v| v.abs() <= 0.0)
    }
}

/// Errors that all channels of a row share.
pub(super) struct Gathered {
    /// `sum p_j d_j`, all rescalings included.
    pub(super) ebar: f64,
    /// Of the row sum.
    pub(super) gamma: f64,
    /// Roundings of the row sum.
    depth: usize,
    /// What `T - 1` rescalings add to every `d_j`.
    rescaling: f64,
    /// What one adds.
    pub(super) rescale: f64,
    /// `sum p_j d_j` without.
    base: f64,
}

impl Gathered {
    /// `None` where errors are so large that nothing is promised.
    pub(super) fn of(arithmetic: &Arithmetic, row: &Row) -> Option<Self> {
        let reach = row.max.abs() + row.error_max;
        let magnitude = if arithmetic.rescale_magnitude {
            arithmetic.argument_magnitude * reach
        } else {
            0.0
        };
        let rescale = SLACK * (arithmetic.exponential + magnitude);
        let c = usize_to_f64(row.tiles - 1) * rescale;
        let lanes = arithmetic.row_sum_lanes;
        let depth = row.n.min(row.tiles * arithmetic.tile_kv.div_ceil(lanes))
            + 2 * row.tiles
            + usize_log2(lanes);
        let gamma = compounded(usize_to_f64(depth) * U);
        let base = row.excess / row.sum * SLACK;
        let rescaling = c + c * c + 2.0 * c * row.eta_max;
        let gathered = Self {
            ebar: (base + rescaling) * SLACK,
            gamma,
            depth,
            rescaling,
            rescale: rescale * (1.0 + c + 2.0 * row.eta_max),
            base,
        };
        (gathered.ebar <= 0.5 && gamma <= 0.5 && row.error_max <= 1.0 && c <= 1.0)
            .then_some(gathered)
    }

    /// `sum p_j d_j` with so many rescalings.
    pub(super) fn weights_error(&self, rescales: f64) -> f64 {
        (self.base + rescales * self.rescale) * SLACK
    }
}

/// What the logarithm and the sum with the maximum are off by.
fn logarithm(arithmetic: &Arithmetic, row: &Row, lse: f64) -> f64 {
    let log_sum = (lse - row.max).abs();
    arithmetic.logarithm
        * std::f64::consts::LN_2
        * (log_sum / std::f64::consts::LN_2 + row.error_max).max(1.0)
        + 2.0 * U * log_sum
        + arithmetic.lse_max * (row.max.abs() + row.error_max)
        + arithmetic.lse_result * lse.abs()
        + power(-125)
}

/// Sums of one channel, normalised: weights sum to 1, values in their own units.
struct Sum {
    mass: f64,
    excess_mass: f64,
    tiny: f64,
    prefix: f64,
    /// `sum p_j |v_j - o|`, from above, like the next two.
    spread: f64,
    /// `sum p_j d_j |v_j - o|`
    excess_spread: f64,
    /// `sqrt(sum p_j^2 (v_j - o)^2)`
    square_spread: f64,
}

impl ChannelSums {
    fn of(&self, at: usize, row: &Row, unit: f64, answer: f64) -> Sum {
        let o = answer / unit;
        // sum x_j (v_j - o)^2 from sums of x_j v_j^2 and x_j v_j; on top the roundings of the sums and of the weights,
        // whose arguments (at most 87) were rounded to f32.
        let error = usize_to_f64(row.n + 16) * power(-23) + power(-16);
        let second = |[one, two]: &[Vec<f32>; 2], zero: f64| {
            let (one, two) = (f64::from(one[at]), f64::from(two[at]));
            let terms = two + 2.0 * (o * one).abs() + o * o * zero;
            (two - 2.0 * o * one + o * o * zero).max(0.0) + error * terms
        };
        let root = |second: f64, zero: f64| (second * zero).sqrt() * unit / row.sum;
        Sum {
            mass: f64::from(self.mass[at]) * unit / row.sum,
            excess_mass: f64::from(self.excess_mass[at]) * unit / row.sum,
            tiny: f64::from(self.tiny[at]) * unit,
            prefix: f64::from(self.prefix[at]) * unit / row.sum,
            spread: root(second(&self.weight, row.sum), row.sum),
            excess_spread: root(second(&self.excess, row.excess), row.excess),
            square_spread: root(second(&self.square, row.square), 1.0),
        }
    }
}

/// Distance of the reference from the real answer: it is the nearest `f64`, so half an ulp, or half the least of all.
pub(super) fn reference_error(answer: f64) -> f64 {
    /// Half the distance from 1 to the next `f64`.
    const U64: f64 = U / 536_870_912.0;
    U64 * answer.abs() + f64::from_bits(1)
}

/// `ceil(log2(count))`.
pub(super) fn usize_log2(count: usize) -> usize {
    usize::try_from(count.next_power_of_two().trailing_zeros()).expect("at most 64")
}
