//! `flashproof judge`.

use super::{Format, Inputs, Machine, NumberFormat};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Base of a logarithm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Base {
    /// Natural
    #[default]
    E,
    /// Two
    #[value(name = "2")]
    Two,
}

/// What rows that see no key hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum EmptyRows {
    /// o = 0, lse = -inf
    #[default]
    Zero,
    /// Anything: they are not compared
    Undefined,
}

/// Order of tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Order {
    /// The first keys first
    Ascending,
    /// The last keys first
    Descending,
}

const JUDGE_HELP: &str = "\
The bound is that of one pass of online softmax: products summed in f32 (16-bit ones on the target's tensor cores),
scores scaled after their sum, weights rounded once to --p-dtype before the division by the row sum. What no flag
states is taken at its worst.";

/// Arguments of `judge`.
#[derive(Clone, Debug, Args)]
#[command(after_help = JUDGE_HELP)]
pub struct Judge {
    /// The problem
    #[command(flatten)]
    pub inputs: Inputs,
    /// Outputs to judge, of the shape of the queries, as .npy or FILE.safetensors:NAME
    #[arg(long, value_name = "O.npy", required_unless_present = "tensors")]
    pub output: Option<PathBuf>,
    /// Log-sum-exps to judge, one a query, every value exact in f32; never taken from --tensors unasked
    #[arg(long, value_name = "LSE.npy")]
    pub output_lse: Option<PathBuf>,
    /// Number format that the outputs were rounded to; --dtype if not given
    #[arg(long, value_enum)]
    pub output_dtype: Option<NumberFormat>,
    /// Base of the log-sum-exps
    #[arg(long, value_enum, default_value_t, requires = "output_lse")]
    pub lse_base: Base,
    /// What rows that see no key hold
    #[arg(long, value_enum, default_value_t)]
    pub empty_rows: EmptyRows,
    /// Whose tensor cores made it
    #[arg(long, value_enum)]
    pub target: Machine,
    /// Number format of a weight when it is multiplied with v: --dtype, or f32 where weights are not rounded
    #[arg(long, value_enum)]
    pub p_dtype: NumberFormat,
    /// Queries that a CTA computes at a time; no rounding depends on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub tile_q: Option<u32>,
    /// Keys between two updates of the row maximum; if not given 8 with 16-bit weights, else 1: most rescalings, widest bound
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub tile_kv: Option<u32>,
    /// Order of the tiles of --tile-kv keys, the first of which begins with key 0; where it is known, so are the rounded
    /// weights, and outputs are judged against those too (wrongly, if it is another)
    #[arg(long, value_enum, requires = "tile_kv")]
    pub tile_order: Option<Order>,
    /// How to print the result
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}
