//! Where a tensor of a launch lies in the card's memory, and what is wrong with that.

use flashproof_reference::DType;

/// Alignment of every tensor, in bytes: 16-byte copies, and what tensor maps need.
pub const TENSOR_ALIGN: u64 = 16;

/// Names of the axes of q, k, v and o.
const AXES: [&str; 4] = ["batch", "heads", "seqlen", "head_dim"];

/// A tensor in the card's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// `q`, `k`, `v`, `o` or `lse`.
    pub name: &'static str,
    /// Format of its elements.
    pub dtype: DType,
    /// Elements of each axis: batch, heads, seqlen, `head_dim` (1 for `lse`).
    pub extents: [usize; 4],
    /// Elements from one entry of an axis to the next. Only those of a contiguous tensor are supported.
    pub strides: [usize; 4],
    /// Address of the first element.
    pub address: u64,
    /// Elements that may be used from there.
    pub len: usize,
}

/// Why a tensor cannot be given to a kernel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// Another format than the launch is for.
    #[error("{name} is {found}, but the launch is for {expected}")]
    DType {
        /// Which tensor.
        name: &'static str,
        /// Its format.
        found: DType,
        /// The launch's.
        expected: DType,
    },
    /// Another shape than the launch is for.
    #[error("{name} has {axis} = {found}, but the launch is for {expected}")]
    Extent {
        /// Which tensor.
        name: &'static str,
        /// Which axis.
        axis: &'static str,
        /// Its extent.
        found: usize,
        /// The launch's.
        expected: usize,
    },
    /// Rows that do not follow each other.
    #[error(
        "{name} has a stride of {found} elements along {axis}, but tensors are contiguous: it must be {expected}"
    )]
    Stride {
        /// Which tensor.
        name: &'static str,
        /// Which axis.
        axis: &'static str,
        /// Its stride.
        found: usize,
        /// That of a contiguous tensor.
        expected: usize,
    },
    /// An address that 16-byte copies cannot use.
    #[error("{name} lies at 0x{address:x}, but must lie at a multiple of {TENSOR_ALIGN} bytes")]
    Alignment {
        /// Which tensor.
        name: &'static str,
        /// Where.
        address: u64,
    },
    /// Too little memory.
    #[error("{name} has {found} elements, but its shape needs {expected}")]
    Length {
        /// Which tensor.
        name: &'static str,
        /// Elements there are.
        found: usize,
        /// Elements there must be.
        expected: usize,
    },
    /// Memory that is no memory.
    #[error("{name} lies at 0x{address:x} and has {bytes} bytes, which end beyond 2^64")]
    End {
        /// Which tensor.
        name: &'static str,
        /// Where.
        address: u64,
        /// Its bytes.
        bytes: u64,
    },
    /// A result over an input, or over another result.
    #[error("{name} (0x{address:x}, {bytes} bytes) shares memory with {other}")]
    Overlap {
        /// The result.
        name: &'static str,
        /// Where it lies.
        address: u64,
        /// Its bytes.
        bytes: u64,
        /// The other.
        other: &'static str,
    },
}

impl View {
    /// A contiguous tensor. A stride that no number holds is the largest one, which no memory has.
    pub fn contiguous(
        name: &'static str,
        dtype: DType,
        extents: [usize; 4],
        address: u64,
        len: usize,
    ) -> Self {
        Self {
            name,
            dtype,
            extents,
            strides: strides(extents),
            address,
            len,
        }
    }

    /// Elements of its shape; `None` where that is no number.
    fn elements(&self) -> Option<usize> {
        self.extents
            .iter()
            .try_fold(1_usize, |product, &extent| product.checked_mul(extent))
    }

    /// Address and bytes of its shape.
    fn range(&self) -> Result<(u64, u64), ViewError> {
        let elements = self.elements().unwrap_or(usize::MAX);
        if self.len < elements {
            return Err(ViewError::Length {
                name: self.name,
                found: self.len,
                expected: elements,
            });
        }
        let bytes = elements
            .checked_mul(self.dtype.size_bytes())
            .and_then(|bytes| u64::try_from(bytes).ok())
            .unwrap_or(u64::MAX);
        if bytes == u64::MAX || self.address.checked_add(bytes).is_none() {
            return Err(ViewError::End {
                name: self.name,
                address: self.address,
                bytes,
            });
        }
        Ok((self.address, bytes))
    }

    /// Whether it is the tensor that a launch is for.
    ///
    /// # Errors
    /// [`ViewError`]: the first thing that is not, with what it must be.
    pub fn check(&self, dtype: DType, extents: [usize; 4]) -> Result<(), ViewError> {
        let name = self.name;
        if self.dtype != dtype {
            return Err(ViewError::DType {
                name,
                found: self.dtype,
                expected: dtype,
            });
        }
        for (i, axis) in AXES.into_iter().enumerate() {
            if self.extents[i] != extents[i] {
                return Err(ViewError::Extent {
                    name,
                    axis,
                    found: self.extents[i],
                    expected: extents[i],
                });
            }
        }
        let expected = strides(extents);
        for (i, axis) in AXES.into_iter().enumerate() {
            // Where an axis has one entry nobody takes its stride.
            if extents[i] > 1 && self.strides[i] != expected[i] {
                return Err(ViewError::Stride {
                    name,
                    axis,
                    found: self.strides[i],
                    expected: expected[i],
                });
            }
        }
        let (address, _) = self.range()?;
        if !address.is_multiple_of(TENSOR_ALIGN) {
            return Err(ViewError::Alignment { name, address });
        }
        Ok(())
    }
}

