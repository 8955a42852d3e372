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
//! | argument of the exponential | as [`ScoreScaling`](crate::kernel::method::ScoreScaling) says, in f32 |
//! | exponential, reciprocal, logarithm | the nearest f32, or off by as much as PTX allows ([`Noise`]) |
//! | row sum | lanes as in an accumulator fragment (two neighbouring keys a lane), then as a tree, of unrounded weights |
//! | row that sees no key | `o = 0`, `lse = -inf` |
//!
//! What it is for: a bound must hold on it, and a fault planted in it must be found. What it
//! is not: a model of memory, of warps or of time. Faults of those are planted in real kernels (`cuda/defects`).

mod approximate;
mod cta;
mod fault;
mod product;
mod visibility;

pub use approximate::Noise;
pub use fault::Fault;

use crate::convert::{f64_to_bf16, f64_to_f16, index};
use crate::kernel::method::Method;
use crate::outcome::{Outcome, Output};
use crate::vm::Target;
use crate::vm::tensor_core::Accumulator;
use cta::Cta;
use flashproof_reference::{DType, Problem, Tensor};
use product::{DEPTH, Unit, padded_bits};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use visibility::{Rule, Tile, entries};

/// A kernel to simulate.
#[derive(Clone, Debug)]
pub struct Design {
    /// Tiles, formats and functions; `p_dtype` is the format of the inputs, or f32 for weights that are not rounded and
    /// a product with v in f32.
    pub method: Method,
    /// Whose tensor cores.
    pub target: Target,
    /// What the approximate functions do.
    pub noise: Noise,
    /// A logit a query head that joins every row sum, in natural units and not scaled; none where empty.
    pub sink_logits: Vec<f32>,
    /// Tiles are skipped by threshold (BSFA).
    pub thresholds: Option<Thresholds>,
}

impl Design {
    /// One without sinks or skipping.
    pub fn new(method: Method, target: Target, noise: Noise) -> Self {
        Self {
            method,
            target,
            noise,
            sink_logits: Vec::new(),
            thresholds: None,
        }
    }
}

/// Which tiles a block-sparse kernel of the kind of BSFA (arXiv 2512.07011) skips: all but the last of a row's list
/// whose largest visible scaled score is below the row's threshold.
#[derive(Clone, Debug, PartialEq)]
pub struct Thresholds {
    /// (`num_q_heads`, positions), natural logarithm.
    pub values: Vec<f32>,
    /// Positions of a head: a tile of queries beyond them has the last.
    pub positions: usize,
}

impl Thresholds {
    /// The threshold of a head at a position.
    pub fn at(&self, head: usize, position: usize) -> f32 {
        self.values[head * self.positions + position.min(self.positions - 1)]
    }
}

/// What a simulated kernel computed.
#[derive(Clone, Debug, Default)]
pub struct Simulated {
    /// Outputs before their last rounding (batch, `num_q_heads`, `seqlen_q`, `head_dim`).
    pub o: Vec<f32>,
    /// Log-sum-exps, natural (batch, `num_q_heads`, `seqlen_q`).
    pub lse: Vec<f32>,
    /// Tiles of keys that each CTA visited (batch, `num_q_heads`, tiles of queries).
    pub visits: Vec<usize>,
    /// Tiles that took part, for each CTA and tile of keys: what a kernel that skips exports.
    pub kept: Vec<bool>,
}

impl Simulated {
    /// The run, as a backend would report it.
    pub fn outcome(&self, dtype: DType) -> Outcome {
        let wide = || self.o.iter().map(|&o| f64::from(o));
        let o = match dtype {
            DType::F16 => Tensor::F16(wide().map(f64_to_f16).collect()),
            DType::Bf16 => Tensor::Bf16(wide().map(f64_to_bf16).collect()),
            DType::F32 => Tensor::F32(self.o.clone()),
            DType::F64 => Tensor::F64(self.o.iter().map(|&x| f64::from(x)).collect()),
        };
        Outcome::Finished(Output {
            o,
            lse: self.lse.clone(),
            kept: None,
            findings: Vec::new(),
        })
    }
}

/// Runs a right kernel on a problem.
pub fn run(problem: &Problem, design: &Design) -> Simulated {
    Simulator::new(problem, design.clone()).run(Fault::None)
}

/// Scores of a query head with a key head, (`seqlen_q`, `seqlen_kv`), by those heads.
type Scores = BTreeMap<(usize, usize), Arc<Vec<f32>>>;

/// A kernel on a problem, ready to run with any fault: scores and masks are computed once.
#[derive(Debug)]
pub struct Simulator<'a> {
    problem: &'a Problem,
    design: Design,
    inputs: Inputs,
    scores: Mutex<Scores>,
    plan: Plan,
}

/// Operands as bits, each row padded to the depth of an instruction.
#[derive(Debug)]
struct Inputs {
    q: Vec<u32>,
    k: Vec<u32>,
    v: Vec<u32>,
    /// Elements of a padded row.
    depth: usize,
}

/// What each tile of keys is to each tile of queries, by query head; one entry where all heads are alike.
type Plan = Vec<Vec<Vec<Tile>>>;

