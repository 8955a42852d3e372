//! `wgmma`: matrix descriptors, operands in shared memory and registers, accumulators.
//!
//! Each warp computes its 16 of the 64 rows when it executes the instruction: that needs nothing of the other three.
//! PTX allows any moment until the wait; detectors watch what is touched in between. A group is the warpgroup's: no warp
//! gets past its wait before all four have issued what the group consists of.
//!
//! Source: PTX ISA 9.7.16 (matrix descriptor, canonical layouts, fragments). Not modelled: a base offset other than 0.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "dispatch matches every instruction; only those of this class come here"
)]

use super::super::arithmetic::byte_float::ByteFloat;
use super::super::async_event::{AsyncEvent, Chunk};
use super::super::memory::Reason;
use super::super::tensor_core::{
    Accumulator, Operand as Format, WGMMA_DEPTH, WgmmaOperands, wgmma,
};
use super::super::tensor_map::Swizzle;
use super::cta::Machine;
use super::dispatch::Site;
use super::program::thread_of;
use super::warp::Warp;
use super::{Halt, Next, lanes_of};
use crate::convert::{index, low_u32};
use crate::ptx::{Operand, RegisterId, ScalarType, Sm90, Space, Wgmma, WgmmaA, WgmmaType};

/// A matrix descriptor: where an operand lies in shared memory.
#[derive(Clone, Copy, Debug)]
struct Descriptor {
    start: u32,
    /// Leading dimension byte offset.
    leading: u32,
    /// Stride dimension byte offset.
    stride: u32,
    swizzle: Swizzle,
}

impl Descriptor {
    /// `Err` names what is not modelled.
    fn decode(bits: u64) -> Result<Self, String> {
        let field = |at: u32| low_u32(bits >> at & 0x3fff) << 4;
        let base_offset = bits >> 49 & 7;
        if base_offset != 0 {
            return Err(format!(
                "a matrix descriptor with base offset {base_offset}"
            ));
        }
        Ok(Self {
            start: field(0),
            leading: field(16),
            stride: field(32),
            swizzle: match bits >> 62 {
                0 => Swizzle::None,
                1 => Swizzle::B128,
                2 => Swizzle::B64,
                _ => Swizzle::B32,
            },
        })
    }

    /// The 16 bytes at depth `16 * chunk` bytes of a row, K-major.
    fn k_major(self, row: u32, chunk: u32) -> u32 {
        let across = if self.swizzle == Swizzle::None {
            chunk * self.leading
        } else {
            16 * chunk
        };
        let linear = self.start + row / 8 * self.stride + row % 8 * self.swizzle.span() + across;
        self.swizzle.apply(linear)
    }

    /// The 16 bytes with eight rows from `8 * chunk` at depth `k`, transposed.
    fn transposed(self, chunk: u32, k: u32) -> u32 {
        let span = self.swizzle.span();
        let across = span / 16;
        // Without a swizzle the two offsets change their parts.
        let (over_k, over_rows) = if self.swizzle == Swizzle::None {
            (self.leading, self.stride)
        } else {
            (self.stride, self.leading)
        };
        let linear = self.start
            + k / 8 * over_k
            + k % 8 * span
            + chunk / across * over_rows
            + chunk % across * 16;
        self.swizzle.apply(linear)
    }
}

/// Elements of an operand, by row (by column for B), as bits.
type Lines = Vec<[u32; WGMMA_DEPTH]>;

