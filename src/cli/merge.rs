//! `flashproof merge`.

use clap::Args;
use std::path::PathBuf;

/// Arguments of `merge`.
#[derive(Clone, Debug, Args)]
pub struct Merge {
    /// Results of shards (.jsonl), or the plan (.toml) beside whose results they lie
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// File for all results; NAME.jsonl beside the first shard if not given
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}
