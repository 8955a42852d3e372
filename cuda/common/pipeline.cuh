/// Attention of one tile of queries over a sequence of tiles of keys: while one is computed, the
/// next is copied.
#pragma once

#include <cstdint>

#include "query_tile.cuh"

namespace flashproof {

/// Shared memory of a CTA: q, then k and v of two tiles.
template <int kHeadDim>
constexpr std::uint32_t kPipelineSharedBytes = 5 * Tile<kHeadDim>::kBytes;

/// The last tiles of queries first: under a causal mask they have the most keys.
__device__ __forceinline__ std::uint32_t q_tile_of_cta() {
  return gridDim.x - 1 - blockIdx.x;
}

/// `Tiles` gives the tiles of keys in order: done(), last(), column(), mask(), next_column(),
/// advance().
template <typename Element, int kHeadDim, typename Steps, typename Tiles>
__device__ __forceinline__ void attend(Inputs<Element> const& inputs,
                                       AttentionParameters<Element> const& p, Tiles tiles) {
  using Tile = Tile<kHeadDim>;
  using Queries = QueryTile<Element, kHeadDim, Steps>;
  extern __shared__ __align__(128) unsigned char shared[];  // (kPipelineSharedBytes)
  std::uint32_t const q_tile = shared_address(shared);
  std::uint32_t const kv_tiles = q_tile + Tile::kBytes;  // (2): k, then v

  auto const head = Head<Element, kHeadDim, Steps>::of_cta(inputs, p);
  int const q_first = static_cast<int>(q_tile_of_cta() * kTileQ);
  Queries queries(q_first, p);

  if (!tiles.done()) {
    auto const start_copies = [&](std::uint32_t buffer, std::uint32_t column) {
      std::uint32_t const k_tile = kv_tiles + buffer * (2 * Tile::kBytes);
      int const key = static_cast<int>(column * kTileKv);
      Tile::copy_async(k_tile, head.k, key, p.seqlen_kv);
      Steps::template copy_values<kHeadDim>(k_tile + Tile::kBytes, head.v, key, p.seqlen_kv);
    };
    Tile::copy_async(q_tile, head.q, q_first, p.seqlen_q);
    copy_async_commit();
    start_copies(0, tiles.column());
    copy_async_commit();

    copy_async_wait<1>();
    __syncthreads();  // q_tile: written by every thread's copies above, read by every warp below
    queries.load_queries(q_tile);

    for (std::uint32_t buffer = 0; !tiles.done(); buffer ^= 1) {
      Steps::exchange_buffers([&] {
        if (!tiles.last()) {
          start_copies(buffer ^ 1, tiles.next_column());
        }
        copy_async_commit();
      });
      std::uint32_t const k_tile = kv_tiles + buffer * (2 * Tile::kBytes);
      tiles.prefetch();

      typename Queries::Scores score;
      queries.multiply_keys(score, k_tile);
      if ((tiles.mask() & kTileFull) == 0) {
        queries.hide(score, tiles.column(), tiles.mask());
      }
      float factor[2];
      queries.weigh(score, factor, p.scale_log2);
      queries.rescale(factor);
      typename Queries::Weights weight;
      Queries::pack(weight, score);
      queries.add_values(weight, k_tile + Tile::kBytes);
      tiles.advance();
    }
  }
  queries.store(head.q_head_idx, p);
}

}  // namespace flashproof
