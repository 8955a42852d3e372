//! What can be wrong with a simulated kernel, one thing at a time.

/// One fault. Each stands for a defect that some kernel had (the table of mutants says which); every one changes a single
/// decision of the right kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The kernel is right.
    #[default]
    None,

    // Which pairs are visible.
    /// One key too many on the left of the window.
    WindowLeftWide,
    /// One key too few on the left of the window.
    WindowLeftNarrow,
    /// One key too many on the right of the window.
    WindowRightWide,
    /// An unbounded right reach becomes `seqlen_kv` keys.
    WindowRightClamped,
    /// No window.
    WindowIgnored,
    /// The diagonal begins at the first key, not so that it ends at the last.
    DiagonalTopLeft,
    /// The causal mask lets the next key through.
    CausalSeesNext,
    /// Rows of blocks are taken `block_kv` high and columns `block_q` wide.
    BlockSizesSwapped,
    /// No blocks: dense.
    BlocksIgnored,
    /// Leading keys are not kept.
    SinksIgnored,
    /// A packed query index, `query * group + head`, is taken for the query, with grouped heads only.
    PackedPosition,
    /// Every head has the pattern of the first.
    FirstHeadPattern,

    // Which tiles are visited.
    /// One entry more than a list's count is read, and taken for a full tile.
    ListStaleEntry,
    /// The last entry of a list is visited twice.
    ListDuplicateEntry,
    /// The last entry of a list is not visited.
    ListLastDropped,
    /// The list of the next row of tiles is read.
    ListOfNextRow,
    /// Partial tiles are not masked.
    PartialAsFull,
    /// Tiles of keys are counted rounding down.
    TilesFloor,
    /// Tiles of queries are counted rounding down; what is not computed is 0 and `-inf`.
    QueryTilesFloor,
    /// The first tile of a window is not visited.
    StartTileLate,
    /// Every tile is visited, the empty ones masked: right, but more work.
    ExtraTiles,

    // What a tile shows.
    /// Keys past the end of the last tile are zeros with score 0.
    TailZeroScore,
    /// Keys past the end of the last tile are the next rows in memory.
    TailNextRows,
    /// The last key of the sequence is hidden.
    LastKeyHidden,
    /// Hidden keys have score 0.
    HiddenZeroScore,
    /// Hidden keys have score -1e4.
    Sentinel1e4,
    /// -5e4 stands for `-inf` in scores and in the row maximum.
    Sentinel5e4,
    /// Hidden keys have score -1e30, and the fused product with the scale leaves a residue.
    Sentinel1e30,

    // Which head is read.
    /// `q_head mod num_kv_heads`.
    HeadModulo,
    /// `q_head`, or the last one.
    HeadIdentity,
    /// The last head of a group reads the next group's keys.
    HeadGroupCrossed,
    /// The first sequence's keys for every sequence.
    BatchIgnored,

    // Online softmax.
    /// The row sum is not rescaled when the maximum grows.
    SumNotRescaled,
    /// The output is not rescaled when the maximum grows.
    OutputNotRescaled,
    /// The maximum is that of the first tile.
    MaxOfFirstTile,
    /// `-inf - -inf` where a row's leading tiles are hidden.
    LeadingGuardMissing,
    /// The row sum adds rounded weights.
    SumOfRounded,
    /// The row sum adds hidden keys.
    SumOfHidden,
    /// Scores are scaled twice.
    ScaleTwice,
    /// Scores are not scaled.
    ScaleMissing,
    /// The scale is that of the head dimension rounded up to 32.
    ScaleOfPaddedHead,
    /// `log2 e = 1.44`.
    Log2eShort,

    // What lies in a stage of shared memory.
    /// The second half of v's tile is still the tile before.
    StaleV,
    /// The second half of k's tile is still the tile before.
    StaleK,
    /// v is read from the other stage.
    StageOffByOneV,
    /// k is read from the other stage.
    StageOffByOneK,
    /// v past the end of the sequence is NaN.
    PaddingNan,

    // Formats.
    /// Weights are cut, not rounded.
    WeightTruncated,
    /// Weights are rounded to bf16 where inputs are f16.
    WeightBf16,
    /// The output is accumulated in f16 where inputs are f16.
    AccumulatorF16,

    // Rows that see nothing, and the log-sum-exp.
    /// `0 / 0`.
    EmptyRowNan,
    /// The mean of v.
    EmptyRowMean,
    /// `lse = +inf`.
    EmptyRowLseInfinite,
    /// `lse = 0`.
    EmptyRowLseZero,
    /// `lse = -5e4 ln 2`.
    EmptyRowLseFinite,
    /// Base 2.
    LseBase2,
    /// The other sign.
    LseNegated,
    /// The maximum is scaled twice.
    LseScaledTwice,
    /// The maximum is not scaled.
    LseNotScaled,

    // Learned sink logits.
    /// Not added.
    SinkForgotten,
    /// Added twice.
    SinkTwice,
    /// Scaled as a score is.
    SinkScaled,

    // Skipping by threshold (BSFA).
    /// A tile is kept if its maximum is above, not at least, the threshold.
    SkipStrict,
    /// Thresholds are looked up by the key head.
    SkipKvHead,
    /// Thresholds are looked up by the tile of keys.
    SkipKeyPosition,
    /// Thresholds are looked up without the offset of the queries in the sequence.
    SkipChunkOffset,
    /// The maximum is over hidden keys too.
    SkipBeforeMask,
    /// The maximum is rounded to f16.
    SkipMaxF16,
    /// The maximum is not scaled.
    SkipUnscaled,
    /// Skipped tiles still count in the row sum.
    SkipDenseSum,
    /// A skipped tile raises the maximum, and nothing is rescaled.
    SkipRaisesMax,
}
