//! One attention problem: shape, inputs in their own number format, scale, layout.

use crate::layout::Layout;
use half::{bf16, f16};
use std::fmt;
use std::str::FromStr;

/// Extents of an attention problem. Tensors are `(batch, heads, seqlen, head_dim)`, row-major ("bhsd").
///
/// ```
/// use flashproof_reference::Shape;
/// let shape = Shape { batch: 1, num_q_heads: 4, num_kv_heads: 2, seqlen_q: 1, seqlen_kv: 2, head_dim: 1 };
/// assert_eq!(shape.q_extents(), [1, 4, 1, 1]);
/// assert_eq!((shape.kv_head(0), shape.kv_head(3)), (0, 1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Independent sequences.
    pub batch: usize,
    /// Query heads; a multiple of `num_kv_heads`.
    pub num_q_heads: usize,
    /// Key and value heads.
    pub num_kv_heads: usize,
    /// Queries of a sequence.
    pub seqlen_q: usize,
    /// Keys of a sequence.
    pub seqlen_kv: usize,
    /// Channels of a head.
    pub head_dim: usize,
}

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
}

/// Inputs of attention: every number is taken as the exact real number it encodes.
///
/// ```
/// use flashproof_reference::{Layout, Problem, Shape, Tensor};
/// let shape = Shape { batch: 1, num_q_heads: 1, num_kv_heads: 1, seqlen_q: 1, seqlen_kv: 2, head_dim: 1 };
/// let (one, two) = (Tensor::F32(vec![0.0]), Tensor::F32(vec![0.0; 2]));
/// let error = Problem::new(shape, one.clone(), one, two, 1.0, Layout::dense(1, 2)).unwrap_err();
/// assert_eq!(error.to_string(), "k has 1 elements, but its shape [1, 1, 2, 1] needs 2");
/// ```
#[derive(Clone, Debug)]
pub struct Problem {
    /// Extents.
    pub shape: Shape,
    /// Queries (batch, `num_q_heads`, `seqlen_q`, `head_dim`).
    pub q: Tensor,
    /// Keys (batch, `num_kv_heads`, `seqlen_kv`, `head_dim`).
    pub k: Tensor,
    /// Values (batch, `num_kv_heads`, `seqlen_kv`, `head_dim`).
    pub v: Tensor,
    /// Factor on every score; the f32 the kernel receives.
    pub scale: f32,
    /// Which pairs attend.
    pub layout: Layout,
}

/// Why a problem is not one.
///
/// ```
/// use flashproof_reference::{DType, Tensor};
/// let error = Tensor::from_f32_exactly(DType::F16, &[1.0, 1e9]).unwrap_err();
/// assert_eq!(error.to_string(), "element 1 = 1e9 (0x4e6e6b28) is no f16: round it first");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProblemError {
    /// A tensor's length is not the product of its extents.
    #[error("{name} has {found} elements, but its shape {shape:?} needs {expected}")]
    Length {
        /// Which tensor.
        name: &'static str,
        /// Elements found.
        found: usize,
        /// Elements needed.
        expected: usize,
        /// Its extents.
        shape: [usize; 4],
    },
    /// The product of a tensor's extents is not a number of elements.
    #[error("{name} of shape {shape:?} has more elements than this machine can address")]
    TooLarge {
        /// Which tensor.
        name: &'static str,
        /// Its extents.
        shape: [usize; 4],
    },
    /// An extent that must not be 0 is.
    #[error("{name} is 0, but must be at least 1")]
    ZeroExtent {
        /// Which extent.
        name: &'static str,
    },
    /// Query heads cannot be dealt evenly to key heads.
    #[error(
        "num_q_heads is {num_q_heads}, but must be a multiple of num_kv_heads, which is {num_kv_heads}"
    )]
    Heads {
        /// Query heads.
        num_q_heads: usize,
        /// Key and value heads.
        num_kv_heads: usize,
    },
    /// Inputs of different number formats.
    #[error("q, k and v are {q}, {k} and {v}, but must be of one format")]
    MixedTypes {
        /// Format of the queries.
        q: DType,
        /// Format of the keys.
        k: DType,
        /// Format of the values.
        v: DType,
    },
    /// The scale is NaN or infinite.
    #[error("scale is {} (0x{bits:08x}), but must be finite", f32::from_bits(*bits))]
    Scale {
        /// Bits of the value found.
        bits: u32,
    },
    /// The layout is of other sequences.
    #[error("the layout is {layout:?}, but the shape is {shape:?} (seqlen_q, seqlen_kv)")]
    LayoutLengths {
        /// `(seqlen_q, seqlen_kv)` of the layout.
        layout: (usize, usize),
        /// `(seqlen_q, seqlen_kv)` of the shape.
        shape: (usize, usize),
    },
    /// The layout has patterns for another number of heads.
    #[error(
        "the layout has {found} head patterns, but must have none, 1, or one for each of {num_q_heads} query heads"
    )]
    PatternCount {
        /// Patterns of the layout.
        found: usize,
        /// Query heads of the shape.
        num_q_heads: usize,
    },
    /// A number has no exact counterpart in the format asked for.
    #[error("element {index} = {:e} (0x{bits:08x}) is no {dtype}: round it first", f32::from_bits(*bits))]
    NotRepresentable {
        /// Position in the list.
        index: usize,
        /// Bits of the f32.
        bits: u32,
        /// The format asked for.
        dtype: DType,
    },
    /// A name that is not a number format.
    #[error("unknown number format {found:?}: expected f16, bf16 or f32")]
    UnknownDType {
        /// The name found.
        found: String,
    },
}

