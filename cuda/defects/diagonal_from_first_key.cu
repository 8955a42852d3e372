/// DEFECT: the diagonal begins at the first key.
///
/// Wrong      The last query sees the last key whatever the lengths are; here the first sees the
///            first.
/// Ancestor   https://github.com/microsoft/onnxruntime/issues/28904
/// Finding    verdict disagree
/// Case       seqlen_q=20 seqlen_kv=64 layout=causal
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
    flashproof::AttentionParameters<Element> square = p;
    square.seqlen_q = p.seqlen_kv;
    return flashproof::WindowSteps::key_range(q, square);
#endif
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kThreads) window_sm80_f16_d32(
    __grid_constant__ flashproof::WindowParameters<flashproof::F16> const parameters) {
  flashproof::window_attention<flashproof::F16, 32, Steps>(parameters);
}
