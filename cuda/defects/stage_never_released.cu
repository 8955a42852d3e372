/// DEFECT: buffers of values are never handed back.
///
/// Wrong      Nothing is noticed before the ring comes round: lists of up to four tiles are right.
/// Ancestor   https://github.com/flashinfer-ai/flashinfer/issues/3578 (hangs from a length on)
/// Finding    deadlock; statically phase-never-completes
/// Case       head_dim=64 seqlen_q=64 seqlen_kv=384
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
    flashproof::warpgroup_wait<kPending>();
    flashproof::fence_registers(accumulator);
    if (kPending == 1) {
      release(empty_barrier);
    }
#endif
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kSpecialisedThreads, 1)
    block_sparse_sm90_f16_d64(
        __grid_constant__ flashproof::PairedListParameters<flashproof::F16> const parameters) {
  flashproof::specialised_attention<flashproof::F16, 64, Steps>(parameters);
}
