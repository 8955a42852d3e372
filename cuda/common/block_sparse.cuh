/// Block-sparse attention, one CTA per tile of 64 queries of one head: the kernel itself, and the
/// steps in which it can go wrong. kernels/block_sparse_sm80.cu states what it computes.
#pragma once

#include <cuda_fp16.h>
#include <math_constants.h>

#include <cstddef>
#include <cstdint>

#include "instructions.cuh"
#include "tile.cuh"

namespace flashproof {

constexpr int kTileQ = kTileRows;
constexpr int kTileKv = kTileRows;
constexpr int kGranule = 16;  // queries or keys on a side of a bit of tile_mask
constexpr std::uint32_t kTileFull = 1u << 16;
constexpr unsigned kAllLanes = 0xffffffffu;

/// The kernel's one parameter; the manifest lists the same offsets.
struct BlockSparseParameters {
  __half const* q;                 // (batch, num_q_heads, seqlen_q, head_dim)
  __half const* k;                 // (batch, num_kv_heads, seqlen_kv, head_dim)
  __half const* v;                 // (batch, num_kv_heads, seqlen_kv, head_dim)
  __half* o;                       // (batch, num_q_heads, seqlen_q, head_dim)
  float* lse;                      // (batch, num_q_heads, seqlen_q)
  std::uint32_t const* row_ptr;    // (lists, q_tiles + 1)
  std::uint32_t const* col_idx;    // (tiles)
  std::uint32_t const* tile_mask;  // (tiles)
  std::uint32_t num_q_heads;
  std::uint32_t num_kv_heads;
  std::int32_t seqlen_q;
  std::int32_t seqlen_kv;
  std::uint32_t row_ptr_stride;  // entries of row_ptr from one head to the next; 0: all share
  std::uint32_t causal;          // 0 or 1
  std::int32_t window_left;      // seqlen_q + seqlen_kv where unbounded: no pair is further apart
  std::int32_t window_right;     // the same
  std::int32_t sinks;            // at most seqlen_kv
  float scale;
  float scale_log2;  // RN(scale * log2(e))
};
static_assert(sizeof(BlockSparseParameters) == 112);
static_assert(offsetof(BlockSparseParameters, num_q_heads) == 64);
static_assert(offsetof(BlockSparseParameters, scale_log2) == 104);

/// Which keys one query sees: those of [window_begin, window_end) in blocks that are present, and
/// those below sink_end. Either range may be empty.
struct KeyRange {
  int window_begin;
  int window_end;
  int sink_end;
};

/// The steps that a defect (defects/*.cu) replaces one at a time. These are the right ones.
struct BlockSparseSteps {
  /// What a pair that is not visible scores. -inf, not a large negative number: a real score may lie
  /// below any finite stand-in, and -inf alone gives a weight of exactly 0.
  static __device__ __forceinline__ float hidden_score() {
    return -CUDART_INF_F;
  }

  /// Key and value head of a query head.
  static __device__ __forceinline__ std::uint32_t kv_head(std::uint32_t q_head,
                                                          BlockSparseParameters const& p) {
    return q_head / (p.num_q_heads / p.num_kv_heads);
  }

  /// Keys that query `q` sees as far as tokens decide.
  static __device__ __forceinline__ KeyRange key_range(int q, BlockSparseParameters const& p) {
    int const diagonal = q + p.seqlen_kv - p.seqlen_q;
    int const keys_end = p.seqlen_kv;  // not the end of their last tile, where there are zeros
    int const causal_end = p.causal != 0 ? min(diagonal + 1, keys_end) : keys_end;
    return {.window_begin = diagonal - p.window_left,
            .window_end = min(diagonal + p.window_right + 1, causal_end),
            .sink_end = min(p.sinks, causal_end)};
  }

