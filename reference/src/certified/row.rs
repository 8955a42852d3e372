//! The end of a row: quotients, logarithms, how far they may be off, and whether that leaves one rounding.
//!
//! # Error terms
//!
//! `u = 2^-53`, `n` columns, `S` segments, `D` the sum of the weights, `v` the largest magnitude of a channel's values,
//! `A` the largest product of norms among scores that were not exact (0 if all were), `d = head_dim`.
//!
//! ```text
//! delta = 2^-96 + scale A u^2 (2.1 d^2 + 20)                          error of an exponential's argument
//! G     = 1.01 (2^-80 + delta) D      the exponential, relative       (exponential.rs)
//!       + n (2^-135 + 2^-90)          the same, absolute; rounding of p3
//!       + S 2^-76.8                   sums of p3 v, fused or not      (loops.rs)
//!       + S 2^-90 D                   errors of wide sums             (loops.rs)
//!       + (2 S + S (S + 1) / 2) (2^-105 D + 2^-83) 1.01               adding up segments: number s rounds twice a sum of
//!                                                                     at most r = 2 u D + 2^-30, and once one of s r
//! |numerator - exact| <= G v,    |D - exact| <= G
//! E_o   = 1.05 G (v + |o|) / D + 2^-98 |o|
//! E_lse = 1.05 G / D + 1.01 * 2^-80 + delta + 2^-100 + 3 u (..) + 2^-98 |lse|
//! ```
//!
//! *Argument.* A score that is not exact is off by `1.01 d^2 u^2 A` (loops.rs), so is the maximum; forming their
//! difference in two numbers costs at most `6 u^2 A + u^2 |t| / scale`, a clamp at 0 no more than that again, and the
//! product with the scale `2^-104 |t|`, with `|t| <= 200`. The maximum itself is only a shift: it need not be right.
//!
//! *Quotient.* `q` is `N_h` times the rounded `1 / D_h`, off by at most `1.01 * 2 u |q|`, and the second part the exact
//! remainder times the same: what is left out or rounded is below `20 u^2 |o|`; `2^-98` is `2^8 u^2`, which also pays for
//! the roundings of the acceptance test.
//!
//! *Logarithm.* With `y` any number near `ln D`: `ln D = y + z - z^2 / 2 + ..`, `z = D e^-y - 1`, which is below `2^-50`
//! when `y` is good to an ulp or so; `3 u (..)` are the sums of the second parts.
//!
//! A value is accepted when `RN(value - E) = RN(value + E)`: rounding is monotone, so the exact value rounds there too
//! (A. Ziv, "Fast evaluation of elementary mathematical functions with correctly rounded last bit", ACM TOMS 17, 1991).

use super::exponential::EXPONENTIAL;
use crate::convert::f64_from_count;
use crate::exp::ln;
use crate::simd::{LANES, Portable, Task, Vector};

/// `2^exponent`, for normal results.
#[inline]
fn power(exponent: i32) -> f64 {
    let field = u64::try_from(exponent + 1023).expect("an exponent of a normal f64");
    f64::from_bits(field << 52)
}

fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let part = sum - a;
    (sum, (a - (sum - part)) + (b - part))
}

fn two_product(a: f64, b: f64) -> (f64, f64) {
    let (product, error) = Portable::splat(a).two_product(Portable::splat(b));
    (product.store()[0], error.store()[0])
}

/// Sum of the weights of a row, segment by segment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    high: f64,
    low: f64,
}

impl Sums {
    /// Adds the sums of the three slices of a segment.
    pub(super) fn add(&mut self, [first, second, third]: [f64; 3]) {
        let (sum, error) = two_sum(first, second);
        let (total, total_error) = two_sum(self.high, sum);
        self.high = total;
        self.low += total_error + (error + third);
    }
}

/// What is known of a row's errors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    sum: (f64, f64),
    max: (f64, f64),
    scale: f64,
    /// Error of an exponential's argument.
    delta: f64,
    /// Absolute error of the sum of weights, and of weighted sums of values up to 1.
    error: f64,
    /// 1; tests make it smaller to see the bound fail.
    factor: f64,
}

/// A value as two numbers, and how far it may be off.
#[derive(Clone, Copy, Debug)]
pub(super) struct Certified {
    pub(super) high: f64,
    pub(super) low: f64,
    pub(super) error: f64,
}

impl Certified {
    /// The one rounding, if there is one.
    fn rounded(self) -> Option<f64> {
        let Self { high, low, error } = self;
        let rounds_to_high = |x: f64| (high + x).to_bits() == high.to_bits();
        // Far from the subnormal numbers, or the exact products above were not.
        (high.abs() > power(-900) && rounds_to_high(low + error) && rounds_to_high(low - error))
            .then_some(high)
    }
}

impl Bounds {
    /// `counts` are `head_dim`, columns and segments; `scale` is not negative.
    pub(super) fn new(
        sums: &Sums,
        max: (f64, f64),
        scale: f64,
        magnitude: f64,
        counts: (usize, usize, usize),
        factor: f64,
    ) -> Self {
        let sum = two_sum(sums.high, sums.low);
        let [d, n, s] = [counts.0, counts.1, counts.2].map(f64_from_count);
        let delta = power(-96) + scale * magnitude * power(-106) * (2.1 * d * d + 20.0);
        let error = 1.01 * (power(-80) + delta) * sum.0
            + n * (power(-135) + power(-90))
            + s * (1.15 * power(-77) + power(-90) * sum.0)
            + 1.01 * (2.0 * s + 0.5 * s * (s + 1.0)) * (power(-105) * sum.0 + power(-83));
        // The terms of second order that 1.01 and 1.05 pay for.
        let valid = delta <= power(-10) && error <= power(-10) * sum.0 && sum.0 >= 0.5;
        Self {
            sum,
            max,
            scale,
            delta,
            error: if valid { error } else { f64::INFINITY },
            factor,
        }
    }

