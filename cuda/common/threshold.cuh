/// Block-Sparse FlashAttention: a tile of keys is kept if its largest score reaches a threshold.
/// kernels/bsfa_sm80.cu states what it computes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "pipeline.cuh"
#include "threshold_steps.cuh"

namespace flashproof {

/// The kernel's one parameter; the manifest lists the same offsets.
template <typename Element>
struct ThresholdParameters {
  Inputs<Element> inputs;
  AttentionParameters<Element> attention;
  Thresholds selection;
};
static_assert(sizeof(ThresholdParameters<F16>) == 112);
static_assert(offsetof(ThresholdParameters<F16>, selection) == 80);

/// Shared memory of a CTA: q, two tiles of k, two of v, the maxima of 4 warps for two tiles.
template <int kHeadDim>
constexpr std::uint32_t kThresholdSharedBytes = 5 * Tile<kHeadDim>::kBytes + 2 * 4 * 4;

/// Attention of one tile of 64 queries of one head over the tiles that are kept.
///
/// The weights of a kept tile wait one turn: its values are asked for when the decision has fallen,
/// and arrive while the scores of the next tile are computed. Values that are not needed are never
/// read, and no one waits for those that are.
template <typename Element, int kHeadDim, typename Steps = ThresholdSteps>
__device__ __forceinline__ void threshold_attention(
    ThresholdParameters<Element> const& parameters) {
  using Tile = Tile<kHeadDim>;
  using Queries = QueryTile<Element, kHeadDim, Steps>;
  AttentionParameters<Element> const& p = parameters.attention;
  Thresholds const& t = parameters.selection;
  extern __shared__ __align__(128) unsigned char shared[];  // (kThresholdSharedBytes)
  std::uint32_t const q_tile = shared_address(shared);
  std::uint32_t const k_tiles = q_tile + Tile::kBytes;       // (2)
  std::uint32_t const v_tiles = k_tiles + 2 * Tile::kBytes;  // (2)
  auto* const maxima =
      reinterpret_cast<float*>(Steps::maxima(shared + 5 * Tile::kBytes));  // (2, 4 warps)

  auto const head = Head<Element, kHeadDim, Steps>::of_cta(parameters.inputs, p);
  std::uint32_t const q_tile_idx = q_tile_of_cta();
  int const q_first = static_cast<int>(q_tile_idx * kTileQ);
  Queries queries(q_first, p);
  WindowTiles<Steps> tiles(q_first, kTileQ, p);
  float const threshold = t.thresholds[Steps::threshold_idx(head.q_head, q_tile_idx, t, p)];
  std::uint32_t* const kept = t.kept + (head.q_head_idx * gridDim.x + q_tile_idx) * t.kept_words;

  std::uint32_t word = 0;  // of the bitmap
  std::uint32_t kept_bits = 0;
  if (!tiles.done()) {
    auto const start_keys = [&](std::uint32_t buffer, std::uint32_t column) {
      Tile::copy_async(k_tiles + buffer * Tile::kBytes, head.k, static_cast<int>(column * kTileKv),
                       p.seqlen_kv);
    };
    Tile::copy_async(q_tile, head.q, q_first, p.seqlen_q);
    copy_async_commit();
    start_keys(0, tiles.column());
    copy_async_commit();
    copy_async_wait<1>();
    __syncthreads();  // q_tile: written by every thread's copies above, read by every warp below
    queries.load_queries(q_tile);

    typename Queries::Weights weight;  // of the tile before, if it was kept
    bool pending = false;
    bool kept_any = false;
    std::uint32_t last_buffer = 0;
    copy_async_commit();  // stands for the values of a tile before the first
    for (std::uint32_t buffer = 0; !tiles.done(); buffer ^= 1) {
      copy_async_wait<1>();
      // k of this tile: written by every thread's copies, read by every warp below. The other
      // buffer of k was read before the second barrier of the tile before.
      __syncthreads();
      if (!tiles.last()) {
        start_keys(buffer ^ 1, tiles.next_column());
      }
      copy_async_commit();

      typename Queries::Scores score;
      queries.multiply_keys(score, k_tiles + buffer * Tile::kBytes);
      std::uint32_t const mask = tiles.mask();
      bool const full = (mask & kTileFull) != 0;
      if (!full) {
        queries.hide(score, tiles.column(), mask);
      }
      float warp_max = Steps::no_score();
#pragma unroll
      for (int row = 0; row < 2; ++row) {
        float row_max = Steps::no_score();
#pragma unroll
        for (int i = 0; i < kTileKv / 8; ++i) {
          row_max = fmaxf(row_max, fmaxf(score[i][row * 2], score[i][row * 2 + 1]));
        }
        warp_max = fmaxf(warp_max, Steps::row_max_of_lane(row_max, queries.q_row[row], p.seqlen_q));
      }
#pragma unroll
      for (int distance = 16; distance > 0; distance /= 2) {
        warp_max = fmaxf(warp_max, __shfl_xor_sync(kAllLanes, warp_max, distance));
      }
      if (queries.lane == 0) {
        maxima[buffer * 4 + queries.warp] = warp_max;
      }
      Steps::share_maxima();
      float const score_max = Steps::score_max(maxima + buffer * 4, queries.warp);
      bool const keep =
          Steps::keeps(full, __fmul_rn(score_max, p.scale), threshold, tiles.last(), kept_any);
      if (keep) {
        // The other buffer of v was read before the first barrier of this tile.
        Steps::template copy_values<kHeadDim>(v_tiles + buffer * Tile::kBytes, head.v,
                                              static_cast<int>(tiles.column() * kTileKv),
                                              p.seqlen_kv);
      }
      copy_async_commit();
      if (pending) {
        queries.add_values(weight, v_tiles + (buffer ^ 1) * Tile::kBytes);
      }
      if (keep) {
        float factor[2];
        queries.weigh(score, factor, p.scale_log2);
        queries.rescale(factor);
        Queries::pack(weight, score);
      } else {
        Steps::drop(queries, score, p.scale_log2);
      }
      pending = keep;
      kept_any = kept_any || keep;

      std::uint32_t const column = tiles.column();
      for (; word < column / 32; ++word) {
        if (threadIdx.x == 0) {
          kept[word] = kept_bits;
        }
        kept_bits = 0;
      }
      kept_bits |= keep ? Steps::kept_bit(column) : 0;
      tiles.advance();
      last_buffer = buffer;
    }
    copy_async_wait<0>();
    __syncthreads();  // v of the last tile: written by every thread's copies, read below
    if (pending) {
      queries.add_values(weight, v_tiles + last_buffer * Tile::kBytes);
    }
  }
  for (; word < t.kept_words; ++word) {
    if (threadIdx.x == 0) {
      kept[word] = kept_bits;
    }
    kept_bits = 0;
  }
  queries.store(head.q_head_idx, p);
}

}  // namespace flashproof
