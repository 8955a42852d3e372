//! One CTA of a simulated kernel: some queries of one head, tile of keys after tile of keys.

use super::fault::Fault;
use super::product::{DEPTH, Unit};
use super::visibility::{Entry, Tile, faulty_entries};
use super::{Design, Simulated, Simulator};
use crate::convert::{f64_to_bf16, f64_to_f16, f64_to_f32, index, low_u16, usize_to_f64};
use crate::kernel::method::ScoreScaling;
use crate::kernel::scale_log2;
use crate::vm::tensor_core::Accumulator;
use flashproof_reference::DType;
use std::ops::Range;

/// A row of k or v: head (batch, key head) and key; `None` for what lies in no tensor.
type Source = Option<(usize, usize)>;

/// Running statistics of one query.
#[derive(Clone, Debug)]
struct RowState {
    max: f32,
    sum: Vec<f32>,
}

/// See the module.
pub(super) struct Cta<'a> {
    simulator: &'a Simulator<'a>,
    fault: Fault,
    /// (batch, query head), and the query head within its batch.
    head: usize,
    q_head: usize,
    /// (batch, key head), and the key head within its batch.
    kv: usize,
    kv_head: usize,
    /// Which row of tiles, what its tiles are, and those of all rows.
    row_of_tiles: usize,
    tiles: &'a [Vec<Tile>],
    rows: Range<usize>,
    scale: f32,
    scale_log2: f32,
    state: Vec<RowState>,
    /// (rows, padded `head_dim`)
    o: Vec<f32>,
    kept: Vec<bool>,
}

/// A tile's scores before their scale, (rows, keys of a whole tile), and what is visible of it.
struct Scored {
    score: Vec<f32>,
    visible: Vec<bool>,
    /// Keys of the tile that exist.
    keys: usize,
}

impl<'a> Cta<'a> {
    pub(super) fn new(
        simulator: &'a Simulator<'a>,
        fault: Fault,
        head: usize,
        row_of_tiles: usize,
        tiles: &'a [Vec<Tile>],
    ) -> Self {
        let problem = simulator.problem;
        let shape = problem.shape;
        let (batch, q_head) = (head / shape.num_q_heads, head % shape.num_q_heads);
        let group = shape.num_q_heads / shape.num_kv_heads;
        let last = shape.num_kv_heads - 1;
        let right = shape.kv_head(q_head);
        let kv_head = if fault == Fault::HeadModulo {
            q_head % shape.num_kv_heads
        } else if fault == Fault::HeadIdentity {
            q_head.min(last)
        } else if fault == Fault::HeadGroupCrossed && (q_head + 1).is_multiple_of(group) {
            (right + 1).min(last)
        } else {
            right
        };
        let batch = if fault == Fault::BatchIgnored {
            0
        } else {
            batch
        };
        let scale = if fault == Fault::ScaleTwice {
            problem.scale * problem.scale
        } else if fault == Fault::ScaleMissing {
            1.0
        } else if fault == Fault::ScaleOfPaddedHead {
            let padded = usize_to_f64(shape.head_dim.next_multiple_of(32));
            let share = usize_to_f64(shape.head_dim) / padded;
            f64_to_f32(f64::from(problem.scale) * share.sqrt())
        } else {
            problem.scale
        };
        let max = if fault == Fault::Sentinel5e4 {
            -5e4 / scale
        } else {
            f32::NEG_INFINITY
        };
        let method = &simulator.design.method;
        let state = RowState {
            max,
            sum: vec![0.0; index(method.row_sum_lanes).max(1)],
        };
        let tile_q = simulator.tile_q();
        let rows = row_of_tiles * tile_q..((row_of_tiles + 1) * tile_q).min(shape.seqlen_q);
        Self {
            simulator,
            fault,
            head,
            q_head,
            kv: batch * shape.num_kv_heads + kv_head,
            kv_head,
            row_of_tiles,
            tiles,
            scale,
            scale_log2: if fault == Fault::Log2eShort {
                scale * 1.44
            } else {
                scale_log2(scale)
            },
            state: vec![state; rows.len()],
            o: vec![0.0; rows.len() * simulator.inputs.depth],
            kept: vec![false; tiles[row_of_tiles].len()],
            rows,
        }
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn design(&self) -> &'a Design {
        &self.simulator.design
    }

