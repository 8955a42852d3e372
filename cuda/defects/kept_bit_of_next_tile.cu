/// DEFECT: the bitmap names the tile after the one that was kept.
///
/// Wrong      o and lse are right; whoever reads the bitmap computes with other tiles.
/// Ancestor   mutation operator: index off by one
/// Finding    tile-decision
/// Case       num_q_heads=4 num_kv_heads=4 seqlen_q=64 seqlen_kv=256
/// Launch     as kernels/bsfa_sm80.toml says, f16, head_dim 32 only
/// Repaired   -DREPAIRED: the step as common/threshold.cuh has it; the code is the kernel's

#include "../common/threshold.cuh"

struct Steps : flashproof::ThresholdSteps {
  static __device__ __forceinline__ std::uint32_t kept_bit(std::uint32_t column) {
#ifdef REPAIRED
    return flashproof::ThresholdSteps::kept_bit(column);
#else
    return flashproof::ThresholdSteps::kept_bit(column + 1);
#endif
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kThreads) bsfa_sm80_f16_d32(
    __grid_constant__ flashproof::ThresholdParameters<flashproof::F16> const parameters) {
  flashproof::threshold_attention<flashproof::F16, 32, Steps>(parameters);
}
