//! Tensor-core arithmetic: `mma.sync` fragments, bit for bit as each GPU generation computes them.
//!
//! An instruction is a chain of block operations over `k`, left to right, each taking the rounded result of the one
//! before as its accumulator; [`alignment`] is the table of how long a block is and how many bits it keeps. The same
//! PTX has different bits on different targets. `narrow.rs` has the tiles of bytes, integers and f64.
//!
//! Source: `block.rs`; the table is confirmed by measured vectors of A100, Ada, L40S and H100 for every row used here
//! (f16, bf16 and tf32 operands), except the exponent floors, which only sums of deep subnormals reach.

mod block;
mod columns;
mod narrow;
mod vectors;
mod warpgroup;

pub use block::{Accumulator, Alignment, NAN_F16, NAN_F32, Operand, block};
pub use narrow::{lowered_bytes, native_bytes};
pub(crate) use narrow::{mma_bytes, mma_doubles, mma_integers};
pub use vectors::{BadRow, Gpu, Measurement, Row, UnknownMeasurement};

pub(crate) use warpgroup::{WGMMA_DEPTH, WgmmaOperands, wgmma};

use super::target::Target;
use crate::simd::Level;
use crate::simd::tensor_tile::{self, Blocks, Half};
use columns::{COLUMNS, Columns, DEPTH, Element};

/// Rows of a tile.
const ROWS: usize = 16;

/// One 32-bit register of all lanes.
pub type Fragment = [u32; 32];

/// Tile `16 x 8 x k` of an `mma.sync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tile {
    /// Format of A and B.
    pub operand: Operand,
    /// Format of C and D.
    pub accumulator: Accumulator,
    /// Depth: 8 or 16 for f16 and bf16, 4 or 8 for tf32.
    pub k: usize,
}

impl Tile {
    /// True for the tiles that PTX has.
    pub fn exists(self) -> bool {
        match (self.operand, self.accumulator) {
            (Operand::F16, Accumulator::F16 | Accumulator::F32)
            | (Operand::Bf16, Accumulator::F32) => matches!(self.k, 8 | 16),
            (Operand::Tf32, Accumulator::F32) => matches!(self.k, 4 | 8),
            (Operand::Bf16 | Operand::Tf32, Accumulator::F16) => false,
            // Of bytes: `narrow`.
            (Operand::E4m3 | Operand::E5m2, _) => false,
        }
    }

    /// Elements of A or B in a 32-bit register.
    fn per_register(self) -> usize {
        match self.operand {
            Operand::F16 | Operand::Bf16 => 2,
            Operand::Tf32 => 1,
            Operand::E4m3 | Operand::E5m2 => 4,
        }
    }

    /// 32-bit registers of the A, the B and the accumulator fragment.
    pub fn registers(self) -> (usize, usize, usize) {
        let b = self.k / 4 / self.per_register();
        let accumulator = match self.accumulator {
            Accumulator::F16 => 2,
            Accumulator::F32 => 4,
        };
        (2 * b, b, accumulator)
    }
}

/// How a target computes a tile: block length, bits kept, least exponent.
///
/// | operands | sm_80, sm_86, sm_89 | sm_90, sm_100 |
/// |---|---|---|
/// | f16, bf16 | blocks of 8, F = 24 | one block of `k`, F = 25 |
/// | tf32 | blocks of 4, F = 24 | one block of `k`, F = 25 |
pub fn alignment(target: Target, tile: Tile) -> Alignment {
    let single = match tile.operand {
        Operand::F16 | Operand::Bf16 => 8,
        Operand::Tf32 => 4,
        Operand::E4m3 | Operand::E5m2 => 16,
    };
    match (target, tile.accumulator) {
        (Target::Sm80 | Target::Sm86 | Target::Sm89, Accumulator::F32) => Alignment {
            terms: single,
            fraction_bits: 24,
            exponent_floor: -132,
        },
        (Target::Sm80 | Target::Sm86 | Target::Sm89, Accumulator::F16) => Alignment {
            terms: single,
            fraction_bits: 24,
            exponent_floor: -20,
        },
        (Target::Sm90 | Target::Sm100, Accumulator::F32) => Alignment {
            terms: tile.k,
            fraction_bits: 25,
            exponent_floor: -133,
        },
        (Target::Sm90 | Target::Sm100, Accumulator::F16) => Alignment {
            terms: tile.k,
            fraction_bits: 25,
            exponent_floor: -21,
        },
    }
}

