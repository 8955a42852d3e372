//! `flashproof eval`.

use clap::{Args, ValueEnum};
use std::path::PathBuf;

use crate::study::Shard;

/// A task of `eval`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Task {
    /// Find a question's paragraph among all paragraphs of a language pair (MTEB's MLQARetrieval)
    #[default]
    MlqaRetrieval,
    /// Find the sentences that answer, in all languages, among those of MLQA's paragraphs (LAReQA)
    MlqaR,
    /// The same among XQuAD's paragraphs
    XquadR,
    /// Any folder with corpus.jsonl, queries.jsonl and qrels/test.tsv
    Beir,
}

/// A family of noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Noise {
    /// None: whole paragraphs as they are (level 0 only); prints published scores beside the dense arm's
    None,
    /// Sentences of other articles take a share of a text of fixed length
    Distractor,
    /// The same with the articles nearest to the text, without its answers
    HardDistractor,
    /// Characters replaced, put in, taken out or exchanged at a rate
    Characters,
    /// Gaussian noise on the embeddings of tokens
    Embedding,
}

/// Which questions are asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Split {
    /// Those of exploration articles
    #[default]
    Exploration,
    /// All: only to compare with published scores, which are over all
    All,
}

/// What the factors of the encoder's affine maps are rounded to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    /// Nothing
    #[default]
    F32,
    /// bf16: about twice the products a second where the machine has AVX-512 BF16
    Bf16,
}

/// What runs the encoder's attention besides the measurement itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Through {
    /// Every head of every layer through the CUDA kernel's PTX in the virtual machine
    Vm,
}

/// Arguments of `eval`.
#[derive(Clone, Debug, Args)]
pub struct Eval {
    /// Study to run; its results lie beside it, under its name. The flags that describe a study are for one without a plan
    #[arg(value_name = "PLAN.toml", conflicts_with_all = ["task", "folder", "pairs", "arms", "noise", "levels", "queries", "contexts", "split", "seed", "name", "precision", "through"])]
    pub plan: Option<PathBuf>,
    /// Make only part I of N of the plan's cells, I from 0 to N (N/N is 0/N); `flashproof merge` puts the parts together
    #[arg(long, value_name = "I/N", requires = "plan")]
    pub shard: Option<Shard>,
    /// Make no cell: tables, plots and report from the stored results alone
    #[arg(long, requires = "plan", conflicts_with = "shard")]
    pub stored: bool,
    /// Make no cell: run N documents of each context language and write what the arms see of them (NAME_mechanism.csv and a figure)
    #[arg(long, value_name = "N", requires = "plan", conflicts_with_all = ["shard", "stored"])]
    pub mechanism: Option<usize>,
    /// Task
    #[arg(long, value_enum, default_value_t)]
    pub task: Task,
    /// Folder of the task `beir`
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// Language pairs CONTEXT-QUESTION; `all-QQ` searches all languages of a sentence task; four with English questions if
    /// not given
    #[arg(long, value_name = "CC-QQ,...", value_delimiter = ',')]
    pub pairs: Vec<String>,
    /// Attention arms: `dense`, or NAME:SHARE of pairs attended, window, window-sink, window-global; block-topk and random-blocks add :BLOCK
    #[arg(long, value_name = "ARM,...", value_delimiter = ',', default_value = ARMS)]
    pub arms: Vec<String>,
    /// Family of noise; `distractor` if not given, `none` in the other tasks
    #[arg(long, value_enum)]
    pub noise: Option<Noise>,
    /// Noise levels: share of a text that is not its own paragraph, rate of character errors, or relative deviation of
    /// embeddings; those of the family's definition if not given
    #[arg(long, value_name = "X,...", value_delimiter = ',')]
    pub levels: Vec<f64>,
    /// Questions per pair; all whose paragraph is in the corpus if not given
    #[arg(long, value_name = "N")]
    pub queries: Option<usize>,
    /// Paragraphs per pair in the corpus, sampled without regard to the questions' halves; all if not given
    #[arg(long, value_name = "N")]
    pub contexts: Option<usize>,
    /// Which questions are asked
    #[arg(long, value_enum, default_value_t)]
    pub split: Split,
    /// Seed of sampling and noise
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
    /// What the factors of the encoder's affine maps are rounded to; results of two are not mixed
    #[arg(long, value_enum, default_value_t)]
    pub precision: Precision,
    /// Name of the files in the folder; a run of the same name goes on where it stopped
    #[arg(long, value_name = "NAME", default_value = "mlqa_distractor")]
    pub name: String,
    /// Folder for per-query results, table and plot; the plan's own, or reports/accuracy without a plan
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Also write every ranking made and its judgements as TREC files, into NAME_rankings (the task `beir` always does)
    #[arg(long)]
    pub rankings: bool,
    /// Also run passages through the CUDA kernel, and compare
    #[arg(long, value_enum, requires = "passages")]
    pub through: Option<Through>,
    /// Passages for `--through`
    #[arg(long, value_name = "N")]
    pub passages: Option<usize>,
}

/// Arms of `eval` if none are named.
pub const ARMS: &str = "dense,window:0.25,window-sink:0.25,window-global:0.25,block-topk:0.25:16,random-blocks:0.25:16";
