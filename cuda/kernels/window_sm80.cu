/// Dense, causal and windowed attention after FlashAttention-2: one CTA per 64 queries of a head,
/// tensor cores, online softmax in base 2, the next tile copied while this one is computed.
///
/// Computes   o = softmax(scale * q k^T over visible keys) v and lse, where
///            visible(q, k) = causal and (window(q, k) or k < sinks); the diagonal of query q is key
///            q + seqlen_kv - seqlen_q. Unbounded on both sides, without sinks, it is dense
///            attention. The key and value head of a query head is
///            q_head / (num_q_heads / num_kv_heads).
/// Inputs     as kernels/block_sparse_sm80.cu, without the lists
/// Outputs    as kernels/block_sparse_sm80.cu
/// Launch     grid (ceil(seqlen_q / 64), num_q_heads, batch), cta (128, 1, 1), dynamic shared bytes
///            5 * 64 * head_dim * 2.
/// Rounding   as kernels/block_sparse_sm80.cu
/// Barriers   as kernels/block_sparse_sm80.cu
/// Source     Dao, FlashAttention-2 (arXiv 2307.08691), algorithm 1; Beltagy, Peters and Cohan,
///            Longformer (arXiv 2004.05150), for the window; Xiao et al., attention sinks (arXiv
///            2309.17453). Visits the tiles of the sinks, then those of the window, nothing between.

#include "../common/window.cuh"

/// f16, head_dim 32: 20,480 bytes of shared memory.
extern "C" __global__ void __launch_bounds__(flashproof::kThreads) window_sm80_f16_d32(
    __grid_constant__ flashproof::WindowParameters<flashproof::F16> const parameters) {
  flashproof::window_attention<flashproof::F16, 32>(parameters);
}

/// f16, head_dim 64: 40,960 bytes of shared memory.
extern "C" __global__ void __launch_bounds__(flashproof::kThreads) window_sm80_f16_d64(
    __grid_constant__ flashproof::WindowParameters<flashproof::F16> const parameters) {
  flashproof::window_attention<flashproof::F16, 64>(parameters);
}

/// f16, head_dim 128: 81,920 bytes of shared memory.
extern "C" __global__ void __launch_bounds__(flashproof::kThreads) window_sm80_f16_d128(
    __grid_constant__ flashproof::WindowParameters<flashproof::F16> const parameters) {
  flashproof::window_attention<flashproof::F16, 128>(parameters);
}

/// bf16, head_dim 32: 20,480 bytes of shared memory.
extern "C" __global__ void __launch_bounds__(flashproof::kThreads) window_sm80_bf16_d32(
    __grid_constant__ flashproof::WindowParameters<flashproof::Bf16> const parameters) {
  flashproof::window_attention<flashproof::Bf16, 32>(parameters);
}

/// bf16, head_dim 64: 40,960 bytes of shared memory.
extern "C" __global__ void __launch_bounds__(flashproof::kThreads) window_sm80_bf16_d64(
    __grid_constant__ flashproof::WindowParameters<flashproof::Bf16> const parameters) {
  flashproof::window_attention<flashproof::Bf16, 64>(parameters);
}

/// bf16, head_dim 128: 81,920 bytes of shared memory.
extern "C" __global__ void __launch_bounds__(flashproof::kThreads) window_sm80_bf16_d128(
    __grid_constant__ flashproof::WindowParameters<flashproof::Bf16> const parameters) {
  flashproof::window_attention<flashproof::Bf16, 128>(parameters);
}
