//! The safetensors format: named tensors of one file, widened to f32, or to f64 one at a time without reading the rest.

use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::Metadata;
use std::ops::Range;

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

/// Longest header that is read, as in the format's own library.
const HEADER_BYTES_MAX: u64 = 100_000_000;

/// What stands before the tensors: enough to read one of them alone.
#[derive(Debug)]
pub struct Directory {
    metadata: Metadata,
    file_bytes: u64,
    /// Bytes before the first tensor.
    first: u64,
}

/// One tensor of a directory.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its extents.
    pub shape: Vec<usize>,
    /// Where its elements are, in bytes from the start of the file.
    pub bytes: Range<u64>,
    dtype: Dtype,
}

impl Directory {
    /// Length of the header that the first 8 bytes of a file state.
    ///
    /// # Errors
    /// [`TensorError::Malformed`] where the file cannot hold such a header.
    pub fn header_bytes(prefix: &[u8], file_bytes: u64) -> Result<u64, TensorError> {
        let malformed = |reason: String| TensorError::Malformed {
            bytes: usize::try_from(file_bytes).unwrap_or(usize::MAX),
            reason,
        };
        let Some(length) = prefix.first_chunk::<8>() else {
            return Err(malformed("no length of a header".to_owned()));
        };
        let length = u64::from_le_bytes(*length);
        if length > HEADER_BYTES_MAX || length > file_bytes.saturating_sub(8) {
            return Err(malformed(format!("a header of {length} bytes")));
        }
        Ok(length)
    }

    /// Reads the header: the bytes after the first 8.
    ///
    /// # Errors
    /// [`TensorError::Malformed`].
    pub fn parse(header: &[u8], file_bytes: u64) -> Result<Self, TensorError> {
        let malformed = |reason: String| TensorError::Malformed {
            bytes: usize::try_from(file_bytes).unwrap_or(usize::MAX),
            reason,
        };
        let metadata: Metadata =
            serde_json::from_slice(header).map_err(|error| malformed(error.to_string()))?;
        let first = 8 + u64::try_from(header.len()).expect("addresses have at most 64 bits");
        Ok(Self {
            metadata,
            file_bytes,
            first,
        })
    }

    /// A tensor by its name.
    ///
    /// # Errors
    /// [`TensorError::Missing`], [`TensorError::Dtype`], or [`TensorError::Malformed`] where its bytes are not in the
    /// file or are not as many as its shape says.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the list of formats is the crate's, and grows"
    )]
    pub fn tensor(&self, name: &str) -> Result<Entry, TensorError> {
        let info = self
            .metadata
            .info(name)
            .ok_or_else(|| TensorError::Missing {
                tensor: name.to_owned(),
                count: self.metadata.offset_keys().len(),
            })?;
        let size = match info.dtype {
            Dtype::F16 | Dtype::BF16 => 2_u64,
            Dtype::F32 => 4,
            Dtype::F64 => 8,
            other => {
                return Err(TensorError::Dtype {
                    tensor: name.to_owned(),
                    expected: "F16, BF16, F32 or F64",
                    found: format!("{other:?}"),
                });
            }
        };
        let at = |offset: usize| u64::try_from(offset).ok()?.checked_add(self.first);
        let bytes = at(info.data_offsets.0).zip(at(info.data_offsets.1));
        let elements = info.shape.iter().try_fold(size, |all, &extent| {
            all.checked_mul(u64::try_from(extent).ok()?)
        });
        match (bytes, elements) {
            (Some((start, end)), Some(needed))
                if end <= self.file_bytes && end.checked_sub(start) == Some(needed) =>
            {
                Ok(Entry {
                    shape: info.shape.clone(),
                    bytes: start..end,
                    dtype: info.dtype,
                })
            }
            _ => Err(TensorError::Malformed {
                bytes: usize::try_from(self.file_bytes).unwrap_or(usize::MAX),
                reason: format!(
                    "tensor {name} of shape {:?} lies at {:?} after the header",
                    info.shape, info.data_offsets
                ),
            }),
        }
    }
}

impl Entry {
    /// Its elements in C order, widened without rounding, from the bytes at [`Entry::bytes`].
    pub fn values(&self, bytes: &[u8]) -> Vec<f64> {
        if self.dtype == Dtype::F16 {
            words(bytes, |word| f16::from_le_bytes(word).to_f64())
        } else if self.dtype == Dtype::BF16 {
            words(bytes, |word| bf16::from_le_bytes(word).to_f64())
        } else if self.dtype == Dtype::F32 {
            words(bytes, |word| f64::from(f32::from_le_bytes(word)))
        } else {
            words(bytes, f64::from_le_bytes)
        }
    }
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
fn words<const N: usize, W>(bytes: &[u8], value: impl Fn([u8; N]) -> W) -> Vec<W> {
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
    fn one_tensor_is_read_alone() {
        let values = [1.5_f64, -0.0, 1e300];
        let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let bytes = file(Dtype::F64, vec![3, 1], &data);
        let length = u64::try_from(bytes.len()).unwrap();
        let header = usize::try_from(Directory::header_bytes(&bytes, length).unwrap()).unwrap();
        let directory = |length| Directory::parse(&bytes[8..8 + header], length).unwrap();
        let entry = directory(length).tensor("w").unwrap();
        assert_eq!(entry.shape, [3, 1]);
        let at = usize::try_from(entry.bytes.start).unwrap()..bytes.len();
        assert_eq!(entry.bytes.end, length);
        let read = entry.values(&bytes[at]);
        assert_eq!(read.len(), 3);
        assert!(
            read.iter()
                .zip(values)
                .all(|(a, b)| a.to_bits() == b.to_bits())
        );

        let error = directory(length).tensor("v").unwrap_err().to_string();
        assert_eq!(error, "tensor v is missing from the 1 tensors of the file");
        assert!(matches!(
            directory(length - 1).tensor("w"),
            Err(TensorError::Malformed { .. })
        ));
        assert!(Directory::header_bytes(&bytes[..7], 7).is_err());
        assert!(Directory::header_bytes(&[255; 8], length).is_err());
        assert!(Directory::parse(b"{", length).is_err());
        let bytes = file(Dtype::I64, vec![1], &[0; 8]);
        let header = usize::try_from(Directory::header_bytes(&bytes, length).unwrap()).unwrap();
        let error = Directory::parse(&bytes[8..8 + header], length).unwrap();
        assert_eq!(
            error.tensor("w").unwrap_err().to_string(),
            "tensor w has dtype I64, expected F16, BF16, F32 or F64"
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
