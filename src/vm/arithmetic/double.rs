//! f64 arithmetic in every rounding: exact in 128-bit integers with a sticky bit, then rounded once.
//!
//! The host rounds to nearest; this is for the directed roundings, which compilers use in division and interval code.

use crate::convert::{low_u32, low_u64};
use crate::ptx::Rounding;

/// Canonical NaN.
pub(crate) const NAN_F64: u64 = 0x7fff_ffff_ffff_ffff;
const SIGN: u64 = 1 << 63;
const INFINITY: u64 = 0x7ff << 52;

/// `(-1)^negative * magnitude * 2^exponent`, plus less than one unit where `sticky`.
#[derive(Clone, Copy, Debug)]
struct Exact {
    negative: bool,
    magnitude: u128,
    exponent: i32,
    sticky: bool,
}

fn decode(x: f64) -> Exact {
    let bits = x.to_bits();
    let field = low_u32(bits >> 52 & 0x7ff).cast_signed();
    let fraction = bits & ((1 << 52) - 1);
    let (magnitude, exponent) = if field == 0 {
        (fraction, -1074)
    } else {
        (fraction | 1 << 52, field - 1075)
    };
    Exact {
        negative: x.is_sign_negative(),
        magnitude: u128::from(magnitude),
        exponent,
        sticky: false,
    }
}

impl Exact {
    /// The same value with its highest bit at 125; not for zero.
    fn high(self) -> Self {
        let by = self.magnitude.leading_zeros().cast_signed() - 2;
        Self {
            magnitude: self.magnitude << by.max(0),
            exponent: self.exponent - by.max(0),
            ..self
        }
    }

    fn round(self, rounding: Rounding) -> u64 {
        let sign = if self.negative { SIGN } else { 0 };
        if self.magnitude == 0 && !self.sticky {
            return sign;
        }
        let top = 127 - self.magnitude.leading_zeros().cast_signed();
        // Exponent of the last kept place: 53 bits, or that of the subnormals.
        let last = (self.exponent + top - 52).max(-1074);
        let by = last - self.exponent;
        let (kept, discarded, half) = if by <= 0 {
            (self.magnitude << by.unsigned_abs(), 0, 1)
        } else if by > 127 {
            (0, 1, 2)
        } else {
            let kept = self.magnitude >> by;
            (kept, self.magnitude - (kept << by), 1_u128 << (by - 1))
        };
        let inexact = discarded != 0 || self.sticky;
        let up = match rounding {
            Rounding::NearestEven => {
                discarded > half || discarded == half && by > 0 && (self.sticky || kept & 1 == 1)
            }
            Rounding::NearestAway => by > 0 && discarded >= half,
            Rounding::Zero => false,
            Rounding::Down => self.negative && inexact,
            Rounding::Up => !self.negative && inexact,
        };
        let significand = low_u64(kept) + u64::from(up);
        let field = u64::from((last + 1074).cast_unsigned());
        // The hidden bit adds one to the field of a normal number.
        let bits = (field << 52) + significand;
        if bits < INFINITY {
            return sign | bits;
        }
        let stays = match rounding {
            Rounding::NearestEven | Rounding::NearestAway => false,
            Rounding::Zero => true,
            Rounding::Down => !self.negative,
            Rounding::Up => self.negative,
        };
        sign | (INFINITY - u64::from(stays))
    }
}

fn sum(a: Exact, b: Exact, rounding: Rounding) -> u64 {
    if a.magnitude == 0 || b.magnitude == 0 {
        let other = if a.magnitude == 0 { b } else { a };
        if other.magnitude != 0 || a.negative == b.negative {
            return other.round(rounding);
        }
        return if rounding == Rounding::Down { SIGN } else { 0 };
    }
    let (a, b) = (a.high(), b.high());
    let (large, small) = if (a.exponent, a.magnitude) >= (b.exponent, b.magnitude) {
        (a, b)
    } else {
        (b, a)
    };
    let by = (large.exponent - small.exponent).cast_unsigned();
    let moved = small.magnitude.checked_shr(by).unwrap_or(0);
    let sticky = by > 127 || moved << by != small.magnitude;
    let magnitude = if large.negative == small.negative {
        large.magnitude + moved
    } else {
        large.magnitude - moved - u128::from(sticky)
    };
    if magnitude == 0 {
        return if rounding == Rounding::Down { SIGN } else { 0 };
    }
    Exact {
        magnitude,
        sticky,
        ..large
    }
    .round(rounding)
}

fn product(a: f64, b: f64) -> Exact {
    let (x, y) = (decode(a), decode(b));
    Exact {
        negative: x.negative != y.negative,
        magnitude: x.magnitude * y.magnitude,
        exponent: x.exponent + y.exponent,
        sticky: false,
    }
}

/// `a + b`.
pub(crate) fn add(a: f64, b: f64, rounding: Rounding) -> u64 {
    if rounding == Rounding::NearestEven || !a.is_finite() || !b.is_finite() {
        return (a + b).to_bits();
    }
    sum(decode(a), decode(b), rounding)
}

