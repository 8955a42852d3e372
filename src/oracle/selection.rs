//! Kernels that choose their tiles: whether each choice was right, and which problem they then owe the answer to.

use crate::bound::Arithmetic;
use crate::convert::f64_to_f32;
use crate::diagnostic::{Blame, Code, Diagnostic};
use crate::kernel::selection::{self, Candidate, Kept};
use crate::kernel::tiles::TileError;
use flashproof_reference::Problem;

/// Choices that no right kernel makes, as one finding with the first of them; `None` where all are possible.
///
/// A tile in which every query sees every key is kept if its largest scaled score is at least the threshold. The kernel
/// computes that score with an error, so within the error of the threshold both choices are right; where the scores are
/// exact (integers), none is. A tile with a hidden pair is kept, and so is the last where no other was.
///
/// # Errors
/// [`TileError`]: the layout has no tile list.
pub(super) fn check(
    problem: &Problem,
    kept: &Kept,
    arithmetic: &Arithmetic,
) -> Result<Option<Diagnostic>, TileError> {
    let shape = &problem.shape;
    let candidates = selection::candidates(problem, kept.tile)?;
    let thresholds = selection::thresholds(problem, kept.tile)?;
    let cached = selection::cached_tiles(problem, kept.tile);
    let q_tiles = shape.seqlen_q.div_ceil(kept.tile.tile_q);
    let columns = 32 * selection::kept_words(shape, kept.tile);
    let mut wrong = 0;
    let mut first = None;
    for (row, candidates) in candidates.iter().enumerate() {
        let (q_head, q_tile) = (row / q_tiles % shape.num_q_heads, row % q_tiles);
        let threshold = thresholds[q_head * (cached + q_tiles) + cached + q_tile];
        let mut kept_any = false;
        let mut see = |column: usize, was_kept: bool, why: String| {
            wrong += 1;
            first.get_or_insert_with(|| {
                format!(
                    "batch {}, q_head {q_head}: tile {q_tile} of queries {} tile {column} of keys, {why}",
                    row / q_tiles / shape.num_q_heads,
                    if was_kept { "kept" } else { "dropped" },
                )
            });
        };
        for (i, candidate) in candidates.iter().enumerate() {
            let was_kept = kept.contains(row, candidate.column, shape);
            let last = i + 1 == candidates.len();
            let (may_keep, may_drop) = if !candidate.full || (last && !kept_any) {
                (true, false)
            } else {
                possible(
                    candidate,
                    problem.scale,
                    threshold,
                    arithmetic,
                    shape.head_dim,
                )
            };
            if (was_kept && !may_keep) || (!was_kept && !may_drop) {
                let why = if !candidate.full {
                    "which has hidden pairs and is never tested".to_owned()
                } else if last && !kept_any {
                    "the last, after keeping no other".to_owned()
                } else {
                    format!(
                        "whose largest score times {} is {:e}, with a threshold of {threshold:e}",
                        problem.scale,
                        candidate.score_max * f64::from(problem.scale)
                    )
                };
                see(candidate.column, was_kept, why);
            }
            kept_any |= was_kept;
        }
        for column in 0..columns {
            let listed = candidates.iter().any(|c| c.column == column);
            if !listed && kept.contains(row, column, shape) {
                see(column, true, "in which no query sees a key".to_owned());
            }
        }
    }
    Ok(first.map(|first| Diagnostic {
        code: Code("tile-decision"),
        blame: Blame::Kernel,
        message: format!("{wrong} tiles were kept or dropped against their threshold; {first}"),
        sites: Vec::new(),
        help: Some("compare the largest visible scaled score with the entry of the query head and the tile of queries, cached tiles counted".to_owned()),
        count: wrong,
    }))
}

/// Whether a right kernel may keep a tile, and whether it may drop it.
fn possible(
    candidate: &Candidate,
    scale: f32,
    threshold: f32,
    arithmetic: &Arithmetic,
    head_dim: usize,
) -> (bool, bool) {
    let exact = candidate.score_max * f64::from(scale);
    let threshold = f64::from(threshold);
    if candidate.exact {
        let computed = f64::from(f64_to_f32(exact));
        return (computed >= threshold, computed < threshold);
    }
    let score = f64::from(scale.abs()) * arithmetic.score_error(head_dim, candidate.magnitude);
    // The product with the scale rounds once; this f64 sum is some 2^-50 off, which the thousandth pays for.
    let error = 1.001 * (score + 2.0_f64.powi(-24) * (exact.abs() + score)) + 2.0_f64.powi(-149);
    (exact + error >= threshold, exact - error < threshold)
}
