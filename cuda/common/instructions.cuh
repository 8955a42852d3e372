/// PTX instructions that CUDA C++ has no name for, one function each, and nothing else.
#pragma once

#include <cstdint>

namespace flashproof {

/// Address of a shared object as the 32-bit shared-window address that cp.async and ldmatrix take.
__device__ __forceinline__ std::uint32_t shared_address(void const* object) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(object));
}

/// Starts an asynchronous copy of 16 bytes; the last `16 - source_bytes` of them are written as
/// zeros, and not read. Both addresses are multiples of 16.
__device__ __forceinline__ void copy_async_16(std::uint32_t destination, void const* source,
                                              std::uint32_t source_bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(destination),
               "l"(__cvta_generic_to_global(source)), "r"(source_bytes)
               : "memory");
}

/// Closes the group of every copy this thread has started and not yet grouped (perhaps none).
__device__ __forceinline__ void copy_async_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

/// Waits until at most `kPending` of this thread's groups are unfinished. Other threads see the
/// bytes only after a barrier that follows.
template <int kPending>
__device__ __forceinline__ void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

/// Four 8 x 8 matrices of 16-bit elements; lane l gives the address of row l % 8 of matrix l / 8,
/// and receives elements (l / 4, 2 * (l % 4)) and its right neighbour of every matrix.
__device__ __forceinline__ void load_matrices(std::uint32_t (&matrix)[4], std::uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(matrix[0]), "=r"(matrix[1]), "=r"(matrix[2]), "=r"(matrix[3])
               : "r"(row)
               : "memory");
}

/// As load_matrices, every matrix transposed.
__device__ __forceinline__ void load_matrices_transposed(std::uint32_t (&matrix)[4],
                                                         std::uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(matrix[0]), "=r"(matrix[1]), "=r"(matrix[2]), "=r"(matrix[3])
               : "r"(row)
               : "memory");
}

/// 2^x within 2 ulp of the correctly rounded result, results below 2^-126 flushed to zero;
/// exp2_approximate(0) = 1 and exp2_approximate(-inf) = 0 exactly.
__device__ __forceinline__ float exp2_approximate(float x) {
  float power;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x));
  return power;
}

/// log2(x) within 2^-22 (absolute in (0.5, 2), relative elsewhere); log2_approximate(0) = -inf.
__device__ __forceinline__ float log2_approximate(float x) {
  float logarithm;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(logarithm) : "f"(x));
  return logarithm;
}

}  // namespace flashproof
