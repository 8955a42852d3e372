//! A row of eight accumulators at a time: the block operation for operands whose products an f32 holds exactly.
//!
//! The same function as [`block`](super::block::block), arranged so that each step is the same operation on eight
//! columns. Why floats are exact here:
//!
//! * a product of two f16 (or bf16) significands has at most 22 bits, so `a * b` in f32 is exact;
//! * `2^(ea + eb)` is a product of two powers of two;
//! * truncation toward zero to a multiple of `2^(E - F)` is scaling by `2^(F - E)`, a power of two, and the conversion
//!   of a float to an integer, which truncates;
//! * eight magnitudes below `2^(F + 2)` and `c` below `2^(F + 1)` fit an i32 for `F <= 25`; two such sums are exact in
//!   f64;
//! * clearing the low 29 bits of an f64 fraction truncates toward zero to the 24 bits of an f32.
//!
//! All of it needs exponents away from the ends of f32; [`Row::new`] and [`Column`] say whether they are, and the caller
//! uses the scalar model where they are not.

use super::block::Operand;
use crate::convert::{f64_to_f32, low_u16, truncate_to_i32};

/// Columns of a tile.
pub(super) const COLUMNS: usize = 8;
/// Largest `k` of a tile.
pub(super) const DEPTH: usize = 16;

/// Least and largest exponent (as f32 exponent fields) of an operand: `2^-50` to `2^49`. f16 lies within.
const OPERAND_FIELDS: std::ops::RangeInclusive<u32> = 77..=176;
/// The same for an accumulator: `2^-100` to `2^99`.
const ACCUMULATOR_FIELDS: std::ops::RangeInclusive<u32> = 27..=226;

/// An operand as its value and `2^exponent`; both 0 for zero.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Element {
    value: f32,
    power: f32,
}

impl Element {
    /// `None` where this path cannot represent it: NaN, infinity, an exponent outside the range, a subnormal bf16.
    pub(super) fn decode(operand: Operand, bits: u32) -> Option<Self> {
        match operand {
            Operand::F16 => {
                let field = bits >> 10 & 31;
                if field == 31 {
                    return None;
                }
                let fraction = bits & 0x3ff;
                let sign = (bits & 0x8000) << 16;
                if field == 0 && fraction == 0 {
                    return Some(Self::default());
                }
                let power = f32::from_bits((field.max(1) + 112) << 23);
                let magnitude = if field == 0 {
                    // fraction * 2^-24, exact.
                    f32::from(low_u16(fraction)) * f32::from_bits(103 << 23)
                } else {
                    f32::from_bits((field + 112) << 23 | fraction << 13)
                };
                Some(Self {
                    value: f32::from_bits(magnitude.to_bits() | sign),
                    power,
                })
            }
            Operand::Bf16 => {
                let word = bits << 16;
                let field = word >> 23 & 255;
                if word << 1 == 0 {
                    return Some(Self::default());
                }
                OPERAND_FIELDS.contains(&field).then(|| Self {
                    value: f32::from_bits(word),
                    power: f32::from_bits(field << 23),
                })
            }
            // Eleven-bit significands too, but no kernel here is bound by it.
            Operand::Tf32 | Operand::E4m3 | Operand::E5m2 => None,
        }
    }
}

/// A B fragment by `k`, each a row of columns.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    pub(super) value: [[f32; COLUMNS]; DEPTH],
    pub(super) power: [[f32; COLUMNS]; DEPTH],
}

impl Columns {
    pub(super) fn new() -> Self {
        Self {
            value: [[0.0; COLUMNS]; DEPTH],
            power: [[0.0; COLUMNS]; DEPTH],
        }
    }

    pub(super) fn set(&mut self, k: usize, column: usize, element: Element) {
        self.value[k][column] = element.value;
        self.power[k][column] = element.power;
    }
}

/// True where every accumulator of the row is in this path's range.
pub(super) fn holds(c: &[u32; COLUMNS]) -> bool {
    c.iter()
        .all(|&bits| bits << 1 == 0 || ACCUMULATOR_FIELDS.contains(&(bits >> 23 & 255)))
}

/// One block of `8 * HALVES` products for a row of accumulators, `F = FRACTION_BITS`.
#[inline]
pub(super) fn block<const HALVES: usize, const FRACTION_BITS: u32>(
    a: &[Element],
    columns: &Columns,
    first: usize,
    c: &[u32; COLUMNS],
) -> [u32; COLUMNS] {
    let a = &a[first..first + 8 * HALVES];
    let value = &columns.value[first..first + 8 * HALVES];
    let power = &columns.power[first..first + 8 * HALVES];
    // Power of two of the largest exponent; a zero accumulator has exponent field 0 and takes no part.
    let mut largest = [0.0_f32; COLUMNS];
    for n in 0..COLUMNS {
        largest[n] = f32::from_bits(c[n] & 0x7f80_0000);
    }
    for (x, y) in a.iter().zip(power) {
        for n in 0..COLUMNS {
            let candidate = x.power * y[n];
            largest[n] = if candidate > largest[n] {
                candidate
            } else {
                largest[n]
            };
        }
    }
    let mut scale = [0.0_f32; COLUMNS];
    for n in 0..COLUMNS {
        // 2^-100: below every exponent that can occur here, so only an empty sum (which stays 0) has it.
        let field = largest[n].to_bits().max(27 << 23);
        largest[n] = f32::from_bits(field);
        scale[n] = f32::from_bits(((254 + FRACTION_BITS) << 23) - field);
    }
    let mut sums = [[0_i32; COLUMNS]; HALVES];
    for n in 0..COLUMNS {
        sums[0][n] = truncate_to_i32(f32::from_bits(c[n]) * scale[n]);
    }
    for ((sums, a), value) in sums.iter_mut().zip(a.chunks(8)).zip(value.chunks(8)) {
        for (x, y) in a.iter().zip(value) {
            for n in 0..COLUMNS {
                sums[n] += truncate_to_i32(x.value * y[n] * scale[n]);
            }
        }
    }
    let mut d = [0_u32; COLUMNS];
    let unit = 1.0 / f64::from(1_u32 << FRACTION_BITS);
    for n in 0..COLUMNS {
        let mut sum = f64::from(sums[0][n]);
        for more in &sums[1..] {
            sum += f64::from(more[n]);
        }
        let exact = sum * (f64::from(largest[n]) * unit);
        d[n] = f64_to_f32(f64::from_bits(exact.to_bits() & !0x1fff_ffff)).to_bits();
    }
    d
}
