//! `ldmatrix`, `stmatrix` and `mma.sync`.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "dispatch matches every instruction; only those of this class come here"
)]

use super::super::event::AccessKind;
use super::super::tensor_core::{self, Accumulator, Fragment, Tile};
use super::cta::Machine;
use super::dispatch::Site;
use super::memory::{Bytes, Place};
use super::warp::Warp;
use super::{Halt, Lanes, Next, lanes};
use crate::convert::index;
use crate::ptx::{Op, ScalarType, Space};

/// Half of a fragment register: element `2 * (lane % 4) + half` of row `lane / 4`, or of that column when transposed.
fn place(lane: usize, half: usize, transposed: bool) -> (usize, usize) {
    let (major, minor) = (lane / 4, 2 * (lane % 4) + half);
    if transposed {
        (minor, major)
    } else {
        (major, minor)
    }
}

impl Machine<'_> {
    /// Matrix instructions: all 32 lanes take part.
    pub(super) fn matrix(&mut self, warp: &mut Warp, site: &Site<'_>) -> Result<Next, Halt> {
        if site.mask != u32::MAX {
            if warp.live != u32::MAX {
                let what = "a matrix instruction needs all 32 lanes of its warp; some do not exist or have exited";
                return Err(Halt::Members {
                    at: site.at,
                    warp: warp.index,
                    what: what.to_owned(),
                });
            }
            if site.mask != site.path {
                let what =
                    "a matrix instruction is guarded by a predicate that differs between lanes";
                return Err(Halt::Members {
                    at: site.at,
                    warp: warp.index,
                    what: what.to_owned(),
                });
            }
            return Ok(Next::Gather);
        }
        match &site.instruction.op {
            Op::LdMatrix {
                transposed,
                space,
                d,
                address,
            } => {
                let place =
                    self.matrix_rows(warp, site, *space, address, d.len(), AccessKind::Read)?;
                let mut raw: Bytes = [[0; 16]; 32];
                self.fetch(warp, &place, 16, &mut raw);
                for (matrix, register) in d.iter().enumerate() {
                    let value = gather_matrix(&raw, matrix, *transposed);
                    self.write(warp, *register, u32::MAX, &value);
                }
            }
            Op::StMatrix {
                transposed,
                space,
                address,
                a,
            } => {
                let place_ =
                    self.matrix_rows(warp, site, *space, address, a.len(), AccessKind::Write)?;
                let mut raw: Bytes = [[0; 16]; 32];
                for (matrix, register) in a.iter().enumerate() {
                    let value = self.read::<u32>(warp, crate::ptx::Operand::Register(*register));
                    for (lane, word) in value.iter().enumerate() {
                        for half in 0..2 {
                            let (row, column) = place(lane, half, *transposed);
                            let bytes = word.to_le_bytes();
                            raw[8 * matrix + row][2 * column..2 * column + 2]
                                .copy_from_slice(&bytes[2 * half..2 * half + 2]);
                        }
                    }
                }
                self.put(warp, &place_, 16, &raw);
            }
            Op::MovMatrix { d, a } => {
                let a = self.read::<u32>(warp, *a);
                let value = lanes(|lane| {
                    let half = |half: usize| {
                        // Row and column of this half of the result; the source has them exchanged.
                        let (row, column) = place(lane, half, true);
                        let word = a[4 * row + column / 2];
                        word >> (16 * (column % 2)) & 0xffff
                    };
                    half(0) | half(1) << 16
                });
                self.write(warp, *d, u32::MAX, &value);
            }
            Op::Mma(mma) => {
                if mma.a_type == ScalarType::F64 {
                    let read = |registers: &[crate::ptx::RegisterId]| -> Vec<Lanes<u64>> {
                        let one = |r: &crate::ptx::RegisterId| {
                            self.read(warp, crate::ptx::Operand::Register(*r))
                        };
                        registers.iter().map(one).collect()
                    };
                    let c: Vec<Lanes<u64>> = mma.c.iter().map(|c| self.read(warp, *c)).collect();
                    let d = tensor_core::mma_doubles(&read(&mma.a), &read(&mma.b), &c);
                    for (register, value) in mma.d.iter().zip(&d) {
                        self.write(warp, *register, u32::MAX, value);
                    }
                    return Ok(Next::Continue);
                }
                if let Some(d) = self.narrow(warp, site, mma)? {
                    for (register, value) in mma.d.iter().zip(&d) {
                        self.write(warp, *register, u32::MAX, value);
                    }
                    return Ok(Next::Continue);
                }
                let tile = tile_of(mma)
                    .filter(|tile| tile.exists())
                    .ok_or_else(|| site.unsupported("an mma of these types and this shape"))?;
                let (a_count, b_count, c_count) = tile.registers();
                if (mma.a.len(), mma.b.len(), mma.c.len(), mma.d.len())
                    != (a_count, b_count, c_count, c_count)
                {
                    return Err(site.unsupported("an mma with fragments of another length"));
                }
                let fetch = |register: &crate::ptx::RegisterId| -> Fragment {
                    self.read(warp, crate::ptx::Operand::Register(*register))
                };
                let mut a = [[0; 32]; 4];
                let mut b = [[0; 32]; 2];
                let mut c = [[0; 32]; 4];
                a.iter_mut()
                    .zip(&mma.a)
                    .for_each(|(to, from)| *to = fetch(from));
                b.iter_mut()
                    .zip(&mma.b)
                    .for_each(|(to, from)| *to = fetch(from));
                c.iter_mut()
                    .zip(&mma.c)
                    .for_each(|(to, from)| *to = self.read(warp, *from));
                let d = tensor_core::mma(
                    self.program.target,
                    tile,
                    &a[..a_count],
                    &b[..b_count],
                    &c[..c_count],
                );
                for (register, value) in mma.d.iter().zip(&d) {
                    self.write(warp, *register, u32::MAX, value);
                }
            }
            _ => unreachable!("dispatch sends matrix instructions only"),
        }
        Ok(Next::Continue)
    }

    /// The result of an `mma` of bytes or integers; `None` for other types.
    fn narrow(
        &self,
        warp: &Warp,
        site: &Site<'_>,
        mma: &crate::ptx::Mma,
    ) -> Result<Option<[Fragment; 4]>, Halt> {
        let fragment = |registers: &[crate::ptx::RegisterId]| -> Vec<Fragment> {
            let one = |r: &crate::ptx::RegisterId| {
                self.read::<u32>(warp, crate::ptx::Operand::Register(*r))
            };
            registers.iter().map(one).collect()
        };
        let c: Vec<Fragment> = mma.c.iter().map(|c| self.read(warp, *c)).collect();
        if mma.d_type == ScalarType::S32 {
            let types = (mma.a_type, mma.b_type);
            let (a, b) = (fragment(&mma.a), fragment(&mma.b));
            let d = tensor_core::mma_integers(types, mma.saturate, &a, &b, &c);
            return Ok(Some(d));
        }
        let byte = |ty| match ty {
            ScalarType::E4m3 => Some(tensor_core::Operand::E4m3),
            ScalarType::E5m2 => Some(tensor_core::Operand::E5m2),
            _ => None,
        };
        let (Some(a), Some(b)) = (byte(mma.a_type), byte(mma.b_type)) else {
            return Ok(None);
        };
        let accumulator = if mma.d_type == ScalarType::F16 {
            Accumulator::F16
        } else {
            Accumulator::F32
        };
        let target = self.program.target;
        let d = tensor_core::mma_bytes(
            target,
            (a, b),
            accumulator,
            &fragment(&mma.a),
            &fragment(&mma.b),
            &c,
        );
        d.map(Some).ok_or_else(|| {
            site.unsupported(format!(
                "an mma of 8-bit floats and depth {} on {target}",
                mma.shape.k()
            ))
        })
    }

    /// The rows of `count` matrices: lane `8 m + r` gives the address of row `r` of matrix `m`.
    fn matrix_rows(
        &mut self,
        warp: &Warp,
        site: &Site<'_>,
        space: Space,
        address: &crate::ptx::Address,
        count: usize,
        kind: AccessKind,
    ) -> Result<Place, Halt> {
        let mut addresses = self.addresses(warp, address);
        let rows = u32::try_from((1_u64 << (8 * count)) - 1).expect("at most four matrices");
        if space == Space::Generic {
            let all = Site {
                mask: rows,
                ..*site
            };
            let write = kind == AccessKind::Write;
            let places = self.places(warp, &all, space, &addresses, 16, write)?;
            match places.as_slice() {
                [one] if one.space == Space::Shared => addresses = one.addresses,
                _ => return Err(site.unsupported("a matrix access outside shared memory")),
            }
        }
        let place = Place {
            space: Space::Shared,
            mask: rows,
            addresses,
        };
        self.check(warp, site, &place, 16, kind)?;
        Ok(place)
    }
}

