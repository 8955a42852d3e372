//! `flashproof bench`.

use super::Format;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Arguments of `bench`.
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
pub struct Bench {
    /// Somewhere else than on this machine's processor
    #[command(subcommand)]
    pub elsewhere: Option<Elsewhere>,
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

/// Where else to time.
#[derive(Clone, Debug, Subcommand)]
pub enum Elsewhere {
    /// Time kernels and their peers on an NVIDIA GPU, sampled rows judged first (build with --features cuda)
    Device(BenchDevice),
}

/// Arguments of `bench device`.
#[derive(Clone, Debug, Args)]
pub struct BenchDevice {
    /// List every measurement, check its launch here, run the smallest in the virtual machine, estimate the time
    #[arg(long, conflicts_with = "plot")]
    pub dry: bool,
    /// Longest sequence
    #[arg(long, value_name = "L", default_value_t = 32_768)]
    pub seqlen_max: usize,
    /// Seconds for everything; what does not fit is left out and named
    #[arg(long, value_name = "S", default_value_t = 520)]
    pub seconds: u64,
    /// Time this kernel of ours alone; all that the card runs if not given
    #[arg(long, value_name = "NAME")]
    pub kernel: Option<String>,
    /// Script that times the peers, run by python3
    #[arg(long, value_name = "FILE", default_value = "cuda/bench/peers.py")]
    pub peers: PathBuf,
    /// Draw table and figures of this run, measured before
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
    /// Folder for the run's JSON, its table and figures
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}
