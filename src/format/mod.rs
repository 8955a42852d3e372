//! File formats of numbers: bytes in, values out.

pub mod safetensors;

pub use safetensors::{SafeTensors, TensorError};
