//! Tests of the bounds on simulated kernels: none is exceeded, each is as tight as it was, and every term is needed.

use super::source::half_ulp;
use super::*;
use crate::convert::{f64_to_bf16, f64_to_f16, f64_to_f32, usize_to_f64};
use crate::kernel::method::{
    Exponential, Logarithm, LseBase, Method, Reciprocal, Rounding, ScoreScaling,
};
use crate::simulation::{Design, Noise, run};
use crate::vm::Target;
use flashproof_reference::{DType, Problem, attention};

pub(super) fn method(dtype: DType, tile_kv: u32, score: ScoreScaling) -> Method {
    Method {
        tile_q: 64,
        tile_kv,
        p_dtype: dtype,
        score,
        exponential: Exponential::Ex2ApproxFtz,
        logarithm: Logarithm::Lg2ApproxFtz,
        reciprocal: Reciprocal::RcpApproxFtz,
        output_rounding: Rounding::NearestEven,
        row_sum_lanes: 4,
    }
}

/// What a kernel is and does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) generation: Generation,
    pub(super) score: ScoreScaling,
    pub(super) noise: Noise,
    pub(super) tile_kv: u32,
}

pub(super) const HOPPER: Run = Run {
    generation: Generation::Hopper,
    score: ScoreScaling::SubtractThenScale,
    noise: Noise::Largest,
    tile_kv: 64,
};

/// Observed distances over bounds, element by element.
#[derive(Debug, Default)]
pub(super) struct Ratios {
    /// Outputs over A, B and C as they come, before their last rounding.
    pub(super) raw: [Vec<f64>; 3],
    /// The same once rounded, over the bound and half an ulp of the output.
    pub(super) rounded: [Vec<f64>; 3],
    pub(super) lse: Vec<f64>,
    /// Root mean square of error over standard deviation.
    pub(super) rms: f64,
    /// Outputs it is of.
    pub(super) rms_of: usize,
}

impl Run {
    pub(super) fn arithmetic(&self, dtype: DType) -> Arithmetic {
        Arithmetic::of(
            &method(dtype, self.tile_kv, self.score),
            LseBase::E,
            self.generation,
        )
        .with_tile_order(Some(TileOrder::Ascending))
    }

    pub(super) fn design(&self, dtype: DType) -> Design {
        Design {
            method: method(dtype, self.tile_kv, self.score),
            target: match self.generation {
                Generation::Ampere | Generation::Any => Target::Sm80,
                Generation::Hopper => Target::Sm90,
            },
            noise: self.noise,
            sink_logits: Vec::new(),
            thresholds: None,
        }
    }

    pub(super) fn ratios(&self, problem: &Problem, judged_by: &Arithmetic) -> Ratios {
        let dtype = problem.dtype();
        let answer = attention(problem).unwrap();
        let bound = Bound::of(problem, &answer, judged_by);
        let simulated = run(problem, &self.design(dtype));
        let mut ratios = Ratios::default();
        let over = |distance: f64, bound: f64| {
            if distance <= 0.0 {
                0.0
            } else {
                distance / bound
            }
        };
        let mut squares = 0.0;
        for (index, (&found, &expected)) in simulated.o.iter().zip(&answer.o).enumerate() {
            if !expected.is_finite() || !bound.o[index].is_finite() {
                continue;
            }
            let found = f64::from(found);
            let rounded = match dtype {
                DType::F16 => f64_to_f16(found).to_f64(),
                DType::Bf16 => f64_to_bf16(found).to_f64(),
                DType::F32 => f64::from(f64_to_f32(found)),
                DType::F64 => found,
            };
            let mut centres = vec![(expected, bound.o[index]), (expected, bound.likely[index])];
            if let Some(replayed) = &bound.replayed {
                centres.push((replayed.centre[index], replayed.bound[index]));
            }
            for (which, (centre, bound)) in centres.into_iter().enumerate() {
                ratios.raw[which].push(over((found - centre).abs(), bound));
                let half = half_ulp(centre.abs() + bound, dtype);
                ratios.rounded[which].push(over((rounded - centre).abs(), bound + half));
            }
            if bound.exact[index / problem.shape.head_dim] {
                continue;
            }
            let half = half_ulp(expected, dtype);
            let deviation = bound.deviation[index].hypot(half / 3.0_f64.sqrt());
            squares += over((rounded - expected).abs(), deviation).powi(2);
            ratios.rms_of += 1;
        }
        ratios.rms = f64::sqrt(squares / usize_to_f64(ratios.rms_of.max(1)));
        for (index, (&found, &expected)) in simulated.lse.iter().zip(&answer.lse).enumerate() {
            if expected.is_finite() && bound.lse[index].is_finite() {
                let distance = (f64::from(found) - expected).abs();
                ratios.lse.push(over(distance, bound.lse[index]));
            }
        }
        ratios
    }
}

pub(super) fn median_and_max(ratios: &[f64]) -> (f64, f64) {
    let mut ratios = ratios.to_vec();
    ratios.sort_by(f64::total_cmp);
    (
        ratios.get(ratios.len() / 2).copied().unwrap_or(0.0),
        ratios.last().copied().unwrap_or(0.0),
    )
}