    pub(super) fn run(mut self) -> Simulated {
        let (shape, layout) = (self.simulator.problem.shape, &self.simulator.problem.layout);
        let tile_kv = self.simulator.tile_kv();
        let mut list = faulty_entries(
            self.fault,
            self.tiles,
            self.row_of_tiles,
            (shape.seqlen_kv, tile_kv),
            layout.window().left.is_some(),
        );
        if self.is(Fault::QueryTilesFloor) && self.rows.len() < self.simulator.tile_q() {
            list.clear();
        }
        let mut before = None;
        for (index, &entry) in list.iter().enumerate() {
            self.visit(entry, before, index + 1 == list.len());
            before = Some(entry.tile);
        }
        let mut done = self.finish();
        done.visits.push(list.len());
        done
    }

    /// One tile of keys; `before` is the one that was visited before it.
    fn visit(&mut self, entry: Entry, before: Option<usize>, is_last: bool) {
        let scored = self.scored(entry, before);
        let skip = !is_last && !self.is_kept(entry, &scored);
        if skip && self.is(Fault::SkipRaisesMax) {
            self.raise(&scored);
        }
        if skip && !self.is(Fault::SkipDenseSum) {
            return;
        }
        self.kept[entry.tile] = !skip;
        let tile_kv = self.simulator.tile_kv();
        let width = tile_kv.next_multiple_of(DEPTH);
        let mut weights = vec![0_u32; self.rows.len() * width];
        for row in 0..self.rows.len() {
            self.softmax(
                row,
                entry.tile * tile_kv,
                &scored,
                &mut weights[row * width..],
            );
        }
        if skip {
            return;
        }
        let values = self.values(entry, before, width);
        let accumulator = if self.is(Fault::AccumulatorF16) {
            Accumulator::F16
        } else {
            Accumulator::F32
        };
        let design = self.design();
        Unit::of(design.target, design.method.p_dtype, accumulator).accumulate(
            &weights,
            &values,
            width,
            &mut self.o,
        );
    }

    /// Where the rows of k (or v) of a tile come from.
    fn sources(&self, entry: Entry, before: Option<usize>, faults: [Fault; 2]) -> Vec<Source> {
        let tile_kv = self.simulator.tile_kv();
        let shape = self.simulator.problem.shape;
        let [stale, other_stage] = faults.map(|fault| self.is(fault));
        (0..tile_kv)
            .map(|at| {
                let is_old = other_stage || stale && at >= tile_kv / 2;
                let tile = before.filter(|_| is_old).unwrap_or(entry.tile);
                let key = tile * tile_kv + at;
                if key < shape.seqlen_kv {
                    return Some((self.kv, key));
                }
                let row = self.kv * shape.seqlen_kv + key;
                let exists = row < shape.batch * shape.num_kv_heads * shape.seqlen_kv;
                (self.is(Fault::TailNextRows) && exists)
                    .then(|| (row / shape.seqlen_kv, row % shape.seqlen_kv))
            })
            .collect()
    }

    fn scored(&self, entry: Entry, before: Option<usize>) -> Scored {
        let tile_kv = self.simulator.tile_kv();
        let problem = self.simulator.problem;
        let seqlen_kv = problem.shape.seqlen_kv;
        let sources = self.sources(entry, before, [Fault::StaleK, Fault::StageOffByOneK]);
        let own = self.simulator.scores(self.head, self.kv);
        let mut score = Vec::with_capacity(self.rows.len() * tile_kv);
        for row in self.rows.clone() {
            score.extend(sources.iter().map(|source| match *source {
                None => 0.0,
                Some((kv, key)) if kv == self.kv => own[row * seqlen_kv + key],
                Some((kv, key)) => self.simulator.scores(self.head, kv)[row * seqlen_kv + key],
            }));
        }
        let keys = (seqlen_kv - entry.tile * tile_kv).min(tile_kv);
        // A mask of the diagonal or of a window's right hides what is past the end too.
        let layout = &problem.layout;
        let tail = (self.is(Fault::TailZeroScore) || self.is(Fault::TailNextRows))
            && !layout.causal()
            && layout.window().right.is_none();
        let kind = &self.tiles[self.row_of_tiles][entry.tile];
        let visible = (0..self.rows.len() * tile_kv)
            .map(|at| {
                if at % tile_kv >= keys {
                    tail
                } else if entry.masked {
                    match kind {
                        Tile::Empty => false,
                        Tile::Full => true,
                        Tile::Partial(seen) => seen[at],
                    }
                } else {
                    true
                }
            })
            .collect();
        Scored {
            score,
            visible,
            keys,
        }
    }

