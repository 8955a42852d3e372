//! `flashproof calibrate`.

use clap::Args;
use std::path::PathBuf;

/// Arguments of `calibrate`.
#[derive(Clone, Debug, Args)]
pub struct Calibrate {
    /// Languages of the texts, taken in turn; `all` for the seven of MLQA
    #[arg(
        long,
        value_name = "LL,...",
        value_delimiter = ',',
        default_value = "en"
    )]
    pub languages: Vec<String>,
    /// Texts to calibrate on, in all
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub texts: usize,
    /// Share of (query, key) pairs to attend on these texts
    #[arg(long, value_name = "D", default_value_t = 0.25)]
    pub density: f64,
    /// Queries, and keys, of a block
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub block: usize,
    /// Tokens a text aims at
    #[arg(long, value_name = "N", default_value_t = 480)]
    pub tokens: usize,
    /// Thresholds of every language by itself, on as many texts of it alone: `*` in FILE stands for its code, and
    /// `bsfa:D:BLOCK:NAME-*` in a plan for the thresholds of a document's own language
    #[arg(long)]
    pub each: bool,
    /// File for the thresholds
    #[arg(long, value_name = "FILE", default_value = "thresholds.json")]
    pub out: PathBuf,
}
