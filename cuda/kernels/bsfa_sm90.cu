/// Block-Sparse FlashAttention on Hopper: one warp copies keys by TMA, one the values of tiles that are
/// kept, two warpgroups compute 64 queries each with wgmma and decide for themselves.
///
/// Computes   as kernels/bsfa_sm80.cu: tiles of 64 queries decide, two of them to a CTA
/// Inputs     q, k and v as kernels/window_sm90.cu; thresholds as kernels/bsfa_sm80.cu
/// Outputs    as kernels/bsfa_sm80.cu
/// Launch     grid (any number of CTAs: as many as the card has multiprocessors, at most the tiles of
///            128 queries, 1, 1), cta (384, 1, 1), dynamic shared bytes 10 * 64 * head_dim * 2 + 1344.
/// Rounding   as kernels/block_sparse_sm90.cu
/// Barriers   as kernels/block_sparse_sm90.cu; and for each stage of v one mbarrier at which both
///            warpgroups arrive with their decisions, before its values are copied or passed over. Named
///            barriers 3 and 4 order the maxima of a warpgroup's 4 warps.
/// Source     Ohayon et al., Block-Sparse FlashAttention (arXiv 2512.07011), as kernels/bsfa_sm80.cu has
///            it, on the pipeline of Shah et al., FlashAttention-3 (arXiv 2407.08608). Values are asked
///            for when both warpgroups have decided, and needed two tiles later, so the scores of a tile
///            of each lie between; values that neither keeps are never read.

#include "../common/specialised_threshold.cuh"

/// f16, head_dim 64: 83,264 bytes of shared memory.
extern "C" __global__ void __launch_bounds__(flashproof::kSpecialisedThreads, 1) bsfa_sm90_f16_d64(
    __grid_constant__ flashproof::PairedThresholdParameters<flashproof::F16> const parameters) {
  flashproof::specialised_threshold_attention<flashproof::F16, 64>(parameters);
}

/// f16, head_dim 128: 165,184 bytes of shared memory.
extern "C" __global__ void __launch_bounds__(flashproof::kSpecialisedThreads, 1) bsfa_sm90_f16_d128(
    __grid_constant__ flashproof::PairedThresholdParameters<flashproof::F16> const parameters) {
  flashproof::specialised_threshold_attention<flashproof::F16, 128>(parameters);
}

/// bf16, head_dim 64: 83,264 bytes of shared memory.
extern "C" __global__ void __launch_bounds__(flashproof::kSpecialisedThreads, 1) bsfa_sm90_bf16_d64(
    __grid_constant__ flashproof::PairedThresholdParameters<flashproof::Bf16> const parameters) {
  flashproof::specialised_threshold_attention<flashproof::Bf16, 64>(parameters);
}

/// bf16, head_dim 128: 165,184 bytes of shared memory.
extern "C" __global__ void
__launch_bounds__(flashproof::kSpecialisedThreads, 1) bsfa_sm90_bf16_d128(
    __grid_constant__ flashproof::PairedThresholdParameters<flashproof::Bf16> const parameters) {
  flashproof::specialised_threshold_attention<flashproof::Bf16, 128>(parameters);
}
