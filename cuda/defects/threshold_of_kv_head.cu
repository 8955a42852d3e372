/// DEFECT: a query head takes the threshold of its key and value head.
///
/// Wrong      Right without grouped heads.
/// Ancestor   Ohayon et al., published kernel, decode path
/// Finding    tile-decision
/// Case       num_q_heads=4 num_kv_heads=2 seqlen_q=64 seqlen_kv=256 values=integers
/// Launch     as kernels/bsfa_sm80.toml says, f16, head_dim 32 only
/// Repaired   -DREPAIRED: the step as common/threshold.cuh has it; the code is the kernel's

#include "../common/threshold.cuh"

struct Steps : flashproof::ThresholdSteps {
  template <typename Element>
  static __device__ __forceinline__ std::uint32_t threshold_idx(
      std::uint32_t q_head, std::uint32_t q_tile_idx, flashproof::Thresholds const& t,
      flashproof::AttentionParameters<Element> const& p) {
#ifdef REPAIRED
    return flashproof::ThresholdSteps::threshold_idx(q_head, q_tile_idx, t, p);
#else
    return flashproof::ThresholdSteps::threshold_idx(kv_head(q_head, p), q_tile_idx, t, p);
#endif
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kThreads) bsfa_sm80_f16_d32(
    __grid_constant__ flashproof::ThresholdParameters<flashproof::F16> const parameters) {
  flashproof::threshold_attention<flashproof::F16, 32, Steps>(parameters);
}
