//! `wmma` as plain code: loads and stores of blocks of 8 by 8, `movmatrix`, and `mma`.
//!
//! PTX leaves open which register of a fragment holds what. Here it is what `mma` takes, as in the code that NVIDIA's
//! assembler writes for `sm_80` and `sm_90` (seen with `nvdisasm` 13.2): f16 and bf16 products become `mma.m16n8k16`, those of 8 rows
//! on the transposed problem; factors that do not lie along `k` in memory are loaded as they lie and exchanged by `movmatrix`
//! before the product; tf32 products are two steps of `k` 4. The upper registers of f16 factors that hold nothing repeat the lower.
//!
//! Not asked of an access: that its rows begin at multiples of 32 bytes, which PTX demands.

use super::Whole;
use crate::ptx::{
    Address, AddressBase, CacheHints, Instruction, LogicOp, Mma, MmaShape, Op, Operand, Ordering,
    ProductPart, RegisterId, ScalarType, ShiftDirection, SpecialRegister, Wmma, WmmaLayout,
    WmmaMatrix, WmmaShape, WmmaTile,
};

/// Rows and columns of a block that one register of each lane holds, by where it begins.
type Place = (u32, u32);

/// Whether the problem is turned over: its `n` takes the place of rows.
fn is_turned(shape: WmmaShape) -> bool {
    shape.extents()[0] < 16
}

/// Whether a factor takes the place of rows in `mma`.
fn is_rows(shape: WmmaShape, matrix: WmmaMatrix) -> bool {
    (matrix == WmmaMatrix::A) != is_turned(shape)
}

/// Blocks of a factor as (along `m` or `n`, along `k`), in the order of `mma`'s registers.
fn factor_blocks(shape: WmmaShape, matrix: WmmaMatrix) -> Vec<Place> {
    let [m, n, k] = shape.extents();
    let extent = if matrix == WmmaMatrix::A { m } else { n };
    let mut blocks = Vec::new();
    if is_rows(shape, matrix) {
        for tile in (0..extent).step_by(16) {
            for depth in [0, k / 2] {
                blocks.extend([(tile, depth), (tile + 8, depth)]);
            }
        }
    } else {
        for tile in (0..extent).step_by(8) {
            blocks.extend([(tile, 0), (tile, k / 2)]);
        }
    }
    blocks
}

/// Blocks of an accumulator as `mma` sees it, in the order of its registers.
fn accumulator_blocks(shape: WmmaShape) -> Vec<Place> {
    let [m, n, _] = shape.extents();
    let (rows, columns) = if is_turned(shape) { (n, m) } else { (m, n) };
    let tiles = (0..rows).step_by(16);
    tiles
        .flat_map(|row| (0..columns).step_by(8).map(move |column| (row, column)))
        .flat_map(|(row, column)| [(row, column), (row + 8, column)])
        .collect()
}

/// Whether a factor lies along `k` in memory.
fn is_along_k(matrix: WmmaMatrix, layout: WmmaLayout) -> bool {
    (matrix == WmmaMatrix::A) == (layout == WmmaLayout::Row)
}

/// Where a lane begins in a tile.
struct Start {
    /// Address of its element of a block at the origin.
    address: RegisterId,
    stride: Operand,
    /// Bytes of an element.
    bytes: u32,
    offset: i64,
}

fn number(value: u32) -> Operand {
    Operand::Immediate(u64::from(value))
}

/// Type of the registers of an accumulator.
fn accumulator_word(ty: ScalarType) -> ScalarType {
    if ty == ScalarType::F16 {
        ScalarType::B32
    } else {
        ScalarType::F32
    }
}

