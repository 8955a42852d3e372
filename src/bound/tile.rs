//! The bounds of a tile of query rows: the formulas of the module above as matrix products.
//!
//! A row alone would read every key and value once for each query; a tile reads them once for 32, and the products run
//! at the speed of `gemm`. Two things are given up for that: sums over keys of `|v_j - o|` become roots of sums of
//! squares (Cauchy and Schwarz: at most 1.25 times as large where values are normal), and sums whose last bits do not
//! matter are made in f32, their own error counted.

use super::arithmetic::{Arithmetic, SLACK, U, compounded, power};
use super::replay::Replayed;
use crate::convert::{f64_to_f32, usize_to_f64};
use crate::simd::Level;
use crate::simd::matmul::{View, matmul, matmul_add};
use flashproof_reference::Problem;
use flashproof_reference::exp::exp;
use std::ops::Range;

/// Query rows of a tile.
pub(super) const ROWS: usize = 32;
/// Keys that are skipped together where no row of the tile sees one.
const CHUNK: usize = 64;
/// Failure of Azuma's inequality below 2 exp(-6.5^2 / 2) = 1.3e-9 an output.
const LAMBDA: f64 = 6.5;
/// Below this argument a weight is 0 in f32, subnormal numbers included: `e^-110 < 2^-158`.
const GONE_BELOW: f64 = -110.0;

/// Keys and values of one head.
pub(super) struct Head<'a> {
    /// Keys (`seqlen_kv`, `head_dim`).
    k: &'a [f64],
    /// Their magnitudes as the alignment sees them.
    k_magnitude: Vec<f32>,
    /// Values (`seqlen_kv`, `head_dim`).
    pub(super) v: &'a [f64],
    /// The same, each channel over its `unit`; 0 for what is not finite (rows that see it have no finite answer).
    v_scaled: Vec<f32>,
    /// Their squares.
    v_square: Vec<f32>,
    /// Their magnitudes.
    pub(super) v_magnitude: Vec<f32>,
    /// A power of two for each channel, of about its largest value.
    pub(super) unit: Vec<f64>,
    /// `max |v|` of each channel, over all keys.
    pub(super) largest: Vec<f64>,
    /// Whether every key is whole numbers.
    k_whole: bool,
    /// Whether every value is a whole number.
    v_whole: bool,
    pub(super) head_dim: usize,
}

impl<'a> Head<'a> {
    pub(super) fn new(
        k: &'a [f64],
        v: &'a [f64],
        head_dim: usize,
        arithmetic: &Arithmetic,
    ) -> Self {
        let mut largest = vec![0.0_f64; head_dim];
        for v in v.chunks_exact(head_dim) {
            for (largest, v) in largest.iter_mut().zip(v) {
                if v.is_finite() {
                    *largest = largest.max(v.abs());
                }
            }
        }
        let unit: Vec<f64> = largest
            .iter()
            .map(|largest| f64::from_bits(largest.to_bits() & 0x7ff0_0000_0000_0000))
            .map(|unit| if unit > 0.0 { unit } else { 1.0 })
            .collect();
        let v_scaled: Vec<f32> = v
            .chunks_exact(head_dim)
            .flat_map(|v| v.iter().zip(&unit))
            .map(|(&v, unit)| {
                if v.is_finite() {
                    f64_to_f32(v / unit)
                } else {
                    0.0
                }
            })
            .collect();
        let whole = |x: &[f64]| x.iter().all(|x| x.fract().abs() <= 0.0);
        Self {
            k,
            k_magnitude: magnitudes(k, arithmetic),
            v,
            v_square: v_scaled.iter().map(|v| v * v).collect(),
            v_magnitude: v_scaled.iter().map(|v| v.abs()).collect(),
            v_scaled,
            unit,
            largest,
            k_whole: whole(k),
            v_whole: whole(v),
            head_dim,
        }
    }
}

/// Magnitudes of operands as the alignment sees them, in f32: rounded up by at most what the slack pays for.
fn magnitudes(operands: &[f64], arithmetic: &Arithmetic) -> Vec<f32> {
    let operand_min = arithmetic.operand_min();
    let raised = operands.iter().map(|x| x.abs().max(operand_min));
    raised.map(f64_to_f32).collect()
}

/// Adjacent chunks of keys of which some row sees one.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) keys: Range<usize>,
    /// Where its numbers begin: (rows, keys of the run).
    pub(super) first: usize,
}

