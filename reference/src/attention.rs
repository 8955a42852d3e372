//! The answer: attention in f64, in the order of the formula.

use crate::problem::Problem;

/// What attention gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Outputs (batch, `num_q_heads`, `seqlen_q`, `head_dim`).
    pub o: Vec<f64>,
    /// Natural logarithm of the sum over visible keys of `exp(scale * score)`, one per query row; `-inf` for a row
    /// that sees no key (batch, `num_q_heads`, `seqlen_q`).
    pub lse: Vec<f64>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttentionError {
    /// The problem is not well formed.
    #[error(transparent)]
    Problem(#[from] crate::problem::ProblemError),
}

/// Attention of `problem`: `o = softmax(scale * q k^T over visible keys) v`, and `lse`.
pub fn attention(_problem: &Problem) -> Result<Answer, AttentionError> {
    unimplemented!("skeleton")
}
