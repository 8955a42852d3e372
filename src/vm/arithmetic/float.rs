//! Float arithmetic as PTX defines it (ISA 9.7.3, 9.7.4), on bits.
//!
//! Everything but the plain f32 and f64 operations goes through one door: an exact result, or one rounded *to odd* in
//! f64, then one rounding to the format. Rounding to odd (an inexact result is the neighbour whose last bit is 1) keeps
//! on which side of every coarser number the exact value lies, so the second rounding is as if it were the only one
//! (Boldo and Melquiond, "When double rounding is odd", 2005).

use crate::convert::{f64_to_f32, low_u32};
use crate::ptx::Rounding;

/// Canonical NaN of f32 results.
pub(crate) const NAN_F32: u32 = 0x7fff_ffff;
/// Canonical NaN of f16 and bf16 results.
pub(crate) const NAN_HALF: u32 = 0x7fff;

/// A float format of at most 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) exponent_bits: u32,
    pub(crate) fraction_bits: u32,
}

impl Format {
    pub(crate) const F16: Self = Self {
        exponent_bits: 5,
        fraction_bits: 10,
    };
    pub(crate) const BF16: Self = Self {
        exponent_bits: 8,
        fraction_bits: 7,
    };
    pub(crate) const TF32: Self = Self {
        exponent_bits: 8,
        fraction_bits: 10,
    };
    pub(crate) const F32: Self = Self {
        exponent_bits: 8,
        fraction_bits: 23,
    };

    fn sign_at(self) -> u32 {
        self.exponent_bits + self.fraction_bits
    }

    /// Bits of infinity: the exponent field.
    pub(crate) fn infinity(self) -> u32 {
        ((1 << self.exponent_bits) - 1) << self.fraction_bits
    }

    fn nan(self) -> u32 {
        (1 << self.sign_at()) - 1
    }

    /// Exponent of the least normal number.
    fn least_exponent(self) -> i32 {
        2 - (1_i32 << (self.exponent_bits - 1))
    }

    /// Value of `bits`, exact.
    pub(crate) fn decode(self, bits: u32) -> f64 {
        // Every format here, shifted up, is an f32 once its exponent is moved; f16 alone has another bias.
        if self.exponent_bits == 8 {
            return f64::from(f32::from_bits(bits << (23 - self.fraction_bits)));
        }
        half::f16::from_bits(crate::convert::low_u16(bits)).to_f64()
    }

    /// `x` rounded to the format; NaN is canonical.
    pub(crate) fn round(self, x: f64, rounding: Rounding) -> u32 {
        if self == Self::F32 && rounding == Rounding::NearestEven {
            return canonical_f32(f64_to_f32(x).to_bits());
        }
        let sign = u32::from(x.is_sign_negative());
        let signed = sign << self.sign_at();
        if x.is_nan() {
            return self.nan();
        }
        if x.is_infinite() {
            return signed | self.infinity();
        }
        let bits = x.to_bits() & !(1 << 63);
        if bits == 0 {
            return signed;
        }
        let field = low_u32(bits >> 52).cast_signed();
        let fraction = bits & ((1 << 52) - 1);
        let (magnitude, exponent) = if field == 0 {
            (fraction, -1022)
        } else {
            (fraction | 1 << 52, field - 1023)
        };
        let kept = exponent.max(self.least_exponent());
        let places = 52 - self.fraction_bits.cast_signed() + kept - exponent;
        let places = places.cast_unsigned().min(63);
        let significand = magnitude >> places;
        let discarded = magnitude & ((1 << places) - 1);
        let half = 1_u64 << (places - 1);
        let up = match rounding {
            Rounding::NearestEven => {
                discarded > half || (discarded == half && significand & 1 == 1)
            }
            Rounding::NearestAway => discarded >= half,
            Rounding::Zero => false,
            Rounding::Down => sign == 1 && discarded > 0,
            Rounding::Up => sign == 0 && discarded > 0,
        };
        let field = (kept - self.least_exponent()).cast_unsigned();
        let rounded = (u64::from(field) << self.fraction_bits) + significand + u64::from(up);
        if rounded < u64::from(self.infinity()) {
            return signed | low_u32(rounded);
        }
        let to_infinity = match rounding {
            Rounding::NearestEven | Rounding::NearestAway => true,
            Rounding::Zero => false,
            Rounding::Down => sign == 1,
            Rounding::Up => sign == 0,
        };
        signed | (self.infinity() - u32::from(!to_infinity))
    }
}

