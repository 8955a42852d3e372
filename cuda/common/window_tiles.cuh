/// Tiles of keys from the window, the sinks and the diagonal alone.
#pragma once

#include <cstdint>

#include "steps.cuh"

namespace flashproof {

/// The steps in which the walk can go wrong.
struct WindowSteps : AttentionSteps {
  /// Tile of keys in which the window of a tile's first query begins.
  static __device__ __forceinline__ int first_tile(KeyRange first) {
    return max(first.window_begin, 0) / kTileKv;
  }

  /// The tile after the one that holds the last key before `key_end`.
  static __device__ __forceinline__ int end_tile(int key_end) {
    return (max(key_end, 0) + kTileKv - 1) / kTileKv;
  }

  /// Whether queries from the one that sees `first` to the one that sees `last` see all of the keys.
  static __device__ __forceinline__ bool sees_all(KeyRange first, KeyRange last, int key_begin,
                                                  int key_end) {
    return (key_begin >= last.window_begin && key_end <= first.window_end) ||
           key_end <= first.sink_end;
  }
};

/// The tiles in which a query of a tile sees a key: those of the sinks, then those of the window.
template <typename Steps>
class WindowTiles {
 public:
  /// `q_count` queries from `q_first`, as far as they exist.
  template <typename Element>
  __device__ __forceinline__ WindowTiles(int q_first, int q_count,
                                         AttentionParameters<Element> const& p) {
    // Both ends of a range move right from one query to the next, or stay.
    see(q_first, q_count, p);
    window_tile_ = Steps::first_tile(first_);
    sink_end_tile_ = Steps::end_tile(last_.sink_end);
    end_tile_ = max(Steps::end_tile(last_.window_end), sink_end_tile_);
    tile_ = sink_end_tile_ > 0 ? 0 : window_tile_;
  }

  /// The masks are of these queries from here on, some of those whose tiles these are.
  template <typename Element>
  __device__ __forceinline__ void see(int q_first, int q_count,
                                      AttentionParameters<Element> const& p) {
    first_ = Steps::key_range(q_first, p);
    last_ = Steps::key_range(min(q_first + q_count, p.seqlen_q) - 1, p);
  }

  __device__ __forceinline__ bool done() const {
    return tile_ >= end_tile_;
  }
  __device__ __forceinline__ bool last() const {
    return after(tile_) >= end_tile_;
  }
  __device__ __forceinline__ std::uint32_t column() const {
    return static_cast<std::uint32_t>(tile_);
  }
  __device__ __forceinline__ std::uint32_t next_column() const {
    return static_cast<std::uint32_t>(after(tile_));
  }
  /// Every granule is present; full where the first and the last query see all 64 keys.
  __device__ __forceinline__ std::uint32_t mask() const {
    int const key_begin = tile_ * kTileKv;
    bool const full = Steps::sees_all(first_, last_, key_begin, key_begin + kTileKv);
    return full ? kTileFull | 0xffff : 0xffff;
  }
  __device__ __forceinline__ void prefetch() {
  }
  __device__ __forceinline__ void advance() {
    tile_ = after(tile_);
  }

 private:
  /// From the last tile of the sinks to the first of the window, over those between.
  __device__ __forceinline__ int after(int tile) const {
    return tile + 1 < sink_end_tile_ ? tile + 1 : max(tile + 1, window_tile_);
  }

  KeyRange first_;
  KeyRange last_;
  int window_tile_;
  int end_tile_;
  int sink_end_tile_;
  int tile_;
};

}  // namespace flashproof
