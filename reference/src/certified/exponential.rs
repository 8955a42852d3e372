//! The exponential of a sum of two f64, to 80 bits.
//!
//! # Method
//!
//! For `t = t_high + t_low` with `-200 < t_high <= 0` and `|t_low| <= 2^-51 |t_high|` (P. Tang, "Table-driven
//! implementation of the exponential function", ACM TOMS 15, 1989, with the sums carried in two numbers):
//!
//! ```text
//! n      = round(t_high 256 / ln 2)                             |n| < 2^14 for t >= -40, |n| < 2^17 always
//! z + y  = (t_high - n L1) + (t_low - n L2)                     L1 + L2 = ln 2 / 256, L1 of 34 bits, |L2| <= 2^-43
//! e^(z+y) - 1 = z + z^2/2 + z^3 (1/6 + .. + z^4/5040) + y + z y
//! e^t    = 2^(n/256) (1 + (e^(z+y) - 1))                        2^(i/256) from a table, in two numbers
//! ```
//!
//! # Error
//!
//! `n L1` and `t_high - n L1` are exact, `|z| < 2^-9.5`, `|y| <= 2^-63`. Relative to `e^t`, in units of `2^-85`, for
//! `t >= -40`, fused or not: the product `n L2` 4, its sum with `t_low` 4, the rounding of `L2` 4; `y z^2 / 2` left out 4;
//! `z^3 q` 9.2 (five relative roundings of a number below `2^-31`), the series cut at `z^8` 0.02; three sums below `2^-31`
//! 3; the last product, below 0.01. That is 28.3, and **below `2^-80` relative**. For `-200 < t < -40` the first three are
//! at most `2^-78` together, of a result below `2^-57.7`: **below `2^-135` absolute**. Below -200 the result is 0, off by
//! less than `2^-288`.

use crate::exact::{Dyadic, Enclosure, exp_of_negative, ln, round_ratio};
use crate::simd::{TABLE_LEN, Table, Vector};
use dashu_int::IBig;
use std::sync::LazyLock;

/// At and below this the exponential counts as 0.
const NOTHING_BELOW: f64 = -200.0;
/// Adding it leaves a whole number in the low bits: 1.5 * 2^52.
const TO_WHOLE: f64 = 6_755_399_441_055_744.0;

/// Constants of the method.
pub(super) struct Exponential {
    high: Box<Table>,
    low: Box<Table>,
    /// `ln 2 / 256` to 34 bits.
    step_high: f64,
    /// The rest of it.
    step_low: f64,
    /// `256 / ln 2`.
    steps: f64,
}

/// The constants, computed once from their definition.
pub(super) static EXPONENTIAL: LazyLock<Exponential> = LazyLock::new(Exponential::new);

impl Exponential {
    fn new() -> Self {
        const BITS: usize = 260;
        let power = |exponent: i64| Dyadic::new(IBig::from(1), exponent);
        let nearest = |x: &Dyadic| round_ratio(x, &power(0));
        let exact = |x: f64| Dyadic::from_f64(x).expect("a finite constant");
        let two = Dyadic::new(IBig::from(1) << (BITS + 1), -260);
        let ln_2 = ln(&Enclosure::exact(&two)).low(); // off by less than 2^-250
        let step = &ln_2 * &power(-8);
        let step_high = Dyadic::new((&step + &power(-43)).floor_to(-42), -42);
        let (mut high, mut low) = (Box::new([0.0; TABLE_LEN]), Box::new([0.0; TABLE_LEN]));
        (high[0], low[0]) = (1.0, 0.0);
        for index in 1..TABLE_LEN {
            let down = &step * &Dyadic::new(IBig::from(TABLE_LEN - index), 0);
            let value = &exp_of_negative(&down, BITS).low() * &power(1);
            high[index] = nearest(&value);
            low[index] = nearest(&(&value - &exact(high[index])));
        }
        Self {
            high,
            low,
            step_low: nearest(&(&step - &step_high)),
            step_high: nearest(&step_high),
            steps: 256.0 * std::f64::consts::LOG2_E,
        }
    }

    /// `e^(t_high + t_low)` as a sum of two numbers; see the module. 0 where `t_high` is NaN or at most -200.
    #[inline(always)]
    pub(super) fn of<V: Vector>(&self, t_high: V, t_low: V) -> (V, V) {
        let floor = V::splat(NOTHING_BELOW);
        let (high, low) = (
            t_high.where_above(t_high, floor),
            t_low.where_above(t_high, floor),
        );
        let to_whole = V::splat(TO_WHOLE);
        let shifted = high.mul_add(V::splat(self.steps), to_whole);
        let n = to_whole.sub(shifted); // minus n
        let rest = n.mul_add(V::splat(self.step_low), low);
        let (z, y) = n.mul_add(V::splat(self.step_high), high).two_sum(rest);

        let half = z.mul(V::splat(0.5));
        let (square, square_error) = half.two_product(z);
        let series = z.mul_add(V::splat(1.0 / 5040.0), V::splat(1.0 / 720.0));
        let series = z.mul_add(series, V::splat(1.0 / 120.0));
        let series = z.mul_add(series, V::splat(1.0 / 24.0));
        let series = z.mul_add(series, V::splat(1.0 / 6.0));
        let cube = z.mul(z).mul(z).mul(series);
        let (sum, sum_error) = z.fast_two_sum(square);
        let tail = z.mul_add(y, y).add(cube).add(square_error).add(sum_error);
        let (e_high, e_low) = sum.fast_two_sum(tail);

        let (table_high, table_low) = (shifted.look_up(&self.high), shifted.look_up(&self.low));
        let (product, product_error) = table_high.two_product(e_high);
        let (result, result_error) = table_high.fast_two_sum(product);
        let small = table_high.mul_add(e_low, table_low.mul(e_high));
        let result_low = small.add(product_error).add(table_low).add(result_error);
        let power = shifted.power_of_quotient();
        (
            result.mul(power).where_above(t_high, floor),
            result_low.mul(power).where_above(t_high, floor),
        )
    }

