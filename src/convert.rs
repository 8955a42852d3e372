//! The one place in this package where a number changes to a type that may not hold it.
//!
//! Every function names the rounding. Widenings that lose nothing use `From` where they are needed.

use half::{bf16, f16};

/// Nearest `f32`, ties to even, overflow to infinity.
#[expect(
    clippy::cast_possible_truncation,
    reason = "rounding to nearest is what the function is for"
)]
pub fn f64_to_f32(x: f64) -> f32 {
    x as f32
}

/// Nearest `f16`, ties to even, overflow to infinity, in one rounding.
///
/// `half::f16::from_f64` rounds twice (through `f32`) where the processor converts, so it cannot be used to judge.
pub fn f64_to_f16(x: f64) -> f16 {
    f16::from_bits(narrow(x, 10, 15))
}

/// Nearest `bf16`, ties to even, overflow to infinity, in one rounding.
pub fn f64_to_bf16(x: f64) -> bf16 {
    bf16::from_bits(narrow(x, 7, 127))
}

/// Nearest `f64`; exact below 2^53.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts stay far below 2^53; above, nearest is meant"
)]
pub fn usize_to_f64(count: usize) -> f64 {
    count as f64
}

/// Nearest `f64`; exact below 2^53.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts stay far below 2^53; above, nearest is meant"
)]
pub fn u64_to_f64(count: u64) -> f64 {
    count as f64
}

/// Low 16 bits.
#[inline]
pub fn low_u16(x: u32) -> u16 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the low half is what is asked for"
    )]
    let low = x as u16;
    low
}

/// Low 32 bits.
#[inline]
pub fn low_u32(x: u64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the low half is what is asked for"
    )]
    let low = x as u32;
    low
}

/// Low 64 bits.
#[inline]
pub fn low_u64(x: u128) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the low half is what is asked for"
    )]
    let low = x as u64;
    low
}

/// An index, exact: every supported host has pointers of at least 32 bits.
#[inline]
pub fn index(x: u32) -> usize {
    x as usize
}

/// Integer part toward zero; saturates, NaN gives 0.
#[inline]
pub fn truncate_to_i32(x: f32) -> i32 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "truncation is what is asked for"
    )]
    let integer = x as i32;
    integer
}

/// Integer part toward zero; saturates, NaN gives 0.
#[inline]
pub fn truncate_f64_to_i32(x: f64) -> i32 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "truncation is what is asked for"
    )]
    let integer = x as i32;
    integer
}

/// Integer part toward zero; saturates, NaN gives 0.
#[inline]
pub fn saturate_f64_to_i128(x: f64) -> i128 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "truncation is what is asked for"
    )]
    let integer = x as i128;
    integer
}

/// Rounded to nearest even.
#[inline]
pub fn f64_from_i128(x: i128) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "rounding is what is asked for")]
    let float = x as f64;
    float
}

/// A coordinate of a drawing as a whole pixel, to nearest; beyond `i32` the nearest `i32`, NaN is 0.
#[expect(
    clippy::cast_possible_truncation,
    reason = "saturation is what is asked for"
)]
pub fn pixel(x: f64) -> i32 {
    x.round() as i32
}

/// Round-to-nearest-even of `x` in a 16-bit binary format with `fraction` bits and exponent bias `bias`, as bits.
fn narrow(x: f64, fraction: i32, bias: i32) -> u16 {
    let bits = x.to_bits();
    let sign = low16(bits >> 48) & 0x8000;
    let infinity = low16((u64::try_from(2 * bias + 1).expect("a bias is positive")) << fraction);
    if x.is_nan() {
        return sign | infinity | (1 << (fraction - 1));
    }
    let exponent = i32::from(low16(bits >> 52) & 0x7ff) - 1023;
    if exponent > bias {
        return sign | infinity;
    }
    if exponent == -1023 {
        // A subnormal f64 is far below half of the smallest f16 or bf16.
        return sign;
    }
    let significand = (bits & ((1 << 52) - 1)) | (1 << 52);
    let smallest = 1 - bias;
    let dropped = 52 - fraction + (smallest - exponent).max(0);
    if dropped > 54 {
        return sign;
    }
    let kept = significand >> dropped;
    let rest = significand & ((1 << dropped) - 1);
    let half = 1 << (dropped - 1);
    let up = rest > half || (rest == half && kept & 1 == 1);
    let rounded = low16(kept + u64::from(up));
    // A normal number: the exponent field counts from `smallest`, and the implicit bit adds one to it. A carry out of
    // the fraction, into infinity too, does the right thing by itself.
    let above = u64::try_from((exponent - smallest).max(0)).expect("not negative");
    sign | (low16(above << fraction) + rounded)
}

