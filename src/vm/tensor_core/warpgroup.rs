//! `wgmma`: the 16 rows of a warp times the columns of a warpgroup product, as Hopper computes them.
//!
//! One block of the whole depth (16 for f16 and bf16, 8 for tf32, 32 for 8-bit floats). The table is that of
//! `mma.sync` on `sm_90` (F = 25, f32 rounded toward zero) except for 8-bit floats: F = 13, an f32 result rounded toward
//! zero to 13 bits of fraction, an f16 one to nearest even.
//!
//! Source: MMA-Sim; the 8-bit rows are confirmed by measured vectors with a zero accumulator. **Not confirmed on
//! hardware**: f16, bf16 and tf32 blocks of `wgmma` itself, and an 8-bit block with an accumulator.

use super::super::arithmetic::byte_float::{ByteFloat, Number};
use super::block::{Accumulator, NAN_F16, NAN_F32, Operand, block};
use super::columns::{self, COLUMNS, Columns, Element};
use super::{DEPTH, ROWS, Tile, alignment};
use crate::vm::target::Target;

/// Deepest block.
pub(crate) const WGMMA_DEPTH: usize = 32;

/// Format of the elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WgmmaOperands {
    /// One of the formats of `mma.sync`.
    Same(Operand),
    /// 8-bit floats of A and B.
    Bytes(ByteFloat, ByteFloat),
}

/// `c + a x b` for the rows of a warp: `a` by row, `b` by column, elements as bits in the low end of a word; `c` by row,
/// then column.
pub(crate) fn wgmma(
    operands: WgmmaOperands,
    accumulator: Accumulator,
    a: &[[u32; WGMMA_DEPTH]; ROWS],
    b: &[[u32; WGMMA_DEPTH]],
    c: &mut [Vec<u32>; ROWS],
) {
    let operand = match operands {
        WgmmaOperands::Bytes(x, y) => {
            for (row, c) in a.iter().zip(c) {
                for (column, value) in b.iter().zip(c) {
                    *value = bytes_block(x, y, accumulator, row, column, *value);
                }
            }
            return;
        }
        WgmmaOperands::Same(operand) => operand,
    };
    let k = match operand {
        Operand::F16 | Operand::Bf16 => 16,
        Operand::Tf32 => 8,
        Operand::E4m3 | Operand::E5m2 => WGMMA_DEPTH,
    };
    let tile = Tile {
        operand,
        accumulator,
        k,
    };
    let how = alignment(Target::Sm90, tile);
    let rows: Vec<Option<[Element; DEPTH]>> =
        a.iter().map(|row| decode_row(operand, row)).collect();
    for (group, columns) in b.chunks(COLUMNS).enumerate() {
        let first = group * COLUMNS;
        let wide = (accumulator == Accumulator::F32)
            .then(|| decode_columns(operand, columns))
            .flatten();
        for ((row, decoded), c) in a.iter().zip(&rows).zip(c.iter_mut()) {
            let c = &mut c[first..first + columns.len()];
            let done = match (&wide, decoded) {
                (Some(wide), Some(row)) => by_columns(row, wide, c),
                _ => false,
            };
            if !done {
                for (column, value) in columns.iter().zip(c) {
                    *value = block(
                        how,
                        (operand, operand),
                        accumulator,
                        &row[..k],
                        &column[..k],
                        *value,
                    );
                }
            }
        }
    }
}

fn decode_row(operand: Operand, row: &[u32; WGMMA_DEPTH]) -> Option<[Element; DEPTH]> {
    let mut decoded = [Element::default(); DEPTH];
    for (to, &bits) in decoded.iter_mut().zip(row) {
        *to = Element::decode(operand, bits)?;
    }
    Some(decoded)
}

fn decode_columns(operand: Operand, columns: &[[u32; WGMMA_DEPTH]]) -> Option<Columns> {
    let mut wide = Columns::new();
    for (n, column) in columns.iter().enumerate() {
        for (k, &bits) in column[..DEPTH].iter().enumerate() {
            wide.set(k, n, Element::decode(operand, bits)?);
        }
    }
    Some(wide)
}

/// The path over columns; false, with `c` untouched, outside its range.
fn by_columns(row: &[Element; DEPTH], columns: &Columns, c: &mut [u32]) -> bool {
    let Ok(all) = <[u32; COLUMNS]>::try_from(&*c) else {
        return false;
    };
    if !columns::holds(&all) {
        return false;
    }
    c.copy_from_slice(&columns::block::<2, 25>(row, columns, 0, &all));
    true
}

