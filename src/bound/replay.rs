//! The bound of a kernel whose schedule is known: its rounded weights are worked out again.
//!
//! The roundings of weights to 16 bits are most of what the schedule-free bound counts. They are a function of the
//! weights, and the weights are known to a few parts in 10^5; so where tiles and their order are known, nearly all of
//! the rounded weights are too. See the module above for the derivation.
#![expect(
    clippy::neg_cmp_op_on_partial_ord,
    reason = "a comparison with NaN must come out on the safe side"
)]

use super::arithmetic::{Arithmetic, SLACK, TileOrder, U, compounded, power};
use super::row::{Gathered, reference_error, usize_log2};
use super::score::one_score_error;
use super::tile::{Place, Row, Tile, count_tiles};
use crate::convert::{f64_to_f32, usize_to_f64};
use crate::simd::matmul::{View, matmul};
use flashproof_reference::DType;
use flashproof_reference::exp::exp;
use std::ops::Range;

/// Outputs as the kernel's schedule makes them, and how far from those a right result may be before its last rounding.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Replayed {
    /// Quotients of exact sums of rounded weights (batch, `num_q_heads`, `seqlen_q`, `head_dim`); the answer where
    /// nothing is rounded.
    pub centre: Vec<f64>,
    /// Infinite where a replay says nothing.
    pub bound: Vec<f64>,
}

/// Factors of the terms: 1, or a test takes one away to see the bound fail.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Maxima and rescalings, of a tile as a whole.
    pub(super) shift: f64,
    /// Weights whose rounding is not certain.
    pub(super) unsure: f64,
    /// The second product.
    pub(super) products: f64,
    /// Rescalings of o.
    pub(super) rescaling: f64,
    /// Weights, in the row sum.
    pub(super) weights: f64,
    /// The additions of the row sum.
    pub(super) row_sum: f64,
    /// The division by it.
    pub(super) division: f64,
}

impl Terms {
    pub(super) const ALL: Self = Self {
        shift: 1.0,
        unsure: 1.0,
        products: 1.0,
        rescaling: 1.0,
        weights: 1.0,
        row_sum: 1.0,
        division: 1.0,
    };
}

/// Keys of one tile within one run.
struct Piece {
    tile: usize,
    keys: Range<usize>,
}

/// One row in one piece.
#[derive(Clone, Copy, Default)]
struct Step {
    /// Maximum once the piece's tile is seen; `-inf` before the first key.
    max: f64,
    /// What the kernel's maximum may be off by.
    off: f64,
    /// Whether the kernel may rescale before this piece.
    rescales: bool,
    /// `e^(max - M) / D`
    share: f64,
    /// `e^eta_T - 1`
    shift: f64,
}

/// Sums over the pieces, (rows, `head_dim`).
#[derive(Default)]
struct Sums {
    centre: Vec<f64>,
    /// Everything that the numerator may be off by, before the row sum divides it.
    error: Vec<f64>,
    /// Of each row.
    rows: Vec<RowSum>,
}

/// The row sum of one row, over the exact one.
#[derive(Clone, Copy, Default)]
struct RowSum {
    /// So far.
    sum: f64,
    /// `sum p_j d_j`, rescalings apart.
    excess: f64,
    /// What its additions may be off by.
    additions: f64,
}

impl Tile {
    pub(super) fn replay(&mut self, place: &Place<'_>) -> Replayed {
        let d = place.head.head_dim;
        let pieces = self.pieces(place.arithmetic);
        self.refine_leaders(place, &pieces);
        let steps: Vec<Vec<Step>> = (0..self.rows.len())
            .map(|row| self.steps(place, &pieces, row))
            .collect();
        let sums = self.add_up(place, &pieces, &steps);
        let mut replayed = Replayed::default();
        for (index, row) in self.rows.iter().enumerate() {
            let at = index * d..(index + 1) * d;
            let gathered = (row.n > 0 && row.exact.is_none())
                .then(|| Gathered::of(place.arithmetic, row))
                .flatten();
            let Some(gathered) = gathered else {
                replayed.centre.extend_from_slice(&place.o[at]);
                let nothing = if row.n == 0 { 0.0 } else { f64::INFINITY };
                replayed.bound.extend(std::iter::repeat_n(nothing, d));
                continue;
            };
            finish(
                place,
                row,
                &steps[index],
                &gathered,
                (&sums, &sums.rows[index]),
                at,
                &mut replayed,
            );
        }
        replayed
    }