impl DType {
    /// Every format, in the order of the enum.
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
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
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
            _ => Err(ProblemError::UnknownDType {
                found: text.to_owned(),
            }),
        }
    }
}

impl Shape {
    /// Extents of the queries and of the outputs: (batch, `num_q_heads`, `seqlen_q`, `head_dim`).
    ///
    /// ```
    /// # use flashproof_reference::Shape;
    /// let shape = Shape { batch: 1, num_q_heads: 1, num_kv_heads: 1, seqlen_q: 1, seqlen_kv: 2, head_dim: 3 };
    /// assert_eq!(shape.q_extents(), [1, 1, 1, 3]);
    /// ```
    pub fn q_extents(&self) -> [usize; 4] {
        [self.batch, self.num_q_heads, self.seqlen_q, self.head_dim]
    }

    /// Extents of the keys and of the values: (batch, `num_kv_heads`, `seqlen_kv`, `head_dim`).
    ///
    /// ```
    /// # use flashproof_reference::Shape;
    /// let shape = Shape { batch: 1, num_q_heads: 1, num_kv_heads: 1, seqlen_q: 1, seqlen_kv: 2, head_dim: 3 };
    /// assert_eq!(shape.kv_extents(), [1, 1, 2, 3]);
    /// ```
    pub fn kv_extents(&self) -> [usize; 4] {
        [self.batch, self.num_kv_heads, self.seqlen_kv, self.head_dim]
    }

    /// The key and value head of a query head: query heads are dealt in consecutive groups of `num_q_heads /
    /// num_kv_heads` (Ainslie et al., "GQA", 2023).
    ///
    /// ```
    /// # use flashproof_reference::Shape;
    /// let shape = Shape { batch: 1, num_q_heads: 2, num_kv_heads: 1, seqlen_q: 1, seqlen_kv: 2, head_dim: 1 };
    /// assert_eq!([shape.kv_head(0), shape.kv_head(1)], [0, 0]);
    /// ```
    pub fn kv_head(&self, q_head: usize) -> usize {
        let group = self.num_q_heads.checked_div(self.num_kv_heads).unwrap_or(1);
        q_head / group.max(1)
    }

    /// Rows of the output, one log-sum-exp each: `batch * num_q_heads * seqlen_q`, if that is a number.
    ///
    /// ```
    /// # use flashproof_reference::Shape;
    /// let shape = Shape { batch: 1, num_q_heads: 2, num_kv_heads: 1, seqlen_q: 3, seqlen_kv: 2, head_dim: 9 };
    /// assert_eq!(shape.row_count(), Some(6));
    /// ```
    pub fn row_count(&self) -> Option<usize> {
        self.batch
            .checked_mul(self.num_q_heads)?
            .checked_mul(self.seqlen_q)
    }

