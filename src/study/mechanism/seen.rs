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
    /// Heads whose softmax weights were looked at.
    weighed: f64,
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

    /// Share of the softmax weight held; `None` of a text in pieces, whose keys have no score outside their own.
    pub(super) fn mass(&self) -> Option<f64> {
        (self.weighed > 0.0).then(|| self.mass_sum / self.weighed)
    }

    /// Blocks from outside the answering sentences into them.
    pub(super) fn blocks(&self) -> f64 {
        usize_to_f64(self.blocks)
    }

    /// Those of which a pair is attended.
    pub(super) fn blocks_kept(&self) -> f64 {
        usize_to_f64(self.kept)
    }

    /// Counts the pairs of a text of `n` tokens that is attended in pieces, each a list of places, every pair once.
    pub(super) fn count_pieces(&mut self, n: usize, pieces: &[Vec<u32>]) {
        let mut is_visible = vec![false; n * n];
        let at = |place: &u32| usize::try_from(*place).expect("a place in a text");
        for piece in pieces {
            for query in piece.iter().map(at) {
                for key in piece.iter().map(at) {
                    is_visible[query * n + key] = true;
                }
            }
        }
        self.count(n, |query| {
            let row = &is_visible[query * n..(query + 1) * n];
            let keys = row.iter().enumerate();
            keys.filter(|(_, is_visible)| **is_visible)
                .map(|(key, _)| key..key + 1)
                .collect::<Vec<_>>()
        });
    }

    /// Counts the pairs of one head, and the blocks they are in.
    fn count<K: IntoIterator<Item = Range<usize>>>(
        &mut self,
        n: usize,
        visible: impl Fn(usize) -> K,
    ) {
        let (mut pairs, mut gold) = (0, 0);
        for query in 0..n {
            for keys in visible(query) {
                pairs += keys.len();
                if !self.gold.contains(&query) {
                    let first = keys.start.max(self.gold.start);
                    gold += keys.end.min(self.gold.end).saturating_sub(first);
                }
            }
        }
        let outside = n - self.gold.len();
        self.heads += 1.0;
        self.density_sum += usize_to_f64(pairs) / usize_to_f64(n * n);
        self.gold_sum += usize_to_f64(gold) / usize_to_f64((outside * self.gold.len()).max(1));
        self.count_blocks(n, visible);
    }

    fn count_blocks<K: IntoIterator<Item = Range<usize>>>(
        &mut self,
        n: usize,
        visible: impl Fn(usize) -> K,
    ) {
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
                for keys in visible(query) {
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
            let mut mass = 0.0;
            for (query, row) in scores.chunks_exact(n).enumerate() {
                let row_max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let weight = |score: &f32| ((score - row_max) * inputs.scale).exp();
                let all: f32 = row.iter().map(weight).sum();
                let mut held = 0.0;
                for keys in layout.visible_keys(head, query) {
                    held += row[keys].iter().map(weight).sum::<f32>();
                }
                mass += f64::from(held / all);
            }
            self.weighed += 1.0;
            self.mass_sum += mass / usize_to_f64(n);
            self.count(n, |query| layout.visible_keys(head, query));
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
            seen.count_blocks(n, |query| layout.visible_keys(0, query));
            assert_eq!((seen.kept, seen.blocks), (want, 3), "reach {reach}");
        }
        // A ragged last block, and a sentence in two blocks.
        let mut seen = Seen::of(0..40, std::iter::once(10..20).collect());
        let layout = Layout::window_with_sinks(40, 40, window(1), 0);
        seen.count_blocks(40, |query| layout.visible_keys(0, query));
        assert_eq!((seen.kept, seen.blocks), (1, 2));
    }

    #[test]
    fn pairs_of_pieces_are_counted_by_hand() {
        // Six tokens, the first and the last in both pieces: 2 x 4 x 4 pairs, the four of the frame twice among them.
        let mut seen = Seen::of(1..3, std::iter::once(3..4).collect());
        seen.count_pieces(6, &[vec![0, 1, 2, 5], vec![0, 3, 4, 5]]);
        let near = |a: f64, b: f64| (a - b).abs() < 1e-12;
        assert!(near(seen.density(), 28.0 / 36.0));
        // Of four queries outside the crop the two of the frame see both of its keys.
        assert!(near(seen.gold_recall(), 4.0 / 8.0));
        assert_eq!(seen.mass(), None);
    }
}
