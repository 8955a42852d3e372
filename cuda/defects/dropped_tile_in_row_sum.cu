/// DEFECT: the weights of dropped tiles stay in the sum.
///
/// Wrong      A dense denominator under a sparse numerator.
/// Ancestor   Ohayon et al.: o is exactly softmax over the kept tiles
/// Finding    verdict disagree
/// Case       num_q_heads=4 num_kv_heads=4 seqlen_q=64 seqlen_kv=256 values=near_uniform
/// Launch     as kernels/bsfa_sm80.toml says, f16, head_dim 32 only
/// Repaired   -DREPAIRED: the step as common/threshold.cuh has it; the code is the kernel's

#include "../common/threshold.cuh"

struct Steps : flashproof::ThresholdSteps {
  template <typename Queries>
  static __device__ __forceinline__ void drop(Queries& queries, typename Queries::Scores& score,
                                              float scale_log2) {
#ifdef REPAIRED
    flashproof::ThresholdSteps::drop(queries, score, scale_log2);
#else
    float factor[2];
    queries.weigh(score, factor, scale_log2);
    queries.rescale(factor);
#endif
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kThreads) bsfa_sm80_f16_d32(
    __grid_constant__ flashproof::ThresholdParameters<flashproof::F16> const parameters) {
  flashproof::threshold_attention<flashproof::F16, 32, Steps>(parameters);
}
