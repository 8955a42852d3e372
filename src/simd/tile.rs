//! The three loops of attention over a tile of query rows: scores, weights, outputs.
//!
//! Keys come in strips of [`LANES`]; only the strips listed as visited are touched. A hidden pair inside a visited strip
//! has score `-inf` and weight 0, and adding `0 * v` to a sum of finite numbers changes no bit of it. So every result
//! depends on which keys are visible and on nothing else: neither on blocks, nor on which strips were visited.

use super::exp::exp_lane;
use super::vector::Vector;
use super::{LANES, Lanes, Level, Task};

/// Query rows of a tile.
pub const TILE_Q: usize = 16;

/// What the scores of a tile are made of.
#[derive(Clone, Copy, Debug)]
pub struct Scores<'a> {
    /// Queries, channel by channel: (`head_dim`, `TILE_Q`); rows past the last are 0.
    pub q: &'a [[f32; TILE_Q]],
    /// Keys: (strips, `head_dim`) of one number for each key of the strip.
    pub k: &'a [Lanes],
    /// Factor on every score.
    pub scale: f32,
    /// Strips to visit, and for each the keys that each row sees, key `i` of the strip in bit `i`.
    pub visited: &'a [(usize, [u16; TILE_Q])],
}

/// Scores of the visited strips into `scores` (visited, `TILE_Q`), and the largest of each row.
///
/// `score = scale * (q_0 k_0 + q_1 k_1 + ..)`, summed left to right, multiply-add fused where the level fuses, and
/// rounded once more by `scale`. Hidden pairs have score `-inf`. NaN is passed over by the maximum; without any score it
/// is `-inf`.
pub fn scores(level: Level, input: Scores<'_>, scores: &mut [[Lanes; TILE_Q]]) -> [f32; TILE_Q] {
    let mut row_max = [f32::NEG_INFINITY; TILE_Q];
    level.run(ScoreTask {
        input,
        scores,
        row_max: &mut row_max,
    });
    row_max
}

/// Replaces the scores by weights `exp(score - row_max)` and gives the sum of each row.
///
/// A row's sum is made in [`LANES`] parts, part `i` over the keys `i` of the strips in their order, and the parts are
/// then added by halves: `i` and `i + 8`, `i` and `i + 4`, ... A row whose maximum is `-inf` has weights 0.
pub fn weights(
    level: Level,
    scores: &mut [[Lanes; TILE_Q]],
    row_max: [f32; TILE_Q],
) -> [f32; TILE_Q] {
    let mut row_sum = [0.0; TILE_Q];
    level.run(WeightTask {
        scores,
        row_max,
        row_sum: &mut row_sum,
    });
    row_sum
}

/// Sums weight times value over the keys of the visited strips, in ascending order, one sum for each row and channel,
/// multiply-add fused where the level fuses: `o` (`TILE_Q`, `chunks`) from `v` (strips, keys, `chunks`), where a chunk is
/// [`LANES`] channels. Values must be finite.
pub fn outputs(
    level: Level,
    weights: &[[Lanes; TILE_Q]],
    visited: &[(usize, [u16; TILE_Q])],
    v: &[Lanes],
    chunks: usize,
    o: &mut [Lanes],
) {
    level.run(OutputTask {
        weights,
        visited,
        v,
        chunks,
        o,
    });
}

struct ScoreTask<'a> {
    input: Scores<'a>,
    scores: &'a mut [[Lanes; TILE_Q]],
    row_max: &'a mut [f32; TILE_Q],
}

impl Task for ScoreTask<'_> {
    #[inline(always)]
    fn run<V: Vector, const ROWS: usize, const CHUNKS: usize>(self) {
        let Scores {
            q,
            k,
            scale,
            visited,
        } = self.input;
        let head_dim = q.len();
        let mut max = [[f32::NEG_INFINITY; LANES]; TILE_Q];
        for (&(strip, ref masks), scores) in visited.iter().zip(self.scores) {
            let k = &k[strip * head_dim..(strip + 1) * head_dim];
            for first in (0..TILE_Q).step_by(ROWS) {
                let dots = dot_products::<V, ROWS>(q, k, first);
                for (row, dots) in (first..).zip(dots) {
                    let mut lanes = dots;
                    for lane in &mut lanes {
                        *lane *= scale;
                    }
                    if masks[row] != u16::MAX {
                        hide(&mut lanes, masks[row]);
                    }
                    for (max, &score) in max[row].iter_mut().zip(&lanes) {
                        *max = if score > *max { score } else { *max };
                    }
                    scores[row] = lanes;
                }
            }
        }
        for (row_max, lanes) in self.row_max.iter_mut().zip(max) {
            *row_max = lanes
                .into_iter()
                .fold(f32::NEG_INFINITY, |max, x| if x > max { x } else { max });
        }
    }
}

