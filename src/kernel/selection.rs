//! Kernels that choose their tiles: thresholds to give them, and the bitmap of tiles that they kept.
//!
//! Block-Sparse FlashAttention (Ohayon et al., arXiv 2512.07011) keeps a tile of keys if its largest scaled score reaches
//! a threshold of the query head and the tile of queries. Here a tile with a hidden pair (the edges of the mask, the
//! last keys) is kept untested, and a row of tiles that would keep nothing keeps its last.

use super::tiles::{self, TileError, TileShape};
use crate::convert::f64_to_f32;
use flashproof_reference::{BlockPattern, DType, LayoutError, Problem, Shape, random};

/// Largest scaled score of one tile, and how it is seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Which tile of keys.
    pub column: usize,
    /// Whether every query of the tile of queries sees every key of it: only then is it tested.
    pub full: bool,
    /// `max q . k` over its pairs, in f64; of no meaning where it is not full.
    pub score_max: f64,
    /// `max sum |q_l k_l|` over its pairs, operands raised to the smallest normal number of their format.
    pub magnitude: f64,
    /// Whether every kernel computes its scores exactly: integers whose sums stay below 2^23 in magnitude.
    pub exact: bool,
}

/// The tiles of keys of one tile of queries of one head, ascending.
pub type Candidates = Vec<Candidate>;

/// Tiles that a kernel kept: bit `k % 32` of word `k / 32`, (batch, `num_q_heads`, `q_tiles`, words).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The words.
    pub words: Vec<u32>,
    /// Tiles of the kernel.
    pub tile: TileShape,
}

/// Tiles of queries whose keys were cached before the first query, as a causal kernel counts them.
pub fn cached_tiles(problem: &Problem, tile: TileShape) -> usize {
    let shape = &problem.shape;
    if problem.layout.causal() {
        shape.seqlen_kv.saturating_sub(shape.seqlen_q) / tile.tile_q
    } else {
        0
    }
}

/// Words of the bitmap of one tile of queries.
pub fn kept_words(shape: &Shape, tile: TileShape) -> usize {
    shape.seqlen_kv.div_ceil(tile.tile_kv).div_ceil(32)
}

/// The candidates of every tile of queries (batch, `num_q_heads`, `q_tiles`).
///
/// # Errors
/// [`TileError`]: the layout has no tile list.
pub fn candidates(problem: &Problem, tile: TileShape) -> Result<Vec<Candidates>, TileError> {
    let shape = &problem.shape;
    let list = tiles::lower(&problem.layout, tile)?;
    let [q, k] = [&problem.q, &problem.k].map(|tensor| tensor.to_f64());
    let (q_len, kv_len) = (
        shape.seqlen_q * shape.head_dim,
        shape.seqlen_kv * shape.head_dim,
    );
    let least = match problem.dtype() {
        DType::F16 => 2.0_f64.powi(-14),
        DType::Bf16 | DType::F32 | DType::F64 => 2.0_f64.powi(-126),
    };
    let q_tiles = shape.seqlen_q.div_ceil(tile.tile_q);
    let mut all = Vec::with_capacity(shape.batch * shape.num_q_heads * q_tiles);
    for batch in 0..shape.batch {
        for q_head in 0..shape.num_q_heads {
            let q = &q[(batch * shape.num_q_heads + q_head) * q_len..][..q_len];
            let kv_head = batch * shape.num_kv_heads + shape.kv_head(q_head);
            let k = k.get(kv_head * kv_len..).unwrap_or_default();
            for q_tile in 0..q_tiles {
                let row = q_head * list.row_ptr_stride + q_tile;
                let queries = rows(q, shape.head_dim, q_tile * tile.tile_q, tile.tile_q, q_len);
                let entries = list.row_ptr[row]..list.row_ptr[row + 1];
                all.push(
                    entries
                        .map(|entry| {
                            let column = list.col_idx[entry];
                            let keys = rows(
                                k,
                                shape.head_dim,
                                column * tile.tile_kv,
                                tile.tile_kv,
                                kv_len,
                            );
                            let full = list.is_full(entry, tile);
                            candidate(column, full, [queries, keys], shape.head_dim, least)
                        })
                        .collect(),
                );
            }
        }
    }
    Ok(all)
}

