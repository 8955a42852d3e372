//! The roundings a bound is made of: a kernel's manifest and its target, as numbers.

use crate::convert::usize_to_f64;
use crate::kernel::method::{
    Exponential, Logarithm, LseBase, Method, Reciprocal, Rounding, ScoreScaling,
};
use flashproof_reference::DType;

/// Half the distance from 1 to the next `f32`: the relative error of one operation that rounds to nearest.
pub(super) const U: f64 = 1.0 / 16_777_216.0;
/// A little more than 1: pays for terms of second order and for the rounding of the bound's own sums, at most 2^20 of
/// them, in f64.
pub(super) const SLACK: f64 = 1.001;

/// How sums of products are formed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sums {
    /// Tensor cores: blocks of `terms` products, aligned with the accumulator to the largest exponent, cut to
    /// `fraction_bits` fraction bits below it, added, and cut to f32; blocks are chained.
    TensorCore {
        /// Products of a block.
        terms: usize,
        /// Fraction bits that survive the alignment.
        fraction_bits: i32,
        /// Exponent of the smallest normal operand: a subnormal one counts as this for the alignment.
        exponent_min: i32,
    },
    /// f32 products and sums rounded to nearest, in any order, fused or not.
    Nearest,
}

/// Every rounding of a kernel that a bound counts, relative unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arithmetic {
    /// Sums of both products.
    pub sums: Sums,
    /// Keys between two updates of the row maximum.
    pub tile_kv: usize,
    /// In which order tiles of `tile_kv` keys (tile `t` begins with key `t * tile_kv`) come, where that is known; what a
    /// replay needs.
    pub tile_order: Option<TileOrder>,
    /// Format of a weight as an operand of the second product.
    pub p_dtype: DType,
    /// Whether the running maximum itself is subtracted, so that the largest weight of a row is 1.
    pub subtracts_max: bool,
    /// Lanes that share a row's sum of weights.
    pub row_sum_lanes: usize,
    /// Of the argument of the exponential, per unit of `row_max - score` (in natural units).
    pub argument_difference: f64,
    /// Of the argument of the exponential, per unit of `max(|score|, |row_max|)`.
    pub argument_magnitude: f64,
    /// Whether rescaling factors carry `argument_magnitude` too.
    pub rescale_magnitude: bool,
    /// Of the exponential.
    pub exponential: f64,
    /// Of a weight when it becomes an operand of the second product.
    pub weight: f64,
    /// The same, absolute, for weights below `weight_normal`.
    pub weight_tiny: f64,
    /// Smallest weight whose rounding is relative.
    pub weight_normal: f64,
    /// Of the final division.
    pub division: f64,
    /// Of the logarithm in base 2: absolute for row sums below 2, relative above.
    pub logarithm: f64,
    /// Of `lse`, per unit of `|row_max|`.
    pub lse_max: f64,
    /// Of `lse`, per unit of `|lse|`.
    pub lse_result: f64,
}

pub use crate::kernel::method::TileOrder;

/// Numerics of a matrix unit whose bits the virtual machine has, or that a device may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// `sm_80`, `sm_86`, `sm_89`: blocks of 8 products, 24 fraction bits.
    Ampere,
    /// `sm_90` and the `mma.sync` of `sm_100`: blocks of 16 products, 25 fraction bits.
    Hopper,
    /// Not known which: the larger error of the two, which is Ampere's (9 * 2^-24 for each 8 products against 17 * 2^-25
    /// for each 16).
    Any,
}

