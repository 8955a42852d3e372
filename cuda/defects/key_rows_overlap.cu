/// DEFECT: the descriptor of the keys says 512 bytes for eight rows.
///
/// Wrong      Eight swizzled rows of 128 bytes are 1,024.
/// Ancestor   mutation operator: stride of a matrix descriptor
/// Finding    verdict disagree
/// Case       head_dim=64 seqlen_q=16 seqlen_kv=64
/// Launch     as kernels/block_sparse_sm90.toml says, f16, head_dim 64 only
/// Repaired   -DREPAIRED: the step as common/paired_lists.cuh has it; the code is the kernel's

#include "../common/paired_lists.cuh"

struct Steps : flashproof::ListSteps {
  static __device__ __forceinline__ std::uint32_t key_stride() {
#ifdef REPAIRED
    return flashproof::ListSteps::key_stride();
#else
    return 512;
#endif
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kSpecialisedThreads, 1)
    block_sparse_sm90_f16_d64(
        __grid_constant__ flashproof::PairedListParameters<flashproof::F16> const parameters) {
  flashproof::specialised_attention<flashproof::F16, 64, Steps>(parameters);
}
