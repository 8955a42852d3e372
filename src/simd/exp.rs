//! The exponential of f32 in the native backend.
//!
//! `x = n ln 2 + r`, `n` whole, `|r| <= 0.3466`; `ln 2` is in two parts, of which the first has 9 bits, so that its
//! product with `n` is exact. `e^r` is Taylor's polynomial of degree 7, whose remainder `r^8 / 8!` is below `2^-27`
//! relative, and `2^n` is put into the exponent.
//!
//! Error: the last addition rounds by half an ulp of the result; where the result is below 1, the roundings of `r` and of
//! `r + r^2 (..)`, both below 1/2, add a quarter each, and the remainder and the rest below a tenth: **1.1 ulp**, relative
//! `1.1 * 2^-23`, is what a bound may rely on. Measured over every f32 of `-87..=0` against the reference's f64
//! exponential (test `every_f32`): 1.06 ulp where multiply-add is fused, 1.03 where it is not. Below -87 the result is 0,
//! which is off by less than `e^-87 < 2^-125`.

use super::products::Products;
use super::vector::Vector;
use super::{LANES, Lanes, Task};

/// Differences from the row maximum below this have weight 0.
pub const WEIGHT_ZERO_BELOW: f32 = -87.0;

/// The upper 9 bits of ln 2, rounded up.
const LN_2_HIGH: f32 = f32::from_bits(0x3f31_8000);
/// ln 2 less its upper part.
const LN_2_LOW: f32 = -2.121_944_4e-4;
/// 1.5 * 2^23: adding it leaves a whole number in the low bits of the sum.
const TO_WHOLE: f32 = 12_582_912.0;

/// `e^x` for `x <= 0`, within 1.1 ulp; 0 below [`WEIGHT_ZERO_BELOW`]; NaN for NaN. (Positive numbers up to 88 work as well.)
#[inline(always)]
pub(super) fn exp_lane<V: Vector>(x: f32) -> f32 {
    let shifted = multiply_add::<V>(x, std::f32::consts::LOG2_E, TO_WHOLE);
    let n = shifted - TO_WHOLE;
    let r = multiply_add::<V>(n, -LN_2_HIGH, x);
    let r = multiply_add::<V>(n, -LN_2_LOW, r);
    let mut series = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5] {
        series = multiply_add::<V>(series, r, coefficient);
    }
    let e_to_r = 1.0 + multiply_add::<V>(r * r, series, r);
    // The low 9 bits of `shifted` hold n: with the bias they are the exponent field of 2^n.
    let e_to_x = e_to_r * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    if x < WEIGHT_ZERO_BELOW { 0.0 } else { e_to_x }
}

/// `a * b + c`, rounded as the vectors do.
#[inline(always)]
fn multiply_add<V: Vector>(a: f32, b: f32, c: f32) -> f32 {
    if V::FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// Replaces every number by its exponential.
pub(super) struct ExpTask<'a>(pub(super) &'a mut Lanes);

impl Task for ExpTask<'_> {
    #[inline(always)]
    fn run<V: Vector, const ROWS: usize, const CHUNKS: usize>(self) {
        for x in self.0 {
            *x = exp_lane::<V>(*x);
        }
    }
}

/// Replaces every number of a slice by its exponential.
pub(super) struct ExpsTask<'a>(pub(super) &'a mut [f32]);

impl Task for ExpsTask<'_> {
    #[inline(always)]
    fn run<V: Products, const ROWS: usize, const CHUNKS: usize>(self) {
        let (groups, rest) = self.0.as_chunks_mut::<LANES>();
        for group in groups {
            ExpTask(group).run::<V, ROWS, CHUNKS>();
        }
        for x in rest {
            *x = exp_lane::<V>(*x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Level;
    use flashproof_reference::exp::exp as exact;

    /// Error of an approximation in ulps of f32 at the exact value.
    fn error_ulps(approximate: f32, exact: f64) -> f64 {
        let exponent = i32::try_from(exact.to_bits() >> 52).unwrap() - 1023;
        (f64::from(approximate) - exact).abs() * 2f64.powi(23 - exponent)
    }

    /// The largest error over every `step`-th f32 of `-87..=0`.
    fn worst(level: Level, step: usize) -> f64 {
        let last = WEIGHT_ZERO_BELOW.to_bits();
        let mut worst: f64 = 0.0;
        for start in (0x8000_0000..=last).step_by(step * LANES) {
            let mut x = [0.0; LANES];
            for (lane, bits) in x.iter_mut().zip((start..=last).step_by(step)) {
                *lane = f32::from_bits(bits);
            }
            let mut y = x;
            level.run(ExpTask(&mut y));
            for (&x, y) in x.iter().zip(y) {
                worst = worst.max(error_ulps(y, exact(f64::from(x))));
            }
        }
        worst
    }

    #[test]
    fn a_sample_of_all_f32_is_within_the_bound() {
        for level in Level::available() {
            let worst = worst(level, 4001);
            assert!(worst <= 1.1, "{}: off by {worst} ulp", level.name());
            assert!(worst > 0.5, "the measure sees nothing: {worst} ulp");
        }
    }

    #[test]
    #[ignore = "half a minute a level: the measurement that the module states"]
    fn every_f32() {
        for level in Level::available() {
            let worst = worst(level, 1);
            println!("{}: {worst} ulp", level.name());
            assert!(worst <= 1.1);
        }
    }

    #[test]
    fn ends() {
        for level in Level::available() {
            assert_eq!(level.exp(0.0).to_bits(), 1f32.to_bits());
            assert_eq!(level.exp(-0.0).to_bits(), 1f32.to_bits());
            assert!(level.exp(WEIGHT_ZERO_BELOW) > 0.0);
            for x in [WEIGHT_ZERO_BELOW.next_down(), -1e30, f32::NEG_INFINITY] {
                assert_eq!(level.exp(x).to_bits(), 0, "exp({x})");
            }
            assert!(level.exp(f32::NAN).is_nan());
        }
    }
}