/// `count` rows from `first`, as far as they exist.
fn rows(x: &[f64], head_dim: usize, first: usize, count: usize, len: usize) -> &[f64] {
    &x[first * head_dim..((first + count) * head_dim).min(len)]
}

fn candidate(
    column: usize,
    full: bool,
    [queries, keys]: [&[f64]; 2],
    head_dim: usize,
    least: f64,
) -> Candidate {
    let raised = |x: f64| if x == 0.0 { 0.0 } else { x.abs().max(least) };
    let mut score_max = f64::NEG_INFINITY;
    let mut magnitude_max = 0.0_f64;
    for q in queries.chunks_exact(head_dim) {
        for k in keys.chunks_exact(head_dim) {
            let (mut score, mut magnitude) = (0.0, 0.0);
            for (q, k) in q.iter().zip(k) {
                score += q * k;
                magnitude += raised(*q) * raised(*k);
            }
            score_max = score_max.max(score);
            magnitude_max = magnitude_max.max(magnitude);
        }
    }
    let integers = queries.iter().chain(keys).all(|x| x.fract() == 0.0);
    Candidate {
        column,
        full,
        score_max,
        magnitude: magnitude_max,
        exact: integers && magnitude_max < 2.0_f64.powi(23),
    }
}

/// Thresholds that put a kernel to the test on this problem (`num_q_heads`, cached tiles + `q_tiles`), from its first
/// sequence: by turns a tile of queries keeps everything, about half (the middle between two neighbouring maxima, as
/// calibration has it), whatever is at least as large as one of its maxima, and nothing that is tested. Entries of cached
/// tiles are NaN: no kernel may take one.
///
/// # Errors
/// [`TileError`]: the layout has no tile list.
pub fn thresholds(problem: &Problem, tile: TileShape) -> Result<Vec<f32>, TileError> {
    let shape = &problem.shape;
    let q_tiles = shape.seqlen_q.div_ceil(tile.tile_q);
    let cached = cached_tiles(problem, tile);
    let candidates = candidates(problem, tile)?;
    let mut thresholds = Vec::with_capacity(shape.num_q_heads * (cached + q_tiles));
    for q_head in 0..shape.num_q_heads {
        thresholds.extend(std::iter::repeat_n(f32::NAN, cached));
        for q_tile in 0..q_tiles {
            let index = q_head * q_tiles + q_tile;
            let mut maxima: Vec<f64> = candidates[index]
                .iter()
                .filter(|candidate| candidate.full && candidate.score_max.is_finite())
                .map(|candidate| candidate.score_max * f64::from(problem.scale))
                .collect();
            maxima.sort_by(f64::total_cmp);
            let middle = maxima.len() / 2;
            let place = u64::try_from(index).expect("64 bits");
            thresholds.push(
                match (random::bits(0x7468_7265, place) % 4, maxima.get(middle)) {
                    (0, _) | (_, None) => f32::NEG_INFINITY,
                    (1, Some(&above)) => {
                        let below = middle.checked_sub(1).map_or(above, |i| maxima[i]);
                        f64_to_f32(f64::midpoint(below, above))
                    }
                    (2, Some(&maximum)) => f64_to_f32(maximum),
                    (_, Some(_)) => f32::INFINITY,
                },
            );
        }
    }
    Ok(thresholds)
}

impl Kept {
    /// Whether tile `column` of keys was kept for tile `row` of queries, counted through all sequences and heads.
    pub fn contains(&self, row: usize, column: usize, shape: &Shape) -> bool {
        let word = row * kept_words(shape, self.tile) + column / 32;
        self.words
            .get(word)
            .is_some_and(|bits| bits >> (column % 32) & 1 != 0)
    }

