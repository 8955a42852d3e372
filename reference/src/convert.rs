//! The one place in this crate where a number changes to a narrower type, or an integer becomes a float.

/// `count` as f64, rounded to nearest; exact up to 2^53.
///
/// ```
/// assert_eq!(flashproof_reference::convert::f64_from_count(2), 2.0);
/// ```
#[expect(
    clippy::cast_precision_loss,
    reason = "counts above 2^53 round, as documented"
)]
pub fn f64_from_count(count: usize) -> f64 {
    count as f64
}

/// `value` rounded to the nearest whole number, halves up, as a count; below 0 (and NaN) gives 0, above the range its
/// end.
///
/// ```
/// assert_eq!(flashproof_reference::convert::count_from_f64(1.5), 2);
/// ```
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, as documented"
)]
pub fn count_from_f64(value: f64) -> usize {
    (value + 0.5).floor() as usize
}

/// `value` rounded once to f32, to nearest even.
///
/// ```
/// assert_eq!(flashproof_reference::convert::f32_from_f64(0.1), 0.1_f32);
/// ```
#[expect(clippy::cast_possible_truncation, reason = "rounding is the purpose")]
pub fn f32_from_f64(value: f64) -> f32 {
    value as f32
}
