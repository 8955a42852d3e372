//! What running a kernel on a problem gives.

use crate::diagnostic::Diagnostic;
use crate::kernel::selection::Kept;
use flashproof_reference::Tensor;

/// Result of one run, whatever the backend.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The kernel ran to its end.
    Finished(Output),
    /// The kernel was stopped: a trap, a deadlock, an access outside memory.
    Trapped(Vec<Diagnostic>),
    /// This run cannot be made here; says nothing about the kernel.
    Unsupported(String),
}

/// Tensors and findings of a finished run.
#[derive(Clone, Debug)]
pub struct Output {
    /// Outputs (batch, `num_q_heads`, `seqlen_q`, `head_dim`) in the kernel's output format.
    pub o: Tensor,
    /// Log-sum-exp as the kernel wrote it, natural logarithm after the manifest's base is applied
    /// (batch, `num_q_heads`, `seqlen_q`); empty where the kernel writes none.
    pub lse: Vec<f32>,
    /// Tiles that a kernel kept that chooses its own; `None` where the layout alone decides.
    pub kept: Option<Kept>,
    /// What the checkers saw while it ran.
    pub findings: Vec<Diagnostic>,
}