    /// `e^t` to about 50 bits for `t <= 0`, with what plain f64 has; 0 at and below -200.
    #[inline(always)]
    pub(super) fn single<V: Vector>(&self, t: V) -> V {
        let floor = V::splat(NOTHING_BELOW);
        let high = t.where_above(t, floor);
        let to_whole = V::splat(TO_WHOLE);
        let shifted = high.mul_add(V::splat(self.steps), to_whole);
        let n = to_whole.sub(shifted); // minus n
        let z = n.mul_add(V::splat(self.step_high), high);
        let z = n.mul_add(V::splat(self.step_low), z);
        let series = z.mul_add(V::splat(1.0 / 120.0), V::splat(1.0 / 24.0));
        let series = z.mul_add(series, V::splat(1.0 / 6.0));
        let series = z.mul_add(series, V::splat(0.5));
        let series = z.mul(z).mul_add(series, z);
        let table = shifted.look_up(&self.high);
        let power = shifted.power_of_quotient();
        table
            .mul_add(series, table)
            .mul(power)
            .where_above(t, floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Draws;
    use crate::simd::{LANES, Lanes, Level, Task};

    struct Of<'a>(&'a mut Lanes, &'a mut Lanes);

    impl Task for Of<'_> {
        type Output = ();
        #[inline(always)]
        fn run<V: Vector, const S: usize, const P: usize, const W: usize>(self) {
            let (high, low) = EXPONENTIAL.of(V::load(self.0), V::load(self.1));
            (*self.0, *self.1) = (high.store(), low.store());
        }
    }

    /// Distance from the exponential in units of its bound, from enclosures of 300 bits.
    fn share(t: (f64, f64), found: (f64, f64)) -> f64 {
        let exact = |x: f64| Dyadic::from_f64(x).unwrap();
        let real = exp_of_negative(&-&(&exact(t.0) + &exact(t.1)), 600).low();
        let distance = &(&exact(found.0) + &exact(found.1)) - &real;
        let magnitude = if distance.signum() < 0 {
            -&distance
        } else {
            distance
        };
        let bound = 2f64.powi(-80) * t.0.exp() + 2f64.powi(-135);
        round_ratio(&magnitude, &exact(bound))
    }

    #[test]
    fn the_error_is_below_its_bound_at_every_level() {
        for level in Level::available() {
            let mut draws = Draws::from_seed(5);
            let mut unit = || f64::from_bits(0x3ff0_0000_0000_0000 | draws.bits() >> 12) - 1.0;
            let mut worst: f64 = 0.0;
            for round in 0..600 {
                let reach = [0.002, 1.0, 40.0, 200.0][round % 4];
                let t: [(f64, f64); LANES] = std::array::from_fn(|_| {
                    let high = -reach * unit();
                    (high, high * 2f64.powi(-53) * (unit() * 2.0 - 1.0))
                });
                let (mut high, mut low) = (t.map(|t| t.0), t.map(|t| t.1));
                level.run(Of(&mut high, &mut low));
                for (t, found) in t.into_iter().zip(high.into_iter().zip(low)) {
                    worst = worst.max(share(t, found));
                }
            }
            println!("{level:?}: at most {worst} of the bound");
            assert!(worst < 1.0, "{level:?}: {worst} times the bound");
            assert!(worst > 0.02, "{level:?}: the measure sees nothing");
        }
        // The measure sees the 80th bit.
        assert!(share((-1.0, 0.0), ((-1.0_f64).exp(), 0.0)) > 1.0);
    }

    #[test]
    fn zero_gives_one_and_nothing_gives_nothing() {
        for level in Level::available() {
            let mut high = [
                0.0,
                -0.0,
                f64::NEG_INFINITY,
                f64::NAN,
                -200.0,
                -1e300,
                0.0,
                0.0,
            ];
            let mut low = [0.0, 0.0, f64::NAN, 0.0, 0.0, 0.0, 0.0, 0.0];
            level.run(Of(&mut high, &mut low));
            let expected = [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0];
            assert_eq!(high.map(f64::to_bits), expected.map(f64::to_bits));
            assert_eq!(low.map(f64::to_bits), [0; 8]);
        }
    }
}
