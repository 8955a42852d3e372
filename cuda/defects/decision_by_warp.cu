/// DEFECT: each warp decides by its own 16 queries.
///
/// Wrong      The warps disagree: some copy their share of the values, others do not.
/// Ancestor   mutation operator: one reduction step left out
/// Finding    tile-decision
/// Case       num_q_heads=4 num_kv_heads=4 seqlen_q=64 seqlen_kv=256
/// Launch     as kernels/bsfa_sm80.toml says, f16, head_dim 32 only
/// Repaired   -DREPAIRED: the step as common/threshold.cuh has it; the code is the kernel's

#include "../common/threshold.cuh"

struct Steps : flashproof::ThresholdSteps {
  static __device__ __forceinline__ float score_max(float const* maxima, std::uint32_t warp) {
#ifdef REPAIRED
    return flashproof::ThresholdSteps::score_max(maxima, warp);
#else
    return maxima[warp];
#endif
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kThreads) bsfa_sm80_f16_d32(
    __grid_constant__ flashproof::ThresholdParameters<flashproof::F16> const parameters) {
  flashproof::threshold_attention<flashproof::F16, 32, Steps>(parameters);
}
