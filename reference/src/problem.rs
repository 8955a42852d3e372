//! One attention problem: shape, inputs in their own number format, scale, layout.

use crate::layout::Layout;
use half::{bf16, f16};

/// Extents of an attention problem. Tensors are `(batch, heads, seqlen, head_dim)`, row-major ("bhsd").
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

/// Numbers in the format the kernel receives.
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
}
