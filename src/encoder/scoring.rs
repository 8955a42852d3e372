//! What blocks are chosen by, besides their maxima: the softmax weight they hold, and the score of their means.

use crate::backend::native::NativeInputs;
use crate::convert::{f64_to_f32, usize_to_f64};
use crate::simd::matmul::{View, matmul};

/// Softmax weight of each block, averaged over its queries: (heads, block rows, block columns); a row of blocks sums to
/// 1. Of a text with `shape.batch` = 1 and as many heads of keys as of queries.
pub(super) fn block_masses(inputs: &NativeInputs<'_>, block: usize) -> Vec<f32> {
    let (n, head_dim) = (inputs.shape.seqlen_q, inputs.shape.head_dim);
    let blocks = n.div_ceil(block);
    let mut masses = Vec::with_capacity(inputs.shape.num_q_heads * blocks * blocks);
    let mut scores = vec![0.0_f32; n * n];
    let heads = inputs
        .q
        .chunks_exact(n * head_dim)
        .zip(inputs.k.chunks_exact(n * head_dim));
    for (q, k) in heads {
        let keys = View::row_major(k, n, head_dim).transposed();
        matmul(View::row_major(q, n, head_dim), keys, &mut scores);
        for rows in scores.chunks(block * n) {
            let mut row_of_blocks = vec![0.0_f64; blocks];
            for row in rows.chunks_exact(n) {
                let row_max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let mut held = vec![0.0_f64; blocks];
                for (held, scores) in held.iter_mut().zip(row.chunks(block)) {
                    let weight = |score: &f32| ((score - row_max) * inputs.scale).exp();
                    *held = f64::from(scores.iter().map(weight).sum::<f32>());
                }
                let row_sum = held.iter().sum::<f64>();
                for (total, held) in row_of_blocks.iter_mut().zip(held) {
                    *total += held / row_sum;
                }
            }
            let queries = usize_to_f64(rows.len() / n);
            masses.extend(
                row_of_blocks
                    .into_iter()
                    .map(|total| f64_to_f32(total / queries)),
            );
        }
    }
    masses
}

/// Score of the mean query of each block row with the mean key of each block column: (heads, block rows, block columns).
pub(super) fn pooled_scores(inputs: &NativeInputs<'_>, block: usize) -> Vec<f32> {
    let (n, head_dim) = (inputs.shape.seqlen_q, inputs.shape.head_dim);
    let blocks = n.div_ceil(block);
    let means = |of_head: &[f32]| -> Vec<f32> {
        of_head
            .chunks(block * head_dim)
            .flat_map(|rows| {
                let count = usize_to_f64(rows.len() / head_dim);
                (0..head_dim).map(move |channel| {
                    let of_channel = rows.iter().skip(channel).step_by(head_dim);
                    f64_to_f32(of_channel.map(|x| f64::from(*x)).sum::<f64>() / count)
                })
            })
            .collect()
    };
    let heads = inputs
        .q
        .chunks_exact(n * head_dim)
        .zip(inputs.k.chunks_exact(n * head_dim));
    let mut scores = Vec::with_capacity(inputs.shape.num_q_heads * blocks * blocks);
    for (q, k) in heads {
        let (q, k) = (means(q), means(k));
        let mut of_head = vec![0.0; blocks * blocks];
        let keys = View::row_major(&k, blocks, head_dim).transposed();
        matmul(View::row_major(&q, blocks, head_dim), keys, &mut of_head);
        scores.extend(of_head.into_iter().map(|score| score * inputs.scale));
    }
    scores
}
