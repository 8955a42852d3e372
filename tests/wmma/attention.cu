/// Causal attention by the CUDA C++ warp matrix functions, one warp on sixteen queries: what a textbook kernel looks like.
///
/// Computes   o[i] = sum over visible j of softmax(scale * q[i] . k[j])[j] * v[j]; query i sees key j where j <= i + seqlen_kv - seqlen_q
/// Inputs     q (batch, num_q_heads, seqlen_q, 64), k, v (batch, num_kv_heads, seqlen_kv, 64): f16, contiguous
/// Outputs    o like q: f16; a row that sees no key: o = 0
/// Launch     grid (ceil(seqlen_q / 16), num_q_heads, batch), block 32, no dynamic shared memory
/// Rounding   scores and sums in f32, weights rounded to f16 before they meet v
/// Compiled   nvcc 13.0 -std=c++17 -arch=sm_80 -ptx -lineinfo, then cuda/portable_ptx.py
#include <cuda_fp16.h>
#include <math_constants.h>
#include <mma.h>

using namespace nvcuda;

constexpr int kHeadDim = 64;
constexpr int kTile = 16;

extern "C" __global__ void __launch_bounds__(32) attention(
    __half const* q, __half const* k, __half const* v, __half* o, int num_q_heads, int num_kv_heads, int seqlen_q,
    int seqlen_kv, float scale_log2) {
  __shared__ alignas(32) __half q_tile[kTile][kHeadDim];
  __shared__ alignas(32) __half k_tile[kTile][kHeadDim];
  __shared__ alignas(32) __half v_tile[kTile][kHeadDim];
  __shared__ alignas(32) float scores[kTile][kTile];
  __shared__ alignas(32) __half weights[kTile][kTile];
  __shared__ alignas(32) float acc[kTile][kHeadDim];

  int const lane = threadIdx.x;
  int const head = blockIdx.y;
  long long const q_rows = (static_cast<long long>(blockIdx.z) * num_q_heads + head) * seqlen_q;
  long long const kv_rows =
      (static_cast<long long>(blockIdx.z) * num_kv_heads + head / (num_q_heads / num_kv_heads)) * seqlen_kv;
  int const first_row = blockIdx.x * kTile;

  for (int i = lane; i < kTile * kHeadDim; i += 32) {
    int const row = i / kHeadDim;
    bool const inside = first_row + row < seqlen_q;
    q_tile[row][i % kHeadDim] = inside ? q[(q_rows + first_row + row) * kHeadDim + i % kHeadDim] : __half(0.0f);
    acc[row][i % kHeadDim] = 0.0f;
  }
  __syncwarp();  // Sums written above are read below, by other lanes, where no key is visible at all.

  // Lanes 2 r and 2 r + 1 share row r: eight keys and 32 channels each.
  int const row = lane / 2;
  int const half = lane % 2;
  int const diagonal = first_row + row + seqlen_kv - seqlen_q;
  float row_max = -CUDART_INF_F;
  float row_sum = 0.0f;
  int const end_key = min(seqlen_kv, first_row + kTile + seqlen_kv - seqlen_q);
  for (int first = 0; first < end_key; first += kTile) {
    for (int i = lane; i < kTile * kHeadDim; i += 32) {
      int const key = first + i / kHeadDim;
      long long const at = (kv_rows + key) * kHeadDim + i % kHeadDim;
      k_tile[i / kHeadDim][i % kHeadDim] = key < seqlen_kv ? k[at] : __half(0.0f);
      v_tile[i / kHeadDim][i % kHeadDim] = key < seqlen_kv ? v[at] : __half(0.0f);
    }
    __syncwarp();  // Tiles written above, read below.

    wmma::fragment<wmma::accumulator, 16, 16, 16, float> score;
    wmma::fill_fragment(score, 0.0f);
    for (int channel = 0; channel < kHeadDim; channel += 16) {
      wmma::fragment<wmma::matrix_a, 16, 16, 16, __half, wmma::row_major> a;
      wmma::fragment<wmma::matrix_b, 16, 16, 16, __half, wmma::col_major> b;
      wmma::load_matrix_sync(a, &q_tile[0][channel], kHeadDim);
      wmma::load_matrix_sync(b, &k_tile[0][channel], kHeadDim);
      wmma::mma_sync(score, a, b, score);
    }
    wmma::store_matrix_sync(&scores[0][0], score, kTile, wmma::mem_row_major);
    __syncwarp();  // Scores written above, read below.

    float tile_max = -CUDART_INF_F;
    for (int j = 8 * half; j < 8 * half + 8; ++j) {
      bool const visible = first + j < seqlen_kv && first + j <= diagonal;
      tile_max = fmaxf(tile_max, visible ? scores[row][j] : -CUDART_INF_F);
    }
    tile_max = fmaxf(tile_max, __shfl_xor_sync(0xffffffffu, tile_max, 1));
    float const new_max = fmaxf(row_max, tile_max);
    float const finite_max = new_max == -CUDART_INF_F ? 0.0f : new_max;
    float const correction = exp2f((row_max - finite_max) * scale_log2);
    float tile_sum = 0.0f;
    for (int j = 8 * half; j < 8 * half + 8; ++j) {
      bool const visible = first + j < seqlen_kv && first + j <= diagonal;
      float const weight = visible ? exp2f((scores[row][j] - finite_max) * scale_log2) : 0.0f;
      weights[row][j] = __float2half_rn(weight);
      tile_sum += weight;
    }
    tile_sum += __shfl_xor_sync(0xffffffffu, tile_sum, 1);
    row_sum = row_sum * correction + tile_sum;
    row_max = new_max;
    for (int c = 32 * half; c < 32 * half + 32; ++c) {
      acc[row][c] *= correction;
    }
    __syncwarp();  // Weights and sums written above, read below.

    for (int channel = 0; channel < kHeadDim; channel += 16) {
      wmma::fragment<wmma::matrix_a, 16, 16, 16, __half, wmma::row_major> a;
      wmma::fragment<wmma::matrix_b, 16, 16, 16, __half, wmma::row_major> b;
      wmma::fragment<wmma::accumulator, 16, 16, 16, float> sums;
      wmma::load_matrix_sync(a, &weights[0][0], kTile);
      wmma::load_matrix_sync(b, &v_tile[0][channel], kHeadDim);
      wmma::load_matrix_sync(sums, &acc[0][channel], kHeadDim, wmma::mem_row_major);
      wmma::mma_sync(sums, a, b, sums);
      wmma::store_matrix_sync(&acc[0][channel], sums, kHeadDim, wmma::mem_row_major);
    }
    __syncwarp();  // Tiles read above, overwritten in the next round.
  }

  if (first_row + row < seqlen_q) {
    float const divisor = row_sum > 0.0f ? row_sum : 1.0f;
    __half* const at = o + (q_rows + first_row + row) * kHeadDim;
    for (int c = 32 * half; c < 32 * half + 32; ++c) {
      at[c] = __float2half_rn(acc[row][c] / divisor);
    }
  }
}