/// Strides of a contiguous tensor, saturating.
fn strides(extents: [usize; 4]) -> [usize; 4] {
    let mut strides = [1; 4];
    for i in (0..3).rev() {
        strides[i] = extents[i + 1].saturating_mul(strides[i + 1]);
    }
    strides
}

/// Whether no result lies over an input or over another result.
///
/// # Errors
/// [`ViewError::Overlap`] with the first that does.
pub fn check_apart(inputs: &[View], outputs: &[View]) -> Result<(), ViewError> {
    for (i, output) in outputs.iter().enumerate() {
        let (address, bytes) = output.range()?;
        for other in inputs.iter().chain(&outputs[..i]) {
            let (first, count) = other.range()?;
            let apart = address + bytes <= first || first + count <= address;
            if !apart && bytes > 0 && count > 0 {
                return Err(ViewError::Overlap {
                    name: output.name,
                    address,
                    bytes,
                    other: other.name,
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXTENTS: [usize; 4] = [2, 4, 65, 64];

    fn view() -> View {
        View::contiguous("q", DType::F16, EXTENTS, 0x7000_0000, 2 * 4 * 65 * 64)
    }

    #[track_caller]
    fn refused(view: &View, message: &str) {
        let error = view.check(DType::F16, EXTENTS).unwrap_err();
        assert_eq!(error.to_string(), message);
    }

    #[test]
    fn each_thing_that_can_be_wrong_is_said_with_its_value_and_limit() {
        assert_eq!(view().check(DType::F16, EXTENTS), Ok(()));
        let change = |change: fn(&mut View)| {
            let mut view = view();
            change(&mut view);
            view
        };
        refused(
            &change(|v| v.dtype = DType::Bf16),
            "q is bf16, but the launch is for f16",
        );
        refused(
            &change(|v| v.extents[2] = 64),
            "q has seqlen = 64, but the launch is for 65",
        );
        refused(
            &change(|v| v.strides[1] = 64),
            "q has a stride of 64 elements along heads, but tensors are contiguous: it must be 4160",
        );
        refused(
            &change(|v| v.strides[3] = 2),
            "q has a stride of 2 elements along head_dim, but tensors are contiguous: it must be 1",
        );
        refused(
            &change(|v| v.address += 8),
            "q lies at 0x70000008, but must lie at a multiple of 16 bytes",
        );
        refused(
            &change(|v| v.len -= 1),
            "q has 33279 elements, but its shape needs 33280",
        );
        refused(
            &change(|v| v.address = u64::MAX - 15),
            "q lies at 0xfffffffffffffff0 and has 66560 bytes, which end beyond 2^64",
        );
    }

    #[test]
    fn a_stride_of_an_axis_of_one_is_nobodys() {
        let mut one = View::contiguous("k", DType::Bf16, [1, 1, 3, 32], 0, 96);
        one.strides[0] = 7;
        assert_eq!(one.check(DType::Bf16, [1, 1, 3, 32]), Ok(()));
    }

    #[test]
    fn strides_beyond_32_bits_are_what_they_are() {
        // 2^32 elements a sequence: 8 GiB of f16.
        let extents = [2, 64, 1 << 19, 128];
        let len = extents.iter().product();
        let mut view = View::contiguous("q", DType::F16, extents, 1 << 40, len);
        assert_eq!(view.strides, [1 << 32, 1 << 26, 128, 1]);
        assert_eq!(view.check(DType::F16, extents), Ok(()));
        view.strides[0] = 0; // What 32 bits would have made of it.
        assert_eq!(
            view.check(DType::F16, extents).unwrap_err().to_string(),
            "q has a stride of 0 elements along batch, but tensors are contiguous: it must be 4294967296"
        );
        let huge = [1 << 20, 1 << 20, 1 << 20, 128];
        let view = View::contiguous("q", DType::F16, huge, 0, usize::MAX);
        assert_eq!(
            view.check(DType::F16, huge).unwrap_err().to_string(),
            "q lies at 0x0 and has 18446744073709551615 bytes, which end beyond 2^64"
        );
    }

    #[test]
    fn results_lie_apart() {
        let q = View::contiguous("q", DType::F16, [1, 1, 4, 32], 0x1000, 128);
        let o = |address| View::contiguous("o", DType::F16, [1, 1, 4, 32], address, 128);
        assert_eq!(check_apart(&[q], &[o(0x1100)]), Ok(()));
        assert_eq!(
            check_apart(&[q], &[o(0x10f0)]).unwrap_err().to_string(),
            "o (0x10f0, 256 bytes) shares memory with q"
        );
        let lse = View::contiguous("lse", DType::F32, [1, 1, 4, 1], 0x2010, 4);
        assert!(check_apart(&[q], &[o(0x2000), lse]).is_err());
    }
}
