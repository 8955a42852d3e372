//! Numbers known to lie between two dyadics, in fixed point: exponentials and logarithms of any precision.

use super::Dyadic;
use dashu_int::{IBig, ops::BitTest};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// `(value +- error) * 2^-bits`: the number meant differs from `value * 2^-bits` by at most `error * 2^-bits`.
#[derive(Clone, Debug)]
pub(crate) struct Enclosure {
    value: IBig,
    error: IBig,
    bits: usize,
}

impl Enclosure {
    /// The numbers `(value +- error) * 2^-bits`; `error` must not be negative.
    pub(crate) fn new(value: IBig, error: IBig, bits: usize) -> Self {
        Self { value, error, bits }
    }

    /// Just this number.
    pub(crate) fn exact(value: &Dyadic) -> Self {
        let bits = usize::try_from(-value.exponent()).unwrap_or(0);
        Self {
            value: value.in_units_of(-to_i64(bits)),
            error: IBig::ZERO,
            bits,
        }
    }

    /// Lower end.
    pub(crate) fn low(&self) -> Dyadic {
        Dyadic::new(&self.value - &self.error, -to_i64(self.bits))
    }

    /// Upper end.
    pub(crate) fn high(&self) -> Dyadic {
        Dyadic::new(&self.value + &self.error, -to_i64(self.bits))
    }

    /// Sum of `weight * factor` over terms of the same precision; the factors are exact.
    pub(crate) fn weighted_sum<'a>(
        bits: usize,
        terms: impl Iterator<Item = (&'a Self, &'a Dyadic)> + Clone,
    ) -> Self {
        // In units of the lowest factor every factor is an integer, and so is the sum of products.
        let unit = terms
            .clone()
            .filter(|(_, f)| !f.is_zero())
            .map(|(_, f)| f.exponent())
            .min()
            .unwrap_or(0)
            .min(0);
        let mut total = Self {
            value: IBig::ZERO,
            error: IBig::ZERO,
            bits: bits + to_usize(-unit),
        };
        for (weight, factor) in terms {
            debug_assert_eq!(weight.bits, bits);
            let factor = factor.in_units_of(unit);
            total.value += &weight.value * &factor;
            total.error += &weight.error * magnitude(&factor);
        }
        total
    }

    /// Product of two enclosed numbers.
    pub(crate) fn times(&self, other: &Self) -> Self {
        let (a, b) = (magnitude(&self.value), magnitude(&other.value));
        Self {
            value: &self.value * &other.value,
            error: a * &other.error + b * &self.error + &self.error * &other.error,
            bits: self.bits + other.bits,
        }
    }

    /// Sum of an exact number and this.
    pub(crate) fn plus(&self, other: &Dyadic) -> Self {
        let bits = self
            .bits
            .max(usize::try_from(-other.exponent()).unwrap_or(0));
        let shift = bits - self.bits;
        Self {
            value: (&self.value << shift) + other.in_units_of(-to_i64(bits)),
            error: &self.error << shift,
            bits,
        }
    }
}

/// `e^-x` for an exact `x >= 0`, within 2 units of `2^-bits`.
///
/// Method: `x = k ln2 + r` with `0 <= r < ln2`; `e^-r = (e^(-r / 2^16))^(2^16)` by the alternating series of the small
/// argument, then 16 squarings; then a shift by `k`. With `g = 64` guard bits: the argument is wrong by less than
/// `(k + 2) 2^-(bits+g)`; each term and each squaring is wrong by at most one unit, and a squaring doubles what was
/// wrong before, so less than `2^16 * (terms + 3) + (k + 2)` units of `2^-(bits+g)` at the end, far below one unit of
/// `2^-bits` (terms < 2^20, k < 2^40).
pub(crate) fn exp_of_negative(x: &Dyadic, bits: usize) -> Enclosure {
    const GUARD: usize = 64;
    const SQUARINGS: usize = 16;
    let result = |value: IBig, error: u8| Enclosure {
        value,
        error: IBig::from(error),
        bits,
    };
    if x.is_zero() {
        return result(IBig::from(1) << bits, 0);
    }
    debug_assert!(x.signum() > 0);
    // e^-x < 2^-x: nothing is left of it from x = bits + 1 on. log2_floor keeps huge exponents from being expanded.
    let limit = to_i64(bits) + 1;
    if x.log2_floor().is_some_and(|log| log >= 40) || x.floor_to(0) >= IBig::from(limit) {
        return result(IBig::ZERO, 1);
    }
    let working = bits + GUARD;
    let ln2 = ln2(working);
    let argument = x.floor_to(-to_i64(working));
    let k = &argument / &ln2;
    let r = argument - &k * &ln2;
    let small = r >> SQUARINGS;
    let mut term = IBig::from(1) << working;
    let mut sum = term.clone();
    for n in 1_u32.. {
        term = -((term * &small) >> working) / IBig::from(n);
        if term.is_zero() || term == IBig::from(-1) {
            break;
        }
        sum += &term;
    }
    for _ in 0..SQUARINGS {
        sum = (&sum * &sum) >> working;
    }
    let k = usize::try_from(&k).expect("x is at most bits + 1, so k fits");
    result(sum >> (GUARD + k), 2)
}

