//! `flashproof verify`.

use super::{FindingFormat, Machine, Runner};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// When asynchronous copies arrive, between issue and wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Arrival {
    /// At the wait
    Late,
    /// At the issue
    Early,
    /// Some early, the others in another order
    Reordered,
    /// Each of these in turn
    All,
}

/// Whether products and sums that do not say how they round are fused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fusing {
    /// As the PTX is written
    None,
    /// As ptxas may
    Ptxas,
    /// Both in turn
    Both,
}

/// Values of approximate functions, within the error that the PTX ISA states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Approximation {
    /// Rounded to nearest
    Nearest,
    /// The least allowed
    Low,
    /// The greatest allowed
    High,
    /// Drawn by the case's schedule
    Seeded,
    /// Each of these in turn
    All,
}

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
    /// Run each case under N schedules of warps and CTAs; output bits must not change
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub schedules: Option<u32>,
    /// When asynchronous copies arrive; output bits must not change
    #[arg(long = "async", value_name = "ORDER", value_enum)]
    pub arrival: Option<Arrival>,
    /// Whether un-rounded products and sums are fused; the verdict must hold either way
    #[arg(long, value_enum)]
    pub contract: Option<Fusing>,
    /// Values of approximate functions within their documented error; the verdict must hold for all
    #[arg(long, value_enum)]
    pub approx: Option<Approximation>,
    /// Also count bank conflicts and uncoalesced accesses
    #[arg(long)]
    pub notes: bool,
    /// Also prove that the attended pairs are the layout's, and that no tile is read for nothing
    #[arg(long)]
    pub attended: bool,
    /// Every kernel, repaired twin and example under 3 schedules; goes on where it stopped
    #[arg(long, conflicts_with_all = ["kernels", "case", "manifest"])]
    pub full: bool,
    /// Folder of the state and the result of --full
    #[arg(
        long,
        value_name = "DIR",
        default_value = "reports/verification",
        requires = "full"
    )]
    pub state: PathBuf,
    /// How to print the result
    #[arg(long, value_enum, default_value_t)]
    pub format: FindingFormat,
}
