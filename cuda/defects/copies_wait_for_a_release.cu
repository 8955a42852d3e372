/// DEFECT: the first copies wait for a release that nobody owes.
///
/// Wrong      Of an empty buffer no phase has completed; its parity is that of the phase before the
///            first.
/// Ancestor   mutation operator: parity of the first phase
/// Finding    deadlock; statically phase-never-completes
/// Case       head_dim=64 seqlen_q=64 seqlen_kv=64
/// Launch     as kernels/block_sparse_sm90.toml says, f16, head_dim 64 only
/// Repaired   -DREPAIRED: the step as common/paired_lists.cuh has it; the code is the kernel's

#include "../common/paired_lists.cuh"

struct Steps : flashproof::ListSteps {
  static __device__ __forceinline__ flashproof::Stage first_empty() {
#ifdef REPAIRED
    return flashproof::ListSteps::first_empty();
#else
    return {.index = 0, .parity = 0};
#endif
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kSpecialisedThreads, 1)
    block_sparse_sm90_f16_d64(
        __grid_constant__ flashproof::PairedListParameters<flashproof::F16> const parameters) {
  flashproof::specialised_attention<flashproof::F16, 64, Steps>(parameters);
}
