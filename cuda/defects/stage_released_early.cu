/// DEFECT: a buffer is handed back while products read it.
///
/// Wrong      The copying thread may overwrite it as soon as both warpgroups have arrived.
/// Ancestor   https://github.com/Dao-AILab/flash-attention commit 1c41d2b0 (overwritten while it is
///            read)
/// Finding    wgmma-operand-overwritten; statically stage-released-early
/// Case       head_dim=64 seqlen_q=64 seqlen_kv=512
/// Launch     as kernels/block_sparse_sm90.toml says, f16, head_dim 64 only
/// Repaired   -DREPAIRED: the step as common/paired_lists.cuh has it; the code is the kernel's

#include "../common/paired_lists.cuh"

struct Steps : flashproof::ListSteps {
  template <typename Self, int kPending, int kRows>
  static __device__ __forceinline__ void complete(float (&accumulator)[kRows][4],
                                                  std::uint32_t empty_barrier) {
#ifdef REPAIRED
    flashproof::ListSteps::complete<Self, kPending>(accumulator, empty_barrier);
#else
    release(empty_barrier);
    flashproof::warpgroup_wait<kPending>();
    flashproof::fence_registers(accumulator);
#endif
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kSpecialisedThreads, 1)
    block_sparse_sm90_f16_d64(
        __grid_constant__ flashproof::PairedListParameters<flashproof::F16> const parameters) {
  flashproof::specialised_attention<flashproof::F16, 64, Steps>(parameters);
}
