//! `flashproof selftest`.

use super::Format;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Arguments of `selftest`.
#[derive(Clone, Debug, Args)]
pub struct Selftest {
    /// What to check
    #[command(subcommand)]
    pub what: Checked,
}

/// What `selftest` can check.
#[derive(Clone, Debug, Subcommand)]
pub enum Checked {
    /// Every dot product of a folder of measured vectors, bit for bit
    TensorCore(SelftestTensorCore),
}

const TENSOR_CORE_HELP: &str = "\
Every DIR/GPU_OPERANDS_RESULT.txt is read, such as a100_fp16_fp32.txt; files with another ending are not. A line is
a.. | b.. | c | d in hexadecimal f32 words: factors, addend, measured result of c + sum a * b. Where RESULT is fp16, c
is rounded to f16 first and d is the f16 result widened. Hopper's bytes to fp32 (h100_e4m3_fp32) are the native
operation from zero: c is ignored.";

/// Arguments of `selftest tensor-core`.
#[derive(Clone, Debug, Args)]
#[command(after_help = TENSOR_CORE_HELP)]
pub struct SelftestTensorCore {
    /// Folder of vectors
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// How to print results
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}
