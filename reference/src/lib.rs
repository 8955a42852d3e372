//! The definition of sparse attention: layouts, problems, and the answer a kernel is judged against.
//!
//! This crate depends on nothing of the toolkit, so the judge cannot call the judged.

pub mod attention;
pub mod convert;
pub mod layout;
pub mod problem;

pub use attention::{Answer, AttentionError, attention};
pub use layout::{BlockPattern, Layout, LayoutError, Window};
pub use problem::{Problem, ProblemError, Shape, Tensor};
