//! `mma.sync` beyond f16, bf16 and tf32: 8-bit floats, integers of 4 and 8 bits, f64.
//!
//! Fragments have one layout for every width (PTX ISA 9.7.14.5): with `p` elements in a register, register `r` of lane `l`
//! holds row `l / 4 + 8 (r & 1)` and `k = p (l % 4 + 4 (r >> 1)) + i` of A, and the same `k`, without the split by rows,
//! of column `l / 4` of B.
//!
//! **8-bit floats.** `sm_89` has them natively: blocks of 16 products, `F = 13`, the sum kept to 13 fraction bits toward zero
//! (f32) or rounded to nearest even (f16). `sm_90` and `sm_100` have no such instruction: the compiler widens the bytes to f16
//! and issues two f16 operations of depth 16, `x1` over the `k` with `k mod 4` in {0, 1} from zero and `x2` over the rest
//! from `x1`, and adds `c + x2` rounded to nearest. `sm_80` and `sm_86` refuse the instruction. Source: measured vectors of
//! Ada, L40S and H100, and the code that `ptxas` 13.0 makes.
//!
//! **Integers** are exact in 32 bits, wrapped, or clamped once with `.satfinite` (the sum is taken whole and then clamped;
//! no measured vectors: partial sums beyond 2^31 inside one instruction are impossible for 8-bit operands up to k = 32
//! unless `c` is near the end of the range). **f64** is a chain of fused multiply-adds over `k`.

use super::super::arithmetic::byte_float::ByteFloat;
use super::super::arithmetic::double;
use super::super::arithmetic::float::{self, Format};
use super::super::target::Target;
use super::block::{Accumulator, Alignment, NAN_F32, Operand, block};
use super::{Fragment, Tile, alignment};
use crate::convert::low_u32;
use crate::ptx::{Rounding, ScalarType, TypeKind};

/// Largest `k`.
const DEPTH: usize = 64;

/// Element `which` of `bits` bits of register `register` in lane `lane`: row (A) and `k`.
fn place(bits: u32, lane: usize, register: usize, which: usize, split: bool) -> (usize, usize) {
    let per_register = 32 / usize::try_from(bits).expect("at most 32");
    let (group, member) = (lane / 4, lane % 4);
    if split {
        let k = per_register * (member + 4 * (register >> 1)) + which;
        (group + 8 * (register & 1), k)
    } else {
        (group, per_register * (member + 4 * register) + which)
    }
}

/// Rows of A, or columns of B, as raw elements.
fn spread(bits: u32, fragment: &[Fragment], split: bool) -> [[u32; DEPTH]; 16] {
    let mut lines = [[0; DEPTH]; 16];
    let count = 32 / bits;
    for (register, words) in fragment.iter().enumerate() {
        for (lane, word) in words.iter().enumerate() {
            for which in 0..count {
                let at = usize::try_from(which).expect("at most 8");
                let (line, k) = place(bits, lane, register, at, split);
                lines[line][k] = word >> (bits * which) & low_u32((1_u64 << bits) - 1);
            }
        }
    }
    lines
}

/// Row and column of accumulator element `which` of a lane, for 16 or 8 rows.
fn result_place(lane: usize, which: usize) -> (usize, usize) {
    super::d_place(lane, which)
}

/// Whether a target has an `mma` of 8-bit floats at this depth.
pub(crate) fn has_bytes(target: Target, k: usize) -> bool {
    match target {
        Target::Sm80 | Target::Sm86 => false,
        Target::Sm89 => matches!(k, 16 | 32),
        // Of depth 16 no lowering has been measured.
        Target::Sm90 | Target::Sm100 => k == 32,
    }
}

/// The rule of `sm_89` and, for `terms = 32` without an accumulator, of Hopper's `wgmma`.
pub fn native_bytes(
    terms: usize,
    a_format: Operand,
    b_format: Operand,
    accumulator: Accumulator,
    a: &[u32],
    b: &[u32],
    c: u32,
) -> u32 {
    let how = Alignment {
        terms,
        fraction_bits: 13,
        exponent_floor: match accumulator {
            Accumulator::F32 => -132,
            Accumulator::F16 => -20,
        },
    };
    a.chunks(terms).zip(b.chunks(terms)).fold(c, |c, (a, b)| {
        let d = block(how, (a_format, b_format), accumulator, a, b, c);
        match accumulator {
            // 13 fraction bits, toward zero; the canonical NaN stays as it is.
            Accumulator::F32 if d != NAN_F32 => d & !0x3ff,
            Accumulator::F32 | Accumulator::F16 => d,
        }
    })
}

