//! Attention in plain f64, with no certificate: what the certificate is priced by, and good to about 12 digits.
//!
//! Scores and weighted sums are products of matrices in tiles of registers, with the loops of the certified path; in
//! between stands one exponential a score. Every pair is computed, whatever the layout says, as by any dense reference.

use super::exponential::EXPONENTIAL;
use super::head::{GROUP, Head};
use super::loops::{ROW_GROUP, Scores, Single, SingleWeights};
use crate::problem::Problem;
use crate::simd::Level;
use rayon::prelude::*;

/// Query rows of a tile, and keys that are summed before the next channels are.
const TILE_Q: usize = 32;
const PANEL: usize = 256;

/// Which exponential stands between the products.
///
/// ```
/// # use flashproof_reference::plain::Exponential;
/// assert_ne!(Exponential::Library, Exponential::Vector);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exponential {
    /// `f64::exp`, one score at a time.
    Library,
    /// A table and five terms, as many scores at a time as a register holds.
    Vector,
}

/// Outputs (batch, `num_q_heads`, `seqlen_q`, `head_dim`) of dense attention on the threads of rayon's pool. The problem
/// must be well formed and its numbers finite, or outputs are NaN.
///
/// ```
/// use flashproof_reference::plain::{self, Exponential};
/// use flashproof_reference::{Layout, Problem, Shape, Tensor};
/// let shape = Shape { batch: 1, num_q_heads: 1, num_kv_heads: 1, seqlen_q: 1, seqlen_kv: 2, head_dim: 1 };
/// let [q, k, v] = [vec![1.0], vec![0.0, 1.0986123], vec![0.0, 4.0]].map(Tensor::F32);
/// let problem = Problem::new(shape, q, k, v, 1.0, Layout::dense(1, 2))?;
/// assert!((plain::attention(&problem, Exponential::Vector)[0] - 3.0).abs() < 1e-7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn attention(problem: &Problem, exponential: Exponential) -> Vec<f64> {
    let shape = problem.shape;
    let [q, k, v] = [&problem.q, &problem.k, &problem.v].map(|tensor| tensor.to_f64());
    let head_len = (shape.seqlen_kv * shape.head_dim).max(1);
    let heads: Vec<Head> = k
        .par_chunks(head_len)
        .zip(v.par_chunks(head_len))
        .map(|(k, v)| Head::new(k, v, shape.head_dim))
        .collect();
    let mut o = vec![0.0; q.len()];
    if heads.is_empty() {
        return o;
    }
    let q_head_len = (shape.seqlen_q * shape.head_dim).max(1);
    let tile_len = TILE_Q * shape.head_dim;
    let q_heads = q.par_chunks(q_head_len).zip(o.par_chunks_mut(q_head_len));
    q_heads.enumerate().for_each(|(number, (q, o))| {
        let (batch, q_head) = (number / shape.num_q_heads, number % shape.num_q_heads);
        let head = &heads[batch * shape.num_kv_heads + shape.kv_head(q_head)];
        let tiles = q.par_chunks(tile_len).zip(o.par_chunks_mut(tile_len));
        tiles.for_each(|(q, o)| tile(problem, head, exponential, q, o));
    });
    o
}

fn tile(problem: &Problem, head: &Head, exponential: Exponential, q: &[f64], o: &mut [f64]) {
    let (keys, head_dim) = (problem.shape.seqlen_kv, problem.shape.head_dim);
    let (level, scale) = (Level::best(), f64::from(problem.scale));
    let channels = head_dim.next_multiple_of(GROUP);
    let rows = q.len() / head_dim;
    let padded = rows.next_multiple_of(ROW_GROUP);
    let mut padded_q = vec![0.0; padded * head_dim];
    padded_q[..q.len()].copy_from_slice(q);
    let mut p = vec![0.0; padded * head.keys];
    for (group, k) in head.k.chunks_exact(head_dim * GROUP).enumerate() {
        for block in (0..padded).step_by(ROW_GROUP) {
            level.run(Scores {
                q: &padded_q[block * head_dim..],
                k,
                exact: true,
                high: &mut p[block * head.keys + group * GROUP..],
                low: &mut [],
                stride: head.keys,
            });
        }
    }
    let mut sums = vec![0.0; padded];
    for (row, sum) in p.chunks_exact_mut(head.keys).zip(&mut sums) {
        row[keys..].fill(if scale < 0.0 {
            f64::INFINITY
        } else {
            f64::NEG_INFINITY
        });
        let mut lanes = [f64::NEG_INFINITY; GROUP];
        for scores in row.chunks_exact_mut(GROUP) {
            for (max, score) in lanes.iter_mut().zip(scores) {
                *score *= scale;
                *max = if *score > *max { *score } else { *max };
            }
        }
        let max = lanes.into_iter().fold(f64::NEG_INFINITY, f64::max);
        *sum = match exponential {
            Exponential::Library => row
                .iter_mut()
                .map(|score| {
                    *score = (*score - max).exp();
                    *score
                })
                .sum(),
            Exponential::Vector => level.run(SingleWeights {
                exponential: &EXPONENTIAL,
                p: row,
                max,
            }),
        };
    }
    let mut wide = vec![0.0; padded * channels];
    for first in (0..head.keys).step_by(PANEL) {
        let len = PANEL.min(head.keys - first);
        for group in 0..channels / GROUP {
            let v = &head.v[(group * head.keys + first) * GROUP..][..len * GROUP];
            for block in (0..padded).step_by(ROW_GROUP) {
                level.run(Single {
                    p: &p[block * head.keys + first..],
                    p_stride: head.keys,
                    v,
                    o: &mut wide[block * channels + group * GROUP..],
                    stride: channels,
                });
            }
        }
    }
    let rows = o
        .chunks_exact_mut(head_dim)
        .zip(wide.chunks_exact(channels));
    for ((o, wide), sum) in rows.zip(sums) {
        for (o, wide) in o.iter_mut().zip(wide) {
            *o = wide / sum;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Layout, Shape, Tensor};

    #[test]
    fn it_is_attention_to_twelve_digits() {
        let shape = Shape {
            batch: 2,
            num_q_heads: 4,
            num_kv_heads: 2,
            seqlen_q: 37,
            seqlen_kv: 301,
            head_dim: 20,
        };
        let draws = &mut crate::random::Draws::from_seed(4);
        let mut tensor = |extents: [usize; 4]| {
            let numbers: Vec<f32> = (0..extents.iter().product())
                .map(|_| f32::from(u8::try_from(draws.below(256)).unwrap()) / 64.0 - 2.0)
                .collect();
            Tensor::from_f32_exactly(DType::F16, &numbers).unwrap()
        };
        let (q, k, v) = (
            tensor(shape.q_extents()),
            tensor(shape.kv_extents()),
            tensor(shape.kv_extents()),
        );
        for scale in [0.3, -0.3] {
            let layout = Layout::dense(37, 301);
            let problem =
                Problem::new(shape, q.clone(), k.clone(), v.clone(), scale, layout).unwrap();
            let expected = crate::attention(&problem).unwrap().o;
            for exponential in [Exponential::Library, Exponential::Vector] {
                let found = attention(&problem, exponential);
                let distances = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
                let worst = distances.fold(0.0, f64::max);
                assert!(worst < 1e-13, "{exponential:?} {scale}: off by {worst}");
            }
        }
    }
}
