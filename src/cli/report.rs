//! `flashproof report` and `flashproof explain`.

use clap::Args;
use std::path::PathBuf;

/// Arguments of `report`.
#[derive(Clone, Debug, Args)]
pub struct Report {
    /// Fewer cases and a smaller corpus: under 2 minutes on 2 cores
    #[arg(long, conflicts_with = "full")]
    pub quick: bool,
    /// Recompute everything, resuming what is already there
    #[arg(long)]
    pub full: bool,
    /// Only what is the same on every machine: verification, analysis and the accuracy plots from stored results
    #[arg(long, conflicts_with_all = ["quick", "full"])]
    pub deterministic: bool,
    /// Folder for the report
    #[arg(long, value_name = "DIR", default_value = "reports")]
    pub out: PathBuf,
}

/// Arguments of `explain`.
#[derive(Clone, Debug, Args)]
pub struct Explain {
    /// Code of a diagnostic, e.g. `shared-race`; lists all codes if not given
    pub code: Option<String>,
}
