//! Check a sparse-attention kernel without a GPU, under certified tolerances, and see what its sparsity costs in
//! answers.

// Modules by rank: a module imports only from rows above it (tests/suite/tidy.rs holds this).
pub mod contract;
pub mod convert;
pub mod diagnostic;
pub mod format;
pub mod simd;
pub mod ulp;

pub mod ptx;

pub mod analysis;
pub mod vm;

pub mod kernel;
pub mod outcome;

pub mod case;

pub mod backend;
pub mod device;
pub mod simulation;

pub mod bound;
pub mod verdict;

pub mod oracle;

pub mod encoder;
pub mod mlqa;
pub mod noise;
pub mod retrieval;
pub mod stats;

pub mod report;
pub mod study;

pub mod cli;
pub mod command;
pub mod fetch;
// x
