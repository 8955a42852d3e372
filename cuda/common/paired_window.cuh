/// Tiles of 64 keys of each tile of 128 queries from the window, the sinks and the diagonal.
/// kernels/window_sm90.cu states what it computes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "warp_specialised.cuh"

namespace flashproof {

/// The tiles in which a query of a tile of 128 sees a key.
template <typename Steps>
struct PairedWindowTiles : WindowTiles<Steps> {
  using Base = WindowTiles<Steps>;

  template <typename Element>
  __device__ __forceinline__ PairedWindowTiles(int q_first, AttentionParameters<Element> const& p)
      : Base(q_first, kCtaTileQ, p) {
  }

  /// The masks are of this warpgroup's queries from here on.
  template <typename Element>
  __device__ __forceinline__ void see(std::uint32_t, int q_first,
                                      AttentionParameters<Element> const& p) {
    Base::see(q_first, kTileQ, p);
  }
};

/// Tiles of queries by how many keys causality leaves them, the most first: the last tiles of every
/// head, then those before.
struct PairedWindows {
  std::uint32_t work_count;  // batch * num_q_heads * q_tiles
  std::uint32_t q_tiles;

  template <typename Steps, typename Element>
  __device__ __forceinline__ Work work(std::uint32_t position,
                                       AttentionParameters<Element> const& p) const {
    std::uint32_t const heads = work_count / q_tiles;
    std::uint32_t const head = position % heads;
    return {.q_tile_idx = q_tiles - 1 - position / heads,
            .q_head = head % p.num_q_heads,
            .batch = head / p.num_q_heads};
  }

  template <typename Steps, typename Element>
  __device__ __forceinline__ PairedWindowTiles<Steps> tiles(
      Work const& work, AttentionParameters<Element> const& p) const {
    return {static_cast<int>(work.q_tile_idx * kCtaTileQ), p};
  }
};

/// The kernel's one parameter; the manifest lists the same offsets.
template <typename Element>
using PairedWindowParameters = SpecialisedParameters<Element, PairedWindows>;
static_assert(offsetof(PairedWindowParameters<F16>, walk) == 440);

}  // namespace flashproof
