//! `flashproof manifest`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Arguments of `manifest`.
#[derive(Clone, Debug, Args)]
pub struct Manifest {
    /// What to do
    #[command(subcommand)]
    pub what: ManifestTask,
}

/// What `manifest` can do.
#[derive(Clone, Debug, Subcommand)]
pub enum ManifestTask {
    /// Write a manifest that parses, filled in from the PTX, each guess marked with a comment
    Init(ManifestInit),
}

/// Arguments of `manifest init`.
#[derive(Clone, Debug, Args)]
pub struct ManifestInit {
    /// PTX text of a kernel
    #[arg(value_name = "FILE.ptx")]
    pub file: PathBuf,
    /// Entry function; the first one if not given
    #[arg(long, value_name = "NAME")]
    pub entry: Option<String>,
    /// File to write, which must not exist; standard output if not given
    #[arg(short, long, value_name = "FILE.toml")]
    pub out: Option<PathBuf>,
}
