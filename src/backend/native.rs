//! Attention in f32 on this machine's CPU, skipping what is hidden.
//!
//! # Method
//!
//! What a bound may rely on, with `u = 2^-24`, `d = head_dim`, `n` visible keys of a row:
//!
//! ```text
//! score_j  = fl(scale * dot_j)        dot_j sums d products left to right in f32: d multiply-adds, each rounded once
//!                                     where simd::Level::fuses, else twice; then one rounding by scale
//! row_max  = max score_j              over the visible keys, exact: two passes, no running maximum, no rescaling
//! weight_j = exp(fl(score_j - row_max))   simd::exp: 1.1 ulp, relative 1.1 * 2^-23; 0 below -87 (off by less
//!                                     than 2^-125)
//! row_sum  = 16 partial sums of ceil(seqlen_kv / 16) terms at most (zeros of hidden keys are exact), then 4 halvings
//! sum_c    = visible keys in ascending order, multiply-add as above; weights stay f32 (P is not rounded)
//! o_c      = fl(sum_c / row_sum)      then, by `run`, one rounding to the format of the inputs
//! lse      = fl(row_max + ln row_sum)   in f64 with the reference's logarithm, rounded once to f32
//! ```
//!
//! Scores above the range of f32 become infinite, and are then what the reference says of infinite scores. Subnormal
//! numbers are kept. Query tiles have 16 rows and keys come in strips of 16, but neither enters the result: the bits of a
//! row depend on the inputs, on which keys it sees, and on whether the level fuses. So all blocks on is dense, a window
//! as long as the sequences is dense, and any number of threads is one, bit for bit.
//!
//! Hidden keys and values are never part of a result, even where they are not finite; rows out of the ordinary are
//! those of `flashproof_reference::attention`.

mod maxima;
mod packed;
mod tile;

pub use maxima::block_maxima;

use crate::convert::f64_to_f32;
use crate::simd::{Level, TILE_Q};
use flashproof_reference::{Layout, Problem, ProblemError, Shape, Tensor};
use packed::PackedHead;
use rayon::prelude::*;
use tile::Tile;

/// What attention is computed from. Tensors are (batch, heads, seqlen, `head_dim`), row-major.
#[derive(Clone, Copy, Debug)]
pub struct NativeInputs<'a> {
    /// Queries (batch, `num_q_heads`, `seqlen_q`, `head_dim`).
    pub q: &'a [f32],
    /// Keys (batch, `num_kv_heads`, `seqlen_kv`, `head_dim`).
    pub k: &'a [f32],
    /// Values (batch, `num_kv_heads`, `seqlen_kv`, `head_dim`).
    pub v: &'a [f32],
    /// Extents.
    pub shape: Shape,
    /// Factor on every score.
    pub scale: f32,
}

/// Attention of the visible pairs into `o` (batch, `num_q_heads`, `seqlen_q`, `head_dim`), and the natural log-sum-exp
/// into `lse` (batch, `num_q_heads`, `seqlen_q`).
///
/// Work and memory traffic are proportional to the strips of 16 keys that a tile of 16 queries sees, besides one pass
/// over `k` and `v`. Runs on the current rayon pool.
///
/// # Errors
///
/// Lengths of tensors or of the layout that do not fit the shape, and a scale that is not finite.
pub fn attention(
    inputs: &NativeInputs<'_>,
    layout: &Layout,
    o: &mut [f32],
    lse: Option<&mut [f32]>,
) -> Result<(), ProblemError> {
    attention_at(Level::best(), inputs, layout, o, lse)
}

/// [`attention`] with the instructions of one level: the bits are the same at all levels that fuse.
///
/// # Errors
///
/// Those of [`attention`].
pub fn attention_at(
    level: Level,
    inputs: &NativeInputs<'_>,
    layout: &Layout,
    o: &mut [f32],
    lse: Option<&mut [f32]>,
) -> Result<(), ProblemError> {
    let shape = inputs.shape;
    let row_count = validate(inputs, layout)?;
    let length = |name, found, expected, shape| {
        if found == expected {
            Ok(())
        } else {
            Err(ProblemError::Length {
                name,
                found,
                expected,
                shape,
            })
        }
    };
    length("o", o.len(), inputs.q.len(), shape.q_extents())?;
    let mut unwanted = Vec::new();
    let lse = match lse {
        Some(lse) => lse,
        None => {
            unwanted.resize(row_count, 0.0);
            &mut unwanted
        }
    };
    length(
        "lse",
        lse.len(),
        row_count,
        [shape.batch, shape.num_q_heads, shape.seqlen_q, 1],
    )?;
    if row_count == 0 {
        return Ok(());
    }
    let heads = PackedHead::all(inputs);
    let (seqlen_q, head_dim) = (shape.seqlen_q, shape.head_dim);
    o.par_chunks_mut(seqlen_q * head_dim)
        .zip(lse.par_chunks_mut(seqlen_q))
        .zip(inputs.q.par_chunks(seqlen_q * head_dim))
        .enumerate()
        .for_each(|(index, ((o, lse), q))| {
            let q_head = index % shape.num_q_heads;
            let head = &heads[packed::index_of(&shape, index)];
            o.par_chunks_mut(TILE_Q * head_dim)
                .zip(lse.par_chunks_mut(TILE_Q))
                .zip(q.par_chunks(TILE_Q * head_dim))
                .enumerate()
                .for_each_init(
                    || Tile::new(level, head, inputs.scale),
                    |tile, (number, ((o, lse), q))| {
                        let first_q = number * TILE_Q;
                        tile.score(q, layout, q_head, first_q);
                        tile.attend(o, lse);
                    },
                );
        });
    Ok(())
}

/// Attention of a problem in the format of its inputs: `o` is rounded to it once, from f32. (o, lse)
///
/// # Errors
///
/// Those of [`Problem::validate`].
pub fn run(problem: &Problem) -> Result<(Tensor, Vec<f32>), ProblemError> {
    problem.validate()?;
    let [q, k, v] = [&problem.q, &problem.k, &problem.v].map(Tensor::to_f32);
    let inputs = NativeInputs {
        q: &q,
        k: &k,
        v: &v,
        shape: problem.shape,
        scale: problem.scale,
    };
    let mut o = vec![0.0; q.len()];
    let mut lse = vec![0.0; validate(&inputs, &problem.layout)?];
    attention(&inputs, &problem.layout, &mut o, Some(&mut lse))?;
    Ok((Tensor::from_f32_rounded(problem.dtype(), &o), lse))
}

/// Checks inputs against each other and gives the number of query rows.
fn validate(inputs: &NativeInputs<'_>, layout: &Layout) -> Result<usize, ProblemError> {
    let shape = inputs.shape;
    shape.validate(inputs.q.len(), inputs.k.len(), inputs.v.len())?;
    shape.validate_layout(layout)?;
    if !inputs.scale.is_finite() {
        return Err(ProblemError::Scale {
            bits: inputs.scale.to_bits(),
        });
    }
    let shape_of_rows = [shape.batch, shape.num_q_heads, shape.seqlen_q, 1];
    shape.row_count().ok_or(ProblemError::TooLarge {
        name: "lse",
        shape: shape_of_rows,
    })
}

/// `row_max + ln row_sum`, rounded once; `-inf` for a row without weights.
fn log_sum_exp(row_max: f32, row_sum: f32) -> f32 {
    flashproof_reference::exp::ln(f64::from(row_sum))
        .map_or(f32::NEG_INFINITY, |ln| f64_to_f32(f64::from(row_max) + ln))
}

#[cfg(test)]
#[path = "native/tests.rs"]
mod tests;
