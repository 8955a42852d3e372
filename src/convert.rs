//! The one place of this package where a number may lose bits: narrowing, and integers to floats.

/// Low 16 bits.
#[inline]
pub fn low_u16(x: u32) -> u16 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the low half is what is asked for"
    )]
    let low = x as u16;
    low
}

/// Low 32 bits.
#[inline]
pub fn low_u32(x: u64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the low half is what is asked for"
    )]
    let low = x as u32;
    low
}

/// Low 64 bits.
#[inline]
pub fn low_u64(x: u128) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the low half is what is asked for"
    )]
    let low = x as u64;
    low
}

/// An index, exact: every supported host has pointers of at least 32 bits.
#[inline]
pub fn index(x: u32) -> usize {
    x as usize
}

/// Integer part toward zero; saturates, NaN gives 0.
#[inline]
pub fn truncate_to_i32(x: f32) -> i32 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "truncation is what is asked for"
    )]
    let integer = x as i32;
    integer
}

/// Rounded to nearest even.
#[inline]
pub fn narrow_f64(x: f64) -> f32 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "rounding is what is asked for"
    )]
    let narrow = x as f32;
    narrow
}