/// `a * b`.
pub(crate) fn multiply(a: f64, b: f64, rounding: Rounding) -> u64 {
    if rounding == Rounding::NearestEven || !a.is_finite() || !b.is_finite() {
        return (a * b).to_bits();
    }
    product(a, b).round(rounding)
}

/// `a * b + c`.
pub(crate) fn fma(a: f64, b: f64, c: f64, rounding: Rounding) -> u64 {
    if rounding == Rounding::NearestEven || !a.is_finite() || !b.is_finite() || !c.is_finite() {
        return a.mul_add(b, c).to_bits();
    }
    sum(product(a, b), decode(c), rounding)
}

/// `a / b`.
pub(crate) fn divide(a: f64, b: f64, rounding: Rounding) -> u64 {
    if rounding == Rounding::NearestEven || !a.is_finite() || !b.is_finite() || a == 0.0 || b == 0.0
    {
        return (a / b).to_bits();
    }
    let (x, y) = (decode(a).high(), decode(b));
    let magnitude = x.magnitude / y.magnitude;
    Exact {
        negative: x.negative != y.negative,
        magnitude,
        exponent: x.exponent - y.exponent,
        sticky: magnitude * y.magnitude != x.magnitude,
    }
    .round(rounding)
}

/// Square root.
pub(crate) fn square_root(a: f64, rounding: Rounding) -> u64 {
    if rounding == Rounding::NearestEven || !a.is_finite() || a <= 0.0 {
        return a.sqrt().to_bits();
    }
    let mut x = decode(a).high();
    if x.exponent % 2 != 0 {
        x.magnitude <<= 1;
        x.exponent -= 1;
    }
    let magnitude = x.magnitude.isqrt();
    Exact {
        negative: false,
        magnitude,
        exponent: x.exponent / 2,
        sticky: magnitude * magnitude != x.magnitude,
    }
    .round(rounding)
}

/// An integer as f64.
pub(crate) fn from_integer(value: i128, rounding: Rounding) -> u64 {
    Exact {
        negative: value < 0,
        magnitude: value.unsigned_abs(),
        exponent: 0,
        sticky: false,
    }
    .round(rounding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            3 => any::<u64>().prop_map(f64::from_bits),
            3 => -8.0_f64..8.0,
            1 => (0_u64..1 << 53).prop_map(f64::from_bits),
            1 => prop_oneof![Just(0.0), Just(-0.0), Just(f64::MAX), Just(f64::MIN_POSITIVE), Just(1.0)],
        ]
        .prop_filter("finite", |x| x.is_finite())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

        /// The exact path rounded to nearest is the host's; directed results enclose it and are at most one step apart.
        #[test]
        fn nearest_is_the_host_and_directed_enclose(a in value(), b in value(), c in value()) {
            let near = Rounding::NearestEven;
            let (x, y, z) = (decode(a), decode(b), decode(c));
            prop_assert_eq!(sum(x, y, near), (a + b).to_bits(), "{:e} + {:e}", a, b);
            prop_assert_eq!(product(a, b).round(near), (a * b).to_bits(), "{:e} * {:e}", a, b);
            prop_assert_eq!(sum(product(a, b), z, near), a.mul_add(b, c).to_bits(), "{:e} {:e} {:e}", a, b, c);
            let f = f64::from_bits;
            for (down, nearest, up) in [
                (add(a, b, Rounding::Down), a + b, add(a, b, Rounding::Up)),
                (multiply(a, b, Rounding::Down), a * b, multiply(a, b, Rounding::Up)),
                (fma(a, b, c, Rounding::Down), a.mul_add(b, c), fma(a, b, c, Rounding::Up)),
                (divide(a, b, Rounding::Down), a / b, divide(a, b, Rounding::Up)),
                (square_root(a, Rounding::Down), a.sqrt(), square_root(a, Rounding::Up)),
            ] {
                if nearest.is_nan() { continue; }
                prop_assert!(f(down) <= nearest && nearest <= f(up), "{:e} {:e} {:e}", f(down), nearest, f(up));
                prop_assert!(f(down) >= f(up) || f(down).next_up() >= f(up), "{:e} {:e}", f(down), f(up));
            }
        }
    }

    #[test]
    fn zero_takes_its_sign_from_the_rounding() {
        assert_eq!(add(1.0, -1.0, Rounding::Down), SIGN);
        assert_eq!(add(1.0, -1.0, Rounding::Up), 0);
        assert_eq!(divide(1.0, 3.0, Rounding::Zero), 0x3fd5_5555_5555_5555);
        assert_eq!(divide(1.0, 3.0, Rounding::Up), 0x3fd5_5555_5555_5556);
        assert_eq!(
            from_integer(i128::from(u64::MAX), Rounding::Zero),
            0x43ef_ffff_ffff_ffff
        );
    }
}
