//! The keys a query sees, as ranges: the visibility rule of a whole row without asking key by key.

use super::{BlockPattern, Layout, Window};
use std::ops::Range;

/// Ranges of visible keys: not empty, ascending, disjoint, with at least one hidden key between two of them.
///
/// ```
/// use flashproof_reference::Layout;
/// let ranges: Vec<_> = Layout::dense(1, 2).visible_keys(0, 0).collect();
/// assert_eq!(ranges, [0..2]);
/// ```
#[derive(Clone, Debug)]
pub struct VisibleKeys<'a> {
    /// Keys at or above are hidden.
    end: usize,
    /// Keys that need neither block nor window: the sinks, or all of them for a global query.
    leading: Range<usize>,
    /// Global keys not yet given.
    global: &'a [usize],
    /// Keys inside the window not yet given.
    window: Range<usize>,
    blocks: Blocks<'a>,
}

#[derive(Clone, Debug)]
enum Blocks<'a> {
    All,
    Listed {
        columns: &'a [usize],
        block_kv: usize,
    },
}

impl Layout {
    /// The keys that query `q` of query head `head` attends to. In time proportional to the ranges and the blocks and
    /// global tokens of the row, not to the number of keys.
    ///
    /// ```
    /// use flashproof_reference::{Layout, Window};
    /// // Query 2 of three sees the sink (key 0) and its own diagonal.
    /// let window = Window { left: Some(0), right: Some(0) };
    /// let layout = Layout::window_with_sinks(3, 3, window, 1);
    /// assert_eq!(layout.visible_keys(0, 2).collect::<Vec<_>>(), [0..1, 2..3]);
    /// ```
    pub fn visible_keys(&self, head: usize, q: usize) -> VisibleKeys<'_> {
        let (seqlen_q, seqlen_kv) = (self.seqlen_q(), self.seqlen_kv());
        if q >= seqlen_q || !self.has_head(head) {
            return VisibleKeys {
                end: 0,
                leading: 0..0,
                global: &[],
                window: 0..0,
                blocks: Blocks::All,
            };
        }
        let to_end = seqlen_q - q; // the diagonal is seqlen_kv - to_end, if not negative
        let end = if self.causal {
            seqlen_kv.saturating_sub(to_end - 1)
        } else {
            seqlen_kv
        };
        if self.global.binary_search(&q).is_ok() {
            return VisibleKeys {
                end,
                leading: 0..end,
                global: &[],
                window: 0..0,
                blocks: Blocks::All,
            };
        }
        let Window { left, right } = self.window;
        let window_start = left.map_or(0, |left| {
            seqlen_kv.saturating_sub(to_end).saturating_sub(left)
        });
        let window_end = right.map_or(end, |right| {
            seqlen_kv
                .saturating_add(right)
                .saturating_add(1)
                .saturating_sub(to_end)
                .min(end)
        });
        let blocks = self
            .pattern(head)
            .map_or(Blocks::All, |pattern: &BlockPattern| Blocks::Listed {
                columns: pattern.row(q / self.block_q()),
                block_kv: self.block_kv(),
            });
        VisibleKeys {
            end,
            leading: 0..self.sinks.min(end),
            global: &self.global,
            window: window_start..window_end,
            blocks,
        }
    }
}

impl Layout {
    /// Whether query `q` is known to see the keys that the query before it sees, in every head.
    pub(crate) fn sees_as_above(&self, q: usize) -> bool {
        let Window { left, right } = self.window;
        let rows_are_alike =
            !self.causal && left.is_none() && right.is_none() && self.global.is_empty();
        rows_are_alike && (self.heads.is_none() || !q.is_multiple_of(self.block_q()))
    }
}

