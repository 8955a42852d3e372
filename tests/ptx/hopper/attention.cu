/// o = softmax(q k^T) v for a tile of 64 queries: a producer warp, a ring of two stages, one consumer warpgroup.
///
/// Computes   o[i] = sum over j of exp(scale (q[i] . k[j])) v[j] / sum over j of the same, online in f32
/// Inputs     q (seqlen_q, 64), k, v (seqlen_kv, 64): f16 tensor maps with boxes of 64 x 64, 128-byte swizzle
/// Outputs    o (seqlen_q, 64): f16, by a tensor map of the same kind
/// Launch     grid (seqlen_q / 64), cta 160, 49152 + 64 dynamic shared bytes
/// Rounding   wgmma's; P is f16; ex2.approx
/// Barriers   full[stage], empty[stage] as in gemm.cu; q_full; bar 1: the consumers among themselves
/// Source     FlashAttention-3, algorithm 1, without its overlap
///
/// DEFECT 1: no proxy fence before the output is stored. 2: nobody waits for the store. 3: no barrier before the output
/// is stored. 4: no wgmma wait before the scores are used. 5: the last key tile is not masked. 6: q is read before it is
/// there. 7: k and v tiles are copied with an expectation for k alone. 8: P is used with no wgmma fence.
#include "hopper.cuh"

#ifndef DEFECT
#define DEFECT 0
#endif

constexpr int kStages = 2;
constexpr std::uint32_t kTileBytes = 64 * 64 * 2;

extern __shared__ __align__(1024) unsigned char shared[];

__device__ __forceinline__ float exp2_approximate(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ __forceinline__ std::uint32_t pack(float low, float high) {
  std::uint32_t pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

__device__ __forceinline__ void consumers_meet() {
  asm volatile("bar.sync 1, 128;" ::: "memory");
}

extern "C" __global__ void __launch_bounds__(160, 1)
    hopper_attention(__grid_constant__ TensorMap const q_map, __grid_constant__ TensorMap const k_map,
                     __grid_constant__ TensorMap const v_map, __grid_constant__ TensorMap const o_map,
                     int seqlen_kv, float scale_log2) {
  std::uint32_t const q_tile = shared_address(shared);
  std::uint32_t const tiles = q_tile + kTileBytes;
  std::uint32_t const o_tile = tiles + 2 * kStages * kTileBytes;
  std::uint32_t const full = o_tile + kTileBytes;
  std::uint32_t const empty = full + 8 * kStages;
  std::uint32_t const q_full = empty + 8 * kStages;
  int const kv_tiles = (seqlen_kv + 63) / 64;
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < kStages; ++stage) {
      mbarrier_init(full + 8 * stage, 1);
      mbarrier_init(empty + 8 * stage, 4);
    }
    mbarrier_init(q_full, 1);
    mbarrier_init_fence();
  }
  __syncthreads();  // mbarriers made above, used below
  if (threadIdx.x >= 128) {
    if (elected()) {
      mbarrier_expect(q_full, kTileBytes);
      tensor_load(q_tile, q_map, q_full, 0, 64 * static_cast<int>(blockIdx.x));
      for (int tile = 0; tile < kv_tiles; ++tile) {
        int const stage = tile % kStages;
        std::uint32_t const parity = tile / kStages & 1;
        mbarrier_wait(empty + 8 * stage, parity ^ 1);
        mbarrier_expect(full + 8 * stage, DEFECT == 7 ? kTileBytes : 2 * kTileBytes);
        std::uint32_t const to = tiles + 2 * stage * kTileBytes;
        tensor_load(to, k_map, full + 8 * stage, 0, 64 * tile);
        tensor_load(to + kTileBytes, v_map, full + 8 * stage, 0, 64 * tile);
      }
    }
    return;
  }
  int const lane = static_cast<int>(threadIdx.x) % 32;
  int const warp = static_cast<int>(threadIdx.x) / 32;
  float o[32];
  for (float& element : o) {
    element = 0.0f;
  }
  float row_max[2] = {-INFINITY, -INFINITY};
  float row_sum[2] = {0.0f, 0.0f};
#if DEFECT != 6
  mbarrier_wait(q_full, 0);
#endif
  for (int tile = 0; tile < kv_tiles; ++tile) {
    int const stage = tile % kStages;
    mbarrier_wait(full + 8 * stage, tile / kStages & 1);
    std::uint32_t const k_tile = tiles + 2 * stage * kTileBytes;
    float s[32];
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < 4; ++step) {
      wgmma_shared(s, descriptor(q_tile) + 2 * step, descriptor(k_tile) + 2 * step, step > 0);
    }
    wgmma_commit();
#if DEFECT != 4
    wgmma_wait<0>();
#endif
    float tile_max[2] = {row_max[0], row_max[1]};
#pragma unroll
    for (int i = 0; i < 32; ++i) {
      int const key = 64 * tile + 8 * (i >> 2) + 2 * (lane % 4) + (i & 1);
      if (DEFECT != 5 && key >= seqlen_kv) {
        s[i] = -INFINITY;
      }
      tile_max[i >> 1 & 1] = fmaxf(tile_max[i >> 1 & 1], s[i]);
    }
    float correction[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      tile_max[half] = fmaxf(tile_max[half], __shfl_xor_sync(0xffffffff, tile_max[half], 1));
      tile_max[half] = fmaxf(tile_max[half], __shfl_xor_sync(0xffffffff, tile_max[half], 2));
      correction[half] = exp2_approximate((row_max[half] - tile_max[half]) * scale_log2);
      row_max[half] = tile_max[half];
      row_sum[half] *= correction[half];
    }
#pragma unroll
    for (int i = 0; i < 32; ++i) {
      int const half = i >> 1 & 1;
      s[i] = exp2_approximate((s[i] - row_max[half]) * scale_log2);
      row_sum[half] += s[i];
      o[i] *= correction[half];
    }
    std::uint32_t p[4][4];
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      p[i / 4][i % 4] = pack(s[2 * i], s[2 * i + 1]);
    }
