//! The pinned exponential and logarithm: their bits are the same on every machine, because they use IEEE 754 additions,
//! multiplications and divisions of f64 in a fixed order and nothing else: no library function, no fused operation.
//!
//! # The exponential
//!
//! `x = n ln 2 + r` with `n` whole and `|r| <= 0.3466` (Cody and Waite: `ln 2` in two parts of which `n` times the first
//! is exact). Then `e^r = (1 + r) + w`, where `1 + r` is kept with its rounding error and `w = r^2 (1/2! + r/3! + .. +
//! r^11/13!)` is Taylor's polynomial, and the result is scaled by `2^n`.
//!
//! Error, with `u = 2^-53`, before the last rounding, in units of `u`: Taylor's remainder `r^14/14!` is below 0.04; `w` is
//! below 0.068 and its relative error below 3.5 u (the square, the product with it, and a sum dominated by 1/2), 0.24; the
//! sum of `w` and the error of `1 + r` is below 1/8 and rounds by 1/16; the rest of the reduction is below 2^-20. That is
//! 0.35 for `r > 0`, where an ulp of the result is `2 u`, and 0.27 for `r < 0` (`w < 0.054`), where it is `u`. With the
//! last rounding: **below 0.8 ulp**; a subnormal result is rounded once more, to a multiple of 2^-1074. The tests measure
//! 0.68 ulp against 116-bit integers.
//!
//! # The logarithm
//!
//! `x = 2^k (1 + f)` with `1 + f` between `sqrt(1/2)` and `sqrt(2)`, and `ln(1 + f) = f - f^2/2 + s (f^2/2 + R)` with
//! `s = f / (2 + f)` and `R = 2 s^2/3 + 2 s^4/5 + ..` (the series of `2 atanh s`, rearranged so that `f` enters exactly;
//! the form is K. C. Ng's). The tests measure 0.79 ulp; **below 1 ulp** is what others may rely on.

/// The NaN of every answer: quiet, positive, no payload.
///
/// ```
/// assert_eq!(flashproof_reference::exp::CANONICAL_NAN.to_bits(), 0x7ff8_0000_0000_0000);
/// ```
pub const CANONICAL_NAN: f64 = f64::from_bits(0x7ff8_0000_0000_0000);

const LOG2_E: f64 = f64::from_bits(0x3ff7_1547_652b_82fe);
/// The upper 32 bits of ln 2: products with a whole number of up to 21 bits are exact.
const LN_2_HIGH: f64 = f64::from_bits(0x3fe6_2e42_fee0_0000);
/// ln 2 less its upper bits.
const LN_2_LOW: f64 = f64::from_bits(0x3dea_39ef_3579_3c76);
/// 1.5 * 2^52: adding it leaves a whole number in the low bits of the sum.
const TO_WHOLE: f64 = f64::from_bits(0x4338_0000_0000_0000);

/// 1/13! .. 1/2!, each rounded once.
const TAYLOR: [f64; 12] = [
    1.0 / 6_227_020_800.0,
    1.0 / 479_001_600.0,
    1.0 / 39_916_800.0,
    1.0 / 3_628_800.0,
    1.0 / 362_880.0,
    1.0 / 40_320.0,
    1.0 / 5_040.0,
    1.0 / 720.0,
    1.0 / 120.0,
    1.0 / 24.0,
    1.0 / 6.0,
    0.5,
];

/// `e^x`, within 0.8 ulp (see the module). 0 below -746, `inf` above 709.79, the canonical NaN for NaN.
///
/// ```
/// use flashproof_reference::exp::exp;
/// assert_eq!((exp(0.0), exp(f64::NEG_INFINITY)), (1.0, 0.0));
/// assert_eq!(exp(1.0), std::f64::consts::E);
/// ```
#[inline]
pub fn exp(x: f64) -> f64 {
    if x.is_nan() {
        return CANONICAL_NAN;
    }
    // Beyond these the result is 0 or infinite anyway, and 2^n below stays a pair of normal numbers.
    let x = if x < -800.0 { -800.0 } else { x };
    let x = if x > 800.0 { 800.0 } else { x };
    let shifted = x * LOG2_E + TO_WHOLE;
    let n = shifted - TO_WHOLE;
    let high = x - n * LN_2_HIGH; // exact: both are multiples of an ulp of x, and the difference is small
    let low = n * LN_2_LOW;
    let r = high - low;
    let r_error = (high - r) - low;
    let series = TAYLOR
        .iter()
        .fold(0.0, |sum, &coefficient| sum * r + coefficient);
    let w = r_error + r * r * series;
    let sum = 1.0 + r;
    let sum_error = (1.0 - sum) + r;
    let e_to_r = sum + (sum_error + w);
    let exponent = shifted
        .to_bits()
        .wrapping_sub(TO_WHOLE.to_bits())
        .cast_signed();
    let half = exponent >> 1;
    // In two steps, because 2^exponent itself may be below the normal numbers; only the second can round.
    e_to_r * power_of_two(half) * power_of_two(exponent - half)
}

/// `2^exponent` for `-1022 <= exponent <= 1023`.
#[inline]
fn power_of_two(exponent: i64) -> f64 {
    f64::from_bits((exponent + 1023).cast_unsigned() << 52)
}

/// 2/25, 2/23, .. 2/3, each rounded once.
const ATANH: [f64; 12] = [
    2.0 / 25.0,
    2.0 / 23.0,
    2.0 / 21.0,
    2.0 / 19.0,
    2.0 / 17.0,
    2.0 / 15.0,
    2.0 / 13.0,
    2.0 / 11.0,
    2.0 / 9.0,
    2.0 / 7.0,
    2.0 / 5.0,
    2.0 / 3.0,
];

