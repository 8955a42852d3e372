/// DEFECT: causality does not hold for sinks.
///
/// Wrong      A query before the last sink sees the sinks after it.
/// Ancestor   mutation operator: a bound left out of a minimum
/// Finding    verdict disagree
/// Case       seqlen_q=32 seqlen_kv=32 layout=causal+window(2,-)+sinks(9)
/// Launch     as kernels/window_sm80.toml says, f16, head_dim 32 only
/// Repaired   -DREPAIRED: the step as common/window.cuh has it; the code is the kernel's

#include "../common/window.cuh"

struct Steps : flashproof::WindowSteps {
  template <typename Element>
  static __device__ __forceinline__ flashproof::KeyRange key_range(
      int q, flashproof::AttentionParameters<Element> const& p) {
#ifdef REPAIRED
    return flashproof::WindowSteps::key_range(q, p);
#else
    flashproof::KeyRange range = flashproof::WindowSteps::key_range(q, p);
    range.sink_end = min(p.sinks, p.seqlen_kv);
    return range;
#endif
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kThreads) window_sm80_f16_d32(
    __grid_constant__ flashproof::WindowParameters<flashproof::F16> const parameters) {
  flashproof::window_attention<flashproof::F16, 32, Steps>(parameters);
}