    /// Whether a tile's largest score reaches the threshold of this row of tiles.
    fn is_kept(&self, entry: Entry, scored: &Scored) -> bool {
        let Some(thresholds) = &self.design().thresholds else {
            return true;
        };
        let shape = self.simulator.problem.shape;
        let tile_kv = self.simulator.tile_kv();
        let max = scored
            .score
            .iter()
            .zip(&scored.visible)
            .enumerate()
            .filter(|(at, (_, visible))| {
                **visible || self.is(Fault::SkipBeforeMask) && at % tile_kv < scored.keys
            })
            .fold(f32::NEG_INFINITY, |max, (_, (&score, _))| max.max(score));
        let max = if self.is(Fault::SkipUnscaled) {
            max
        } else {
            max * self.scale
        };
        let max = if self.is(Fault::SkipMaxF16) {
            f64_to_f16(f64::from(max)).to_f32()
        } else {
            max
        };
        let head = if self.is(Fault::SkipKvHead) {
            self.kv_head
        } else {
            self.q_head
        };
        let position = if self.is(Fault::SkipKeyPosition) {
            entry.tile
        } else if self.is(Fault::SkipChunkOffset) {
            self.row_of_tiles
        } else {
            let offset = shape.seqlen_kv.saturating_sub(shape.seqlen_q);
            (self.rows.start + offset) / self.simulator.tile_q()
        };
        let threshold = thresholds.at(head, position);
        if self.is(Fault::SkipStrict) {
            max > threshold
        } else {
            max >= threshold
        }
    }

    /// Raises the maxima by a tile, and nothing else.
    fn raise(&mut self, scored: &Scored) {
        let tile_kv = self.simulator.tile_kv();
        for (at, (&score, _)) in scored
            .score
            .iter()
            .zip(&scored.visible)
            .enumerate()
            .filter(|(_, (_, visible))| **visible)
        {
            let state = &mut self.state[at / tile_kv];
            state.max = state.max.max(score);
        }
    }

    /// What a hidden key's score is.
    fn hidden(&self, is_padding: bool) -> f32 {
        if self.is(Fault::Sentinel1e4) {
            -1e4 / self.scale
        } else if self.is(Fault::Sentinel5e4) {
            -5e4 / self.scale
        } else if self.is(Fault::Sentinel1e30) {
            -1e30
        } else if self.is(Fault::HiddenZeroScore) && !is_padding {
            0.0
        } else {
            f32::NEG_INFINITY
        }
    }