/// Numbers of one row.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    /// Visible keys.
    pub(super) ranges: Vec<Range<usize>>,
    pub(super) n: usize,
    /// Largest exact score, in natural units.
    pub(super) max: f64,
    /// Largest `|scale| e_j`.
    pub(super) error_max: f64,
    /// `sum w_j`.
    pub(super) sum: f64,
    /// `sum w_j d_j`, rescalings apart.
    excess: f64,
    /// `sum w_j^2`.
    square: f64,
    /// Largest `eta_j` that is at most 1, rescalings apart.
    eta_max: f64,
    /// Tiles of `tile_kv` keys in which it sees one.
    tiles: usize,
    /// Those after the first that raise the maximum when tiles come in ascending order.
    pub(super) raises: usize,
    /// Whether some weight may become subnormal.
    tiny: bool,
    /// Keys of the largest score, where every other weight is 0 and nothing of it is rounded.
    pub(super) exact: Option<usize>,
}

/// Working numbers, kept from tile to tile.
#[derive(Default)]
pub(super) struct Tile {
    pub(super) runs: Vec<Run>,
    pub(super) rows: Vec<Row>,
    /// Exact scores in natural units, by run.
    pub(super) score: Vec<f64>,
    /// What no partial sum of a score exceeds, `(sum |q| |k| + |sum q k|) / 2`.
    magnitude: Vec<f32>,
    /// `|scale| e_j` where channels are summed in ascending order; only for a replay.
    pub(super) score_error: Vec<f64>,
    weight: Vec<f32>,
    excess: Vec<f32>,
    /// Weights that may become subnormal: 1.
    tiny: Vec<f32>,
    square: Vec<f32>,
    sums: ChannelSums,
}

/// Sums over the keys, (rows, `head_dim`), values over the unit of their channel.
#[derive(Default)]
struct ChannelSums {
    /// `w |v|` and `w d |v|`
    mass: Vec<f32>,
    excess_mass: Vec<f32>,
    weight: [Vec<f32>; 2],
    excess: [Vec<f32>; 2],
    square: [Vec<f32>; 2],
    tiny: Vec<f32>,
    /// Keys of one chunk.
    part: Vec<f32>,
    /// The sum when each chunk begins, in magnitude, all chunks added.
    prefix: Vec<f32>,
}

/// Bounds of the rows of a tile.
#[derive(Debug, Default)]
pub(super) struct TileBounds {
    pub(super) o: Vec<f64>,
    pub(super) lse: Vec<f64>,
    pub(super) likely: Vec<f64>,
    pub(super) deviation: Vec<f64>,
    pub(super) exact: Vec<bool>,
    pub(super) replayed: Option<Replayed>,
}

/// Which rows.
pub(super) struct Place<'a> {
    pub(super) problem: &'a Problem,
    pub(super) arithmetic: &'a Arithmetic,
    pub(super) head: &'a Head<'a>,
    pub(super) q_head: usize,
    /// Rows of the head.
    pub(super) queries: Range<usize>,
    /// Their queries, outputs and log-sum-exps.
    pub(super) q: &'a [f64],
    pub(super) o: &'a [f64],
    pub(super) lse: &'a [f64],
}

impl Tile {
    pub(super) fn bounds(&mut self, place: &Place<'_>) -> TileBounds {
        self.see(place);
        self.scores(place);
        self.weights(place);
        self.channel_sums(place.head);
        let mut bounds = TileBounds::default();
        for row in 0..self.rows.len() {
            self.row_bounds(place, row, &mut bounds);
        }
        if place.arithmetic.replays() {
            self.score_errors(place);
            bounds.replayed = Some(self.replay(place));
        }
        bounds
    }

    /// Which keys are seen.
    fn see(&mut self, place: &Place<'_>) {
        let layout = &place.problem.layout;
        self.rows.clear();
        let mut chunks = vec![false; place.problem.shape.seqlen_kv.div_ceil(CHUNK)];
        for q in place.queries.clone() {
            let ranges: Vec<Range<usize>> = layout.visible_keys(place.q_head, q).collect();
            for range in &ranges {
                chunks[range.start / CHUNK..range.end.div_ceil(CHUNK)].fill(true);
            }
            self.rows.push(Row {
                n: ranges.iter().map(ExactSizeIterator::len).sum(),
                tiles: count_tiles(&ranges, place.arithmetic.tile_kv),
                ranges,
                max: f64::NEG_INFINITY,
                ..Row::default()
            });
        }
        self.runs.clear();
        let mut first = 0;
        let mut chunk = 0;
        while chunk < chunks.len() {
            let length = chunks[chunk..].iter().take_while(|&&seen| seen).count();
            if length > 0 {
                let end = ((chunk + length) * CHUNK).min(place.problem.shape.seqlen_kv);
                let keys = chunk * CHUNK..end;
                let count = keys.len() * self.rows.len();
                self.runs.push(Run { keys, first });
                first += count;
            }
            chunk += length.max(1);
        }
    }

