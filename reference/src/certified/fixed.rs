//! The exponential in 192-bit fixed point, for rows that the first level leaves open.
//!
//! # Method
//!
//! In units `w = 2^-192`, for `0 <= y < 140`:
//!
//! ```text
//! y = k ln 2 + r,  0 <= r < ln 2          r = i / 2^8 + j / 2^16 + s,  s < 2^-16
//! e^-y = 2^-k A_i B_j (1 - m)             A_i = e^(-i / 2^8), B_j = e^(-j / 2^16) from tables
//! m = 1 - e^-s = s - s (s (1/2! - s (1/3! - .. s / 10!)))
//! ```
//!
//! # Error
//!
//! Every product is rounded down, by less than one unit; tables, `1/n!` and `ln 2` are off by at most `1 + 2^-60`. `y` is
//! rounded down, so `r` is off by at most `k + 1` units, and so is `e^-r`. Each bracket of `m` is off by at most
//! `2 + 2^-14`, and is multiplied by `s` twice: `m` is off by at most `1.01`, with the series cut at `s^11 / 11! < 2^-201`.
//! `A B` is off by at most `3.01`, `A B m` by at most `3.01 m + 1.01 + 1`, `e^-r` as computed by `5.1 + k + 1`. Divided by
//! `2^k` and rounded down (not for `k = 0`) that is at most 6.1, 4.6, 3.1, .. : **below 8 units** for all `k`. From 140 on
//! `e^-y` is below one unit, and the result 0.

use super::words::{Fixed, less, plus, product, shifted_right, words};
use crate::exact::{Dyadic, Enclosure, exp_of_negative, ln};
use dashu_int::IBig;
use std::sync::LazyLock;

/// Units that the exponential may be off.
pub(super) const ERROR: u8 = 8;
/// From here on nothing is left.
const NOTHING_FROM: u64 = 140;
/// Terms of the series.
const TERMS: u32 = 10;
const ONE: Fixed = [0, 0, 0, 1];

/// Constants of the method.
struct Tables {
    /// `e^(-i / 2^8)`.
    coarse: Vec<Fixed>,
    /// `e^(-j / 2^16)`.
    fine: Vec<Fixed>,
    /// `1/2! .. 1/10!`.
    series: Vec<[u64; 3]>,
    ln_2: [u64; 3],
    /// `2^63 / ln 2`, from below.
    inverse: u64,
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    fn fixed<const N: usize>(x: &Dyadic) -> [u64; N] {
        words(&x.floor_to(-192)).expect("a constant between 0 and 1")
    }
    let table = |unit: i64| {
        let power = |index: u16| exp_of_negative(&Dyadic::new(index.into(), unit), 256);
        (0..256).map(|index| fixed(&power(index).low())).collect()
    };
    let two = Enclosure::exact(&Dyadic::new(IBig::from(1) << 257, -256));
    let ln_2: [u64; 3] = fixed(&ln(&two).low());
    let mut factorial = IBig::from(1);
    let series = (2..=TERMS).map(|n| {
        factorial *= n;
        words(&((IBig::from(1) << 192) / &factorial)).expect("a fraction")
    });
    let inverse = (1_u128 << 127) / (u128::from(ln_2[2]) + 1);
    Tables {
        coarse: table(-8),
        fine: table(-16),
        series: series.collect(),
        ln_2,
        inverse: u64::try_from(inverse).expect("1.45 * 2^63"),
    }
});

/// `floor(a b / 2^192)` for numbers up to 1.
fn times(a: Fixed, b: Fixed) -> Fixed {
    match (a, b) {
        (ONE, other) | (other, ONE) => other,
        ([a0, a1, a2, _], [b0, b1, b2, _]) => {
            let [c0, c1, c2] = product([a0, a1, a2], [b0, b1, b2]);
            [c0, c1, c2, 0]
        }
    }
}

