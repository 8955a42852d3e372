/// DEFECT: the copies of the next tile start before every warp has read the tile they overwrite.
///
/// Wrong      Started above the barrier, they need another one at the end of the loop, which is
///            missing: a quick warp overwrites the buffer of the tile before while a slow one still
///            reads it. The numbers stay right on a schedule that is kind.
/// Ancestor   https://github.com/Dao-AILab/flash-attention commit 1c41d2b0;
///            https://github.com/ggml-org/llama.cpp/pull/13438
/// Finding    shared-race; statically interval-race
/// Case       seqlen_q=64 seqlen_kv=256
/// Launch     as kernels/block_sparse_sm80.toml says, head_dim 32 only
/// Repaired   -DREPAIRED: the step as common/steps.cuh has it

#include "../common/block_sparse.cuh"

struct Steps : flashproof::AttentionSteps {
  template <typename StartCopies>
  static __device__ __forceinline__ void exchange_buffers(StartCopies start_copies) {
#ifdef REPAIRED
    flashproof::copy_async_wait<0>();
    __syncthreads();
    start_copies();
#else
    start_copies();
    flashproof::copy_async_wait<1>();
    __syncthreads();
#endif
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kThreads) block_sparse_sm80_f16_d32(
    __grid_constant__ flashproof::BlockSparseParameters<flashproof::F16> const parameters) {
  flashproof::block_sparse_attention<flashproof::F16, 32, Steps>(parameters);
}