/// The lowering of `sm_90` and `sm_100`: `c + (sum over the first pairs, then the second pairs)`.
pub fn lowered_bytes(
    target: Target,
    a_format: Operand,
    b_format: Operand,
    accumulator: Accumulator,
    a: &[u32],
    b: &[u32],
    c: u32,
) -> u32 {
    let tile = Tile {
        operand: Operand::F16,
        accumulator,
        k: 16,
    };
    let how = alignment(target, tile);
    let half = |format: Operand, first: usize, line: &[u32]| -> Vec<u32> {
        let float = if format == Operand::E4m3 {
            ByteFloat::E4m3
        } else {
            ByteFloat::E5m2
        };
        (0..line.len())
            .filter(|k| k % 4 / 2 == first)
            .map(|k| Format::F16.round(float.decode(line[k]), Rounding::NearestEven))
            .collect()
    };
    let x = [0, 1].into_iter().fold(0, |x, first| {
        let (a, b) = (half(a_format, first, a), half(b_format, first, b));
        block(how, (Operand::F16, Operand::F16), accumulator, &a, &b, x)
    });
    let format = match accumulator {
        Accumulator::F32 => Format::F32,
        Accumulator::F16 => Format::F16,
    };
    let near = Rounding::NearestEven;
    float::add(format, format.decode(c), format.decode(x), near)
}

/// `a x b + c` of 8-bit floats. `None` where the target has no such instruction.
pub(crate) fn mma_bytes(
    target: Target,
    (a_format, b_format): (Operand, Operand),
    accumulator: Accumulator,
    a: &[Fragment],
    b: &[Fragment],
    c: &[Fragment],
) -> Option<[Fragment; 4]> {
    let k = 16 * b.len();
    if !has_bytes(target, k) {
        return None;
    }
    let (rows, columns) = (spread(8, a, true), spread(8, b, false));
    let mut d = [[0_u32; 32]; 4];
    for lane in 0..32 {
        for which in 0..4 {
            let (row, column) = result_place(lane, which);
            let (register, shift) = match accumulator {
                Accumulator::F32 => (which, 0),
                Accumulator::F16 => (which >> 1, 16 * (which & 1)),
            };
            let own = match accumulator {
                Accumulator::F32 => c[register][lane],
                Accumulator::F16 => c[register][lane] >> shift & 0xffff,
            };
            let (x, y) = (&rows[row][..k], &columns[column][..k]);
            let value = if target == Target::Sm89 {
                native_bytes(16, a_format, b_format, accumulator, x, y, own)
            } else {
                lowered_bytes(target, a_format, b_format, accumulator, x, y, own)
            };
            d[register][lane] |= value << shift;
        }
    }
    Some(d)
}

/// `a x b + c` of integers of 4 or 8 bits; accumulators are s32. With 8 rows A has half as many registers and C two.
pub(crate) fn mma_integers(
    (a_type, b_type): (ScalarType, ScalarType),
    saturate: bool,
    a: &[Fragment],
    b: &[Fragment],
    c: &[Fragment],
) -> [Fragment; 4] {
    let bits = a_type.bits();
    let tall = c.len() == 4;
    let (rows, columns) = (spread(bits, a, tall), spread(bits, b, false));
    let k = b.len() * 4 * usize::try_from(32 / bits).expect("at most 8");
    let value = |ty: ScalarType, x: u32| {
        let negative = ty.kind() == TypeKind::Signed && x >> (bits - 1) & 1 == 1;
        i64::from(x) - if negative { 1 << bits } else { 0 }
    };
    let mut d = [[0_u32; 32]; 4];
    for (which, words) in d.iter_mut().enumerate().take(c.len()) {
        for (lane, word) in words.iter_mut().enumerate() {
            let (row, column) = result_place(lane, which);
            let products = rows[row].iter().zip(&columns[column]).take(k);
            let sum: i64 = products
                .map(|(x, y)| value(a_type, *x) * value(b_type, *y))
                .sum::<i64>()
                + i64::from(c[which][lane].cast_signed());
            let sum = if saturate {
                sum.clamp(i64::from(i32::MIN), i64::from(i32::MAX))
            } else {
                sum
            };
            *word = low_u32(sum.cast_unsigned());
        }
    }
    d
}

