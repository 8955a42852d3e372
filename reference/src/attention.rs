//! The answer: attention in f64, in the order of the formula.
//!
//! For every query row, over its visible keys `j` in ascending order:
//!
//! ```text
//! score_j  = scale * (q_0 k_j0 + q_1 k_j1 + ..)      products exact, sums left to right
//! row_max  = max score_j
//! weight_j = exp(score_j - row_max)                  the pinned exponential of `exp`
//! row_sum  = weight_0 + weight_1 + ..
//! o_c      = (weight_0 v_0c + weight_1 v_1c + ..) / row_sum
//! lse      = row_max + ln(row_sum)                   the pinned logarithm of `exp`
//! ```
//!
//! Every operation is one IEEE 754 operation of f64 and none is fused, so the bits are the same on every machine and for
//! every number of threads.
//!
//! # Rows out of the ordinary
//!
//! * No visible key: `o = +0`, `lse = -inf`.
//! * Keys and values of hidden pairs are never read. A score is a sum of extended reals: NaN if an operand is, or for
//!   `0 * inf`, or if both infinities occur.
//! * A visible score NaN: row and `lse` NaN. Else one `+inf`: row NaN, `lse = +inf`. A score `-inf` hides its key.
//! * Then, by channel, a visible value NaN, or both infinities: NaN; one infinity: that infinity.
//! * NaN is [`CANONICAL_NAN`]; an exact zero is `+0`.
//!
//! # Distance from the real answer
//!
//! With `u = 2^-53`, `n` visible keys, exact scores `x_j`, `M = max x_j`, real weights `p_j` (summing to 1), and finite
//! inputs,
//!
//! ```text
//! xi    = 1.01 u head_dim |scale| max_j sum_l |q_l k_jl|      error of a score: head_dim - 1 sums and the scale
//! theta = 1.01 (xi + u max_j (M - x_j) + 2 u)                 relative error of a weight: xi, the difference, exp
//! |o - exact|   <= 1.05 (2 theta + (2 n + 1) u) sum_j p_j |v_j|  + n 2^-1073 (1 + max_j |v_j|)
//! |lse - exact| <= 1.05 (theta + n u + 2 u ln n) + u |lse|
//! ```
//!
//! as long as `theta + n u <= 0.01`. (The maximum subtracted is common to numerator and denominator and cancels; each of
//! them then carries `theta` and at most `n` roundings, the quotient one more; weights and products below the normal
//! numbers lose at most 2^-1074 each; `exp` is off by 0.8 ulp, at most 1.6 u, and `ln` by 1 ulp, at most 2 u.) For 512
//! keys, 64 channels and scores of ordinary size that is near `1100 u = 1.2e-13`, a millionth of an f32 ulp's worth of
//! the bounds it enters, but a judge must add it.

use crate::exp::{CANONICAL_NAN, exp, ln};
use crate::layout::Layout;
use crate::problem::{Problem, ProblemError};
use rayon::prelude::*;
use std::ops::Range;

/// What attention gives.
///
/// ```
/// use flashproof_reference::{attention, Layout, Problem, Shape, Tensor};
/// // Nothing visible: one query, no key.
/// let shape = Shape { batch: 1, num_q_heads: 1, num_kv_heads: 1, seqlen_q: 1, seqlen_kv: 0, head_dim: 1 };
/// let (q, none) = (Tensor::F32(vec![1.0]), Tensor::F32(vec![]));
/// let answer = attention(&Problem::new(shape, q, none.clone(), none, 1.0, Layout::dense(1, 0))?)?;
/// assert_eq!((answer.o, answer.lse), (vec![0.0], vec![f64::NEG_INFINITY]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Outputs (batch, `num_q_heads`, `seqlen_q`, `head_dim`).
    pub o: Vec<f64>,
    /// Natural logarithm of the sum over visible keys of `exp(scale * score)`, one per query row; `-inf` for a row
    /// that sees no key (batch, `num_q_heads`, `seqlen_q`).
    pub lse: Vec<f64>,
}