    /// Takes one row's scores of a tile in, and gives its weights as bits of the operand format.
    fn softmax(&mut self, row: usize, first_key: usize, scored: &Scored, weights: &mut [u32]) {
        let tile_kv = self.simulator.tile_kv();
        let raw = &scored.score[row * tile_kv..(row + 1) * tile_kv];
        let visible = &scored.visible[row * tile_kv..(row + 1) * tile_kv];
        let score: Vec<f32> = raw
            .iter()
            .zip(visible)
            .enumerate()
            .map(|(at, (&score, &visible))| {
                if visible {
                    score
                } else {
                    self.hidden(at >= scored.keys)
                }
            })
            .collect();
        let Design { method, noise, .. } = self.design();
        let fault = self.fault;
        let scale_log2 = self.scale_log2;
        let is_fused = method.score == ScoreScaling::Fused || fault == Fault::Sentinel1e30;
        // Odd places stand for odd keys.
        let first_row = self.head * self.simulator.problem.shape.seqlen_q + self.rows.start;
        let place = 2 * (first_row + row) * self.simulator.problem.shape.seqlen_kv + first_key;
        let state = &mut self.state[row];
        let before = state.max;
        let max = if fault == Fault::MaxOfFirstTile && before > f32::NEG_INFINITY {
            before
        } else {
            score.iter().copied().fold(before, f32::max)
        };
        if max == f32::NEG_INFINITY && fault != Fault::LeadingGuardMissing {
            return; // it has seen no key yet
        }
        state.max = max;
        let argument = |score: f32| {
            if is_fused {
                score.mul_add(scale_log2, -(max * scale_log2))
            } else {
                (score - max) * scale_log2
            }
        };
        if before < max {
            let rescale = if before == f32::NEG_INFINITY {
                0.0
            } else {
                noise.ex2(argument(before), place)
            };
            if fault != Fault::SumNotRescaled {
                state.sum.iter_mut().for_each(|sum| *sum *= rescale);
            }
            if fault != Fault::OutputNotRescaled {
                let depth = self.simulator.inputs.depth;
                let o = &mut self.o[row * depth..(row + 1) * depth];
                o.iter_mut().for_each(|o| *o *= rescale);
            }
        }
        let lanes = state.sum.len();
        for (key, (&score, bits)) in score.iter().zip(weights).enumerate() {
            let lane = &mut state.sum[(first_key + key) / 2 % lanes];
            if score == f32::NEG_INFINITY && max > f32::NEG_INFINITY {
                if fault == Fault::SumOfHidden && key < scored.keys {
                    *lane += noise.ex2(argument(raw[key]), place + key);
                }
                continue;
            }
            let weight = noise.ex2(argument(score), place + key);
            *bits = operand(weight, method.p_dtype, fault);
            *lane += if fault == Fault::SumOfRounded {
                f64_to_f32(decoded(*bits, method.p_dtype))
            } else {
                weight
            };
        }
    }

    /// v of a tile as the second product's operand, (padded `head_dim`, keys up to `width`).
    fn values(&self, entry: Entry, before: Option<usize>, width: usize) -> Vec<u32> {
        let inputs = &self.simulator.inputs;
        let (depth, dtype) = (inputs.depth, self.simulator.problem.dtype());
        let seqlen_kv = self.simulator.problem.shape.seqlen_kv;
        let widen = self.design().method.p_dtype == DType::F32;
        let nan = match dtype {
            DType::F16 => 0x7e00,
            DType::Bf16 => 0x7fc0,
            DType::F32 | DType::F64 => 0x7fc0_0000,
        };
        let mut columns = vec![0; depth * width];
        let sources = self.sources(entry, before, [Fault::StaleV, Fault::StageOffByOneV]);
        for (key, source) in sources.iter().enumerate() {
            for channel in 0..depth {
                let bits = match source {
                    Some((kv, key)) => inputs.v[(kv * seqlen_kv + key) * depth + channel],
                    None if self.is(Fault::PaddingNan) => nan,
                    None => 0,
                };
                columns[channel * width + key] = if widen {
                    f64_to_f32(decoded(bits, dtype)).to_bits()
                } else {
                    bits
                };
            }
        }
        columns
    }

    fn finish(self) -> Simulated {
        let Design {
            method,
            noise,
            sink_logits,
            ..
        } = self.design();
        let shape = self.simulator.problem.shape;
        let d = shape.head_dim;
        let mut done = Simulated::default();
        let sink = sink_logits.get(self.q_head).copied();
        let sink = sink.filter(|_| !self.is(Fault::SinkForgotten));
        let sink = sink.map(|sink| {
            if self.is(Fault::SinkScaled) {
                sink * self.scale
            } else {
                sink
            }
        });
        let times = if self.is(Fault::SinkTwice) { 2.0 } else { 1.0 };
        for (row, state) in self.state.iter().enumerate() {
            let place = self.head * shape.seqlen_q + self.rows.start + row;
            let o = &self.o[row * self.simulator.inputs.depth..][..d];
            let none = if self.is(Fault::Sentinel5e4) {
                -5e4 / self.scale
            } else {
                f32::NEG_INFINITY
            };
            let mut sum = tree(&state.sum);
            if state.max <= none && !sum.is_nan() {
                let (o, lse) = self.empty_row();
                done.o.extend(o);
                done.lse.push(match sink {
                    Some(sink) => sink + noise.lg2(times, place) * std::f32::consts::LN_2,
                    None => lse,
                });
                continue;
            }
            if let Some(sink) = sink {
                let argument = (sink - state.max * self.scale) * std::f32::consts::LOG2_E;
                sum += times * noise.ex2(argument, place);
            }
            let divided = |&o: &f32| noise.divide(o, sum, method.reciprocal, place);
            done.o.extend(o.iter().map(divided));
            done.lse.push(self.lse(state.max, noise.lg2(sum, place)));
        }
        done.kept = self.kept;
        done
    }

