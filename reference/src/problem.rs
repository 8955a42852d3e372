//! One attention problem: shape, inputs in their own number format, scale, layout.

use crate::layout::Layout;

pub use crate::tensor::{DType, Tensor};

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
    #[error("unknown number format {found:?}: expected f16, bf16, f32 or f64")]
    UnknownDType {
        /// The name found.
        found: String,
    },
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
            &|p| p.k = Tensor::F16(vec![half::f16::ONE; 140]),
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
}
