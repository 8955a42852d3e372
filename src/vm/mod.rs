//! PTX virtual machine.

pub mod target;
pub mod tensor_core;

pub use target::Target;
