//! `flashproof analyze`.

use clap::{Args, ValueEnum};
use std::path::PathBuf;

const ANALYZE_HELP: &str = "\
A finding is allowed by a comment in the PTX, before its instruction or before the .entry: // flashproof: allow(CODE) reason
An allowance without reason or without finding is an error.";

/// How to print findings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum FindingFormat {
    /// For people
    #[default]
    Text,
    /// For programs: one JSON document
    Json,
    /// For code scanning: SARIF 2.1.0
    Sarif,
}

/// Arguments of `analyze`.
#[derive(Clone, Debug, Args)]
#[command(after_help = ANALYZE_HELP)]
pub struct Analyze {
    /// Kernels by name, or PTX files; all kernels if none
    #[arg(value_name = "KERNEL|FILE.ptx")]
    pub modules: Vec<String>,
    /// Manifest of the PTX files: what a launch promises them
    #[arg(long, value_name = "FILE.toml", requires = "modules")]
    pub manifest: Option<PathBuf>,
    /// Registers, shared memory and occupancy instead of findings; registers need the wheels that cuda/build.sh installs
    #[arg(long, conflicts_with = "format")]
    pub resources: bool,
    /// How to print the findings
    #[arg(long, value_enum, default_value_t)]
    pub format: FindingFormat,
}
