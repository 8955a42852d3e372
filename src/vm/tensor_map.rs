//! Tensor maps: what `cp.async.bulk.tensor` reads a box of a tensor by.
//!
//! A GPU's 128 bytes are opaque, made by `cuTensorMapEncodeTiled`. This machine has its own: [`TensorMap::encode`] takes
//! the same arguments and gives 128 bytes to be put where the kernel expects its map, most often a parameter of type
//! `CUtensorMap`. The rules are those of the driver API, "Tensor Map Object Management", and PTX ISA 5.5.
//!
//! Elements beyond the edge of the tensor are zero. Not modelled: interleaved layouts, `im2col`, formats that are
//! converted on the way (`tfloat32`, flushed f32), filling with NaN, an inner box narrower than its swizzle, and the
//! level 2 promotion, which changes no value.

use super::async_event::Run;
use crate::convert::index;
use crate::ptx::{ScalarType, spelled};

/// Bytes of a map.
pub(crate) const MAP_BYTES: usize = 128;
/// First bytes of a map that this machine made.
const MAGIC: [u8; 8] = *b"fp-tma-1";

spelled! {
    /// Format of a tensor's elements.
    Element {
        /// 8 bits.
        U8 = "u8",
        /// 16 bits.
        U16 = "u16",
        /// 32 bits.
        U32 = "u32",
        /// 32 bits, signed.
        S32 = "s32",
        /// 64 bits.
        U64 = "u64",
        /// 64 bits, signed.
        S64 = "s64",
        /// IEEE binary16.
        F16 = "f16",
        /// IEEE binary32.
        F32 = "f32",
        /// IEEE binary64.
        F64 = "f64",
        /// bfloat16.
        Bf16 = "bf16",
    }
}

impl Element {
    /// Bytes of an element.
    pub const fn bytes(self) -> u32 {
        match self {
            Self::U8 => 1,
            Self::U16 | Self::F16 | Self::Bf16 => 2,
            Self::U32 | Self::S32 | Self::F32 => 4,
            Self::U64 | Self::S64 | Self::F64 => 8,
        }
    }

    /// The type that a reduction computes in.
    pub(crate) const fn scalar(self) -> ScalarType {
        match self {
            Self::U8 => ScalarType::U8,
            Self::U16 => ScalarType::U16,
            Self::U32 => ScalarType::U32,
            Self::S32 => ScalarType::S32,
            Self::U64 => ScalarType::U64,
            Self::S64 => ScalarType::S64,
            Self::F16 => ScalarType::F16,
            Self::F32 => ScalarType::F32,
            Self::F64 => ScalarType::F64,
            Self::Bf16 => ScalarType::Bf16,
        }
    }
}

spelled! {
    /// How 16-byte chunks are permuted within rows of shared memory.
    Swizzle {
        /// Not at all.
        None = "none",
        /// Among 2 chunks of 32 bytes, pattern of 256.
        B32 = "32B",
        /// Among 4 chunks of 64 bytes, pattern of 512.
        B64 = "64B",
        /// Among 8 chunks of 128 bytes, pattern of 1024.
        B128 = "128B",
    }
}

impl Swizzle {
    /// Bytes of a row of the pattern; 16 without a swizzle.
    pub const fn span(self) -> u32 {
        match self {
            Self::None => 16,
            Self::B32 => 32,
            Self::B64 => 64,
            Self::B128 => 128,
        }
    }

    /// Where a shared address goes: bits 4 and up, changed by bits 7 and up.
    pub const fn apply(self, address: u32) -> u32 {
        let mask = self.span() / 16 - 1;
        address ^ (address >> 7 & mask) << 4
    }
}

/// A tensor in global memory and the box that a copy moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorMap {
    /// Format.
    pub element: Element,
    /// Global address of element 0, a multiple of 16.
    pub address: u64,
    /// Elements of each dimension, innermost first: one to five of 1 to 2^32.
    pub sizes: Vec<u64>,
    /// Bytes from one element of a dimension to the next, from the second dimension on: multiples of 16 below 2^40.
    pub strides: Vec<u64>,
    /// Elements of the box in each dimension: 1 to 256.
    pub box_sizes: Vec<u32>,
    /// Distance of the elements taken in each dimension, 1 to 8; that of the innermost counts as 1.
    pub element_strides: Vec<u32>,
    /// Layout of the box in shared memory.
    pub swizzle: Swizzle,
}