    /// Tiles cut by runs, in the order in which the kernel takes them.
    fn pieces(&self, arithmetic: &Arithmetic) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for run in &self.runs {
            let mut start = run.keys.start;
            while start < run.keys.end {
                let tile = start / arithmetic.tile_kv;
                let end = ((tile + 1) * arithmetic.tile_kv).min(run.keys.end);
                pieces.push(Piece {
                    tile,
                    keys: start..end,
                });
                start = end;
            }
        }
        if arithmetic.tile_order == Some(TileOrder::Descending) {
            pieces.sort_by_key(|piece| std::cmp::Reverse(piece.tile));
        }
        pieces
    }

    /// Makes sure of the errors of scores that may be the largest of a piece: what is subtracted is one of them.
    fn refine_leaders(&mut self, place: &Place<'_>, pieces: &[Piece]) {
        /// More are as good as equal, and their errors as good as alike.
        const MOST: usize = 8;
        let mut leaders = Vec::new();
        for index in 0..self.rows.len() {
            let ranges = std::mem::take(&mut self.rows[index].ranges);
            for piece in pieces {
                let mut least = f64::NEG_INFINITY;
                for keys in within(&ranges, &piece.keys) {
                    let at = self.at(index, &keys);
                    for (x, error) in self.score[at.clone()].iter().zip(&self.score_error[at]) {
                        least = least.max(x - error);
                    }
                }
                leaders.clear();
                for keys in within(&ranges, &piece.keys) {
                    let at = self.at(index, &keys);
                    let numbers = self.score[at.clone()]
                        .iter()
                        .zip(&self.score_error[at.clone()]);
                    for ((key, at), (x, error)) in keys.zip(at).zip(numbers) {
                        if x + error >= least && leaders.len() <= MOST {
                            leaders.push((key, at));
                        }
                    }
                }
                if leaders.len() > MOST {
                    continue;
                }
                for &(key, at) in &leaders {
                    let error = &mut self.score_error[at];
                    *error = refined(place, index, key, *error);
                }
            }
            self.rows[index].ranges = ranges;
        }
    }

    /// The kernel's maxima and rescalings of a row, and what its errors do to each piece as a whole.
    fn steps(&self, place: &Place<'_>, pieces: &[Piece], index: usize) -> Vec<Step> {
        let (arithmetic, row) = (place.arithmetic, &self.rows[index]);
        // The largest score of each piece, and how far computed ones may reach: up, and down from the largest.
        let own: Vec<[f64; 3]> = pieces
            .iter()
            .map(|piece| {
                let mut most = [f64::NEG_INFINITY; 3];
                for keys in within(&row.ranges, &piece.keys) {
                    let at = self.at(index, &keys);
                    for (x, error) in self.score[at.clone()].iter().zip(&self.score_error[at]) {
                        most = [
                            most[0].max(*x),
                            most[1].max(x + error),
                            most[2].max(x - error),
                        ];
                    }
                }
                most
            })
            .collect();
        let mut steps = vec![Step::default(); pieces.len()];
        let [mut max, mut high, mut low] = [f64::NEG_INFINITY; 3];
        let mut first = 0;
        while first < pieces.len() {
            let same = pieces[first..]
                .iter()
                .take_while(|piece| piece.tile == pieces[first].tile)
                .count();
            let tile = own[first..first + same]
                .iter()
                .fold([f64::NEG_INFINITY; 3], |all, one| {
                    [all[0].max(one[0]), all[1].max(one[1]), all[2].max(one[2])]
                });
            // A maximum that is not known that well may or may not rise.
            let rescales =
                max > f64::NEG_INFINITY && tile[0] > f64::NEG_INFINITY && !(tile[1] < low);
            (max, high, low) = (max.max(tile[0]), high.max(tile[1]), low.max(tile[2]));
            for step in &mut steps[first..first + same] {
                step.max = max;
                step.off = (high - max).max(max - low);
                step.rescales = rescales;
            }
            steps[first + 1..first + same]
                .iter_mut()
                .for_each(|step| step.rescales = false);
            first += same;
        }
        let reach = row.max.abs() + row.error_max;
        let magnitude = if arithmetic.rescale_magnitude {
            arithmetic.argument_magnitude * reach
        } else {
            0.0
        };
        let mut later = 0.0;
        for step in steps.iter_mut().rev() {
            if step.max > f64::NEG_INFINITY {
                let eta = step.off
                    + arithmetic.argument_difference * (row.max - step.max + 2.0 * row.error_max)
                    + later * (arithmetic.exponential + magnitude);
                let eta = eta * SLACK * place.terms.shift;
                step.shift = if eta <= 1.0 {
                    eta + eta * eta
                } else {
                    f64::INFINITY
                };
                step.share = exp(step.max - row.max) / row.sum;
            }
            if step.rescales {
                later += 1.0;
            }
        }
        steps
    }

    /// Weights rounded again, and their products with the values, piece by piece.
    fn add_up(&self, place: &Place<'_>, pieces: &[Piece], steps: &[Vec<Step>]) -> Sums {
        let (head, arithmetic) = (place.head, place.arithmetic);
        let (rows, d) = (self.rows.len(), head.head_dim);
        let dtype = arithmetic.p_dtype;
        let mut sums = Sums {
            centre: vec![0.0; rows * d],
            error: vec![0.0; rows * d],
            rows: vec![RowSum::default(); rows],
        };
        let per_lane = arithmetic.tile_kv.div_ceil(arithmetic.row_sum_lanes);
        let (mut part, mut mass) = (vec![0.0; rows * d], vec![0.0_f32; rows * d]);
        let (mut weights, mut narrow) = (Vec::new(), Vec::new());
        let mut unsure = Vec::new();
        for (at, piece) in pieces.iter().enumerate() {
            let n = piece.keys.len();
            weights.clear();
            weights.resize(rows * n, 0.0);
            unsure.clear();
            for (index, row) in self.rows.iter().enumerate() {
                let step = steps[index][at];
                let reach = step.max.abs() + step.off;
                let row_reach = row.max.abs() + row.error_max;
                let (mut sum, mut excess, mut count) = (0.0, 0.0, 0);
                let eta_of = |x: f64, error: f64| {
                    SLACK
                        * (error
                            + step.off
                            + arithmetic.exponential
                            + arithmetic.argument_difference * (step.max - x + error + step.off)
                            + arithmetic.argument_magnitude * x.abs().max(reach)
                            + power(-40))
                };
                let between = |weight: f64, eta: f64| {
                    let low = narrowed(dtype, weight * (1.0 - eta));
                    (low, narrowed(dtype, weight * (1.0 + eta + eta * eta)))
                };
                for keys in within(&row.ranges, &piece.keys) {
                    let numbers = self.at(index, &keys);
                    let terms = self.score[numbers.clone()]
                        .iter()
                        .zip(&self.score_error[numbers]);
                    count += keys.len();
                    for (key, (&x, &error)) in keys.zip(terms) {
                        let weight = exp(x - step.max);
                        let rounded = narrowed(dtype, weight);
                        weights[index * n + key - piece.keys.start] = rounded;
                        let (mut low, mut high) = between(weight, eta_of(x, error));
                        if !(high - low <= 0.0) {
                            let error = refined(place, index, key, error);
                            (low, high) = between(weight, eta_of(x, error));
                            let off = (high - rounded).max(rounded - low);
                            if !(off <= 0.0) {
                                unsure.push((index, key, off * step.share * (1.0 + step.shift)));
                            }
                        }
                        // In the row sum the shift by the maximum cancels.
                        let eta = SLACK
                            * (error
                                + arithmetic.exponential
                                + arithmetic.argument_difference
                                    * (row.max - x + error + row.error_max)
                                + arithmetic.argument_magnitude * x.abs().max(row_reach));
                        sum += weight;
                        excess += if eta <= 1.0 {
                            weight * (eta + eta * eta)
                        } else {
                            3.0 * exp(eta - (step.max - x)) // rescalings, at most e, included
                        };
                    }
                }
                if count > 0 {
                    let all = &mut sums.rows[index];
                    all.sum += sum * step.share;
                    all.excess += excess * step.share;
                    all.additions += usize_to_f64(count.min(per_lane) + 2) * U * all.sum;
                }
            }
            narrow.clear();
            narrow.extend(weights.iter().copied().map(f64_to_f32));
            let elements = piece.keys.start * d..piece.keys.end * d;
            let v = View::row_major(&head.v[elements.clone()], n, d);
            matmul(View::row_major(&weights, rows, n), v, &mut part);
            let v = View::row_major(&head.v_magnitude[elements], n, d);
            matmul(View::row_major(&narrow, rows, n), v, &mut mass);
            let chained = arithmetic.chained_error(n.next_multiple_of(16));
            for (index, steps) in steps.iter().enumerate() {
                let step = steps[at];
                let rescale = if step.rescales { U } else { 0.0 };
                for c in 0..d {
                    let at = index * d + c;
                    let (before, off) = (sums.centre[at], sums.error[at]);
                    let now = part[at] * step.share;
                    let mass = f64::from(mass[at]) * head.unit[c] * step.share * SLACK;
                    // Products in any order within the tile.
                    let (up, down) = (before + 0.5 * (mass + now), before - 0.5 * (mass - now));
                    let reach = up.abs().max(down.abs()).max(0.5 * (mass + now.abs())) + off;
                    sums.centre[at] += now;
                    sums.error[at] += now.abs() * step.shift
                        + chained * reach * place.terms.products
                        + rescale * (before.abs() + off) * place.terms.rescaling;
                }
            }
            for &(index, key, off) in &unsure {
                let v = &head.v[key * d..(key + 1) * d];
                let error = &mut sums.error[index * d..(index + 1) * d];
                error
                    .iter_mut()
                    .zip(v)
                    .for_each(|(error, v)| *error += off * v.abs() * place.terms.unsure);
            }
        }
        sums
    }
}