/// Why there is no answer.
///
/// ```
/// use flashproof_reference::{AttentionError, ProblemError};
/// let error = AttentionError::from(ProblemError::ZeroExtent { name: "head_dim" });
/// assert_eq!(error.to_string(), "head_dim is 0, but must be at least 1");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttentionError {
    /// The problem is not well formed.
    #[error(transparent)]
    Problem(#[from] ProblemError),
    /// A value lies so close to the boundary between two roundings that the stated precision does not tell them apart.
    #[error(
        "a value is not told from a rounding boundary by {bits} bits, the cap; report the problem"
    )]
    Precision {
        /// Bits that were not enough.
        bits: usize,
    },
}

/// Rows a thread takes at a time: enough that the split costs nothing.
const ROWS_PER_TASK: usize = 8;

/// Attention of `problem`: `o = softmax(scale * q k^T over visible keys) v`, and `lse`; see the module for the order of
/// operations, the rows out of the ordinary, and the distance from the real answer.
///
/// ```
/// use flashproof_reference::{attention, Layout, Problem, Shape, Tensor};
/// let shape = Shape { batch: 1, num_q_heads: 1, num_kv_heads: 1, seqlen_q: 1, seqlen_kv: 2, head_dim: 1 };
/// // Scores 0 and ln 3 (nearly: it is rounded to f32), so weights 1/4 and 3/4.
/// let (q, k, v) = (vec![1.0], vec![0.0, 1.0986123], vec![0.0, 4.0]);
/// let [q, k, v] = [q, k, v].map(Tensor::F32);
/// let answer = attention(&Problem::new(shape, q, k, v, 1.0, Layout::dense(1, 2))?)?;
/// assert!((answer.o[0] - 3.0).abs() < 1e-7);
/// assert!((answer.lse[0] - 4_f64.ln()).abs() < 1e-7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn attention(problem: &Problem) -> Result<Answer, AttentionError> {
    problem.validate()?;
    let shape = problem.shape;
    let [q, k, v] = [&problem.q, &problem.k, &problem.v].map(|tensor| tensor.to_f64());
    let head_len = shape.seqlen_kv * shape.head_dim;
    let heads: Vec<Head<'_>> = k
        .par_chunks(head_len.max(1))
        .zip(v.par_chunks(head_len.max(1)))
        .map(|(k, v)| Head::new(k, v, shape.seqlen_kv, shape.head_dim))
        .collect();

    let row_count = shape
        .row_count()
        .expect("no more rows than elements of q, which were counted");
    let mut o = vec![0.0; row_count * shape.head_dim];
    let mut lse = vec![f64::NEG_INFINITY; row_count];
    o.par_chunks_mut(shape.head_dim)
        .zip(&mut lse)
        .zip(q.par_chunks(shape.head_dim))
        .enumerate()
        .with_min_len(ROWS_PER_TASK)
        .for_each_init(Scratch::default, |scratch, (index, ((o, lse), q))| {
            let row = index % shape.seqlen_q;
            let q_head = index / shape.seqlen_q % shape.num_q_heads;
            let batch = index / shape.seqlen_q / shape.num_q_heads;
            // Without keys there are no heads in the list, and nothing to see.
            if let Some(head) = heads.get(batch * shape.num_kv_heads + shape.kv_head(q_head)) {
                scratch.see(&problem.layout, q_head, row);
                *lse = scratch.attend(f64::from(problem.scale), q, head, o);
            }
        });
    Ok(Answer { o, lse })
}

/// Keys and values of one head.
struct Head<'a> {
    /// Keys, channel by channel, so that a channel of consecutive keys is contiguous (`head_dim`, `seqlen_kv`).
    k_transposed: Vec<f64>,
    /// Values (`seqlen_kv`, `head_dim`).
    v: &'a [f64],
    seqlen_kv: usize,
    v_is_finite: bool,
}

impl<'a> Head<'a> {
    fn new(k: &[f64], v: &'a [f64], seqlen_kv: usize, head_dim: usize) -> Self {
        let mut k_transposed = vec![0.0; k.len()];
        for (key, channels) in k.chunks_exact(head_dim).enumerate() {
            for (channel, &value) in channels.iter().enumerate() {
                k_transposed[channel * seqlen_kv + key] = value;
            }
        }
        Self {
            k_transposed,
            v,
            seqlen_kv,
            v_is_finite: v.iter().all(|value| value.is_finite()),
        }
    }

