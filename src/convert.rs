//! The one place in this package where a number changes to a type that may not hold it.
//!
//! Every function names the rounding. Widenings that lose nothing use `From` where they are needed.

/// A count as a real number, to nearest even: exact below 2^53.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts stay far below 2^53; above, nearest is meant"
)]
pub fn usize_to_f64(count: usize) -> f64 {
    count as f64
}

/// A coordinate of a drawing as a whole pixel, to nearest; beyond `i32` the nearest `i32`, NaN is 0.
#[expect(
    clippy::cast_possible_truncation,
    reason = "saturation is what is asked for"
)]
pub fn pixel(x: f64) -> i32 {
    x.round() as i32
}
