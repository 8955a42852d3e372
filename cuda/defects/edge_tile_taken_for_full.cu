/// DEFECT: a tile is taken for full by its first query alone.
///
/// Wrong      Where the window begins to the right of a tile's first key for later queries, nothing
///            hides that key from them.
/// Ancestor   mutation operator: a partial tile is treated as full
/// Finding    verdict disagree
/// Case       seqlen_q=64 seqlen_kv=128 layout=window(100,-)
/// Launch     as kernels/window_sm80.toml says, f16, head_dim 32 only
/// Repaired   -DREPAIRED: the step as common/window.cuh has it; the code is the kernel's

#include "../common/window.cuh"

struct Steps : flashproof::WindowSteps {
  static __device__ __forceinline__ bool sees_all(flashproof::KeyRange first,
                                                  flashproof::KeyRange last, int key_begin,
                                                  int key_end) {
#ifdef REPAIRED
    return flashproof::WindowSteps::sees_all(first, last, key_begin, key_end);
#else
    last.window_begin = first.window_begin;
    return flashproof::WindowSteps::sees_all(first, last, key_begin, key_end);
#endif
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kThreads) window_sm80_f16_d32(
    __grid_constant__ flashproof::WindowParameters<flashproof::F16> const parameters) {
  flashproof::window_attention<flashproof::F16, 32, Steps>(parameters);
}
