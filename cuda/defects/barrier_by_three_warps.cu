/// DEFECT: one warp does not come to the barrier.
///
/// Wrong      A barrier of all threads inside a branch that one of four warps does not take.
/// Ancestor   https://github.com/ggml-org/llama.cpp/issues/27678
/// Finding    shared-race, barrier-after-exit; statically barrier-divergence, interval-race
/// Case       seqlen_q=64 seqlen_kv=128
/// Launch     as kernels/window_sm80.toml says, f16, head_dim 32 only
/// Repaired   -DREPAIRED: the step as common/window.cuh has it; the code is the kernel's

#include "../common/window.cuh"

struct Steps : flashproof::WindowSteps {
  template <typename StartCopies>
  static __device__ __forceinline__ void exchange_buffers(StartCopies start_copies) {
#ifdef REPAIRED
    flashproof::WindowSteps::exchange_buffers(start_copies);
#else
    flashproof::copy_async_wait<0>();
    if (threadIdx.x < 96) {
      __syncthreads();
    }
    start_copies();
#endif
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kThreads) window_sm80_f16_d32(
    __grid_constant__ flashproof::WindowParameters<flashproof::F16> const parameters) {
  flashproof::window_attention<flashproof::F16, 32, Steps>(parameters);
}