/// One block of 32 products of 8-bit floats, F = 13.
fn bytes_block(
    x: ByteFloat,
    y: ByteFloat,
    accumulator: Accumulator,
    a: &[u32; WGMMA_DEPTH],
    b: &[u32; WGMMA_DEPTH],
    c: u32,
) -> u32 {
    let nan = match accumulator {
        Accumulator::F32 => NAN_F32,
        Accumulator::F16 => u32::from(NAN_F16),
    };
    // (negative, significand, exponent of its unit, exponent that counts for the alignment)
    let mut terms: Vec<(bool, u64, i32, i32)> = Vec::with_capacity(WGMMA_DEPTH + 1);
    let mut infinite = [false; 2];
    let fraction_bits = x.fraction_bits() + y.fraction_bits();
    for (&a, &b) in a.iter().zip(b) {
        match (x.number(a), y.number(b)) {
            (Number::Nan, _) | (_, Number::Nan) => return nan,
            (Number::Infinite(_), Number::Finite(_, 0, _))
            | (Number::Finite(_, 0, _), Number::Infinite(_)) => return nan,
            (Number::Infinite(s), Number::Infinite(t) | Number::Finite(t, ..))
            | (Number::Finite(s, ..), Number::Infinite(t)) => infinite[usize::from(s != t)] = true,
            (Number::Finite(s, m, e), Number::Finite(t, n, f)) => {
                if m * n != 0 {
                    terms.push((s != t, m * n, e + f, e + f + fraction_bits));
                }
            }
        }
    }
    match decode_accumulator(accumulator, c) {
        (Number::Nan, _) => return nan,
        (Number::Infinite(negative), _) => infinite[usize::from(negative)] = true,
        (Number::Finite(_, 0, _), _) => {}
        (Number::Finite(negative, m, e), bits) => terms.push((negative, m, e, e + bits)),
    }
    let infinity = |negative: bool| match accumulator {
        Accumulator::F32 => 0x7f80_0000 | u32::from(negative) << 31,
        Accumulator::F16 => 0x7c00 | u32::from(negative) << 15,
    };
    match infinite {
        [true, true] => return nan,
        [true, false] => return infinity(false),
        [false, true] => return infinity(true),
        [false, false] => {}
    }
    let Some(largest) = terms.iter().map(|term| term.3).max() else {
        return 0;
    };
    let unit = largest - 13;
    let sum: i64 = terms
        .iter()
        .map(|&(negative, significand, exponent, _)| {
            let by = exponent - unit;
            let magnitude = if by >= 0 {
                significand << by
            } else {
                significand.checked_shr(by.unsigned_abs()).unwrap_or(0)
            };
            let magnitude = magnitude.cast_signed();
            if negative { -magnitude } else { magnitude }
        })
        .sum();
    super::block::round(accumulator, sum, unit) & kept(accumulator)
}

/// Bits of a result that are not cleared: f32 keeps 13 of its fraction.
fn kept(accumulator: Accumulator) -> u32 {
    match accumulator {
        Accumulator::F32 => !0x3ff,
        Accumulator::F16 => u32::MAX,
    }
}

/// The accumulator, and its fraction bits.
fn decode_accumulator(accumulator: Accumulator, c: u32) -> (Number, i32) {
    let (exponent_bits, fraction_bits) = match accumulator {
        Accumulator::F32 => (8_u32, 23_u32),
        Accumulator::F16 => (5, 10),
    };
    let negative = c >> (exponent_bits + fraction_bits) & 1 == 1;
    let field = c >> fraction_bits & ((1 << exponent_bits) - 1);
    let fraction = c & ((1 << fraction_bits) - 1);
    let bits = fraction_bits.cast_signed();
    let number = if field == (1 << exponent_bits) - 1 {
        if fraction == 0 {
            Number::Infinite(negative)
        } else {
            Number::Nan
        }
    } else {
        let hidden = if field == 0 { 0 } else { 1 << fraction_bits };
        let bias = (1 << (exponent_bits - 1)) - 1;
        let exponent = field.max(1).cast_signed() - bias - bits;
        Number::Finite(negative, u64::from(fraction | hidden), exponent)
    };
    (number, bits)
}

#[cfg(test)]
mod tests {
    use super::super::block::Alignment;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        /// Rows over columns, and one product at a time, are the same function.
        #[test]
        fn columns_equal_the_scalar_model(
            words in proptest::collection::vec(any::<u16>(), 24 * 16),
            c in proptest::collection::vec(0x3000_0000_u32..0x4a00_0000, 16 * 8),
            mild in any::<bool>(),
        ) {
            let tame = |x: u16| u32::from(if mild { x & 0xbfff | 0x2000 } else { x });
            let line = |from: usize| {
                let mut line = [0; WGMMA_DEPTH];
                for (to, word) in line.iter_mut().zip(&words[from * 16..from * 16 + 16]) {
                    *to = tame(*word);
                }
                line
            };
            let a: [[u32; WGMMA_DEPTH]; ROWS] = std::array::from_fn(line);
            let b: Vec<_> = (16..24).map(line).collect();
            let start: [Vec<u32>; ROWS] = std::array::from_fn(|row| c[8 * row..8 * row + 8].to_vec());
            let mut got = start.clone();
            wgmma(WgmmaOperands::Same(Operand::F16), Accumulator::F32, &a, &b, &mut got);
            let how = Alignment { terms: 16, fraction_bits: 25, exponent_floor: -133 };
            for row in 0..ROWS {
                for n in 0..8 {
                    let want = block(how, (Operand::F16, Operand::F16), Accumulator::F32, &a[row][..16], &b[n][..16], start[row][n]);
                    prop_assert_eq!(got[row][n], want);
                }
            }
        }
    }

    #[test]
    fn eight_bit_results_keep_13_bits() {
        let mut a = [0; WGMMA_DEPTH];
        let mut b = [0; WGMMA_DEPTH];
        // 1 + 2^-9 * 2^-4 = 1 + 2^-13 is kept, 1 + 2^-14 is not.
        (a[0], b[0]) = (0x38, 0x38);
        (a[1], b[1]) = (0x01, 0x18);
        let run = |a: &_, b: &_, c: f32| {
            f32::from_bits(bytes_block(
                ByteFloat::E4m3,
                ByteFloat::E4m3,
                Accumulator::F32,
                a,
                b,
                c.to_bits(),
            ))
        };
        assert_eq!(
            run(&a, &b, 0.0).to_bits(),
            (1.0 + 2.0_f32.powi(-13)).to_bits()
        );
        b[1] = 0x10;
        assert_eq!(run(&a, &b, 0.0).to_bits(), 1.0_f32.to_bits());
        assert_eq!(run(&a, &b, -1.0).to_bits(), 0);
        a[2] = 0x7f;
        assert!(run(&a, &b, 0.0).is_nan());
    }
}
