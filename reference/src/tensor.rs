//! Numbers in the format that a kernel receives or writes.

use crate::convert::f32_from_f64;
use crate::problem::ProblemError;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use std::fmt;
use std::str::FromStr;

/// Number formats of inputs and outputs.
///
/// ```
/// use flashproof_reference::DType;
/// assert_eq!("bf16".parse(), Ok(DType::Bf16));
/// assert_eq!(DType::F16.to_string(), "f16");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// IEEE binary16.
    F16,
    /// bfloat16.
    Bf16,
    /// IEEE binary32.
    F32,
    /// IEEE binary64: answered by the definition alone, which is slow; no kernel's.
    F64,
}

/// Numbers in the format the kernel receives.
///
/// ```
/// use flashproof_reference::{DType, Tensor};
/// let tensor = Tensor::from_f32_exactly(DType::F16, &[0.5, 2.0])?;
/// assert_eq!((tensor.len(), tensor.get(1)), (2, Some(2.0)));
/// # Ok::<(), flashproof_reference::ProblemError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Tensor {
    /// IEEE binary16.
    F16(Vec<f16>),
    /// bfloat16.
    Bf16(Vec<bf16>),
    /// IEEE binary32.
    F32(Vec<f32>),
    /// IEEE binary64.
    F64(Vec<f64>),
}

impl DType {
    /// The formats of kernels, in the order of the enum: all but [`DType::F64`].
    ///
    /// ```
    /// # use flashproof_reference::DType;
    /// assert_eq!(DType::ALL[0], DType::F16);
    /// ```
    pub const ALL: [Self; 3] = [Self::F16, Self::Bf16, Self::F32];

    /// Bytes of one number.
    ///
    /// ```
    /// # use flashproof_reference::DType;
    /// assert_eq!(DType::ALL.map(DType::size_bytes), [2, 2, 4]);
    /// ```
    pub fn size_bytes(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
            Self::F64 => "f64",
        })
    }
}

impl FromStr for DType {
    type Err = ProblemError;

    fn from_str(text: &str) -> Result<Self, ProblemError> {
        match text {
            "f16" => Ok(Self::F16),
            "bf16" => Ok(Self::Bf16),
            "f32" => Ok(Self::F32),
            "f64" => Ok(Self::F64),
            _ => Err(ProblemError::UnknownDType {
                found: text.to_owned(),
            }),
        }
    }
}

impl Tensor {
    /// These numbers in `dtype`, all of which must be numbers of that format. NaN counts as one, whatever its payload.
    ///
    /// ```
    /// # use flashproof_reference::{DType, Tensor};
    /// assert_eq!(Tensor::from_f32_exactly(DType::F32, &[0.1])?.get(0), Some(f64::from(0.1_f32)));
    /// assert!(Tensor::from_f32_exactly(DType::Bf16, &[0.1]).is_err());
    /// # Ok::<(), flashproof_reference::ProblemError>(())
    /// ```
    pub fn from_f32_exactly(dtype: DType, values: &[f32]) -> Result<Self, ProblemError> {
        let tensor = Self::from_f32_rounded(dtype, values);
        for (index, value) in values.iter().enumerate() {
            let kept = tensor.get(index).expect("as many elements as values");
            if kept.to_bits() != f64::from(*value).to_bits() && !value.is_nan() {
                return Err(ProblemError::NotRepresentable {
                    index,
                    bits: value.to_bits(),
                    dtype,
                });
            }
        }
        Ok(tensor)
    }

    /// These numbers in `dtype`, each rounded once, to nearest even.
    ///
    /// ```
    /// # use flashproof_reference::{DType, Tensor};
    /// // 1 + 2^-8 lies halfway between the bf16 numbers 1 and 1 + 2^-7: to even.
    /// assert_eq!(Tensor::from_f32_rounded(DType::Bf16, &[1.00390625]).get(0), Some(1.0));
    /// ```
    pub fn from_f32_rounded(dtype: DType, values: &[f32]) -> Self {
        match dtype {
            DType::F16 => Self::F16(values.iter().map(|&value| f16::from_f32(value)).collect()),
            DType::Bf16 => Self::Bf16(values.iter().map(|&value| bf16::from_f32(value)).collect()),
            DType::F32 => Self::F32(values.to_vec()),
            DType::F64 => Self::F64(values.iter().map(|&value| f64::from(value)).collect()),
        }
    }

    /// The elements' bits, little-endian.
    ///
    /// ```
    /// # use flashproof_reference::{DType, Tensor};
    /// let one = Tensor::from_f32_rounded(DType::Bf16, &[1.0]);
    /// assert_eq!(one.to_le_bytes(), [0x80, 0x3f]);
    /// assert_eq!(Tensor::from_le_bytes(DType::Bf16, &[0x80, 0x3f]), one);
    /// ```
    pub fn to_le_bytes(&self) -> Vec<u8> {
        match self {
            Self::F16(values) => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::Bf16(values) => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::F32(values) => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::F64(values) => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        }
    }

