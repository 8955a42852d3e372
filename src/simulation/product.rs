//! Sums of products as the hardware forms them: on tensor cores, bit for bit, or in f32 with fused multiply-adds.

use crate::convert::{f64_to_f16, f64_to_f32, low_u16};
use crate::vm::Target;
use crate::vm::tensor_core::{Accumulator, Operand, Tile, multiply};
use flashproof_reference::{DType, Tensor};
use half::f16;

/// Products of one tensor-core instruction along the depth.
pub(super) const DEPTH: usize = 16;
const ROWS: usize = 16;
const COLUMNS: usize = 8;

/// What adds products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// `mma.m16n8k16` of a target.
    TensorCore { target: Target, tile: Tile },
    /// One f32 fused multiply-add after the other.
    Fused,
}

impl Unit {
    /// What multiplies operands of a format; only f16 has an accumulator other than f32.
    pub(super) fn of(target: Target, operand: DType, accumulator: Accumulator) -> Self {
        let (operand, accumulator) = match operand {
            DType::F16 => (Operand::F16, accumulator),
            DType::Bf16 => (Operand::Bf16, Accumulator::F32),
            DType::F32 | DType::F64 => return Self::Fused,
        };
        let tile = Tile {
            operand,
            accumulator,
            k: DEPTH,
        };
        Self::TensorCore { target, tile }
    }

    /// `c[i][j] += sum over l of a[i][l] b[j][l]`, in ascending `l`, for `a` (rows, depth), `b` (columns, depth) and `c`
    /// (rows, columns). Operands are bits; `depth` is a multiple of 16.
    pub(super) fn accumulate(self, a: &[u32], b: &[u32], depth: usize, c: &mut [f32]) {
        let columns = b.len() / depth;
        match self {
            Self::Fused => {
                for (a, c) in a.chunks(depth).zip(c.chunks_mut(columns)) {
                    for (b, c) in b.chunks(depth).zip(c) {
                        *c = a.iter().zip(b).fold(*c, |c, (&a, &b)| {
                            f32::from_bits(a).mul_add(f32::from_bits(b), c)
                        });
                    }
                }
            }
            Self::TensorCore { target, tile } => {
                for (a, c) in a.chunks(ROWS * depth).zip(c.chunks_mut(ROWS * columns)) {
                    for first in (0..columns).step_by(COLUMNS) {
                        let width = COLUMNS.min(columns - first);
                        let b = &b[first * depth..(first + width) * depth];
                        rows_by_columns(target, tile, (a, b, depth), c, (first, columns));
                    }
                }
            }
        }
    }
}

/// At most 16 rows by at most 8 columns, which begin at `first` of `columns`.
fn rows_by_columns(
    target: Target,
    tile: Tile,
    (a, b, depth): (&[u32], &[u32], usize),
    c: &mut [f32],
    (first, columns): (usize, usize),
) {
    let mut accumulators = [[0_u32; COLUMNS]; ROWS];
    for (to, from) in accumulators.iter_mut().zip(c.chunks(columns)) {
        for (to, from) in to.iter_mut().zip(&from[first..]) {
            *to = match tile.accumulator {
                Accumulator::F32 => from.to_bits(),
                Accumulator::F16 => u32::from(f64_to_f16(f64::from(*from)).to_bits()),
            };
        }
    }
    for at in (0..depth).step_by(DEPTH) {
        let (mut rows, mut cols) = ([[0_u32; DEPTH]; ROWS], [[0_u32; DEPTH]; COLUMNS]);
        for (to, from) in rows.iter_mut().zip(a.chunks(depth)) {
            to.copy_from_slice(&from[at..at + DEPTH]);
        }
        for (to, from) in cols.iter_mut().zip(b.chunks(depth)) {
            to.copy_from_slice(&from[at..at + DEPTH]);
        }
        multiply(target, tile, &rows, &cols, &mut accumulators);
    }
    for (to, from) in c.chunks_mut(columns).zip(&accumulators) {
        for (to, from) in to[first..].iter_mut().zip(from) {
            *to = match tile.accumulator {
                Accumulator::F32 => f32::from_bits(*from),
                Accumulator::F16 => f16::from_bits(low_u16(*from)).to_f32(),
            };
        }
    }
}

/// The bits of a tensor whose last axis has `width` elements, each row with zeros up to a multiple of 16.
pub(super) fn padded_bits(tensor: &Tensor, width: usize) -> Vec<u32> {
    let bits: Vec<u32> = match tensor {
        Tensor::F16(x) => x.iter().map(|x| u32::from(x.to_bits())).collect(),
        Tensor::Bf16(x) => x.iter().map(|x| u32::from(x.to_bits())).collect(),
        Tensor::F32(x) => x.iter().map(|x| x.to_bits()).collect(),
        // No kernel takes f64: as if it were given its inputs in f32.
        Tensor::F64(x) => x.iter().map(|&x| f64_to_f32(x).to_bits()).collect(),
    };
    let padded = width.next_multiple_of(DEPTH);
    let mut rows = vec![0; bits.len() / width * padded];
    for (to, from) in rows.chunks_mut(padded).zip(bits.chunks(width)) {
        to[..width].copy_from_slice(from);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::tensor_core::{alignment, block};
    use flashproof_reference::random;

    #[test]
    fn products_of_any_size_are_the_block_operation_chained() {
        let (rows, columns, depth) = (19, 11, 48);
        let bits = |count: usize, key: u64| -> Vec<u32> {
            (0..count)
                .map(|i| {
                    let [low, high, ..] =
                        random::bits(key, u64::try_from(i).unwrap()).to_le_bytes();
                    // Exponents of f16 that are neither infinite nor all alike.
                    u32::from(u16::from_le_bytes([low, high]) & 0xbfff)
                })
                .collect()
        };
        let (a, b) = (bits(rows * depth, 1), bits(columns * depth, 2));
        for target in [Target::Sm80, Target::Sm90] {
            let unit = Unit::of(target, DType::F16, Accumulator::F32);
            let Unit::TensorCore { tile, .. } = unit else {
                panic!("tensor cores")
            };
            let mut c = vec![0.5; rows * columns];
            unit.accumulate(&a, &b, depth, &mut c);
            let how = alignment(target, tile);
            for (i, c) in c.iter().enumerate() {
                let (a, b) = (&a[i / columns * depth..], &b[i % columns * depth..]);
                let mut expected = 0.5_f32.to_bits();
                for at in (0..depth).step_by(how.terms) {
                    let range = at..at + how.terms;
                    let (a, b) = (&a[range.clone()], &b[range]);
                    expected = block(
                        how,
                        (tile.operand, tile.operand),
                        tile.accumulator,
                        a,
                        b,
                        expected,
                    );
                }
                assert_eq!(c.to_bits(), expected, "{target} element {i}");
            }
        }
    }
}
