/// DEFECT: products are never committed to a group.
///
/// Wrong      A wait for all groups does not wait for products that are in none.
/// Ancestor   mutation operator: commit left out
/// Finding    wgmma-accumulator-in-flight; statically stage-released-early, wgmma-operand-rewritten, wgmma-unwaited
/// Case       head_dim=64 seqlen_q=64 seqlen_kv=128
/// Launch     as kernels/block_sparse_sm90.toml says, f16, head_dim 64 only
/// Repaired   -DREPAIRED: the step as common/paired_lists.cuh has it; the code is the kernel's

#include "../common/paired_lists.cuh"

struct Steps : flashproof::ListSteps {
  static __device__ __forceinline__ void commit_products() {
#ifdef REPAIRED
    flashproof::ListSteps::commit_products();
#else

#endif
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kSpecialisedThreads, 1)
    block_sparse_sm90_f16_d64(
        __grid_constant__ flashproof::PairedListParameters<flashproof::F16> const parameters) {
  flashproof::specialised_attention<flashproof::F16, 64, Steps>(parameters);
}
