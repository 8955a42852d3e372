//! The roundings of a result made elsewhere: what its maker states, and the worst of the usual ways for the rest.
//!
//! # What is assumed
//!
//! One pass of online softmax over keys in f32 (the method of the module above), in which
//!
//! * products of 16-bit numbers are exact and summed on the target's tensor cores, products of f32 in f32 (TF32 is
//!   another format, and its outputs are rightly found outside);
//! * a score is scaled after its product is summed, not before (a `q` that was scaled and rounded again is another `q`);
//! * a weight is rounded once to the stated format, before the division by the row sum, which adds unrounded weights.
//!
//! # What is not stated
//!
//! | unknown | taken | why nothing usual is worse |
//! |---|---|---|
//! | score to argument | 4 u per unit of difference, 2 u per unit of `max(abs(score), abs(row_max))`, also when rescaling | at most two roundings of the score by itself (scale, then log2 e), two constants, the subtraction, and a product after it |
//! | exponential | 2.5 ulp | `ex2.approx` and `expf` are within 2 ulp of a rounded result |
//! | division | 2 ulp | `div.full`, or `rcp.approx` and a product |
//! | logarithm | `lg2.approx` | `logf` is within 1 ulp |
//! | row sum | any order | one lane, every addition counted |
//! | base of `lse` | the three roundings of a change of base | none is made otherwise |
//! | `tile_kv` | 8 with 16-bit weights, else 1 | below |
//!
//! Tiles enter by how many there are: each may rescale once more, and each ends a sum of products. If one tile size is
//! a multiple of another, its tiles are unions of the other's, so there are no more of them that hold a visible key. A
//! product on tensor cores takes at least 8 keys at a time (`mma` with k = 8 or 16), in which weights of hidden keys are
//! zeros and add nothing, so 8 stands for every multiple of 8; and in f32, where a kernel may go key by key, 1 stands
//! for all.

use super::arithmetic::{Arithmetic, Generation, Sums, U};
use crate::kernel::method::{
    Exponential, Logarithm, LseBase, Method, Reciprocal, Rounding, ScoreScaling,
};
use flashproof_reference::DType;

/// What the maker of a result states about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// Format of q, k and v.
    pub dtype: DType,
    /// Format of a weight as an operand of the product with v.
    pub p_dtype: DType,
    /// Keys between two updates of the row maximum, if known.
    pub tile_kv: Option<u32>,
    /// Whose tensor cores.
    pub generation: Generation,
}

/// Formats for which no bound is derived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoBound {
    /// Weights are narrower than the inputs.
    #[error(
        "weights in {p_dtype} with inputs in {dtype}: v would be rounded to {p_dtype} too, for which there is no bound; \
         weights must be {dtype} or f32"
    )]
    Narrower {
        /// Format of the inputs.
        dtype: DType,
        /// Format of the weights.
        p_dtype: DType,
    },
    /// Computed in f64.
    #[error(
        "f64: every bound is one of sums in f32, and none is derived for f64; `answer` gives the reference's result"
    )]
    F64,
}

impl Elsewhere {
    /// The tile size that is counted: the one stated, or the smallest.
    pub fn tile_kv(&self) -> u32 {
        self.tile_kv.unwrap_or(match self.p_dtype {
            DType::F16 | DType::Bf16 => 8,
            DType::F32 | DType::F64 => 1,
        })
    }

