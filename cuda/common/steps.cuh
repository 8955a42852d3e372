/// What every attention kernel is given, and the steps in which one can go wrong. kernels/*.cu state
/// what each computes.
#pragma once

#include <math_constants.h>

#include <cstddef>
#include <cstdint>

#include "element.cuh"
#include "instructions.cuh"
#include "tile.cuh"

namespace flashproof {

constexpr int kTileQ = kTileRows;
constexpr int kTileKv = kTileRows;
constexpr int kGranule = 16;  // queries or keys on a side of a bit of a tile's mask
constexpr std::uint32_t kTileFull = 1u << 16;
constexpr unsigned kAllLanes = 0xffffffffu;

/// What a kernel that copies by address reads.
template <typename Element>
struct Inputs {
  typename Element::Type const* q;  // (batch, num_q_heads, seqlen_q, head_dim)
  typename Element::Type const* k;  // (batch, num_kv_heads, seqlen_kv, head_dim)
  typename Element::Type const* v;  // (batch, num_kv_heads, seqlen_kv, head_dim)
};

/// What every kernel writes, with extents and the mask as far as tokens decide it.
template <typename Element>
struct AttentionParameters {
  typename Element::Type* o;  // (batch, num_q_heads, seqlen_q, head_dim)
  float* lse;                 // (batch, num_q_heads, seqlen_q)
  std::uint32_t num_q_heads;
  std::uint32_t num_kv_heads;
  std::int32_t seqlen_q;
  std::int32_t seqlen_kv;
  std::uint32_t causal;       // 0 or 1
  std::int32_t window_left;   // seqlen_q + seqlen_kv where unbounded: no pair is further apart
  std::int32_t window_right;  // the same
  std::int32_t sinks;         // at most seqlen_kv
  float scale;
  float scale_log2;  // RN(scale * log2(e))
};
static_assert(sizeof(AttentionParameters<F16>) == 56);
static_assert(offsetof(AttentionParameters<F16>, num_q_heads) == 16);
static_assert(offsetof(AttentionParameters<F16>, scale_log2) == 52);

/// Which keys one query sees: those of [window_begin, window_end) in blocks that are present, and
/// those below sink_end. Either range may be empty.
struct KeyRange {
  int window_begin;
  int window_end;
  int sink_end;
};

/// The steps that a defect (defects/*.cu) replaces one at a time. These are the right ones.
struct AttentionSteps {
  /// What a pair that is not visible scores. -inf, not a large negative number: a real score may lie
  /// below any finite stand-in, and -inf alone gives a weight of exactly 0.
  static __device__ __forceinline__ float hidden_score() {
    return -CUDART_INF_F;
  }

  /// Key and value head of a query head.
  template <typename Element>
  static __device__ __forceinline__ std::uint32_t kv_head(std::uint32_t q_head,
                                                          AttentionParameters<Element> const& p) {
    return q_head / (p.num_q_heads / p.num_kv_heads);
  }

  /// Keys that query `q` sees as far as tokens decide.
  template <typename Element>
  static __device__ __forceinline__ KeyRange key_range(int q,
                                                       AttentionParameters<Element> const& p) {
    int const diagonal = q + p.seqlen_kv - p.seqlen_q;
    int const keys_end = p.seqlen_kv;  // not the end of their last tile, where there are zeros
    int const causal_end = p.causal != 0 ? min(diagonal + 1, keys_end) : keys_end;
    return {.window_begin = diagonal - p.window_left,
            .window_end = min(diagonal + p.window_right + 1, causal_end),
            .sink_end = min(p.sinks, causal_end)};
  }

  /// Starts copying a tile of values. Rows past the last key become zeros: their weights are 0, and
  /// 0 * NaN is NaN.
  template <int kHeadDim, typename Number>
  static __device__ __forceinline__ void copy_values(std::uint32_t tile, Number const* v, int key,
                                                     int seqlen_kv) {
    Tile<kHeadDim>::copy_async(tile, v, key, seqlen_kv);
  }

  /// Hands the buffer that was filled to the tensor cores and the other one to `start_copies`.
  template <typename StartCopies>
  static __device__ __forceinline__ void exchange_buffers(StartCopies start_copies) {
    copy_async_wait<0>();
    // k and v of this tile: written by every thread's copies above, read by every warp below.
    // k and v of the tile before, in the other buffer: read above, overwritten by start_copies.
    __syncthreads();
    start_copies();
  }

  /// What a row's scores are taken relative to. A row that has seen no key yet subtracts 0, because
  /// (-inf) - (-inf) is NaN.
  static __device__ __forceinline__ float finite_max(float row_max) {
    return row_max == -CUDART_INF_F ? 0.0f : row_max;
  }

  /// 2^(scale_log2 * (score - row_max)). Subtracted before scaling, so that the weight of the
  /// maximum is exactly 1 however large the scores are: a fused score * scale_log2 - RN(row_max *
  /// scale_log2) leaves a residue there that grows with them.
  static __device__ __forceinline__ float weight(float score, float row_max, float scale_log2) {
    return exp2_approximate(__fmul_rn(__fsub_rn(score, row_max), scale_log2));
  }

  /// What o and row_sum of the tiles before are multiplied by when the maximum of a row rises.
  static __device__ __forceinline__ float rescale(float row_max_before, float row_max,
                                                  float scale_log2) {
    return weight(row_max_before, row_max, scale_log2);
  }

  /// 1 / row_sum, which is at least 1 for a row that sees a key and 0 for one that sees none.
  static __device__ __forceinline__ float reciprocal(float row_sum) {
    return row_sum == 0.0f ? 0.0f : __frcp_rn(row_sum);
  }

  /// Natural logarithm of the sum of exp(scale * score); -inf for a row that sees no key.
  template <typename Element>
  static __device__ __forceinline__ float log_sum_exp(float row_max, float row_sum,
                                                      AttentionParameters<Element> const& p) {
    float const log_row_sum = __fmul_rn(log2_approximate(row_sum), CUDART_LN2_F);
    return __fmaf_rn(row_max, p.scale, log_row_sum);
  }
};

}  // namespace flashproof
