/// DEFECT: a wait leaves one group of products more unfinished than it may.
///
/// Wrong      Scores and outputs are read while products write them.
/// Ancestor   mutation operator: wait_group off by one
/// Finding    wgmma-accumulator-in-flight; statically stage-released-early, wgmma-operand-rewritten, wgmma-unwaited
/// Case       head_dim=64 seqlen_q=64 seqlen_kv=128
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
    flashproof::ListSteps::complete<Self, kPending + 1>(accumulator, empty_barrier);
#endif
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kSpecialisedThreads, 1)
    block_sparse_sm90_f16_d64(
        __grid_constant__ flashproof::PairedListParameters<flashproof::F16> const parameters) {
  flashproof::specialised_attention<flashproof::F16, 64, Steps>(parameters);
}
