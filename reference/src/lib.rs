//! The definition of sparse attention: layouts, problems, and the answer a kernel is judged against.
//!
//! This crate depends on nothing of the toolkit, so the judge cannot call the judged.
//!
//! ```
//! use flashproof_reference::{attention, Layout, Problem, Shape, Tensor};
//! // One query, two keys, one channel. Both scores are 0, so both weights are 1/2.
//! let shape = Shape { batch: 1, num_q_heads: 1, num_kv_heads: 1, seqlen_q: 1, seqlen_kv: 2, head_dim: 1 };
//! let (q, k, v) = (vec![0.0], vec![1.0, 1.0], vec![1.0, 3.0]);
//! let problem = Problem::new(shape, Tensor::F32(q), Tensor::F32(k), Tensor::F32(v), 1.0, Layout::dense(1, 2))?;
//! let answer = attention(&problem)?;
//! assert_eq!(answer.o, [2.0]);
//! assert_eq!(answer.lse, [std::f64::consts::LN_2]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// Test helpers that are shared with integration tests name this crate by its name.
#[cfg(test)]
extern crate self as flashproof_reference;

pub mod arithmetic;
pub mod attention;
mod certified;
pub mod convert;
pub mod definition;
mod exact;
pub mod exp;
#[cfg(test)]
mod fixed_point;
pub mod layout;
pub mod problem;
pub mod random;
mod simd;
pub mod tensor;

pub use attention::{Answer, AttentionError, Stats, attention};
pub use certified::plain;
pub use layout::{
    BigBird, BlockCounts, BlockKind, BlockPattern, Extents, Layout, LayoutError, Strided,
    VisibleKeys, Window,
};
pub use problem::{Problem, ProblemError, Shape};
pub use tensor::{DType, Tensor};