    /// Every rounding that such a result may have seen.
    ///
    /// ```
    /// use flashproof::bound::{Elsewhere, Generation};
    /// use flashproof_reference::DType::{F16, F32};
    /// let of = |dtype, p_dtype| Elsewhere { dtype, p_dtype, tile_kv: None, generation: Generation::Any }.arithmetic();
    /// assert_eq!(of(F16, F16).map(|arithmetic| arithmetic.tile_kv), Ok(8));
    /// assert!(of(F32, F16).is_err());
    /// ```
    ///
    /// # Errors
    /// [`NoBound`] where weights are narrower than the inputs, or anything is f64.
    pub fn arithmetic(&self) -> Result<Arithmetic, NoBound> {
        let Self { dtype, p_dtype, .. } = *self;
        if dtype == DType::F64 || p_dtype == DType::F64 {
            return Err(NoBound::F64);
        }
        if p_dtype != dtype && p_dtype != DType::F32 {
            return Err(NoBound::Narrower { dtype, p_dtype });
        }
        let method = Method {
            tile_q: 1,
            tile_kv: self.tile_kv(),
            p_dtype,
            score: ScoreScaling::Fused,
            exponential: Exponential::Ex2Approx,
            logarithm: Logarithm::Lg2Approx,
            reciprocal: Reciprocal::RcpApproxFtz,
            output_rounding: Rounding::NearestEven,
            row_sum_lanes: 1,
        };
        let arithmetic = Arithmetic::of(&method, LseBase::Two, self.generation);
        let sums = match (dtype, p_dtype) {
            // The scores come from tensor cores, the outputs from anything that is not narrower than f32: Ampere's
            // 11 u for each 8 products is more than Hopper's 10.5 u for each 16, and more than the 9 u of f32.
            (DType::F16 | DType::Bf16, DType::F32) => Sums::TensorCore {
                terms: 8,
                fraction_bits: 24,
                exponent_min: if dtype == DType::F16 { -14 } else { -126 },
            },
            (DType::F16 | DType::Bf16, DType::F16 | DType::Bf16)
            | (DType::F32 | DType::F64, _)
            | (_, DType::F64) => arithmetic.sums,
        };
        Ok(Arithmetic {
            sums,
            // A maximum may be left as it is until it has grown by much, and weights exceed 1 meanwhile.
            subtracts_max: false,
            argument_difference: 4.0 * U,
            argument_magnitude: 2.0 * U,
            ..arithmetic
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bound::Bound;
    use crate::case::Case;
    use crate::kernel;
    use flashproof_reference::attention;

    fn stated(dtype: DType, p_dtype: DType, tile_kv: Option<u32>) -> Elsewhere {
        Elsewhere {
            dtype,
            p_dtype,
            tile_kv,
            generation: Generation::Ampere,
        }
    }

    #[test]
    fn knowing_less_never_tightens_a_bound() {
        let manifest = kernel::by_name("block_sparse_sm80").unwrap().manifest();
        for line in [
            "kernel=k seqlen_q=20 seqlen_kv=150 layout=causal values=peaky",
            "kernel=k seqlen_q=9 seqlen_kv=200 layout=blocks(400,16,16,1) values=growing_max dtype=bf16",
        ] {
            let problem = line.parse::<Case>().unwrap().problem().unwrap();
            let answer = attention(&problem).unwrap();
            let dtype = problem.dtype();
            let method = manifest.method.for_inputs(dtype);
            let known = Arithmetic::of(&method, manifest.lse_base, Generation::Ampere);
            let bounds: Vec<Bound> = [
                known,
                stated(dtype, dtype, Some(method.tile_kv))
                    .arithmetic()
                    .unwrap(),
                stated(dtype, dtype, None).arithmetic().unwrap(),
            ]
            .iter()
            .map(|arithmetic| Bound::of(&problem, &answer, arithmetic))
            .collect();
            for two in bounds.windows(2) {
                assert!(
                    two[0]
                        .o
                        .iter()
                        .zip(&two[1].o)
                        .all(|(more, less)| more <= less)
                );
                assert!(
                    two[0]
                        .lse
                        .iter()
                        .zip(&two[1].lse)
                        .all(|(more, less)| more <= less)
                );
            }
            let widest = |bound: &Bound| bound.o.iter().copied().fold(0.0, f64::max);
            assert!(
                widest(&bounds[2]) < 4.0 * widest(&bounds[0]),
                "{:e} {:e}: the price of not knowing",
                widest(&bounds[2]),
                widest(&bounds[0])
            );
        }
    }

    #[test]
    fn narrower_weights_than_inputs_have_no_bound() {
        let error = stated(DType::F32, DType::F16, None)
            .arithmetic()
            .unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("weights in f16 with inputs in f32:")
        );
        for dtype in [DType::F16, DType::Bf16, DType::F32] {
            assert!(stated(dtype, DType::F32, None).arithmetic().is_ok());
            assert!(stated(dtype, dtype, None).arithmetic().is_ok());
        }
    }
}