  /// Starts copying a tile of values. Rows past the last key become zeros: their weights are 0, and
  /// 0 * NaN is NaN.
  template <int kHeadDim>
  static __device__ __forceinline__ void copy_values(std::uint32_t tile, __half const* v, int key,
                                                     BlockSparseParameters const& p) {
    Tile<kHeadDim>::copy_async(tile, v, key, p.seqlen_kv);
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

  /// 2^(scale_log2 * (score - row_max)). Subtracted before scaling, so that the weight of the
  /// maximum is exactly 1 however large the scores are: a fused score * scale_log2 - RN(row_max *
  /// scale_log2) leaves a residue there that grows with them.
  static __device__ __forceinline__ float weight(float score, float row_max, float scale_log2) {
    return exp2_approximate(__fmul_rn(__fsub_rn(score, row_max), scale_log2));
  }

  /// 1 / row_sum, which is at least 1 for a row that sees a key and 0 for one that sees none.
  static __device__ __forceinline__ float reciprocal(float row_sum) {
    return row_sum == 0.0f ? 0.0f : __frcp_rn(row_sum);
  }

  /// Natural logarithm of the sum of exp(scale * score); -inf for a row that sees no key.
  static __device__ __forceinline__ float log_sum_exp(float row_max, float row_sum,
                                                      BlockSparseParameters const& p) {
    float const log_row_sum = __fmul_rn(log2_approximate(row_sum), CUDART_LN2_F);
    return __fmaf_rn(row_max, p.scale, log_row_sum);
  }
};

/// Shared memory of a CTA: q, then k and v of two tiles.
template <int kHeadDim>
constexpr std::uint32_t kBlockSparseSharedBytes = 5 * Tile<kHeadDim>::kBytes;

/// Attention of one tile of queries. Warp w has queries 16 w to 16 w + 15 of the tile; in every
/// (.., 2) below, row 0 is query lane / 4 of them and row 1 is 8 further.
template <int kHeadDim, typename Steps = BlockSparseSteps>
__device__ __forceinline__ void block_sparse_attention(BlockSparseParameters const& p) {
  using Tile = Tile<kHeadDim>;
  extern __shared__ __align__(128) unsigned char shared[];  // (kBlockSparseSharedBytes)
  std::uint32_t const q_tile = shared_address(shared);
  std::uint32_t const kv_tiles = q_tile + Tile::kBytes;  // (2): k, then v

  std::uint32_t const warp = threadIdx.x / 32;
  std::uint32_t const lane = threadIdx.x % 32;

  // The last tiles first: under a causal mask they have the most keys.
  std::uint32_t const q_tile_idx = gridDim.x - 1 - blockIdx.x;
  std::uint32_t const q_head = blockIdx.y;
  std::uint32_t const batch = blockIdx.z;
  std::uint64_t const q_head_idx = std::uint64_t{batch} * p.num_q_heads + q_head;
  std::uint64_t const kv_head_idx =
      std::uint64_t{batch} * p.num_kv_heads + Steps::kv_head(q_head, p);
  std::uint64_t const kv_offset = kv_head_idx * p.seqlen_kv * kHeadDim;
  __half const* const q = p.q + q_head_idx * p.seqlen_q * kHeadDim;  // (seqlen_q, kHeadDim)
  __half const* const k = p.k + kv_offset;                           // (seqlen_kv, kHeadDim)
  __half const* const v = p.v + kv_offset;                           // (seqlen_kv, kHeadDim)

  std::uint32_t const* const row_ptr =
      p.row_ptr + std::uint64_t{q_head} * p.row_ptr_stride + q_tile_idx;
  std::uint32_t const list_begin = row_ptr[0];
  std::uint32_t const list_end = row_ptr[1];

  int const q_first = static_cast<int>(q_tile_idx * kTileQ);
  int const q_low = q_first + static_cast<int>(warp * 16 + lane / 4);
  int const q_row[2] = {q_low, q_low + 8};
  KeyRange const range[2] = {Steps::key_range(q_row[0], p), Steps::key_range(q_row[1], p)};

  float o[kHeadDim / 8][4] = {};  // (kHeadDim / 8, 2 rows * 2 columns), to be divided by row_sum
  float row_max[2] = {-CUDART_INF_F, -CUDART_INF_F};
  float row_sum[2] = {0.0f, 0.0f};  // of this lane's keys

  if (list_begin < list_end) {
    auto const start_copies = [&](std::uint32_t buffer, std::uint32_t column) {
      std::uint32_t const k_tile = kv_tiles + buffer * (2 * Tile::kBytes);
      int const key = static_cast<int>(column * kTileKv);
      Tile::copy_async(k_tile, k, key, p.seqlen_kv);
      Steps::template copy_values<kHeadDim>(k_tile + Tile::kBytes, v, key, p);
    };
    Tile::copy_async(q_tile, q, q_first, p.seqlen_q);
    copy_async_commit();
    start_copies(0, p.col_idx[list_begin]);
    copy_async_commit();

    copy_async_wait<1>();
    __syncthreads();  // q_tile: written by every thread's copies above, read by every warp below
    std::uint32_t q_fragment[kHeadDim / 16][4];
#pragma unroll
    for (int step = 0; step < kHeadDim / 16; ++step) {
      load_matrices(q_fragment[step],
                    q_tile + Tile::offset(warp * 16 + lane % 16, step * 2 + lane / 16));
    }

    // Column and mask of an entry are fetched one tile before they are needed.
    std::uint32_t tile_mask = p.tile_mask[list_begin];
    std::uint32_t column = p.col_idx[list_begin];
    std::uint32_t column_next = list_begin + 1 < list_end ? p.col_idx[list_begin + 1] : 0;
    for (std::uint32_t entry = list_begin; entry < list_end; ++entry) {
      std::uint32_t const buffer = (entry - list_begin) % 2;
      Steps::exchange_buffers([&] {
        if (entry + 1 < list_end) {
          start_copies(buffer ^ 1, column_next);
        }
        copy_async_commit();
      });
      std::uint32_t const k_tile = kv_tiles + buffer * (2 * Tile::kBytes);
      std::uint32_t const v_tile = k_tile + Tile::kBytes;
      std::uint32_t const column_after = entry + 2 < list_end ? p.col_idx[entry + 2] : 0;
      std::uint32_t const mask_next = entry + 1 < list_end ? p.tile_mask[entry + 1] : 0;

      // score = q k^T
      float score[kTileKv / 8][4] = {};  // (kTileKv / 8, 2 rows * 2 keys)
#pragma unroll
      for (int step = 0; step < kHeadDim / 16; ++step) {
#pragma unroll
        for (int pair = 0; pair < kTileKv / 16; ++pair) {
          std::uint32_t key[4];  // (2 groups of 8 keys, 2 halves of 16 channels)
          load_matrices(key, k_tile + Tile::offset(pair * 16 + lane / 16 * 8 + lane % 8,
                                                   step * 2 + lane / 8 % 2));
          multiply_add(score[pair * 2], q_fragment[step], key[0], key[1]);
          multiply_add(score[pair * 2 + 1], q_fragment[step], key[2], key[3]);
        }
      }

      if ((tile_mask & kTileFull) == 0) {
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
        // A row that has seen no key yet subtracts 0, because (-inf) - (-inf) is NaN.
        float const row_max_finite = tile_max == -CUDART_INF_F ? 0.0f : tile_max;
        float const rescale = Steps::weight(row_max[row], row_max_finite, p.scale_log2);
        row_max[row] = tile_max;

        float tile_sum = 0.0f;
#pragma unroll
        for (int i = 0; i < kTileKv / 8; ++i) {
#pragma unroll
          for (int j = row * 2; j < row * 2 + 2; ++j) {
            score[i][j] = Steps::weight(score[i][j], row_max_finite, p.scale_log2);
            tile_sum = __fadd_rn(tile_sum, score[i][j]);
          }
        }
        row_sum[row] = __fmaf_rn(row_sum[row], rescale, tile_sum);
#pragma unroll
        for (int i = 0; i < kHeadDim / 8; ++i) {
          o[i][row * 2] = __fmul_rn(o[i][row * 2], rescale);
          o[i][row * 2 + 1] = __fmul_rn(o[i][row * 2 + 1], rescale);
        }
      }

      // o += weight v
#pragma unroll
      for (int step = 0; step < kTileKv / 16; ++step) {
        float const(&low)[4] = score[step * 2];
        float const(&high)[4] = score[step * 2 + 1];
        std::uint32_t const weight[4] = {pack_f16(low[0], low[1]), pack_f16(low[2], low[3]),
                                         pack_f16(high[0], high[1]), pack_f16(high[2], high[3])};
#pragma unroll
        for (int pair = 0; pair < kHeadDim / 16; ++pair) {
          std::uint32_t value[4];  // (2 groups of 8 channels, 2 halves of 16 keys)
          load_matrices_transposed(
              value, v_tile + Tile::offset(step * 16 + lane % 16, pair * 2 + lane / 16));
          multiply_add(o[pair * 2], weight, value[0], value[1]);
          multiply_add(o[pair * 2 + 1], weight, value[2], value[3]);
        }
      }
      tile_mask = mask_next;
      column = column_next;
      column_next = column_after;
    }
  }

#pragma unroll
  for (int row = 0; row < 2; ++row) {
    float sum = row_sum[row];
    sum = __fadd_rn(sum, __shfl_xor_sync(kAllLanes, sum, 1));
    sum = __fadd_rn(sum, __shfl_xor_sync(kAllLanes, sum, 2));
    float const inverse = Steps::reciprocal(sum);
    if (q_row[row] < p.seqlen_q) {
      std::uint64_t const row_idx = q_head_idx * p.seqlen_q + q_row[row];
      __half* const o_row = p.o + row_idx * kHeadDim + lane % 4 * 2;
#pragma unroll
      for (int i = 0; i < kHeadDim / 8; ++i) {
        *reinterpret_cast<std::uint32_t*>(o_row + i * 8) =
            pack_f16(__fmul_rn(o[i][row * 2], inverse), __fmul_rn(o[i][row * 2 + 1], inverse));
      }
      if (lane % 4 == 0) {
        p.lse[row_idx] = Steps::log_sum_exp(row_max[row], sum, p);
      }
    }
  }
}

}  // namespace flashproof
