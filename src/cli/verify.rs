//! `flashproof verify`.

use super::{Format, Machine, Runner};
use clap::Args;
use std::path::PathBuf;

/// Arguments of `verify`.
#[derive(Clone, Debug, Args)]
pub struct Verify {
    /// Kernels by name (`flashproof kernels` lists them), or one PTX file with `--manifest`; all kernels if none
    #[arg(value_name = "KERNEL|FILE.ptx")]
    pub kernels: Vec<String>,
    /// Manifest that says how to launch FILE.ptx (its grid, parameters and tensor order)
    #[arg(long, value_name = "FILE.toml")]
    pub manifest: Option<PathBuf>,
    /// Random cases per kernel
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub cases: u32,
    /// Seed of the random cases
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
    /// One case instead of random ones, as a failure prints it: `key=value key=value`
    #[arg(long, value_name = "LINE", conflicts_with_all = ["cases", "seed"])]
    pub case: Option<String>,
    /// What runs the kernel
    #[arg(long, value_enum, default_value_t)]
    pub backend: Runner,
    /// Whose tensor cores the virtual machine has, instead of what each case says
    #[arg(long, value_enum)]
    pub target: Option<Machine>,
    /// How to print the result
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}