/// Natural logarithm of a positive normal number, within 1 ulp (see the module). `None` for anything else.
///
/// ```
/// use flashproof_reference::exp::ln;
/// assert_eq!((ln(1.0), ln(2.0)), (Some(0.0), Some(std::f64::consts::LN_2)));
/// assert_eq!(ln(0.0), None);
/// ```
pub fn ln(x: f64) -> Option<f64> {
    if !x.is_normal() || x < 0.0 {
        return None;
    }
    const SQRT_HALF: u64 = 0x3fe6_a09e_667f_3bcd;
    // Counted from sqrt(1/2), the exponent field steps where 1 + f must.
    let steps = x.to_bits().wrapping_sub(SQRT_HALF).cast_signed() >> 52;
    let mantissa = f64::from_bits(x.to_bits().wrapping_sub(steps.cast_unsigned() << 52));
    let k = f64::from(i32::try_from(steps).expect("an exponent has 11 bits"));
    let f = mantissa - 1.0; // exact: mantissa is between 1/2 and 2
    let s = f / (2.0 + f);
    let z = s * s;
    let tail = z * ATANH
        .iter()
        .fold(0.0, |sum, &coefficient| sum * z + coefficient);
    let half_square = 0.5 * f * f;
    Some(k * LN_2_HIGH - ((half_square - (s * (half_square + tail) + k * LN_2_LOW)) - f))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixed_point::{exp_error_ulps, ln_error_ulps};
    use crate::random::Draws;

    /// A number in `low..high`, from 53 random bits.
    fn uniform(draws: &mut Draws, low: f64, high: f64) -> f64 {
        low + (high - low) * (f64::from_bits(0x3ff0_0000_0000_0000 | (draws.bits() >> 12)) - 1.0)
    }

    #[test]
    fn exp_is_within_its_bound() {
        let mut draws = Draws::from_seed(1);
        let mut worst: f64 = 0.0;
        let mut check = |x: f64| {
            let error = exp_error_ulps(x, exp(x));
            assert!(error <= 0.8, "exp({x:e}) is off by {error} ulp");
            worst = worst.max(error);
        };
        for _ in 0..200_000 {
            check(uniform(&mut draws, -0.36, 0.36));
            check(uniform(&mut draws, -40.0, 0.0));
            check(uniform(&mut draws, -700.0, 0.0));
        }
        // Either side of every change of n.
        for n in -1020..=20 {
            let middle = (f64::from(n) + 0.5) * std::f64::consts::LN_2;
            for x in [middle.next_down(), middle, middle.next_up()] {
                check(x);
            }
        }
        println!("exp: worst error {worst} ulp");
        assert!(
            worst > 0.66 && worst < 0.7,
            "the documented measurement is stale: {worst}"
        );
    }

    #[test]
    fn the_measure_sees_one_ulp() {
        let x = -3.7;
        assert!(
            exp_error_ulps(x, exp(x).next_up()) > 0.8
                || exp_error_ulps(x, exp(x).next_down()) > 0.8
        );
        assert!(ln_error_ulps(5.0, ln(5.0).unwrap().next_up()) > 0.5);
    }

    #[test]
    fn exp_at_its_ends() {
        let check = |x: f64, expected: u64| assert_eq!(exp(x).to_bits(), expected, "exp({x})");
        check(f64::NEG_INFINITY, 0);
        check(f64::INFINITY, 0x7ff0_0000_0000_0000);
        check(-0.0, 0x3ff0_0000_0000_0000);
        check(-745.2, 0);
        check(-744.5, 1); // 0.76 * 2^-1074 * 2: the smallest subnormal
        check(709.0, 0x7fdd_422d_2be5_dc9b);
        check(710.0, 0x7ff0_0000_0000_0000);
        check(f64::from_bits(0xfff8_0000_0000_0123), 0x7ff8_0000_0000_0000);
    }

    #[test]
    fn ln_is_within_its_bound() {
        let mut draws = Draws::from_seed(2);
        let mut worst: f64 = 0.0;
        let mut check = |x: f64| {
            let error = ln_error_ulps(x, ln(x).unwrap());
            assert!(error <= 1.0, "ln({x:e}) is off by {error} ulp");
            worst = worst.max(error);
        };
        for _ in 0..100_000 {
            check(uniform(&mut draws, 1.0, 2.0));
            check(uniform(&mut draws, 0.7, 1.0));
            check(uniform(&mut draws, 1.0, 1e6));
        }
        println!("ln: worst error {worst} ulp");
        assert!(worst > 0.5, "the measure sees nothing");
        for x in [0.0, -1.0, f64::INFINITY, f64::NAN, f64::MIN_POSITIVE / 2.0] {
            assert_eq!(ln(x), None);
        }
    }

    #[test]
    fn bits_are_pinned() {
        // A second platform must give these: they guard the order of operations.
        let exp_bits = (0..1000_u32).fold(0_u64, |hash, i| {
            hash.rotate_left(5)
                ^ exp(-f64::from(i) * 0.37)
                    .to_bits()
                    .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        });
        let ln_bits = (1..1000_u32).fold(0_u64, |hash, i| {
            hash.rotate_left(5)
                ^ ln(f64::from(i) * 0.37)
                    .unwrap()
                    .to_bits()
                    .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        });
        assert_eq!(
            (exp_bits, ln_bits),
            (0x6789_bbb5_4943_2e71, 0x826c_b52f_ec8f_6bdb),
            "{exp_bits:#018x} {ln_bits:#018x}"
        );
    }
}