/// Row and `k` of A's element `half` of register `register` in lane `lane`.
pub fn a_place(tile: Tile, lane: usize, register: usize, half: usize) -> (usize, usize) {
    let (group, member) = (lane / 4, lane % 4);
    let row = group + 8 * (register & 1);
    (
        row,
        tile.per_register() * (member + 4 * (register >> 1)) + half,
    )
}

/// `k` and column of B's element `half` of register `register` in lane `lane`.
pub fn b_place(tile: Tile, lane: usize, register: usize, half: usize) -> (usize, usize) {
    let (group, member) = (lane / 4, lane % 4);
    (tile.per_register() * (member + 4 * register) + half, group)
}

/// `a x b + c` on fragments as PTX lays them out over the lanes (PTX ISA 9.7.15.5).
///
/// `a`, `b` and `c` have [`Tile::registers`] registers; so has the result, in its first elements.
///
/// # Panics
/// If a fragment has another length, or the tile does not exist: callers check both.
pub fn mma(
    target: Target,
    tile: Tile,
    a: &[Fragment],
    b: &[Fragment],
    c: &[Fragment],
) -> [Fragment; 4] {
    assert!(tile.exists(), "{tile:?} is no tile of PTX");
    assert_eq!(
        (a.len(), b.len(), c.len()),
        tile.registers(),
        "fragments of {tile:?}"
    );
    if let Some(d) = on_lanes(Level::best(), target, tile, a, b, c) {
        return d;
    }
    let mut rows = [[0_u32; DEPTH]; ROWS];
    let mut columns = [[0_u32; DEPTH]; COLUMNS];
    let per_register = tile.per_register();
    for lane in 0..32 {
        for (register, words) in a.iter().enumerate() {
            for half in 0..per_register {
                let (row, k) = a_place(tile, lane, register, half);
                rows[row][k] = element(tile, words[lane], half);
            }
        }
        for (register, words) in b.iter().enumerate() {
            for half in 0..per_register {
                let (k, column) = b_place(tile, lane, register, half);
                columns[column][k] = element(tile, words[lane], half);
            }
        }
    }
    let mut accumulators = [[0_u32; COLUMNS]; ROWS];
    spread(tile.accumulator, c, &mut accumulators);
    multiply(target, tile, &rows, &columns, &mut accumulators);
    gather(tile.accumulator, &accumulators)
}

/// The tile by the machine's vector instructions; `None` where a number is outside their range, or the formats are.
fn on_lanes(
    level: Level,
    target: Target,
    tile: Tile,
    a: &[Fragment],
    b: &[Fragment],
    c: &[Fragment],
) -> Option<[Fragment; 4]> {
    let format = match tile.operand {
        Operand::F16 => Half::F16,
        Operand::Bf16 => Half::Bf16,
        Operand::Tf32 | Operand::E4m3 | Operand::E5m2 => return None,
    };
    let how = alignment(target, tile);
    let blocks = match (how.terms, how.fraction_bits) {
        (8, 24) => Blocks::OfEight,
        (terms, 25) if terms == tile.k => Blocks::Whole,
        _ => return None,
    };
    // Four registers of accumulators: f32.
    let c = c.try_into().ok()?;
    tensor_tile::tile(level, (format, blocks), a, b, c)
}

