/// DEFECT: a tile is read after waiting for the reader's own copies only.
///
/// Wrong      cp.async.wait_group makes a thread's copies visible to that thread. A warp also reads
///            the rows that other warps copy; without the barrier nothing orders these, nor the
///            copies into the other buffer after its last reads.
/// Ancestor   https://github.com/ashalliants/ninfer-3090/pull/49
/// Finding    shared-race; statically copy-wait-barrier, interval-race
/// Case       seqlen_q=64 seqlen_kv=256
/// Launch     as kernels/block_sparse_sm80.toml says, head_dim 32 only
/// Repaired   -DREPAIRED: the step as common/steps.cuh has it

#include "../common/block_sparse.cuh"

struct Steps : flashproof::AttentionSteps {
  template <typename StartCopies>
  static __device__ __forceinline__ void exchange_buffers(StartCopies start_copies) {
    flashproof::copy_async_wait<0>();
#ifdef REPAIRED
    __syncthreads();
#endif
    start_copies();
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kThreads) block_sparse_sm80_f16_d32(
    __grid_constant__ flashproof::BlockSparseParameters<flashproof::F16> const parameters) {
  flashproof::block_sparse_attention<flashproof::F16, 32, Steps>(parameters);
}
