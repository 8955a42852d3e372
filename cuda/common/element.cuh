/// Number formats of q, k, v, o and of the weights in the second product, one type each.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace flashproof {

/// IEEE 754 binary16.
struct F16 {
  using Type = __half;

  /// d += a * b for a (16 x 16) and b (16 x 8), d (16 x 8) in f32.
  ///
  /// Lane l holds, of a: rows l / 4 and l / 4 + 8; of d: d[0], d[1] in row l / 4 and d[2], d[3] in
  /// row l / 4 + 8, columns 2 * (l % 4) and the next.
  static __device__ __forceinline__ void multiply_add(float (&d)[4], std::uint32_t const (&a)[4],
                                                      std::uint32_t b_low, std::uint32_t b_high) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b_low), "r"(b_high));
  }

  /// Both numbers rounded to nearest even; `low` in the low half.
  static __device__ __forceinline__ std::uint32_t pack(float low, float high) {
    std::uint32_t packed;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
  }
};

/// 8 bits of exponent and 8 of significand.
struct Bf16 {
  using Type = __nv_bfloat16;

  /// As F16::multiply_add.
  static __device__ __forceinline__ void multiply_add(float (&d)[4], std::uint32_t const (&a)[4],
                                                      std::uint32_t b_low, std::uint32_t b_high) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b_low), "r"(b_high));
  }

  /// As F16::pack.
  static __device__ __forceinline__ std::uint32_t pack(float low, float high) {
    std::uint32_t packed;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
  }
};

}  // namespace flashproof