    /// Where the numbers of a row's range of keys are.
    pub(super) fn at(&self, row: usize, range: &Range<usize>) -> Range<usize> {
        let run = self
            .runs
            .iter()
            .find(|run| run.keys.contains(&range.start))
            .expect("every visible key lies in a run");
        let first = run.first + row * run.keys.len() + (range.start - run.keys.start);
        first..first + range.len()
    }

    fn count(&self) -> usize {
        self.runs
            .last()
            .map_or(0, |run| run.first + self.rows.len() * run.keys.len())
    }

    /// Scores, magnitudes, and what a row's scores are alike.
    fn scores(&mut self, place: &Place<'_>) {
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
                        max = *x;
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
            row.max = max;
            row.raises = raises;
            row.error_max = f64::from(magnitude) * score_unit(place);
            row.exact = exact;
        }
    }

    /// What each score is off by if its products are summed in ascending order of channels.
    fn score_errors(&mut self, place: &Place<'_>) {
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

    /// How many keys share the largest score, where all is whole numbers, no sum of them can be rounded and every other
    /// weight is 0.
    fn equal_scores(
        &self,
        place: &Place<'_>,
        row: usize,
        ranges: &[Range<usize>],
        max: f64,
        magnitude: f64,
    ) -> Option<usize> {
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
        let mut count = 0;
        for range in ranges {
            for x in &self.score[self.at(row, range)] {
                let below = x - max;
                if below.abs() <= 0.0 {
                    count += 1;
                } else if !(below <= GONE_BELOW) {
                    return None;
                }
            }
        }
        Some(count)
    }

    /// `w_j`, `w_j d_j` without rescalings, and their sums.
    fn weights(&mut self, place: &Place<'_>) {
        let arithmetic = place.arithmetic;
        let count = self.count();
        for (numbers, fill) in [
            (&mut self.weight, f32::NEG_INFINITY),
            (&mut self.excess, 0.0),
            (&mut self.tiny, 0.0),
            (&mut self.square, 0.0),
        ] {
            numbers.clear();
            numbers.resize(count, fill);
        }
        let unit = score_unit(place);
        for row in 0..self.rows.len() {
            let ranges = std::mem::take(&mut self.rows[row].ranges);
            for range in &ranges {
                let at = self.at(row, range);
                let max = self.rows[row].max;
                for (weight, x) in self.weight[at.clone()].iter_mut().zip(&self.score[at]) {
                    *weight = f64_to_f32(x - max);
                }
            }
            self.rows[row].ranges = ranges;
        }
        Level::best().exps(&mut self.weight[..count]);
        for index in 0..self.rows.len() {
            let ranges = std::mem::take(&mut self.rows[index].ranges);
            let (mut excess_sum, mut square_sum, mut eta_max, mut tiny_any) =
                (0.0_f64, 0.0_f64, 0.0_f64, false);
            let row = &self.rows[index];
            let reach = row.max.abs() + row.error_max;
            let fixed = arithmetic.exponential + arithmetic.argument_difference * row.error_max;
            for range in &ranges {
                let at = self.at(index, range);
                let terms = self.score[at.clone()]
                    .iter()
                    .zip(&self.magnitude[at.clone()]);
                let outs = self.weight[at.clone()]
                    .iter()
                    .zip(&mut self.excess[at.clone()])
                    .zip(&mut self.square[at.clone()])
                    .zip(&mut self.tiny[at]);
                for ((&x, &magnitude), (((&weight, excess), square), tiny)) in terms.zip(outs) {
                    let error = f64::from(magnitude) * unit;
                    let eta = SLACK
                        * (error
                            + arithmetic.argument_difference * (row.max - x + error)
                            + arithmetic.argument_magnitude * x.abs().max(reach)
                            + fixed);
                    let weight_of = f64::from(weight);
                    let d = if eta <= 1.0 {
                        eta_max = eta_max.max(eta);
                        weight_of * (eta + eta * eta)
                    } else {
                        // Rescalings, at most e, included.
                        3.0 * exp(eta - (row.max - x))
                    };
                    excess_sum += d;
                    square_sum += weight_of * weight_of;
                    // Not subnormal in f32, whose products are slow.
                    *excess = f64_to_f32(d).max(1e-36);
                    *square = if weight > 1e-17 { weight * weight } else { 0.0 };
                    // w_j e^(-eta_j) < normal, from above: e < 4.
                    if !(eta <= 1.0) || weight_of <= arithmetic.weight_normal * 4.0 {
                        *tiny = 1.0;
                        tiny_any = arithmetic.weight_tiny > 0.0;
                    }
                }
            }
            let row = &mut self.rows[index];
            row.sum = exp(place.lse[index] - row.max);
            row.ranges = ranges;
            (row.excess, row.square, row.eta_max, row.tiny) =
                (excess_sum, square_sum, eta_max, tiny_any);
        }
    }

    fn channel_sums(&mut self, head: &Head<'_>) {
        let (rows, d) = (self.rows.len(), head.head_dim);
        let tiny = self.rows.iter().any(|row| row.tiny);
        let sums = &mut self.sums;
        let [weight_1, weight_2] = &mut sums.weight;
        let [excess_1, excess_2] = &mut sums.excess;
        let [square_1, square_2] = &mut sums.square;
        for numbers in [
            &mut *weight_1,
            weight_2,
            excess_1,
            excess_2,
            square_1,
            square_2,
            &mut sums.mass,
            &mut sums.excess_mass,
            &mut sums.tiny,
            &mut sums.part,
            &mut sums.prefix,
        ] {
            numbers.clear();
            numbers.resize(rows * d, 0.0);
        }
        for run in &self.runs {
            let (at, n) = (run.first..run.first + rows * run.keys.len(), run.keys.len());
            let elements = run.keys.start * d..run.keys.end * d;
            let left = |numbers| View::row_major(numbers, rows, n);
            let v = &head.v_scaled[elements.clone()];
            let values = View::row_major(v, n, d);
            let v_square = View::row_major(&head.v_square[elements.clone()], n, d);
            let v_magnitude = View::row_major(&head.v_magnitude[elements], n, d);
            let weight = left(&self.weight[at.clone()]);
            let excess = left(&self.excess[at.clone()]);
            let square = left(&self.square[at.clone()]);
            matmul_add(weight, v_square, weight_2);
            matmul_add(weight, v_magnitude, &mut sums.mass);
            matmul_add(excess, values, excess_1);
            matmul_add(excess, v_square, excess_2);
            matmul_add(excess, v_magnitude, &mut sums.excess_mass);
            matmul_add(square, values, square_1);
            matmul_add(square, v_square, square_2);
            if tiny {
                matmul_add(left(&self.tiny[at.clone()]), v_magnitude, &mut sums.tiny);
            }
            for first in (0..n).step_by(CHUNK) {
                let keys = first..(first + CHUNK).min(n);
                matmul(
                    weight.columns(keys.clone()),
                    View::row_major(&v[keys.start * d..keys.end * d], keys.len(), d),
                    &mut sums.part,
                );
                for ((sum, part), prefix) in
                    weight_1.iter_mut().zip(&sums.part).zip(&mut sums.prefix)
                {
                    *prefix += sum.abs();
                    *sum += part;
                }
            }
        }
    }

    /// The bounds of one row.
    fn row_bounds(&self, place: &Place<'_>, index: usize, bounds: &mut TileBounds) {
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
        if let Some(count) = row.exact {
            // Weights are 1 and 0, sums whole numbers: the division is all there is.
            for answer in answers {
                let bound = answer.abs() * arithmetic.division * SLACK + reference_error(*answer);
                bounds.o.push(bound);
                bounds.likely.push(bound);
                bounds.deviation.push(bound);
            }
            bounds.lse.push(SLACK * logarithm + reference_error(lse));
            bounds.exact.push(count > 0);
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
            let rounded = arithmetic.weight * mass + tiny;
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
            let weights = (arithmetic.weight * mass).min(coherent + LAMBDA * random);
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

/// `|scale| s`: what a score is off by, per unit of its largest partial sum, in natural units.
fn score_unit(place: &Place<'_>) -> f64 {
    let scale = f64::from(place.problem.scale).abs();
    scale * place.arithmetic.sum_error(place.head.head_dim, 1) * SLACK
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
    rescale: f64,
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

/// Tiles of `tile_kv` keys in which a key of the ascending ranges lies.
pub(super) fn count_tiles(ranges: &[Range<usize>], tile_kv: usize) -> usize {
    let mut next = 0; // the first tile not yet counted
    let mut count = 0;
    for range in ranges {
        let tiles = (range.start / tile_kv).max(next)..(range.end - 1) / tile_kv + 1;
        count += tiles.len();
        next = next.max(tiles.end);
    }
    count
}

/// `ceil(log2(count))`.
pub(super) fn usize_log2(count: usize) -> usize {
    usize::try_from(count.next_power_of_two().trailing_zeros()).expect("at most 64")
}
