//! A right kernel without a GPU: the loop of FlashAttention's forward pass on the CPU, rounding by rounding.
//!
//! One CTA computes `tile_q` queries of a head. It visits those tiles of `tile_kv` keys of which it sees any, in
//! ascending order; in each it forms scores on tensor cores, hides what the layout hides, raises the row maximum,
//! rescales what came before, takes exponentials, rounds the weights to the operand format and adds the product with v
//! to an f32 accumulator; at the end it divides by the row sum (Dao, FlashAttention-2, arXiv 2307.08691, algorithm 1).
//!
//! | step | is |
//! |---|---|
//! | products | [`vm::tensor_core`](crate::vm::tensor_core), bit for bit, of the target; f32 fused multiply-adds where the operands are f32 |
//! | argument of the exponential | as [`ScoreScaling`] says, in f32 |
//! | exponential, reciprocal, logarithm | the nearest f32, or off by as much as PTX allows ([`Noise`]) |
//! | row sum | lanes as in an accumulator fragment (two neighbouring keys a lane), then as a tree, of unrounded weights |
//! | row that sees no key | `o = 0`, `lse = -inf` |
//!
//! What it is for: a bound must hold on it, and a fault planted in it must be found. What it
//! is not: a model of memory, of warps or of time. Faults of those are planted in real kernels (`cuda/defects`).

mod approximate;
mod product;

pub use approximate::Noise;

use crate::convert::{f64_to_bf16, f64_to_f16, index};
use crate::kernel::method::{Method, ScoreScaling};
use crate::kernel::scale_log2;
use crate::outcome::{Outcome, Output};
use crate::vm::Target;
use flashproof_reference::{DType, Problem, Tensor};
use product::{DEPTH, Unit, padded_bits};
use rayon::prelude::*;

/// A kernel to simulate.
#[derive(Clone, Copy, Debug)]
pub struct Design {
    /// Tiles, formats and functions; `p_dtype` is the format of the inputs, or f32 for weights that are not rounded and
    /// a product with v in f32.
    pub method: Method,
    /// Whose tensor cores.
    pub target: Target,
    /// What the approximate functions do.
    pub noise: Noise,
}

/// What a simulated kernel computed.
#[derive(Clone, Debug)]
pub struct Simulated {
    /// Outputs before their last rounding (batch, `num_q_heads`, `seqlen_q`, `head_dim`).
    pub o: Vec<f32>,
    /// Log-sum-exps, natural (batch, `num_q_heads`, `seqlen_q`).
    pub lse: Vec<f32>,
}

impl Simulated {
    /// The run, as a backend would report it.
    pub fn outcome(&self, dtype: DType) -> Outcome {
        let wide = || self.o.iter().map(|&o| f64::from(o));
        let o = match dtype {
            DType::F16 => Tensor::F16(wide().map(f64_to_f16).collect()),
            DType::Bf16 => Tensor::Bf16(wide().map(f64_to_bf16).collect()),
            DType::F32 => Tensor::F32(self.o.clone()),
        };
        Outcome::Finished(Output {
            o,
            lse: self.lse.clone(),
            findings: Vec::new(),
        })
    }
}

/// Runs a kernel on a problem.
pub fn run(problem: &Problem, design: &Design) -> Simulated {
    let inputs = Inputs::of(problem);
    let shape = problem.shape;
    let tile_q = index(design.method.tile_q).max(1);
    let tiles_q = shape.seqlen_q.div_ceil(tile_q);
    let ctas: Vec<Simulated> = (0..shape.batch * shape.num_q_heads * tiles_q)
        .into_par_iter()
        .map(|cta| {
            let (head, tile) = (cta / tiles_q, cta % tiles_q);
            let rows = tile * tile_q..((tile + 1) * tile_q).min(shape.seqlen_q);
            Cta::new(problem, &inputs, design, head, rows).run()
        })
        .collect();
    let mut all = Simulated {
        o: Vec::new(),
        lse: Vec::new(),
    };
    for cta in ctas {
        all.o.extend(cta.o);
        all.lse.extend(cta.lse);
    }
    all
}

/// Operands as bits, each row padded to the depth of an instruction.
struct Inputs {
    q: Vec<u32>,
    k: Vec<u32>,
    v: Vec<u32>,
    /// Elements of a padded row.
    depth: usize,
}

impl Inputs {
    fn of(problem: &Problem) -> Self {
        let d = problem.shape.head_dim;
        let [q, k, v] = [&problem.q, &problem.k, &problem.v].map(|tensor| padded_bits(tensor, d));
        Self {
            q,
            k,
            v,
            depth: d.next_multiple_of(DEPTH),
        }
    }
}

/// One CTA: some queries of one head.
struct Cta<'a> {
    problem: &'a Problem,
    inputs: &'a Inputs,
    design: &'a Design,
    q_head: usize,
    /// Queries, and the first of their rows in q and o.
    rows: std::ops::Range<usize>,
    first_row: usize,
    /// First row of the head in k and v.
    first_key: usize,
    scale_log2: f32,
    state: Vec<RowState>,
    /// (rows, padded `head_dim`)
    o: Vec<f32>,
}

