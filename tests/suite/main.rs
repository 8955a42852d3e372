//! The one test binary.

mod analysis;
mod cli;
mod conformance;
mod defects;
mod encoder;
mod isa;
mod laws;
mod properties;
mod ptx;
mod regressions;
mod score;
mod study;
mod tensor_core;
mod tidy;
mod tiny_model;