#[inline(always)]
fn dot_products<V: Vector, const ROWS: usize>(
    q: &[[f32; TILE_Q]],
    k: &[Lanes],
    first: usize,
) -> [Lanes; ROWS] {
    let mut dots = [V::splat(0.0); ROWS];
    for (q, k) in q.iter().zip(k) {
        let q: &[f32; ROWS] = q[first..].first_chunk().expect("ROWS divides TILE_Q");
        let k = V::load(k);
        for (dot, &q) in dots.iter_mut().zip(q) {
            *dot = V::splat(q).multiply_add(k, *dot);
        }
    }
    dots.map(V::store)
}

#[inline(always)]
fn hide(scores: &mut Lanes, mask: u16) {
    for (lane, score) in scores.iter_mut().enumerate() {
        *score = if mask >> lane & 1 == 0 {
            f32::NEG_INFINITY
        } else {
            *score
        };
    }
}

struct WeightTask<'a> {
    scores: &'a mut [[Lanes; TILE_Q]],
    row_max: [f32; TILE_Q],
    row_sum: &'a mut [f32; TILE_Q],
}

impl Task for WeightTask<'_> {
    #[inline(always)]
    fn run<V: Vector, const ROWS: usize, const CHUNKS: usize>(self) {
        for row in 0..TILE_Q {
            // Without a visible key every score is -inf, and so is its distance from 0: weight 0.
            let max = if self.row_max[row] == f32::NEG_INFINITY {
                0.0
            } else {
                self.row_max[row]
            };
            let mut parts = [0.0; LANES];
            for scores in self.scores.iter_mut() {
                for (score, part) in scores[row].iter_mut().zip(&mut parts) {
                    *score = exp_lane::<V>(*score - max);
                    *part += *score;
                }
            }
            for width in [8, 4, 2, 1] {
                for lane in 0..width {
                    parts[lane] += parts[lane + width];
                }
            }
            self.row_sum[row] = parts[0];
        }
    }
}

struct OutputTask<'a> {
    weights: &'a [[Lanes; TILE_Q]],
    visited: &'a [(usize, [u16; TILE_Q])],
    v: &'a [Lanes],
    chunks: usize,
    o: &'a mut [Lanes],
}

impl Task for OutputTask<'_> {
    #[inline(always)]
    fn run<V: Vector, const ROWS: usize, const CHUNKS: usize>(mut self) {
        for first in (0..TILE_Q).step_by(ROWS) {
            let mut chunk = 0;
            while chunk + CHUNKS <= self.chunks {
                self.sum::<V, ROWS, CHUNKS>(first, chunk);
                chunk += CHUNKS;
            }
            while chunk < self.chunks {
                self.sum::<V, ROWS, 1>(first, chunk);
                chunk += 1;
            }
        }
    }
}

impl OutputTask<'_> {
    /// The sums of `ROWS` rows from `first` and of `CHUNKS` chunks from `chunk`.
    #[inline(always)]
    fn sum<V: Vector, const ROWS: usize, const CHUNKS: usize>(
        &mut self,
        first: usize,
        chunk: usize,
    ) {
        let mut sums = [[V::splat(0.0); CHUNKS]; ROWS];
        let strip_len = LANES * self.chunks;
        for (&(strip, _), weights) in self.visited.iter().zip(self.weights) {
            let weights: &[Lanes; ROWS] =
                weights[first..].first_chunk().expect("ROWS divides TILE_Q");
            let v = &self.v[strip * strip_len..(strip + 1) * strip_len];
            for (key, v) in v.chunks_exact(self.chunks).enumerate().take(LANES) {
                let v: &[Lanes; CHUNKS] =
                    v[chunk..].first_chunk().expect("chunk + CHUNKS <= chunks");
                let v = v.each_ref().map(V::load);
                for (sums, weights) in sums.iter_mut().zip(weights) {
                    let weight = V::splat(weights[key]);
                    for (sum, &v) in sums.iter_mut().zip(&v) {
                        *sum = weight.multiply_add(v, *sum);
                    }
                }
            }
        }
        for (row, sums) in sums.into_iter().enumerate() {
            let o = (first + row) * self.chunks + chunk;
            self.o[o..o + CHUNKS].copy_from_slice(&sums.map(V::store));
        }
    }
}
