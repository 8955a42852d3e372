/// DEFECT: the largest score starts at 0.
///
/// Wrong      A tile in which every score is negative is taken for one with a score of 0.
/// Ancestor   mutation operator: identity of the maximum
/// Finding    tile-decision
/// Case       num_q_heads=3 seqlen_q=305 seqlen_kv=256 values=one_key seed=60993961
/// Launch     as kernels/bsfa_sm80.toml says, f16, head_dim 32 only
/// Repaired   -DREPAIRED: the step as common/threshold.cuh has it; the code is the kernel's

#include "../common/threshold.cuh"

struct Steps : flashproof::ThresholdSteps {
  static __device__ __forceinline__ float no_score() {
#ifdef REPAIRED
    return flashproof::ThresholdSteps::no_score();
#else
    return 0.0f;
#endif
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kThreads) bsfa_sm80_f16_d32(
    __grid_constant__ flashproof::ThresholdParameters<flashproof::F16> const parameters) {
  flashproof::threshold_attention<flashproof::F16, 32, Steps>(parameters);
}