/// Running statistics of one query.
#[derive(Clone, Debug)]
struct RowState {
    max: f32,
    sum: Vec<f32>,
}

impl<'a> Cta<'a> {
    fn new(
        problem: &'a Problem,
        inputs: &'a Inputs,
        design: &'a Design,
        head: usize,
        rows: std::ops::Range<usize>,
    ) -> Self {
        let shape = problem.shape;
        let q_head = head % shape.num_q_heads;
        let kv_head = head / shape.num_q_heads * shape.num_kv_heads + shape.kv_head(q_head);
        let state = RowState {
            max: f32::NEG_INFINITY,
            sum: vec![0.0; index(design.method.row_sum_lanes).max(1)],
        };
        Self {
            problem,
            inputs,
            design,
            q_head,
            first_row: head * shape.seqlen_q + rows.start,
            first_key: kv_head * shape.seqlen_kv,
            scale_log2: scale_log2(problem.scale),
            state: vec![state; rows.len()],
            o: vec![0.0; rows.len() * inputs.depth],
            rows,
        }
    }

    fn run(mut self) -> Simulated {
        let seqlen_kv = self.problem.shape.seqlen_kv;
        let tile_kv = index(self.design.method.tile_kv).max(1);
        for first in (0..seqlen_kv).step_by(tile_kv) {
            self.visit(first..(first + tile_kv).min(seqlen_kv));
        }
        self.finish()
    }

    /// One tile of keys.
    fn visit(&mut self, keys: std::ops::Range<usize>) {
        let visible: Vec<bool> = self
            .rows
            .clone()
            .flat_map(|row| keys.clone().map(move |key| (row, key)))
            .map(|(row, key)| self.problem.layout.is_visible(self.q_head, row, key))
            .collect();
        if !visible.contains(&true) {
            return;
        }
        let scores = self.scores(&keys);
        let width = keys.len().next_multiple_of(DEPTH);
        let mut weights = vec![0_u32; self.rows.len() * width];
        for row in 0..self.rows.len() {
            let at = row * keys.len()..(row + 1) * keys.len();
            let score: Vec<f32> = scores[at.clone()]
                .iter()
                .zip(&visible[at])
                .map(|(&score, &visible)| if visible { score } else { f32::NEG_INFINITY })
                .collect();
            self.softmax(row, keys.start, &score, &mut weights[row * width..]);
        }
        let values = self.values(&keys, width);
        let unit = Unit::of(self.design.target, self.design.method.p_dtype);
        unit.accumulate(&weights, &values, width, &mut self.o);
    }

    /// Scores before their scale, (rows, keys).
    fn scores(&self, keys: &std::ops::Range<usize>) -> Vec<f32> {
        let depth = self.inputs.depth;
        let q = &self.inputs.q[self.first_row * depth..][..self.rows.len() * depth];
        let k = &self.inputs.k[(self.first_key + keys.start) * depth..][..keys.len() * depth];
        let mut scores = vec![0.0; self.rows.len() * keys.len()];
        let unit = Unit::of(self.design.target, self.problem.dtype());
        unit.accumulate(q, k, depth, &mut scores);
        scores
    }

    /// Takes one row's scores of a tile in, and gives its weights as bits of the operand format.
    fn softmax(&mut self, row: usize, first_key: usize, score: &[f32], weights: &mut [u32]) {
        let Design { method, noise, .. } = *self.design;
        let scale_log2 = self.scale_log2;
        let state = &mut self.state[row];
        let before = state.max;
        let max = score.iter().copied().fold(before, f32::max);
        if max == f32::NEG_INFINITY {
            return; // it has seen no key yet
        }
        state.max = max;
        let argument = |score: f32| match method.score {
            ScoreScaling::SubtractThenScale => (score - max) * scale_log2,
            ScoreScaling::Fused => score.mul_add(scale_log2, -(max * scale_log2)),
        };
        // Odd places stand for odd keys.
        let place = 2 * (self.first_row + row) * self.problem.shape.seqlen_kv + first_key;
        if before < max {
            let rescale = if before == f32::NEG_INFINITY {
                0.0
            } else {
                noise.ex2(argument(before), place)
            };
            state.sum.iter_mut().for_each(|sum| *sum *= rescale);
            let depth = self.inputs.depth;
            let o = &mut self.o[row * depth..(row + 1) * depth];
            o.iter_mut().for_each(|o| *o *= rescale);
        }
        let lanes = state.sum.len();
        for (key, (&score, bits)) in score.iter().zip(weights).enumerate() {
            if score == f32::NEG_INFINITY {
                continue;
            }
            let weight = noise.ex2(argument(score), place + key);
            let lane = &mut state.sum[(first_key + key) / 2 % lanes];
            *lane += weight;
            *bits = match method.p_dtype {
                DType::F16 => u32::from(f64_to_f16(f64::from(weight)).to_bits()),
                DType::Bf16 => u32::from(f64_to_bf16(f64::from(weight)).to_bits()),
                DType::F32 => weight.to_bits(),
            };
        }
    }

