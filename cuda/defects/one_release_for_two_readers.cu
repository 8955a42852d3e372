/// DEFECT: a buffer is empty when one of its two readers has read it.
///
/// Wrong      The slower warpgroup reads what the copying thread overwrites.
/// Ancestor   mutation operator: count of a barrier
/// Finding    deadlock, wgmma-operand-overwritten; statically phase-arrivals
/// Case       head_dim=64 seqlen_q=128 seqlen_kv=512
/// Launch     as kernels/block_sparse_sm90.toml says, f16, head_dim 64 only
/// Repaired   -DREPAIRED: the step as common/paired_lists.cuh has it; the code is the kernel's

#include "../common/paired_lists.cuh"

struct Steps : flashproof::ListSteps {
#ifndef REPAIRED
  static constexpr int kReleases = 1;
#endif
};

extern "C" __global__ void __launch_bounds__(flashproof::kSpecialisedThreads, 1)
    block_sparse_sm90_f16_d64(
        __grid_constant__ flashproof::PairedListParameters<flashproof::F16> const parameters) {
  flashproof::specialised_attention<flashproof::F16, 64, Steps>(parameters);
}
