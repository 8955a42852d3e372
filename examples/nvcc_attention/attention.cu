/// Attention with a causal or windowed mask, four warps on sixteen queries, plain CUDA without tensor cores.
///
/// Computes   o[i] = sum over visible j of softmax(scale * q[i] . k[j])[j] * v[j], lse[i] = ln sum exp(scale * score);
///            query i sees key j where d - window_left <= j, and j <= d if causal, with d = i + seqlen_kv - seqlen_q
/// Inputs     q (batch, seqlen_q, num_q_heads, 64), k, v (batch, seqlen_kv, num_kv_heads, 64): f16, contiguous
/// Outputs    o like q: f16; lse (batch, num_q_heads, seqlen_q): f32, natural; a row that sees no key: o = 0, lse = -inf
/// Launch     grid (ceil(seqlen_q / 16), num_q_heads, batch), block 128, no dynamic shared memory
/// Rounding   products and sums in f32; weights stay f32
/// Barriers   two a tile: written above before read below, and read before overwritten
/// Source     Dao, FlashAttention-2 (arXiv 2307.08691), algorithm 1
#include <cuda_fp16.h>
#include <math_constants.h>

constexpr int kHeadDim = 64;
constexpr int kTileQ = 16;
constexpr int kTileKv = 32;
constexpr int kThreads = 128;
constexpr int kRowsPerWarp = kTileQ / (kThreads / 32);
constexpr int kPadded = kHeadDim + 2;  // Lanes read one column of 32 rows: an odd count of words keeps banks apart.

struct Params {
  __half const* q;
  __half const* k;
  __half const* v;
  __half* o;
  float* lse;
  int num_q_heads;
  int num_kv_heads;
  int seqlen_q;
  int seqlen_kv;
  int window_left;
  float scale_log2;
  bool causal;
};

extern "C" __global__ void __launch_bounds__(kThreads) attention(Params const params) {
  __shared__ __half k_tile[kTileKv][kPadded];
  __shared__ __half v_tile[kTileKv][kPadded];

  int const lane = threadIdx.x % 32;
  int const warp = threadIdx.x / 32;
  int const head = blockIdx.y;
  int const kv_head = head / (params.num_q_heads / params.num_kv_heads);
  long long const q_rows = static_cast<long long>(blockIdx.z) * params.seqlen_q;
  long long const kv_rows = static_cast<long long>(blockIdx.z) * params.seqlen_kv;
  int const row_first = blockIdx.x * kTileQ + warp * kRowsPerWarp;

  float2 q_row[kRowsPerWarp];  // Channels 2 lane and 2 lane + 1.
  float2 acc[kRowsPerWarp];
  float row_max[kRowsPerWarp];
  float row_sum[kRowsPerWarp];
  for (int r = 0; r < kRowsPerWarp; ++r) {
    acc[r] = make_float2(0.0f, 0.0f);
    row_max[r] = -CUDART_INF_F;
    row_sum[r] = 0.0f;
    q_row[r] = make_float2(0.0f, 0.0f);
    if (row_first + r < params.seqlen_q) {
      __half const* const at = params.q + ((q_rows + row_first + r) * params.num_q_heads + head) * kHeadDim;
      q_row[r] = __half22float2(reinterpret_cast<__half2 const*>(at)[lane]);
    }
  }

  int const diagonal = static_cast<int>(blockIdx.x) * kTileQ + params.seqlen_kv - params.seqlen_q;
  int const first_key = max(diagonal - params.window_left, 0) / kTileKv * kTileKv;
  int const end_key = params.causal ? min(params.seqlen_kv, diagonal + kTileQ) : params.seqlen_kv;
  for (int first = first_key; first < end_key; first += kTileKv) {
    for (int i = threadIdx.x; i < kTileKv * kHeadDim / 2; i += kThreads) {
      int const key = i / (kHeadDim / 2);
      int const pair = i % (kHeadDim / 2);
      __half2 k_pair = __float2half2_rn(0.0f);
      __half2 v_pair = __float2half2_rn(0.0f);  // Zero, not garbage: a weight of 0 times NaN is NaN.
      if (first + key < params.seqlen_kv) {
        long long const at = ((kv_rows + first + key) * params.num_kv_heads + kv_head) * (kHeadDim / 2) + pair;
        k_pair = reinterpret_cast<__half2 const*>(params.k)[at];
        v_pair = reinterpret_cast<__half2 const*>(params.v)[at];
      }
      *reinterpret_cast<__half2*>(&k_tile[key][2 * pair]) = k_pair;
      *reinterpret_cast<__half2*>(&v_tile[key][2 * pair]) = v_pair;
    }
    __syncthreads();  // Tiles written above, read below.

    int const key = first + lane;
    for (int r = 0; r < kRowsPerWarp; ++r) {
      float score = 0.0f;
      for (int pair = 0; pair < kHeadDim / 2; ++pair) {
        float const x = __shfl_sync(0xffffffffu, q_row[r].x, pair);
        float const y = __shfl_sync(0xffffffffu, q_row[r].y, pair);
        float2 const k_pair = __half22float2(*reinterpret_cast<__half2 const*>(&k_tile[lane][2 * pair]));
        score += x * k_pair.x + y * k_pair.y;
      }
      int const own = row_first + r + params.seqlen_kv - params.seqlen_q;
      bool const visible =
          key < params.seqlen_kv && key >= own - params.window_left && (!params.causal || key <= own);
      if (!visible) {
        score = -CUDART_INF_F;
      }
      float tile_max = score;
      for (int step = 16; step > 0; step /= 2) {
        tile_max = fmaxf(tile_max, __shfl_xor_sync(0xffffffffu, tile_max, step));
      }
      float const new_max = fmaxf(row_max[r], tile_max);
      // No key yet: 0 keeps -inf - -inf away.
      float const finite_max = new_max == -CUDART_INF_F ? 0.0f : new_max;
      float const weight = exp2f((score - finite_max) * params.scale_log2);
      float const correction = exp2f((row_max[r] - finite_max) * params.scale_log2);
      float tile_sum = weight;
      for (int step = 16; step > 0; step /= 2) {
        tile_sum += __shfl_xor_sync(0xffffffffu, tile_sum, step);
      }
      row_sum[r] = row_sum[r] * correction + tile_sum;
      row_max[r] = new_max;
      acc[r].x *= correction;
      acc[r].y *= correction;
      for (int j = 0; j < kTileKv; ++j) {
        float const p = __shfl_sync(0xffffffffu, weight, j);
        float2 const v_pair = __half22float2(*reinterpret_cast<__half2 const*>(&v_tile[j][2 * lane]));
        acc[r].x += p * v_pair.x;
        acc[r].y += p * v_pair.y;
      }
    }
    __syncthreads();  // Tiles read above, overwritten in the next round.
  }

  for (int r = 0; r < kRowsPerWarp; ++r) {
    int const row = row_first + r;
    if (row >= params.seqlen_q) {
      break;
    }
    bool const sees = row_sum[r] > 0.0f;
    float const divisor = sees ? row_sum[r] : 1.0f;
    __half* const at = params.o + ((q_rows + row) * params.num_q_heads + head) * kHeadDim;
    reinterpret_cast<__half2*>(at)[lane] = __floats2half2_rn(acc[r].x / divisor, acc[r].y / divisor);
    if (lane == 0) {
      float const lse = (row_max[r] * params.scale_log2 + log2f(row_sum[r])) * 0.69314718f;
      params.lse[(static_cast<long long>(blockIdx.z) * params.num_q_heads + head) * params.seqlen_q + row] =
          sees ? lse : -CUDART_INF_F;
    }
  }
}