impl<'a> Simulator<'a> {
    /// Prepares.
    pub fn new(problem: &'a Problem, design: Design) -> Self {
        let d = problem.shape.head_dim;
        let [q, k, v] = [&problem.q, &problem.k, &problem.v].map(|tensor| padded_bits(tensor, d));
        let inputs = Inputs {
            q,
            k,
            v,
            depth: d.next_multiple_of(DEPTH),
        };
        let plan = plan(problem, &design.method, Fault::None);
        Self {
            problem,
            design,
            inputs,
            scores: Mutex::default(),
            plan,
        }
    }

    /// Runs the kernel with a fault.
    pub fn run(&self, fault: Fault) -> Simulated {
        let shape = self.problem.shape;
        let faulty = changes_plan(fault).then(|| plan(self.problem, &self.design.method, fault));
        let plan = faulty.as_ref().unwrap_or(&self.plan);
        let rows_of_tiles = shape.seqlen_q.div_ceil(self.tile_q());
        let ctas: Vec<Simulated> = (0..shape.batch * shape.num_q_heads * rows_of_tiles)
            .into_par_iter()
            .map(|cta| {
                let (head, row) = (cta / rows_of_tiles, cta % rows_of_tiles);
                let tiles = of_head(plan, head % shape.num_q_heads);
                Cta::new(self, fault, head, row, tiles).run()
            })
            .collect();
        let mut all = Simulated::default();
        for cta in ctas {
            all.o.extend(cta.o);
            all.lse.extend(cta.lse);
            all.visits.extend(cta.visits);
            all.kept.extend(cta.kept);
        }
        all
    }

    /// Tiles of keys of which a CTA sees any, for each CTA: what a right kernel visits.
    pub fn visits_needed(&self) -> Vec<usize> {
        let shape = self.problem.shape;
        (0..shape.batch * shape.num_q_heads)
            .flat_map(|head| of_head(&self.plan, head % shape.num_q_heads))
            .map(|tiles| entries(tiles).len())
            .collect()
    }

    fn tile_q(&self) -> usize {
        index(self.design.method.tile_q).max(1)
    }

    fn tile_kv(&self) -> usize {
        index(self.design.method.tile_kv).max(1)
    }

    /// Scores before their scale of a (batch, query head) with a (batch, key head).
    fn scores(&self, q_head: usize, kv_head: usize) -> Arc<Vec<f32>> {
        let known = |scores: &Scores| scores.get(&(q_head, kv_head)).cloned();
        let lock = || self.scores.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known(&lock()) {
            return found;
        }
        let shape = self.problem.shape;
        let (n, depth) = (shape.seqlen_kv, self.inputs.depth);
        let q = &self.inputs.q[q_head * shape.seqlen_q * depth..][..shape.seqlen_q * depth];
        let k = &self.inputs.k[kv_head * n * depth..][..n * depth];
        let mut scores = vec![0.0; shape.seqlen_q * n];
        let unit = Unit::of(self.design.target, self.problem.dtype(), Accumulator::F32);
        unit.accumulate(q, k, depth, &mut scores);
        let scores = Arc::new(scores);
        lock().insert((q_head, kv_head), Arc::clone(&scores));
        scores
    }
}

/// Whether a fault is one of what is visible: then it has a plan of its own.
fn changes_plan(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::WindowLeftWide
            | Fault::WindowLeftNarrow
            | Fault::WindowRightWide
            | Fault::WindowRightClamped
            | Fault::WindowIgnored
            | Fault::DiagonalTopLeft
            | Fault::CausalSeesNext
            | Fault::BlockSizesSwapped
            | Fault::BlocksIgnored
            | Fault::SinksIgnored
            | Fault::PackedPosition
            | Fault::FirstHeadPattern
            | Fault::LastKeyHidden
    )
}

fn of_head(plan: &Plan, q_head: usize) -> &[Vec<Tile>] {
    plan.get(q_head).or(plan.first()).map_or(&[], Vec::as_slice)
}

fn plan(problem: &Problem, method: &Method, fault: Fault) -> Plan {
    let shape = problem.shape;
    let (tile_q, tile_kv) = (index(method.tile_q).max(1), index(method.tile_kv).max(1));
    let heads = if problem.layout.pattern_count() <= 1 {
        1
    } else {
        shape.num_q_heads
    };
    (0..heads)
        .map(|q_head| {
            let rule = Rule::new(&problem.layout, &shape, q_head, fault);
            (0..shape.seqlen_q.div_ceil(tile_q))
                .into_par_iter()
                .map(|row| {
                    let rows = row * tile_q..((row + 1) * tile_q).min(shape.seqlen_q);
                    (0..shape.seqlen_kv)
                        .step_by(tile_kv)
                        .map(|first| rule.tile(rows.clone(), first, tile_kv))
                        .collect()
                })
                .collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bound::{Arithmetic, Bound, Generation};
    use crate::case::Case;
    use crate::kernel::method::{
        EmptyRow, Exponential, Logarithm, LseBase, Reciprocal, Rounding, ScoreScaling,
    };
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
            let design = Design::new(method, target, Noise::Largest);
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
