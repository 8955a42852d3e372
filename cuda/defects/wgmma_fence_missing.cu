/// DEFECT: registers are written and multiplied without a fence.
///
/// Wrong      The products may read them as they were before.
/// Ancestor   https://github.com/pengcuo/FlashMLA-ETAP/pull/3 (a fence left out)
/// Finding    wgmma-fence-missing; statically wgmma-unfenced
/// Case       head_dim=64 seqlen_q=64 seqlen_kv=128
/// Launch     as kernels/block_sparse_sm90.toml says, f16, head_dim 64 only
/// Repaired   -DREPAIRED: the step as common/paired_lists.cuh has it; the code is the kernel's

#include "../common/paired_lists.cuh"

struct Steps : flashproof::ListSteps {
  template <int kScoreRows, int kOutputRows>
  static __device__ __forceinline__ void before_products(float (&score)[kScoreRows][4],
                                                         float (&o)[kOutputRows][4]) {
#ifdef REPAIRED
    flashproof::ListSteps::before_products(score, o);
#else
    flashproof::fence_registers(score);
    flashproof::fence_registers(o);
#endif
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kSpecialisedThreads, 1)
    block_sparse_sm90_f16_d64(
        __grid_constant__ flashproof::PairedListParameters<flashproof::F16> const parameters) {
  flashproof::specialised_attention<flashproof::F16, 64, Steps>(parameters);
}
