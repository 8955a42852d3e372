/// DEFECT: the wait for a tile's copies lets one group stay unfinished, and there is only one.
///
/// Wrong      At the top of the loop the only unfinished group holds the tile about to be read;
///            wait_group 1 waits for nothing. It was right when the copies of the next tile were
///            started before it.
/// Ancestor   https://github.com/Dao-AILab/flash-attention commit 1c41d2b0 (a buffer in flight
///            while it is read); the mutation operator "stage index off by one"
/// Finding    async-copy-read-early; statically copy-wait-distance
/// Case       seqlen_q=64 seqlen_kv=256
/// Launch     as kernels/block_sparse_sm80.toml says, head_dim 32 only
/// Repaired   -DREPAIRED: the step as common/steps.cuh has it

#include "../common/block_sparse.cuh"

struct Steps : flashproof::AttentionSteps {
  template <typename StartCopies>
  static __device__ __forceinline__ void exchange_buffers(StartCopies start_copies) {
#ifdef REPAIRED
    flashproof::copy_async_wait<0>();
#else
    flashproof::copy_async_wait<1>();
#endif
    __syncthreads();
    start_copies();
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kThreads) block_sparse_sm80_f16_d32(
    __grid_constant__ flashproof::BlockSparseParameters<flashproof::F16> const parameters) {
  flashproof::block_sparse_attention<flashproof::F16, 32, Steps>(parameters);
}