/// What a score of a row is off by: the better of two bounds.
fn refined(place: &Place<'_>, row: usize, key: usize, error: f64) -> f64 {
    let d = place.head.head_dim;
    let (q, k) = (
        &place.q[row * d..(row + 1) * d],
        &place.head.k[key * d..(key + 1) * d],
    );
    match one_score_error(place, q, k) {
        Some(one) if one < error => one,
        _ => error, // NaN too
    }
}

/// The quotient's error from the numerator's.
fn finish(
    place: &Place<'_>,
    row: &Row,
    steps: &[Step],
    gathered: &Gathered,
    (sums, row_sum): (&Sums, &RowSum),
    at: Range<usize>,
    replayed: &mut Replayed,
) {
    let arithmetic = place.arithmetic;
    let rescales = steps.iter().filter(|step| step.rescales).count();
    let rescalings = usize_to_f64(rescales);
    let ebar = SLACK * (SLACK * row_sum.excess + rescalings * gathered.rescale);
    let ebar = ebar.min(gathered.weights_error(rescalings)) * place.terms.weights;
    // Partial sums are off, too: by as much as the whole, at most.
    let lanes = U * usize_to_f64(usize_log2(arithmetic.row_sum_lanes));
    let gamma = (row_sum.additions + lanes) * (1.0 + 2.0 * (ebar + gathered.gamma));
    let gamma = compounded(gamma * SLACK).min(gathered.gamma) * place.terms.row_sum;
    let division = arithmetic.division * place.terms.division;
    let row_sum = ebar + gamma;
    let tiles = count_tiles(&row.ranges, arithmetic.tile_kv);
    let roundings = usize_to_f64(4 * row.n + tiles * (arithmetic.tile_kv + 8));
    let operand_min = arithmetic.operand_min();
    let unit_weight = exp(row.error_max) / row.sum;
    let sums_error = arithmetic.output_error(row.n, tiles);
    for (largest, at) in place.head.largest.iter().zip(at) {
        let centre = sums.centre[at];
        let small = unit_weight
            * (roundings * power(-125) * (1.0 + largest)
                + sums_error * operand_min * (1.0 + operand_min + largest));
        let error = sums.error[at] + small;
        let off = error + centre.abs() * (row_sum + division);
        let bound = SLACK * off / ((1.0 - ebar) * (1.0 - gamma)) + reference_error(centre);
        replayed.centre.push(centre);
        replayed
            .bound
            .push(if row_sum <= 0.5 { bound } else { f64::INFINITY });
    }
}

