//! Union and intersection of layouts, where the result is a layout.

use super::{BlockPattern, Extents, Layout, LayoutError, Window};

impl Layout {
    /// The layout that shows exactly the pairs that either shows.
    ///
    /// Sinks and global tokens join. Both must agree on `causal`, and on the window or on the blocks: what is inside
    /// one block list *and* its window, or inside another block list and another window, is no layout. A layout
    /// without patterns takes the other's block size.
    ///
    /// ```
    /// # use flashproof_reference::{BlockPattern, Layout};
    /// let only = |key| Layout::dense(1, 2).with_blocks(1, 1)?.with_heads(vec![BlockPattern::from_rows([[key]])]);
    /// assert_eq!(only(0)?.union(&only(1)?)?.visible_pairs(0), 2);
    /// # Ok::<(), flashproof_reference::LayoutError>(())
    /// ```
    pub fn union(&self, other: &Self) -> Result<Self, LayoutError> {
        let not_expressible = |field| LayoutError::NotExpressible {
            operation: "union",
            field,
        };
        let extents = self.common_extents(other)?;
        if self.causal != other.causal {
            return Err(not_expressible("causal"));
        }
        if self.window != other.window && self.heads != other.heads {
            return Err(not_expressible("both window and blocks"));
        }
        let heads = match (&self.heads, &other.heads) {
            (Some(left), Some(right)) => Some(broadcast(left, right, BlockPattern::union)?),
            (None, _) | (_, None) => None,
        };
        let wider = |left: Option<usize>, right: Option<usize>| Some(left?.max(right?));
        let mut global = [self.global(), other.global()].concat();
        global.sort_unstable();
        global.dedup();
        Ok(Self {
            extents,
            heads,
            causal: self.causal,
            window: Window {
                left: wider(self.window.left, other.window.left),
                right: wider(self.window.right, other.window.right),
            },
            sinks: self.sinks.max(other.sinks),
            global,
        })
    }

    /// The layout that shows exactly the pairs that both show.
    ///
    /// Blocks and windows narrow, and causal wins. Both must agree on sinks and global tokens: a pair that one shows
    /// for its window and the other for its sink would belong to the result, and no layout can say so. A layout
    /// without patterns takes the other's block size.
    ///
    /// ```
    /// # use flashproof_reference::{Layout, Window};
    /// let window = Window { left: Some(0), right: None };
    /// let both = Layout::dense_causal(2, 2).intersection(&Layout::sliding_window(2, 2, window))?;
    /// assert_eq!(both.visible_pairs(0), 2);
    /// # Ok::<(), flashproof_reference::LayoutError>(())
    /// ```
    pub fn intersection(&self, other: &Self) -> Result<Self, LayoutError> {
        let not_expressible = |field| LayoutError::NotExpressible {
            operation: "intersection",
            field,
        };
        let extents = self.common_extents(other)?;
        if self.sinks != other.sinks {
            return Err(not_expressible("sinks"));
        }
        if self.global != other.global {
            return Err(not_expressible("global"));
        }
        let heads = match (&self.heads, &other.heads) {
            (Some(left), Some(right)) => Some(broadcast(left, right, BlockPattern::intersection)?),
            (Some(heads), None) | (None, Some(heads)) => Some(heads.clone()),
            (None, None) => None,
        };
        let narrower = |left: Option<usize>, right: Option<usize>| match (left, right) {
            (Some(left), Some(right)) => Some(left.min(right)),
            (bound, None) | (None, bound) => bound,
        };
        Ok(Self {
            extents,
            heads,
            causal: self.causal || other.causal,
            window: Window {
                left: narrower(self.window.left, other.window.left),
                right: narrower(self.window.right, other.window.right),
            },
            sinks: self.sinks,
            global: self.global.clone(),
        })
    }

    fn common_extents(&self, other: &Self) -> Result<Extents, LayoutError> {
        let lengths = |layout: &Self| (layout.seqlen_q(), layout.seqlen_kv());
        if lengths(self) != lengths(other) {
            return Err(LayoutError::DifferentLengths {
                left: lengths(self),
                right: lengths(other),
            });
        }
        let blocks = |layout: &Self| (layout.block_q(), layout.block_kv());
        if blocks(self) == blocks(other) || other.heads.is_none() {
            Ok(self.extents)
        } else if self.heads.is_none() {
            Ok(other.extents)
        } else {
            Err(LayoutError::DifferentBlocks {
                left: blocks(self),
                right: blocks(other),
            })
        }
    }
}

/// Applies `rule` head by head; a single pattern stands for every head.
fn broadcast(
    left: &[BlockPattern],
    right: &[BlockPattern],
    rule: impl Fn(&BlockPattern, &BlockPattern) -> BlockPattern,
) -> Result<Vec<BlockPattern>, LayoutError> {
    match (left, right) {
        ([shared], heads) => Ok(heads.iter().map(|head| rule(shared, head)).collect()),
        (heads, [shared]) => Ok(heads.iter().map(|head| rule(head, shared)).collect()),
        (left, right) if left.len() == right.len() => Ok(left
            .iter()
            .zip(right)
            .map(|(left, right)| rule(left, right))
            .collect()),
        (left, right) => Err(LayoutError::DifferentHeads {
            left: left.len(),
            right: right.len(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_layout_can_say_is_refused() {
        let check = |result: Result<Layout, LayoutError>, expected: &str| {
            assert_eq!(result.unwrap_err().to_string(), expected);
        };
        let dense = Layout::dense(4, 4).with_blocks(2, 2).unwrap();
        let blocks = |count: usize| {
            dense
                .clone()
                .with_heads(vec![BlockPattern::from_rows([[0], [1]]); count])
                .unwrap()
        };
        let window = Window {
            left: Some(1),
            right: None,
        };
        check(
            dense.union(&dense.clone().with_causal(true)),
            "the union is no layout, because the two differ in causal",
        );
        check(
            blocks(1).union(&dense.clone().with_window(window)),
            "the union is no layout, because the two differ in both window and blocks",
        );
        check(
            dense.intersection(&dense.clone().with_sinks(1)),
            "the intersection is no layout, because the two differ in sinks",
        );
        check(
            dense.intersection(&dense.clone().with_global([1]).unwrap()),
            "the intersection is no layout, because the two differ in global",
        );
        check(
            blocks(2).union(&blocks(3)),
            "the layouts have 2 and 3 head patterns: they must be equal, or one of them 1",
        );
        check(
            dense.union(&Layout::dense(4, 5)),
            "the layouts are of different lengths: (4, 4) and (4, 5) (seqlen_q, seqlen_kv)",
        );
        let wide = Layout::dense(4, 4).with_blocks(2, 4).unwrap();
        let wide = wide
            .with_heads(vec![BlockPattern::from_rows([[0], [0]])])
            .unwrap();
        check(
            blocks(1).intersection(&wide),
            "the layouts have different blocks: (2, 2) and (2, 4) (block_q, block_kv)",
        );
        assert_eq!(dense.intersection(&wide).unwrap(), wide);
    }
}
