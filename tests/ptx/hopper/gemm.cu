/// c = a x b^T for one tile of 64 x 64: a producer warpgroup, a ring of two stages, a consumer warpgroup.
///
/// Computes   c[m][n] = sum over k of a[m][k] b[n][k], f16 products in f32
/// Inputs     a (m, k), b (n, k): f16 tensor maps with boxes of 64 x 64, 128-byte swizzle
/// Outputs    c (m, n): f32, row stride n
/// Launch     grid (n / 64, m / 64), cta 256, 33792 + 64 dynamic shared bytes
/// Rounding   wgmma's, k in steps of 16
/// Barriers   full[stage]: TMA to the consumers; empty[stage]: the consumers to the producer
/// Source     own
///
/// DEFECT 1: expects too few bytes. 2: waits for the wrong parity of full. 3: no wait for empty. 4: no wgmma wait before
/// the result is stored. 5: no wgmma fence. 6: one consumer warp too few in the count of empty. 7: mbarriers made by a
/// thread and used with no barrier between. 8: the stage is freed before the wgmma wait. 9: empty counts the producer.
#include "hopper.cuh"

#ifndef DEFECT
#define DEFECT 0
#endif

constexpr int kStages = 2;
constexpr std::uint32_t kTileBytes = 64 * 64 * 2;

extern __shared__ __align__(1024) unsigned char shared[];

extern "C" __global__ void __launch_bounds__(256, 1)
    hopper_gemm(__grid_constant__ TensorMap const a_map, __grid_constant__ TensorMap const b_map,
                float* c, int n, int k_tiles) {
  std::uint32_t const tiles = shared_address(shared);
  std::uint32_t const full = tiles + 2 * kStages * kTileBytes;
  std::uint32_t const empty = full + 8 * kStages;
  int const warpgroup = static_cast<int>(threadIdx.x) / 128;
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < kStages; ++stage) {
      mbarrier_init(full + 8 * stage, 1);
      mbarrier_init(empty + 8 * stage, DEFECT == 6 ? 96 : DEFECT == 9 ? 129 : 128);
    }
    mbarrier_init_fence();
  }
#if DEFECT != 7
  __syncthreads();  // mbarriers made above, used below
#endif
  if (warpgroup == 0) {
    registers_down<24>();
    if (threadIdx.x == 0) {
      for (int tile = 0; tile < k_tiles; ++tile) {
        int const stage = tile % kStages;
        std::uint32_t const parity = tile / kStages & 1;
#if DEFECT != 3
        mbarrier_wait(empty + 8 * stage, parity ^ 1);
#endif
        mbarrier_expect(full + 8 * stage, DEFECT == 1 ? kTileBytes : 2 * kTileBytes);
        std::uint32_t const to = tiles + 2 * stage * kTileBytes;
        tensor_load(to, a_map, full + 8 * stage, 64 * tile, 64 * static_cast<int>(blockIdx.y));
        tensor_load(to + kTileBytes, b_map, full + 8 * stage, 64 * tile,
                    64 * static_cast<int>(blockIdx.x));
      }
    }
  } else {
    registers_up<240>();
    float d[32];
    for (float& element : d) {
      element = 0.0f;
    }
    for (int tile = 0; tile < k_tiles; ++tile) {
      int const stage = tile % kStages;
      std::uint32_t const parity = tile / kStages & 1;
      mbarrier_wait(full + 8 * stage, DEFECT == 2 ? parity ^ 1 : parity);
      std::uint64_t const a = descriptor(tiles + 2 * stage * kTileBytes);
      std::uint64_t const b = descriptor(tiles + 2 * stage * kTileBytes + kTileBytes);
#if DEFECT != 5
      wgmma_fence();
#endif
#pragma unroll
      for (int step = 0; step < 4; ++step) {
        wgmma_shared(d, a + 2 * step, b + 2 * step, 1);
      }
      wgmma_commit();
#if DEFECT == 8
      mbarrier_arrive(empty + 8 * stage);
#endif
#if DEFECT != 4
      wgmma_wait<0>();
#endif
#if DEFECT != 8
      mbarrier_arrive(empty + 8 * stage);
#endif
    }
    int const lane = static_cast<int>(threadIdx.x) % 32;
    int const row = 64 * static_cast<int>(blockIdx.y) + static_cast<int>(threadIdx.x) % 128 / 32 * 16 + lane / 4;
    int const column = 64 * static_cast<int>(blockIdx.x) + lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < 32; ++i) {
      std::int64_t const at = std::int64_t{row + 8 * (i >> 1 & 1)} * n + column + 8 * (i >> 2) + (i & 1);
      c[at] = d[i];
    }
  }
}