    /// Channels of the values of keys.
    fn values(&self, keys: Range<usize>, head_dim: usize) -> impl Iterator<Item = &'a [f64]> {
        self.v[keys.start * head_dim..keys.end * head_dim].chunks_exact(head_dim)
    }
}

/// What a row needs, kept from row to row for its memory.
#[derive(Default)]
struct Scratch {
    /// Visible keys.
    keys: Vec<Range<usize>>,
    /// One per visible key.
    scores: Vec<f64>,
    /// One per visible key.
    weights: Vec<f64>,
}

impl Scratch {
    fn see(&mut self, layout: &Layout, q_head: usize, row: usize) {
        self.keys.clear();
        self.keys.extend(layout.visible_keys(q_head, row));
    }

    /// Fills `o`, which is zero, and gives the row's lse.
    fn attend(&mut self, scale: f64, q: &[f64], head: &Head<'_>, o: &mut [f64]) -> f64 {
        self.score(scale, q, head);
        let row_max = self
            .scores
            .iter()
            .fold(f64::NEG_INFINITY, |max, &x| if x > max { x } else { max });
        if self.scores.iter().any(|score| score.is_nan()) {
            o.fill(CANONICAL_NAN);
            return CANONICAL_NAN;
        }
        if row_max.is_infinite() {
            if row_max > 0.0 {
                o.fill(CANONICAL_NAN);
            }
            return row_max; // -inf: no key is left, and o stays zero
        }
        self.weights.clear();
        self.weights
            .extend(self.scores.iter().map(|score| exp(score - row_max)));
        let row_sum: f64 = self.weights.iter().sum();
        self.weigh(head, o);
        for channel in o.iter_mut() {
            *channel /= row_sum;
        }
        if !head.v_is_finite {
            self.mark_non_finite(head, o);
        }
        row_max + ln(row_sum).expect("row_sum is at least the weight 1 of the largest score")
    }

    fn score(&mut self, scale: f64, q: &[f64], head: &Head<'_>) {
        self.scores.clear();
        for keys in &self.keys {
            let start = self.scores.len();
            self.scores.resize(start + keys.len(), 0.0);
            let scores = &mut self.scores[start..];
            for (q, k) in q.iter().zip(head.k_transposed.chunks_exact(head.seqlen_kv)) {
                for (score, k) in scores.iter_mut().zip(&k[keys.clone()]) {
                    *score += q * k;
                }
            }
        }
        for score in &mut self.scores {
            *score *= scale;
        }
    }

    fn weigh(&self, head: &Head<'_>, o: &mut [f64]) {
        let mut weights = self.weights.iter();
        for keys in &self.keys {
            for (v, weight) in head.values(keys.clone(), o.len()).zip(&mut weights) {
                for (channel, v) in o.iter_mut().zip(v) {
                    *channel += weight * v;
                }
            }
        }
    }

    /// Gives the channels with a visible value that is not finite what the module says. (In exact arithmetic no weight
    /// is 0, so an infinity shows however small its weight.)
    fn mark_non_finite(&self, head: &Head<'_>, o: &mut [f64]) {
        let mut finite = vec![0.0; o.len()];
        let mut special: Vec<Option<f64>> = vec![None; o.len()];
        let visible = self
            .keys
            .iter()
            .flat_map(|keys| head.values(keys.clone(), o.len()));
        let mut row_sum = 0.0;
        for ((v, &weight), &score) in visible.zip(&self.weights).zip(&self.scores) {
            row_sum += weight;
            if score.is_infinite() {
                continue; // -inf: hidden, and its value unread
            }
            for ((finite, special), &v) in finite.iter_mut().zip(&mut special).zip(v) {
                if v.is_finite() {
                    *finite += weight * v;
                } else {
                    let sum = special.map_or(v, |seen| seen + v);
                    *special = Some(if sum.is_nan() { CANONICAL_NAN } else { sum });
                }
            }
        }
        for ((channel, finite), special) in o.iter_mut().zip(finite).zip(special) {
            *channel = special.unwrap_or(finite / row_sum);
        }
    }
}

#[cfg(test)]
#[path = "attention_tests.rs"]
mod tests;