impl Whole<'_> {
    pub(super) fn wmma(&mut self, op: &Wmma, of: &Instruction) {
        match op {
            Wmma::Load(tile) | Wmma::Store(tile) => {
                let [group, pair] = self.place_in_warp(of);
                if matches!(tile.matrix, WmmaMatrix::A | WmmaMatrix::B) {
                    self.load_factor(tile, group, pair, of);
                } else {
                    self.accumulator(tile, group, pair, of);
                }
            }
            Wmma::Product {
                shape,
                a_layout,
                b_layout,
                factor,
                accumulator,
                d,
                a,
                b,
                c,
            } => {
                let used = |matrix| factor_blocks(*shape, matrix).len();
                let a = &a[..used(WmmaMatrix::A)];
                let a = self.along_k(WmmaMatrix::A, *a_layout, *factor, a, of);
                let b = &b[..used(WmmaMatrix::B)];
                let b = self.along_k(WmmaMatrix::B, *b_layout, *factor, b, of);
                // A result must not take the place of what is still to be read.
                let places = d.iter().enumerate();
                let mut clashes = places.filter(|(at, d)| {
                    let mut others = c.iter().enumerate().filter(|(other, _)| other != at);
                    a.contains(d) || b.contains(d) || others.any(|(_, c)| c == *d)
                });
                let word = accumulator_word(*accumulator);
                let results = if clashes.next().is_some() {
                    d.iter().map(|_| self.register(word)).collect()
                } else {
                    d.clone()
                };
                let (rows, columns) = if is_turned(*shape) { (b, a) } else { (a, b) };
                self.products(*factor, *accumulator, &results, [&rows, &columns, c], of);
                for (d, result) in d.iter().zip(&results).filter(|(d, result)| d != result) {
                    self.copy(word, *d, *result, of);
                }
            }
        }
    }

    /// `lane / 4` and `lane % 4`. The `movmatrix` moves nothing that is used: it needs all lanes, as `wmma` does.
    fn place_in_warp(&mut self, of: &Instruction) -> [RegisterId; 2] {
        let [lane, group, pair, unused] = [(); 4].map(|()| self.register(ScalarType::B32));
        let b = ScalarType::B32;
        let a = Operand::Special(SpecialRegister::Laneid);
        self.push(of, None, Op::Mov { ty: b, d: lane, a });
        let a = Operand::Register(lane);
        self.push(of, of.guard, Op::MovMatrix { d: unused, a });
        let shift = Op::Shift {
            direction: ShiftDirection::Right,
            ty: ScalarType::U32,
            d: group,
            a,
            b: number(2),
        };
        self.push(of, None, shift);
        let and = Op::Logic {
            operation: LogicOp::And,
            ty: b,
            d: pair,
            a,
            b: number(3),
        };
        self.push(of, None, and);
        [group, pair]
    }

    fn load_factor(
        &mut self,
        tile: &WmmaTile,
        group: RegisterId,
        pair: RegisterId,
        of: &Instruction,
    ) {
        let along_k = is_along_k(tile.matrix, tile.layout);
        let start = match (tile.ty, along_k) {
            (ScalarType::Tf32, true) => self.start(tile, (group, 1), (pair, 1), of),
            (ScalarType::Tf32, false) => self.start(tile, (pair, 1), (group, 1), of),
            _ => self.start(tile, (group, 1), (pair, 2), of),
        };
        let blocks = factor_blocks(tile.shape, tile.matrix);
        let (own, repeated) = tile.registers.split_at(blocks.len());
        for (register, (i, k)) in own.iter().zip(blocks) {
            let (major, minor) = if along_k { (i, k) } else { (k, i) };
            let address = self.at(&start, major, minor, of);
            self.load(tile, ScalarType::B32, &[*register], address, of);
        }
        for (to, from) in repeated.iter().zip(own.iter().cycle()) {
            self.copy(ScalarType::B32, *to, *from, of);
        }
    }

    /// An accumulator, read or written: two neighbours of a row of `mma` in each lane.
    fn accumulator(
        &mut self,
        tile: &WmmaTile,
        group: RegisterId,
        pair: RegisterId,
        of: &Instruction,
    ) {
        let together = is_turned(tile.shape) == (tile.layout == WmmaLayout::Col);
        let start = if together {
            self.start(tile, (group, 1), (pair, 2), of)
        } else {
            self.start(tile, (pair, 2), (group, 1), of)
        };
        let is_half = tile.ty == ScalarType::F16;
        let each = if is_half { 1 } else { 2 };
        let blocks = accumulator_blocks(tile.shape).into_iter();
        for (registers, (row, column)) in tile.registers.chunks_exact(each).zip(blocks) {
            if together {
                let address = self.at(&start, row, column, of);
                let ty = accumulator_word(tile.ty);
                self.access(tile, ty, registers, address, of);
                continue;
            }
            let halves: Vec<RegisterId> = if is_half {
                let halves = vec![
                    self.register(ScalarType::B16),
                    self.register(ScalarType::B16),
                ];
                if tile.matrix == WmmaMatrix::D {
                    let unpack = Op::Unpack {
                        ty: ScalarType::B32,
                        d: halves.iter().copied().map(Some).collect(),
                        a: Operand::Register(registers[0]),
                    };
                    self.push(of, of.guard, unpack);
                }
                halves
            } else {
                registers.to_vec()
            };
            let ty = if is_half {
                ScalarType::B16
            } else {
                ScalarType::F32
            };
            for (next, register) in (0..).zip(&halves) {
                let address = self.at(&start, column + next, row, of);
                self.access(tile, ty, &[*register], address, of);
            }
            if is_half && tile.matrix == WmmaMatrix::C {
                let pack = Op::Pack {
                    ty: ScalarType::B32,
                    d: registers[0],
                    a: halves.into_iter().map(Operand::Register).collect(),
                };
                self.push(of, of.guard, pack);
            }
        }
    }

    /// The address of a lane's element, `major` rows (or columns, as the tile lies) and `minor` elements from the tile's
    /// first: a register of the lane and what it is taken times, each.
    fn start(
        &mut self,
        tile: &WmmaTile,
        major: (RegisterId, u32),
        minor: (RegisterId, u32),
        of: &Instruction,
    ) -> Start {
        let [rows, columns] = tile.shape.extents_of(tile.matrix);
        let packed = match tile.layout {
            WmmaLayout::Row => columns,
            WmmaLayout::Col => rows,
        };
        let stride = match tile.stride {
            // The addresses of later blocks are read off it, when a load may have written the first ones.
            Some(Operand::Register(own)) if tile.registers.contains(&own) => {
                let kept = self.register(ScalarType::B32);
                self.push(
                    of,
                    None,
                    Op::Mov {
                        ty: ScalarType::B32,
                        d: kept,
                        a: Operand::Register(own),
                    },
                );
                Operand::Register(kept)
            }
            Some(stride) => stride,
            None => number(packed),
        };
        let bytes = if tile.ty.bits() == 16 { 2 } else { 4 };
        let base = match tile.address.base {
            AddressBase::Register(base) => Operand::Register(base),
            AddressBase::Symbol(symbol) => {
                let d = self.register(ScalarType::U64);
                let a = Operand::Address(symbol, 0);
                let ty = ScalarType::U64;
                self.push(of, None, Op::Mov { ty, d, a });
                Operand::Register(d)
            }
            AddressBase::Absolute => number(0),
        };
        let is_short = |register| {
            let ty = self.out.register_type(register);
            ty.is_some_and(|ty| ty.bits() == 32)
        };
        let base = match base {
            Operand::Register(short) if is_short(short) => {
                Operand::Register(self.mad(true, base, number(1), number(0), of))
            }
            _ => base,
        };
        let [major, minor] = [major, minor].map(|(register, times)| {
            let one = Operand::Register(register);
            (one, number(times))
        });
        let column = self.mad(true, minor.0, minor.1, number(0), of);
        let row = if major.1 == number(1) {
            major.0
        } else {
            Operand::Register(self.mad_low(major.0, major.1, of))
        };
        let element = self.mad(true, row, stride, Operand::Register(column), of);
        Start {
            address: self.mad(false, Operand::Register(element), number(bytes), base, of),
            stride,
            bytes,
            offset: tile.address.offset,
        }
    }

    /// Address of a lane's element of the block that begins so far from the tile's first element.
    fn at(&mut self, start: &Start, major: u32, minor: u32, of: &Instruction) -> Address {
        let base = if major == 0 {
            start.address
        } else {
            let step = number(major * start.bytes);
            let first = Operand::Register(start.address);
            self.mad(true, start.stride, step, first, of)
        };
        Address {
            base: AddressBase::Register(base),
            offset: start.offset + i64::from(minor * start.bytes),
        }
    }

    /// `a * b + c` in 64 bits; of 32-bit factors where it is wide.
    fn mad(
        &mut self,
        wide: bool,
        a: Operand,
        b: Operand,
        c: Operand,
        of: &Instruction,
    ) -> RegisterId {
        let d = self.register(ScalarType::U64);
        let (part, ty) = if wide {
            (ProductPart::Wide, ScalarType::U32)
        } else {
            (ProductPart::Lo, ScalarType::U64)
        };
        self.push(
            of,
            None,
            Op::Mad {
                part,
                ty,
                d,
                a,
                b,
                c,
            },
        );
        d
    }

    fn mad_low(&mut self, a: Operand, b: Operand, of: &Instruction) -> RegisterId {
        let d = self.register(ScalarType::U32);
        let mad = Op::Mad {
            part: ProductPart::Lo,
            ty: ScalarType::U32,
            d,
            a,
            b,
            c: number(0),
        };
        self.push(of, None, mad);
        d
    }

    fn access(
        &mut self,
        tile: &WmmaTile,
        ty: ScalarType,
        registers: &[RegisterId],
        address: Address,
        of: &Instruction,
    ) {
        if tile.matrix != WmmaMatrix::D {
            self.load(tile, ty, registers, address, of);
            return;
        }
        let store = Op::St {
            ordering: Ordering::Weak,
            space: tile.space,
            hints: CacheHints::default(),
            ty,
            address,
            a: registers.iter().copied().map(Operand::Register).collect(),
        };
        self.push(of, of.guard, store);
    }

    fn load(
        &mut self,
        tile: &WmmaTile,
        ty: ScalarType,
        registers: &[RegisterId],
        address: Address,
        of: &Instruction,
    ) {
        let load = Op::Ld {
            ordering: Ordering::Weak,
            space: tile.space,
            non_coherent: false,
            hints: CacheHints::default(),
            ty,
            d: registers.iter().copied().map(Some).collect(),
            address,
        };
        self.push(of, of.guard, load);
    }

    fn copy(&mut self, ty: ScalarType, to: RegisterId, from: RegisterId, of: &Instruction) {
        let a = Operand::Register(from);
        self.push(of, of.guard, Op::Mov { ty, d: to, a });
    }

    /// A factor's registers as `mma` takes them.
    fn along_k(
        &mut self,
        matrix: WmmaMatrix,
        layout: WmmaLayout,
        factor: ScalarType,
        fragment: &[RegisterId],
        of: &Instruction,
    ) -> Vec<RegisterId> {
        if factor == ScalarType::Tf32 || is_along_k(matrix, layout) {
            return fragment.to_vec();
        }
        let turned = fragment.iter().map(|register| {
            let d = self.register(ScalarType::B32);
            let a = Operand::Register(*register);
            self.push(of, of.guard, Op::MovMatrix { d, a });
            d
        });
        turned.collect()
    }

    /// Every tile of 16 by 8 of a product, of what takes the place of rows and of columns.
    fn products(
        &mut self,
        factor: ScalarType,
        accumulator: ScalarType,
        d: &[RegisterId],
        [rows, columns, c]: [&[RegisterId]; 3],
        of: &Instruction,
    ) {
        let each = if accumulator == ScalarType::F16 { 2 } else { 4 };
        let tiles = d.chunks_exact(each).zip(c.chunks_exact(each));
        let places = if rows.len() == 4 {
            [(0, 0), (0, 1)]
        } else {
            [(0, 0), (1, 0)]
        };
        for ((d, c), (row, column)) in tiles.zip(places) {
            let mut c: Vec<Operand> = c.iter().copied().map(Operand::Register).collect();
            let (a, b) = (
                &rows[4 * row..4 * row + 4],
                &columns[2 * column..2 * column + 2],
            );
            let (shape, steps) = if factor == ScalarType::Tf32 {
                (MmaShape::M16N8K4, 2)
            } else {
                (MmaShape::M16N8K16, 1)
            };
            for step in 0..steps {
                let (a, b) = (
                    &a[step * 4 / steps..(step + 1) * 4 / steps],
                    &b[step * 2 / steps..(step + 1) * 2 / steps],
                );
                let d: Vec<RegisterId> = if step + 1 < steps {
                    d.iter().map(|_| self.register(ScalarType::F32)).collect()
                } else {
                    d.to_vec()
                };
                let mma = Mma {
                    shape,
                    saturate: false,
                    d_type: accumulator,
                    a_type: factor,
                    b_type: factor,
                    c_type: accumulator,
                    d: d.clone(),
                    a: a.to_vec(),
                    b: b.to_vec(),
                    c,
                };
                self.push(of, of.guard, Op::Mma(Box::new(mma)));
                c = d.into_iter().map(Operand::Register).collect();
            }
        }
    }
}
