//! The one test binary.

mod cli;
mod isa;
mod ptx;
mod study;
mod tensor_core;
mod tidy;
