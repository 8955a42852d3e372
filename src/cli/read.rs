//! `flashproof read`.

use clap::Args;
use std::path::PathBuf;

/// Arguments of `read`.
#[derive(Clone, Debug, Args)]
pub struct Read {
    /// Questions with their contexts, in SQuAD's format
    #[arg(value_name = "DATASET.json")]
    pub dataset: PathBuf,
    /// Folder with config.json, model.safetensors and tokenizer.json of a BERT or XLM-RoBERTa question-answering model
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// File for the answers, as `score mlqa` reads them
    #[arg(long, value_name = "FILE", default_value = "predictions.json")]
    pub out: PathBuf,
    /// Also write every question's best spans with their scores
    #[arg(long, value_name = "FILE")]
    pub nbest: Option<PathBuf>,
    /// Attention arm
    #[arg(long, value_name = "ARM", default_value = "dense")]
    pub arm: String,
    /// Tokens of a window, question included
    #[arg(long, value_name = "N", default_value_t = 384)]
    pub max_tokens: usize,
    /// Context tokens that two windows share
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub doc_stride: usize,
    /// Starts, ends and spans to keep
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub best: usize,
    /// Tokens of an answer at most
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub answer_tokens: usize,
    /// Read the first N questions alone
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
}