impl Arithmetic {
    /// The roundings that a kernel's manifest states, on a generation of tensor cores.
    ///
    /// | number | value | source |
    /// |---|---|---|
    /// | tensor cores | 8 products and 24 bits, or 16 and 25 | MMA-Sim (arXiv 2511.10909), confirmed by the hardware vectors that the virtual machine is tested on |
    /// | `ex2.approx` | `2.5 * 2^-23` | PTX ISA: 2 ulp from the correctly rounded result, which is half an ulp off |
    /// | `lg2.approx` | `2^-22` | PTX ISA |
    /// | `rcp.approx` | `1.5 * 2^-23` | PTX ISA: 1 ulp, likewise |
    /// | `scale_log2` | `u` | `RN` of a product of f64, by the host |
    pub fn of(method: &Method, lse_base: LseBase, generation: Generation) -> Self {
        let Method {
            p_dtype,
            score,
            exponential,
            logarithm,
            reciprocal,
            output_rounding,
            ..
        } = *method;
        let Rounding::NearestEven = output_rounding; // the interval test rounds the bound's ends the same way
        let (terms, fraction_bits) = match generation {
            Generation::Ampere | Generation::Any => (8, 24),
            Generation::Hopper => (16, 25),
        };
        let (weight, weight_tiny, weight_normal, exponent_min) = match p_dtype {
            DType::F16 => (power(-11), power(-25), power(-14), -14),
            DType::Bf16 => (power(-8), power(-134), power(-126), -126),
            DType::F32 | DType::F64 => (0.0, 0.0, 0.0, -126),
        };
        let sums = match p_dtype {
            DType::F16 | DType::Bf16 => Sums::TensorCore {
                terms,
                fraction_bits,
                exponent_min,
            },
            DType::F32 | DType::F64 => Sums::Nearest,
        };
        let (argument_difference, argument_magnitude, rescale_magnitude) = match score {
            // The difference, scale_log2 and the product round once each.
            ScoreScaling::SubtractThenScale => (3.0 * U, 0.0, false),
            // scale_log2 and the fused result round per unit of the difference, RN(row_max * scale_log2) per unit of
            // the maximum. The manifest does not say how rescaling factors are made: the worse of both ways.
            ScoreScaling::Fused => (3.0 * U, U, true),
        };
        let exponential = match exponential {
            Exponential::Ex2ApproxFtz | Exponential::Ex2Approx => 5.0 * U,
        };
        let division = match reciprocal {
            Reciprocal::RcpRn => 2.0 * U,
            // One ulp and a rounding; or two ulp.
            Reciprocal::RcpApproxFtz | Reciprocal::DivFull => 4.0 * U,
            Reciprocal::DivRn => U,
        };
        let logarithm = match logarithm {
            Logarithm::Lg2ApproxFtz | Logarithm::Lg2Approx => power(-22),
        };
        let (lse_max, lse_result) = match lse_base {
            // RN(row_max * scale), or scale_log2 and ln 2 and two products; then the sum.
            LseBase::E => (4.0 * U, U),
            // The same in base 2, then ln 2 and its product when the base is changed.
            LseBase::Two => (4.0 * U, 3.0 * U),
        };
        Self {
            sums,
            tile_kv: index(method.tile_kv),
            tile_order: None,
            p_dtype,
            subtracts_max: true,
            row_sum_lanes: index(method.row_sum_lanes),
            argument_difference,
            argument_magnitude,
            rescale_magnitude,
            exponential,
            weight,
            weight_tiny,
            weight_normal,
            division,
            logarithm,
            lse_max,
            lse_result,
        }
    }

    /// The same of a kernel whose tiles come in a known order.
    pub fn with_tile_order(self, tile_order: Option<TileOrder>) -> Self {
        Self { tile_order, ..self }
    }

    /// Whether the kernel's rounded weights can be worked out: their format is narrow and the schedule is known.
    pub fn replays(&self) -> bool {
        self.tile_order.is_some() && self.weight > 0.0
    }

    /// The native backend's roundings, as `backend::native` states them: f32 throughout, two passes (so one tile and no
    /// rescaling), weights not rounded, a logarithm in f64.
    pub fn native(seqlen_kv: usize) -> Self {
        Self {
            sums: Sums::Nearest,
            tile_kv: seqlen_kv.max(1),
            tile_order: None,
            p_dtype: DType::F32,
            subtracts_max: true,
            row_sum_lanes: 16,
            argument_difference: U,
            argument_magnitude: U, // the product of a score with the scale
            rescale_magnitude: false,
            exponential: 2.0 * U,
            weight: 0.0,
            weight_tiny: 0.0,
            weight_normal: 0.0,
            division: U,
            logarithm: power(-50),
            lse_max: 0.0,
            lse_result: U,
        }
    }

