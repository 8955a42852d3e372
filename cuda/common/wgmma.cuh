/// wgmma: products of a warpgroup, one function for each shape that the kernels use. Written out by
/// shape because the instruction names every register.
#pragma once

#include <cstdint>

#include "element.cuh"

namespace flashproof {

/// Orders this warpgroup's accesses to registers before the products that follow.
__device__ __forceinline__ void warpgroup_fence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

/// Closes the group of the products issued and not yet grouped.
__device__ __forceinline__ void warpgroup_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

/// Waits until at most `kPending` of this warpgroup's groups are unfinished. Only then may their
/// accumulators be touched, or their operands be overwritten.
template <int kPending>
__device__ __forceinline__ void warpgroup_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

/// Keeps the compiler from moving accesses to accumulators across this point: it does not know that a
/// product writes them until its group has been waited for.
template <int kRows>
__device__ __forceinline__ void fence_registers(float (&registers)[kRows][4]) {
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      asm volatile("" : "+f"(registers[i][j])::"memory");
    }
  }
}

/// Descriptor of an operand in shared memory whose rows of 128 bytes TMA has swizzled.
///
/// Along the rows' own axis eight rows (1,024 bytes) follow each other every `stride_bytes`; where an
/// operand is wider than a row, the next 128 bytes of the same rows are `leading_bytes` further.
__device__ __forceinline__ std::uint64_t matrix_descriptor(std::uint32_t address,
                                                           std::uint32_t leading_bytes,
                                                           std::uint32_t stride_bytes) {
  constexpr std::uint64_t kSwizzle128 = std::uint64_t{1} << 62;
  return kSwizzle128 | std::uint64_t{stride_bytes >> 4} << 32 |
         std::uint64_t{leading_bytes >> 4} << 16 | (address & 0x3ffff) >> 4;
}

// Operands of `wgmma`: the sums d[i] of 64 rows by 8 columns, of 64 columns from d[i] on, and their names in the text.
#define FLASHPROOF_SUMS_8(i) "+f"(d[i][0]), "+f"(d[i][1]), "+f"(d[i][2]), "+f"(d[i][3])
#define FLASHPROOF_SUMS_64(i)                                                       \
  FLASHPROOF_SUMS_8(i), FLASHPROOF_SUMS_8(i + 1), FLASHPROOF_SUMS_8(i + 2),         \
      FLASHPROOF_SUMS_8(i + 3), FLASHPROOF_SUMS_8(i + 4), FLASHPROOF_SUMS_8(i + 5), \
      FLASHPROOF_SUMS_8(i + 6), FLASHPROOF_SUMS_8(i + 7)
#define FLASHPROOF_NAMES_64                                                           \
  "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, " \
  "%18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}"
#define FLASHPROOF_NAMES_128                                                          \
  "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, " \
  "%18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, "  \
  "%34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, "  \
  "%50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}"

/// Products of a warpgroup in one format.
template <typename Element>
struct Warpgroup;

template <>
struct Warpgroup<F16> {
  /// d = a * b, or d += a * b where `adds`; a (64 x 16) and b (16 x 64), both with contiguous k.
  static __device__ __forceinline__ void multiply(float (&d)[8][4], std::uint64_t a,
                                                  std::uint64_t b, bool adds) {
    asm volatile(
        "{\n.reg .pred adds;\nsetp.ne.b32 adds, %34, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 " FLASHPROOF_NAMES_64
        ", %32, %33, adds, 1, 1, 0, 0;\n}\n"
        : FLASHPROOF_SUMS_64(0)
        : "l"(a), "l"(b), "r"(static_cast<int>(adds)));
  }

  /// d += a * b; a (64 x 16) in registers, b (16 x 64) with contiguous columns.
  static __device__ __forceinline__ void multiply_add(float (&d)[8][4], std::uint32_t const (&a)[4],
                                                      std::uint64_t b) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 " FLASHPROOF_NAMES_64
                 ", {%32, %33, %34, %35}, %36, 1, 1, 1, 1;"
                 : FLASHPROOF_SUMS_64(0)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
  }

  /// d += a * b; a (64 x 16) in registers, b (16 x 128) with contiguous columns.
  static __device__ __forceinline__ void multiply_add(float (&d)[16][4],
                                                      std::uint32_t const (&a)[4],
                                                      std::uint64_t b) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 " FLASHPROOF_NAMES_128
                 ", {%64, %65, %66, %67}, %68, 1, 1, 1, 1;"
                 : FLASHPROOF_SUMS_64(0), FLASHPROOF_SUMS_64(8)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
  }
};

template <>
struct Warpgroup<Bf16> {
  /// As Warpgroup<F16>::multiply.
  static __device__ __forceinline__ void multiply(float (&d)[8][4], std::uint64_t a,
                                                  std::uint64_t b, bool adds) {
    asm volatile(
        "{\n.reg .pred adds;\nsetp.ne.b32 adds, %34, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 " FLASHPROOF_NAMES_64
        ", %32, %33, adds, 1, 1, 0, 0;\n}\n"
        : FLASHPROOF_SUMS_64(0)
        : "l"(a), "l"(b), "r"(static_cast<int>(adds)));
  }

  /// As Warpgroup<F16>::multiply_add.
  static __device__ __forceinline__ void multiply_add(float (&d)[8][4], std::uint32_t const (&a)[4],
                                                      std::uint64_t b) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 " FLASHPROOF_NAMES_64
                 ", {%32, %33, %34, %35}, %36, 1, 1, 1, 1;"
                 : FLASHPROOF_SUMS_64(0)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
  }

  /// As Warpgroup<F16>::multiply_add.
  static __device__ __forceinline__ void multiply_add(float (&d)[16][4],
                                                      std::uint32_t const (&a)[4],
                                                      std::uint64_t b) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 " FLASHPROOF_NAMES_128
                 ", {%64, %65, %66, %67}, %68, 1, 1, 1, 1;"
                 : FLASHPROOF_SUMS_64(0), FLASHPROOF_SUMS_64(8)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
  }
};

#undef FLASHPROOF_SUMS_8
#undef FLASHPROOF_SUMS_64
#undef FLASHPROOF_NAMES_64
#undef FLASHPROOF_NAMES_128

}  // namespace flashproof
