//! A tile of a tensor core, `16 x 8 x k`: sums of products that are each truncated to one common unit.
//!
//! `d = c + sum of a[i] * b[i]`, a block of the products at a time: each magnitude is truncated toward zero to a multiple
//! of `2^(E - F)`, where `E` is the largest exponent in the block (that of `c` among them), all are added exactly, and the
//! sum is rounded toward zero to an f32. `vm::tensor_core` has the definition and why floats are exact here; this is the
//! same function on registers of the machine, with fragments in the order of a warp's lanes:
//!
//! * lane `4 g + t` of A's register `2 p + r` has row `g + 8 r`, of B's register `p` column `g`, at `k = 8 p + 2 t` and the
//!   one after it in its two halves; lane `4 g + t` of accumulator `2 r + w` has row `g + 8 r`, column `2 t + w`;
//! * so the four lanes of a row need one element of A, which is in one of them, and four elements of B, the same ones for
//!   every row: both are a register's groups of four numbers.

use super::products::Products;
use super::{LANES, Level, Task};

/// A register of 32 lanes.
pub type Fragment = [u32; 32];

/// Format of A and B.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// IEEE binary16.
    F16,
    /// bfloat16.
    Bf16,
}

/// How many products make a block, and how many bits are kept below the largest exponent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocks {
    /// Blocks of 8, `F = 24`.
    OfEight,
    /// One block of all `k`, `F = 25`.
    Whole,
}

/// `a x b + c` for `k = 4 * a.len()`, 8 or 16. `None` where an element is NaN or infinite, or where a product or a sum
/// might come near the ends of f32: bf16 operands outside `2^-50` to `2^49`, accumulators outside `2^-100` to `2^99`.
///
/// # Panics
/// If `a` and `b` do not have the registers of a tile.
pub fn tile(
    level: Level,
    (format, blocks): (Half, Blocks),
    a: &[Fragment],
    b: &[Fragment],
    c: &[Fragment; 4],
) -> Option<[Fragment; 4]> {
    assert!(
        matches!((a.len(), b.len()), (2, 1) | (4, 2)),
        "fragments of a tile"
    );
    let mut d = *c;
    let mut inside = false;
    level.run(TileTask {
        how: (format, blocks),
        a,
        b,
        d: &mut d,
        inside: &mut inside,
    });
    inside.then_some(d)
}

/// Numbers of a register as value and `2^exponent`, both 0 for zero, by half of the register.
struct Decoded<const N: usize> {
    value: [[f32; N]; 2],
    power: [[f32; N]; 2],
}

/// `2^112`: what a binary16 with its bits shifted into those of an f32 has to be multiplied by.
const F16_SCALE: f32 = f32::from_bits((127 + 112) << 23);

impl<const N: usize> Decoded<N> {
    const ZEROS: Self = Self {
        value: [[0.0; N]; 2],
        power: [[0.0; N]; 2],
    };

    /// Decodes registers; false where a number is out of range.
    #[inline(always)]
    fn fill(&mut self, format: Half, words: &[u32; N]) -> bool {
        let mut outside = 0_u32;
        for (half, (value, power)) in self.value.iter_mut().zip(&mut self.power).enumerate() {
            let shift = if half == 0 { 16 } else { 0 };
            for ((word, value), power) in words.iter().zip(value).zip(power) {
                let word = word << shift & 0xffff_0000;
                match format {
                    Half::F16 => {
                        // Subnormals too: their f32 image is subnormal, and the product is exact.
                        let bits = word >> 3 & 0x0fff_e000;
                        outside |= u32::from(bits >= 0x0f80_0000);
                        let magnitude = f32::from_bits(bits) * F16_SCALE;
                        *value = f32::from_bits(magnitude.to_bits() | word & 0x8000_0000);
                        // A subnormal counts with the least exponent of the format.
                        let least = if bits == 0 { 0 } else { 1 << 23 };
                        *power = f32::from_bits((bits & 0x0f80_0000).max(least)) * F16_SCALE;
                    }
                    Half::Bf16 => {
                        let exponent = word & 0x7f80_0000;
                        let is_zero = word << 1 == 0;
                        let near = exponent.wrapping_sub(77 << 23) <= (176 - 77) << 23;
                        outside |= u32::from(!is_zero & !near);
                        *value = f32::from_bits(word);
                        *power = f32::from_bits(exponent);
                    }
                }
            }
        }
        outside == 0
    }
}

/// True where every accumulator is 0 or of exponent -100 to 99.
#[inline(always)]
fn in_range(c: &[Fragment; 4]) -> bool {
    let mut outside = 0_u32;
    for register in c {
        for bits in register {
            let magnitude = bits & 0x7fff_ffff;
            let near = magnitude.wrapping_sub(27 << 23) < 200 << 23;
            outside |= u32::from((magnitude != 0) & !near);
        }
    }
    outside == 0
}

