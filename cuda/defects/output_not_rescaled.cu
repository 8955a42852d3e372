/// DEFECT: what came before a new maximum keeps its old scale.
///
/// Wrong      o and row_sum of the tiles before are relative to the maximum before.
/// Ancestor   mutation operator: l not rescaled
/// Finding    verdict disagree
/// Case       seqlen_q=64 seqlen_kv=256 values=growing_max
/// Launch     as kernels/window_sm80.toml says, f16, head_dim 32 only
/// Repaired   -DREPAIRED: the step as common/window.cuh has it; the code is the kernel's

#include "../common/window.cuh"

struct Steps : flashproof::WindowSteps {
  static __device__ __forceinline__ float rescale(float row_max_before, float row_max,
                                                  float scale_log2) {
#ifdef REPAIRED
    return flashproof::WindowSteps::rescale(row_max_before, row_max, scale_log2);
#else
    float const factor = flashproof::WindowSteps::rescale(row_max_before, row_max, scale_log2);
    return factor == 0.0f ? 0.0f : 1.0f;
#endif
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kThreads) window_sm80_f16_d32(
    __grid_constant__ flashproof::WindowParameters<flashproof::F16> const parameters) {
  flashproof::window_attention<flashproof::F16, 32, Steps>(parameters);
}
