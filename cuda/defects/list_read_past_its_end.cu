/// DEFECT: one entry too many of each list is read.
///
/// Wrong      The next list's first tile joins this one.
/// Ancestor   https://github.com/flashinfer-ai/flashinfer/issues/5095
/// Finding    out-of-bounds
/// Case       head_dim=64 seqlen_q=256 seqlen_kv=256 layout=blocks(400,128,64,1)
/// Launch     as kernels/block_sparse_sm90.toml says, f16, head_dim 64 only
/// Repaired   -DREPAIRED: the step as common/paired_lists.cuh has it; the code is the kernel's

#include "../common/paired_lists.cuh"

struct Steps : flashproof::ListSteps {
  static __device__ __forceinline__ std::uint32_t list_end(std::uint32_t const* list) {
#ifdef REPAIRED
    return flashproof::ListSteps::list_end(list);
#else
    return list[1] + 1;
#endif
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kSpecialisedThreads, 1)
    block_sparse_sm90_f16_d64(
        __grid_constant__ flashproof::PairedListParameters<flashproof::F16> const parameters) {
  flashproof::specialised_attention<flashproof::F16, 64, Steps>(parameters);
}
