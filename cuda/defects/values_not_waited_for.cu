/// DEFECT: values are read while they are being copied.
///
/// Wrong      The wait that belonged to the copies of the tile before is gone with the barrier's
///            comment.
/// Ancestor   https://github.com/Dao-AILab/flash-attention commit 1c41d2b0
/// Finding    async-copy-read-early; statically copy-wait-distance
/// Case       seqlen_q=64 seqlen_kv=128
/// Launch     as kernels/bsfa_sm80.toml says, f16, head_dim 32 only
/// Repaired   -DREPAIRED: the step as common/threshold.cuh has it; the code is the kernel's

#include "../common/threshold.cuh"

struct Steps : flashproof::ThresholdSteps {
  static __device__ __forceinline__ void share_maxima() {
#ifdef REPAIRED
    flashproof::ThresholdSteps::share_maxima();
#else
    __syncthreads();
#endif
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kThreads) bsfa_sm80_f16_d32(
    __grid_constant__ flashproof::ThresholdParameters<flashproof::F16> const parameters) {
  flashproof::threshold_attention<flashproof::F16, 32, Steps>(parameters);
}
