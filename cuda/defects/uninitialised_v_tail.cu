/// DEFECT: rows of values past the last key are left as shared memory had them.
///
/// Wrong      Their weights are 0, but 0 * NaN is NaN and shared memory may hold any bits. A
///            harness whose memory starts as zeros never sees it.
/// Ancestor   https://github.com/Dao-AILab/flash-attention/issues/1745,
///            https://github.com/NVIDIA/cudnn-frontend/issues/624,
///            https://github.com/vllm-project/vllm/pull/53856
/// Finding    uninitialised-store
/// Case       seqlen_q=16 seqlen_kv=17
/// Launch     as kernels/block_sparse_sm80.toml says, head_dim 32 only
/// Repaired   -DREPAIRED: the step as common/steps.cuh has it

#include "../common/block_sparse.cuh"

struct Steps : flashproof::AttentionSteps {
  template <int kHeadDim>
  static __device__ __forceinline__ void copy_values(std::uint32_t tile, __half const* v, int key,
                                                     int seqlen_kv) {
#ifdef REPAIRED
    flashproof::Tile<kHeadDim>::copy_async(tile, v, key, seqlen_kv);
#else
    using Tile = flashproof::Tile<kHeadDim>;
    for (int i = 0; i < flashproof::kTileRows * Tile::kChunks / flashproof::kThreads; ++i) {
      std::uint32_t const index = threadIdx.x + i * flashproof::kThreads;
      std::uint32_t const row = index / Tile::kChunks;
      std::uint32_t const chunk = index % Tile::kChunks;
      std::int64_t const source_row = key + static_cast<std::int64_t>(row);
      if (source_row < seqlen_kv) {
        flashproof::copy_async_16(tile + Tile::offset(row, chunk),
                                  v + source_row * kHeadDim + chunk * 8, 16);
      }
    }
#endif
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kThreads) block_sparse_sm80_f16_d32(
    __grid_constant__ flashproof::BlockSparseParameters<flashproof::F16> const parameters) {
  flashproof::block_sparse_attention<flashproof::F16, 32, Steps>(parameters);
}
