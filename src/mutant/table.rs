//! The mutants: what is wrong, whose defect it was, and the simulator's switch for it.

use crate::simulation::Fault;

/// What a kernel must do for a mutant to be one of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// FlashAttention's forward pass over a layout.
    Plain,
    /// The same with a learned sink logit a head.
    Sinks,
    /// The same with tiles skipped by threshold (BSFA).
    Skipping,
}

/// A kernel that is wrong in one way.
#[derive(Clone, Copy, Debug)]
pub struct Mutant {
    /// Its name.
    pub name: &'static str,
    /// Group of the report.
    pub family: &'static str,
    /// What is wrong.
    pub what: &'static str,
    /// Where a kernel had this defect, or whose list names it.
    pub source: &'static str,
    /// The kernel it is one of.
    pub kind: Kind,
    /// The simulator's switch.
    pub fault: Fault,
    /// Why no legal input changes an output outside the specification, if that is so.
    pub equivalent: Option<&'static str>,
}

/// `name: Fault, "what", "source";` of a family.
macro_rules! family {
    ($list:ident, $kind:ident, $family:literal, $($name:literal: $fault:ident, $what:literal, $source:literal;)+) => {
        $list.extend([$(Mutant {
            name: $name,
            family: $family,
            what: $what,
            source: $source,
            kind: Kind::$kind,
            fault: Fault::$fault,
            equivalent: None,
        }),+]);
    };
}

