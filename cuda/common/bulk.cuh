/// Barriers in shared memory and copies by the tensor memory accelerator, one function an
/// instruction.
#pragma once

#include <cstdint>

namespace flashproof {

/// What the host encodes of a tensor: extents, strides, the box of one copy, its swizzle. 128 bytes
/// that only the hardware reads.
struct alignas(64) TensorMap {
  std::uint64_t opaque[16];
};

/// A barrier (8 bytes of shared memory) that `arrivals` arrivals and all bytes they expect complete.
__device__ __forceinline__ void barrier_init(std::uint32_t barrier, std::uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

/// Makes the barriers that this thread initialised visible to copies.
__device__ __forceinline__ void barrier_init_fence() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

/// Arrives, and expects `bytes` more of copies to land before the phase completes.
__device__ __forceinline__ void barrier_arrive_expect(std::uint32_t barrier, std::uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}

/// Arrives.
__device__ __forceinline__ void barrier_arrive(std::uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

/// Waits until the phase of this parity has completed.
__device__ __forceinline__ void barrier_wait(std::uint32_t barrier, std::uint32_t parity) {
  asm volatile(
      "{\n.reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@done bra.uni complete;\n"
      "bra.uni again;\n"
      "complete:\n}\n" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

/// Starts copying the box at (column, row, head) to shared memory; elements outside the tensor become
/// zeros. `barrier` counts the bytes of the whole box. One thread calls it.
__device__ __forceinline__ void copy_box(std::uint32_t destination, TensorMap const* map,
                                         std::uint32_t barrier, std::int32_t column,
                                         std::int32_t row, std::int32_t head) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, "
      "%4, %5}], [%2];" ::"r"(destination),
      "l"(map), "r"(barrier), "r"(column), "r"(row), "r"(head)
      : "memory");
}

/// Gives registers of this warpgroup back, down to `kCount` a thread.
template <int kCount>
__device__ __forceinline__ void release_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCount));
}

/// Takes registers that another warpgroup gives back, up to `kCount` a thread.
template <int kCount>
__device__ __forceinline__ void claim_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kCount));
}

/// Waits at a named barrier of `threads` threads, those included that only arrive.
__device__ __forceinline__ void named_barrier_wait(std::uint32_t name, std::uint32_t threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(name), "r"(threads) : "memory");
}

/// Arrives at a named barrier without waiting.
__device__ __forceinline__ void named_barrier_arrive(std::uint32_t name, std::uint32_t threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(name), "r"(threads) : "memory");
}

}  // namespace flashproof
