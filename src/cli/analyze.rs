//! `flashproof analyze`.

use super::Format;
use clap::Args;

/// Arguments of `analyze`.
#[derive(Clone, Debug, Args)]
pub struct Analyze {
    /// Kernels by name, or PTX files; all kernels if none
    #[arg(value_name = "KERNEL|FILE.ptx")]
    pub modules: Vec<String>,
    /// How to print the findings
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}
