//! `flashproof bitext`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Arguments of `bitext`.
#[derive(Clone, Debug, Args)]
pub struct Bitext {
    /// What to do
    #[command(subcommand)]
    pub what: BitextWhat,
}

/// What `bitext` does.
#[derive(Clone, Debug, Subcommand)]
pub enum BitextWhat {
    /// In how many languages MLQA's questions are, and how many each two languages share
    Mlqa,
    /// Pairs of sentences that translate each other, by LASER's margins: score, source, target, best first
    Mine(Mine),
}

/// Arguments of `bitext mine`.
#[derive(Clone, Debug, Args)]
pub struct Mine {
    /// Sentences, one a line
    #[arg(value_name = "SOURCE.txt")]
    pub source: PathBuf,
    /// Sentences of another language, one a line
    #[arg(value_name = "TARGET.txt")]
    pub target: PathBuf,
    /// absolute (cosine), distance or ratio to the mean cosine of the nearest neighbours
    #[arg(long, value_name = "M", default_value = "ratio")]
    pub margin: String,
    /// forward, backward, intersect or max
    #[arg(long, value_name = "R", default_value = "max")]
    pub retrieval: String,
    /// Nearest neighbours
    #[arg(long, value_name = "K", default_value_t = 4)]
    pub neighbours: usize,
    /// Leave out pairs with a lower margin
    #[arg(long, value_name = "X")]
    pub threshold: Option<f64>,
    /// The files are parallel line by line: also print the share of source lines whose best target is another's (xsim)
    #[arg(long)]
    pub aligned: bool,
    /// Attention arm for both sides
    #[arg(long, value_name = "ARM", default_value = "dense")]
    pub arm: String,
}
