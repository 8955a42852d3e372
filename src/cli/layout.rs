//! `flashproof layout`.

use super::{Format, Reaches};
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

const LAYOUT_HELP: &str = "\
Files are told by their ending: .json (a layout), .npy (dense mask), .npz (dense mask, or scipy CSR or BSR),
.safetensors (FlexAttention BlockMask: kv_num_blocks, kv_indices, full_kv_num_blocks, full_kv_indices).";

/// Arguments of `layout`.
#[derive(Clone, Debug, Args)]
#[command(after_help = LAYOUT_HELP)]
pub struct Layout {
    /// What to do
    #[command(subcommand)]
    pub action: LayoutAction,
}

/// What `layout` can do.
#[derive(Clone, Debug, Subcommand)]
pub enum LayoutAction {
    /// Picture of the mask
    Show(LayoutShow),
    /// Density, empty rows, receptive field, load balance, predicted speed-up
    Stats(LayoutStats),
    /// From one format to another
    Convert(LayoutConvert),
    /// First differing pairs and counts; exit code 1 where there are any
    Diff(LayoutDiff),
}

/// What a file of masks does not say by itself.
#[derive(Clone, Debug, Args)]
pub struct Rules {
    /// BlockMask: queries of a block, 128 if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub block_q: Option<u32>,
    /// BlockMask: keys of a block, 128 if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub block_kv: Option<u32>,
    /// BlockMask: number of queries, whole blocks if not given
    #[arg(long, value_name = "N")]
    pub seqlen_q: Option<u32>,
    /// BlockMask: number of keys, whole blocks if not given
    #[arg(long, value_name = "N")]
    pub seqlen_kv: Option<u32>,
    /// BlockMask: its mask_mod hides keys after the diagonal
    #[arg(long)]
    pub causal: bool,
    /// BlockMask: its mask_mod is a window of L before and R after the diagonal; `-` for an unbounded side
    #[arg(long, value_name = "L,R", value_parser = super::inputs::reaches, allow_hyphen_values = true)]
    pub window: Option<Reaches>,
}

/// Arguments of `layout show`.
#[derive(Clone, Debug, Args)]
pub struct LayoutShow {
    /// The layout
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Query head
    #[arg(long, value_name = "H", default_value_t = 0)]
    pub head: usize,
    /// Widest picture in characters
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub width: u32,
    /// Also draw mask and work of each CTA into FILE
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// What a BlockMask does not say
    #[command(flatten)]
    pub rules: Rules,
}

/// Arguments of `layout stats`.
#[derive(Clone, Debug, Args)]
pub struct LayoutStats {
    /// The layout
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Layers of the stack whose receptive field is asked for
    #[arg(long, value_name = "L", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub layers: u32,
    /// A query: can it ever know of --to?
    #[arg(long, value_name = "QUERY", requires = "to")]
    pub from: Option<usize>,
    /// A token
    #[arg(long, value_name = "TOKEN", requires = "from")]
    pub to: Option<usize>,
    /// Card of the cost model: a100-40g a100-80g a10 h100-pcie h100-sxm h200 l4
    #[arg(long, value_name = "NAME", default_value = "h100-sxm")]
    pub card: String,
    /// Query heads over all batch entries; one for each pattern if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub heads: Option<u32>,
    /// Key heads over all batch entries; --heads if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub kv_heads: Option<u32>,
    /// Width of a head
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub head_dim: u32,
    /// Queries that a CTA computes at a time
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1 << 16))]
    pub tile_q: u32,
    /// Keys that a CTA computes at a time
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1 << 16))]
    pub tile_kv: u32,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// What a BlockMask does not say
    #[command(flatten)]
    pub rules: Rules,
}

/// Form of an `.npz` that is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Matrix {
    /// One boolean array `mask`
    #[default]
    Dense,
    /// scipy.sparse CSR: an entry is a visible pair
    Csr,
    /// scipy.sparse BSR in blocks of the layout's size
    Bsr,
}

/// Arguments of `layout convert`.
#[derive(Clone, Debug, Args)]
pub struct LayoutConvert {
    /// The layout
    #[arg(value_name = "FROM")]
    pub from: PathBuf,
    /// File to write
    #[arg(value_name = "TO")]
    pub to: PathBuf,
    /// Form of an .npz
    #[arg(long, value_enum, default_value_t)]
    pub matrix: Matrix,
    /// Query head, where the format holds one matrix
    #[arg(long, value_name = "H")]
    pub head: Option<usize>,
    /// What a BlockMask does not say
    #[command(flatten)]
    pub rules: Rules,
}

/// Arguments of `layout diff`.
#[derive(Clone, Debug, Args)]
pub struct LayoutDiff {
    /// One layout
    #[arg(value_name = "A")]
    pub first: PathBuf,
    /// Another
    #[arg(value_name = "B")]
    pub second: PathBuf,
    /// Differing pairs to list
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub limit: usize,
    /// What a BlockMask does not say
    #[command(flatten)]
    pub rules: Rules,
}
