//! Exact numbers `mantissa * 2^exponent`.

use dashu_int::{IBig, ops::BitTest};
use std::cmp::Ordering;
use std::iter::Sum;
use std::ops::{Add, Mul, Neg, Sub};

/// `mantissa * 2^exponent`, exactly. Every finite float is one; sums and products of dyadics are dyadic.
#[derive(Clone, Debug)]
pub(crate) struct Dyadic {
    mantissa: IBig,
    exponent: i64,
}

impl Dyadic {
    /// Zero.
    pub(crate) const ZERO: Self = Self {
        mantissa: IBig::ZERO,
        exponent: 0,
    };

    /// `mantissa * 2^exponent`.
    pub(crate) fn new(mantissa: IBig, exponent: i64) -> Self {
        Self { mantissa, exponent }
    }

    /// The value of a finite float; `None` for infinities and NaN.
    pub(crate) fn from_f64(value: f64) -> Option<Self> {
        if !value.is_finite() {
            return None;
        }
        let bits = value.to_bits();
        let fraction = bits & ((1 << 52) - 1);
        let biased = i64::try_from((bits >> 52) & 0x7ff).expect("11 bits fit");
        // A subnormal has no hidden bit and the exponent of the smallest normal number.
        let (mantissa, exponent) = if biased == 0 {
            (fraction, -1074)
        } else {
            (fraction | (1 << 52), biased - 1075)
        };
        let mantissa = IBig::from(mantissa);
        Some(Self {
            mantissa: if value.is_sign_negative() {
                -mantissa
            } else {
                mantissa
            },
            exponent,
        })
    }

    /// Whether it is zero.
    pub(crate) fn is_zero(&self) -> bool {
        self.mantissa.is_zero()
    }

    /// -1, 0 or 1.
    pub(crate) fn signum(&self) -> i32 {
        match self.mantissa.cmp(&IBig::ZERO) {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        }
    }

    /// Exponent of the lowest unit in use.
    pub(crate) fn exponent(&self) -> i64 {
        self.exponent
    }

    /// `floor(log2 |self|)`; `None` for zero.
    pub(crate) fn log2_floor(&self) -> Option<i64> {
        let bits = self.mantissa.bit_len();
        (bits > 0).then(|| self.exponent + i64::try_from(bits).expect("bit lengths fit i64") - 1)
    }

    /// `floor(self / 2^unit)`.
    pub(crate) fn floor_to(&self, unit: i64) -> IBig {
        let shift = self.exponent - unit;
        // Shifting an IBig right rounds towards minus infinity.
        match usize::try_from(shift) {
            Ok(left) => &self.mantissa << left,
            Err(_) => {
                &self.mantissa >> usize::try_from(-shift).expect("a negative i64 shift fits usize")
            }
        }
    }

    /// The integer `self / 2^unit`; `unit` must not be above the exponent.
    pub(crate) fn in_units_of(&self, unit: i64) -> IBig {
        debug_assert!(unit <= self.exponent || self.is_zero());
        self.floor_to(unit)
    }
}

impl Add for &Dyadic {
    type Output = Dyadic;
    fn add(self, other: &Dyadic) -> Dyadic {
        if self.is_zero() {
            return other.clone();
        }
        if other.is_zero() {
            return self.clone();
        }
        let exponent = self.exponent.min(other.exponent);
        Dyadic {
            mantissa: self.in_units_of(exponent) + other.in_units_of(exponent),
            exponent,
        }
    }
}

impl Sub for &Dyadic {
    type Output = Dyadic;
    fn sub(self, other: &Dyadic) -> Dyadic {
        self + &-other
    }
}

impl Mul for &Dyadic {
    type Output = Dyadic;
    fn mul(self, other: &Dyadic) -> Dyadic {
        Dyadic {
            mantissa: &self.mantissa * &other.mantissa,
            exponent: self.exponent + other.exponent,
        }
    }
}

impl Neg for &Dyadic {
    type Output = Dyadic;
    fn neg(self) -> Dyadic {
        Dyadic {
            mantissa: -&self.mantissa,
            exponent: self.exponent,
        }
    }
}

impl Sum for Dyadic {
    fn sum<I: Iterator<Item = Self>>(terms: I) -> Self {
        terms.fold(Self::ZERO, |total, term| &total + &term)
    }
}

impl PartialEq for Dyadic {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Dyadic {}

impl PartialOrd for Dyadic {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Dyadic {
    fn cmp(&self, other: &Self) -> Ordering {
        (self - other).signum().cmp(&0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_keep_their_value() {
        for value in [1.0, -1.5, 5e-324, f64::MIN_POSITIVE, f64::MAX, -0.1] {
            let exact = Dyadic::from_f64(value).unwrap();
            assert_eq!(
                super::super::round_ratio(&exact, &Dyadic::from_f64(1.0).unwrap()).to_bits(),
                value.to_bits()
            );
        }
        assert!(Dyadic::from_f64(f64::NAN).is_none());
        assert!(Dyadic::from_f64(f64::INFINITY).is_none());
    }

    #[test]
    fn order_ignores_how_a_number_is_written() {
        let two = Dyadic::new(IBig::from(1), 1);
        let also_two = Dyadic::new(IBig::from(8), -2);
        assert_eq!(two, also_two);
        assert!(Dyadic::new(IBig::from(-1), 900) < Dyadic::ZERO);
        assert_eq!(also_two.log2_floor(), Some(1));
    }

    #[test]
    fn floor_rounds_down_on_both_sides_of_zero() {
        let seven_halves = Dyadic::new(IBig::from(7), -1);
        assert_eq!(seven_halves.floor_to(0), IBig::from(3));
        assert_eq!((-&seven_halves).floor_to(0), IBig::from(-4));
    }
}
