//! The one test binary.

mod cli;
mod ptx;
mod study;
mod tensor_core;
mod tidy;
mod encoder;
mod tiny_model;
