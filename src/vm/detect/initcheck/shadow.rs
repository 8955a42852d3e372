//! Shadow state: which bytes of registers and memories hold undefined bits.

use crate::convert::index;

/// A lane mask for each byte of a register: bit `l` of `planes[b]` says that byte `b` of lane `l` is undefined. A
/// predicate uses byte 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Planes(pub(super) [u32; 8]);

impl Planes {
    pub(super) const DEFINED: Self = Self([0; 8]);

    /// The first `bytes` bytes undefined in the lanes of `mask`.
    pub(super) fn undefined(mask: u32, bytes: u32) -> Self {
        let mut planes = [0; 8];
        planes[..index(bytes)].fill(mask);
        Self(planes)
    }

    /// Lanes in which some byte is undefined.
    #[inline]
    pub(super) fn any(&self) -> u32 {
        let p = &self.0;
        (p[0] | p[1]) | (p[2] | p[3]) | ((p[4] | p[5]) | (p[6] | p[7]))
    }

    /// Byte by byte.
    pub(super) fn union(self, other: Self) -> Self {
        Self(std::array::from_fn(|byte| self.0[byte] | other.0[byte]))
    }

    /// The lanes of `mask` from `other`, the others from `self`.
    #[inline]
    pub(super) fn replace(&mut self, mask: u32, other: Self) {
        for (plane, new) in self.0.iter_mut().zip(other.0) {
            *plane = *plane & !mask | new & mask;
        }
    }

    #[inline]
    pub(super) fn clear(&mut self, mask: u32) {
        for plane in &mut self.0 {
            *plane &= !mask;
        }
    }

    /// Bytes moved up by `by` (down if negative); what enters is defined.
    pub(super) fn moved(self, by: isize) -> Self {
        Self(std::array::from_fn(|byte| {
            byte.checked_add_signed(-by)
                .and_then(|from| self.0.get(from))
                .copied()
                .unwrap_or(0)
        }))
    }

    /// Only the first `bytes` bytes.
    pub(super) fn cut(mut self, bytes: u32) -> Self {
        self.0[index(bytes)..].fill(0);
        self
    }

    /// A bit a byte for one lane.
    pub(super) fn lane(&self, lane: usize) -> u32 {
        self.0
            .iter()
            .enumerate()
            .fold(0, |bits, (byte, plane)| bits | (plane >> lane & 1) << byte)
    }

    pub(super) fn set_lane(&mut self, lane: usize, bits: u32) {
        for (byte, plane) in self.0.iter_mut().enumerate() {
            *plane = *plane & !(1 << lane) | (bits >> byte & 1) << lane;
        }
    }
}

/// A bit a byte of a memory. Accesses are aligned to their size and at most 16 bytes, so they never cross a word.
#[derive(Clone, Debug)]
pub(super) struct ByteBits(Vec<u64>);

impl ByteBits {
    pub(super) fn all_undefined(bytes: usize) -> Self {
        Self(vec![u64::MAX; bytes.div_ceil(64)])
    }

    #[inline]
    pub(super) fn get(&self, at: usize, bytes: u32) -> u32 {
        let word = self.0.get(at / 64).copied().unwrap_or(0);
        crate::convert::low_u32(word >> (at % 64)) & ((1 << bytes) - 1)
    }

    #[inline]
    pub(super) fn set(&mut self, at: usize, bytes: u32, undefined: u32) {
        if let Some(word) = self.0.get_mut(at / 64) {
            let mask = ((1_u64 << bytes) - 1) << (at % 64);
            *word = *word & !mask | u64::from(undefined) << (at % 64) & mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes() {
        let mut planes = Planes::undefined(0b10, 2);
        assert_eq!(
            (planes.any(), planes.lane(1), planes.lane(0)),
            (0b10, 0b11, 0)
        );
        assert_eq!(planes.moved(2).lane(1), 0b1100);
        assert_eq!(planes.moved(-1).lane(1), 0b1);
        planes.set_lane(0, 0b1000);
        assert_eq!((planes.lane(0), planes.cut(2).any()), (0b1000, 0b10));
        planes.replace(0b10, Planes::DEFINED);
        assert_eq!(planes.any(), 1);
        planes.clear(1);
        assert_eq!(planes, Planes::DEFINED);
    }

    #[test]
    fn bytes() {
        let mut bits = ByteBits::all_undefined(100);
        bits.set(48, 16, 0x00f0);
        assert_eq!(
            (bits.get(48, 16), bits.get(52, 4), bits.get(44, 4)),
            (0x00f0, 0xf, 0xf)
        );
    }
}
