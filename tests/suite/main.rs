//! The one test binary.

mod cli;
mod tensor_core;
mod tidy;
mod ptx;
mod study;
