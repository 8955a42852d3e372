//! The one test binary.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests stop a test as tests do; clippy's allowance sees the test functions alone"
)]

mod agreement;
mod analysis;
mod cli;
mod conformance;
mod defects;
mod device;
mod encoder;
mod exploration;
mod far;
mod global_memory;
mod hopper;
mod isa;
mod judge;
mod laws;
mod layout;
mod manifest;
mod mutants;
mod mutations;
mod pairwise;
mod properties;
mod ptx;
mod regressions;
mod roles;
mod sarif;
mod scalar;
mod score;
mod selftest;
mod statistics;
mod stranger;
mod study;
mod tasks;
mod tensor_core;
mod tidy;
mod tiny_model;
mod vm;
