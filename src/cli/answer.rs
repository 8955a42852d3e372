//! `flashproof answer`.

use super::Inputs;
use clap::Args;
use std::path::PathBuf;

/// Arguments of `answer`.
#[derive(Clone, Debug, Args)]
pub struct Answer {
    /// The problem
    #[command(flatten)]
    pub inputs: Inputs,
    /// Where the outputs go, f64, of the shape of the queries
    #[arg(long, value_name = "O.npy")]
    pub o: PathBuf,
    /// Where the log-sum-exps (natural logarithm) go, f64, one a query
    #[arg(long, value_name = "LSE.npy")]
    pub lse: Option<PathBuf>,
}
