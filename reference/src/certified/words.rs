//! Integers of a few 64-bit words, lowest first: the fixed-point numbers of the second level, without allocation.

use dashu_int::{IBig, UBig};

/// Words of a sum: 640 bits.
const WORDS: usize = 10;

/// A fraction in units of `2^-192`: three words, and one before the point.
pub(super) type Fixed = [u64; 4];

/// An integer of at most `64 N` bits as words; `None` for one that is negative or longer.
pub(super) fn words<const N: usize>(x: &IBig) -> Option<[u64; N]> {
    let bytes = UBig::try_from(x.clone()).ok()?.to_le_bytes();
    let mut words = [0; N];
    for (index, byte) in bytes.iter().enumerate() {
        *words.get_mut(index / 8)? |= u64::from(*byte) << (index % 8 * 8);
    }
    Some(words)
}

/// Words as an integer.
pub(super) fn integer(words: &[u64]) -> IBig {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    IBig::from(UBig::from_le_bytes(&bytes))
}

/// `a - b`, and whether it wrapped around.
pub(super) fn less<const N: usize>(a: [u64; N], b: [u64; N]) -> ([u64; N], bool) {
    let mut borrow = false;
    let mut difference = a;
    for (a, b) in difference.iter_mut().zip(b) {
        (*a, borrow) = a.borrowing_sub(b, borrow);
    }
    (difference, borrow)
}

/// `a + b`; the caller knows that it fits.
pub(super) fn plus<const N: usize>(a: [u64; N], b: [u64; N]) -> [u64; N] {
    let mut carry = false;
    let mut sum = a;
    for (a, b) in sum.iter_mut().zip(b) {
        (*a, carry) = a.carrying_add(b, carry);
    }
    debug_assert!(!carry);
    sum
}

/// `a * b`, and what does not fit.
pub(super) fn times<const N: usize>(a: [u64; N], b: u64) -> ([u64; N], u64) {
    let mut carry = 0;
    let mut product = a;
    for a in &mut product {
        (*a, carry) = a.carrying_mul(b, carry);
    }
    (product, carry)
}

/// `floor(a b / 2^192)`.
#[inline]
pub(super) fn product(a: [u64; 3], b: [u64; 3]) -> [u64; 3] {
    let mut words = [0; 6];
    for (i, a) in a.into_iter().enumerate() {
        let mut carry = 0;
        for (j, b) in b.into_iter().enumerate() {
            (words[i + j], carry) = a.carrying_mul_add(b, carry, words[i + j]);
        }
        words[i + 3] = carry;
    }
    [words[3], words[4], words[5]]
}

/// The words of `a >> shift` from the lowest on.
pub(super) fn shifted_right(a: &[u64], shift: usize) -> impl Iterator<Item = u64> {
    let (first, bit) = (shift / 64, shift % 64);
    let word = move |index: usize| a.get(index).copied().unwrap_or(0);
    // In two steps, because a shift by 64 is none.
    (first..a.len()).map(move |i| word(i) >> bit | (word(i + 1) << 1) << (63 - bit))
}

/// Magnitude and exponent of a finite number: `|x| = m 2^e` with `m` odd, or `(0, 0)`.
pub(super) fn odd(x: f64) -> (u64, i32) {
    let fraction = x.to_bits() & ((1 << 52) - 1);
    let field = i32::try_from((x.to_bits() >> 52) & 0x7ff).expect("11 bits fit");
    let mantissa = if field == 0 {
        fraction
    } else {
        fraction | 1 << 52
    };
    if mantissa == 0 {
        return (0, 0);
    }
    let zeros = mantissa.trailing_zeros();
    let exponent = field.max(1) - 1075 + i32::try_from(zeros).expect("at most 52");
    (mantissa >> zeros, exponent)
}

/// An exact sum: what was added less what was subtracted, each below `2^640` units.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum {
    positive: [u64; WORDS],
    negative: [u64; WORDS],
}

