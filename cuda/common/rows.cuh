/// Online softmax of 64 queries, in the registers of the 4 warps that share them: the operands of
/// tensor cores lie alike in them for mma.sync and for wgmma.
#pragma once

#include <cstdint>

#include "steps.cuh"

namespace flashproof {

/// 64 queries. Warp w has queries 16 w to 16 w + 15; in every (.., 2) below, row 0 is query lane / 4
/// of them and row 1 is 8 further.
template <typename Element, int kHeadDim, typename Steps>
struct Rows {
  using Scores = float[kTileKv / 8][4];            // (kTileKv / 8, 2 rows * 2 keys)
  using Weights = std::uint32_t[kTileKv / 16][4];  // operands of the second product

  std::uint32_t warp;
  std::uint32_t lane;
  int q_row[2];
  KeyRange range[2];
  float o[kHeadDim / 8][4];  // (kHeadDim / 8, 2 rows * 2 columns), to be divided by row_sum
  float row_max[2];
  float row_sum[2];  // of this lane's keys

  __device__ __forceinline__ Rows(int q_first, AttentionParameters<Element> const& p)
      : warp(threadIdx.x / 32 % 4),
        lane(threadIdx.x % 32),
        o{},
        row_max{-CUDART_INF_F, -CUDART_INF_F},
        row_sum{0.0f, 0.0f} {
    q_row[0] = q_first + static_cast<int>(warp * 16 + lane / 4);
    q_row[1] = q_row[0] + 8;
    range[0] = Steps::key_range(q_row[0], p);
    range[1] = Steps::key_range(q_row[1], p);
  }

  /// Gives pairs that are not visible the score of hidden ones.
  __device__ __forceinline__ void hide(Scores& score, std::uint32_t column,
                                       std::uint32_t tile_mask) const {
    int const key_first = static_cast<int>(column * kTileKv + lane % 4 * 2);
#pragma unroll
    for (int i = 0; i < kTileKv / 8; ++i) {
      // The 16 queries of a warp are one row of granules.
      bool const present = (tile_mask >> (warp * 4 + i * 8 / kGranule) & 1) != 0;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        int const key = key_first + i * 8 + j % 2;
        KeyRange const& row = range[j / 2];
        bool const visible =
            (present && key >= row.window_begin && key < row.window_end) || key < row.sink_end;
        score[i][j] = visible ? score[i][j] : Steps::hidden_score();
      }
    }
  }

  /// Raises the maxima of the rows and turns scores into weights. `factor`: what the o of the tiles
  /// before is to be multiplied by.
  __device__ __forceinline__ void weigh(Scores& score, float (&factor)[2], float scale_log2) {
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      float tile_max = row_max[row];
#pragma unroll
      for (int i = 0; i < kTileKv / 8; ++i) {
        tile_max = fmaxf(tile_max, fmaxf(score[i][row * 2], score[i][row * 2 + 1]));
      }
      // The four lanes of a quad share the row.
      tile_max = fmaxf(tile_max, __shfl_xor_sync(kAllLanes, tile_max, 1));
      tile_max = fmaxf(tile_max, __shfl_xor_sync(kAllLanes, tile_max, 2));
      float const row_max_finite = Steps::finite_max(tile_max);
      factor[row] = Steps::rescale(row_max[row], row_max_finite, scale_log2);
      row_max[row] = tile_max;

      float tile_sum = 0.0f;
#pragma unroll
      for (int i = 0; i < kTileKv / 8; ++i) {
#pragma unroll
        for (int j = row * 2; j < row * 2 + 2; ++j) {
          score[i][j] = Steps::weight(score[i][j], row_max_finite, scale_log2);
          tile_sum = __fadd_rn(tile_sum, score[i][j]);
        }
      }
      row_sum[row] = __fmaf_rn(row_sum[row], factor[row], tile_sum);
    }
  }

  /// Multiplies o by the factors of its rows.
  __device__ __forceinline__ void rescale(float const (&factor)[2]) {
#pragma unroll
    for (int i = 0; i < kHeadDim / 8; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        o[i][j] = __fmul_rn(o[i][j], factor[j / 2]);
      }
    }
  }

  /// Rounds weights to the format of the values.
  static __device__ __forceinline__ void pack(Weights& weight, Scores const& score) {
#pragma unroll
    for (int step = 0; step < kTileKv / 16; ++step) {
      float const(&low)[4] = score[step * 2];
      float const(&high)[4] = score[step * 2 + 1];
      weight[step][0] = Element::pack(low[0], low[1]);
      weight[step][1] = Element::pack(low[2], low[3]);
      weight[step][2] = Element::pack(high[0], high[1]);
      weight[step][3] = Element::pack(high[2], high[3]);
    }
  }

  /// Of the four lanes of a row, lane j has word j of each of four tiles, and gets the four words of
  /// tile j: 16 bytes that go to memory at once, beside those of the next lane.
  __device__ __forceinline__ uint4 transpose(std::uint32_t const (&words)[4]) const {
    bool const is_odd = lane & 1;
    bool const is_upper = lane & 2;
    // Words 0 and 1, or 2 and 3, of tiles 0 and 2, or 1 and 3.
    std::uint32_t low[2], high[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      std::uint32_t const even = words[2 * i], odd = words[2 * i + 1];
      std::uint32_t const got = __shfl_xor_sync(kAllLanes, is_odd ? even : odd, 1);
      low[i] = is_odd ? got : even;
      high[i] = is_odd ? odd : got;
    }
    std::uint32_t const got_low = __shfl_xor_sync(kAllLanes, is_upper ? low[0] : low[1], 2);
    std::uint32_t const got_high = __shfl_xor_sync(kAllLanes, is_upper ? high[0] : high[1], 2);
    return is_upper ? make_uint4(got_low, got_high, low[1], high[1])
                    : make_uint4(low[0], high[0], got_low, got_high);
  }

  /// Divides by the row sums, and writes o and lse of the rows that exist.
  __device__ __forceinline__ void store(std::uint64_t q_head_idx,
                                        AttentionParameters<Element> const& p) const {
    float sum[2];  // of all lanes of a row, before lanes part below
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      sum[row] = __fadd_rn(row_sum[row], __shfl_xor_sync(kAllLanes, row_sum[row], 1));
      sum[row] = __fadd_rn(sum[row], __shfl_xor_sync(kAllLanes, sum[row], 2));
    }
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      float const inverse = Steps::reciprocal(sum[row]);
      std::uint64_t const row_idx = q_head_idx * p.seqlen_q + q_row[row];
      typename Element::Type* const o_row = p.o + row_idx * kHeadDim + lane % 4 * 8;
#pragma unroll
      for (int i = 0; i < kHeadDim / 8; i += 4) {
        std::uint32_t words[4];
#pragma unroll
        for (int tile = 0; tile < 4; ++tile) {
          words[tile] = Element::pack(__fmul_rn(o[i + tile][row * 2], inverse),
                                      __fmul_rn(o[i + tile][row * 2 + 1], inverse));
        }
        uint4 const neighbours = transpose(words);
        if (q_row[row] < p.seqlen_q) {
          *reinterpret_cast<uint4*>(o_row + i * 8) = neighbours;
        }
      }
      if (q_row[row] < p.seqlen_q) {
        if (lane % 4 == 0) {
          p.lse[row_idx] = Steps::log_sum_exp(row_max[row], sum[row], p);
        }
      }
    }
  }
};

}  // namespace flashproof
