/// DEFECT: a right side without bound becomes seqlen_kv.
///
/// Wrong      With more queries than keys the first queries lie further than seqlen_kv before the
///            last key.
/// Ancestor   https://github.com/Dao-AILab/flash-attention/issues/895
/// Finding    verdict disagree
/// Case       seqlen_q=100 seqlen_kv=20 layout=window(90,-)
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
    int const right = min(p.window_right, p.seqlen_kv);
    range.window_end = min(range.window_end, q + p.seqlen_kv - p.seqlen_q + right + 1);
    return range;
#endif
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kThreads) window_sm80_f16_d32(
    __grid_constant__ flashproof::WindowParameters<flashproof::F16> const parameters) {
  flashproof::window_attention<flashproof::F16, 32, Steps>(parameters);
}
