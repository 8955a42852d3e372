/// DEFECT: values are touched up by ordinary stores, and multiplied without a proxy fence.
///
/// Wrong      wgmma reads shared memory by the async proxy, which a barrier does not order after
///            ordinary stores.
/// Ancestor   https://github.com/pengcuo/FlashMLA-ETAP/pull/3
/// Finding    proxy-fence-missing
/// Case       head_dim=64 seqlen_q=64 seqlen_kv=64
/// Launch     as kernels/block_sparse_sm90.toml says, f16, head_dim 64 only
/// Repaired   -DREPAIRED: the step as common/paired_lists.cuh has it; the code is the kernel's

#include "../common/paired_lists.cuh"

struct Steps : flashproof::ListSteps {
  static __device__ __forceinline__ void before_values(std::uint32_t v_tile) {
#ifdef REPAIRED
    flashproof::ListSteps::before_values(v_tile);
#else
    // Half a number each, as it was: what is wrong is the order alone.
    std::uint32_t const address = v_tile + threadIdx.x % 128 * 4;
    std::uint32_t number;
    asm volatile("ld.shared.u32 %0, [%1];" : "=r"(number) : "r"(address) : "memory");
    asm volatile("st.shared.u32 [%0], %1;" ::"r"(address), "r"(number) : "memory");
    flashproof::named_barrier_wait(3 + threadIdx.x / 128, 128);
#endif
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kSpecialisedThreads, 1)
    block_sparse_sm90_f16_d64(
        __grid_constant__ flashproof::PairedListParameters<flashproof::F16> const parameters) {
  flashproof::specialised_attention<flashproof::F16, 64, Steps>(parameters);
}
