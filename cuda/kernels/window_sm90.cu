/// Dense, causal and windowed attention on Hopper, after FlashAttention-3: a warp that copies by TMA,
/// two warpgroups that compute 64 queries each with wgmma, weights kept in registers.
///
/// Computes   as kernels/window_sm80.cu
/// Inputs     as kernels/block_sparse_sm90.cu, without the lists
/// Outputs    as kernels/window_sm80.cu
/// Launch     grid (any number of CTAs: as many as the card has multiprocessors, at most the tiles of
///            128 queries, 1, 1), cta (384, 1, 1), dynamic shared bytes 10 * 64 * head_dim * 2 + 1280.
/// Rounding   as kernels/block_sparse_sm90.cu
/// Barriers   as kernels/block_sparse_sm90.cu
/// Source     Shah et al., FlashAttention-3 (arXiv 2407.08608); the window and the sinks as
///            kernels/window_sm80.cu. A warpgroup visits the tiles of the other's queries too, with
///            weights of 0 where it sees nothing: at most one tile at either end of the window. CTAs
///            take the last tiles of queries of every head first.

#include "../common/paired_window.cuh"

/// f16, head_dim 64: 83,200 bytes of shared memory.
extern "C" __global__ void __launch_bounds__(flashproof::kSpecialisedThreads, 1)
    window_sm90_f16_d64(
        __grid_constant__ flashproof::PairedWindowParameters<flashproof::F16> const parameters) {
  flashproof::specialised_attention<flashproof::F16, 64>(parameters);
}

/// f16, head_dim 128: 165,120 bytes of shared memory.
extern "C" __global__ void __launch_bounds__(flashproof::kSpecialisedThreads, 1)
    window_sm90_f16_d128(
        __grid_constant__ flashproof::PairedWindowParameters<flashproof::F16> const parameters) {
  flashproof::specialised_attention<flashproof::F16, 128>(parameters);
}

/// bf16, head_dim 64: 83,200 bytes of shared memory.
extern "C" __global__ void __launch_bounds__(flashproof::kSpecialisedThreads, 1)
    window_sm90_bf16_d64(
        __grid_constant__ flashproof::PairedWindowParameters<flashproof::Bf16> const parameters) {
  flashproof::specialised_attention<flashproof::Bf16, 64>(parameters);
}

/// bf16, head_dim 128: 165,120 bytes of shared memory.
extern "C" __global__ void __launch_bounds__(flashproof::kSpecialisedThreads, 1)
    window_sm90_bf16_d128(
        __grid_constant__ flashproof::PairedWindowParameters<flashproof::Bf16> const parameters) {
  flashproof::specialised_attention<flashproof::Bf16, 128>(parameters);
}
