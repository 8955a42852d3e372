/// Tiles of keys from the window, the sinks and the diagonal alone. kernels/window_sm80.cu states
/// what it computes.
#pragma once

#include <cstdint>

#include "pipeline.cuh"

namespace flashproof {

/// The tiles in which a query of a tile sees a key: those of the sinks, then those of the window.
template <typename Steps>
class WindowTiles {
 public:
  template <typename Element>
  __device__ __forceinline__ WindowTiles(std::uint32_t q_tile_idx,
                                         AttentionParameters<Element> const& p) {
    int const q_first = static_cast<int>(q_tile_idx * kTileQ);
    int const q_last = min(q_first + kTileQ, p.seqlen_q) - 1;
    // Both ends of a range move right from one query to the next, or stay.
    first_ = Steps::key_range(q_first, p);
    last_ = Steps::key_range(q_last, p);
    window_tile_ = max(first_.window_begin, 0) / kTileKv;
    end_tile_ = (max(last_.window_end, 0) + kTileKv - 1) / kTileKv;
    sink_end_tile_ = (max(last_.sink_end, 0) + kTileKv - 1) / kTileKv;
    end_tile_ = max(end_tile_, sink_end_tile_);
    tile_ = sink_end_tile_ > 0 ? 0 : window_tile_;
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
    int const begin = tile_ * kTileKv;
    int const end = begin + kTileKv;
    bool const full =
        (begin >= last_.window_begin && end <= first_.window_end) || end <= first_.sink_end;
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

/// The kernel's one parameter; the manifest lists the same offsets.
template <typename Element>
struct WindowParameters {
  Inputs<Element> inputs;
  AttentionParameters<Element> attention;
};
static_assert(sizeof(WindowParameters<F16>) == 80);

/// Attention of one tile of 64 queries of one head over its window.
template <typename Element, int kHeadDim, typename Steps = AttentionSteps>
__device__ __forceinline__ void window_attention(WindowParameters<Element> const& p) {
  attend<Element, kHeadDim, Steps>(p.inputs, p.attention,
                                   WindowTiles<Steps>(q_tile_of_cta(), p.attention));
}

}  // namespace flashproof