impl Machine<'_> {
    pub(super) fn wgmma(
        &mut self,
        warp: &mut Warp,
        site: &Site<'_>,
        op: &Sm90,
    ) -> Result<Next, Halt> {
        if site.mask != u32::MAX {
            if warp.live != u32::MAX || site.mask != site.path {
                let what = "wgmma needs all 32 lanes of its warp: some do not exist, have exited or have a false guard";
                return Err(Halt::Members {
                    at: site.at,
                    warp: warp.index,
                    what: what.to_owned(),
                });
            }
            return Ok(Next::Gather);
        }
        match op {
            Sm90::WgmmaFence => self.tell(&AsyncEvent::WgmmaFence { warp: warp.index }),
            Sm90::WgmmaCommit => {
                self.sm90.commit(warp.index);
                self.tell(&AsyncEvent::WgmmaCommit { warp: warp.index });
            }
            Sm90::WgmmaWait { groups } => {
                if self.sm90.behind(warp.index, *groups).is_some() {
                    return Ok(Next::Park);
                }
                self.tell(&AsyncEvent::WgmmaWait {
                    warp: warp.index,
                    groups: *groups,
                });
            }
            Sm90::Wgmma(wgmma) => self.multiply(warp, site, wgmma)?,
            _ => unreachable!("dispatch sends wgmma only"),
        }
        Ok(Next::Continue)
    }

    fn multiply(&mut self, warp: &mut Warp, site: &Site<'_>, op: &Wgmma) -> Result<(), Halt> {
        let accumulates = self.read_predicate(warp, op.scale_d) & 1 == 1;
        let (mut a_chunks, mut b_chunks) = (Vec::new(), Vec::new());
        let a = match &op.a {
            WgmmaA::Registers(registers) => self.register_rows(warp, op.a_type, registers),
            WgmmaA::Shared(descriptor) => {
                let descriptor = self.descriptor(warp, site, *descriptor)?;
                // This warp's quarter of the 64 rows.
                let first = 16 * (u32::try_from(warp.index).expect("at most 32 warps") % 4);
                let (ty, transposed) = (op.a_type, op.transpose_a);
                self.lines(
                    warp,
                    site,
                    descriptor,
                    (first, 16),
                    ty,
                    transposed,
                    &mut a_chunks,
                )?
            }
        };
        let descriptor = self.descriptor(warp, site, op.b)?;
        let (ty, transposed) = (op.b_type, op.transpose_b);
        let b = self.lines(
            warp,
            site,
            descriptor,
            (0, op.n),
            ty,
            transposed,
            &mut b_chunks,
        )?;
        let step = warp.step(site.at, site.instruction, site.path, site.mask);
        self.tell(&AsyncEvent::Wgmma {
            step: &step,
            a: &a_chunks,
            b: &b_chunks,
            accumulates,
        });
        let (a, b) = (
            negated(a, op.a_type, op.negate_a),
            negated(b, op.b_type, op.negate_b),
        );
        let accumulator = if op.d_type == ScalarType::F16 {
            Accumulator::F16
        } else {
            Accumulator::F32
        };
        let operands = match (op.a_type, op.b_type) {
            (WgmmaType::F16, _) => WgmmaOperands::Same(Format::F16),
            (WgmmaType::Bf16, _) => WgmmaOperands::Same(Format::Bf16),
            (WgmmaType::Tf32, _) => WgmmaOperands::Same(Format::Tf32),
            (x, y) => WgmmaOperands::Bytes(byte_float(x), byte_float(y)),
        };
        let mut c = self.accumulators(warp, op, accumulator, accumulates);
        let a: [[u32; WGMMA_DEPTH]; 16] = a.try_into().expect("16 rows");
        wgmma(operands, accumulator, &a, &b, &mut c);
        for (which, register) in op.d.iter().enumerate() {
            let value = super::lanes(|lane| match accumulator {
                Accumulator::F32 => {
                    let (row, column) = place(lane, which);
                    c[row][column]
                }
                Accumulator::F16 => {
                    let (row, column) = place(lane, 2 * which);
                    c[row][column] | c[row][column + 1] << 16
                }
            });
            self.write(warp, *register, u32::MAX, &value);
        }
        Ok(())
    }

    fn accumulators(
        &self,
        warp: &Warp,
        op: &Wgmma,
        accumulator: Accumulator,
        accumulates: bool,
    ) -> [Vec<u32>; 16] {
        let mut c: [Vec<u32>; 16] = std::array::from_fn(|_| vec![0; index(op.n)]);
        if !accumulates {
            return c;
        }
        for (which, register) in op.d.iter().enumerate() {
            let words = self.read::<u32>(warp, Operand::Register(*register));
            for (lane, word) in words.into_iter().enumerate() {
                match accumulator {
                    Accumulator::F32 => {
                        let (row, column) = place(lane, which);
                        c[row][column] = word;
                    }
                    Accumulator::F16 => {
                        let (row, column) = place(lane, 2 * which);
                        (c[row][column], c[row][column + 1]) = (word & 0xffff, word >> 16);
                    }
                }
            }
        }
        c
    }

    /// A descriptor, which has to be the same in all lanes.
    fn descriptor(
        &self,
        warp: &Warp,
        site: &Site<'_>,
        operand: Operand,
    ) -> Result<Descriptor, Halt> {
        let bits = self.read::<u64>(warp, operand);
        if let Some(lane) = lanes_of(u32::MAX).find(|&lane| bits[lane] != bits[0]) {
            return Err(Halt::Members {
                at: site.at,
                warp: warp.index,
                what: format!(
                    "the matrix descriptor of lane {lane} is {:#x}, that of lane 0 {:#x}; all lanes have to agree",
                    bits[lane], bits[0]
                ),
            });
        }
        Descriptor::decode(bits[0]).map_err(|what| site.unsupported(what))
    }

    /// Rows `first..first + count` of an operand in shared memory.
    #[expect(
        clippy::too_many_arguments,
        reason = "an operand is a descriptor, a range of rows, a format and an order"
    )]
    fn lines(
        &self,
        warp: &Warp,
        site: &Site<'_>,
        descriptor: Descriptor,
        (first, count): (u32, u32),
        ty: WgmmaType,
        transposed: bool,
        chunks: &mut Vec<Chunk>,
    ) -> Result<Lines, Halt> {
        let mut lines: Lines = vec![[0; WGMMA_DEPTH]; index(count)];
        if transposed {
            for chunk in first / 8..(first + count) / 8 {
                for k in 0..16 {
                    let address = descriptor.transposed(chunk, k);
                    let bytes = self.chunk(warp, site, address)?;
                    let row = 8 * chunk - first;
                    for (line, half) in lines[index(row)..].iter_mut().zip(bytes.chunks_exact(2)) {
                        line[index(k)] = u32::from(u16::from_le_bytes([half[0], half[1]]));
                    }
                    chunks.push(Chunk {
                        address,
                        first: row,
                        spread: true,
                    });
                }
            }
            return Ok(lines);
        }
        let size = index(ty.bytes());
        for (row, line) in (0..count).zip(&mut lines) {
            for chunk in 0..2 {
                let address = descriptor.k_major(first + row, chunk);
                let bytes = self.chunk(warp, site, address)?;
                let elements = &mut line[index(chunk) * (16 / size)..];
                for (element, bytes) in elements.iter_mut().zip(bytes.chunks_exact(size)) {
                    *element = bytes
                        .iter()
                        .rev()
                        .fold(0, |value, &byte| value << 8 | u32::from(byte));
                }
                chunks.push(Chunk {
                    address,
                    first: row,
                    spread: false,
                });
            }
        }
        Ok(lines)
    }

    /// 16 bytes of shared memory.
    fn chunk(&self, warp: &Warp, site: &Site<'_>, address: u32) -> Result<[u8; 16], Halt> {
        let at = index(address);
        let found = self.shared.get(at..at + 16).and_then(|s| s.try_into().ok());
        found.ok_or_else(|| Halt::Fault {
            at: site.at,
            space: Space::Shared,
            reason: Reason::OutsideSpace(u64::try_from(self.shared.len()).expect("host memory")),
            thread: thread_of(warp.index, 0),
            address: u64::from(address),
            bytes: 16,
            write: false,
        })
    }

    /// Rows of A from four registers a lane: as for `mma.sync`, 32 bits of a row in each.
    fn register_rows(&self, warp: &Warp, ty: WgmmaType, registers: &[RegisterId]) -> Lines {
        let size = index(ty.bytes());
        let mut rows: Lines = vec![[0; WGMMA_DEPTH]; 16];
        for (register, id) in registers.iter().enumerate() {
            let words = self.read::<u32>(warp, Operand::Register(*id));
            for (lane, word) in words.into_iter().enumerate() {
                let row = lane / 4 + 8 * (register & 1);
                let first = (4 * (lane % 4) + 16 * (register >> 1)) / size;
                for (element, bytes) in word.to_le_bytes().chunks_exact(size).enumerate() {
                    rows[row][first + element] = bytes
                        .iter()
                        .rev()
                        .fold(0, |value, &byte| value << 8 | u32::from(byte));
                }
            }
        }
        rows
    }
}

