/// DEFECT: the maxima of the warps are read without a barrier.
///
/// Wrong      Three of the four were written by other warps.
/// Ancestor   https://github.com/ggml-org/llama.cpp/pull/13438
/// Finding    shared-race; statically copy-wait-barrier, interval-race
/// Case       seqlen_q=64 seqlen_kv=128
/// Launch     as kernels/bsfa_sm80.toml says, f16, head_dim 32 only
/// Repaired   -DREPAIRED: the step as common/threshold.cuh has it; the code is the kernel's

#include "../common/threshold.cuh"

struct Steps : flashproof::ThresholdSteps {
  static __device__ __forceinline__ void share_maxima() {
#ifdef REPAIRED
    flashproof::ThresholdSteps::share_maxima();
#else
    flashproof::copy_async_wait<1>();
    __syncwarp();
#endif
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kThreads) bsfa_sm80_f16_d32(
    __grid_constant__ flashproof::ThresholdParameters<flashproof::F16> const parameters) {
  flashproof::threshold_attention<flashproof::F16, 32, Steps>(parameters);
}
