//! The safetensors format: named tensors of one file, widened to f32.

use half::{bf16, f16};
use safetensors::Dtype;

/// The tensors of a safetensors file, borrowed from its bytes.
#[derive(Debug)]
pub struct SafeTensors<'a> {
    tensors: safetensors::SafeTensors<'a>,
}

/// Why a tensor cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorError {
    /// The file as a whole does not parse.
    #[error(
        "not a safetensors file of {bytes} bytes: {reason}; download it again if it was cut short"
    )]
    Malformed {
        /// Length of the file.
        bytes: usize,
        /// What the parser met.
        reason: String,
    },
    /// No tensor of that name.
    #[error("tensor {tensor} is missing from the {count} tensors of the file")]
    Missing {
        /// The name looked for.
        tensor: String,
        /// Tensors in the file.
        count: usize,
    },
    /// The extents are not the ones needed.
    #[error("tensor {tensor} has shape {found:?}, expected {expected:?}")]
    Shape {
        /// Its name.
        tensor: String,
        /// Extents the model needs.
        expected: Vec<usize>,
        /// Extents in the file.
        found: Vec<usize>,
    },
    /// The number format is not one that the reader knows.
    #[error("tensor {tensor} has dtype {found}, expected {expected}")]
    Dtype {
        /// Its name.
        tensor: String,
        /// Number formats that are read.
        expected: &'static str,
        /// Number format in the file.
        found: String,
    },
}

impl<'a> SafeTensors<'a> {
    /// Reads the header and checks every extent against the length of the file.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, TensorError> {
        let tensors = safetensors::SafeTensors::deserialize(bytes).map_err(|error| {
            TensorError::Malformed {
                bytes: bytes.len(),
                reason: error.to_string(),
            }
        })?;
        Ok(Self { tensors })
    }

    /// Number of tensors.
    pub fn count(&self) -> usize {
        self.tensors.len()
    }

    /// Whether a tensor of that name is in the file.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.tensor(name).is_ok()
    }

    /// The elements of a tensor in row-major order, each widened to f32 without rounding.
    pub fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, TensorError> {
        let tensor = self
            .tensors
            .tensor(name)
            .map_err(|_| TensorError::Missing {
                tensor: name.to_owned(),
                count: self.tensors.len(),
            })?;
        if tensor.shape() != shape {
            return Err(TensorError::Shape {
                tensor: name.to_owned(),
                expected: shape.to_vec(),
                found: tensor.shape().to_vec(),
            });
        }
        let (dtype, data) = (tensor.dtype(), tensor.data());
        if dtype == Dtype::F32 {
            Ok(words(data, f32::from_le_bytes))
        } else if dtype == Dtype::F16 {
            Ok(words(data, |bytes| f16::from_le_bytes(bytes).to_f32()))
        } else if dtype == Dtype::BF16 {
            Ok(words(data, |bytes| bf16::from_le_bytes(bytes).to_f32()))
        } else {
            let found = format!("{dtype:?}");
            Err(TensorError::Dtype {
                tensor: name.to_owned(),
                expected: "F32, F16 or BF16",
                found,
            })
        }
    }
}

/// Little-endian words of `N` bytes, each through `value`.
fn words<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes
        .as_chunks::<N>()
        .0
        .iter()
        .map(|word| value(*word))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::TensorView;

    fn file(dtype: Dtype, shape: Vec<usize>, data: &[u8]) -> Vec<u8> {
        let view = TensorView::new(dtype, shape, data).unwrap();
        safetensors::serialize([("w", view)], None).unwrap()
    }

    #[test]
    fn formats_widen_exactly() {
        let values = [1.5_f32, -0.0, 1024.0];
        let f32s: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let f16s: Vec<u8> = values
            .iter()
            .flat_map(|v| f16::from_f32(*v).to_le_bytes())
            .collect();
        let bf16s: Vec<u8> = values
            .iter()
            .flat_map(|v| bf16::from_f32(*v).to_le_bytes())
            .collect();
        for (dtype, data) in [(Dtype::F32, f32s), (Dtype::F16, f16s), (Dtype::BF16, bf16s)] {
            let bytes = file(dtype, vec![3], &data);
            let read = SafeTensors::parse(&bytes)
                .unwrap()
                .values("w", &[3])
                .unwrap();
            assert_eq!(read.map_bits(), values.to_vec().map_bits(), "{dtype:?}");
        }
    }

    trait Bits {
        fn map_bits(&self) -> Vec<u32>;
    }
    impl Bits for Vec<f32> {
        fn map_bits(&self) -> Vec<u32> {
            self.iter().map(|v| v.to_bits()).collect()
        }
    }

    #[test]
    fn errors_name_tensor_expected_found() {
        let bytes = file(Dtype::F32, vec![2, 1], &[0; 8]);
        let tensors = SafeTensors::parse(&bytes).unwrap();
        assert_eq!(
            tensors.values("w", &[1, 2]).unwrap_err().to_string(),
            "tensor w has shape [2, 1], expected [1, 2]"
        );
        assert_eq!(
            tensors.values("b", &[1]).unwrap_err().to_string(),
            "tensor b is missing from the 1 tensors of the file"
        );
        let bytes = file(Dtype::I64, vec![1], &[0; 8]);
        assert_eq!(
            SafeTensors::parse(&bytes)
                .unwrap()
                .values("w", &[1])
                .unwrap_err()
                .to_string(),
            "tensor w has dtype I64, expected F32, F16 or BF16"
        );
    }

    #[test]
    fn every_truncation_is_an_error() {
        let bytes = file(Dtype::F32, vec![2, 1], &[0; 8]);
        for length in 0..bytes.len() {
            assert!(
                matches!(SafeTensors::parse(&bytes[..length]), Err(TensorError::Malformed { bytes, .. }) if bytes == length),
                "{length} bytes"
            );
        }
    }
}