    /// Quotients of weighted sums and the sum of the weights, each in two numbers, and how far they may be off.
    #[inline(always)]
    fn quotient<V: Vector>(&self, sums: (V, V), v_max: V) -> (V, V, V) {
        let (sum, sum_low) = (V::splat(self.sum.0), V::splat(self.sum.1));
        let inverse = V::splat(1.0 / self.sum.0);
        let (numerator, low) = sums.0.two_sum(sums.1);
        let quotient = numerator.mul(inverse);
        let (product, product_error) = quotient.two_product(sum);
        let remainder = numerator.sub(product).sub(product_error);
        let rest = remainder.add(low.sub(quotient.mul(sum_low))).mul(inverse);
        let (high, low) = quotient.two_sum(rest);
        let zero = V::splat(0.0);
        let size = high
            .where_above(high, zero)
            .sub(high.where_above(zero, high));
        let error = V::splat(1.05 * self.error / self.sum.0).mul(v_max.add(size));
        let error = error.add(V::splat(power(-98)).mul(size));
        (high, low, error.mul(V::splat(self.factor)))
    }

    /// The quotient of one channel.
    #[cfg(test)]
    pub(super) fn certified(&self, sums: (f64, f64), v_max: f64) -> Certified {
        let splat = Portable::splat;
        let (high, low, error) = self.quotient((splat(sums.0), splat(sums.1)), splat(v_max));
        let [high, low, error] = [high, low, error].map(|x| x.store()[0]);
        Certified { high, low, error }
    }

    /// `scale max + ln sum` in two numbers.
    pub(super) fn logarithm(&self) -> Option<Certified> {
        let (sum, sum_low) = self.sum;
        let y = ln(sum)?;
        let (e_high, e_low) = EXPONENTIAL.of(Portable::splat(-y), Portable::splat(0.0));
        let (e_high, e_low) = (e_high.store()[0], e_low.store()[0]);
        let (product, product_error) = two_product(sum, e_high);
        let z = (product - 1.0) + (product_error + (sum * e_low + sum_low * e_high));
        let z = z - 0.5 * z * z;
        let (x, x_error) = two_product(self.scale, self.max.0);
        let x_second = self.scale * self.max.1;
        let x_low = x_error + x_second;
        let (total, total_error) = two_sum(x, y);
        let (high, low) = two_sum(total, total_error + (z + x_low));
        let seconds = total_error.abs() + z.abs() + x_low.abs() + x_second.abs();
        let error = 1.05 * self.error / sum
            + 1.01 * power(-80)
            + self.delta
            + power(-100)
            + 3.0 * power(-53) * seconds
            + power(-98) * high.abs();
        (z.abs() < power(-30)).then_some(Certified {
            high,
            low,
            error: error * self.factor,
        })
    }

    /// The log-sum-exp, if its rounding is certain.
    pub(super) fn log_sum_exp(&self) -> Option<f64> {
        self.logarithm()?.rounded()
    }
}

/// The quotients of a row, as many at a time as registers hold.
pub(super) struct Quotients<'a> {
    pub(super) bounds: &'a Bounds,
    /// Weighted sums, whole groups of channels.
    pub(super) high: &'a [f64],
    pub(super) low: &'a [f64],
    /// Largest magnitudes of the values.
    pub(super) v_max: &'a [f64],
    /// The quotients, rounded.
    pub(super) rounded: &'a mut [f64],
    /// Where the largest and the smallest possible value round to, less that: 0, or the rounding is not certain.
    pub(super) doubt: [&'a mut [f64]; 2],
}

impl Quotients<'_> {
    /// Whether a rounding is certain: far from the subnormal numbers too, or the exact products were not.
    pub(super) fn is_certain(rounded: f64, doubts: [f64; 2]) -> bool {
        rounded.abs() > power(-900) && doubts.iter().all(|&doubt| doubt == 0.0)
    }
}

impl Task for Quotients<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector, const S: usize, const P: usize, const W: usize>(self) {
        let [up, down] = self.doubt;
        for first in (0..self.high.len()).step_by(LANES) {
            let at = first..first + LANES;
            let load = |numbers: &[f64]| -> V {
                V::load(numbers[at.clone()].try_into().expect("as many lanes"))
            };
            let sums = (load(self.high), load(self.low));
            let (high, low, error) = self.bounds.quotient(sums, load(self.v_max));
            let doubts = [low.add(error), low.sub(error)].map(|x| high.add(x).sub(high));
            self.rounded[at.clone()].copy_from_slice(&high.store());
            up[at.clone()].copy_from_slice(&doubts[0].store());
            down[at.clone()].copy_from_slice(&doubts[1].store());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_round_two_ways_is_not_accepted() {
        let of = |low: f64, error: f64| {
            Certified {
                high: 1.0,
                low,
                error,
            }
            .rounded()
        };
        assert_eq!(of(0.0, power(-60)), Some(1.0));
        assert_eq!(of(power(-53), power(-90)), None); // the tie itself
        assert_eq!(of(power(-53) - power(-80), power(-90)), Some(1.0));
        assert_eq!(of(power(-53) - power(-80), power(-79)), None);
        assert_eq!(of(-power(-54), power(-90)), None); // below 1 floats are twice as dense
        assert_eq!(of(0.0, f64::NAN), None);
        assert_eq!(of(0.0, f64::INFINITY), None);
    }
}
