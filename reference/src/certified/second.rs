//! The second level: a row in 192-bit fixed point, for the values that the first leaves open.
//!
//! Scores are exact: every product of two f32 is a whole multiple of `2^-298` below `2^256`, and sums of them are kept in
//! 640 bits. `y = scale (max - score)` is exact before it is rounded down to a unit of `2^-192`, weights `P = e^-y` are off
//! by at most 8 units (`fixed.rs`), and values are whole multiples of `2^-149`, so that with `V` a value in such units
//!
//! ```text
//! |N - sum P V 2^-341| <= 8 sum |V| 2^-341,    |D - sum P 2^-192| <= 8 n 2^-192,    D >= 1
//! ```
//!
//! where both sums are exact integers. Quotient and `max + ln D` are enclosed from there and rounded as the definition
//! rounds, in rational arithmetic; a value whose enclosure has two roundings is left to the definition.

use super::fixed::{ERROR, exp_of_minus};
use super::words::{Fixed, Sum, odd, shifted_right, times};
use crate::exact::{Dyadic, Enclosure, Rounded, ln, round_enclosure, round_quotient};
use dashu_int::IBig;

/// Fraction bits of weights.
pub(super) const BITS: usize = 192;
/// Products of two f32 are whole multiples of 2 to this (of `2^-298` even: lower, so that a scale only shifts right).
const PRODUCT_UNIT: i32 = -320;
/// And f32 themselves of 2 to this.
const VALUE_UNIT: i32 = -149;

/// A score before the scale.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Score(Sum);

impl Score {
    /// The score that f64 holds exactly.
    pub(super) fn of(score: f64) -> Self {
        let mut sum = Sum::default();
        sum.add_f64(score, PRODUCT_UNIT);
        Self(sum)
    }

    /// The dot product of f32 numbers.
    pub(super) fn dot(pairs: impl Iterator<Item = (f64, f64)>) -> Self {
        let mut sum = Sum::default();
        for (q, k) in pairs {
            sum.add_f64(q * k, PRODUCT_UNIT); // exact: two numbers of 24 bits
        }
        Self(sum)
    }
}

/// The weights of a row.
pub(super) struct Second {
    /// Keys that are seen, with their weights.
    weights: Vec<(usize, Fixed)>,
    /// Their sum.
    sum: Enclosure,
    /// `scale max`.
    max: Dyadic,
}

impl Second {
    /// The row of these keys and scores, of which there must be one; `scale`, an f32, is not negative.
    pub(super) fn new(scores: &[(usize, Score)], scale: f64) -> Option<Self> {
        let mut max = scores.first()?.1;
        for (_, score) in scores {
            if score.0.is_above(&max.0) {
                max = *score;
            }
        }
        let (mantissa, exponent) = odd(scale);
        let shift =
            usize::try_from(UNIT_OVER_PRODUCT_UNIT - exponent).expect("an f32 is below 2^128");
        let mut total = Sum::default();
        let weights = scores.iter().map(|(key, score)| {
            let weight = exp_of_minus(argument(max.0.less(&score.0), mantissa, shift));
            total.add(weight, 0, false);
            (*key, weight)
        });
        let weights: Vec<_> = weights.collect();
        let error = IBig::from(ERROR) * IBig::from(weights.len());
        Some(Self {
            weights,
            // ln is taken of it: it and the true sum are at least 1, the weight of the largest score.
            sum: Enclosure::new(total.integer(), error, BITS),
            max: &Dyadic::new(max.0.integer(), i64::from(PRODUCT_UNIT))
                * &Dyadic::new(IBig::from(mantissa), i64::from(exponent)),
        })
    }

    /// The weighted mean of a channel, if its rounding is certain; `value` gives the f32 of a key.
    pub(super) fn output(&self, value: impl Fn(usize) -> f64) -> Option<f64> {
        let (mut numerator, mut reach) = (Sum::default(), Sum::default());
        for &(key, weight) in &self.weights {
            let v = value(key);
            let (mantissa, exponent) = odd(v);
            if mantissa != 0 {
                let shift = usize::try_from(exponent - VALUE_UNIT).expect("a multiple of the unit");
                let (product, over) = times(weight, mantissa); // at most 2^192 times 2^24
                debug_assert_eq!(over, 0);
                numerator.add(product, shift, v < 0.0);
                reach.add([mantissa], shift, false);
            }
        }
        let error = reach.integer() * IBig::from(ERROR);
        let numerator = Enclosure::new(numerator.integer(), error, BITS + 149);
        decided(round_quotient(&numerator, &self.sum))
    }

    /// The log-sum-exp, if its rounding is certain.
    pub(super) fn log_sum_exp(&self) -> Option<f64> {
        decided(round_enclosure(&ln(&self.sum).plus(&self.max)))
    }
}

/// Product units are this much smaller than `2^-192`, as a power of 2.
const UNIT_OVER_PRODUCT_UNIT: i32 = 320 - 192;

fn decided(rounded: Rounded) -> Option<f64> {
    match rounded {
        Rounded::To(value) => Some(value),
        Rounded::Boundary(_) | Rounded::Wide => None,
    }
}

/// `scale` times a difference of scores, rounded down to a unit; the largest number where it is larger.
fn argument(difference: [u64; 10], mantissa: u64, shift: usize) -> Fixed {
    let (low, high) = times(difference, mantissa);
    let mut words = [0; 11];
    words[..10].copy_from_slice(&low);
    words[10] = high;
    let mut argument = [0; 4];
    for (index, word) in shifted_right(&words, shift).enumerate() {
        match argument.get_mut(index) {
            Some(place) => *place = word,
            None if word != 0 => return [u64::MAX; 4],
            None => {}
        }
    }
    argument
}
