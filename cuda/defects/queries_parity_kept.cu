/// DEFECT: the second tile of queries is read before it is there.
///
/// Wrong      A CTA takes several; the parity of their barrier flips with each.
/// Ancestor   mutation operator: state of the persistent loop
/// Finding    bulk-copy-read-early, bulk-copy-race; statically stage-read-early
/// Case       head_dim=64 num_q_heads=6 num_kv_heads=6 seqlen_q=64 seqlen_kv=64
/// Launch     as kernels/block_sparse_sm90.toml says, f16, head_dim 64 only
/// Repaired   -DREPAIRED: the step as common/paired_lists.cuh has it; the code is the kernel's

#include "../common/paired_lists.cuh"

struct Steps : flashproof::ListSteps {
  static __device__ __forceinline__ void next_queries(std::uint32_t& parity) {
#ifdef REPAIRED
    flashproof::ListSteps::next_queries(parity);
#else
    static_cast<void>(parity);
#endif
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kSpecialisedThreads, 1)
    block_sparse_sm90_f16_d64(
        __grid_constant__ flashproof::PairedListParameters<flashproof::F16> const parameters) {
  flashproof::specialised_attention<flashproof::F16, 64, Steps>(parameters);
}
