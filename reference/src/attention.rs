//! The answer: attention, correctly rounded.
//!
//! Every output and every log-sum-exp is the real value that [`crate::definition`] states, rounded once to the nearest
//! binary64 number, ties to even. There is one such number, so the order of keys, tiles, threads, instruction sets and
//! libraries cannot matter. `reference/README.md` has the definition, the algorithm and its error terms on two pages.
//!
//! # Rows out of the ordinary
//!
//! * No visible key: `o = +0`, `lse = -inf`.
//! * Keys and values of hidden pairs are never read. A score is a sum of extended reals: NaN if an operand is, or for
//!   `0 * inf`, or if both infinities occur.
//! * A visible score NaN: row and `lse` NaN. Else one `+inf`: row NaN, `lse = +inf`. A score `-inf` hides its key.
//! * Then, by channel, a visible value NaN, or both infinities: NaN; one infinity: that infinity.
//! * NaN is [`crate::exp::CANONICAL_NAN`]; an exact zero is `+0`; a value too small for a float is the zero of its sign.

use crate::arithmetic::{self, ArithmeticError};
use crate::certified::{self, Options};
use crate::problem::{Problem, ProblemError, Shape};

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
#[derive(Clone, Debug)]
pub struct Answer {
    /// Outputs (batch, `num_q_heads`, `seqlen_q`, `head_dim`).
    pub o: Vec<f64>,
    /// Natural logarithm of the sum over visible keys of `exp(scale * score)`, one per query row; `-inf` for a row
    /// that sees no key (batch, `num_q_heads`, `seqlen_q`).
    pub lse: Vec<f64>,
    /// How the values were found; two answers are equal whatever it says.
    pub stats: Stats,
}

impl PartialEq for Answer {
    fn eq(&self, other: &Self) -> bool {
        self.o == other.o && self.lse == other.lse
    }
}

/// How the values of an answer were found, by level: 1, f64 and pairs of f64; 2, 192-bit fixed point; 3, the definition.
///
/// ```
/// # use flashproof_reference::{attention, Layout, Problem, Shape, Tensor};
/// let shape = Shape { batch: 1, num_q_heads: 1, num_kv_heads: 1, seqlen_q: 1, seqlen_kv: 2, head_dim: 1 };
/// // Scores 0 and 0, values 2 and 2^-52: the mean 1 + 2^-53 lies halfway between two floats, and only the definition
/// // can tell.
/// let [q, k, v] = [vec![1.0], vec![0.0; 2], vec![2.0, 2.0_f32.powi(-52)]].map(Tensor::F32);
/// let answer = attention(&Problem::new(shape, q, k, v, 1.0, Layout::dense(1, 2))?)?;
/// assert_eq!((answer.stats.rows, answer.stats.values), ([0, 0, 1], [1, 0, 1]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Query rows, by the highest level that one of their values took.
    pub rows: [usize; 3],
    /// Outputs and log-sum-exps, by the level that decided them.
    pub values: [usize; 3],
    /// Most bits that the definition needed for a value: 128 and doublings; 0 if it needed none.
    pub bits_max: usize,
}

impl Stats {
    /// One more row: values of the first level, and of the others.
    pub(crate) fn count_row(&mut self, first: usize, [second, third]: [usize; 2]) {
        let level = [second, third].iter().rposition(|&count| count > 0);
        self.rows[level.map_or(0, |level| level + 1)] += 1;
        for (total, count) in self.values.iter_mut().zip([first, second, third]) {
            *total += count;
        }
    }

    /// A value of the definition, and the bits it took.
    pub(crate) fn count_bits(&mut self, (value, bits): (f64, usize)) -> f64 {
        self.bits_max = self.bits_max.max(bits);
        value
    }

    /// These and those.
    pub(crate) fn add(&mut self, other: &Self) {
        let to = self.rows.iter_mut().chain(&mut self.values);
        for (total, count) in to.zip(other.rows.iter().chain(&other.values)) {
            *total += count;
        }
        self.bits_max = self.bits_max.max(other.bits_max);
    }
}

/// Why there is no answer.
///
/// ```
/// use flashproof_reference::{AttentionError, ProblemError};
/// let error = AttentionError::from(ProblemError::ZeroExtent { name: "head_dim" });
/// assert_eq!(error.to_string(), "head_dim is 0, but must be at least 1");
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AttentionError {
    /// The problem is not well formed.
    #[error(transparent)]
    Problem(#[from] ProblemError),
    /// A thread's arithmetic is not IEEE 754's.
    #[error(transparent)]
    Arithmetic(#[from] ArithmeticError),
    /// The numbers of the computation do not fit into memory.
    #[error(
        "attention of this problem needs about {bytes} bytes beside its inputs, which this machine does not give: split it by heads"
    )]
    Memory {
        /// The estimate.
        bytes: usize,
    },
    /// A value lies so close to the boundary between two roundings that the stated precision does not tell them apart.
    #[error(
        "a value is not told from a rounding boundary by {bits} bits, the cap; report the problem"
    )]
    Precision {
        /// Bits that were not enough.
        bits: usize,
    },
}

/// Attention of `problem`: `o = softmax(scale * q k^T over visible keys) v`, and `lse`, each the binary64 number nearest
/// to the real value; see the module.
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
    arithmetic::check()?;
    let bytes = working_bytes(problem.shape);
    let fits = bytes.is_some_and(|bytes| Vec::<u8>::new().try_reserve_exact(bytes).is_ok());
    if !fits {
        return Err(AttentionError::Memory {
            bytes: bytes.unwrap_or(usize::MAX),
        });
    }
    certified::attention(problem, &Options::default())
}

/// Bytes that attention of this shape takes beside its inputs, about: inputs as f64, keys and values once more in the
/// order of the loops, outputs, and the scores of a tile on each thread. `None` where that is no number.
///
/// ```
/// use flashproof_reference::{Shape, attention::working_bytes};
/// let shape = Shape { batch: 1, num_q_heads: 1, num_kv_heads: 1, seqlen_q: 2, seqlen_kv: 2, head_dim: 64 };
/// assert!(working_bytes(shape).is_some_and(|bytes| (2048..1 << 20).contains(&bytes)));
/// assert_eq!(working_bytes(Shape { seqlen_q: usize::MAX, ..shape }), None);
/// ```
pub fn working_bytes(shape: Shape) -> Option<usize> {
    let count = |extents: [usize; 4]| {
        let mut extents = extents.into_iter();
        extents.try_fold(1_usize, |product, extent| product.checked_mul(extent))
    };
    let (q, kv) = (count(shape.q_extents())?, count(shape.kv_extents())?);
    // Queries and outputs; keys and values twice each.
    let tensors = q.checked_mul(2)?.checked_add(kv.checked_mul(4)?)?;
    let tile = shape
        .seqlen_kv
        .checked_next_multiple_of(16)?
        .checked_mul(2 * Options::default().tile_q)?;
    let tiles = tile.checked_mul(rayon::current_num_threads())?;
    tensors
        .checked_add(tiles)?
        .checked_add(shape.row_count()?)?
        .checked_mul(size_of::<f64>())
}

#[cfg(test)]
#[path = "attention_tests.rs"]
mod tests;