    /// Elements from their bits, little-endian; bytes that are left over are not read.
    ///
    /// ```
    /// # use flashproof_reference::{DType, Tensor};
    /// let two = Tensor::from_le_bytes(DType::F32, &2.0_f32.to_le_bytes());
    /// assert_eq!(two.get(0), Some(2.0));
    /// ```
    pub fn from_le_bytes(dtype: DType, bytes: &[u8]) -> Self {
        fn elements<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> + '_ {
            let element = |chunk: &[u8]| chunk.try_into().expect("chunks of N bytes");
            bytes.chunks_exact(N).map(element)
        }
        match dtype {
            DType::F16 => Self::F16(elements(bytes).map(f16::from_le_bytes).collect()),
            DType::Bf16 => Self::Bf16(elements(bytes).map(bf16::from_le_bytes).collect()),
            DType::F32 => Self::F32(elements(bytes).map(f32::from_le_bytes).collect()),
            DType::F64 => Self::F64(elements(bytes).map(f64::from_le_bytes).collect()),
        }
    }

    /// Number of elements.
    ///
    /// ```
    /// # use flashproof_reference::Tensor;
    /// assert_eq!(Tensor::F32(vec![0.0; 2]).len(), 2);
    /// ```
    pub fn len(&self) -> usize {
        match self {
            Self::F16(values) => values.len(),
            Self::Bf16(values) => values.len(),
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
        }
    }

    /// Whether there are no elements.
    ///
    /// ```
    /// # use flashproof_reference::Tensor;
    /// assert!(Tensor::F32(vec![]).is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number format.
    ///
    /// ```
    /// # use flashproof_reference::{DType, Tensor};
    /// assert_eq!(Tensor::F32(vec![]).dtype(), DType::F32);
    /// ```
    pub fn dtype(&self) -> DType {
        match self {
            Self::F16(_) => DType::F16,
            Self::Bf16(_) => DType::Bf16,
            Self::F32(_) => DType::F32,
            Self::F64(_) => DType::F64,
        }
    }

    /// The exact value of an element; `None` past the end.
    ///
    /// ```
    /// # use flashproof_reference::Tensor;
    /// let tensor = Tensor::F32(vec![0.5, 2.0]);
    /// assert_eq!((tensor.get(1), tensor.get(2)), (Some(2.0), None));
    /// ```
    pub fn get(&self, index: usize) -> Option<f64> {
        match self {
            Self::F16(values) => values.get(index).map(|value| value.to_f64()),
            Self::Bf16(values) => values.get(index).map(|value| value.to_f64()),
            Self::F32(values) => values.get(index).map(|&value| f64::from(value)),
            Self::F64(values) => values.get(index).copied(),
        }
    }

    /// The exact values of all elements.
    ///
    /// ```
    /// # use flashproof_reference::Tensor;
    /// assert_eq!(Tensor::F32(vec![0.5, 2.0]).to_f64(), [0.5, 2.0]);
    /// ```
    pub fn to_f64(&self) -> Vec<f64> {
        match self {
            Self::F16(values) => {
                let mut numbers = vec![0.0; values.len()];
                values.convert_to_f64_slice(&mut numbers); // several at a time
                numbers
            }
            Self::Bf16(values) => values
                .iter()
                .map(|value| f64::from(f32::from_bits(u32::from(value.to_bits()) << 16)))
                .collect(),
            Self::F32(values) => values.iter().map(|&value| f64::from(value)).collect(),
            Self::F64(values) => values.clone(),
        }
    }

    /// All elements as f32: exact, but for numbers of f64, which are rounded once.
    ///
    /// ```
    /// # use flashproof_reference::Tensor;
    /// assert_eq!(Tensor::F32(vec![0.5, 2.0]).to_f32(), [0.5, 2.0]);
    /// ```
    pub fn to_f32(&self) -> Vec<f32> {
        match self {
            Self::F16(values) => values.iter().map(|value| value.to_f32()).collect(),
            Self::Bf16(values) => values.iter().map(|value| value.to_f32()).collect(),
            Self::F32(values) => values.clone(),
            Self::F64(values) => values.iter().map(|&value| f32_from_f64(value)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_round_to_nearest_even_and_exactness_is_asked_for() {
        for dtype in DType::ALL {
            assert_eq!(dtype.to_string().parse(), Ok(dtype));
            assert_eq!(
                Tensor::from_f32_exactly(dtype, &[-0.0, f32::INFINITY])
                    .unwrap()
                    .get(0)
                    .unwrap()
                    .to_bits(),
                1 << 63
            );
            assert!(
                Tensor::from_f32_exactly(dtype, &[f32::NAN])
                    .unwrap()
                    .get(0)
                    .unwrap()
                    .is_nan()
            );
        }
        let error = "fp16".parse::<DType>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown number format \"fp16\": expected f16, bf16, f32 or f64"
        );
        let halfway = [1.0 + 2f32.powi(-11), 1.0 + 3.0 * 2f32.powi(-11)];
        let rounded = Tensor::from_f32_rounded(DType::F16, &halfway);
        assert_eq!(rounded.to_f64(), [1.0, 1.0 + 2f64.powi(-9)]);
        assert_eq!(
            Tensor::from_f32_exactly(DType::F16, &halfway),
            Err(ProblemError::NotRepresentable {
                index: 0,
                bits: halfway[0].to_bits(),
                dtype: DType::F16
            })
        );
    }
}
