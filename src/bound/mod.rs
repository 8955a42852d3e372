//! How far a right kernel may be from the answer: a bound for every output element, from its roundings and these inputs.
//!
//! The bound is deterministic: no rounding is assumed to be random, no sum to have an order, no tile to come first. It
//! is evaluated on the inputs of one problem, so it knows the real weights, and it is a bound on a *method* (tiles,
//! formats, exponential), not on a kernel's name.
//!
//! # The method
//!
//! Online softmax (Dao, FlashAttention-2, arXiv 2307.08691, algorithm 1), base 2. Notation for one row: keys `j` it
//! sees, `n` of them, in `T` tiles; exact scores `x_j = scale * q . k_j`; `M = max x_j`; `w_j = e^(x_j - M)`;
//! `D = sum w_j`; `p_j = w_j / D`; `u = 2^-24`.
//!
//! # Derivation
//!
//! **Scores.** With `A_j` the sum of the magnitudes `|q_l k_jl|` (subnormal operands raised to the smallest normal
//! number, because tensor cores do not normalise them), the computed score is off by at most `e_j = s A_j`, where `s`
//! is `Arithmetic::sum_error` of `head_dim` products.
//!
//! **Weights.** Softmax does not change when all scores are shifted, so the maximum that is subtracted need not be
//! right: only errors that differ from key to key count. Key `j` of a tile enters with the tile's running maximum and is
//! rescaled `R <= T - 1` times (a tile that does not raise the maximum rescales by `2^0 = 1`, exactly). The differences
//! in the arguments of its exponential and of its rescalings telescope to `M - x_j`. So the weight it ends with, up to a
//! factor common to all keys, is `w_j e^(theta_j)` with `|theta_j| <= eta_j`:
//!
//! ```text
//! eta_j = |scale| e_j                                               the score
//!       + difference (M - x_j + |scale| (e_j + e_max))              argument: per unit of difference
//!       + magnitude max(|x_j|, |M|) (1, or 1 + R)                   argument: rounding of row_max * scale_log2
//!       + exponential (1 + R)                                       its own and R rescalings' exponentials
//! ```
//!
//! **Output.** Let `d_j = e^(eta_j) - 1` and `ebar = sum p_j d_j`. Exactly evaluated, those weights give a quotient off
//! by `sum (w~_j - w_j)(v_j - o) / sum w~_j`, because `sum w_j (v_j - o) = 0`: at most
//!
//! ```text
//! B1 = sum p_j d_j |v_j - o| / (1 - ebar)
//! ```
//!
//! The numerator is not exactly evaluated. With `S = sum p_j (1 + d_j) |v_j|`:
//!
//! ```text
//! B2 = [ weight S                                                   rounding of a weight to the format of P
//!      + tiny / D sum_{w_j e^(-eta_j) < normal} |v_j|               the same, for weights that become subnormal
//!      + (sums + R u) (S + .. )                                     second product, and R rescalings of o
//!      + underflow ] / (1 - ebar)
//! ```
//!
//! where `sums` is `Arithmetic::sum_error` of `T` chained tiles, whose alignment also sees `min (1 + max |v_j|) / D`,
//! the smallest normal number in place of subnormal weights and values. The row sum passes through at most
//! `depth = min(n, T ceil(tile / lanes)) + 2 T + log2(lanes)` roundings and all its terms are positive: relative error
//! `gamma = (1 + u)^depth - 1`. With the division, `h = (division + gamma) / (1 - gamma)` and
//!
//! ```text
//! B = B1 + (|o| + B1) h + B2 (1 + h)
//! ```
//!
//! **Log-sum-exp.** `ln` of the computed row sum is off by `ebar / (1 - ebar) + gamma / (1 - gamma)`; the logarithm adds
//! `logarithm ln 2 max(1, log2 D) + 2 u ln D`, the products and the sum with the maximum `lse_max |M| + lse_result |L|`.
//!
//! **The reference** is the real answer rounded once to f64 (`flashproof_reference::attention`): half an ulp is added to
//! both. The weights that this bound itself computes in plain f64 are off by some `2^-53 (head_dim |x| + n)`, which its
//! slack of a thousandth pays for.
//!
//! A result `r` is accepted when `RN(answer - B) <= r <= RN(answer + B)`, with `RN` the rounding to the output's format:
//! rounding is monotone, so this needs no further allowance for the last rounding.
//!
//! # What it can miss
//!
//! A deterministic bound grows with every rounding, while real errors cancel: it is some 5 to 100 times the usual error
//! (`tests` print the ratio), so a fault smaller than that passes. Families of values with exact answers (`q_zero`,
//! `one_hot_v`, `integers`) close most of the gap.

mod arithmetic;
mod elsewhere;
mod row;
#[cfg(test)]
mod simulation_tests;

pub use arithmetic::{Arithmetic, Generation, Sums};
pub use elsewhere::{Elsewhere, NoBound};

use flashproof_reference::{Answer, Problem};
use rayon::prelude::*;
use row::{Head, Row};

/// How far from an [`Answer`] a right result may be, element by element. Infinite (or NaN) where nothing is promised:
/// inputs that are not finite, or so large that a score's error exceeds its meaning.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// For the outputs before their last rounding (batch, `num_q_heads`, `seqlen_q`, `head_dim`).
    pub o: Vec<f64>,
    /// For the log-sum-exp before its last rounding (batch, `num_q_heads`, `seqlen_q`).
    pub lse: Vec<f64>,
}

impl Bound {
    /// The bound of a method on a problem whose answer is known. 0 for rows that see no key.
    pub fn of(problem: &Problem, answer: &Answer, arithmetic: &Arithmetic) -> Self {
        let shape = problem.shape;
        let [q, k, v] = [&problem.q, &problem.k, &problem.v].map(|tensor| tensor.to_f64());
        let head_len = (shape.seqlen_kv * shape.head_dim).max(1);
        let heads: Vec<Head<'_>> = k
            .par_chunks(head_len)
            .zip(v.par_chunks(head_len))
            .map(|(k, v)| Head::new(k, v, shape.head_dim, arithmetic))
            .collect();
        let mut o = vec![0.0; answer.o.len()];
        let mut lse = vec![0.0; answer.lse.len()];
        o.par_chunks_mut(shape.head_dim)
            .zip(&mut lse)
            .zip(
                q.par_chunks(shape.head_dim)
                    .zip(answer.o.par_chunks(shape.head_dim)),
            )
            .enumerate()
            .with_min_len(8)
            .for_each_init(Row::default, |row, (index, ((o, lse), (q, answer_o)))| {
                let q_head = index / shape.seqlen_q % shape.num_q_heads;
                let batch = index / shape.seqlen_q / shape.num_q_heads;
                // Without keys there are no heads in the list, and nothing to bound.
                let Some(head) = heads.get(batch * shape.num_kv_heads + shape.kv_head(q_head))
                else {
                    return;
                };
                row.see(problem, q_head, index % shape.seqlen_q);
                *lse = row.bound(
                    arithmetic,
                    head,
                    q,
                    f64::from(problem.scale),
                    (answer_o, answer.lse[index]),
                    o,
                );
            });
        Self { o, lse }
    }
}
