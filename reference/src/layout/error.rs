//! What is wrong with a layout, with the values.

/// What is wrong with a layout, with the values.
///
/// ```
/// use flashproof_reference::{Extents, Layout, LayoutError};
/// // Two keys in one block column: column 1 does not exist.
/// let extents = Extents { seqlen_q: 1, seqlen_kv: 2, block_q: 2, block_kv: 2 };
/// let error = Layout::block_sparse(extents, vec![0, 1], vec![1]).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "col_idx[0] = 1 in block row 0 of head 0, but the layout has 1 block columns"
/// );
/// ```
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
    /// Columns of a block row are not strictly ascending.
    #[error(
        "col_idx[{entry}] = {column} in block row {block_row} of head {head} follows {previous}: columns must ascend without repetition"
    )]
    ColumnOrder {
        /// Head whose pattern it is.
        head: usize,
        /// Block row that holds the entry.
        block_row: usize,
        /// Index into `col_idx`.
        entry: usize,
        /// The value before it.
        previous: usize,
        /// The value found.
        column: usize,
    },
    /// `row_ptr` does not have one entry per block row and one more.
    #[error("row_ptr of head {head} has {found} entries, but {block_rows} block rows need {}", block_rows + 1)]
    RowPtrLength {
        /// Head whose pattern it is.
        head: usize,
        /// Entries found.
        found: usize,
        /// Block rows of the layout.
        block_rows: usize,
    },
    /// `row_ptr` does not start at 0.
    #[error("row_ptr[0] of head {head} is {found}, but must be 0")]
    RowPtrStart {
        /// Head whose pattern it is.
        head: usize,
        /// The value found.
        found: usize,
    },
    /// `row_ptr` descends.
    #[error("row_ptr[{index}] = {found} of head {head} is below row_ptr[{}] = {previous}", index - 1)]
    RowPtrDescends {
        /// Head whose pattern it is.
        head: usize,
        /// Index into `row_ptr`.
        index: usize,
        /// The value before it.
        previous: usize,
        /// The value found.
        found: usize,
    },
    /// The last entry of `row_ptr` is not the length of `col_idx`.
    #[error("row_ptr of head {head} ends at {found}, but col_idx has {entries} entries")]
    RowPtrEnd {
        /// Head whose pattern it is.
        head: usize,
        /// The value found.
        found: usize,
        /// Entries of `col_idx`.
        entries: usize,
    },
    /// A block extent is 0.
    #[error("{name} is 0, but a sparsity block needs at least one token a side")]
    ZeroBlock {
        /// `block_q` or `block_kv`.
        name: &'static str,
    },
    /// A length is above what a list of blocks may be built for.
    #[error("{name} is {found}, above the limit of {limit}")]
    TooLong {
        /// Which length.
        name: &'static str,
        /// The value found.
        found: usize,
        /// The largest accepted.
        limit: usize,
    },
    /// The grid of blocks is larger than this crate builds a pattern for.
    #[error(
        "{block_rows} x {block_columns} blocks are above the limit of {limit}: use larger blocks"
    )]
    TooManyBlocks {
        /// Block rows.
        block_rows: usize,
        /// Block columns.
        block_columns: usize,
        /// The largest accepted product.
        limit: usize,
    },
    /// A list of patterns without a pattern.
    #[error(
        "the list of heads is empty: give one pattern for all heads, one per query head, or no list"
    )]
    NoHeads,
    /// More patterns than any model has heads.
    #[error("{found} head patterns, above the limit of {limit}")]
    TooManyHeads {
        /// Patterns found.
        found: usize,
        /// The largest accepted number.
        limit: usize,
    },
    /// A global token is neither a query nor a key.
    #[error(
        "global[{index}] = {token}, but the sequences have {seqlen_q} queries and {seqlen_kv} keys"
    )]
    GlobalOutOfRange {
        /// Index into the list.
        index: usize,
        /// The value found.
        token: usize,
        /// Number of queries.
        seqlen_q: usize,
        /// Number of keys.
        seqlen_kv: usize,
    },
    /// Global tokens are not strictly ascending.
    #[error(
        "global[{index}] = {token} follows {previous}: global tokens must ascend without repetition"
    )]
    GlobalOrder {
        /// Index into the list.
        index: usize,
        /// The value before it.
        previous: usize,
        /// The value found.
        token: usize,
    },
    /// A density outside `0..=1`.
    #[error("density is {density}, but must lie in 0..=1")]
    Density {
        /// The value found, as text.
        density: String,
    },
    /// A stride of 0.
    #[error("stride is 0, but must be at least one block")]
    ZeroStride,
    /// Two layouts of different sequences.
    #[error("the layouts are of different lengths: {left:?} and {right:?} (seqlen_q, seqlen_kv)")]
    DifferentLengths {
        /// `(seqlen_q, seqlen_kv)` of the first.
        left: (usize, usize),
        /// `(seqlen_q, seqlen_kv)` of the second.
        right: (usize, usize),
    },
    /// Two layouts with patterns of different block sizes.
    #[error("the layouts have different blocks: {left:?} and {right:?} (block_q, block_kv)")]
    DifferentBlocks {
        /// `(block_q, block_kv)` of the first.
        left: (usize, usize),
        /// `(block_q, block_kv)` of the second.
        right: (usize, usize),
    },
    /// Two layouts with different numbers of head patterns, neither of them one.
    #[error(
        "the layouts have {left} and {right} head patterns: they must be equal, or one of them 1"
    )]
    DifferentHeads {
        /// Patterns of the first.
        left: usize,
        /// Patterns of the second.
        right: usize,
    },
    /// The result is a set of pairs, but not one that a layout can name.
    #[error("the {operation} is no layout, because the two differ in {field}")]
    NotExpressible {
        /// `union` or `intersection`.
        operation: &'static str,
        /// The field in which they differ.
        field: &'static str,
    },
    /// The text is not layout JSON.
    #[error("layout JSON, line {line}, column {column}: {message}")]
    Json {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What the parser found.
        message: String,
    },
    /// A version of the format that this crate does not read.
    #[error(
        "layout JSON has version {found}, but only version {supported} is known: was it written by a later release?"
    )]
    Version {
        /// The version found.
        found: u64,
        /// The version this crate reads.
        supported: u64,
    },
}
