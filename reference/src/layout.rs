//! Which (query, key) pairs attend to each other.
//!
//! `visible(q, k) = causal(q, k) and ((block(q, k) and window(q, k)) or k < sinks or q in global or k in global)`
//!
//! The diagonal of query `q` is key `q + seqlen_kv - seqlen_q` (bottom-right aligned).

use std::ops::Range;

/// How far besides the diagonal a query sees: `left` keys before it and `right` keys after it, `None` = unbounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Window {
    /// Keys before the diagonal.
    pub left: Option<usize>,
    /// Keys after the diagonal.
    pub right: Option<usize>,
}

/// Which sparsity blocks of one head are present: compressed rows of block columns, sorted and without repetition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BlockPattern {
    /// Start of each block row in `col_idx`; one more entry than block rows.
    pub row_ptr: Vec<usize>,
    /// Block columns present, ascending within a block row.
    pub col_idx: Vec<usize>,
}

/// A validated sparsity layout of one sequence pair, shared by every batch entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Layout {
    seqlen_q: usize,
    seqlen_kv: usize,
    block_q: usize,
    block_kv: usize,
    /// `None`: every block present. One entry: shared by all heads. Else one entry per query head.
    heads: Option<Vec<BlockPattern>>,
    causal: bool,
    window: Window,
    sinks: usize,
    /// Ascending, without repetition.
    global: Vec<usize>,
}

/// What is wrong with a layout, with the values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// A column index is not below the number of block columns.
    #[error(
        "col_idx[{entry}] = {column} in block row {block_row} of head {head}, but the layout has {columns} block columns"
    )]
    ColumnOutOfRange {
        /// Head whose pattern it is.
        head: usize,
        /// Block row that holds the entry.
        block_row: usize,
        /// Index into `col_idx`.
        entry: usize,
        /// The value found.
        column: usize,
        /// Number of block columns.
        columns: usize,
    },
}

impl Layout {
    /// Every pair visible.
    pub fn dense(seqlen_q: usize, seqlen_kv: usize) -> Self {
        Self {
            seqlen_q,
            seqlen_kv,
            block_q: 64,
            block_kv: 64,
            heads: None,
            causal: false,
            window: Window::default(),
            sinks: 0,
            global: Vec::new(),
        }
    }

    /// Number of queries.
    pub fn seqlen_q(&self) -> usize {
        self.seqlen_q
    }
    /// Number of keys.
    pub fn seqlen_kv(&self) -> usize {
        self.seqlen_kv
    }
    /// Queries in a sparsity block.
    pub fn block_q(&self) -> usize {
        self.block_q
    }
    /// Keys in a sparsity block.
    pub fn block_kv(&self) -> usize {
        self.block_kv
    }
    /// Block pattern of a query head; `None` when every block is present.
    pub fn pattern(&self, head: usize) -> Option<&BlockPattern> {
        let heads = self.heads.as_ref()?;
        if heads.len() == 1 {
            heads.first()
        } else {
            heads.get(head)
        }
    }
    /// Patterns stored: 0 when every block is present, 1 when shared, else one per query head.
    pub fn pattern_count(&self) -> usize {
        self.heads.as_ref().map_or(0, Vec::len)
    }
    /// Whether keys after the diagonal are hidden.
    pub fn causal(&self) -> bool {
        self.causal
    }
    /// The window.
    pub fn window(&self) -> Window {
        self.window
    }
    /// Leading keys that every query sees.
    pub fn sinks(&self) -> usize {
        self.sinks
    }
    /// Tokens that see, and are seen by, everything; ascending.
    pub fn global(&self) -> &[usize] {
        &self.global
    }

    /// Whether query `q` of query head `head` attends to key `k`.
    pub fn is_visible(&self, head: usize, q: usize, k: usize) -> bool {
        let diagonal = q + self.seqlen_kv; // both sides of every comparison carry + seqlen_q
        let key = k + self.seqlen_q;
        if self.causal && key > diagonal {
            return false;
        }
        let in_window = self.window.left.is_none_or(|left| key + left >= diagonal)
            && self
                .window
                .right
                .is_none_or(|right| key <= diagonal + right);
        let in_block = self
            .pattern(head)
            .is_none_or(|pattern| pattern.contains(q / self.block_q, k / self.block_kv));
        (in_block && in_window)
            || k < self.sinks
            || self.global.binary_search(&q).is_ok()
            || self.global.binary_search(&k).is_ok()
    }
}

impl BlockPattern {
    /// Block columns present in a block row, ascending.
    pub fn row(&self, block_row: usize) -> &[usize] {
        let range: Range<usize> = self.row_ptr[block_row]..self.row_ptr[block_row + 1];
        &self.col_idx[range]
    }
    /// Whether a block is present.
    pub fn contains(&self, block_row: usize, block_column: usize) -> bool {
        self.row(block_row).binary_search(&block_column).is_ok()
    }
}