/// B by group of four numbers: group `8 p + 2 t + w` has the columns `w`, `w + 2`, `w + 4`, `w + 6` at `k = 8 p + 2 t`
/// and the one after it.
#[inline(always)]
fn by_columns(b: &[Fragment]) -> [u32; 64] {
    let mut words = [0; 64];
    for (groups, register) in words.chunks_exact_mut(32).zip(b) {
        for (which, word) in groups.iter_mut().enumerate() {
            let (t, w, column) = (which / 8, which / 4 % 2, which % 4);
            *word = register[8 * column + 4 * w + t];
        }
    }
    words
}

/// Where a half starts among lanes, as arrays of a group of lanes.
#[inline(always)]
fn part<const SIZE: usize>(numbers: &[f32], at: usize) -> &[f32; SIZE] {
    numbers[at..]
        .first_chunk()
        .expect("registers have whole groups")
}

struct TileTask<'a> {
    how: (Half, Blocks),
    a: &'a [Fragment],
    b: &'a [Fragment],
    d: &'a mut [Fragment; 4],
    inside: &'a mut bool,
}

impl Task for TileTask<'_> {
    #[inline(always)]
    fn run<V: Products, const ROWS: usize, const CHUNKS: usize>(self) {
        let (format, blocks) = self.how;
        let (mut a, mut b) = ([const { Decoded::<32>::ZEROS }; 4], Decoded::ZEROS);
        let mut inside = b.fill(format, &by_columns(self.b));
        for (a, words) in a.iter_mut().zip(self.a) {
            inside &= a.fill(format, words);
        }
        *self.inside = inside
            && match (blocks, self.b.len()) {
                (Blocks::OfEight, 1) => block::<V, 1, 24>(&a, &b, 0, self.d),
                (Blocks::OfEight, _) => {
                    block::<V, 1, 24>(&a, &b, 0, self.d) && block::<V, 1, 24>(&a, &b, 1, self.d)
                }
                (Blocks::Whole, 1) => block::<V, 1, 25>(&a, &b, 0, self.d),
                (Blocks::Whole, _) => block::<V, 2, 25>(&a, &b, 0, self.d),
            };
    }
}

/// One block of `8 * HALVES` products from `k = 8 * first`; false, with nothing done, where an accumulator is out of range.
#[inline(always)]
fn block<V: Products, const HALVES: usize, const FRACTION_BITS: u32>(
    a: &[Decoded<32>; 4],
    b: &Decoded<64>,
    first: usize,
    d: &mut [Fragment; 4],
) -> bool {
    if !in_range(d) {
        return false;
    }
    let (upper, lower) = d.split_at_mut(2);
    for (r, registers) in [upper, lower].into_iter().enumerate() {
        for at in [0, LANES] {
            let c = [0, 1].map(|w: usize| V::from_bits(bits_at(&registers[w], at)));
            // Power of two of the largest exponent; a zero accumulator has exponent field 0 and takes no part.
            let mut largest = c.map(V::exponent);
            for p in first..first + HALVES {
                for half in 0..2 {
                    let power = V::load(part(&a[2 * p + r].power[half], at));
                    let groups = &b.power[half][32 * p..];
                    for (t, power) in power.spread().into_iter().enumerate() {
                        for (w, largest) in largest.iter_mut().enumerate() {
                            let column = V::groups(part(groups, 8 * t + 4 * w));
                            *largest = largest.max(power.multiply(column));
                        }
                    }
                }
            }
            // 2^-100: below every exponent that can occur here, so only an empty sum (which stays 0) has it.
            let largest = largest.map(|largest| largest.max(V::splat(f32::from_bits(27 << 23))));
            let scale = largest.map(|largest| largest.reflected((254 + FRACTION_BITS) << 23));
            let mut sums = [[V::NONE; 2]; HALVES];
            for w in 0..2 {
                sums[0][w] = V::add(sums[0][w], c[w].multiply(scale[w]).truncate());
            }
            for (sums, p) in sums.iter_mut().zip(first..) {
                for half in 0..2 {
                    let value = V::load(part(&a[2 * p + r].value[half], at));
                    let groups = &b.value[half][32 * p..];
                    for (t, value) in value.spread().into_iter().enumerate() {
                        for w in 0..2 {
                            let column = V::groups(part(groups, 8 * t + 4 * w));
                            let product = value.multiply(column).multiply(scale[w]);
                            sums[w] = V::add(sums[w], product.truncate());
                        }
                    }
                }
            }
            let unit = V::splat(f32::from_bits((127 - FRACTION_BITS) << 23));
            for w in 0..2 {
                let sum = V::toward_zero(sums.map(|sums| sums[w]));
                *bits_at_mut(&mut registers[w], at) =
                    sum.multiply(largest[w].multiply(unit)).bits();
            }
        }
    }
    true
}

#[inline(always)]
fn bits_at(register: &Fragment, at: usize) -> &[u32; LANES] {
    register[at..].first_chunk().expect("two groups of lanes")
}

#[inline(always)]
fn bits_at_mut(register: &mut Fragment, at: usize) -> &mut [u32; LANES] {
    register[at..]
        .first_chunk_mut()
        .expect("two groups of lanes")
}
