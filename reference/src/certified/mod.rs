//! Attention, correctly rounded and fast: computed to about 75 bits with a bound on what is off, accepted where the
//! bound leaves one rounding; then in 192 bits, the same way; and left to [`crate::definition`] where that is not enough.
//!
//! Nothing here decides a bit of an answer: any order, tile, number of threads or instruction set accepts only values
//! that are the definition's. The steps and their errors are in the modules, in this order:
//!
//! 1. `head`: keys and values, and when sums of their products are exact;
//! 2. `loops`: scores (exact, or compensated), weights in three slices, weighted sums;
//! 3. `exponential`: `e^t` to 80 bits;
//! 4. `row`: quotient, logarithm, the bound, acceptance;
//! 5. `tile`: a few rows against the keys that any of them sees; hidden keys cost nothing;
//! 6. `words`, `fixed`, `second`: a row in 192-bit fixed point, for what is left.

mod exponential;
mod fixed;
mod head;
mod loops;
pub mod plain;
mod row;
mod second;
mod tile;
mod words;

#[cfg(test)]
mod tests;

use crate::arithmetic;
use crate::attention::{Answer, AttentionError, Stats};
use crate::definition;
use crate::problem::Problem;
use crate::simd::Level;
use crate::tensor::{DType, Tensor};
use head::Head;
use rayon::prelude::*;
use std::ops::Range;
use tile::Scratch;

/// How to compute; what comes out is the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) level: Level,
    /// Query rows of a tile.
    pub(crate) tile_q: usize,
    /// Factor of every error bound: 1, or the answers are not certain.
    pub(crate) error_factor: f64,
    /// In which order segments of keys are summed: 0, as they lie; else shuffled with this seed.
    pub(crate) order: u64,
    /// Whether the second level is asked before the definition.
    pub(crate) fixed_point: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            level: Level::best(),
            tile_q: 32,
            error_factor: 1.0,
            order: 0,
            fixed_point: true,
        }
    }
}

/// Rows of one head.
#[derive(Clone, Debug)]
struct Place {
    batch: usize,
    q_head: usize,
    rows: Range<usize>,
}

impl Place {
    /// Number of a query row among all.
    fn q_row(&self, problem: &Problem, row: usize) -> usize {
        let shape = problem.shape;
        (self.batch * shape.num_q_heads + self.q_head) * shape.seqlen_q + row
    }

    /// Number of the head's keys among all.
    fn kv_head(&self, problem: &Problem) -> usize {
        let shape = problem.shape;
        self.batch * shape.num_kv_heads + shape.kv_head(self.q_head)
    }

    /// Number of a key among all.
    fn kv_row(&self, problem: &Problem, key: usize) -> usize {
        self.kv_head(problem) * problem.shape.seqlen_kv + key
    }
}

/// Every row of a problem, in order, in tiles of rows of one head; of one row of blocks, where the layout has any.
fn places(problem: &Problem, tile_q: usize) -> Vec<Place> {
    let shape = problem.shape;
    let layout = &problem.layout;
    let step = if layout.pattern_count() > 0 && layout.block_q() >= 8 {
        layout.block_q()
    } else {
        shape.seqlen_q.max(1)
    };
    let mut places = Vec::new();
    for batch in 0..shape.batch {
        for q_head in 0..shape.num_q_heads {
            for first in (0..shape.seqlen_q).step_by(step) {
                let end = shape.seqlen_q.min(first.saturating_add(step));
                places.extend((first..end).step_by(tile_q).map(|first| Place {
                    batch,
                    q_head,
                    rows: first..end.min(first.saturating_add(tile_q)),
                }));
            }
        }
    }
    places
}

/// The same problem in f32, if its numbers are numbers of f32.
fn narrow(problem: &Problem) -> Option<Problem> {
    let tensors = [&problem.q, &problem.k, &problem.v].map(|tensor| {
        let (wide, narrow) = (tensor.to_f64(), tensor.to_f32());
        let same = |(wide, narrow): (&f64, &f32)| {
            wide.is_nan() || f64::from(*narrow).to_bits() == wide.to_bits()
        };
        wide.iter()
            .zip(&narrow)
            .all(same)
            .then_some(Tensor::F32(narrow))
    });
    let [Some(q), Some(k), Some(v)] = tensors else {
        return None;
    };
    let (shape, scale, layout) = (problem.shape, problem.scale, problem.layout.clone());
    Problem::new(shape, q, k, v, scale, layout).ok()
}

