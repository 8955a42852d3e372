//! The one test binary.

mod analysis;
mod cli;
mod encoder;
mod ptx;
mod study;
mod tensor_core;
mod tidy;
mod tiny_model;
