//! A tensor map of one launch: the axes of a tensor in memory, as `cuTensorMapEncodeTiled` takes them.

use super::bind::BindError;
use super::manifest::{Swizzle, TensorMap, TensorOrder};
use crate::vm;
use flashproof_reference::DType;

/// Bytes of an encoded map.
pub const TENSOR_MAP_BYTES: u32 = 128;
/// An encoded map lies at a multiple of this.
pub const TENSOR_MAP_ALIGN: u32 = 64;
/// Axes of a tensor in memory: a map has at most as many.
pub const TENSOR_MAP_AXES_MAX: usize = 4;

/// What a copy of TMA is told about a tensor. Axes are listed innermost first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundMap {
    /// Index of the tensor's buffer in the binding.
    pub buffer: usize,
    /// Format of its elements.
    pub dtype: DType,
    /// Elements of each axis; the outermost axes of the tensor count as one where the box has fewer.
    pub sizes: Vec<u64>,
    /// Bytes from one element of an axis to the next, from the second axis on.
    pub strides: Vec<u64>,
    /// Elements of the box that a copy moves, in each axis.
    pub box_elements: Vec<u32>,
    /// How rows of a box are permuted in shared memory.
    pub swizzle: Swizzle,
}

impl BoundMap {
    /// The map of a (batch, heads, seqlen, `head_dim`) tensor that lies in memory in `order`.
    ///
    /// A box of n axes describes the tensor by its n - 1 innermost axes and one for all others: with `bhsd`, a box of 3
    /// has `head_dim`, seqlen, and the heads of all sequences. What lies side by side in memory may be one axis, since
    /// the tensors of a launch have no gaps.
    ///
    /// # Errors
    /// An axis of more than 2^32 elements or a stride of 2^40 bytes and more, neither of which a map can hold.
    pub(super) fn new(
        map: &TensorMap,
        key: &str,
        buffer: usize,
        dtype: DType,
        [batch, heads, seqlen, head_dim]: [usize; 4],
        order: TensorOrder,
    ) -> Result<Self, BindError> {
        let axes = match order {
            TensorOrder::Bhsd => [head_dim, seqlen, heads, batch],
            TensorOrder::Bshd | TensorOrder::Varlen => [head_dim, heads, seqlen, batch],
        };
        let rank = map.box_elements.len().min(TENSOR_MAP_AXES_MAX);
        let int = |x: usize| u64::try_from(x).expect("an extent of a tensor in memory");
        let mut sizes: Vec<u64> = axes[..rank - 1].iter().copied().map(int).collect();
        sizes.push(axes[rank - 1..].iter().copied().map(int).product());
        let mut strides = Vec::with_capacity(rank - 1);
        let mut stride = int(dtype.size_bytes());
        for size in &sizes[..rank - 1] {
            stride *= size;
            strides.push(stride);
        }
        let limit = |what: &str, value: u64, limit: &str| BindError::Launch {
            key: format!("{key}: {what} of the map of {}", map.tensor.text()),
            value: i64::try_from(value).unwrap_or(i64::MAX),
            limit: limit.to_owned(),
        };
        if let Some(size) = sizes.iter().find(|&&size| size > 1 << 32) {
            return Err(limit(
                "an axis",
                *size,
                "a map's axis has at most 2^32 elements",
            ));
        }
        if let Some(stride) = strides.iter().find(|stride| !stride.is_multiple_of(16)) {
            return Err(limit(
                "a stride",
                *stride,
                "a map's strides are multiples of 16 bytes",
            ));
        }
        if let Some(stride) = strides.iter().find(|&&stride| stride >= 1 << 40) {
            return Err(limit(
                "a stride",
                *stride,
                "a map's strides are below 2^40 bytes",
            ));
        }
        Ok(Self {
            buffer,
            dtype,
            sizes,
            strides,
            box_elements: map.box_elements.clone(),
            swizzle: map.swizzle,
        })
    }

    /// The map as the virtual machine takes it, given the address of its buffer.
    ///
    /// # Errors
    /// What the driver would refuse too, and what the machine does not model.
    pub fn encode(&self, address: u64) -> Result<[u8; 128], vm::TensorMapError> {
        vm::TensorMap {
            element: match self.dtype {
                DType::F16 => vm::Element::F16,
                DType::Bf16 => vm::Element::Bf16,
                DType::F32 => vm::Element::F32,
                DType::F64 => vm::Element::F64,
            },
            address,
            sizes: self.sizes.clone(),
            strides: self.strides.clone(),
            box_sizes: self.box_elements.clone(),
            element_strides: vec![1; self.sizes.len()],
            swizzle: match self.swizzle {
                Swizzle::None => vm::Swizzle::None,
                Swizzle::B32 => vm::Swizzle::B32,
                Swizzle::B64 => vm::Swizzle::B64,
                Swizzle::B128 => vm::Swizzle::B128,
            },
        }
        .encode()
    }

    /// Whether the tensor has no elements: there is no map of such a one, and a kernel must not use it.
    pub fn is_empty(&self) -> bool {
        self.sizes.contains(&0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::manifest::BufferName;

    fn map(box_elements: &[u32], order: TensorOrder) -> Result<BoundMap, BindError> {
        let map = TensorMap {
            tensor: BufferName::K,
            box_elements: box_elements.to_vec(),
            swizzle: Swizzle::B128,
        };
        BoundMap::new(&map, "param[0]", 0, DType::F16, [2, 3, 5, 64], order)
    }

    #[test]
    fn axes_lie_as_the_tensor_does_and_the_outer_ones_merge() {
        let two = map(&[64, 64], TensorOrder::Bhsd).unwrap();
        assert_eq!((two.sizes, two.strides), (vec![64, 30], vec![128]));
        let three = map(&[64, 64, 1], TensorOrder::Bhsd).unwrap();
        assert_eq!(three.sizes, [64, 5, 6]);
        assert_eq!(three.strides, [128, 640]);
        let four = map(&[64, 1, 64, 1], TensorOrder::Bshd).unwrap();
        assert_eq!(four.sizes, [64, 3, 5, 2]);
        assert_eq!(four.strides, [128, 384, 1920]);
        assert_eq!(map(&[64], TensorOrder::Bhsd).unwrap().sizes, [1920]);
    }

    #[test]
    fn what_no_map_can_hold_is_refused() {
        let map = TensorMap {
            tensor: BufferName::K,
            box_elements: vec![8, 8],
            swizzle: Swizzle::None,
        };
        let new =
            |extents| BoundMap::new(&map, "param[2]", 0, DType::F16, extents, TensorOrder::Bhsd);
        let error = new([1, 1, 5, 20]).unwrap_err().to_string();
        assert!(
            error.contains("param[2]") && error.contains("40") && error.contains("16"),
            "{error}"
        );
        let error = new([1 << 20, 1 << 10, 1 << 10, 8]).unwrap_err().to_string();
        assert!(error.contains("2^32"), "{error}");
        assert!(new([1, 1, 0, 8]).unwrap().is_empty());
    }
}
