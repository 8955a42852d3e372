//! The largest score of each sparsity block.

use super::packed::{self, PackedHead};
use super::tile::Tile;
use super::{NativeInputs, validate};
use crate::simd::{LANES, Level, TILE_Q};
use flashproof_reference::{Layout, ProblemError};
use rayon::prelude::*;

/// The largest `scale * score` over the visible pairs of each of the layout's sparsity blocks: (batch, `num_q_heads`,
/// block rows, block columns). `-inf` where a block shows no pair. Ragged blocks have only the pairs they have. NaN
/// scores are passed over.
///
/// Scores are those of [`super::attention`], bit for bit; `v` is not read.
///
/// # Errors
///
/// Those of [`super::attention`].
pub fn block_maxima(inputs: &NativeInputs<'_>, layout: &Layout) -> Result<Vec<f32>, ProblemError> {
    validate(inputs, layout)?;
    let (shape, extents) = (inputs.shape, layout.extents());
    let (rows, columns) = (extents.block_rows(), extents.block_columns());
    let count = shape.batch * shape.num_q_heads * rows * columns;
    let mut maxima = vec![f32::NEG_INFINITY; count];
    if count == 0 {
        return Ok(maxima);
    }
    let heads = PackedHead::all(inputs);
    let level = Level::best();
    let head_len = shape.seqlen_q * shape.head_dim;
    maxima
        .par_chunks_mut(columns)
        .enumerate()
        .for_each(|(index, maxima)| {
            let (index, block_row) = (index / rows, index % rows);
            let q = &inputs.q[index * head_len..(index + 1) * head_len];
            let mut tile = Tile::new(level, &heads[packed::index_of(&shape, index)], inputs.scale);
            let first = block_row * extents.block_q;
            let end = first.saturating_add(extents.block_q).min(shape.seqlen_q);
            for first_q in (first..end).step_by(TILE_Q) {
                let end_q = (first_q + TILE_Q).min(end);
                let q = &q[first_q * shape.head_dim..end_q * shape.head_dim];
                tile.score(q, layout, index % shape.num_q_heads, first_q);
                tile.raise(end_q - first_q, extents.block_kv, maxima);
            }
        });
    Ok(maxima)
}

impl Tile<'_> {
    /// Raises the maximum of each block column to the scores of the first `rows` rows.
    fn raise(&self, rows: usize, block_kv: usize, maxima: &mut [f32]) {
        for (&(strip, _), scores) in self.visited.iter().zip(&self.scores) {
            let mut largest = [f32::NEG_INFINITY; LANES];
            for scores in &scores[..rows] {
                for (largest, &score) in largest.iter_mut().zip(scores) {
                    *largest = if score > *largest { score } else { *largest };
                }
            }
            for (key, score) in (strip * LANES..).zip(largest) {
                // Past the last key the score is -inf, which raises nothing.
                if let Some(maximum) = maxima.get_mut(key / block_kv) {
                    *maximum = if score > *maximum { score } else { *maximum };
                }
            }
        }
    }
}