/// Row and column of f32 element `which` of a lane.
pub(crate) fn place(lane: usize, which: usize) -> (usize, usize) {
    (
        lane / 4 + 8 * (which >> 1 & 1),
        8 * (which >> 2) + 2 * (lane % 4) + (which & 1),
    )
}

fn byte_float(ty: WgmmaType) -> ByteFloat {
    if ty == WgmmaType::E5m2 {
        ByteFloat::E5m2
    } else {
        ByteFloat::E4m3
    }
}

fn negated(mut lines: Lines, ty: WgmmaType, negate: bool) -> Lines {
    if negate {
        let sign = 1 << (8 * ty.bytes() - 1);
        lines
            .iter_mut()
            .flatten()
            .for_each(|element| *element ^= sign);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_layouts() {
        let descriptor = |swizzle| Descriptor {
            start: 0,
            leading: 4096,
            stride: 1024,
            swizzle,
        };
        // Row 9 is row 1 of the second group of eight; its second chunk swaps with the first pair.
        assert_eq!(descriptor(Swizzle::B128).k_major(9, 1), 1024 + 128);
        assert_eq!(descriptor(Swizzle::B64).k_major(9, 1), 1024 + 64 + 16);
        assert_eq!(descriptor(Swizzle::None).k_major(9, 1), 1024 + 16 + 4096);
        assert_eq!(
            descriptor(Swizzle::B128).transposed(8, 9),
            4096 + 1024 + 128 + 16
        );
        assert_eq!(descriptor(Swizzle::None).transposed(1, 9), 4096 + 16 + 1024);
    }

    #[test]
    fn fragments() {
        assert_eq!(place(0, 0), (0, 0));
        assert_eq!(place(5, 3), (9, 3));
        assert_eq!(place(31, 6), (15, 14));
    }
}