    /// The problem whose answer a kernel owes that kept these tiles: the same tensors, their sequences as so many more
    /// heads, and a block pattern for each.
    ///
    /// # Errors
    /// [`LayoutError`]: the patterns do not fit the layout, which has blocks of its own.
    pub fn problem(&self, problem: &Problem) -> Result<Problem, LayoutError> {
        let shape = problem.shape;
        let q_tiles = shape.seqlen_q.div_ceil(self.tile.tile_q);
        let kv_tiles = shape.seqlen_kv.div_ceil(self.tile.tile_kv);
        let heads = shape.batch * shape.num_q_heads;
        let patterns = (0..heads)
            .map(|head| {
                BlockPattern::from_fn(q_tiles, kv_tiles, |row, column| {
                    self.contains(head * q_tiles + row, column, &shape)
                })
            })
            .collect();
        let layout = problem
            .layout
            .clone()
            .with_blocks(self.tile.tile_q, self.tile.tile_kv)?
            .with_heads(patterns)?;
        Ok(Problem {
            shape: Shape {
                batch: 1,
                num_q_heads: heads,
                num_kv_heads: shape.batch * shape.num_kv_heads,
                ..shape
            },
            layout,
            ..problem.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flashproof_reference::{Layout, Tensor};

    const TILE: TileShape = TileShape {
        tile_q: 64,
        tile_kv: 64,
    };

    /// Two sequences, 130 queries and 200 keys, keys of tile 1 twice as large as those of tile 0.
    fn problem(layout: Layout) -> Problem {
        let shape = Shape {
            batch: 2,
            num_q_heads: 2,
            num_kv_heads: 1,
            seqlen_q: 130,
            seqlen_kv: 200,
            head_dim: 2,
        };
        let q = vec![1.0; 2 * 2 * 130 * 2];
        let keys = |row: usize| if row / 64 == 1 { 2.0 } else { 1.0 };
        let k: Vec<f32> = (0..2 * 200 * 2).map(|i| keys(i / 2 % 200)).collect();
        let [q, k] = [q, k].map(|x| Tensor::from_f32_rounded(DType::F16, &x));
        Problem::new(shape, q, k.clone(), k, 0.5, layout).unwrap()
    }

    #[test]
    fn candidates_have_the_largest_score_of_their_tile() {
        let problem = problem(Layout::dense(130, 200));
        let all = candidates(&problem, TILE).unwrap();
        assert_eq!(all.len(), 2 * 2 * 3);
        for row in &all {
            let found: Vec<(usize, bool, f64)> = row
                .iter()
                .map(|c| (c.column, c.full, c.score_max))
                .collect();
            let expected = [
                (0, true, 2.0),
                (1, true, 4.0),
                (2, true, 2.0),
                (3, false, 2.0),
            ];
            assert_eq!(found, expected);
            assert!(
                row.iter()
                    .all(|c| c.exact && c.magnitude.total_cmp(&c.score_max).is_eq())
            );
        }
    }

    #[test]
    fn thresholds_take_turns_and_cached_tiles_have_none() {
        let dense = thresholds(&problem(Layout::dense(130, 200)), TILE).unwrap();
        assert_eq!(dense.len(), 2 * 3);
        assert!(dense.iter().all(|t| !t.is_nan()));
        assert!(dense.contains(&f32::NEG_INFINITY) && dense.iter().any(|t| t.is_finite()));
        let causal = problem(Layout::dense_causal(130, 200));
        assert_eq!(cached_tiles(&causal, TILE), 1);
        let causal = thresholds(&causal, TILE).unwrap();
        assert_eq!(causal.len(), 2 * 4);
        assert!(causal[0].is_nan() && causal[4].is_nan());
    }

    #[test]
    fn what_was_kept_is_what_is_owed() {
        let problem = problem(Layout::dense_causal(130, 200));
        let kept = Kept {
            words: (0..12)
                .map(|row| if row == 0 { 0b01 } else { 0b10 })
                .collect(),
            tile: TILE,
        };
        let owed = kept.problem(&problem).unwrap();
        owed.validate().unwrap();
        assert_eq!(
            (
                owed.shape.batch,
                owed.shape.num_q_heads,
                owed.shape.num_kv_heads
            ),
            (1, 4, 2)
        );
        assert_eq!(owed.shape.kv_head(1), 0);
        assert_eq!(owed.shape.kv_head(2), 1);
        assert!(owed.layout.is_visible(0, 0, 0) && !owed.layout.is_visible(0, 0, 65));
        assert!(!owed.layout.is_visible(0, 64, 0) && owed.layout.is_visible(0, 64, 65));
        assert!(
            !owed.layout.is_visible(1, 0, 0),
            "causal still holds: the diagonal is 70"
        );
        assert!(owed.layout.is_visible(1, 0, 70) && !owed.layout.is_visible(1, 0, 71));
    }
}
