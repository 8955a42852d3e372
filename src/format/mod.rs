//! File formats of numbers: bytes in, values out.

pub mod mask;
pub mod npy;
pub mod safetensors;

pub use safetensors::{SafeTensors, TensorError};
