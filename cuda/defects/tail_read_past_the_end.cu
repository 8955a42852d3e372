/// DEFECT: rows of values past the last key are read.
///
/// Wrong      The copy neither clamps its source nor writes zeros. A weight of 0 hides what it
///            reads, unless that is infinite or on no page.
/// Ancestor   https://github.com/Dao-AILab/flash-attention/issues/1395,
///            https://github.com/microsoft/MInference/pull/201
/// Finding    out-of-bounds
/// Case       seqlen_q=16 seqlen_kv=17
/// Launch     as kernels/window_sm80.toml says, f16, head_dim 32 only
/// Repaired   -DREPAIRED: the step as common/window.cuh has it; the code is the kernel's

#include "../common/window.cuh"

struct Steps : flashproof::WindowSteps {
  template <int kHeadDim>
  static __device__ __forceinline__ void copy_values(std::uint32_t tile, __half const* v, int key,
                                                     int seqlen_kv) {
#ifdef REPAIRED
    flashproof::Tile<kHeadDim>::copy_async(tile, v, key, seqlen_kv);
#else
    flashproof::Tile<kHeadDim>::copy_async(tile, v, key, key + flashproof::kTileKv);
#endif
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kThreads) window_sm80_f16_d32(
    __grid_constant__ flashproof::WindowParameters<flashproof::F16> const parameters) {
  flashproof::window_attention<flashproof::F16, 32, Steps>(parameters);
}
