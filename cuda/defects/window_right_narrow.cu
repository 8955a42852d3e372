/// DEFECT: the window ends one key too early on the right.
///
/// Wrong      The key window_right to the right of the diagonal is the last that is visible; here
///            the one before it is.
/// Ancestor   https://github.com/zml/zml/pull/763,
///            https://github.com/huggingface/transformers/issues/29623
/// Finding    verdict disagree
/// Case       seqlen_q=16 seqlen_kv=64 layout=window(-,3)
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
    range.window_end = min(range.window_end, q + p.seqlen_kv - p.seqlen_q + p.window_right);
    return range;
#endif
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kThreads) window_sm80_f16_d32(
    __grid_constant__ flashproof::WindowParameters<flashproof::F16> const parameters) {
  flashproof::window_attention<flashproof::F16, 32, Steps>(parameters);
}