/// `rounded` moved to its odd neighbour if it is not the exact result; `error` has the sign of exact minus rounded.
fn to_odd(rounded: f64, error: f64) -> f64 {
    // Infinite or NaN: the error is meaningless.
    if error == 0.0 || !rounded.is_finite() || error.is_nan() || rounded.to_bits() & 1 == 1 {
        return rounded;
    }
    let away = (error > 0.0) == (rounded > 0.0);
    f64::from_bits(if away {
        rounded.to_bits() + 1
    } else {
        rounded.to_bits() - 1
    })
}

/// `a + b` rounded to odd. An exact zero from operands of different sign is negative when rounding down.
fn add_odd(a: f64, b: f64, rounding: Rounding) -> f64 {
    let sum = a + b;
    if sum == 0.0 {
        let same = a.is_sign_negative() == b.is_sign_negative();
        return if same || rounding != Rounding::Down {
            sum
        } else {
            -0.0
        };
    }
    // Knuth's two-sum: exact whatever the magnitudes, no overflow for operands of formats up to f32.
    let b_part = sum - a;
    let error = (a - (sum - b_part)) + (b - b_part);
    to_odd(sum, error)
}

/// `a + b` in `format`; operands are values of the format.
pub(crate) fn add(format: Format, a: f64, b: f64, rounding: Rounding) -> u32 {
    format.round(add_odd(a, b, rounding), rounding)
}

/// `a * b` in `format`: exact in f64 for formats up to f32.
pub(crate) fn multiply(format: Format, a: f64, b: f64, rounding: Rounding) -> u32 {
    format.round(a * b, rounding)
}

/// `a * b + c` in `format`, one rounding.
pub(crate) fn fma(format: Format, a: f64, b: f64, c: f64, rounding: Rounding) -> u32 {
    format.round(add_odd(a * b, c, rounding), rounding)
}

/// `a / b` in `format`, correctly rounded.
pub(crate) fn divide(format: Format, a: f64, b: f64, rounding: Rounding) -> u32 {
    let quotient = a / b;
    let remainder = (-quotient).mul_add(b, a);
    let error = if b < 0.0 { -remainder } else { remainder };
    format.round(to_odd(quotient, error), rounding)
}

/// Square root in `format`, correctly rounded.
pub(crate) fn square_root(format: Format, a: f64, rounding: Rounding) -> u32 {
    let root = a.sqrt();
    format.round(to_odd(root, (-root).mul_add(root, a)), rounding)
}

/// f32 `fma.rn`: the same as [`fma`], for every lane of hot code.
#[inline]
pub(crate) fn fma_f32(a: f32, b: f32, c: f32) -> f32 {
    let product = f64::from(a) * f64::from(b);
    let addend = f64::from(c);
    let sum = product + addend;
    let c_part = sum - product;
    let error = (product - (sum - c_part)) + (addend - c_part);
    // Branch-free `to_odd`; comparisons with NaN are false, so NaN and infinity pass unchanged.
    let bits = sum.to_bits();
    let inexact = (error > 0.0) | (error < 0.0);
    let even = bits & 1 == 0;
    let away = (error > 0.0) == (sum > 0.0);
    let step = if inexact & even {
        if away { 1 } else { u64::MAX }
    } else {
        0
    };
    f64_to_f32(f64::from_bits(bits.wrapping_add(step)))
}

/// f16 bits of an f32, rounded to nearest even; NaN is canonical. The same as [`Format::round`], without branches.
#[inline]
pub(crate) fn f16_nearest(bits: u32) -> u32 {
    let sign = bits >> 16 & 0x8000;
    let magnitude = bits & 0x7fff_ffff;
    // Below 2^-14 the sum with 1/2 has its last bit at 2^-24, that of a subnormal f16.
    let subnormal = (f32::from_bits(magnitude) + 0.5)
        .to_bits()
        .wrapping_sub(0.5_f32.to_bits());
    // Another bias (112 less) and half a unit of the last place, less one where the place is even: a tie then stays.
    let odd = magnitude >> 13 & 1;
    let normal = magnitude.wrapping_add(0xc800_0fff).wrapping_add(odd) >> 13;
    let finite = if magnitude < 113 << 23 {
        subnormal
    } else {
        normal
    };
    let bounded = if magnitude >= 143 << 23 {
        0x7c00
    } else {
        finite
    };
    if magnitude > 0x7f80_0000 {
        NAN_HALF
    } else {
        bounded | sign
    }
}

