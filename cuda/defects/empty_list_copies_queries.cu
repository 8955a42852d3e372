/// DEFECT: queries are copied for a tile that sees no key.
///
/// Wrong      Nobody reads or releases them, so the next tile of queries waits for ever.
/// Ancestor   https://github.com/Dao-AILab/flash-attention/issues/2258
/// Finding    deadlock
/// Case       head_dim=64 seqlen_q=700 seqlen_kv=32 layout=causal
/// Launch     as kernels/block_sparse_sm90.toml says, f16, head_dim 64 only
/// Repaired   -DREPAIRED: the step as common/paired_lists.cuh has it; the code is the kernel's

#include "../common/paired_lists.cuh"

struct Steps : flashproof::ListSteps {
  static __device__ __forceinline__ bool is_idle(bool has_no_tiles) {
#ifdef REPAIRED
    return flashproof::ListSteps::is_idle(has_no_tiles);
#else
    return false;
#endif
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kSpecialisedThreads, 1)
    block_sparse_sm90_f16_d64(
        __grid_constant__ flashproof::PairedListParameters<flashproof::F16> const parameters) {
  flashproof::specialised_attention<flashproof::F16, 64, Steps>(parameters);
}