    /// Checks the extents themselves, and that the lists have as many elements as they name.
    ///
    /// ```
    /// # use flashproof_reference::Shape;
    /// let shape = Shape { batch: 1, num_q_heads: 3, num_kv_heads: 2, seqlen_q: 1, seqlen_kv: 2, head_dim: 1 };
    /// assert_eq!(
    ///     shape.validate(3, 4, 4).unwrap_err().to_string(),
    ///     "num_q_heads is 3, but must be a multiple of num_kv_heads, which is 2"
    /// );
    /// ```
    pub fn validate(&self, q_len: usize, k_len: usize, v_len: usize) -> Result<(), ProblemError> {
        let extents = [
            ("num_q_heads", self.num_q_heads),
            ("num_kv_heads", self.num_kv_heads),
            ("head_dim", self.head_dim),
        ];
        for (name, extent) in extents {
            if extent == 0 {
                return Err(ProblemError::ZeroExtent { name });
            }
        }
        if !self.num_q_heads.is_multiple_of(self.num_kv_heads) {
            return Err(ProblemError::Heads {
                num_q_heads: self.num_q_heads,
                num_kv_heads: self.num_kv_heads,
            });
        }
        let tensors = [
            ("q", q_len, self.q_extents()),
            ("k", k_len, self.kv_extents()),
            ("v", v_len, self.kv_extents()),
        ];
        for (name, found, shape) in tensors {
            let expected = shape
                .iter()
                .try_fold(1_usize, |product, &extent| product.checked_mul(extent))
                .ok_or(ProblemError::TooLarge { name, shape })?;
            if found != expected {
                return Err(ProblemError::Length {
                    name,
                    found,
                    expected,
                    shape,
                });
            }
        }
        Ok(())
    }

    /// Checks that a layout is one of this shape: of its lengths, and with patterns for its query heads.
    ///
    /// ```
    /// # use flashproof_reference::{Layout, Shape};
    /// let shape = Shape { batch: 1, num_q_heads: 1, num_kv_heads: 1, seqlen_q: 1, seqlen_kv: 2, head_dim: 1 };
    /// assert_eq!(
    ///     shape.validate_layout(&Layout::dense(2, 2)).unwrap_err().to_string(),
    ///     "the layout is (2, 2), but the shape is (1, 2) (seqlen_q, seqlen_kv)"
    /// );
    /// ```
    pub fn validate_layout(&self, layout: &Layout) -> Result<(), ProblemError> {
        let found = (layout.seqlen_q(), layout.seqlen_kv());
        let expected = (self.seqlen_q, self.seqlen_kv);
        if found != expected {
            return Err(ProblemError::LayoutLengths {
                layout: found,
                shape: expected,
            });
        }
        let found = layout.pattern_count();
        if found > 1 && found != self.num_q_heads {
            return Err(ProblemError::PatternCount {
                found,
                num_q_heads: self.num_q_heads,
            });
        }
        Ok(())
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
            Self::F16(values) => values.iter().map(|value| value.to_f64()).collect(),
            Self::Bf16(values) => values.iter().map(|value| value.to_f64()).collect(),
            Self::F32(values) => values.iter().map(|&value| f64::from(value)).collect(),
        }
    }

    /// The exact values of all elements: every format's numbers are f32 numbers.
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
        }
    }
}

impl Problem {
    /// The problem, if it is one.
    ///
    /// ```
    /// # use flashproof_reference::{Layout, Problem, Shape, Tensor};
    /// let shape = Shape { batch: 1, num_q_heads: 1, num_kv_heads: 1, seqlen_q: 1, seqlen_kv: 2, head_dim: 1 };
    /// let (q, kv) = (Tensor::F32(vec![1.0]), Tensor::F32(vec![1.0, 2.0]));
    /// let error = Problem::new(shape, q, kv.clone(), kv, f32::NAN, Layout::dense(1, 2)).unwrap_err();
    /// assert_eq!(error.to_string(), "scale is NaN (0x7fc00000), but must be finite");
    /// ```
    pub fn new(
        shape: Shape,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        scale: f32,
        layout: Layout,
    ) -> Result<Self, ProblemError> {
        let problem = Self {
            shape,
            q,
            k,
            v,
            scale,
            layout,
        };
        problem.validate()?;
        Ok(problem)
    }

    /// Checks what [`Problem::new`] checks: for problems whose fields were set one by one.
    ///
    /// ```
    /// # use flashproof_reference::{Layout, Problem, Shape, Tensor};
    /// let shape = Shape { batch: 1, num_q_heads: 1, num_kv_heads: 1, seqlen_q: 1, seqlen_kv: 2, head_dim: 1 };
    /// let (q, kv) = (Tensor::F32(vec![1.0]), Tensor::F32(vec![1.0, 2.0]));
    /// let problem = Problem { shape, q, k: kv.clone(), v: kv, scale: 1.0, layout: Layout::dense(1, 2) };
    /// assert_eq!(problem.validate(), Ok(()));
    /// ```
    pub fn validate(&self) -> Result<(), ProblemError> {
        self.shape
            .validate(self.q.len(), self.k.len(), self.v.len())?;
        let (q, k, v) = (self.q.dtype(), self.k.dtype(), self.v.dtype());
        if q != k || q != v {
            return Err(ProblemError::MixedTypes { q, k, v });
        }
        if !self.scale.is_finite() {
            return Err(ProblemError::Scale {
                bits: self.scale.to_bits(),
            });
        }
        self.shape.validate_layout(&self.layout)
    }

