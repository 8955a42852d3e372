/// DEFECT: a CTA takes the tile of queries after its own.
///
/// Wrong      The first of the order is never computed, and one past the last is read.
/// Ancestor   https://github.com/Dao-AILab/flash-attention/pull/2662 (the scheduler reads past its
///            end)
/// Finding    out-of-bounds
/// Case       head_dim=64 seqlen_q=64 seqlen_kv=64
/// Launch     as kernels/block_sparse_sm90.toml says, f16, head_dim 64 only
/// Repaired   -DREPAIRED: the step as common/paired_lists.cuh has it; the code is the kernel's

#include "../common/paired_lists.cuh"

struct Steps : flashproof::ListSteps {
  static __device__ __forceinline__ std::uint32_t work_idx(std::uint32_t const* order,
                                                           std::uint32_t position) {
#ifdef REPAIRED
    return flashproof::ListSteps::work_idx(order, position);
#else
    return flashproof::ListSteps::work_idx(order, position + 1);
#endif
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kSpecialisedThreads, 1)
    block_sparse_sm90_f16_d64(
        __grid_constant__ flashproof::PairedListParameters<flashproof::F16> const parameters) {
  flashproof::specialised_attention<flashproof::F16, 64, Steps>(parameters);
}
