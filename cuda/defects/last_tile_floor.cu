/// DEFECT: the number of tiles is rounded down.
///
/// Wrong      The keys of a last tile that is not whole are never visited.
/// Ancestor   https://github.com/LMCache/LMCache/pull/3092 (floor for ceil)
/// Finding    verdict disagree
/// Case       seqlen_q=16 seqlen_kv=80
/// Launch     as kernels/window_sm80.toml says, f16, head_dim 32 only
/// Repaired   -DREPAIRED: the step as common/window.cuh has it; the code is the kernel's

#include "../common/window.cuh"

struct Steps : flashproof::WindowSteps {
  static __device__ __forceinline__ int end_tile(int key_end) {
#ifdef REPAIRED
    return flashproof::WindowSteps::end_tile(key_end);
#else
    return max(key_end, 0) / flashproof::kTileKv;
#endif
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kThreads) window_sm80_f16_d32(
    __grid_constant__ flashproof::WindowParameters<flashproof::F16> const parameters) {
  flashproof::window_attention<flashproof::F16, 32, Steps>(parameters);
}