#if DEFECT != 8
    wgmma_fence();
#endif
#pragma unroll
    for (int step = 0; step < 4; ++step) {
      wgmma_registers(o, p[step], descriptor(k_tile + kTileBytes + 2048 * step));
    }
    wgmma_commit();
    wgmma_wait<0>();
    __syncwarp();  // the whole warp has waited, one lane hands the stage back
    if (lane == 0) {
      mbarrier_arrive(empty + 8 * stage);
    }
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    row_sum[half] += __shfl_xor_sync(0xffffffff, row_sum[half], 1);
    row_sum[half] += __shfl_xor_sync(0xffffffff, row_sum[half], 2);
    row_sum[half] = 1.0f / row_sum[half];
  }
#pragma unroll
  for (int i = 0; i < 32; i += 2) {
    int const half = i >> 1 & 1;
    int const row = 16 * warp + lane / 4 + 8 * half;
    // The 16-byte chunk of 8 columns goes where the 128-byte swizzle of the output's map expects it.
    std::uint32_t const at = o_tile + 128 * row + ((16 * (i >> 2)) ^ (16 * (row % 8))) + 4 * (lane % 4);
    std::uint32_t const pair = pack(o[i] * row_sum[half], o[i + 1] * row_sum[half]);
    asm volatile("st.shared.b32 [%0], %1;" ::"r"(at), "r"(pair) : "memory");
  }
#if DEFECT != 1
  async_proxy_fence();  // o_tile written above, read by the copy below
#endif
#if DEFECT != 3
  consumers_meet();  // the same, between the warps
#endif
  if (threadIdx.x == 0) {
    tensor_store(o_map, o_tile, 0, 64 * static_cast<int>(blockIdx.x));
    bulk_commit();
#if DEFECT != 2
    bulk_wait_read();
#endif
  }
}
