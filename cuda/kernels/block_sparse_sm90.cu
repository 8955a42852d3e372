/// Block-sparse attention on Hopper, after FlashAttention-3: a warp that copies by TMA, two
/// warpgroups that compute 64 queries each with wgmma, weights kept in registers.
///
/// Computes   as kernels/block_sparse_sm80.cu
/// Inputs     q (batch, num_q_heads, seqlen_q, head_dim), k and v (batch, num_kv_heads, seqlen_kv,
///            head_dim): f16 or bf16, as tensor maps of 3 axes (head_dim, seqlen, heads of all
///            sequences), boxes of 64 x 64 x 1, 128-byte swizzle; finite. row_ptr (lists, q_tiles + 1), col_idx
///            (tiles), tile_mask (tiles, 2): u32, as kernels/block_sparse_sm80.cu but for tiles of 128 queries,
///            one word of tile_mask for each 64 of them. order (batch * num_q_heads * q_tiles): u32,
///            (batch * num_q_heads + q_head) * q_tiles + tile, the longest lists first.
/// Outputs    as kernels/block_sparse_sm80.cu
/// Launch     grid (any number of CTAs: as many as the card has multiprocessors, at most the tiles of
///            queries, 1, 1), cta (384, 1, 1), dynamic shared bytes 10 * 64 * head_dim * 2 + 1280.
/// Rounding   score: wgmma over channels 0-15, 16-31, .. into one f32. weight, row_sum, lse and the
///            division as kernels/block_sparse_sm80.cu. o: RN(o * rescale), then wgmma over keys 0-15,
///            16-31, .. of the tile.
/// Barriers   full and empty mbarriers of q, and of 4 stages of k and of v: the copying thread arrives
///            and expects the bytes, the first thread of either warpgroup arrives when all have read.
///            Named barriers 1 and 2 give the warpgroups turns at the tensor cores.
/// Source     Shah et al., FlashAttention-3 (arXiv 2407.08608): warp specialisation, turns, products
///            with values under the next tile's exponentials; the tile list in place of its range.

#include "../common/paired_lists.cuh"

/// f16, head_dim 64: 83,200 bytes of shared memory.
extern "C" __global__ void __launch_bounds__(flashproof::kSpecialisedThreads, 1)
    block_sparse_sm90_f16_d64(
        __grid_constant__ flashproof::PairedListParameters<flashproof::F16> const parameters) {
  flashproof::specialised_attention<flashproof::F16, 64, flashproof::ListSteps>(parameters);
}

/// f16, head_dim 128: 165,120 bytes of shared memory.
extern "C" __global__ void __launch_bounds__(flashproof::kSpecialisedThreads, 1)
    block_sparse_sm90_f16_d128(
        __grid_constant__ flashproof::PairedListParameters<flashproof::F16> const parameters) {
  flashproof::specialised_attention<flashproof::F16, 128, flashproof::ListSteps>(parameters);
}

/// bf16, head_dim 64: 83,200 bytes of shared memory.
extern "C" __global__ void __launch_bounds__(flashproof::kSpecialisedThreads, 1)
    block_sparse_sm90_bf16_d64(
        __grid_constant__ flashproof::PairedListParameters<flashproof::Bf16> const parameters) {
  flashproof::specialised_attention<flashproof::Bf16, 64, flashproof::ListSteps>(parameters);
}

/// bf16, head_dim 128: 165,120 bytes of shared memory.
extern "C" __global__ void __launch_bounds__(flashproof::kSpecialisedThreads, 1)
    block_sparse_sm90_bf16_d128(
        __grid_constant__ flashproof::PairedListParameters<flashproof::Bf16> const parameters) {
  flashproof::specialised_attention<flashproof::Bf16, 128, flashproof::ListSteps>(parameters);
}
