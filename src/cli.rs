//! The command line as data. What its words mean is each command's business.
#![expect(
    clippy::doc_markdown,
    reason = "these comments are the help that a terminal shows, where backticks are noise"
)]

mod analyze;
mod answer;
mod bench;
mod bitext;
mod calibrate;
mod eval;
mod fetch;
mod inputs;
mod judge;
mod kernels;
mod layout;
mod manifest;
mod merge;
mod mutants;
mod read;
mod report;
mod score;
mod selftest;
mod verify;

pub use analyze::*;
pub use answer::*;
pub use bench::*;
pub use bitext::*;
pub use calibrate::*;
pub use eval::*;
pub use fetch::*;
pub use inputs::*;
pub use judge::*;
pub use kernels::*;
pub use layout::*;
pub use manifest::*;
pub use merge::*;
pub use mutants::*;
pub use read::*;
pub use report::*;
pub use score::*;
pub use selftest::*;
pub use verify::*;

use clap::{Parser, Subcommand, ValueEnum};

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
    /// Plant known faults and show who catches them: our checks, other projects' criteria
    Mutants(Mutants),
    /// List the kernels and their manifests
    Kernels(Kernels),
    /// Write a manifest skeleton for a PTX file
    #[command(disable_help_subcommand = true)]
    Manifest(Manifest),
    /// Bring data or weights to this machine, each file against its digest
    Fetch(Fetch),
    /// Measure retrieval accuracy against noise in a real encoder, one line an attention arm
    Eval(Eval),
    /// Put the results of a study's shards together
    Merge(Merge),
    /// Find the thresholds at which block-sparse FlashAttention attends a share of the pairs
    Calibrate(Calibrate),
    /// Score given answers or rankings as the official programs do
    #[command(disable_help_subcommand = true)]
    Score(Score),
    /// Answer questions by a question-answering model under an attention arm, for `score mlqa`
    Read(Read),
    /// MLQA's own parallelism, and translations mined by LASER's margins
    #[command(disable_help_subcommand = true)]
    Bitext(Bitext),
    /// Time attention against sequence length and density, answers checked first
    Bench(Bench),
    /// Verify, measure and time, and write plots and tables
    Report(Report),
    /// Show, measure, convert and compare sparsity layouts
    #[command(disable_help_subcommand = true)]
    Layout(Layout),
    /// Compare the machine's tensor cores with results measured on GPUs
    #[command(disable_help_subcommand = true)]
    Selftest(Selftest),
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
    /// RTX 30, A10, A40
    #[value(name = "sm_86")]
    Sm86,
    /// RTX 40, L4, L40S
    #[value(name = "sm_89")]
    Sm89,
    /// H100 and H200
    #[value(name = "sm_90")]
    Sm90,
    /// B100 and B200: mma.sync only
    #[value(name = "sm_100")]
    Sm100,
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