impl VisibleKeys<'_> {
    /// Drops keys below `start` from every source.
    fn advance_to(&mut self, start: usize) {
        self.leading.start = self.leading.start.max(start);
        self.window.start = self.window.start.max(start);
        let given = self.global.partition_point(|&key| key < start);
        self.global = &self.global[given..];
    }

    /// The first range of keys inside window and blocks.
    fn first_in_window(&mut self) -> Option<Range<usize>> {
        if self.window.is_empty() {
            return None;
        }
        match &mut self.blocks {
            Blocks::All => Some(self.window.clone()),
            Blocks::Listed { columns, block_kv } => {
                let block = self.window.start / *block_kv;
                *columns = &columns[columns.partition_point(|&column| column < block)..];
                let start = columns.first()? * *block_kv;
                let range = start.max(self.window.start)
                    ..start.saturating_add(*block_kv).min(self.window.end);
                (!range.is_empty()).then_some(range)
            }
        }
    }

    /// The range with the smallest start among the sources' first ones; of two, the longer.
    fn first(&mut self) -> Option<Range<usize>> {
        let end = self.end;
        let global = self
            .global
            .first()
            .filter(|&&key| key < end)
            .map(|&key| key..key + 1);
        let leading = (!self.leading.is_empty()).then(|| self.leading.clone());
        [self.first_in_window(), leading, global]
            .into_iter()
            .flatten()
            .min_by_key(|range| (range.start, usize::MAX - range.end))
    }
}

impl Iterator for VisibleKeys<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let mut merged = self.first()?;
        self.advance_to(merged.end);
        while let Some(adjacent) = self.first().filter(|range| range.start == merged.end) {
            merged.end = adjacent.end;
            self.advance_to(merged.end);
        }
        Some(merged)
    }
}

impl std::iter::FusedIterator for VisibleKeys<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(layout: &Layout, q: usize) -> Vec<Range<usize>> {
        layout.visible_keys(0, q).collect()
    }

    #[test]
    fn sources_merge_into_maximal_ranges() {
        let window = Window {
            left: Some(1),
            right: Some(0),
        };
        let layout = Layout::window_with_sinks(8, 8, window, 2)
            .with_global([2, 4, 7])
            .unwrap();
        assert_eq!(ranges(&layout, 6), [0..3, 4..8]);
        assert_eq!(ranges(&layout, 5), [0..3, 4..6, 7..8]);
        assert_eq!(
            ranges(&layout, 7),
            [Range { start: 0, end: 8 }],
            "a global query"
        );
        assert_eq!(ranges(&layout.with_causal(true), 5), [0..3, 4..6]);
    }

    #[test]
    fn blocks_are_clipped_by_window_and_length() {
        let extents = crate::Extents {
            seqlen_q: 5,
            seqlen_kv: 7,
            block_q: 2,
            block_kv: 3,
        };
        let layout = Layout::block_sparse(extents, vec![0, 2, 3, 4], vec![0, 2, 1, 2]).unwrap();
        assert_eq!(ranges(&layout, 0), [0..3, 6..7]);
        assert_eq!(ranges(&layout, 2), [Range { start: 3, end: 6 }]);
        let layout = layout.with_window(Window {
            left: Some(1),
            right: Some(0),
        });
        assert_eq!(ranges(&layout, 1), [Range { start: 2, end: 3 }]);
        assert_eq!(ranges(&layout, 3), [Range { start: 4, end: 6 }]);
    }

    #[test]
    fn queries_before_the_first_key_see_nothing_when_causal() {
        let layout = Layout::dense_causal(4, 2);
        let counts: Vec<usize> = (0..5).map(|q| layout.visible_keys(0, q).count()).collect();
        assert_eq!(counts, [0, 0, 1, 1, 0]);
        assert_eq!(ranges(&Layout::dense(3, 0), 1), [0..0; 0]);
    }

    #[test]
    fn unbounded_numbers_do_not_overflow() {
        let window = Window {
            left: Some(usize::MAX),
            right: Some(usize::MAX),
        };
        let layout = Layout::window_with_sinks(3, 4, window, usize::MAX);
        assert_eq!(ranges(&layout, 1), [Range { start: 0, end: 4 }]);
        assert!(layout.is_visible(0, 1, 3));
    }
}
