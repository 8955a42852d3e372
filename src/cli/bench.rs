//! `flashproof bench`.

use super::Format;
use clap::Args;
use std::path::PathBuf;

/// Arguments of `bench`.
#[derive(Clone, Debug, Args)]
pub struct Bench {
    /// Sequence lengths
    #[arg(
        long,
        value_name = "L,...",
        value_delimiter = ',',
        default_value = "128,256,512,1024"
    )]
    pub lengths: Vec<usize>,
    /// Shares of blocks present
    #[arg(
        long,
        value_name = "D,...",
        value_delimiter = ',',
        default_value = "1,0.5,0.25,0.125"
    )]
    pub densities: Vec<f64>,
    /// Folder for tables and plots; nothing is written if not given
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// How to print the result
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}