    /// v of a tile as the second product's operand, (padded `head_dim`, keys up to `width`).
    fn values(&self, keys: &std::ops::Range<usize>, width: usize) -> Vec<u32> {
        let depth = self.inputs.depth;
        let v = &self.inputs.v[(self.first_key + keys.start) * depth..][..keys.len() * depth];
        let widen = self.design.method.p_dtype == DType::F32;
        let mut columns = vec![0; depth * width];
        for (key, v) in v.chunks(depth).enumerate() {
            for (channel, &bits) in v.iter().enumerate() {
                columns[channel * width + key] = match (widen, self.problem.dtype()) {
                    (true, DType::F16) => half::f16::from_bits(low(bits)).to_f32().to_bits(),
                    (true, DType::Bf16) => bits << 16,
                    (true, DType::F32) | (false, _) => bits,
                };
            }
        }
        columns
    }

    fn finish(self) -> Simulated {
        let Design { method, noise, .. } = *self.design;
        let d = self.problem.shape.head_dim;
        let mut done = Simulated {
            o: Vec::with_capacity(self.rows.len() * d),
            lse: Vec::with_capacity(self.rows.len()),
        };
        for (row, state) in self.state.iter().enumerate() {
            let place = self.first_row + row;
            let o = &self.o[row * self.inputs.depth..][..d];
            if state.max == f32::NEG_INFINITY {
                done.o.extend(o.iter().map(|_| 0.0));
                done.lse.push(f32::NEG_INFINITY);
                continue;
            }
            let sum = tree(&state.sum);
            done.o.extend(
                o.iter()
                    .map(|&o| noise.divide(o, sum, method.reciprocal, place)),
            );
            let log2 = noise.lg2(sum, place);
            done.lse
                .push(state.max * self.problem.scale + log2 * std::f32::consts::LN_2);
        }
        done
    }
}

fn low(bits: u32) -> u16 {
    crate::convert::low_u16(bits)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bound::{Arithmetic, Bound, Generation};
    use crate::case::Case;
    use crate::kernel::method::{EmptyRow, Exponential, Logarithm, LseBase, Reciprocal, Rounding};
    use crate::verdict::judge;
    use flashproof_reference::{attention, random};

    fn method(p_dtype: DType, tiles: (u32, u32), score: ScoreScaling) -> Method {
        Method {
            tile_q: tiles.0,
            tile_kv: tiles.1,
            p_dtype,
            score,
            exponential: Exponential::Ex2ApproxFtz,
            logarithm: Logarithm::Lg2ApproxFtz,
            reciprocal: Reciprocal::RcpApproxFtz,
            output_rounding: Rounding::NearestEven,
            row_sum_lanes: 4,
        }
    }

    #[test]
    fn a_right_kernel_agrees_on_every_kind_of_case() {
        let mut compared = [0; 2];
        for seed in 0..60 {
            let bytes: Vec<u8> = (0..4)
                .flat_map(|word| random::bits(seed, word).to_le_bytes())
                .collect();
            let mut case = Case::from_bytes("k", &bytes);
            case.shape.seqlen_q = case.shape.seqlen_q.min(80);
            case.shape.seqlen_kv = case.shape.seqlen_kv.min(150);
            case.layout.global.clear();
            case.layout.sinks = case.layout.sinks.min(case.shape.seqlen_kv);
            let Ok(problem) = case.problem() else {
                continue;
            };
            let even = seed.is_multiple_of(2);
            let target = if even { Target::Sm80 } else { Target::Sm90 };
            let generation = if even {
                Generation::Ampere
            } else {
                Generation::Hopper
            };
            let score = if seed % 3 == 0 {
                ScoreScaling::Fused
            } else {
                ScoreScaling::SubtractThenScale
            };
            let method = method(case.dtype, if even { (64, 64) } else { (48, 32) }, score);
            let design = Design {
                method,
                target,
                noise: Noise::Largest,
            };
            let answer = attention(&problem).unwrap();
            let arithmetic = Arithmetic::of(&method, LseBase::E, generation);
            let bound = Bound::of(&problem, &answer, &arithmetic);
            let outcome = run(&problem, &design).outcome(case.dtype);
            let verdict = judge(&problem, &answer, &bound, EmptyRow::Zero, &outcome);
            assert_eq!(verdict.name(), "agree", "{case}: {verdict}");
            compared[usize::from(case.dtype == DType::F16)] += answer.o.len();
        }
        println!("{compared:?}");
        assert!(
            compared[0] > 10_000 && compared[1] > 100_000,
            "{compared:?}"
        );
    }
}
