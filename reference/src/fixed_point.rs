//! Integers as fractions of 2^116: an independent evaluation of the exponential, for tests only.

use std::sync::LazyLock;

/// Fraction bits.
pub(crate) const FRACTION: u32 = 116;
pub(crate) const ONE: i128 = 1 << FRACTION;

static LN_2: LazyLock<i128> = LazyLock::new(|| {
    // ln 2 = 2 atanh(1/3) = sum of 2 / ((2i + 1) 3^(2i + 1)); every term is rounded down by less than one unit.
    let mut power = 2 * ONE / 3;
    let mut sum = 0;
    let mut odd = 1;
    while power > 0 {
        sum += power / odd;
        power /= 9;
        odd += 2;
    }
    sum
});

/// `a * b`, rounded down, for `0 <= a, b`.
fn product(a: i128, b: i128) -> i128 {
    let (a, b) = (a.cast_unsigned(), b.cast_unsigned());
    let mask = u128::from(u64::MAX);
    let (a1, a0, b1, b0) = (a >> 64, a & mask, b >> 64, b & mask);
    let low = a0 * b0;
    let middle = (low >> 64) + ((a0 * b1) & mask) + ((a1 * b0) & mask);
    let high = a1 * b1 + ((a0 * b1) >> 64) + ((a1 * b0) >> 64) + (middle >> 64);
    let low = (middle << 64) | (low & mask);
    ((high << (128 - FRACTION)) | (low >> FRACTION)).cast_signed()
}

/// `x` in units of 2^-116, rounded down; `|x| < 2^11`.
pub(crate) fn from_f64(x: f64) -> i128 {
    let bits = x.to_bits();
    let exponent = i32::try_from((bits >> 52) & 0x7ff).unwrap();
    let fraction = i128::from(bits & ((1 << 52) - 1));
    let mantissa = if exponent == 0 {
        fraction
    } else {
        fraction | 1 << 52
    };
    let shift = exponent.max(1) - 1075 + i32::try_from(FRACTION).unwrap();
    let size = if shift >= 0 {
        mantissa << shift
    } else {
        mantissa >> shift.unsigned_abs().min(127)
    };
    if x.is_sign_negative() { -size } else { size }
}

/// `e^x` as `(m, n)` with `e^x = m 2^n`, `1 <= m < 2`, `m` in units of 2^-116 and off by less than 2^-100.
pub(crate) fn exp(x: i128) -> (i128, i32) {
    let n = x.div_euclid(*LN_2);
    let r = x - n * *LN_2;
    let (mut sum, mut term, mut i) = (ONE, ONE, 1);
    while term > 0 {
        term = product(term, r) / i;
        sum += term;
        i += 1;
    }
    (sum, i32::try_from(n).unwrap())
}

/// How far `y` is from `e^x`, in ulps of `y`. Both must be normal.
pub(crate) fn exp_error_ulps(x: f64, y: f64) -> f64 {
    let (exact, n) = exp(from_f64(x));
    let scaled = y * 2f64.powi(-n / 2) * 2f64.powi(-n - -n / 2);
    let ulp = scaled.next_up() - scaled;
    to_f64((from_f64(scaled) - exact).abs()) / ulp
}

/// How far `y` is from `ln x`, in ulps of `y`.
pub(crate) fn ln_error_ulps(x: f64, y: f64) -> f64 {
    // x e^-y = 1 + (ln x - y) + ..
    let (exact, n) = exp(from_f64(-y));
    let scaled = x * 2f64.powi(n);
    let residue = product(from_f64(scaled), exact) - ONE;
    let ulp = y.abs().next_up() - y.abs();
    to_f64(residue.abs()) / ulp
}

/// `x` in units of 2^-116 as f64, within a few roundings: for errors, which need few digits.
pub(crate) fn to_f64(x: i128) -> f64 {
    let digits = x.unsigned_abs().to_be_bytes();
    let size = digits
        .iter()
        .fold(0.0, |sum, &digit| sum * 256.0 + f64::from(digit))
        * 2f64.powi(-116);
    if x < 0 { -size } else { size }
}

#[test]
fn known_values() {
    // e and ln 2 in hexadecimal, from their published expansions.
    let (e, n) = exp(ONE);
    assert_eq!((exp(0), n), ((ONE, 0), 1));
    assert!(
        (2 * e - 0x002b_7e15_1628_aed2_a6ab_f715_8809_cf4f).abs() < 1 << 8,
        "{e:x}"
    );
    assert!(
        (*LN_2 - 0x000b_1721_7f7d_1cf7_9abc_9e3b_3980_3f2f).abs() < 1 << 6,
        "{:x}",
        *LN_2
    );
    let (inverse, n) = exp(-ONE);
    assert!(n == -2 && (product(e, inverse) - 2 * ONE).abs() < 1 << 8);
}
