/// Block-sparse attention after FlashAttention-2: one CTA per 64 queries of a head, tensor cores,
/// online softmax in base 2, the next tile copied while this one is computed.
///
/// Computes   o = softmax(scale * q k^T over visible keys) v and lse, where
///            visible(q, k) = causal and ((block(q, k) and window(q, k)) or k < sinks); the diagonal
///            of query q is key q + seqlen_kv - seqlen_q. The key and value head of a query head is
///            q_head / (num_q_heads / num_kv_heads).
/// Inputs     q (batch, num_q_heads, seqlen_q, head_dim), k and v (batch, num_kv_heads, seqlen_kv,
///            head_dim): f16 or bf16, row-major, 16-byte aligned; finite. seqlen_q >= 1, seqlen_kv >= 0,
///            seqlen_q + seqlen_kv <= 2^29. num_kv_heads divides num_q_heads. scale > 0, and
///            scale * score below 2^126 in magnitude.
///            row_ptr (lists, q_tiles + 1), col_idx (tiles), tile_mask (tiles): u32. A list for each
///            query head, or one for all (row_ptr_stride = 0). Entries row_ptr[t] to row_ptr[t + 1]
///            are the tiles of 64 keys, ascending, in which a query of tile t sees a key. tile_mask:
///            bit 4 * (q / 16) + k / 16 says that the sparsity block over these 16 x 16 pairs of the
///            tile is present; bit 16, that all 64 keys exist and every query of the tile sees them.
/// Outputs    o (batch, num_q_heads, seqlen_q, head_dim): as q; a row that sees no key is 0.
///            lse (batch, num_q_heads, seqlen_q): f32, ln(sum of exp(scale * score)), natural; a row
///            that sees no key is -inf.
/// Launch     grid (ceil(seqlen_q / 64), num_q_heads, batch), cta (128, 1, 1), dynamic shared bytes
///            5 * 64 * head_dim * 2.
/// Rounding   score: mma over channels 0-15, 16-31, .. into one f32. weight: ex2.approx of
///            RN(RN(score - row_max) * scale_log2), in q's format (RN) as an operand of the second product,
///            f32 in row_sum. row_sum: a lane adds its 16 keys of a tile in ascending order from 0,
///            then row_sum = fma(row_sum, rescale, that); at the end lanes l and l ^ 1, then l and
///            l ^ 2. o: RN(o * rescale), then mma over keys 0-15, 16-31, .. of the tile; at the end
///            RN(o * RN(1 / row_sum)), rounded to q's format. lse: fma(row_max, scale, RN(lg2.approx(row_sum) * ln2)).
///            Approximate: ex2, lg2. Nothing else is fused (--fmad=false).
/// Barriers   one after the copies of q; one per tile, after the wait for its copies: it orders
///            these before every warp's reads, and the reads of the tile before it ahead of the
///            copies that overwrite them.
/// Source     Dao, FlashAttention-2 (arXiv 2307.08691), algorithm 1; the tile list in place of its
///            inner loop's range.

#include "../common/block_sparse.cuh"

/// f16, head_dim 32: 20,480 bytes of shared memory.
extern "C" __global__ void __launch_bounds__(flashproof::kThreads) block_sparse_sm80_f16_d32(
    __grid_constant__ flashproof::BlockSparseParameters<flashproof::F16> const parameters) {
  flashproof::block_sparse_attention<flashproof::F16, 32>(parameters);
}

/// f16, head_dim 64: 40,960 bytes of shared memory.
extern "C" __global__ void __launch_bounds__(flashproof::kThreads) block_sparse_sm80_f16_d64(
    __grid_constant__ flashproof::BlockSparseParameters<flashproof::F16> const parameters) {
  flashproof::block_sparse_attention<flashproof::F16, 64>(parameters);
}

/// f16, head_dim 128: 81,920 bytes of shared memory.
extern "C" __global__ void __launch_bounds__(flashproof::kThreads) block_sparse_sm80_f16_d128(
    __grid_constant__ flashproof::BlockSparseParameters<flashproof::F16> const parameters) {
  flashproof::block_sparse_attention<flashproof::F16, 128>(parameters);
}

/// bf16, head_dim 32: 20,480 bytes of shared memory.
extern "C" __global__ void __launch_bounds__(flashproof::kThreads) block_sparse_sm80_bf16_d32(
    __grid_constant__ flashproof::BlockSparseParameters<flashproof::Bf16> const parameters) {
  flashproof::block_sparse_attention<flashproof::Bf16, 32>(parameters);
}

/// bf16, head_dim 64: 40,960 bytes of shared memory.
extern "C" __global__ void __launch_bounds__(flashproof::kThreads) block_sparse_sm80_bf16_d64(
    __grid_constant__ flashproof::BlockSparseParameters<flashproof::Bf16> const parameters) {
  flashproof::block_sparse_attention<flashproof::Bf16, 64>(parameters);
}

/// bf16, head_dim 128: 81,920 bytes of shared memory.
extern "C" __global__ void __launch_bounds__(flashproof::kThreads) block_sparse_sm80_bf16_d128(
    __grid_constant__ flashproof::BlockSparseParameters<flashproof::Bf16> const parameters) {
  flashproof::block_sparse_attention<flashproof::Bf16, 128>(parameters);
}
