//! `flashproof mutants`.

use super::Format;
use clap::Args;
use std::path::PathBuf;

/// Arguments of `mutants`.
#[derive(Clone, Debug, Args)]
pub struct Mutants {
    /// Only the mutants of this family, or the one of this name
    #[arg(long, value_name = "NAME")]
    pub family: Option<String>,
    /// Random cases besides the directed ones
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub cases: u32,
    /// Times each directed case is run, each with another seed
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub repeat: u32,
    /// First seed
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
    /// Also run other projects' own problems, for their criteria's sake: minutes instead of seconds
    #[arg(long)]
    pub grids: bool,
    /// How to print the result
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Folder to write the report to: mutants.md, mutants.csv and mutants.svg
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}
