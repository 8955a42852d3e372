//! Which (query, key) pairs attend to each other.
//!
//! `visible(q, k) = causal(q, k) and ((block(q, k) and window(q, k)) or k < sinks or q in global or k in global)`
//!
//! The diagonal of query `q` is key `q + seqlen_kv - seqlen_q` (bottom-right aligned). `causal` hides the keys after the
//! diagonal. Lengths of 0 are layouts: without keys every row is empty, without queries there are no rows. Lengths need
//! not be multiples of the blocks; the last block row and block column are then ragged.

mod algebra;
mod build;
mod error;
mod json;
mod pattern;
mod ranges;
mod statistics;

pub use build::{BigBird, Strided};
pub use error::LayoutError;
pub use pattern::BlockPattern;
pub use ranges::VisibleKeys;
pub use statistics::{BlockCounts, BlockKind};

/// How far besides the diagonal a query sees: `left` keys before it and `right` keys after it, `None` = unbounded.
///
/// ```
/// use flashproof_reference::{Layout, Window};
/// // Query 0 of one sees, of two keys, only its diagonal: key 0 + 2 - 1.
/// let layout = Layout::sliding_window(1, 2, Window { left: Some(0), right: None });
/// assert!(!layout.is_visible(0, 0, 0) && layout.is_visible(0, 0, 1));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Window {
    /// Keys before the diagonal.
    pub left: Option<usize>,
    /// Keys after the diagonal.
    pub right: Option<usize>,
}

/// Lengths of a layout: of its sequences, and of its sparsity blocks.
///
/// ```
/// use flashproof_reference::Extents;
/// let extents = Extents { seqlen_q: 1, seqlen_kv: 3, block_q: 2, block_kv: 2 };
/// assert_eq!((extents.block_rows(), extents.block_columns()), (1, 2));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Extents {
    /// Number of queries.
    pub seqlen_q: usize,
    /// Number of keys.
    pub seqlen_kv: usize,
    /// Queries in a sparsity block, at least 1.
    pub block_q: usize,
    /// Keys in a sparsity block, at least 1.
    pub block_kv: usize,
}

impl Extents {
    /// Block rows, the ragged last one included: `ceil(seqlen_q / block_q)`.
    ///
    /// ```
    /// # use flashproof_reference::Layout;
    /// assert_eq!(Layout::dense(1, 2).extents().block_rows(), 1);
    /// ```
    pub fn block_rows(&self) -> usize {
        self.seqlen_q.div_ceil(self.block_q.max(1))
    }
    /// Block columns, the ragged last one included: `ceil(seqlen_kv / block_kv)`.
    ///
    /// ```
    /// # use flashproof_reference::Layout;
    /// assert_eq!(Layout::dense(1, 2).extents().block_columns(), 1);
    /// ```
    pub fn block_columns(&self) -> usize {
        self.seqlen_kv.div_ceil(self.block_kv.max(1))
    }
}

/// A validated sparsity layout of one sequence pair, shared by every batch entry.
///
/// ```
/// use flashproof_reference::Layout;
/// let layout = Layout::dense(2, 2).with_causal(true);
/// assert!(!layout.is_visible(0, 0, 1) && layout.is_visible(0, 1, 1));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Layout {
    extents: Extents,
    /// `None`: every block present. One entry: shared by all heads. Else one entry per query head.
    heads: Option<Vec<BlockPattern>>,
    causal: bool,
    window: Window,
    sinks: usize,
    /// Ascending, without repetition.
    global: Vec<usize>,
}

