//! The bounds of a tile of query rows: the formulas of the module above as matrix products.
//!
//! A row alone would read every key and value once for each query; a tile reads them once for 32, and the products run
//! at the speed of `gemm`. Two things are given up for that: sums over keys of `|v_j - o|` become roots of sums of
//! squares (Cauchy and Schwarz: at most 1.25 times as large where values are normal), and sums whose last bits do not
//! matter are made in f32, their own error counted.
#![expect(
    clippy::neg_cmp_op_on_partial_ord,
    reason = "a comparison with NaN must come out on the safe side"
)]

use super::arithmetic::{Arithmetic, SLACK};
use super::replay::{Replayed, Terms};
use super::score::score_unit;
use crate::convert::f64_to_f32;
use crate::simd::Level;
use crate::simd::matmul::{View, matmul, matmul_add};
use flashproof_reference::Problem;
use flashproof_reference::exp::exp;
use std::ops::Range;

/// Query rows of a tile.
pub(super) const ROWS: usize = 32;
/// Keys that are skipped together where no row of the tile sees one.
pub(super) const CHUNK: usize = 64;
/// Keys and values of one head.
pub(super) struct Head<'a> {
    /// Keys (`seqlen_kv`, `head_dim`).
    pub(super) k: &'a [f64],
    /// Their magnitudes as the alignment sees them.
    pub(super) k_magnitude: Vec<f32>,
    /// Values (`seqlen_kv`, `head_dim`).
    pub(super) v: &'a [f64],
    /// The same, each channel over its `unit`; 0 for what is not finite (rows that see it have no finite answer).
    pub(super) v_scaled: Vec<f32>,
    /// Their squares.
    pub(super) v_square: Vec<f32>,
    /// Their magnitudes.
    pub(super) v_magnitude: Vec<f32>,
    /// A power of two for each channel, of about its largest value.
    pub(super) unit: Vec<f64>,
    /// `max |v|` of each channel, over all keys.
    pub(super) largest: Vec<f64>,
    /// Whether every key is whole numbers.
    pub(super) k_whole: bool,
    /// Whether every value is a whole number.
    pub(super) v_whole: bool,
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
pub(super) fn magnitudes(operands: &[f64], arithmetic: &Arithmetic) -> Vec<f32> {
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
    /// The first key that has it.
    pub(super) argmax: usize,
    /// Largest `|scale| e_j`.
    pub(super) error_max: f64,
    /// `sum w_j`.
    pub(super) sum: f64,
    /// `sum w_j d_j`, rescalings apart.
    pub(super) excess: f64,
    /// `sum w_j^2`.
    pub(super) square: f64,
    /// Largest `eta_j` that is at most 1, rescalings apart.
    pub(super) eta_max: f64,
    /// Tiles of `tile_kv` keys in which it sees one.
    pub(super) tiles: usize,
    /// Those after the first that raise the maximum when tiles come in ascending order.
    pub(super) raises: usize,
    /// Whether some weight may become subnormal.
    pub(super) tiny: bool,
    /// Where nothing is rounded: the largest exact weight that the kernel has for 0, over that of the largest score.
    pub(super) exact: Option<f64>,
}

/// Working numbers, kept from tile to tile.
#[derive(Default)]
pub(super) struct Tile {
    pub(super) runs: Vec<Run>,
    pub(super) rows: Vec<Row>,
    /// Exact scores in natural units, by run.
    pub(super) score: Vec<f64>,
    /// What no partial sum of a score exceeds, `(sum |q| |k| + |sum q k|) / 2`.
    pub(super) magnitude: Vec<f32>,
    /// `|scale| e_j` where channels are summed in ascending order; only for a replay.
    pub(super) score_error: Vec<f64>,
    pub(super) weight: Vec<f32>,
    pub(super) excess: Vec<f32>,
    /// Weights that may become subnormal: 1.
    pub(super) tiny: Vec<f32>,
    pub(super) square: Vec<f32>,
    pub(super) sums: ChannelSums,
}

/// Sums over the keys, (rows, `head_dim`), values over the unit of their channel.
#[derive(Default)]
pub(super) struct ChannelSums {
    /// `w |v|` and `w d |v|`
    pub(super) mass: Vec<f32>,
    pub(super) excess_mass: Vec<f32>,
    pub(super) weight: [Vec<f32>; 2],
    pub(super) excess: [Vec<f32>; 2],
    pub(super) square: [Vec<f32>; 2],
    pub(super) tiny: Vec<f32>,
    /// Keys of one chunk.
    pub(super) part: Vec<f32>,
    /// The sum when each chunk begins, in magnitude, all chunks added.
    pub(super) prefix: Vec<f32>,
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
    pub(super) terms: Terms,
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

    pub(super) fn count(&self) -> usize {
        self.runs
            .last()
            .map_or(0, |run| run.first + self.rows.len() * run.keys.len())
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
