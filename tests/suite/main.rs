//! The one test binary.

mod cli;
mod ptx;
mod study;
mod encoder;
mod tensor_core;
mod tidy;
mod tiny_model;
