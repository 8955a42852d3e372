//! SIMD loops behind safe functions.

pub mod matmul;
