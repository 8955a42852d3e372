//! `flashproof kernels`.

use super::Format;
use clap::Args;

/// Arguments of `kernels`.
#[derive(Clone, Debug, Args)]
pub struct Kernels {
    /// How to print the list
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}