/// bf16 bits of an f32, rounded to nearest even; NaN is canonical. The same as [`Format::round`], without branches.
#[inline]
pub(crate) fn bf16_nearest(bits: u32) -> u32 {
    let odd = bits >> 16 & 1;
    if bits & 0x7fff_ffff > 0x7f80_0000 {
        NAN_HALF
    } else {
        bits.wrapping_add(0x7fff + odd) >> 16
    }
}

/// [`extremum`] of f32, without branches.
#[inline]
pub(crate) fn extremum_f32(a: u32, b: u32, want_max: bool, nan: bool) -> u32 {
    let (x, y) = (f32::from_bits(a), f32::from_bits(b));
    let (a_is_nan, b_is_nan) = (a & 0x7fff_ffff > 0x7f80_0000, b & 0x7fff_ffff > 0x7f80_0000);
    let both_zero = (a | b) & 0x7fff_ffff == 0;
    let b_is_greater = (y > x) | (both_zero & (a >> 31 == 1));
    let mut value = if b_is_greater == want_max { b } else { a };
    value = if b_is_nan { a } else { value };
    value = if a_is_nan { b } else { value };
    let lost = if nan {
        a_is_nan | b_is_nan
    } else {
        a_is_nan & b_is_nan
    };
    if lost { NAN_F32 } else { value }
}

/// Subnormal f32 to zero of the same sign.
#[inline]
pub(crate) fn flush_f32(bits: u32) -> u32 {
    if bits & 0x7f80_0000 == 0 {
        bits & 0x8000_0000
    } else {
        bits
    }
}

/// Any NaN to the canonical one.
#[inline]
pub(crate) fn canonical_f32(bits: u32) -> u32 {
    if bits & 0x7fff_ffff > 0x7f80_0000 {
        NAN_F32
    } else {
        bits
    }
}

/// Into `[0, 1]`; NaN gives +0.
#[inline]
pub(crate) fn saturate_f32(bits: u32) -> u32 {
    let x = f32::from_bits(bits);
    // Written so that NaN and -0 give +0.
    if x > 0.0 {
        if x < 1.0 { bits } else { 1.0_f32.to_bits() }
    } else {
        0
    }
}

