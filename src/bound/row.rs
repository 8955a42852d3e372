//! The bound of one row: the formulas of the module above, in their order.

use super::arithmetic::{Arithmetic, SLACK, Sums, U, compounded, power};
use crate::convert::usize_to_f64;
use flashproof_reference::Problem;
use flashproof_reference::exp::exp;
use std::ops::Range;

/// Keys and values of one head.
pub(super) struct Head<'a> {
    /// Keys, channel by channel (`head_dim`, `seqlen_kv`).
    k: Vec<f64>,
    /// Magnitudes of the keys as the alignment sees them, likewise.
    k_magnitude: Vec<f64>,
    /// Values (`seqlen_kv`, `head_dim`).
    v: &'a [f64],
    /// `max |v|` of each channel, over all keys.
    largest: Vec<f64>,
    seqlen_kv: usize,
}

impl<'a> Head<'a> {
    pub(super) fn new(k: &[f64], v: &'a [f64], head_dim: usize, arithmetic: &Arithmetic) -> Self {
        let seqlen_kv = k.len() / head_dim;
        let operand_min = arithmetic.operand_min();
        let mut transposed = vec![0.0; k.len()];
        let mut magnitude = vec![0.0; k.len()];
        let mut largest = vec![0.0_f64; head_dim];
        for v in v.chunks_exact(head_dim) {
            largest
                .iter_mut()
                .zip(v)
                .for_each(|(largest, v)| *largest = largest.max(v.abs()));
        }
        for (key, channels) in k.chunks_exact(head_dim).enumerate() {
            for (channel, &value) in channels.iter().enumerate() {
                transposed[channel * seqlen_kv + key] = value;
                magnitude[channel * seqlen_kv + key] = value.abs().max(operand_min);
            }
        }
        Self {
            k: transposed,
            k_magnitude: magnitude,
            v,
            largest,
            seqlen_kv,
        }
    }
}

/// What one row needs, kept from row to row.
#[derive(Default)]
pub(super) struct Row {
    ranges: Vec<Range<usize>>,
    keys: Vec<usize>,
    score: Vec<f64>,
    score_error: Vec<f64>,
    weight: Vec<f64>,
    excess: Vec<f64>,
    /// Whether a key's weight may become subnormal.
    tiny: Vec<bool>,
    channels: Channels,
}

/// Sums over the keys, by channel, each in a row of its own so that the loops over them are plain.
#[derive(Default)]
struct Channels {
    /// `sum p_j d_j |v_j - o|`
    spread: Vec<f64>,
    /// `sum p_j (1 + d_j) |v_j|`
    mass: Vec<f64>,
    /// `sum |v_j|` over keys whose weight may become subnormal
    tiny: Vec<f64>,
}

impl Row {
    /// Takes the keys that query `q` of a head sees.
    pub(super) fn see(&mut self, problem: &Problem, q_head: usize, q: usize) {
        self.ranges.clear();
        self.ranges.extend(problem.layout.visible_keys(q_head, q));
        self.keys.clear();
        self.keys.extend(self.ranges.iter().cloned().flatten());
    }

    /// Writes the bounds of the row's outputs and returns that of its log-sum-exp.
    pub(super) fn bound(
        &mut self,
        arithmetic: &Arithmetic,
        head: &Head<'_>,
        q: &[f64],
        scale: f64,
        (answer, lse): (&[f64], f64),
        o: &mut [f64],
    ) -> f64 {
        if self.keys.is_empty() {
            return 0.0; // o = 0 and lse = -inf, by convention and not by arithmetic
        }
        self.scores(arithmetic, head, q, scale);
        let n = self.keys.len();
        let max = self.score.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let score_error_max = self.score_error.iter().copied().fold(0.0, f64::max);
        let tiles = count_tiles(&self.keys, arithmetic.tile_kv);
        let rescales = usize_to_f64(tiles - 1);

        // Weights: w_j, D, and eta_j.
        self.weight.clear();
        self.weight
            .extend(self.score.iter().map(|&score| exp(score - max)));
        let sum: f64 = self.weight.iter().sum();
        let magnitude_count = if arithmetic.rescale_magnitude {
            1.0 + rescales
        } else {
            1.0
        };
        let eta = |score: f64, error: f64| {
            SLACK
                * (error
                    + arithmetic.argument_difference * (max - score + error + score_error_max)
                    + arithmetic.argument_magnitude
                        * (score.abs().max(max.abs()) + score_error_max)
                        * magnitude_count
                    + arithmetic.exponential * (1.0 + rescales))
        };
        // p_j d_j, as e^x - 1 <= x + x^2 for x <= 1.
        self.excess.clear();
        self.tiny.clear();
        for j in 0..n {
            let eta = eta(self.score[j], self.score_error[j]);
            // w_j e^(-eta_j) < normal, from above: e < 4.
            let tiny = eta > 1.0 || self.weight[j] <= arithmetic.weight_normal * 4.0;
            self.tiny.push(tiny);
            self.excess.push(if eta <= 1.0 {
                self.weight[j] / sum * (eta + eta * eta)
            } else {
                exp(eta - (max - self.score[j])) / sum
            });
        }
        let ebar: f64 = self.excess.iter().sum::<f64>() * SLACK;

        let lanes = arithmetic.row_sum_lanes;
        let depth =
            n.min(tiles * arithmetic.tile_kv.div_ceil(lanes)) + 2 * tiles + usize_log2(lanes);
        let gamma = compounded(usize_to_f64(depth) * U);
        if !(ebar <= 0.5 && gamma <= 0.5 && score_error_max <= 1.0) {
            o.fill(f64::INFINITY);
            return f64::INFINITY;
        }
        let drift = exp(score_error_max); // from the exact maximum to the computed one
        // Outputs.
        self.sum_channels(head, sum, answer);
        let sums = match arithmetic.sums {
            Sums::TensorCore { .. } => arithmetic.sum_error(arithmetic.tile_kv, tiles),
            Sums::Nearest => arithmetic.sum_error(n, 1),
        };
        let h = (arithmetic.division + gamma) / (1.0 - gamma);
        let unit = drift / sum;
        let operand_min = arithmetic.operand_min();
        let roundings = usize_to_f64(2 * n + tiles * (arithmetic.tile_kv + 8));
        let Channels { spread, mass, tiny } = &self.channels;
        for (c, (o, &answer)) in o.iter_mut().zip(answer).enumerate() {
            let (mass, largest) = (mass[c], head.largest[c]);
            let tiny = arithmetic.weight_tiny * unit * tiny[c];
            let magnitude = mass * (1.0 + arithmetic.weight)
                + tiny
                + operand_min * unit * (1.0 + operand_min + largest);
            let spread = spread[c] / (1.0 - ebar);
            let numerator = (arithmetic.weight * mass
                + tiny
                + (sums + rescales * U) * magnitude
                + roundings * power(-125) * unit * (1.0 + largest))
                / (1.0 - ebar);
            *o = SLACK * (spread + (answer.abs() + spread) * h + numerator * (1.0 + h))
                + reference_error(answer);
        }

        // Log-sum-exp.
        let log_sum = lse - max;
        let logarithm = arithmetic.logarithm
            * std::f64::consts::LN_2
            * (log_sum.abs() / std::f64::consts::LN_2 + score_error_max).max(1.0)
            + 2.0 * U * log_sum.abs();
        SLACK
            * (ebar / (1.0 - ebar)
                + gamma / (1.0 - gamma)
                + logarithm
                + arithmetic.lse_max * (max.abs() + score_error_max)
                + arithmetic.lse_result * lse.abs()
                + power(-125))
            + reference_error(lse)
    }

