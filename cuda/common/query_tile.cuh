/// The two products of a tile of queries by mma.sync.
#pragma once

#include <cstdint>

#include "rows.cuh"

namespace flashproof {

/// Where a CTA finds its tensors.
template <typename Element, int kHeadDim, typename Steps>
struct Head {
  using Number = typename Element::Type;

  std::uint32_t q_head;
  std::uint64_t q_head_idx;  // of all sequences
  Number const* q;           // (seqlen_q, kHeadDim)
  Number const* k;           // (seqlen_kv, kHeadDim)
  Number const* v;           // (seqlen_kv, kHeadDim)

  /// Grid (tiles of queries, num_q_heads, batch). Offsets are 64 bits wide.
  static __device__ __forceinline__ Head of_cta(Inputs<Element> const& inputs,
                                                AttentionParameters<Element> const& p) {
    std::uint32_t const q_head = blockIdx.y;
    std::uint64_t const q_head_idx = std::uint64_t{blockIdx.z} * p.num_q_heads + q_head;
    std::uint64_t const kv_head_idx =
        std::uint64_t{blockIdx.z} * p.num_kv_heads + Steps::kv_head(q_head, p);
    std::uint64_t const kv_offset = kv_head_idx * p.seqlen_kv * kHeadDim;
    return {.q_head = q_head,
            .q_head_idx = q_head_idx,
            .q = inputs.q + q_head_idx * p.seqlen_q * kHeadDim,
            .k = inputs.k + kv_offset,
            .v = inputs.v + kv_offset};
  }
};

/// 64 queries, held in registers.
template <typename Element, int kHeadDim, typename Steps>
struct QueryTile : Rows<Element, kHeadDim, Steps> {
  using Tile = Tile<kHeadDim>;
  using Base = Rows<Element, kHeadDim, Steps>;
  using Base::lane;
  using Base::o;
  using Base::warp;
  using typename Base::Scores;
  using typename Base::Weights;

  std::uint32_t q_fragment[kHeadDim / 16][4];

  using Base::Base;

  /// Reads the queries, which a barrier has made visible.
  __device__ __forceinline__ void load_queries(std::uint32_t q_tile) {
#pragma unroll
    for (int step = 0; step < kHeadDim / 16; ++step) {
      load_matrices(q_fragment[step],
                    q_tile + Tile::offset(warp * 16 + lane % 16, step * 2 + lane / 16));
    }
  }

  /// score = q k^T
  __device__ __forceinline__ void multiply_keys(Scores& score, std::uint32_t k_tile) const {
#pragma unroll
    for (int i = 0; i < kTileKv / 8; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        score[i][j] = 0.0f;
      }
    }
#pragma unroll
    for (int step = 0; step < kHeadDim / 16; ++step) {
#pragma unroll
      for (int pair = 0; pair < kTileKv / 16; ++pair) {
        std::uint32_t key[4];  // (2 groups of 8 keys, 2 halves of 16 channels)
        load_matrices(key, k_tile + Tile::offset(pair * 16 + lane / 16 * 8 + lane % 8,
                                                 step * 2 + lane / 8 % 2));
        Element::multiply_add(score[pair * 2], q_fragment[step], key[0], key[1]);
        Element::multiply_add(score[pair * 2 + 1], q_fragment[step], key[2], key[3]);
      }
    }
  }

  /// o += weight v
  __device__ __forceinline__ void add_values(Weights const& weight, std::uint32_t v_tile) {
#pragma unroll
    for (int step = 0; step < kTileKv / 16; ++step) {
#pragma unroll
      for (int pair = 0; pair < kHeadDim / 16; ++pair) {
        std::uint32_t value[4];  // (2 groups of 8 channels, 2 halves of 16 keys)
        load_matrices_transposed(
            value, v_tile + Tile::offset(step * 16 + lane % 16, pair * 2 + lane / 16));
        Element::multiply_add(o[pair * 2], weight[step], value[0], value[1]);
        Element::multiply_add(o[pair * 2 + 1], weight[step], value[2], value[3]);
      }
    }
  }
};

}  // namespace flashproof