/// `min` or `max` by value with `-0 < +0`; the other operand where one is NaN, canonical NaN where both are, or one with
/// `nan`. `wide` and `bits` are the operands' values and bits.
pub(crate) fn extremum<B: Copy>(
    values: (f64, f64),
    bits: (B, B),
    nan_bits: B,
    want_max: bool,
    nan: bool,
) -> B {
    let (a, b) = values;
    match (a.is_nan(), b.is_nan()) {
        (true, true) => nan_bits,
        (true, false) => {
            if nan {
                nan_bits
            } else {
                bits.1
            }
        }
        (false, true) => {
            if nan {
                nan_bits
            } else {
                bits.0
            }
        }
        (false, false) => {
            let b_is_greater = b > a || (a == 0.0 && b == 0.0 && a.is_sign_negative());
            if b_is_greater == want_max {
                bits.1
            } else {
                bits.0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Rounding; 4] = [
        Rounding::NearestEven,
        Rounding::Zero,
        Rounding::Down,
        Rounding::Up,
    ];

    fn interesting() -> impl Strategy<Value = f32> {
        prop_oneof![
            4 => any::<u32>().prop_map(f32::from_bits),
            4 => -8.0_f32..8.0,
            1 => (0_u32..0x0080_0000).prop_map(f32::from_bits),
            1 => prop_oneof![Just(0.0_f32), Just(-0.0), Just(f32::INFINITY), Just(f32::MAX), Just(1.0)],
        ]
    }

    fn same(a: u32, b: f32) -> bool {
        a == canonical_f32(b.to_bits())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn nearest_equals_the_host(a in interesting(), b in interesting(), c in interesting()) {
            let (x, y, z) = (f64::from(a), f64::from(b), f64::from(c));
            let near = Rounding::NearestEven;
            prop_assert!(same(add(Format::F32, x, y, near), a + b), "{a:e} + {b:e}");
            prop_assert!(same(multiply(Format::F32, x, y, near), a * b), "{a:e} * {b:e}");
            prop_assert!(same(divide(Format::F32, x, y, near), a / b), "{a:e} / {b:e}");
            prop_assert!(same(square_root(Format::F32, x, near), a.sqrt()), "sqrt {a:e}");
            prop_assert!(same(fma(Format::F32, x, y, z, near), a.mul_add(b, c)), "{a:e} * {b:e} + {c:e}");
            prop_assert!(same(canonical_f32(fma_f32(a, b, c).to_bits()), a.mul_add(b, c)), "{a:e} * {b:e} + {c:e}");
        }

        #[test]
        fn directed_roundings_bracket(a in interesting(), b in interesting(), c in interesting()) {
            let (x, y, z) = (f64::from(a), f64::from(b), f64::from(c));
            let all = ALL.map(|r| f32::from_bits(fma(Format::F32, x, y, z, r)));
            if all[0].is_nan() {
                return Ok(());
            }
            let [near, zero, down, up] = all;
            prop_assert!(down <= near && near <= up);
            let toward = if near.is_sign_negative() { up } else { down };
            prop_assert!(zero.to_bits() == toward.to_bits() || near.to_bits() << 1 == 0);
            // Adjacent, or equal where exact.
            prop_assert!(down >= up || down.next_up() >= up, "{down:e} {up:e}");
        }

        #[test]
        fn halves_equal_the_crate(bits in any::<u32>()) {
            let x = f32::from_bits(bits);
            if !x.is_nan() {
                let near = Rounding::NearestEven;
                prop_assert_eq!(
                    Format::F16.round(f64::from(x), near), u32::from(half::f16::from_f32(x).to_bits()));
                prop_assert_eq!(
                    Format::BF16.round(f64::from(x), near), u32::from(half::bf16::from_f32(x).to_bits()));
            }
            prop_assert_eq!(f16_nearest(bits), Format::F16.round(f64::from(x), Rounding::NearestEven));
            prop_assert_eq!(bf16_nearest(bits), Format::BF16.round(f64::from(x), Rounding::NearestEven));
        }

        #[test]
        fn extrema_without_branches(a in interesting(), b in interesting(), max in any::<bool>(), nan in any::<bool>()) {
            let (x, y) = (a.to_bits(), b.to_bits());
            let expected = extremum((f64::from(a), f64::from(b)), (x, y), NAN_F32, max, nan);
            prop_assert_eq!(extremum_f32(x, y, max, nan), expected);
        }
    }

    #[test]
    fn halves_without_branches() {
        // Around every tie and every boundary of f16 and bf16.
        for high in 0..=0xffff_u32 {
            for low in [
                0, 1, 0xfff, 0x1000, 0x1001, 0x1fff, 0x7fff, 0x8000, 0x8001, 0xf000, 0xffff,
            ] {
                let bits = high << 16 | low;
                let x = f64::from(f32::from_bits(bits));
                assert_eq!(
                    f16_nearest(bits),
                    Format::F16.round(x, Rounding::NearestEven),
                    "{bits:#x}"
                );
                assert_eq!(
                    bf16_nearest(bits),
                    Format::BF16.round(x, Rounding::NearestEven),
                    "{bits:#x}"
                );
            }
        }
    }

    #[test]
    fn signed_zeros_and_overflow() {
        assert_eq!(add(Format::F32, 1.0, -1.0, Rounding::Down), 0x8000_0000);
        assert_eq!(add(Format::F32, 1.0, -1.0, Rounding::NearestEven), 0);
        assert_eq!(add(Format::F32, -0.0, -0.0, Rounding::Up), 0x8000_0000);
        let max = f64::from(f32::MAX);
        assert_eq!(
            multiply(Format::F32, max, 2.0, Rounding::Zero),
            f32::MAX.to_bits()
        );
        assert_eq!(
            multiply(Format::F32, max, 2.0, Rounding::Up),
            f32::INFINITY.to_bits()
        );
        assert_eq!(Format::F16.round(65520.0, Rounding::NearestEven), 0x7c00);
        assert_eq!(Format::F16.round(65519.9, Rounding::NearestEven), 0x7bff);
        assert_eq!(
            Format::TF32.round(
                1.0 + f64::from(f32::EPSILON) * 4096.0,
                Rounding::NearestAway
            ),
            0x1_fc01
        );
    }

    #[test]
    fn extrema() {
        let f = |a: f32, b: f32, max, nan| {
            extremum(
                (f64::from(a), f64::from(b)),
                (a.to_bits(), b.to_bits()),
                NAN_F32,
                max,
                nan,
            )
        };
        assert_eq!(f(-0.0, 0.0, true, false), 0);
        assert_eq!(f(0.0, -0.0, false, false), 0x8000_0000);
        assert_eq!(f(f32::NAN, 1.0, true, false), 1.0_f32.to_bits());
        assert_eq!(f(f32::NAN, 1.0, true, true), NAN_F32);
        assert_eq!(f(2.0, 1.0, true, false), 2.0_f32.to_bits());
        assert_eq!(saturate_f32(f32::NAN.to_bits()), 0);
        assert_eq!(saturate_f32(2.0_f32.to_bits()), 1.0_f32.to_bits());
    }
}