/// `accumulators[i][j] += sum over l of rows[i][l] * columns[j][l]`, as one `mma.sync` of this tile computes it. Operands
/// are bits in the low end of a word; elements at `tile.k` and beyond take no part.
///
/// # Panics
/// If the tile does not exist.
pub fn multiply(
    target: Target,
    tile: Tile,
    rows: &[[u32; DEPTH]; ROWS],
    columns: &[[u32; DEPTH]; COLUMNS],
    accumulators: &mut [[u32; COLUMNS]; ROWS],
) {
    assert!(tile.exists(), "{tile:?} is no tile of PTX");
    let how = alignment(target, tile);
    let exact = |row: &[u32; DEPTH], c: &mut [u32; COLUMNS]| {
        for (column, value) in columns.iter().zip(c) {
            for first in (0..tile.k).step_by(how.terms) {
                let (a, b) = (
                    &row[first..first + how.terms],
                    &column[first..first + how.terms],
                );
                *value = block(
                    how,
                    (tile.operand, tile.operand),
                    tile.accumulator,
                    a,
                    b,
                    *value,
                );
            }
        }
    };
    match (tile.accumulator == Accumulator::F32)
        .then(|| decode_columns(tile, columns))
        .flatten()
    {
        Some(wide) => {
            for (row, c) in rows.iter().zip(accumulators) {
                if !row_by_columns(how, tile, row, &wide, c) {
                    exact(row, c);
                }
            }
        }
        None => rows
            .iter()
            .zip(accumulators)
            .for_each(|(row, c)| exact(row, c)),
    }
}

fn element(tile: Tile, word: u32, half: usize) -> u32 {
    match (tile.operand, half) {
        (Operand::Tf32, _) => word,
        (Operand::F16 | Operand::Bf16, 0) => word & 0xffff,
        (Operand::F16 | Operand::Bf16, _) => word >> 16,
        (Operand::E4m3 | Operand::E5m2, _) => word >> (8 * half) & 0xff,
    }
}

/// B for the path over columns; `None` where an element is outside its range.
fn decode_columns(tile: Tile, columns: &[[u32; DEPTH]; COLUMNS]) -> Option<Columns> {
    let mut wide = Columns::new();
    for (column, elements) in columns.iter().enumerate() {
        for (k, &bits) in elements[..tile.k].iter().enumerate() {
            wide.set(k, column, Element::decode(tile.operand, bits)?);
        }
    }
    Some(wide)
}

/// One row through the path over columns; false, with `c` untouched, where it is outside that path's range.
fn row_by_columns(
    how: Alignment,
    tile: Tile,
    row: &[u32; DEPTH],
    columns: &Columns,
    c: &mut [u32; COLUMNS],
) -> bool {
    let mut a = [Element::default(); DEPTH];
    for (element, &bits) in a.iter_mut().zip(&row[..tile.k]) {
        match Element::decode(tile.operand, bits) {
            Some(decoded) => *element = decoded,
            None => return false,
        }
    }
    if !columns::holds(c) {
        return false;
    }
    let d = match (how.terms, how.fraction_bits, tile.k) {
        (8, 24, 8) => columns::block::<1, 24>(&a, columns, 0, c),
        (8, 24, 16) => {
            let middle = columns::block::<1, 24>(&a, columns, 0, c);
            if !columns::holds(&middle) {
                return false;
            }
            columns::block::<1, 24>(&a, columns, 8, &middle)
        }
        (8, 25, 8) => columns::block::<1, 25>(&a, columns, 0, c),
        (16, 25, 16) => columns::block::<2, 25>(&a, columns, 0, c),
        // tf32 and anything the table gains later.
        _ => return false,
    };
    *c = d;
    true
}

/// Row and column of element `which` of lane `lane`: register `which` for f32, half `which & 1` of register
/// `which >> 1` for f16.
pub fn d_place(lane: usize, which: usize) -> (usize, usize) {
    (lane / 4 + 8 * (which >> 1), 2 * (lane % 4) + (which & 1))
}

fn spread(format: Accumulator, c: &[Fragment], to: &mut [[u32; COLUMNS]; ROWS]) {
    for which in 0..4 {
        let (register, half) = match format {
            Accumulator::F32 => (which, 0),
            Accumulator::F16 => (which >> 1, which & 1),
        };
        for (lane, &word) in c[register].iter().enumerate() {
            let (row, column) = d_place(lane, which);
            to[row][column] = match format {
                Accumulator::F32 => word,
                Accumulator::F16 => word >> (16 * half) & 0xffff,
            };
        }
    }
}