/// Every mutant of the simulated kernel, by family.
pub fn mutants() -> Vec<Mutant> {
    let mut list = Vec::new();
    family!(list, Plain, "window",
        "window_left_wide": WindowLeftWide, "one key too many on the left", "https://github.com/huggingface/transformers/issues/39408";
        "window_left_narrow": WindowLeftNarrow, "one key too few on the left", "https://github.com/huggingface/transformers/issues/29623";
        "window_right_wide": WindowRightWide, "one key too many on the right", "https://github.com/zml/zml/pull/763";
        "window_right_clamped": WindowRightClamped, "an unbounded right reach becomes seqlen_kv", "https://github.com/Dao-AILab/flash-attention/issues/895";
        "window_ignored": WindowIgnored, "the window is never applied", "mistral.rs e95b78b54 (candle-flash-attn-v3)";
        "window_packed_position": PackedPosition, "with grouped heads the packed index is taken for the query", "https://github.com/vllm-project/vllm/issues/17476";
        "start_tile_late": StartTileLate, "the first tile of a window is not visited", "https://github.com/flashinfer-ai/flashinfer/pull/563";
        "extra_tiles": ExtraTiles, "every tile is visited, empty ones masked: right, but more work", "https://github.com/flashinfer-ai/flashinfer/pull/563";
    );
    family!(list, Plain, "causal",
        "causal_top_left": DiagonalTopLeft, "the diagonal begins at the first key", "https://github.com/microsoft/onnxruntime/issues/28904";
        "causal_sees_next": CausalSeesNext, "the next key is visible", "Mutation operator (<= for <)";
    );
    family!(list, Plain, "blocks",
        "block_sizes_swapped": BlockSizesSwapped, "block_q and block_kv change places", "https://github.com/pytorch/pytorch/pull/136657";
        "blocks_ignored": BlocksIgnored, "dense", "https://github.com/Dao-AILab/flash-attention/issues/2897";
        "list_stale_entry": ListStaleEntry, "one entry beyond the count is read", "https://github.com/flashinfer-ai/flashinfer/issues/5095";
        "list_duplicate_entry": ListDuplicateEntry, "the last entry is visited twice", "https://github.com/flashinfer-ai/flashinfer/pull/2802";
        "list_last_dropped": ListLastDropped, "the last entry is not visited", "Mutation operator (count - 1)";
        "list_of_next_row": ListOfNextRow, "the next row's list is read", "https://github.com/pytorch/pytorch/pull/136601";
        "partial_as_full": PartialAsFull, "partial tiles are not masked", "https://github.com/pytorch/pytorch/pull/136601";
        "pattern_of_first_head": FirstHeadPattern, "every head has the first head's pattern", "https://github.com/pytorch/pytorch/issues/139462";
    );
    family!(list, Plain, "tail",
        "tail_zero_score": TailZeroScore, "keys past the end are zeros with weight", "https://github.com/flashinfer-ai/flashinfer/pull/5090";
        "tail_next_rows": TailNextRows, "keys past the end are the next rows in memory", "https://github.com/pytorch/pytorch/issues/159247";
        "tiles_floor": TilesFloor, "tiles of keys are counted rounding down", "https://github.com/LMCache/LMCache/pull/3092";
        "query_tiles_floor": QueryTilesFloor, "tiles of queries are counted rounding down", "https://github.com/LMCache/LMCache/pull/3092";
        "last_key_hidden": LastKeyHidden, "the last key is hidden", "https://github.com/ikawrakow/ik_llama.cpp/issues/2186";
        "v_padding_nan": PaddingNan, "v past the end is NaN, times a weight of 0", "https://github.com/Dao-AILab/flash-attention/issues/1745";
    );
    family!(list, Plain, "mask",
        "hidden_zero_score": HiddenZeroScore, "hidden keys have score 0", "https://github.com/NVIDIA/cudnn-frontend/pull/861";
        "sentinel_1e4": Sentinel1e4, "hidden keys have score -1e4", "Mutation operator (finite sentinel)";
        "sentinel_5e4": Sentinel5e4, "-5e4 stands for -inf", "https://github.com/flashinfer-ai/flashinfer/issues/4267";
        "sentinel_1e30_fma": Sentinel1e30, "hidden keys have score -1e30, and the fused product leaves a residue", "https://github.com/microsoft/onnxruntime/issues/28904";
        "sinks_ignored": SinksIgnored, "leading keys are not kept", "https://github.com/kekzl/imp/issues/1303";
    );
    family!(list, Plain, "heads",
        "head_modulo": HeadModulo, "head mod num_kv_heads", "https://github.com/HazyResearch/HipKittens/pull/22";
        "head_identity": HeadIdentity, "query head = key head", "https://github.com/fla-org/flash-linear-attention/issues/1029";
        "head_group_crossed": HeadGroupCrossed, "the last head of a group reads the next group", "https://github.com/FlashML-org/FreeToken/pull/177";
        "batch_ignored": BatchIgnored, "the first sequence's keys for all", "https://github.com/microsoft/MInference/pull/201";
    );
    family!(list, Plain, "softmax",
        "sum_not_rescaled": SumNotRescaled, "the row sum is not rescaled", "Mutation operator (l not rescaled)";
        "output_not_rescaled": OutputNotRescaled, "the output is not rescaled", "Mutation operator (o not rescaled)";
        "max_of_first_tile": MaxOfFirstTile, "the maximum is the first tile's", "Mutation operator (m not updated)";
        "leading_guard_missing": LeadingGuardMissing, "-inf - -inf where leading tiles are hidden", "https://github.com/ikawrakow/ik_llama.cpp/issues/2344";
        "sum_of_rounded_weights": SumOfRounded, "the row sum adds rounded weights", "Mutation operator (P cast before the sum)";
        "sum_of_hidden_keys": SumOfHidden, "the row sum adds hidden keys", "Mutation operator (mask after the sum)";
        "scale_twice": ScaleTwice, "scores are scaled twice", "https://github.com/HKUSTDial/flash-sparse-attention/pull/106";
        "scale_missing": ScaleMissing, "scores are not scaled", "Mutation operator (scale)";
        "scale_of_padded_head": ScaleOfPaddedHead, "the scale of head_dim rounded up to 32", "Mutation operator (scale of padded head_dim)";
        "log2e_short": Log2eShort, "log2 e = 1.44", "Mutation operator (constant)";
    );
    family!(list, Plain, "stages",
        "stale_v": StaleV, "half of v's tile is still the tile before", "FlashAttention 1c41d2b0 (barrier missing)";
        "stale_k": StaleK, "half of k's tile is still the tile before", "https://github.com/ashalliants/ninfer-3090/pull/49";
        "stage_off_by_one_v": StageOffByOneV, "v is read from the other stage", "https://github.com/Dao-AILab/flash-attention/pull/2229";
        "stage_off_by_one_k": StageOffByOneK, "k is read from the other stage", "https://github.com/Dao-AILab/flash-attention/pull/2229";
    );
    family!(list, Plain, "formats",
        "weights_truncated": WeightTruncated, "weights are cut, not rounded", "Mutation operator (rounding of P)";
        "weights_bf16": WeightBf16, "weights are rounded to bf16 in an f16 kernel", "Mutation operator (format of P)";
        "accumulator_f16": AccumulatorF16, "the output is accumulated in f16", "Mutation operator (accumulator)";
    );
    family!(list, Plain, "empty rows",
        "empty_row_nan": EmptyRowNan, "0 / 0", "https://github.com/pytorch/pytorch/issues/109517";
        "empty_row_mean": EmptyRowMean, "the mean of v", "https://github.com/microsoft/onnxruntime/issues/28904";
        "empty_row_lse_infinite": EmptyRowLseInfinite, "lse = +inf", "https://github.com/Dao-AILab/flash-attention/pull/978";
        "empty_row_lse_zero": EmptyRowLseZero, "lse = 0", "https://github.com/pytorch/pytorch/pull/134650";
        "empty_row_lse_finite": EmptyRowLseFinite, "lse is a finite number", "https://github.com/flashinfer-ai/flashinfer/issues/4452";
    );
    family!(list, Plain, "lse",
        "lse_base2": LseBase2, "base 2", "FlashInfer and FlashAttention differ (API)";
        "lse_negated": LseNegated, "the other sign", "Mutation operator (sign)";
        "lse_scaled_twice": LseScaledTwice, "the maximum is scaled twice", "https://github.com/HKUSTDial/flash-sparse-attention/pull/106";
        "lse_not_scaled": LseNotScaled, "the maximum is not scaled", "Mutation operator (scale)";
    );
    family!(list, Sinks, "sink logits",
        "sink_forgotten": SinkForgotten, "not added", "https://github.com/kekzl/imp/issues/1303";
        "sink_twice": SinkTwice, "added twice", "https://github.com/ROCm/rocm-libraries/issues/12227";
        "sink_scaled": SinkScaled, "scaled as a score is", "https://github.com/ROCm/rocm-libraries/issues/12227";
    );
    family!(list, Skipping, "bsfa",
        "skip_strict": SkipStrict, "kept if above, not if at least, the threshold", "Mutation operator (< for <=)";
        "skip_kv_head": SkipKvHead, "thresholds looked up by the key head", "Block-Sparse-Flash-Attention c3ee81e";
        "skip_key_position": SkipKeyPosition, "thresholds looked up by the tile of keys", "Block-Sparse-Flash-Attention c3ee81e (documentation)";
        "skip_chunk_offset": SkipChunkOffset, "thresholds looked up without the queries' offset", "Block-Sparse-Flash-Attention c3ee81e";
        "skip_before_mask": SkipBeforeMask, "the maximum is over hidden keys too", "Block-Sparse-Flash-Attention c3ee81e";
        "skip_max_f16": SkipMaxF16, "the maximum is rounded to f16", "Mutation operator (f16 maximum)";
        "skip_unscaled": SkipUnscaled, "the maximum is not scaled", "Mutation operator (scale)";
        "skip_dense_sum": SkipDenseSum, "skipped tiles count in the row sum", "Mutation operator (dense denominator)";
        "skip_raises_max": SkipRaisesMax, "a skipped tile raises the maximum, and nothing is rescaled", "Mutation operator (m updated on skip)";
    );
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_mutant_has_a_name_and_a_fault_of_its_own() {
        let list = mutants();
        assert!(list.len() >= 60, "{}", list.len());
        let names: HashSet<&str> = list.iter().map(|mutant| mutant.name).collect();
        let faults: HashSet<Fault> = list.iter().map(|mutant| mutant.fault).collect();
        assert_eq!((names.len(), faults.len()), (list.len(), list.len()));
        assert!(!faults.contains(&Fault::None));
        for mutant in &list {
            assert!(!mutant.what.is_empty() && !mutant.source.is_empty());
            assert!(
                mutant
                    .name
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'),
                "{}",
                mutant.name
            );
        }
    }

    #[test]
    fn every_fault_of_the_simulator_is_in_the_table() {
        let source = include_str!("../simulation/fault.rs");
        let declared: Vec<&str> = source
            .lines()
            .filter_map(|line| line.strip_prefix("    ")?.strip_suffix(','))
            .filter(|name| *name != "None" && name.chars().all(char::is_alphanumeric))
            .collect();
        let planted: HashSet<String> = mutants()
            .iter()
            .map(|mutant| format!("{:?}", mutant.fault))
            .collect();
        assert_eq!(declared.len(), planted.len());
        for name in declared {
            assert!(planted.contains(name), "{name} is planted by no mutant");
        }
    }
}