/// A map that the driver would refuse, or that is not modelled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorMapError {
    /// A list has another length than the tensor has dimensions.
    #[error("{what} has {given} entries, but the tensor has {rank} dimensions (1 to 5)")]
    Rank {
        /// Which list.
        what: &'static str,
        /// Its length.
        given: usize,
        /// Dimensions.
        rank: usize,
    },
    /// A number out of its range.
    #[error("{what}[{dimension}] = {value}, allowed is {allowed}")]
    Range {
        /// Which list.
        what: &'static str,
        /// Index in it.
        dimension: usize,
        /// As given.
        value: u64,
        /// What is allowed.
        allowed: &'static str,
    },
    /// The innermost dimension of the box does not fit the swizzle.
    #[error("the box is {bytes} bytes wide; {allowed}")]
    Width {
        /// Bytes.
        bytes: u64,
        /// What is allowed.
        allowed: &'static str,
    },
}

impl TensorMap {
    /// Checks the map as `cuTensorMapEncodeTiled` does, and gives its 128 bytes.
    ///
    /// # Errors
    /// What the driver would refuse, and what is not modelled.
    pub fn encode(&self) -> Result<[u8; MAP_BYTES], TensorMapError> {
        self.check()?;
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.address.to_le_bytes());
        let byte = |value: usize| u8::try_from(value).expect("a position in a short list");
        bytes.push(byte(self.sizes.len()));
        bytes.push(byte(position(Element::ALL, self.element)));
        bytes.push(byte(position(Swizzle::ALL, self.swizzle)));
        bytes.push(0);
        for dimension in 0..5 {
            let size = self.sizes.get(dimension).map_or(0, |size| size - 1);
            bytes.extend(&size.to_le_bytes()[..4]);
            let stride = dimension.checked_sub(1).and_then(|d| self.strides.get(d));
            bytes.extend(&stride.copied().unwrap_or(0).to_le_bytes()[..5]);
            let extent = self.box_sizes.get(dimension).map_or(0, |size| size - 1);
            bytes.push(extent.to_le_bytes()[0]);
            let step = self.element_strides.get(dimension).copied().unwrap_or(0);
            bytes.push(step.to_le_bytes()[0]);
        }
        let mut whole = [0; MAP_BYTES];
        whole[..bytes.len()].copy_from_slice(&bytes);
        Ok(whole)
    }

    /// The map of these bytes; `None` if [`encode`](Self::encode) did not make them.
    pub(crate) fn decode(bytes: &[u8; MAP_BYTES]) -> Option<Self> {
        if bytes[..8] != MAGIC {
            return None;
        }
        let number = |at: usize, count: usize| {
            bytes[at..at + count]
                .iter()
                .rev()
                .fold(0_u64, |value, &byte| value << 8 | u64::from(byte))
        };
        let rank = usize::from(bytes[16]);
        let mut map = Self {
            element: *Element::ALL.get(usize::from(bytes[17]))?,
            address: number(8, 8),
            sizes: Vec::new(),
            strides: Vec::new(),
            box_sizes: Vec::new(),
            element_strides: Vec::new(),
            swizzle: *Swizzle::ALL.get(usize::from(bytes[18]))?,
        };
        for dimension in 0..rank.min(5) {
            let at = 20 + 11 * dimension;
            map.sizes.push(number(at, 4) + 1);
            if dimension > 0 {
                map.strides.push(number(at + 4, 5));
            }
            map.box_sizes.push(u32::from(bytes[at + 9]) + 1);
            map.element_strides.push(u32::from(bytes[at + 10]));
        }
        map.check().is_ok().then_some(map)
    }

    fn check(&self) -> Result<(), TensorMapError> {
        let rank = self.sizes.len();
        for (what, given) in [
            ("sizes", if rank == 0 || rank > 5 { 0 } else { rank }),
            ("strides", self.strides.len() + 1),
            ("box_sizes", self.box_sizes.len()),
            ("element_strides", self.element_strides.len()),
        ] {
            if given != rank || given == 0 {
                return Err(TensorMapError::Rank { what, given, rank });
            }
        }
        let range = |what, dimension, value, holds: bool, allowed| {
            if holds {
                Ok(())
            } else {
                Err(TensorMapError::Range {
                    what,
                    dimension,
                    value,
                    allowed,
                })
            }
        };
        let aligned = self.address.is_multiple_of(16);
        range("address", 0, self.address, aligned, "a multiple of 16")?;
        for (dimension, &size) in self.sizes.iter().enumerate() {
            let holds = (1..=1 << 32).contains(&size);
            range("sizes", dimension, size, holds, "1 to 2^32")?;
        }
        for (dimension, &stride) in self.strides.iter().enumerate() {
            let holds = stride.is_multiple_of(16) && stride < 1 << 40;
            range(
                "strides",
                dimension,
                stride,
                holds,
                "a multiple of 16 below 2^40",
            )?;
        }
        for (dimension, &size) in self.box_sizes.iter().enumerate() {
            let holds = (1..=256).contains(&size);
            range("box_sizes", dimension, u64::from(size), holds, "1 to 256")?;
        }
        for (dimension, &stride) in self.element_strides.iter().enumerate() {
            let holds = (1..=8).contains(&stride);
            range(
                "element_strides",
                dimension,
                u64::from(stride),
                holds,
                "1 to 8",
            )?;
        }
        let bytes = u64::from(self.box_sizes[0] * self.element.bytes());
        let width = |allowed| Err(TensorMapError::Width { bytes, allowed });
        if !bytes.is_multiple_of(16) {
            return width("it has to be a multiple of 16");
        }
        match self.swizzle {
            Swizzle::None => {}
            Swizzle::B32 if bytes != 32 => {
                return width("with the 32-byte swizzle 32 are modelled");
            }
            Swizzle::B64 if bytes != 64 => {
                return width("with the 64-byte swizzle 64 are modelled");
            }
            Swizzle::B128 if bytes != 128 => {
                return width("with the 128-byte swizzle 128 are modelled");
            }
            Swizzle::B32 | Swizzle::B64 | Swizzle::B128 => {}
        }
        Ok(())
    }

    /// Elements of the box in a dimension.
    fn count(&self, dimension: usize) -> u32 {
        self.box_sizes[dimension].div_ceil(self.step(dimension))
    }

    fn step(&self, dimension: usize) -> u32 {
        if dimension == 0 {
            1
        } else {
            self.element_strides[dimension]
        }
    }

    /// Bytes of the box in shared memory: what a load counts, whatever lies beyond the edge.
    pub fn box_bytes(&self) -> u32 {
        (0..self.sizes.len())
            .map(|dimension| self.count(dimension))
            .product::<u32>()
            * self.element.bytes()
    }

    /// What the box at these coordinates (innermost first) consists of, laid out from `shared`.
    pub(crate) fn runs(&self, coordinates: &[i32], shared: u32) -> Vec<Run> {
        let size = self.element.bytes();
        let width = self.count(0) * size;
        let rows: u32 = (1..self.sizes.len()).map(|d| self.count(d)).product();
        let mut runs = Vec::with_capacity(index(rows * (width / 16)));
        for row in 0..rows {
            let mut rest = row;
            let mut start = Some(self.address);
            for (dimension, &coordinate) in coordinates.iter().enumerate().skip(1) {
                let at = i64::from(coordinate)
                    + i64::from(rest % self.count(dimension) * self.step(dimension));
                rest /= self.count(dimension);
                start = match (start, u64::try_from(at)) {
                    (Some(start), Ok(at)) if at < self.sizes[dimension] => {
                        Some(start.wrapping_add(at.wrapping_mul(self.strides[dimension - 1])))
                    }
                    _ => None,
                };
            }
            for chunk in (0..width).step_by(16) {
                let to = self.swizzle.apply(shared + row * width + chunk);
                let first = i64::from(coordinates[0]) + i64::from(chunk / size);
                self.chunk(start, first, to, &mut runs);
            }
        }
        runs
    }

    /// 16 bytes of a row: the elements from `first`, of which those outside the tensor are filled.
    fn chunk(&self, row: Option<u64>, first: i64, shared: u32, runs: &mut Vec<Run>) {
        let size = self.element.bytes();
        let count = i64::from(16 / size);
        let end = i64::try_from(self.sizes[0]).expect("at most 2^32");
        let (low, high) = if row.is_some() {
            ((-first).clamp(0, count), (end - first).clamp(0, count))
        } else {
            (count, count)
        };
        let bytes = |elements: i64| u32::try_from(elements).expect("at most 16") * size;
        let mut run = |from: i64, to: i64, global: Option<u64>| {
            if from < to {
                runs.push(Run {
                    shared: shared + bytes(from),
                    global,
                    bytes: bytes(to - from),
                });
            }
        };
        run(0, low.min(high.max(low)), None);
        if let Some(row) = row.filter(|_| low < high) {
            let offset = u64::try_from(first + low).expect("inside the tensor");
            run(low, high, Some(row.wrapping_add(offset * u64::from(size))));
        }
        run(high.max(low), count, None);
    }
}