/// `a x b + c` of f64, by registers of 64 bits; as many rows as `8 * c.len() / 2`.
pub(crate) fn mma_doubles(a: &[[u64; 32]], b: &[[u64; 32]], c: &[[u64; 32]]) -> Vec<[u64; 32]> {
    let tall = c.len() == 4;
    let mut rows = [[0.0_f64; 16]; 16];
    let mut columns = [[0.0_f64; 16]; 8];
    for lane in 0..32 {
        for (register, words) in a.iter().enumerate() {
            let (row, k) = place(32, lane, register, 0, tall);
            rows[row][k] = f64::from_bits(words[lane]);
        }
        for (register, words) in b.iter().enumerate() {
            let (column, k) = place(32, lane, register, 0, false);
            columns[column][k] = f64::from_bits(words[lane]);
        }
    }
    let k = 4 * b.len();
    let mut d = c.to_vec();
    for (which, words) in d.iter_mut().enumerate() {
        for (lane, word) in words.iter_mut().enumerate() {
            let (row, column) = result_place(lane, which);
            for at in 0..k {
                let (x, y) = (rows[row][at], columns[column][at]);
                *word = double::fma(x, y, f64::from_bits(*word), Rounding::NearestEven);
            }
        }
    }
    d
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A and B that are the identity in what they touch give back one element at the place of the layout.
    #[test]
    fn integers_land_where_the_layout_says() {
        let check = |ty: ScalarType, registers: usize| {
            let per = 32 / ty.bits();
            let k_max = registers * 4 * usize::try_from(per).unwrap();
            for (row, column, k) in [(0, 0, 0), (9, 3, 7), (15, 7, k_max - 1)] {
                let mut a = vec![[0; 32]; 2 * registers];
                let mut b = vec![[0; 32]; registers];
                let set = |fragment: &mut [Fragment], line: usize, value: u32, split: bool| {
                    for (register, words) in fragment.iter_mut().enumerate() {
                        for (lane, word) in words.iter_mut().enumerate() {
                            for i in 0..per {
                                let at = usize::try_from(i).unwrap();
                                if place(ty.bits(), lane, register, at, split) == (line, k) {
                                    *word |= value << (ty.bits() * i);
                                }
                            }
                        }
                    }
                };
                // -3 (or 13) times 5.
                let minus_three = ty.mask() & u64::MAX.wrapping_sub(2);
                set(&mut a, row, low_u32(minus_three), true);
                set(&mut b, column, 5, false);
                let c = vec![[7; 32]; 4];
                let d = mma_integers((ty, ty), false, &a, &b, &c);
                let expected = if ty.kind() == TypeKind::Signed {
                    (-8_i32).cast_unsigned()
                } else {
                    5 * low_u32(minus_three) + 7
                };
                for (which, words) in d.iter().enumerate() {
                    for (lane, word) in words.iter().enumerate() {
                        let here = result_place(lane, which) == (row, column);
                        let want = if here { expected } else { 7 };
                        assert_eq!(*word, want, "{ty} {row} {column} {k}");
                    }
                }
            }
        };
        for ty in [
            ScalarType::S8,
            ScalarType::U8,
            ScalarType::S4,
            ScalarType::U4,
        ] {
            check(ty, 1);
            check(ty, 2);
        }
    }

    #[test]
    fn saturation() {
        let a = vec![[0x7f7f_7f7f; 32]; 4];
        let b = vec![[0x7f7f_7f7f; 32]; 2];
        let c = vec![[0x7fff_ff00; 32]; 4];
        let of = |saturate| mma_integers((ScalarType::S8, ScalarType::S8), saturate, &a, &b, &c);
        assert_eq!(of(true)[0][0], 0x7fff_ffff);
        assert_eq!(
            of(false)[0][0],
            0x7fff_ff00_u32.wrapping_add(32 * 127 * 127)
        );
    }

    #[test]
    fn bytes_by_target() {
        // 1 * 2 at every k, c = 1: exact everywhere.
        let a = vec![[0x3838_3838; 32]; 4];
        let b = vec![[0x4040_4040; 32]; 2];
        let c = vec![[1.0_f32.to_bits(); 32]; 4];
        let formats = (Operand::E4m3, Operand::E4m3);
        for target in Target::ALL {
            let d = mma_bytes(target, formats, Accumulator::F32, &a, &b, &c);
            match target {
                Target::Sm80 | Target::Sm86 => assert!(d.is_none()),
                Target::Sm89 | Target::Sm90 | Target::Sm100 => {
                    assert_eq!(d.unwrap(), [[65.0_f32.to_bits(); 32]; 4]);
                }
            }
        }
        // c = 1 + 2^-14 loses its last bit natively and keeps it where it is added in f32.
        let c = vec![[(1.0 + 2.0_f32.powi(-14)).to_bits(); 32]; 4];
        let zero = vec![[0; 32]; 4];
        let of =
            |target| mma_bytes(target, formats, Accumulator::F32, &zero, &b, &c).unwrap()[0][0];
        assert_eq!(of(Target::Sm89), 1.0_f32.to_bits());
        assert_eq!(of(Target::Sm90), c[0][0]);
    }

    #[test]
    fn doubles() {
        let one = |x: f64| [x.to_bits(); 32];
        let d = mma_doubles(&[one(3.0)], &[one(2.0)], &[one(1.0), one(-1.0)]);
        assert_eq!(d, vec![one(25.0), one(23.0)]);
        let a = vec![one(1.0); 8];
        let d = mma_doubles(&a, &a[..4], &vec![one(0.5); 4]);
        assert_eq!(d, vec![one(16.5); 4]);
    }
}