impl Sum {
    /// Adds `number * 2^shift`, or subtracts it.
    #[inline]
    pub(super) fn add<const N: usize>(&mut self, number: [u64; N], shift: usize, negative: bool) {
        let words = if negative {
            &mut self.negative
        } else {
            &mut self.positive
        };
        let (first, bit) = (shift / 64, shift % 64);
        let (mut below, mut carry) = (0, false);
        for (word, number) in words[first..].iter_mut().zip(number) {
            let shifted = number << bit | (below >> 1) >> (63 - bit);
            (*word, carry) = word.carrying_add(shifted, carry);
            below = number;
        }
        let mut rest = (below >> 1) >> (63 - bit);
        for word in &mut words[first + N..] {
            if rest == 0 && !carry {
                return;
            }
            (*word, carry) = word.carrying_add(rest, carry);
            rest = 0;
        }
        debug_assert!(rest == 0 && !carry, "a sum of more than 640 bits");
    }

    /// Adds a finite number in units of `2^unit`, of which it is a multiple.
    #[inline]
    pub(super) fn add_f64(&mut self, x: f64, unit: i32) {
        let (mantissa, exponent) = odd(x);
        if mantissa != 0 {
            let shift = usize::try_from(exponent - unit).expect("a multiple of the unit");
            self.add([mantissa], shift, x < 0.0);
        }
    }

    /// `self - other`, which must not be negative.
    pub(super) fn less(&self, other: &Self) -> [u64; WORDS] {
        let plus_all = plus(self.positive, other.negative);
        let (difference, wrapped) = less(plus_all, plus(self.negative, other.positive));
        debug_assert!(!wrapped);
        difference
    }

    /// Whether `self > other`.
    pub(super) fn is_above(&self, other: &Self) -> bool {
        let left = plus(self.positive, other.negative);
        let right = plus(self.negative, other.positive);
        left.iter().rev().gt(right.iter().rev())
    }

    /// The sum.
    pub(super) fn integer(&self) -> IBig {
        integer(&self.positive) - integer(&self.negative)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exact::Dyadic;
    use crate::random::Draws;

    #[test]
    fn words_are_integers() {
        let draws = &mut Draws::from_seed(1);
        let mut some = || {
            std::array::from_fn::<u64, 3, _>(|_| match draws.below(4) {
                0 => 0,
                1 => u64::MAX,
                _ => draws.bits(),
            })
        };
        for _ in 0..2000 {
            let (a, b, c) = (some(), some(), some()[0]);
            let (x, y) = (integer(&a), integer(&b));
            assert_eq!(words(&x), Some(a));
            assert_eq!(words::<2>(&x).is_some(), a[2] == 0);
            assert_eq!(integer(&product(a, b)), (&x * &y) >> 192);
            let (difference, wrapped) = less(a, b);
            assert_eq!(wrapped, x < y);
            if !wrapped {
                assert_eq!(integer(&difference), &x - &y);
                assert_eq!(integer(&plus(difference, b)), x);
            }
            let (low, high) = times(a, c);
            assert_eq!(
                integer(&low) + (IBig::from(high) << 192),
                &x * IBig::from(c)
            );
            let shift = usize::try_from(c % 200).unwrap();
            let right: Vec<u64> = shifted_right(&a, shift).collect();
            assert_eq!(integer(&right), x >> shift);
        }
        assert_eq!(words::<1>(&IBig::from(-1)), None);
    }

    #[test]
    fn sums_are_exact() {
        let draws = &mut Draws::from_seed(2);
        let mut last = (Sum::default(), IBig::ZERO);
        for _ in 0..200 {
            let (mut sum, mut expected) = (Sum::default(), Dyadic::ZERO);
            for _ in 0..draws.below(40) {
                let bits = u32::try_from(draws.bits() >> 32).unwrap();
                let x = f64::from(f32::from_bits(bits));
                let x = if x.is_finite() {
                    x * x * x.signum()
                } else {
                    -0.0
                };
                sum.add_f64(x, -298);
                expected = &expected + &Dyadic::from_f64(x).unwrap();
                // All the words of a long number, carried through.
                sum.add([u64::MAX; 4], draws.below(300), false);
                sum.add([1, 0, 0, 0], 0, true);
            }
            let mut plain = Sum::default();
            plain.add_f64(1.5, -298);
            let shown = sum.integer();
            assert_eq!(sum.is_above(&last.0), shown > last.1);
            if sum.is_above(&last.0) {
                assert_eq!(integer(&sum.less(&last.0)), &shown - &last.1);
            }
            assert_eq!(plain.integer(), IBig::from(3) << 297);
            last = (sum, shown);
        }
    }
}
