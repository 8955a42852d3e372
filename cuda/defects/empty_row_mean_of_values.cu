/// DEFECT: hidden pairs score a large negative number.
///
/// Wrong      A row that sees no key has that number for its maximum, a weight of 1 for every key,
///            and gives the mean of the values instead of 0.
/// Ancestor   https://github.com/microsoft/onnxruntime/issues/28904,
///            https://github.com/flashinfer-ai/flashinfer/issues/4452
/// Finding    verdict disagree; statically finite-sentinel
/// Case       seqlen_q=40 seqlen_kv=16 layout=causal
/// Launch     as kernels/window_sm80.toml says, f16, head_dim 32 only
/// Repaired   -DREPAIRED: the step as common/window.cuh has it; the code is the kernel's

#include "../common/window.cuh"

struct Steps : flashproof::WindowSteps {
  static __device__ __forceinline__ float hidden_score() {
#ifdef REPAIRED
    return flashproof::WindowSteps::hidden_score();
#else
    return -1e30f;
#endif
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kThreads) window_sm80_f16_d32(
    __grid_constant__ flashproof::WindowParameters<flashproof::F16> const parameters) {
  flashproof::window_attention<flashproof::F16, 32, Steps>(parameters);
}