    /// Relative error of a sum of `count` products, in units of what no partial sum of them exceeds in magnitude
    /// (subnormal operands raised to the smallest normal number), `chains` of them one after the other on one accumulator.
    ///
    /// Tensor cores, one block: `|d - (c + sum a b)| <= 2^-23 |d| + (terms + 1) 2^-F max(|c|, max |a b|)`: the result
    /// is cut to 24 bits, and each of `terms + 1` addends is cut to a multiple of `2^(E - F)`, where `2^E` is at most
    /// the largest magnitude. Every product and every partial sum is at most `A`, the larger of the sum of all positive
    /// and that of all negative products, whatever the order (plus the error so far), so `b` blocks give at most `A ((1 + k)^b - 1)` with `k = (2^-23 + (terms + 1) 2^-F) / (1 - 2^-23)`.
    ///
    /// Nearest: at most `count` sums, each off by `u` of its result; the roundings of products are `u` of the sum of
    /// their magnitudes, at most `2 A`: `A ((1 + u)^(count + 2) - 1)`.
    pub(super) fn sum_error(&self, count: usize, chains: usize) -> f64 {
        let roundings = match self.sums {
            Sums::TensorCore {
                terms,
                fraction_bits,
                ..
            } => {
                let block = power(-23) + usize_to_f64(terms + 1) * power(-fraction_bits);
                usize_to_f64(chains * count.div_ceil(terms)) * block / (1.0 - power(-23))
            }
            Sums::Nearest => usize_to_f64(chains * count + 2) * U,
        };
        compounded(roundings)
    }

    /// Error of a score before its scale: a sum of `head_dim` products whose magnitudes, operands raised to the smallest
    /// normal number of their format, sum to `magnitude`.
    pub fn score_error(&self, head_dim: usize, magnitude: f64) -> f64 {
        self.sum_error(head_dim, 1) * magnitude
    }

    /// One block of a sum of `count` products: how many products; what it adds per unit of its largest addend; and per
    /// unit of its result.
    pub(super) fn block(&self, count: usize) -> (usize, f64, f64) {
        match self.sums {
            Sums::TensorCore {
                terms,
                fraction_bits,
                ..
            } => (
                terms,
                usize_to_f64(terms + 1) * power(-fraction_bits),
                power(-23) / (1.0 - power(-23)),
            ),
            Sums::Nearest => (count.max(1), usize_to_f64(count + 1) * U, 0.0),
        }
    }

    /// The same of the second product: `n` keys in `tiles` tiles.
    pub(super) fn output_error(&self, n: usize, tiles: usize) -> f64 {
        match self.sums {
            Sums::TensorCore { .. } => self.sum_error(self.tile_kv, tiles),
            Sums::Nearest => self.sum_error(n, 1),
        }
    }

    /// What `keys` keys in a row add to the error of an accumulator, per unit of its largest magnitude meanwhile.
    pub(super) fn chained_error(&self, keys: usize) -> f64 {
        match self.sums {
            Sums::TensorCore { .. } => self.sum_error(keys, 1),
            Sums::Nearest => usize_to_f64(keys + 1) * U,
        }
    }

    /// The smallest magnitude that an operand counts as.
    pub(super) fn operand_min(&self) -> f64 {
        match self.sums {
            Sums::TensorCore { exponent_min, .. } => power(exponent_min),
            Sums::Nearest => 0.0,
        }
    }
}

/// `(1 + e / n)^n - 1` for any `n`, from above: `e^x - 1 <= x (1 + x)` while `x <= 1`.
pub(super) fn compounded(roundings: f64) -> f64 {
    if roundings <= 1.0 {
        roundings * (1.0 + roundings)
    } else {
        f64::INFINITY
    }
}

/// `2^exponent`, for normal results.
pub(super) fn power(exponent: i32) -> f64 {
    let field = u64::try_from(exponent + 1023).expect("an exponent of a normal f64");
    f64::from_bits(field << 52)
}

fn index(count: u32) -> usize {
    usize::try_from(count).expect("at least 32 bits")
}
