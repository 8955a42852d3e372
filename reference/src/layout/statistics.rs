//! How much of a layout is visible, and in which blocks.

use super::Layout;
use crate::convert::f64_from_count;

/// How many of a block's pairs are visible. The whole rule counts (causal, window, sinks, global), not only whether the
/// block is listed, and a ragged block is judged by the pairs it has.
///
/// ```
/// use flashproof_reference::{BlockKind, Layout};
/// assert_eq!(Layout::dense_causal(2, 2).block_kinds(0, 0), [BlockKind::Partial]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockKind {
    /// No pair is visible.
    Empty,
    /// Some pairs are visible and some are not.
    Partial,
    /// Every pair is visible.
    Full,
}

/// Blocks of one head by kind.
///
/// ```
/// use flashproof_reference::{BlockCounts, Layout};
/// let counts = Layout::dense_causal(2, 2).with_blocks(1, 1)?.block_counts(0);
/// assert_eq!(counts, BlockCounts { empty: 1, partial: 0, full: 3 });
/// # Ok::<(), flashproof_reference::LayoutError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct BlockCounts {
    /// Blocks of which no pair is visible.
    pub empty: usize,
    /// Blocks of which some pairs are visible and some are not.
    pub partial: usize,
    /// Blocks of which every pair is visible.
    pub full: usize,
}

impl Layout {
    /// Number of visible (query, key) pairs of a query head.
    ///
    /// ```
    /// # use flashproof_reference::Layout;
    /// assert_eq!(Layout::dense_causal(2, 2).visible_pairs(0), 3);
    /// ```
    pub fn visible_pairs(&self, head: usize) -> usize {
        (0..self.seqlen_q())
            .map(|q| {
                self.visible_keys(head, q)
                    .map(|keys| keys.len())
                    .sum::<usize>()
            })
            .sum()
    }

    /// Share of the pairs of a query head that are visible; 0 when there are no pairs.
    ///
    /// ```
    /// # use flashproof_reference::Layout;
    /// assert_eq!(Layout::dense_causal(2, 2).density(0), 0.75);
    /// ```
    pub fn density(&self, head: usize) -> f64 {
        let pairs = f64_from_count(self.seqlen_q()) * f64_from_count(self.seqlen_kv());
        f64_from_count(self.visible_pairs(head)) / pairs.max(1.0)
    }

    /// Queries of a head that see no key, ascending.
    ///
    /// ```
    /// # use flashproof_reference::Layout;
    /// // Two queries at the end of one key: the diagonal of query 0 lies before it.
    /// assert_eq!(Layout::dense_causal(2, 1).empty_rows(0).collect::<Vec<_>>(), [0]);
    /// ```
    pub fn empty_rows(&self, head: usize) -> impl Iterator<Item = usize> + '_ {
        (0..self.seqlen_q()).filter(move |&q| self.visible_keys(head, q).next().is_none())
    }

    /// Kind of each block of a block row, by block column; none for a block row outside the layout.
    ///
    /// ```
    /// # use flashproof_reference::{BlockKind, Layout};
    /// let layout = Layout::dense_causal(2, 2).with_blocks(1, 1)?;
    /// assert_eq!(layout.block_kinds(0, 0), [BlockKind::Full, BlockKind::Empty]);
    /// # Ok::<(), flashproof_reference::LayoutError>(())
    /// ```
    pub fn block_kinds(&self, head: usize, block_row: usize) -> Vec<BlockKind> {
        let extents = self.extents();
        if block_row >= extents.block_rows() {
            return Vec::new();
        }
        let first_q = block_row * extents.block_q;
        let end_q = first_q
            .saturating_add(extents.block_q)
            .min(extents.seqlen_q);
        let mut visible = vec![0_usize; extents.block_columns()];
        for q in first_q..end_q {
            for keys in self.visible_keys(head, q) {
                let mut start = keys.start;
                while start < keys.end {
                    let column = start / extents.block_kv;
                    let end = (column + 1).saturating_mul(extents.block_kv).min(keys.end);
                    visible[column] += end - start;
                    start = end;
                }
            }
        }
        let keys_of = |column: usize| {
            extents
                .block_kv
                .min(extents.seqlen_kv - column * extents.block_kv)
        };
        visible
            .iter()
            .enumerate()
            .map(|(column, &visible)| match visible {
                0 => BlockKind::Empty,
                _ if visible == (end_q - first_q) * keys_of(column) => BlockKind::Full,
                _ => BlockKind::Partial,
            })
            .collect()
    }

    /// Number of blocks of each kind.
    ///
    /// ```
    /// # use flashproof_reference::Layout;
    /// assert_eq!(Layout::dense(1, 2).block_counts(0).full, 1);
    /// ```
    pub fn block_counts(&self, head: usize) -> BlockCounts {
        let mut counts = BlockCounts::default();
        for kind in (0..self.extents().block_rows()).flat_map(|row| self.block_kinds(head, row)) {
            match kind {
                BlockKind::Empty => counts.empty += 1,
                BlockKind::Partial => counts.partial += 1,
                BlockKind::Full => counts.full += 1,
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Extents, Window};

    #[test]
    fn ragged_blocks_are_full_when_all_they_have_is_visible() {
        let extents = Extents {
            seqlen_q: 3,
            seqlen_kv: 5,
            block_q: 2,
            block_kv: 2,
        };
        let layout = Layout::block_sparse(extents, vec![0, 1, 2], vec![2, 0]).unwrap();
        assert_eq!(
            layout.block_counts(0),
            BlockCounts {
                empty: 4,
                partial: 0,
                full: 2
            }
        );
        assert_eq!(layout.visible_pairs(0), 2 + 2);
        let layout = layout.with_window(Window {
            left: Some(0),
            right: None,
        });
        // Diagonals are keys 2, 3, 4: block column 2 stays whole for queries 0 and 1, block (1, 0) is hidden.
        assert_eq!(
            layout.block_counts(0),
            BlockCounts {
                empty: 5,
                partial: 0,
                full: 1
            }
        );
        assert_eq!(layout.empty_rows(0).collect::<Vec<_>>(), [2]);
        assert_eq!(layout.block_kinds(0, 2), []);
    }

    #[test]
    fn no_pairs_have_density_zero() {
        assert_eq!(Layout::dense(0, 5).density(0).to_bits(), 0);
        assert_eq!(Layout::dense(5, 0).density(0).to_bits(), 0);
        assert_eq!(Layout::dense(5, 0).empty_rows(0).count(), 5);
        assert_eq!(Layout::dense(0, 0).block_counts(0), BlockCounts::default());
    }
}
