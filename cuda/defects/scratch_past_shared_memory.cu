/// DEFECT: the maxima lie past the shared memory of the launch.
///
/// Wrong      The bytes that the launch asks for hold the tiles, and less than the maxima need.
/// Ancestor   Ohayon et al., published kernel, the scratch of the reduction
/// Finding    out-of-bounds
/// Case       seqlen_q=64 seqlen_kv=128
/// Launch     as kernels/bsfa_sm80.toml says, f16, head_dim 32 only
/// Repaired   -DREPAIRED: the step as common/threshold.cuh has it; the code is the kernel's

#include "../common/threshold.cuh"

struct Steps : flashproof::ThresholdSteps {
  static __device__ __forceinline__ unsigned char* maxima(unsigned char* after_tiles) {
#ifdef REPAIRED
    return flashproof::ThresholdSteps::maxima(after_tiles);
#else
    return after_tiles + 16;
#endif
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kThreads) bsfa_sm80_f16_d32(
    __grid_constant__ flashproof::ThresholdParameters<flashproof::F16> const parameters) {
  flashproof::threshold_attention<flashproof::F16, 32, Steps>(parameters);
}
