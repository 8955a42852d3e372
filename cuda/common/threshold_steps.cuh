/// Tiles of keys by threshold: what is given, and the steps in which the selection can go wrong.
#pragma once

#include <cstddef>
#include <cstdint>

#include "window_tiles.cuh"

namespace flashproof {

/// Which tiles are kept, and which have been.
struct Thresholds {
  float const* thresholds;  // (lists, threshold_count), of scale * score
  std::uint32_t* kept;      // (batch, num_q_heads, q_tiles, kept_words): bits, one a tile of keys
  std::uint32_t threshold_stride;  // entries from one query head to the next; 0: all share
  std::uint32_t threshold_count;   // later tiles of queries take the last
  std::uint32_t
      threshold_first;       // entry of the first tile of queries: tiles that are cached before it
  std::uint32_t kept_words;  // ceil(kv_tiles / 32)
};

/// The steps in which the selection can go wrong.
struct ThresholdSteps : WindowSteps {
  /// Entry of a tile of queries.
  template <typename Element>
  static __device__ __forceinline__ std::uint32_t threshold_idx(
      std::uint32_t q_head, std::uint32_t q_tile_idx, Thresholds const& t,
      AttentionParameters<Element> const&) {
    std::uint32_t const entry = min(q_tile_idx + t.threshold_first, t.threshold_count - 1);
    return q_head * t.threshold_stride + entry;
  }

  /// What the largest of no scores is.
  static __device__ __forceinline__ float no_score() {
    return -CUDART_INF_F;
  }

  /// Largest score of a row's keys in this lane. Rows past the last query do not exist: the zeros in
  /// their place score 0, which can be more than any score.
  static __device__ __forceinline__ float row_max_of_lane(float row_max, int q_row, int seqlen_q) {
    return q_row < seqlen_q ? row_max : -CUDART_INF_F;
  }

  /// Where the warps' maxima lie, of what follows the tiles.
  static __device__ __forceinline__ unsigned char* maxima(unsigned char* after_tiles) {
    return after_tiles;
  }

  /// Orders the maxima, written before, and the copies of the values of the tile before ahead of
  /// every warp's reads.
  static __device__ __forceinline__ void share_maxima() {
    copy_async_wait<1>();
    __syncthreads();
  }

  /// The largest score of a tile: of its 4 warps.
  static __device__ __forceinline__ float score_max(float const* maxima, std::uint32_t) {
    return fmaxf(fmaxf(maxima[0], maxima[1]), fmaxf(maxima[2], maxima[3]));
  }

  /// Whether a tile is kept; `score_max` is scaled. `full`: every query sees every key. `kept_any`: one
  /// has been.
  static __device__ __forceinline__ bool keeps(bool full, float score_max, float threshold,
                                               bool last, bool kept_any) {
    return !full || score_max >= threshold || (last && !kept_any);
  }

  /// What a tile that is not kept does to the rows: nothing.
  template <typename Queries>
  static __device__ __forceinline__ void drop(Queries&, typename Queries::Scores&, float) {
  }

  /// The bit of a tile in its word.
  static __device__ __forceinline__ std::uint32_t kept_bit(std::uint32_t column) {
    return 1u << column % 32;
  }
};

}  // namespace flashproof
