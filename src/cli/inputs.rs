//! A problem as files and flags, which `answer` and `judge` share.

use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// A number format of tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NumberFormat {
    /// IEEE 754 binary16
    F16,
    /// 8 bits of exponent, 8 of significand
    Bf16,
    /// IEEE 754 binary32
    F32,
    /// IEEE 754 binary64: for `answer`, which takes its slow path
    F64,
}

/// Reaches of a window: keys besides the diagonal on either side, none where unbounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reaches {
    /// Before the diagonal.
    pub left: Option<usize>,
    /// After it.
    pub right: Option<usize>,
}

/// Reads `L,R`.
pub(super) fn reaches(text: &str) -> Result<Reaches, String> {
    let reach = |side: &str| match side {
        "-" | "none" | "inf" => Ok(None),
        count => count.parse().map(Some).map_err(|_| {
            format!("{count:?} is neither a whole number nor `-` (also `none`) for unbounded")
        }),
    };
    let (left, right) = text
        .split_once(',')
        .ok_or("a window has two sides: write L,R, `-` for unbounded")?;
    Ok(Reaches {
        left: reach(left)?,
        right: reach(right)?,
    })
}

/// A problem as files and flags: arguments that `answer` and `judge` share.
#[derive(Clone, Debug, Args)]
pub struct Inputs {
    /// Queries, (batch x) heads x seqlen x head_dim, every value exact in --dtype: .npy of f2, f4 or f8 in C or Fortran
    /// order, or a tensor of F16, BF16, F32 or F64 as FILE.safetensors:NAME
    #[arg(long, value_name = "Q.npy", required_unless_present = "tensors")]
    pub q: Option<PathBuf>,
    /// Keys, likewise; query heads must be a multiple of key heads
    #[arg(long, value_name = "K.npy", required_unless_present = "tensors")]
    pub k: Option<PathBuf>,
    /// Values, of the shape of the keys
    #[arg(long, value_name = "V.npy", required_unless_present = "tensors")]
    pub v: Option<PathBuf>,
    /// Where tensors without a flag of their own are, by the names of the flags: q, k, v (and output of `judge`)
    #[arg(long, value_name = "FILE.safetensors")]
    pub tensors: Option<PathBuf>,
    /// Number format of the inputs; .npy has no bf16, so give such values as f4 there
    #[arg(long, value_enum)]
    pub dtype: NumberFormat,
    /// Factor on every score, rounded to f32; 1 / sqrt(head_dim) rounded to f32 if not given
    #[arg(long, value_name = "S", allow_hyphen_values = true)]
    pub scale: Option<f32>,
    /// Hide keys after the diagonal of a query, which is query + seqlen_kv - seqlen_q
    #[arg(long)]
    pub causal: bool,
    /// Hide keys more than L before or R after the diagonal; `-` or `none` for an unbounded side
    #[arg(long, value_name = "L,R", value_parser = reaches, allow_hyphen_values = true)]
    pub window: Option<Reaches>,
    /// Let every query see the first N keys whatever its window and blocks, though not past --causal
    #[arg(long, value_name = "N")]
    pub sinks: Option<usize>,
    /// Layout as JSON; with --causal or --window, only pairs that both show attend, and --sinks must be the layout's own
    #[arg(long, value_name = "LAYOUT.json")]
    pub layout: Option<PathBuf>,
    /// Refuse problems estimated to need more memory
    #[arg(long, value_name = "GIB", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    pub memory_gib: u32,
}
