//! The one test binary.
mod tensor_core;
