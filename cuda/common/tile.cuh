/// A tile in shared memory: 64 rows of `kHeadDim` 16-bit numbers, in swizzled 16-byte chunks.
#pragma once

#include <cstdint>

#include "instructions.cuh"

namespace flashproof {

constexpr int kThreads = 128;  // of a CTA: 4 warps
constexpr int kTileRows = 64;

template <int kHeadDim>
struct Tile {
  static_assert(kHeadDim == 32 || kHeadDim == 64 || kHeadDim == 128,
                "the swizzle below spreads rows of 64, 128 or 256 bytes");

  static constexpr std::uint32_t kChunks = kHeadDim / 8;  // 16-byte chunks of a row
  static constexpr std::uint32_t kRowBytes = kHeadDim * 2;
  static constexpr std::uint32_t kBytes = kTileRows * kRowBytes;

  /// Byte of a chunk within the tile. ldmatrix reads one chunk of eight consecutive rows at a time:
  /// turning the chunks by the row puts the eight into eight different groups of four banks, and
  /// eight threads that copy eight consecutive chunks write eight different groups as well.
  static __device__ __forceinline__ std::uint32_t offset(std::uint32_t row, std::uint32_t chunk) {
    constexpr std::uint32_t kRowsOfBanks = kChunks < 8 ? 8 / kChunks : 1;  // in 128 bytes
    constexpr std::uint32_t kTurns = kChunks < 8 ? kChunks : 8;
    return row * kRowBytes + (chunk ^ row / kRowsOfBanks % kTurns) * 16;
  }

  /// Starts copying rows [first_row, first_row + 64) of `rows` (row_count, kHeadDim). Rows at
  /// row_count and after become zeros: their source is a row that exists, of which nothing is read.
  template <typename Number>
  static __device__ __forceinline__ void copy_async(std::uint32_t tile, Number const* rows,
                                                    std::int32_t first_row,
                                                    std::int32_t row_count) {
    static_assert(sizeof(Number) == 2);
#pragma unroll
    for (int i = 0; i < kTileRows * kChunks / kThreads; ++i) {
      std::uint32_t const index = threadIdx.x + i * kThreads;
      std::uint32_t const row = index / kChunks;
      std::uint32_t const chunk = index % kChunks;
      std::int32_t const wanted_row = first_row + static_cast<std::int32_t>(row);
      bool const exists = wanted_row < row_count;
      std::int64_t const source_row = exists ? wanted_row : row_count - 1;
      copy_async_16(tile + offset(row, chunk), rows + source_row * kHeadDim + chunk * 8,
                    exists ? 16 : 0);
    }
  }
};

}  // namespace flashproof
