/// DEFECT: warps use the barriers before they are made.
///
/// Wrong      The thread that makes them is one of 384.
/// Ancestor   https://github.com/ashalliants/ninfer-3090/pull/49 (no barrier between threads)
/// Finding    mbarrier-init-unordered; statically mbarrier-unpublished
/// Case       head_dim=64 seqlen_q=64 seqlen_kv=64
/// Launch     as kernels/block_sparse_sm90.toml says, f16, head_dim 64 only
/// Repaired   -DREPAIRED: the step as common/paired_lists.cuh has it; the code is the kernel's

#include "../common/paired_lists.cuh"

struct Steps : flashproof::ListSteps {
  static __device__ __forceinline__ void publish_barriers() {
#ifdef REPAIRED
    flashproof::ListSteps::publish_barriers();
#else
    if (threadIdx.x == 0) {
      flashproof::barrier_init_fence();
    }
#endif
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kSpecialisedThreads, 1)
    block_sparse_sm90_f16_d64(
        __grid_constant__ flashproof::PairedListParameters<flashproof::F16> const parameters) {
  flashproof::specialised_attention<flashproof::F16, 64, Steps>(parameters);
}