/// The low 16 bits.
#[expect(
    clippy::cast_possible_truncation,
    reason = "dropping the high bits is what the function is for"
)]
fn low16(bits: u64) -> u16 {
    bits as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    /// The nearest of all finite numbers of a format and its infinities, by search: an independent definition.
    fn nearest(x: f64, all: impl Iterator<Item = (u16, f64)>, limit: f64) -> f64 {
        if x.abs() >= limit {
            return f64::INFINITY.copysign(x);
        }
        let mut best = (0_u16, f64::NAN, f64::INFINITY);
        for (bits, value) in all {
            let distance = (value - x).abs();
            if distance < best.2 || (distance <= best.2 && bits & 1 == 0) {
                best = (bits, value, distance);
            }
        }
        best.1
    }

    #[test]
    fn every_16_bit_float_survives_the_way_through_f64() {
        for bits in 0..=u16::MAX {
            let x = f16::from_bits(bits);
            let y = bf16::from_bits(bits);
            if !x.is_nan() {
                assert_eq!(f64_to_f16(x.to_f64()).to_bits(), bits);
            } else {
                assert!(f64_to_f16(x.to_f64()).is_nan());
            }
            if !y.is_nan() {
                assert_eq!(f64_to_bf16(y.to_f64()).to_bits(), bits);
            } else {
                assert!(f64_to_bf16(y.to_f64()).is_nan());
            }
        }
    }

    #[test]
    fn rounding_is_to_the_nearest_and_ties_go_to_even() {
        let tricky = [
            1.0,
            1.5,
            2.0_f64.powi(-14),
            2.0_f64.powi(-24),
            2.0_f64.powi(-25),
            65504.0,
            65519.999,
            0.3333,
        ];
        for x in tricky {
            for nudge in [
                -1e-15,
                0.0,
                1e-15,
                2.0_f64.powi(-11),
                2.0_f64.powi(-11) * (1.0 + 1e-14),
                -2.0_f64.powi(-12),
            ] {
                let x: f64 = x * (1.0 + nudge);
                let finite = (0..0x7c00_u16).map(|bits| (bits, f16::from_bits(bits).to_f64()));
                let (found, expected) = (f64_to_f16(x).to_f64(), nearest(x, finite, 65520.0));
                assert_eq!(found.to_bits(), expected.to_bits(), "{x:e}");
            }
        }
        // One rounding, not two: just above the midpoint of 1 and 1 + 2^-10, by less than f32 can say.
        let above = 1.0 + 2.0_f64.powi(-11) + 2.0_f64.powi(-40);
        assert_eq!(f64_to_f16(above).to_bits(), 0x3c01);
        assert_eq!(
            f64_to_bf16(1.0 + 2.0_f64.powi(-8) + 2.0_f64.powi(-40)).to_bits(),
            0x3f81
        );
        assert_eq!(f64_to_f16(65520.0), f16::INFINITY);
        assert_eq!(f64_to_f16(65519.99), f16::MAX);
        assert_eq!(f64_to_f16(-1e300), f16::NEG_INFINITY);
        assert_eq!(f64_to_f16(-1e-300).to_bits(), 0x8000);
    }

    quickcheck! {
        fn narrowing_is_monotone(x: f64, y: f64) -> bool {
            x.is_nan() || y.is_nan() || {
                let (low, high) = if x <= y { (x, y) } else { (y, x) };
                f64_to_f16(low) <= f64_to_f16(high) && f64_to_bf16(low) <= f64_to_bf16(high)
            }
        }

        fn bf16_agrees_with_the_crate_on_every_f32(x: f32) -> bool {
            x.is_nan() || f64_to_bf16(f64::from(x)).to_bits() == bf16::from_f32(x).to_bits()
        }

        fn f16_agrees_with_the_crate_on_every_f32(x: f32) -> bool {
            x.is_nan() || f64_to_f16(f64::from(x)).to_bits() == f16::from_f32(x).to_bits()
        }
    }
}
