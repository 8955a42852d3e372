/// DEFECT: a tile of queries may keep no tile.
///
/// Wrong      Where no tile reaches the threshold the last is kept; here o is 0 and lse -inf.
/// Ancestor   mutation operator: a guard left out
/// Finding    tile-decision
/// Case       num_q_heads=4 num_kv_heads=4 seqlen_q=64 seqlen_kv=256 values=integers
/// Launch     as kernels/bsfa_sm80.toml says, f16, head_dim 32 only
/// Repaired   -DREPAIRED: the step as common/threshold.cuh has it; the code is the kernel's

#include "../common/threshold.cuh"

struct Steps : flashproof::ThresholdSteps {
  static __device__ __forceinline__ bool keeps(bool full, float score_max, float threshold,
                                               bool last, bool kept_any) {
#ifdef REPAIRED
    return flashproof::ThresholdSteps::keeps(full, score_max, threshold, last, kept_any);
#else
    return !full || score_max >= threshold;
#endif
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kThreads) bsfa_sm80_f16_d32(
    __grid_constant__ flashproof::ThresholdParameters<flashproof::F16> const parameters) {
  flashproof::threshold_attention<flashproof::F16, 32, Steps>(parameters);
}