/// The definition, row by row: products of f64 numbers are exact in no format of the levels above it.
fn wide(problem: &Problem) -> Result<Answer, AttentionError> {
    let shape = problem.shape;
    let row_count = shape
        .row_count()
        .expect("no more rows than elements of q, which were counted");
    let rows: Vec<(Vec<f64>, f64, Stats)> = (0..row_count)
        .into_par_iter()
        .with_max_len(1)
        .map(|q_row| {
            let (head, query) = (q_row / shape.seqlen_q, q_row % shape.seqlen_q);
            let (batch, q_head) = (head / shape.num_q_heads, head % shape.num_q_heads);
            let first = (batch * shape.num_kv_heads + shape.kv_head(q_head)) * shape.seqlen_kv;
            let keys = problem.layout.visible_keys(q_head, query).flatten();
            let kv_rows: Vec<usize> = keys.map(|key| first + key).collect();
            let mut stats = Stats::default();
            let (o, lse) = definition::row(problem, q_row, &kv_rows, &mut stats)?;
            Ok((o, lse, stats))
        })
        .collect::<Result<_, AttentionError>>()?;
    let mut answer = Answer {
        o: Vec::with_capacity(row_count * shape.head_dim),
        lse: Vec::with_capacity(row_count),
        stats: Stats::default(),
    };
    for (o, lse, stats) in rows {
        answer.o.extend(o);
        answer.lse.push(lse);
        answer.stats.add(&stats);
    }
    Ok(answer)
}

/// The answer of a problem that is well formed.
pub(crate) fn attention(problem: &Problem, options: &Options) -> Result<Answer, AttentionError> {
    if problem.dtype() == DType::F64 {
        return match narrow(problem) {
            Some(narrow) => attention(&narrow, options),
            None => wide(problem),
        };
    }
    let shape = problem.shape;
    let [q, k, v] = [&problem.q, &problem.k, &problem.v].map(|tensor| tensor.to_f64());
    let head_len = shape.seqlen_kv * shape.head_dim;
    let heads: Vec<Head> = k
        .par_chunks(head_len.max(1))
        .zip(v.par_chunks(head_len.max(1)))
        .map(|(k, v)| Head::new(k, v, shape.head_dim))
        .collect();
    let row_count = shape
        .row_count()
        .expect("no more rows than elements of q, which were counted");
    let mut o = vec![0.0; row_count * shape.head_dim];
    let mut lse = vec![f64::NEG_INFINITY; row_count];
    let mut stats = Stats::default();
    // Without keys there are no heads in the list, and nothing to see.
    if !heads.is_empty() {
        let mut tiles = Vec::new();
        let (mut o, mut lse, mut q) = (&mut o[..], &mut lse[..], &q[..]);
        for place in places(problem, options.tile_q) {
            let (tile_o, tile_lse, tile_q);
            (tile_o, o) = o.split_at_mut(place.rows.len() * shape.head_dim);
            (tile_lse, lse) = lse.split_at_mut(place.rows.len());
            (tile_q, q) = q.split_at(place.rows.len() * shape.head_dim);
            tiles.push((place, tile_q, tile_o, tile_lse));
        }
        let tiles: Vec<Stats> = tiles
            .into_par_iter()
            .with_max_len(1)
            .map_init(
                || arithmetic::check().map(|()| Scratch::default()),
                |scratch, (place, q, o, lse)| {
                    let scratch = scratch.as_mut().map_err(|error| *error)?;
                    let head = &heads[place.kv_head(problem)];
                    scratch.answer(problem, q, head, &place, options, (o, lse))
                },
            )
            .collect::<Result<_, _>>()?;
        tiles.iter().for_each(|tile| stats.add(tile));
    } else {
        stats.rows[0] = row_count;
        stats.values[0] = o.len() + lse.len();
    }
    Ok(Answer { o, lse, stats })
}
