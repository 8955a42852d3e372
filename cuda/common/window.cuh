/// Attention over the tiles of the window and the sinks. kernels/window_sm80.cu states what it
/// computes.
#pragma once

#include <cstdint>

#include "pipeline.cuh"
#include "window_tiles.cuh"

namespace flashproof {

/// The kernel's one parameter; the manifest lists the same offsets.
template <typename Element>
struct WindowParameters {
  Inputs<Element> inputs;
  AttentionParameters<Element> attention;
};
static_assert(sizeof(WindowParameters<F16>) == 80);

/// Attention of one tile of 64 queries of one head over its window.
template <typename Element, int kHeadDim, typename Steps = WindowSteps>
__device__ __forceinline__ void window_attention(WindowParameters<Element> const& p) {
  int const q_first = static_cast<int>(q_tile_of_cta() * kTileQ);
  attend<Element, kHeadDim, Steps>(p.inputs, p.attention,
                                   WindowTiles<Steps>(q_first, kTileQ, p.attention));
}

}  // namespace flashproof
