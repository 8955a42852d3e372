//! Distances between floating-point numbers, counted in representable numbers.
//!
//! Numbers of a format are put in one line: ..., -2nd smallest, -smallest, 0, smallest, ..., largest, infinity. The
//! distance is the number of steps between two places of that line; `-0` and `+0` share one place, and each infinity
//! is one step beyond the largest finite number. NaN has no place, so nothing is within any distance of it.

use half::{bf16, f16};
use std::fmt;

/// A count of steps between neighbouring numbers of one format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ulps(pub u64);

/// A format whose numbers have a place in the line.
pub trait Float: Copy {
    /// Steps from zero, negative below it; `None` for NaN.
    fn place(self) -> Option<i64>;
}

/// Steps between two numbers; `None` when either is NaN.
///
/// ```
/// use flashproof::ulp::{Ulps, distance};
/// assert_eq!(distance(1.0_f32, 1.0 + f32::EPSILON), Some(Ulps(1)));
/// assert_eq!(distance(0.0_f32, -0.0), Some(Ulps(0)));
/// assert_eq!(distance(f32::NAN, f32::NAN), None);
/// ```
pub fn distance<F: Float>(a: F, b: F) -> Option<Ulps> {
    Some(Ulps(a.place()?.abs_diff(b.place()?)))
}

/// Whether `actual` lies within `bound` steps of `expected`. NaN is within nothing.
pub fn is_within<F: Float>(actual: F, expected: F, bound: Ulps) -> bool {
    distance(actual, expected).is_some_and(|ulps| ulps <= bound)
}

impl Float for f16 {
    fn place(self) -> Option<i64> {
        let steps = i64::from(self.to_bits() & 0x7fff);
        (!self.is_nan()).then_some(if self.is_sign_negative() {
            -steps
        } else {
            steps
        })
    }
}

impl Float for bf16 {
    fn place(self) -> Option<i64> {
        let steps = i64::from(self.to_bits() & 0x7fff);
        (!self.is_nan()).then_some(if self.is_sign_negative() {
            -steps
        } else {
            steps
        })
    }
}

impl Float for f32 {
    fn place(self) -> Option<i64> {
        let steps = i64::from(self.to_bits() & 0x7fff_ffff);
        (!self.is_nan()).then_some(if self.is_sign_negative() {
            -steps
        } else {
            steps
        })
    }
}

impl Float for f64 {
    fn place(self) -> Option<i64> {
        let steps = i64::try_from(self.to_bits() & !(1 << 63)).expect("63 bits");
        (!self.is_nan()).then_some(if self.is_sign_negative() {
            -steps
        } else {
            steps
        })
    }
}

impl fmt::Display for Ulps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ulp", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    #[test]
    fn nan_is_within_no_distance_of_anything() {
        let forever = Ulps(u64::MAX);
        assert!(!is_within(f16::NAN, f16::ONE, forever));
        assert!(!is_within(bf16::ONE, bf16::NAN, forever));
        assert!(!is_within(f32::NAN, f32::NAN, forever));
        assert!(!is_within(f64::NAN, 0.0, forever));
    }

    #[test]
    fn the_line_has_no_gap_at_zero_or_infinity() {
        assert_eq!(
            distance(f16::from_bits(1), f16::from_bits(0x8001)),
            Some(Ulps(2))
        );
        assert_eq!(distance(f16::MAX, f16::INFINITY), Some(Ulps(1)));
        assert_eq!(
            distance(bf16::ONE, bf16::from_bits(bf16::ONE.to_bits() + 3)),
            Some(Ulps(3))
        );
        assert_eq!(
            distance(f64::NEG_INFINITY, f64::INFINITY),
            Some(Ulps(2 * 0x7ff0_0000_0000_0000))
        );
    }

    quickcheck! {
        fn symmetric(a: f32, b: f32) -> bool {
            distance(a, b) == distance(b, a)
        }

        fn zero_only_between_equals(a: f32, b: f32) -> bool {
            a.is_nan() || b.is_nan() || (distance(a, b) == Some(Ulps(0))) == a.partial_cmp(&b).is_some_and(|order| order.is_eq())
        }

        fn triangle(a: f64, b: f64, c: f64) -> bool {
            match (distance(a, b), distance(b, c), distance(a, c)) {
                (Some(ab), Some(bc), Some(ac)) => u128::from(ac.0) <= u128::from(ab.0) + u128::from(bc.0),
                _ => true, // a NaN among them
            }
        }
    }
}