fn gather_matrix(raw: &Bytes, matrix: usize, transposed: bool) -> Lanes<u32> {
    let rows: &[[u8; 16]; 8] = raw[8 * matrix..]
        .first_chunk()
        .expect("32 rows of up to four");
    if !transposed {
        // Four lanes hold a row, each two neighbours: the rows one after the other are the register.
        let words = rows.as_flattened().as_chunks::<4>().0;
        return lanes(|lane| u32::from_le_bytes(words[lane]));
    }
    lanes(|lane| {
        let half = |half| {
            let (row, column) = place(lane, half, transposed);
            u32::from(u16::from_le_bytes([
                rows[row][2 * column],
                rows[row][2 * column + 1],
            ]))
        };
        half(0) | half(1) << 16
    })
}

/// The tile of an `mma`; `None` for types that this machine has no table for.
pub(crate) fn tile_of(mma: &crate::ptx::Mma) -> Option<Tile> {
    let operand = match (mma.a_type, mma.b_type) {
        (ScalarType::F16, ScalarType::F16) => tensor_core::Operand::F16,
        (ScalarType::Bf16, ScalarType::Bf16) => tensor_core::Operand::Bf16,
        (ScalarType::Tf32, ScalarType::Tf32) => tensor_core::Operand::Tf32,
        _ => return None,
    };
    let accumulator = match (mma.c_type, mma.d_type) {
        (ScalarType::F32, ScalarType::F32) => Accumulator::F32,
        (ScalarType::F16, ScalarType::F16) => Accumulator::F16,
        _ => return None,
    };
    Some(Tile {
        operand,
        accumulator,
        k: index(mma.shape.k()),
    })
}
