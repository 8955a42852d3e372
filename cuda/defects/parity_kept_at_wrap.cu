/// DEFECT: a reader keeps its parity when it comes back to the first buffer.
///
/// Wrong      The phase of the round before has completed, so the wait waits for nothing.
/// Ancestor   mutation operator: stage phase not flipped
/// Finding    bulk-copy-read-early; statically stage-read-early
/// Case       head_dim=64 seqlen_q=64 seqlen_kv=384
/// Launch     as kernels/block_sparse_sm90.toml says, f16, head_dim 64 only
/// Repaired   -DREPAIRED: the step as common/paired_lists.cuh has it; the code is the kernel's

#include "../common/paired_lists.cuh"

struct Steps : flashproof::ListSteps {
  static __device__ __forceinline__ void advance(flashproof::Stage& stage) {
#ifdef REPAIRED
    flashproof::ListSteps::advance(stage);
#else
    stage.index = (stage.index + 1) % flashproof::kStages;
#endif
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kSpecialisedThreads, 1)
    block_sparse_sm90_f16_d64(
        __grid_constant__ flashproof::PairedListParameters<flashproof::F16> const parameters) {
  flashproof::specialised_attention<flashproof::F16, 64, Steps>(parameters);
}
