//! One rounding, to nearest even, from an exact or enclosed value to binary64.

use super::{Dyadic, Enclosure};
use dashu_int::{IBig, UBig, ops::BitTest};

/// What an enclosure says of the rounding of the value inside.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Rounded {
    /// Every number in the enclosure rounds to this float.
    To(f64),
    /// The enclosure holds exactly one place where the rounding changes, and it lies here: whether the value is that
    /// number must be decided exactly.
    Boundary(Dyadic),
    /// The enclosure is too wide.
    Wide,
}

/// `numerator / denominator` rounded to the nearest binary64, ties to even; subnormals and overflow as IEEE 754 has
/// them. Zero gives `+0`; a non-zero quotient that underflows keeps its sign. `denominator` must be positive.
pub(crate) fn round_ratio(numerator: &Dyadic, denominator: &Dyadic) -> f64 {
    debug_assert!(denominator.signum() > 0);
    if numerator.is_zero() {
        return 0.0;
    }
    let negative = numerator.signum() < 0;
    let magnitude = |x: &Dyadic| x.in_units_of(x.exponent()).unsigned_abs_of();
    let (n, d) = (magnitude(numerator), magnitude(denominator));
    let bits = |x: &UBig| i64::try_from(x.bit_len()).expect("bit lengths fit i64");
    // Scale so that the integer quotient has 55 or 56 bits: 53 of a float, and at least a guard and a round bit.
    let shift = 55 - (bits(&n) - bits(&d));
    let (n, d) = match usize::try_from(shift) {
        Ok(left) => (n << left, d),
        Err(_) => (
            n,
            d << usize::try_from(-shift).expect("a negative i64 shift fits usize"),
        ),
    };
    let quotient = &n / &d;
    let exact = &quotient * &d == n;
    let quotient = u64::try_from(&quotient).expect("56 bits fit 64");
    round_integer(
        negative,
        quotient,
        exact,
        numerator.exponent() - denominator.exponent() - shift,
    )
}

/// `+-(quotient + fraction) * 2^exponent` rounded, where `0 <= fraction < 1` is zero iff `exact`, and `quotient` has
/// more than 54 bits.
fn round_integer(negative: bool, quotient: u64, exact: bool, exponent: i64) -> f64 {
    let bits = i64::from(64 - quotient.leading_zeros());
    let top = exponent + bits - 1; // floor(log2 |value|)
    let sign = u64::from(negative) << 63;
    if top > 1023 {
        return f64::from_bits(sign | 0x7ff0_0000_0000_0000);
    }
    // Unit in the last place: 52 binades below the leading bit, but never below the smallest subnormal.
    let unit = (top - 52).max(-1074);
    let drop = unit - exponent; // at least 2, for the quotient has more than 54 bits
    let (kept, rest, half) = match u32::try_from(drop) {
        Ok(drop @ 0..=63) => (
            quotient >> drop,
            quotient & ((1 << drop) - 1),
            1_u64 << (drop - 1),
        ),
        // Everything is dropped, and less than half a unit: 2^64 holds any quotient twice.
        _ => (0, 0, 1),
    };
    let above = rest > half || (rest == half && (!exact || kept & 1 == 1));
    let kept = kept + u64::from(above);
    // `kept` is at most 2^53. With the exponent field that `unit` gives, a carry into bit 53 adds one binade, and a
    // subnormal that reaches 2^52 becomes the smallest normal number: the encoding is one counter.
    let field = u64::try_from(unit + 1074).expect("unit is at least -1074");
    f64::from_bits(sign | ((field << 52) + kept))
}

/// What the enclosed `numerator / denominator` rounds to. The denominator's enclosure must be positive.
pub(crate) fn round_quotient(numerator: &Enclosure, denominator: &Enclosure) -> Rounded {
    let quotient = |n: Dyadic, d: Dyadic| round_ratio(&n, &d);
    // The smallest quotient has the largest denominator below a positive numerator, the smallest below a negative one.
    let low_denominator = if numerator.low().signum() >= 0 {
        denominator.high()
    } else {
        denominator.low()
    };
    let high_denominator = if numerator.high().signum() >= 0 {
        denominator.low()
    } else {
        denominator.high()
    };
    between(
        quotient(numerator.low(), low_denominator),
        quotient(numerator.high(), high_denominator),
        numerator.low().signum() * numerator.high().signum(),
    )
}

/// What an enclosed value rounds to.
pub(crate) fn round_enclosure(value: &Enclosure) -> Rounded {
    let one = Dyadic::new(IBig::from(1), 0);
    round_quotient(value, &Enclosure::exact(&one))
}

fn between(low: f64, high: f64, same_sign: i32) -> Rounded {
    let (low_bits, high_bits) = (low.to_bits(), high.to_bits());
    if low_bits == high_bits {
        // Both ends on one side of zero, or the sign of an underflow would be unknown.
        return if same_sign > 0 {
            Rounded::To(low)
        } else {
            Rounded::Wide
        };
    }
    let adjacent = same_sign > 0 && low_bits.abs_diff(high_bits) == 1;
    match (adjacent, Dyadic::from_f64(low), Dyadic::from_f64(high)) {
        (true, Some(low), Some(high)) => {
            Rounded::Boundary(&(&low + &high) * &Dyadic::new(IBig::from(1), -1))
        }
        _ => Rounded::Wide,
    }
}

/// Magnitude of a signed integer.
trait UnsignedAbs {
    fn unsigned_abs_of(self) -> UBig;
}

impl UnsignedAbs for IBig {
    fn unsigned_abs_of(self) -> UBig {
        self.into_parts().1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratio(n: f64, d: f64) -> f64 {
        round_ratio(&Dyadic::from_f64(n).unwrap(), &Dyadic::from_f64(d).unwrap())
    }

    /// The processor's own division is correctly rounded: an independent judge.
    #[test]
    fn quotients_equal_ieee_division() {
        let mut state = 7_u64;
        let mut random = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            state ^ (state >> 29)
        };
        for _ in 0..20_000 {
            let (n, d) = (
                f64::from_bits(random()),
                f64::from_bits(random() & !(1 << 63)),
            );
            if n.is_finite() && d.is_finite() && d != 0.0 && n != 0.0 {
                assert_eq!(ratio(n, d).to_bits(), (n / d).to_bits(), "{n:e} / {d:e}");
            }
        }
        for (n, d) in [
            (5e-324, 2.0),
            (5e-324, 1.9),
            (-5e-324, 3.0),
            (f64::MAX, 0.5),
            (f64::MIN_POSITIVE, 1.000_000_1),
            (1.0, f64::MAX),
        ] {
            assert_eq!(ratio(n, d).to_bits(), (n / d).to_bits(), "{n:e} / {d:e}");
        }
    }

    #[test]
    fn an_underflow_keeps_its_sign() {
        assert_eq!(ratio(-5e-324, 1e300).to_bits(), (-0.0_f64).to_bits());
        assert_eq!(ratio(0.0, 3.0).to_bits(), 0);
    }
}