fn gather(format: Accumulator, from: &[[u32; COLUMNS]; ROWS]) -> [Fragment; 4] {
    let mut d = [[0_u32; 32]; 4];
    for which in 0..4 {
        let (register, shift) = match format {
            Accumulator::F32 => (which, 0),
            Accumulator::F16 => (which >> 1, 16 * (which & 1)),
        };
        for (lane, word) in d[register].iter_mut().enumerate() {
            let (row, column) = d_place(lane, which);
            *word |= from[row][column] << shift;
        }
    }
    d
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn f16_tile(k: usize) -> Tile {
        Tile {
            operand: Operand::F16,
            accumulator: Accumulator::F32,
            k,
        }
    }

    /// The scalar model alone, addressed by the place functions.
    fn slow(
        target: Target,
        tile: Tile,
        a: &[Fragment],
        b: &[Fragment],
        c: &[Fragment],
    ) -> Vec<u32> {
        let how = alignment(target, tile);
        let mut out = vec![];
        #[expect(
            clippy::needless_range_loop,
            reason = "a lane is a number here, of which `c` is one use"
        )]
        for lane in 0..32 {
            for which in 0..4 {
                let (row, column) = d_place(lane, which);
                let (mut x, mut y) = ([0; DEPTH], [0; DEPTH]);
                for l in 0..32 {
                    for half in 0..tile.per_register() {
                        for (register, words) in a.iter().enumerate() {
                            let (r, k) = a_place(tile, l, register, half);
                            if r == row {
                                x[k] = element(tile, words[l], half);
                            }
                        }
                        for (register, words) in b.iter().enumerate() {
                            let (k, n) = b_place(tile, l, register, half);
                            if n == column {
                                y[k] = element(tile, words[l], half);
                            }
                        }
                    }
                }
                let mut value = match tile.accumulator {
                    Accumulator::F32 => c[which][lane],
                    Accumulator::F16 => c[which >> 1][lane] >> (16 * (which & 1)) & 0xffff,
                };
                for first in (0..tile.k).step_by(how.terms) {
                    let range = first..first + how.terms;
                    value = block(
                        how,
                        (tile.operand, tile.operand),
                        tile.accumulator,
                        &x[range.clone()],
                        &y[range],
                        value,
                    );
                }
                out.push(value);
            }
        }
        out
    }

    fn check(target: Target, tile: Tile, a: &[Fragment], b: &[Fragment], c: &[Fragment]) {
        let expected = slow(target, tile, a, b, c);
        let mut every = vec![mma(target, tile, a, b, c)];
        every.extend(
            Level::available()
                .into_iter()
                .filter_map(|level| on_lanes(level, target, tile, a, b, c)),
        );
        for d in every {
            for lane in 0..32 {
                for which in 0..4 {
                    let got = match tile.accumulator {
                        Accumulator::F32 => d[which][lane],
                        Accumulator::F16 => d[which >> 1][lane] >> (16 * (which & 1)) & 0xffff,
                    };
                    let want = expected[4 * lane + which];
                    assert_eq!(
                        got, want,
                        "{target} {tile:?} lane {lane} element {which}: {got:#010x} for {want:#010x}"
                    );
                }
            }
        }
    }

    /// Half-words that hit every class: random bits, zeros, subnormals, infinities and NaN.
    fn half(operand: Operand) -> impl Strategy<Value = u16> {
        let inf = if operand == Operand::F16 {
            0x7c00
        } else {
            0x7f80
        };
        prop_oneof![
            12 => any::<u16>(),
            6 => 0x3800_u16..0x4400,
            2 => 0_u16..0x400,
            2 => Just(0_u16),
            1 => Just(0x8000_u16),
            1 => 0x8000_u16..0x8080,
        ]
        .prop_map(move |x| {
            if x & inf == inf && x & 1 == 1 {
                x & 0x3fff
            } else {
                x
            }
        })
    }

    fn fragment(operand: Operand) -> impl Strategy<Value = Fragment> {
        proptest::collection::vec((half(operand), half(operand)), 32).prop_map(|v| {
            let mut words = [0; 32];
            for (word, (low, high)) in words.iter_mut().zip(v) {
                *word = u32::from(low) | u32::from(high) << 16;
            }
            words
        })
    }

    fn accumulator() -> impl Strategy<Value = Fragment> {
        let bits = prop_oneof![
            6 => (0x3000_0000_u32..0x4a00_0000).prop_map(|x| x ^ (x & 1) << 31),
            1 => any::<u32>(),
            2 => Just(0_u32),
            1 => Just(0x8000_0000_u32),
        ];
        proptest::collection::vec(bits, 32).prop_map(|v| v.try_into().unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn columns_equal_the_scalar_model(
            (operand, a, b) in prop_oneof![Just(Operand::F16), Just(Operand::Bf16)].prop_flat_map(|operand| (
                Just(operand),
                proptest::collection::vec(fragment(operand), 4),
                proptest::collection::vec(fragment(operand), 2),
            )),
            c in proptest::collection::vec(accumulator(), 4),
            mild in any::<bool>(),
        ) {
            // Half of the cases have ordinary operands only, so that the path over columns is the one that runs.
            let tame = |words: &Fragment| words.map(|w| if mild { w & 0xbfff_bfff | 0x2000_2000 } else { w });
            let (a, b): (Vec<_>, Vec<_>) = (a.iter().map(tame).collect(), b.iter().map(tame).collect());
            for target in Target::ALL {
                let tile = Tile { operand, accumulator: Accumulator::F32, k: 16 };
                check(target, tile, &a, &b, &c);
                check(target, Tile { k: 8, ..tile }, &a[..2], &b[..1], &c);
                let half = Tile { operand: Operand::F16, accumulator: Accumulator::F16, k: 16 };
                check(target, half, &a, &b, &c[..2]);
                let tf32 = Tile { operand: Operand::Tf32, accumulator: Accumulator::F32, k: 8 };
                check(target, tf32, &a, &b, &c);
            }
        }
    }

    #[test]
    fn the_path_over_columns_takes_ordinary_values() {
        // Law 11: the property above is about nothing if this path never runs.
        let row = [0x3c00; DEPTH];
        let columns = decode_columns(f16_tile(16), &[[0x4000; DEPTH]; COLUMNS]).unwrap();
        let mut c = [0; COLUMNS];
        for target in Target::ALL {
            c = [1.0_f32.to_bits(); COLUMNS];
            assert!(row_by_columns(
                alignment(target, f16_tile(16)),
                f16_tile(16),
                &row,
                &columns,
                &mut c
            ));
        }
        assert_eq!(c, [33.0_f32.to_bits(); COLUMNS]);
        assert!(decode_columns(f16_tile(16), &[[0x7c00; DEPTH]; COLUMNS]).is_none());
        for level in Level::available() {
            for target in Target::ALL {
                let run = |a: u32| {
                    let (a, b) = ([[a; 32]; 4], [[0x4000_4000; 32]; 2]);
                    on_lanes(
                        level,
                        target,
                        f16_tile(16),
                        &a,
                        &b,
                        &[[1.0_f32.to_bits(); 32]; 4],
                    )
                };
                assert_eq!(run(0x3c00_3c00), Some([[33.0_f32.to_bits(); 32]; 4]));
                assert_eq!(run(0x3c00_7c00), None, "infinities are not for this path");
            }
        }
    }

    #[test]
    fn targets_differ() {
        // 2^-24 beside 1 eight times: kept by F = 24 in a block of its own, rounded away behind 1.
        let one = 0x3c00_3c00;
        let mut a = vec![[0; 32]; 4];
        let mut b = vec![[0; 32]; 2];
        for lane in 0..32 {
            b[0][lane] = one;
            b[1][lane] = one;
            a[0][lane] = if lane % 4 == 0 { 0x3c00 } else { 0 };
            a[2][lane] = 0x0001_0001; // 2^-24, k = 8..16
        }
        let c = vec![[0; 32]; 4];
        let ampere = mma(Target::Sm80, f16_tile(16), &a, &b, &c)[0][0];
        let hopper = mma(Target::Sm90, f16_tile(16), &a, &b, &c)[0][0];
        assert_eq!(ampere, (1.0 + 4.0 * 2.0_f32.powi(-23)).to_bits());
        assert_eq!(ampere, hopper);
        check(Target::Sm80, f16_tile(16), &a, &b, &c);
    }
}
