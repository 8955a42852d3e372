/// Block-Sparse FlashAttention: of the tiles of keys that causality and the window leave, those are
/// kept whose largest score reaches a calibrated threshold.
///
/// Computes   o = softmax(scale * q k^T over visible keys in kept tiles) v and lse, where
///            visible(q, k) = causal and window(q, k); the diagonal of query q is key
///            q + seqlen_kv - seqlen_q. A tile of 64 queries keeps a tile of 64 keys if
///            some pair of them is hidden (the edges of the mask, the last keys), or
///            max RN(score * scale) >= threshold, or it is the last tile and no other is kept. The
///            weights of tiles that are not kept count nowhere.
/// Inputs     as kernels/block_sparse_sm80.cu, without lists and sinks; and thresholds (lists,
///            threshold_count): f32, of scaled scores; not NaN. A list for each query head, or one for
///            all (threshold_stride = 0). Tile t of queries takes entry
///            min(threshold_first + t, threshold_count - 1).
/// Outputs    as kernels/block_sparse_sm80.cu; and kept (batch, num_q_heads, q_tiles, kept_words): u32,
///            bit k % 32 of word k / 32 says that tile k of keys was kept; 0 for tiles that no query sees.
/// Launch     grid (ceil(seqlen_q / 64), num_q_heads, batch), cta (128, 1, 1), dynamic shared bytes
///            5 * 64 * head_dim * 2 + 32.
/// Rounding   as kernels/block_sparse_sm80.cu
/// Barriers   one after the copies of q; two per tile: after the wait for its keys, and after the wait
///            for the values of the tile before, which also orders the writes of the four warps'
///            maxima before every warp's reads; one more before the values of the last tile.
/// Source     Ohayon et al., Block-Sparse FlashAttention (arXiv 2512.07011). Unlike the published
///            kernel, a tile is tested after its mask is known, a key and value head of a group
///            takes its query head's thresholds, threshold_first counts cached tiles, and the values
///            of a kept tile arrive while the next tile's scores are computed.

#include "../common/threshold.cuh"

/// f16, head_dim 32: 20,512 bytes of shared memory.
extern "C" __global__ void __launch_bounds__(flashproof::kThreads) bsfa_sm80_f16_d32(
    __grid_constant__ flashproof::ThresholdParameters<flashproof::F16> const parameters) {
  flashproof::threshold_attention<flashproof::F16, 32>(parameters);
}

/// f16, head_dim 64: 40,992 bytes of shared memory.
extern "C" __global__ void __launch_bounds__(flashproof::kThreads) bsfa_sm80_f16_d64(
    __grid_constant__ flashproof::ThresholdParameters<flashproof::F16> const parameters) {
  flashproof::threshold_attention<flashproof::F16, 64>(parameters);
}

/// f16, head_dim 128: 81,952 bytes of shared memory.
extern "C" __global__ void __launch_bounds__(flashproof::kThreads) bsfa_sm80_f16_d128(
    __grid_constant__ flashproof::ThresholdParameters<flashproof::F16> const parameters) {
  flashproof::threshold_attention<flashproof::F16, 128>(parameters);
}

/// bf16, head_dim 32: 20,512 bytes of shared memory.
extern "C" __global__ void __launch_bounds__(flashproof::kThreads) bsfa_sm80_bf16_d32(
    __grid_constant__ flashproof::ThresholdParameters<flashproof::Bf16> const parameters) {
  flashproof::threshold_attention<flashproof::Bf16, 32>(parameters);
}

/// bf16, head_dim 64: 40,992 bytes of shared memory.
extern "C" __global__ void __launch_bounds__(flashproof::kThreads) bsfa_sm80_bf16_d64(
    __grid_constant__ flashproof::ThresholdParameters<flashproof::Bf16> const parameters) {
  flashproof::threshold_attention<flashproof::Bf16, 64>(parameters);
}

/// bf16, head_dim 128: 81,952 bytes of shared memory.
extern "C" __global__ void __launch_bounds__(flashproof::kThreads) bsfa_sm80_bf16_d128(
    __grid_constant__ flashproof::ThresholdParameters<flashproof::Bf16> const parameters) {
  flashproof::threshold_attention<flashproof::Bf16, 128>(parameters);
}
