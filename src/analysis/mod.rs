//! Static passes: questions about a program that are answered without running it.
//!
//! Each pass states what its answers mean and what it can miss in its header. An answer has three values; what a pass
//! cannot decide it says, with the place and the reason.

mod control_flow;
pub mod copy_wait;
mod evaluate;
pub mod layout;
mod value;

use crate::diagnostic::Diagnostic;
use crate::ptx::Module;

/// What a pass says about a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The property holds.
    Proved,
    /// It does not: the findings give a witness.
    Refuted,
    /// The pass could not decide: the findings say why.
    Unknown,
}

/// The answer of one pass about one function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassResult {
    /// Name of the pass, e.g. `copy-wait`.
    pub pass: &'static str,
    /// Entry function.
    pub function: String,
    /// The answer.
    pub answer: Answer,
    /// Why: empty exactly where the answer is [`Answer::Proved`].
    pub findings: Vec<Diagnostic>,
    /// States that the pass went through: how much work the answer took.
    pub states: usize,
}

/// Runs every pass on every entry, in the order of the text.
pub fn analyze(module: &Module) -> Vec<PassResult> {
    module
        .functions
        .iter()
        .map(|function| copy_wait::run(module, function))
        .collect()
}