    /// Exact scores and `|scale| e_j`, in natural units, in the order of `keys`.
    fn scores(&mut self, arithmetic: &Arithmetic, head: &Head<'_>, q: &[f64], scale: f64) {
        let unit = arithmetic.sum_error(q.len(), 1);
        let operand_min = arithmetic.operand_min();
        self.score.clear();
        self.score_error.clear();
        for range in &self.ranges {
            let first = self.score.len();
            self.score.resize(first + range.len(), 0.0);
            self.score_error.resize(first + range.len(), 0.0);
            let (score, magnitude) = (&mut self.score[first..], &mut self.score_error[first..]);
            for (channel, &q) in q.iter().enumerate() {
                let keys =
                    channel * head.seqlen_kv + range.start..channel * head.seqlen_kv + range.end;
                let q_magnitude = q.abs().max(operand_min);
                let sums = score.iter_mut().zip(magnitude.iter_mut());
                for ((score, magnitude), (&k, &k_magnitude)) in
                    sums.zip(head.k[keys.clone()].iter().zip(&head.k_magnitude[keys]))
                {
                    *score += q * k;
                    *magnitude += q_magnitude * k_magnitude;
                }
            }
        }
        for (score, magnitude) in self.score.iter_mut().zip(&mut self.score_error) {
            *score *= scale;
            *magnitude *= scale.abs() * unit * SLACK;
        }
    }

    /// The sums over the keys, channel by channel.
    fn sum_channels(&mut self, head: &Head<'_>, sum: f64, answer: &[f64]) {
        let head_dim = answer.len();
        let Channels { spread, mass, tiny } = &mut self.channels;
        for sums in [&mut *spread, &mut *mass, &mut *tiny] {
            sums.clear();
            sums.resize(head_dim, 0.0);
        }
        for (j, &key) in self.keys.iter().enumerate() {
            let excess = self.excess[j];
            let share = self.weight[j] / sum + excess;
            let v = &head.v[key * head_dim..(key + 1) * head_dim];
            for ((spread, mass), (&v, &answer)) in
                spread.iter_mut().zip(&mut *mass).zip(v.iter().zip(answer))
            {
                *spread += excess * (v - answer).abs();
                *mass += share * v.abs();
            }
            if self.tiny[j] {
                tiny.iter_mut()
                    .zip(v)
                    .for_each(|(tiny, &v)| *tiny += v.abs());
            }
        }
    }
}

/// Distance of the reference from the real answer: it is the nearest `f64`, so half an ulp, or half the least of all.
fn reference_error(answer: f64) -> f64 {
    /// Half the distance from 1 to the next `f64`.
    const U64: f64 = U / 536_870_912.0;
    U64 * answer.abs() + f64::from_bits(1)
}

/// Tiles of `tile_kv` keys in which one of the ascending `keys` lies.
fn count_tiles(keys: &[usize], tile_kv: usize) -> usize {
    1 + keys
        .windows(2)
        .filter(|two| two[0] / tile_kv != two[1] / tile_kv)
        .count()
}

/// `ceil(log2(count))`.
fn usize_log2(count: usize) -> usize {
    usize::try_from(count.next_power_of_two().trailing_zeros()).expect("at most 64")
}
