/// DEFECT: every thread of a warpgroup hands a buffer back.
///
/// Wrong      The barrier counts warpgroups: 256 arrivals for 2.
/// Ancestor   mutation operator: number of arrivals
/// Finding    deadlock, mbarrier-over-arrival; statically phase-arrivals
/// Case       head_dim=64 seqlen_q=64 seqlen_kv=512
/// Launch     as kernels/block_sparse_sm90.toml says, f16, head_dim 64 only
/// Repaired   -DREPAIRED: the step as common/paired_lists.cuh has it; the code is the kernel's

#include "../common/paired_lists.cuh"

struct Steps : flashproof::ListSteps {
  static __device__ __forceinline__ void release(std::uint32_t empty_barrier) {
#ifdef REPAIRED
    flashproof::ListSteps::release(empty_barrier);
#else
    flashproof::barrier_arrive(empty_barrier);
#endif
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kSpecialisedThreads, 1)
    block_sparse_sm90_f16_d64(
        __grid_constant__ flashproof::PairedListParameters<flashproof::F16> const parameters) {
  flashproof::specialised_attention<flashproof::F16, 64, Steps>(parameters);
}
