/// DEFECT: the barrier of a tile expects more bytes than the copy brings.
///
/// Wrong      Its phase never completes.
/// Ancestor   https://github.com/flashinfer-ai/flashinfer/issues/3578 (a producer and consumers
///            that wait for each other)
/// Finding    deadlock; statically phase-bytes
/// Case       head_dim=64 seqlen_q=64 seqlen_kv=128
/// Launch     as kernels/block_sparse_sm90.toml says, f16, head_dim 64 only
/// Repaired   -DREPAIRED: the step as common/paired_lists.cuh has it; the code is the kernel's

#include "../common/paired_lists.cuh"

struct Steps : flashproof::ListSteps {
  template <int kHeadDim>
  static __device__ __forceinline__ std::uint32_t tile_bytes() {
#ifdef REPAIRED
    return flashproof::ListSteps::tile_bytes<kHeadDim>();
#else
    return flashproof::Tile<kHeadDim>::kBytes + 16;
#endif
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kSpecialisedThreads, 1)
    block_sparse_sm90_f16_d64(
        __grid_constant__ flashproof::PairedListParameters<flashproof::F16> const parameters) {
  flashproof::specialised_attention<flashproof::F16, 64, Steps>(parameters);
}