fn position<T: PartialEq>(all: &[T], one: T) -> usize {
    all.iter().position(|other| *other == one).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> TensorMap {
        TensorMap {
            element: Element::F16,
            address: 4096,
            sizes: vec![70, 5, 3],
            strides: vec![160, 800],
            box_sizes: vec![64, 4, 2],
            element_strides: vec![1, 2, 1],
            swizzle: Swizzle::B128,
        }
    }

    #[test]
    fn bytes_and_back() {
        let map = map();
        assert_eq!(TensorMap::decode(&map.encode().unwrap()), Some(map.clone()));
        assert_eq!(TensorMap::decode(&[0; 128]), None);
        assert_eq!(map.box_bytes(), 64 * 2 * 2 * 2);
    }

    #[test]
    fn edges_are_filled_and_swizzled() {
        let runs = map().runs(&[64, 3, 1], 2048);
        // Rows 3 and 5 of plane 1, then of plane 2; row 5 does not exist, and only 6 elements are left of each row.
        let data: Vec<&Run> = runs.iter().filter(|run| run.global.is_some()).collect();
        assert_eq!(data.len(), 2);
        assert_eq!(
            (data[0].global, data[0].bytes, data[0].shared),
            (Some(4096 + 800 + 3 * 160 + 128), 12, 2048)
        );
        // Third row of the box: chunk 0 goes to chunk 2.
        assert_eq!(data[1].shared, 2048 + 2 * 128 + 2 * 16);
        assert_eq!(runs.iter().map(|run| run.bytes).sum::<u32>(), 512);
        let mut bytes: Vec<u32> = runs
            .iter()
            .flat_map(|r| r.shared..r.shared + r.bytes)
            .collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (2048..2048 + 512).collect::<Vec<u32>>());
    }

    #[test]
    fn negative_coordinates_are_outside() {
        let runs = TensorMap {
            element_strides: vec![1; 3],
            ..map()
        }
        .runs(&[-3, -1, 0], 0);
        let data: Vec<&Run> = runs.iter().filter(|run| run.global.is_some()).collect();
        // The first row and the first three elements of each other row are not there.
        assert_eq!(data[0].global, Some(4096));
        assert_eq!((data[0].shared, data[0].bytes), (134, 10));
    }

    #[test]
    fn what_the_driver_refuses() {
        let refused = |change: fn(&mut TensorMap)| {
            let mut map = map();
            change(&mut map);
            map.encode().unwrap_err().to_string()
        };
        assert_eq!(
            refused(|m| m.address = 8),
            "address[0] = 8, allowed is a multiple of 16"
        );
        assert_eq!(
            refused(|m| m.strides[1] = 808),
            "strides[1] = 808, allowed is a multiple of 16 below 2^40"
        );
        assert_eq!(
            refused(|m| m.box_sizes[0] = 257),
            "box_sizes[0] = 257, allowed is 1 to 256"
        );
        assert_eq!(
            refused(|m| m.box_sizes[0] = 32),
            "the box is 64 bytes wide; with the 128-byte swizzle 128 are modelled"
        );
        assert_eq!(
            refused(|m| m.strides.clear()),
            "strides has 1 entries, but the tensor has 3 dimensions (1 to 5)"
        );
    }
}