/// Natural logarithm of an enclosed number that is at least 1 (its lower end too).
///
/// Method: `y = 2^k z` with `1 <= z < 2`; `ln z = 2 atanh((z - 1) / (z + 1))`. The error of `y` passes at most
/// unchanged, since the derivative of `ln` is at most 1 there; the series adds less than `2 (terms + 2)` units of
/// `2^-(bits + 64)`, and `k ln2` less than `k + 1` of them.
pub(crate) fn ln(y: &Enclosure) -> Enclosure {
    const GUARD: usize = 64;
    let working = y.bits + GUARD;
    let k = y.value.bit_len() - 1 - y.bits;
    let one = IBig::from(1) << working;
    let z = (&y.value << GUARD) >> k;
    let ratio = ((&z - &one) << working) / (&z + &one);
    let sum = atanh_series(&ratio, working) * IBig::from(2) + ln2(working) * IBig::from(k);
    Enclosure {
        value: sum >> GUARD,
        error: &y.error + IBig::from(2),
        bits: y.bits,
    }
}

/// `ln 2 = 2 atanh(1/3)`, rounded down by less than `bits` units of `2^-bits` with 32 guard bits shifted out: within 1.
/// Kept for the bits asked for before: a row asks once for every key.
fn ln2(bits: usize) -> IBig {
    thread_local! {
        static KNOWN: RefCell<BTreeMap<usize, IBig>> = RefCell::default();
    }
    KNOWN.with_borrow_mut(|known| {
        let compute = || {
            let working = bits + 32;
            let third = (IBig::from(1) << working) / IBig::from(3);
            (atanh_series(&third, working) * IBig::from(2)) >> 32
        };
        known.entry(bits).or_insert_with(compute).clone()
    })
}

/// `atanh(t) = t + t^3/3 + t^5/5 + ...` for `0 <= t <= 1/3` in fixed point.
fn atanh_series(t: &IBig, bits: usize) -> IBig {
    let square = (t * t) >> bits;
    let mut power = t.clone();
    let mut sum = t.clone();
    for n in 1_u32.. {
        power = (power * &square) >> bits;
        if power.is_zero() {
            break;
        }
        sum += &power / IBig::from(2 * n + 1);
    }
    sum
}

fn magnitude(x: &IBig) -> IBig {
    IBig::from(x.clone().into_parts().1)
}

fn to_i64(bits: usize) -> i64 {
    i64::try_from(bits).expect("precisions are far below 2^63")
}

fn to_usize(bits: i64) -> usize {
    usize::try_from(bits).expect("not negative")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dyadic(x: f64) -> Dyadic {
        Dyadic::from_f64(x).unwrap()
    }

    fn inside(x: &Enclosure, digits: &str, places: usize) {
        // digits * 10^-places, known to one unit of its last place
        let scale = IBig::from(10).pow(places);
        let known = digits.parse::<IBig>().unwrap();
        let (low, high) = (x.low(), x.high());
        let times = |d: &Dyadic| (d * &Dyadic::new(scale.clone(), 0)).floor_to(0);
        assert!(
            times(&low) <= known.clone() + IBig::from(1),
            "{} > {known}",
            times(&low)
        );
        assert!(times(&high) >= known - IBig::from(1));
        // and the enclosure is as narrow as promised
        assert!((&high - &low).log2_floor().unwrap() <= -200);
    }

    /// Digits from the published decimal expansions of 1/e, e^-10 and ln 2, ln 10.
    #[test]
    fn known_constants_are_enclosed() {
        inside(
            &exp_of_negative(&dyadic(1.0), 220),
            "36787944117144232159552377016146086744581113103176",
            50,
        );
        inside(
            &exp_of_negative(&dyadic(10.0), 220),
            "4539992976248485153559151556055061",
            38,
        );
        let enclosed = |x: f64| Enclosure {
            value: dyadic(x).in_units_of(-220),
            error: IBig::ZERO,
            bits: 220,
        };
        inside(
            &ln(&enclosed(2.0)),
            "69314718055994530941723212145817656807550013436025",
            50,
        );
        inside(
            &ln(&enclosed(10.0)),
            "230258509299404568401799145468436420760110148862877",
            50,
        );
    }

    /// Twice the precision must lie inside the enclosure at half of it.
    #[test]
    fn more_bits_refine_and_never_contradict() {
        let mut x = 1e-9;
        while x < 150.0 {
            let (coarse, fine) = (
                exp_of_negative(&dyadic(x), 96),
                exp_of_negative(&dyadic(x), 400),
            );
            assert!(
                coarse.low() <= fine.low() && fine.high() <= coarse.high(),
                "e^-{x}"
            );
            x *= 1.37;
        }
    }

    #[test]
    fn a_huge_argument_leaves_nothing_and_costs_nothing() {
        let x = exp_of_negative(&dyadic(1e300), 128);
        assert!(x.low().signum() <= 0 && x.high().signum() > 0);
    }
}
