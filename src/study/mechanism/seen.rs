//! What an arm attends in one document: a backend that looks at every layout before the native one computes.

use std::ops::Range;

use flashproof_reference::Layout;

use crate::backend::native::NativeInputs;
use crate::convert::usize_to_f64;
use crate::encoder::{AttentionBackend, AttentionFailure, Native, Site};
use crate::simd::matmul::{View, matmul};

/// Side of the blocks that are counted.
pub(super) const BLOCK: usize = 16;

/// Sums over heads and layers of one document.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    gold: Range<usize>,
    answering: Vec<Range<usize>>,
    heads: f64,
    density_sum: f64,
    gold_sum: f64,
    mass_sum: f64,
    kept: usize,
    blocks: usize,
}

impl Seen {
    /// Nothing yet, of a document with these tokens of the gold crop and of its answering sentences.
    pub(super) fn of(gold: Range<usize>, answering: Vec<Range<usize>>) -> Self {
        Self {
            gold,
            answering,
            ..Self::default()
        }
    }

    /// Share of pairs attended.
    pub(super) fn density(&self) -> f64 {
        self.density_sum / self.heads
    }

    /// Share of pairs attended from outside the crop into it.
    pub(super) fn gold_recall(&self) -> f64 {
        self.gold_sum / self.heads
    }

    /// Share of the softmax weight held.
    pub(super) fn mass(&self) -> f64 {
        self.mass_sum / self.heads
    }

    /// Blocks from outside the answering sentences into them.
    pub(super) fn blocks(&self) -> f64 {
        usize_to_f64(self.blocks)
    }

    /// Those of which a pair is attended.
    pub(super) fn blocks_kept(&self) -> f64 {
        usize_to_f64(self.kept)
    }

    /// Counts the blocks of one head.
    fn count_blocks(&mut self, layout: &Layout, head: usize, n: usize) {
        let is_answering: Vec<bool> = (0..n.div_ceil(BLOCK))
            .map(|block| {
                let (start, end) = (block * BLOCK, (block + 1) * BLOCK);
                let mut spans = self.answering.iter();
                spans.any(|span| start < span.end && span.start < end)
            })
            .collect();
        let wanted = is_answering.iter().filter(|is_answering| **is_answering);
        let wanted = wanted.count();
        for (block, _) in is_answering
            .iter()
            .enumerate()
            .filter(|(_, is_answering)| !**is_answering)
        {
            let mut is_kept = vec![false; is_answering.len()];
            for query in block * BLOCK..((block + 1) * BLOCK).min(n) {
                for keys in layout.visible_keys(head, query) {
                    if !keys.is_empty() {
                        is_kept[keys.start / BLOCK..=(keys.end - 1) / BLOCK].fill(true);
                    }
                }
            }
            let both = is_kept.iter().zip(&is_answering);
            self.kept += both
                .filter(|(is_kept, is_answering)| **is_kept && **is_answering)
                .count();
            self.blocks += wanted;
        }
    }
}

impl AttentionBackend for Seen {
    fn attention(
        &mut self,
        site: Site,
        inputs: &NativeInputs<'_>,
        layout: &Layout,
        o: &mut [f32],
    ) -> Result<(), AttentionFailure> {
        let (n, head_dim) = (inputs.shape.seqlen_q, inputs.shape.head_dim);
        let mut scores = vec![0.0_f32; n * n];
        let heads = inputs
            .q
            .chunks_exact(n * head_dim)
            .zip(inputs.k.chunks_exact(n * head_dim));
        for (head, (q, k)) in heads.enumerate() {
            let keys = View::row_major(k, n, head_dim).transposed();
            matmul(View::row_major(q, n, head_dim), keys, &mut scores);
            let (mut pairs, mut gold, mut mass) = (0, 0, 0.0);
            for (query, row) in scores.chunks_exact(n).enumerate() {
                let row_max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let weight = |score: &f32| ((score - row_max) * inputs.scale).exp();
                let all: f32 = row.iter().map(weight).sum();
                let mut held = 0.0;
                for keys in layout.visible_keys(head, query) {
                    pairs += keys.len();
                    held += row[keys.clone()].iter().map(weight).sum::<f32>();
                    if !self.gold.contains(&query) {
                        let first = keys.start.max(self.gold.start);
                        gold += keys.end.min(self.gold.end).saturating_sub(first);
                    }
                }
                mass += f64::from(held / all);
            }
            let outside = n - self.gold.len();
            self.heads += 1.0;
            self.density_sum += usize_to_f64(pairs) / usize_to_f64(n * n);
            self.gold_sum += usize_to_f64(gold) / usize_to_f64((outside * self.gold.len()).max(1));
            self.mass_sum += mass / usize_to_f64(n);
            self.count_blocks(layout, head, n);
        }
        Native.attention(site, inputs, layout, o)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flashproof_reference::Window;

    #[test]
    fn blocks_are_counted_by_hand() {
        // Four blocks of keys; the second answers, so three blocks of queries look into it.
        let n = 4 * BLOCK;
        let window = |reach: usize| Window {
            left: Some(reach),
            right: Some(reach),
        };
        for (reach, want) in [(0, 0), (1, 2), (15, 2), (16, 2), (17, 3), (64, 3)] {
            let mut seen = Seen::of(0..n, std::iter::once(20..30).collect());
            let layout = Layout::window_with_sinks(n, n, window(reach), 0);
            seen.count_blocks(&layout, 0, n);
            assert_eq!((seen.kept, seen.blocks), (want, 3), "reach {reach}");
        }
        // A ragged last block, and a sentence in two blocks.
        let mut seen = Seen::of(0..40, std::iter::once(10..20).collect());
        let layout = Layout::window_with_sinks(40, 40, window(1), 0);
        seen.count_blocks(&layout, 0, 40);
        assert_eq!((seen.kept, seen.blocks), (1, 2));
    }
}