    fn lse(&self, max: f32, log2: f32) -> f32 {
        let scaled = if self.is(Fault::LseNotScaled) {
            max
        } else if self.is(Fault::LseScaledTwice) {
            max * self.scale * self.scale
        } else {
            max * self.scale
        };
        if self.is(Fault::LseBase2) {
            return scaled * std::f32::consts::LOG2_E + log2;
        }
        let lse = scaled + log2 * std::f32::consts::LN_2;
        if self.is(Fault::LseNegated) {
            -lse
        } else {
            lse
        }
    }

    /// What a row that sees no key holds.
    fn empty_row(&self) -> (Vec<f32>, f32) {
        let shape = self.simulator.problem.shape;
        let d = shape.head_dim;
        let o = if self.is(Fault::EmptyRowNan) {
            vec![f32::NAN; d]
        } else if self.is(Fault::EmptyRowMean) {
            let depth = self.simulator.inputs.depth;
            let v = &self.simulator.inputs.v[self.kv * shape.seqlen_kv * depth..]
                [..shape.seqlen_kv * depth];
            let dtype = self.simulator.problem.dtype();
            let sum = |channel| -> f64 {
                let column = v.iter().skip(channel).step_by(depth);
                column.map(|&bits| decoded(bits, dtype)).sum()
            };
            (0..d)
                .map(|channel| f64_to_f32(sum(channel) / usize_to_f64(shape.seqlen_kv)))
                .collect()
        } else {
            vec![0.0; d]
        };
        let lse = if self.is(Fault::EmptyRowLseInfinite) {
            f32::INFINITY
        } else if self.is(Fault::EmptyRowLseZero) {
            0.0
        } else if self.is(Fault::EmptyRowLseFinite) {
            -5e4 * std::f32::consts::LN_2
        } else {
            f32::NEG_INFINITY
        };
        (o, lse)
    }
}

/// A weight as bits of its operand format.
fn operand(weight: f32, dtype: DType, fault: Fault) -> u32 {
    let wide = f64::from(weight);
    match dtype {
        DType::F16 => {
            let wide = if fault == Fault::WeightBf16 {
                f64_to_bf16(wide).to_f64()
            } else {
                wide
            };
            let rounded = f64_to_f16(wide);
            let above = fault == Fault::WeightTruncated && rounded.to_f64() > wide;
            u32::from(rounded.to_bits()) - u32::from(above)
        }
        DType::Bf16 => {
            let rounded = f64_to_bf16(wide);
            let above = fault == Fault::WeightTruncated && rounded.to_f64() > wide;
            u32::from(rounded.to_bits()) - u32::from(above)
        }
        DType::F32 | DType::F64 => weight.to_bits(),
    }
}

/// The number that bits of a format stand for.
fn decoded(bits: u32, dtype: DType) -> f64 {
    match dtype {
        DType::F16 => half::f16::from_bits(low_u16(bits)).to_f64(),
        DType::Bf16 => half::bf16::from_bits(low_u16(bits)).to_f64(),
        DType::F32 | DType::F64 => f64::from(f32::from_bits(bits)),
    }
}

/// Sum as a binary tree, neighbours first.
fn tree(lanes: &[f32]) -> f32 {
    match lanes {
        [] => 0.0,
        [one] => *one,
        _ => {
            let (left, right) = lanes.split_at(lanes.len().div_ceil(2));
            tree(left) + tree(right)
        }
    }
}
