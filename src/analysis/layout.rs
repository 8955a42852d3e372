//! Questions about a layout that need no kernel: how much is visible and to whom, what it costs, how evenly the work is
//! spread, what a stack of layers can know.
//!
//! Costs are a model, stated with each field; nothing here is a measurement.

mod card;
mod difference;
mod load;
mod reach;

pub use card::{CARDS, Card};
pub use difference::{Difference, Pair, difference};
pub use load::{Cost, Launch, Load, cost, load};
pub use reach::{Field, Path, fields, path};

use crate::convert::usize_to_f64;
use flashproof_reference::{BlockCounts, BlockKind, Layout};

/// What one head of a layout shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeadStatistics {
    /// Visible pairs.
    pub visible_pairs: usize,
    /// Share of all pairs that is visible.
    pub density: f64,
    /// Queries that see no key.
    pub empty_rows: usize,
    /// Keys that no query sees.
    pub empty_columns: usize,
    /// Blocks by kind.
    pub blocks: BlockCounts,
    /// Blocks listed of which no pair is visible: causal or window hides them whole.
    pub redundant_blocks: usize,
    /// Visible pairs in blocks that are not listed: sinks and global tokens.
    pub unlisted_pairs: usize,
    /// Pairs of all blocks that are not empty, ragged edges counted whole: what a kernel computes that skips empty
    /// blocks only.
    pub computed_pairs: usize,
}

impl HeadStatistics {
    /// Share of the computed pairs that is not visible; 0 where none is computed.
    pub fn padding_waste(&self) -> f64 {
        let computed = usize_to_f64(self.computed_pairs).max(1.0);
        usize_to_f64(self.computed_pairs - self.visible_pairs) / computed
    }
}

/// Statistics of a query head.
pub fn head_statistics(layout: &Layout, head: usize) -> HeadStatistics {
    let extents = layout.extents();
    let mut seen = vec![false; layout.seqlen_kv()];
    let mut empty_rows = 0;
    for q in 0..layout.seqlen_q() {
        let mut any = false;
        for keys in layout.visible_keys(head, q) {
            seen[keys].fill(true);
            any = true;
        }
        empty_rows += usize::from(!any);
    }
    let (mut redundant_blocks, mut listed_pairs) = (0, 0);
    if let Some(pattern) = layout.pattern(head) {
        for row in 0..extents.block_rows() {
            let kinds = layout.block_kinds(head, row);
            let listed = pattern.row(row);
            redundant_blocks += listed
                .iter()
                .filter(|column| kinds[**column] == BlockKind::Empty)
                .count();
            let end = ((row + 1) * extents.block_q).min(extents.seqlen_q);
            for q in row * extents.block_q..end {
                for keys in layout.visible_keys(head, q) {
                    listed_pairs += keys
                        .filter(|key| listed.binary_search(&(key / extents.block_kv)).is_ok())
                        .count();
                }
            }
        }
    }
    let visible_pairs = layout.visible_pairs(head);
    let blocks = layout.block_counts(head);
    HeadStatistics {
        visible_pairs,
        density: layout.density(head),
        empty_rows,
        empty_columns: seen.iter().filter(|seen| !**seen).count(),
        blocks,
        redundant_blocks,
        unlisted_pairs: layout
            .pattern(head)
            .map_or(0, |_| visible_pairs - listed_pairs),
        computed_pairs: (blocks.full + blocks.partial) * extents.block_q * extents.block_kv,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flashproof_reference::BlockPattern;

    #[test]
    fn blocks_that_causal_hides_are_redundant() {
        let layout = Layout::dense(8, 8)
            .with_blocks(4, 4)
            .unwrap()
            .with_heads(vec![BlockPattern::from_rows([vec![0, 1], vec![1]])])
            .unwrap()
            .with_causal(true);
        let statistics = head_statistics(&layout, 0);
        assert_eq!(
            (statistics.visible_pairs, statistics.redundant_blocks),
            (20, 1)
        );
        assert_eq!((statistics.empty_rows, statistics.empty_columns), (0, 0));
        assert_eq!(
            (statistics.computed_pairs, statistics.unlisted_pairs),
            (32, 0)
        );
        assert!((statistics.padding_waste() - 0.375).abs() < 1e-12);
        let sinks = head_statistics(&layout.with_sinks(2), 0);
        assert_eq!((sinks.unlisted_pairs, sinks.visible_pairs), (8, 28));
    }

    #[test]
    fn keys_that_nobody_sees() {
        let layout = Layout::dense(2, 4)
            .with_blocks(1, 1)
            .unwrap()
            .with_heads(vec![BlockPattern::from_rows([vec![1], vec![]])])
            .unwrap();
        let statistics = head_statistics(&layout, 0);
        assert_eq!((statistics.empty_rows, statistics.empty_columns), (1, 3));
    }
}