/// `e^-y` within [`ERROR`] units, for a `y` that was rounded down to a unit.
pub(super) fn exp_of_minus(y: Fixed) -> Fixed {
    if y[3] >= NOTHING_FROM {
        return [0; 4];
    }
    let tables = &*TABLES;
    // y in units of 2^-56: below 2^64. The quotient is that of y by ln 2 or one less.
    let coarse = u128::from(y[3] << 56 | y[2] >> 8);
    let k = u64::try_from((coarse * u128::from(tables.inverse)) >> (56 + 63)).expect("below 203");
    let [l0, l1, l2] = tables.ln_2;
    let ln_2 = [l0, l1, l2, 0];
    let (multiple, _) = super::words::times(ln_2, k);
    let (mut r, _) = less(y, multiple);
    let mut k = usize::try_from(k).expect("below 203");
    if let (rest, false) = less(r, ln_2) {
        (r, k) = (rest, k + 1);
    }
    let digit = |shift: u32| usize::try_from((r[2] >> shift) & 0xff).expect("a byte");
    let s = [r[0], r[1], r[2] & ((1 << 48) - 1)];
    let mut terms = tables.series.iter().rev();
    let mut bracket = *terms.next().expect("ten terms");
    for &term in terms {
        (bracket, _) = less(term, product(s, bracket));
    }
    let (m, _) = less(s, product(s, product(s, bracket)));
    let power = times(tables.coarse[digit(56)], tables.fine[digit(48)]);
    let (power, _) = less(power, times(power, [m[0], m[1], m[2], 0]));
    let mut result = [0; 4];
    for (to, from) in result.iter_mut().zip(shifted_right(&power, k)) {
        *to = from;
    }
    debug_assert!(plus(result, [0; 4])[3] <= 1);
    result
}

#[cfg(test)]
mod tests {
    use super::super::words::integer;
    use super::*;
    use crate::random::Draws;

    /// Units between the exponential of `y` units, or of up to one more, and what was found: at most, in thousandths.
    fn error_of(y: Fixed, found: Fixed) -> i64 {
        const BITS: i64 = -202;
        let exact = |more: u8| {
            let y = Dyadic::new(integer(&y) + IBig::from(more), -192);
            exp_of_negative(&y, 260).low().floor_to(BITS)
        };
        let found = integer(&found) << 10;
        let distances = [exact(0) - &found, found - exact(1)];
        let worst = distances.into_iter().max().expect("two of them");
        i64::try_from(worst).expect("a small distance") * 1000 / 1024
    }

    #[test]
    fn the_exponential_is_within_its_bound() {
        let draws = &mut Draws::from_seed(3);
        let mut worst = 0;
        for round in 0..4000 {
            let whole = [0, 1, 3, 139, 141][round % 5];
            let mut y = std::array::from_fn(|_| draws.bits());
            y[3] = u64::try_from(draws.below(whole + 1)).unwrap();
            if round % 7 == 0 {
                y = [draws.bits(), 0, draws.bits() >> 1 << 63, 0];
            }
            worst = worst.max(error_of(y, exp_of_minus(y)));
        }
        // Either side of every change of k.
        for k in 1..=202_u64 {
            let [l0, l1, l2] = TABLES.ln_2;
            let (y, _) = super::super::words::times([l0, l1, l2, 0], k);
            for y in [y, less(y, [k, 0, 0, 0]).0, plus(y, [k, 0, 0, 0])] {
                worst = worst.max(error_of(y, exp_of_minus(y)));
            }
        }
        println!("at most {worst} thousandths of a unit");
        assert!(worst < i64::from(ERROR) * 1000, "{worst}");
        assert!(worst > 1000, "the measure sees nothing");
        assert_eq!(exp_of_minus([0; 4]), ONE);
        assert_eq!(exp_of_minus([0, 0, 0, u64::MAX]), [0; 4]);
        let wrong = plus(exp_of_minus([0, 0, 5, 0]), [10, 0, 0, 0]);
        assert!(error_of([0, 0, 5, 0], wrong) > 8000);
    }
}
