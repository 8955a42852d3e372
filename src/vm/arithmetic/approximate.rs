//! Other values of `.approx` functions of f32 than the nearest: the least, the greatest or any that the ISA allows.
//!
//! | function | allowed (PTX ISA 9.7.3) |
//! |---|---|
//! | `ex2` | 2 ulp from the correctly rounded result |
//! | `rcp` | 1 ulp from it |
//! | `sqrt` | relative error 2^-23 |
//! | `rsqrt` | relative error 2^-22.9 |
//! | `lg2` | absolute error 2^-22 for arguments in (0.5, 2), else relative error 2^-22 |
//! | `sin`, `cos` | absolute error 2^-20.9 for arguments in [-2 pi, 2 pi] |
//! | `tanh` | relative error 2^-11 |
//!
//! Results that the ISA pins (of zeros, infinities, NaN) stay, and so do zero, subnormal and infinite results, and
//! results whose interval contains zero.

use super::super::grid::mix;
use super::super::launch::{Approx, Options};
use super::function;
use crate::convert::f64_to_f32;
use crate::ptx::MathFunction;

/// 2^-0.9, rounded down.
const TWO_TO_MINUS_0_9: f64 = 0.535_886;

/// The result chosen by `options` for the argument `x` (bits), where `nearest` (bits) is the nearest one.
pub(crate) fn within(function: MathFunction, x: u32, nearest: u32, options: &Options) -> u32 {
    let (argument, result) = (f32::from_bits(x), f32::from_bits(nearest));
    if !result.is_normal() || !argument.is_finite() || argument == 0.0 {
        return nearest;
    }
    let Some([low, high]) = interval(function, argument, result) else {
        return nearest;
    };
    match options.approx {
        Approx::Nearest => nearest,
        Approx::Low => low.to_bits(),
        Approx::High => high.to_bits(),
        Approx::Seeded => {
            // Of one sign, so their bits are ordered as their magnitudes are.
            let [a, b] = [
                low.to_bits().min(high.to_bits()),
                low.to_bits().max(high.to_bits()),
            ];
            let count = u64::from(b - a) + 1;
            let drawn = mix(options.seed ^ u64::from(x) << 8 ^ u64::from(nearest) << 40) % count;
            a + u32::try_from(drawn).expect("below a count of 32 bits")
        }
    }
}

/// Least and greatest allowed results, normal and of the sign of `nearest`.
fn interval(function: MathFunction, x: f32, nearest: f32) -> Option<[f32; 2]> {
    let steps = |count: usize| {
        let up = (0..count).fold(nearest, |at, _| at.next_up());
        let down = (0..count).fold(nearest, |at, _| at.next_down());
        [down, up]
    };
    let argument = f64::from(x);
    let around = |exact: f64, error: f64| {
        let [low, high] = [f64_to_f32(exact - error), f64_to_f32(exact + error)];
        let low = if f64::from(low) < exact - error {
            low.next_up()
        } else {
            low
        };
        let high = if f64::from(high) > exact + error {
            high.next_down()
        } else {
            high
        };
        [low.min(nearest), high.max(nearest)]
    };
    let relative = |exact: f64, error: f64| around(exact, exact.abs() * error);
    let power = |n: i32| 2.0_f64.powi(n);
    let found = match function {
        MathFunction::Ex2 => steps(2),
        MathFunction::Rcp => steps(1),
        MathFunction::Sqrt => relative(argument.sqrt(), power(-23)),
        MathFunction::Rsqrt => relative(function::rsqrt(argument), power(-22) * TWO_TO_MINUS_0_9),
        MathFunction::Lg2 => {
            let exact = function::lg2(argument);
            if x > 0.5 && x < 2.0 {
                around(exact, power(-22))
            } else {
                relative(exact, power(-22))
            }
        }
        MathFunction::Sin | MathFunction::Cos => {
            if argument.abs() > std::f64::consts::TAU {
                return None;
            }
            let exact = if function == MathFunction::Sin {
                function::sin(argument)
            } else {
                function::cos(argument)
            };
            around(exact, power(-20) * TWO_TO_MINUS_0_9)
        }
        MathFunction::Tanh => relative(function::tanh(argument), power(-11)),
    };
    let kept = |y: f32| y.is_normal() && (y > 0.0) == (nearest > 0.0);
    found.into_iter().all(kept).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(function: MathFunction, x: f32, nearest: f32, approx: Approx, seed: u64) -> f32 {
        let options = Options {
            approx,
            seed,
            ..Options::default()
        };
        f32::from_bits(within(function, x.to_bits(), nearest.to_bits(), &options))
    }

    #[test]
    fn results_stay_in_the_documented_interval_and_reach_both_ends() {
        let x = 0.3_f32;
        let nearest = f64_to_f32(function::ex2(f64::from(x)));
        let low = chosen(MathFunction::Ex2, x, nearest, Approx::Low, 0);
        let high = chosen(MathFunction::Ex2, x, nearest, Approx::High, 0);
        assert_eq!(
            [
                nearest.to_bits() - low.to_bits(),
                high.to_bits() - nearest.to_bits()
            ],
            [2, 2]
        );
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let y = chosen(MathFunction::Ex2, x, nearest, Approx::Seeded, seed);
            assert!(low <= y && y <= high);
            seen.insert(y.to_bits());
        }
        assert_eq!(seen.len(), 5);
        for (x, bound) in [(1.4_f32, 2.0_f64.powi(-22)), (0.7, 2.0_f64.powi(-22))] {
            let exact = function::lg2(f64::from(x));
            for approx in [Approx::Low, Approx::High] {
                let y = chosen(MathFunction::Lg2, x, f64_to_f32(exact), approx, 0);
                let error = (f64::from(y) - exact).abs();
                assert!(error <= bound && error > bound / 2.0, "{x} {error:e}");
            }
        }
    }

    #[test]
    fn pinned_results_stay() {
        for approx in [Approx::Low, Approx::High, Approx::Seeded] {
            let chosen = |function, x, nearest| chosen(function, x, nearest, approx, 3);
            assert_eq!(
                chosen(MathFunction::Ex2, 0.0, 1.0).to_bits(),
                1.0_f32.to_bits()
            );
            assert_eq!(chosen(MathFunction::Ex2, -200.0, 0.0).to_bits(), 0);
            assert!(chosen(MathFunction::Lg2, -1.0, f32::NAN).is_nan());
            assert_eq!(
                chosen(MathFunction::Rcp, f32::MAX, 1.0 / f32::MAX).to_bits(),
                (1.0 / f32::MAX).to_bits()
            );
            // The interval around lg2(1) = 0 has both signs.
            assert_eq!(chosen(MathFunction::Lg2, 1.0, 0.0).to_bits(), 0);
        }
    }
}