impl Layout {
    /// Number of queries.
    ///
    /// ```
    /// # use flashproof_reference::Layout;
    /// assert_eq!(Layout::dense(1, 2).seqlen_q(), 1);
    /// ```
    pub fn seqlen_q(&self) -> usize {
        self.extents.seqlen_q
    }
    /// Number of keys.
    ///
    /// ```
    /// # use flashproof_reference::Layout;
    /// assert_eq!(Layout::dense(1, 2).seqlen_kv(), 2);
    /// ```
    pub fn seqlen_kv(&self) -> usize {
        self.extents.seqlen_kv
    }
    /// Queries in a sparsity block.
    ///
    /// ```
    /// # use flashproof_reference::Layout;
    /// assert_eq!(Layout::dense(1, 2).block_q(), 64);
    /// ```
    pub fn block_q(&self) -> usize {
        self.extents.block_q
    }
    /// Keys in a sparsity block.
    ///
    /// ```
    /// # use flashproof_reference::Layout;
    /// assert_eq!(Layout::dense(1, 2).block_kv(), 64);
    /// ```
    pub fn block_kv(&self) -> usize {
        self.extents.block_kv
    }
    /// All lengths together.
    ///
    /// ```
    /// # use flashproof_reference::Layout;
    /// assert_eq!(Layout::dense(1, 2).extents().seqlen_kv, 2);
    /// ```
    pub fn extents(&self) -> Extents {
        self.extents
    }
    /// Block pattern of a query head; `None` when every block is present, and for a head the layout does not have
    /// (see [`Layout::has_head`]).
    ///
    /// ```
    /// use flashproof_reference::{BlockPattern, Layout};
    /// let layout = Layout::dense(1, 2).with_heads(vec![BlockPattern::from_rows([[0]])])?;
    /// assert_eq!(layout.pattern(5).map(|pattern| pattern.row(0)), Some([0].as_slice()));
    /// # Ok::<(), flashproof_reference::LayoutError>(())
    /// ```
    pub fn pattern(&self, head: usize) -> Option<&BlockPattern> {
        match self.heads.as_deref()? {
            [shared] => Some(shared),
            heads => heads.get(head),
        }
    }
    /// Patterns stored: 0 when every block is present, 1 when shared, else one per query head.
    ///
    /// ```
    /// # use flashproof_reference::Layout;
    /// assert_eq!(Layout::dense(1, 2).pattern_count(), 0);
    /// ```
    pub fn pattern_count(&self) -> usize {
        self.heads.as_ref().map_or(0, Vec::len)
    }
    /// Whether the layout says what query head `head` sees: any head, unless there is a pattern for each.
    ///
    /// ```
    /// # use flashproof_reference::Layout;
    /// assert!(Layout::dense(1, 2).has_head(7));
    /// ```
    pub fn has_head(&self, head: usize) -> bool {
        self.pattern_count() <= 1 || head < self.pattern_count()
    }
    /// Whether keys after the diagonal are hidden.
    ///
    /// ```
    /// # use flashproof_reference::Layout;
    /// assert!(!Layout::dense(1, 2).causal());
    /// ```
    pub fn causal(&self) -> bool {
        self.causal
    }
    /// The window.
    ///
    /// ```
    /// # use flashproof_reference::{Layout, Window};
    /// assert_eq!(Layout::dense(1, 2).window(), Window { left: None, right: None });
    /// ```
    pub fn window(&self) -> Window {
        self.window
    }
    /// Leading keys that every query sees.
    ///
    /// ```
    /// # use flashproof_reference::Layout;
    /// assert_eq!(Layout::dense(1, 2).sinks(), 0);
    /// ```
    pub fn sinks(&self) -> usize {
        self.sinks
    }
    /// Tokens that see, and are seen by, everything; ascending. Query `t` and key `t` are meant, whatever the diagonal.
    ///
    /// ```
    /// # use flashproof_reference::Layout;
    /// assert_eq!(Layout::dense(1, 2).with_global([1])?.global(), [1]);
    /// # Ok::<(), flashproof_reference::LayoutError>(())
    /// ```
    pub fn global(&self) -> &[usize] {
        &self.global
    }

    /// Whether query `q` of query head `head` attends to key `k`: the definition, term by term. Nothing outside the
    /// lengths is visible, nor to a head the layout does not have. [`Layout::visible_keys`] gives a whole row at once.
    ///
    /// ```
    /// # use flashproof_reference::Layout;
    /// let layout = Layout::dense_causal(2, 2);
    /// assert!(layout.is_visible(0, 0, 0) && !layout.is_visible(0, 0, 1));
    /// ```
    pub fn is_visible(&self, head: usize, q: usize, k: usize) -> bool {
        if q >= self.seqlen_q() || k >= self.seqlen_kv() || !self.has_head(head) {
            return false;
        }
        let diagonal = q + self.seqlen_kv(); // both sides of every comparison carry + seqlen_q
        let key = k + self.seqlen_q();
        if self.causal && key > diagonal {
            return false;
        }
        let Window { left, right } = self.window;
        let in_window = left.is_none_or(|left| key.saturating_add(left) >= diagonal)
            && right.is_none_or(|right| key <= diagonal.saturating_add(right));
        let in_block = self
            .pattern(head)
            .is_none_or(|pattern| pattern.contains(q / self.block_q(), k / self.block_kv()));
        (in_block && in_window)
            || k < self.sinks
            || self.global.binary_search(&q).is_ok()
            || self.global.binary_search(&k).is_ok()
    }
}