/// A weight of 0 to 1 rounded to 16 bits, ties aside: to 11 bits or a multiple of 2^-24, or to 8 bits.
fn narrowed(dtype: DType, weight: f64) -> f64 {
    // Veltkamp's splitting: the sum cuts all but the leading bits.
    let leading = |factor: f64| {
        let large = weight * factor;
        large - (large - weight)
    };
    match dtype {
        DType::F16 if weight < 1.0 / 16384.0 => {
            const MULTIPLES: f64 = 1.5 * 268_435_456.0; // 1.5 * 2^28: a unit of its last place is 2^-24
            weight + MULTIPLES - MULTIPLES
        }
        DType::F16 => leading(4_398_046_511_105.0), // 2^42 + 1
        DType::Bf16 => leading(35_184_372_088_833.0), // 2^45 + 1
        DType::F32 | DType::F64 => weight,
    }
}

/// The parts of ascending ranges that lie within another.
fn within<'a>(
    ranges: &'a [Range<usize>],
    keys: &'a Range<usize>,
) -> impl Iterator<Item = Range<usize>> + 'a {
    let first = ranges.partition_point(|range| range.end <= keys.start);
    ranges[first..]
        .iter()
        .take_while(|range| range.start < keys.end)
        .map(|range| range.start.max(keys.start)..range.end.min(keys.end))
}
