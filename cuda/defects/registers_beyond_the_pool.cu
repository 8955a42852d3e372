/// DEFECT: the warpgroups ask for more registers than there are.
///
/// Wrong      2 x 128 threads with 248 and 128 with 24 are 66,560 of 65,536: the last to ask waits
///            for ever.
/// Ancestor   mutation operator: register counts
/// Finding    register-pool
/// Case       head_dim=64 seqlen_q=64 seqlen_kv=64
/// Launch     as kernels/block_sparse_sm90.toml says, f16, head_dim 64 only
/// Repaired   -DREPAIRED: the step as common/paired_lists.cuh has it; the code is the kernel's

#include "../common/paired_lists.cuh"

struct Steps : flashproof::ListSteps {
#ifndef REPAIRED
  static constexpr int kConsumerRegisters = 248;
#endif
};

extern "C" __global__ void __launch_bounds__(flashproof::kSpecialisedThreads, 1)
    block_sparse_sm90_f16_d64(
        __grid_constant__ flashproof::PairedListParameters<flashproof::F16> const parameters) {
  flashproof::specialised_attention<flashproof::F16, 64, Steps>(parameters);
}
