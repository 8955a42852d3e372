/// DEFECT: the walk begins after the tile in which the window does.
///
/// Wrong      The begin of the window is rounded up to a tile; with it fall the keys of the tile
///            that it lies in.
/// Ancestor   https://github.com/flashinfer-ai/flashinfer/pull/563
/// Finding    verdict disagree
/// Case       seqlen_q=16 seqlen_kv=200 layout=window(90,-)
/// Launch     as kernels/window_sm80.toml says, f16, head_dim 32 only
/// Repaired   -DREPAIRED: the step as common/window.cuh has it; the code is the kernel's

#include "../common/window.cuh"

struct Steps : flashproof::WindowSteps {
  static __device__ __forceinline__ int first_tile(flashproof::KeyRange first) {
#ifdef REPAIRED
    return flashproof::WindowSteps::first_tile(first);
#else
    return (max(first.window_begin, 0) + flashproof::kTileKv - 1) / flashproof::kTileKv;
#endif
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kThreads) window_sm80_f16_d32(
    __grid_constant__ flashproof::WindowParameters<flashproof::F16> const parameters) {
  flashproof::window_attention<flashproof::F16, 32, Steps>(parameters);
}