    /// The number format of the inputs.
    ///
    /// ```
    /// # use flashproof_reference::{DType, Layout, Problem, Shape, Tensor};
    /// # let shape = Shape { batch: 1, num_q_heads: 1, num_kv_heads: 1, seqlen_q: 1, seqlen_kv: 2, head_dim: 1 };
    /// # let (q, kv) = (Tensor::F32(vec![1.0]), Tensor::F32(vec![1.0, 2.0]));
    /// let problem = Problem::new(shape, q, kv.clone(), kv, 1.0, Layout::dense(1, 2))?;
    /// assert_eq!(problem.dtype(), DType::F32);
    /// # Ok::<(), flashproof_reference::ProblemError>(())
    /// ```
    pub fn dtype(&self) -> DType {
        self.q.dtype()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BlockPattern, Extents};

    const SHAPE: Shape = Shape {
        batch: 2,
        num_q_heads: 4,
        num_kv_heads: 2,
        seqlen_q: 3,
        seqlen_kv: 5,
        head_dim: 7,
    };

    fn problem(shape: Shape) -> Problem {
        let zeros = |extents: [usize; 4]| Tensor::F32(vec![0.0; extents.iter().product()]);
        Problem {
            shape,
            q: zeros(shape.q_extents()),
            k: zeros(shape.kv_extents()),
            v: zeros(shape.kv_extents()),
            scale: 1.0,
            layout: Layout::dense(shape.seqlen_q, shape.seqlen_kv),
        }
    }

    #[test]
    fn every_malformed_problem_is_refused_with_its_values() {
        let check = |change: &dyn Fn(&mut Problem), expected: &str| {
            let mut problem = problem(SHAPE);
            assert_eq!(problem.validate(), Ok(()));
            change(&mut problem);
            assert_eq!(problem.validate().unwrap_err().to_string(), expected);
        };
        check(
            &|p| p.q = Tensor::F32(vec![]),
            "q has 0 elements, but its shape [2, 4, 3, 7] needs 168",
        );
        check(
            &|p| p.v = Tensor::F32(vec![0.0; 9]),
            "v has 9 elements, but its shape [2, 2, 5, 7] needs 140",
        );
        check(
            &|p| p.shape.head_dim = 0,
            "head_dim is 0, but must be at least 1",
        );
        check(
            &|p| p.shape.num_kv_heads = 0,
            "num_kv_heads is 0, but must be at least 1",
        );
        check(
            &|p| p.shape.num_kv_heads = 3,
            "num_q_heads is 4, but must be a multiple of num_kv_heads, which is 3",
        );
        check(
            &|p| p.shape.batch = usize::MAX,
            "q of shape [18446744073709551615, 4, 3, 7] has more elements than this machine can address",
        );
        check(
            &|p| p.k = Tensor::F16(vec![f16::ONE; 140]),
            "q, k and v are f32, f16 and f32, but must be of one format",
        );
        check(
            &|p| p.scale = f32::NEG_INFINITY,
            "scale is -inf (0xff800000), but must be finite",
        );
        check(
            &|p| p.layout = Layout::dense(3, 6),
            "the layout is (3, 6), but the shape is (3, 5) (seqlen_q, seqlen_kv)",
        );
        let extents = Extents {
            seqlen_q: 3,
            seqlen_kv: 5,
            block_q: 4,
            block_kv: 8,
        };
        let heads = |count| {
            Layout::from_extents(extents)
                .unwrap()
                .with_heads(vec![BlockPattern::from_rows([[0]]); count])
                .unwrap()
        };
        check(
            &|p| p.layout = heads(2),
            "the layout has 2 head patterns, but must have none, 1, or one for each of 4 query heads",
        );
        for count in [1, 4] {
            let mut problem = problem(SHAPE);
            problem.layout = heads(count);
            assert_eq!(problem.validate(), Ok(()));
        }
    }

    #[test]
    fn query_heads_are_dealt_in_consecutive_groups() {
        let shape = Shape {
            num_q_heads: 6,
            num_kv_heads: 3,
            ..SHAPE
        };
        let heads: Vec<usize> = (0..6).map(|head| shape.kv_head(head)).collect();
        assert_eq!(heads, [0, 0, 1, 1, 2, 2]);
        assert_eq!(
            Shape {
                num_kv_heads: 0,
                ..SHAPE
            }
            .kv_head(5),
            5,
            "malformed, but no panic"
        );
    }

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
            "unknown number format \"fp16\": expected f16, bf16 or f32"
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
