/// Block-Sparse FlashAttention on Hopper: one warp copies keys, one values that a warpgroup has kept, two
/// warpgroups compute. kernels/bsfa_sm90.cu states what it computes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "paired_window.cuh"
#include "threshold_steps.cuh"

namespace flashproof {

/// Which tiles are kept, and the order of tiles of queries.
struct PairedThresholds {
  Thresholds selection;
  PairedWindows windows;
};

/// The kernel's one parameter; the manifest lists the same offsets.
template <typename Element>
using PairedThresholdParameters = SpecialisedParameters<Element, PairedThresholds>;
static_assert(offsetof(PairedThresholdParameters<F16>, walk) == 440);
static_assert(offsetof(PairedThresholds, windows) == 32);

/// The steps in which it can go wrong.
struct SpecialisedThresholdSteps : SpecialisedSteps, ThresholdSteps {
  /// Whether the values of a tile are copied: if either warpgroup keeps it.
  static __device__ __forceinline__ bool copies_values(std::uint32_t first, std::uint32_t second) {
    return (first | second) != 0;
  }
};

/// Addresses in shared memory beyond those of every specialised kernel.
template <int kHeadDim>
struct ThresholdShared : SpecialisedShared<kHeadDim> {
  std::uint32_t decided;  // (kStages): barriers, of which each warpgroup arrives
  std::uint32_t keeps;    // (kStages, kConsumers): u32, 1 where the warpgroup keeps the tile
  std::uint32_t maxima;   // (2, kConsumers, 4 warps): f32, for tiles by turns

  __device__ __forceinline__ explicit ThresholdShared(std::uint32_t base)
      : SpecialisedShared<kHeadDim>(base) {
    decided = this->v_empty + kStages * 8;
    keeps = decided + kStages * 8;
    maxima = keeps + kStages * kConsumers * 4;
  }
};

__device__ __forceinline__ void store_shared(std::uint32_t address, std::uint32_t word) {
  asm volatile("st.shared.u32 [%0], %1;" ::"r"(address), "r"(word) : "memory");
}

__device__ __forceinline__ std::uint32_t load_shared(std::uint32_t address) {
  std::uint32_t word;
  asm volatile("ld.shared.u32 %0, [%1];" : "=r"(word) : "r"(address) : "memory");
  return word;
}

/// One thread: queries of each tile, then keys of every tile of its window.
template <typename Element, int kHeadDim, typename Steps>
__device__ __forceinline__ void produce_keys(PairedThresholdParameters<Element> const& parameters,
                                             ThresholdShared<kHeadDim> const& shared) {
  AttentionParameters<Element> const& p = parameters.attention;
  PairedWindows const& windows = parameters.walk.windows;
  Stage stage = Steps::first_empty();
  std::uint32_t q_parity = stage.parity;
  for (std::uint32_t position = blockIdx.x; position < windows.work_count; position += gridDim.x) {
    Work const work = windows.template work<Steps>(position, p);
    auto tiles = windows.template tiles<Steps>(work, p);
    if (Steps::is_idle(tiles.done())) {
      continue;
    }
    std::uint32_t const kv_head_idx = work.batch * p.num_kv_heads + Steps::kv_head(work.q_head, p);
    barrier_wait(shared.q_empty, q_parity);
    q_parity ^= 1;
    copy_queries<Element, kHeadDim>(parameters, shared, work);
    for (; !tiles.done(); tiles.advance()) {
      std::uint32_t const full = shared.k_full + stage.index * 8;
      barrier_wait(shared.k_empty + stage.index * 8, stage.parity);
      barrier_arrive_expect(full, Steps::template tile_bytes<kHeadDim>());
      copy_tile<kHeadDim>(shared.k + stage.index * Tile<kHeadDim>::kBytes, &parameters.k, full,
                          tiles.column() * kTileKv, kv_head_idx);
      SpecialisedSteps::advance(stage);
    }
  }
}

/// One thread: the values of every tile that a warpgroup keeps, as soon as both have decided. A tile that
/// neither keeps takes its turn in the ring without a copy, so that tiles and buffers stay in step.
template <typename Element, int kHeadDim, typename Steps>
__device__ __forceinline__ void produce_values(PairedThresholdParameters<Element> const& parameters,
                                               ThresholdShared<kHeadDim> const& shared) {
  AttentionParameters<Element> const& p = parameters.attention;
  PairedWindows const& windows = parameters.walk.windows;
  Stage stage = Steps::first_empty();
  for (std::uint32_t position = blockIdx.x; position < windows.work_count; position += gridDim.x) {
    Work const work = windows.template work<Steps>(position, p);
    std::uint32_t const kv_head_idx = work.batch * p.num_kv_heads + Steps::kv_head(work.q_head, p);
    for (auto tiles = windows.template tiles<Steps>(work, p); !tiles.done(); tiles.advance()) {
      std::uint32_t const full = shared.v_full + stage.index * 8;
      std::uint32_t const keeps = shared.keeps + stage.index * kConsumers * 4;
      barrier_wait(shared.decided + stage.index * 8, stage.parity ^ 1);
      bool const copies = Steps::copies_values(load_shared(keeps), load_shared(keeps + 4));
      barrier_wait(shared.v_empty + stage.index * 8, stage.parity);
      if (copies) {
        barrier_arrive_expect(full, Steps::template tile_bytes<kHeadDim>());
        copy_tile<kHeadDim>(shared.v + stage.index * Tile<kHeadDim>::kBytes, &parameters.v, full,
                            tiles.column() * kTileKv, kv_head_idx);
      } else {
        barrier_arrive(full);
      }
      SpecialisedSteps::advance(stage);
    }
  }
}

/// The largest score of a tile, of all 128 threads of a warpgroup. `maxima`: (4 warps), which no one
/// reads any more.
template <typename Queries, typename Steps>
__device__ __forceinline__ float warpgroup_max(Queries const& queries,
                                               typename Queries::Scores const& score,
                                               std::uint32_t maxima, std::uint32_t consumer,
                                               int seqlen_q) {
  float warp_max = Steps::no_score();
#pragma unroll
  for (int row = 0; row < 2; ++row) {
    float row_max = Steps::no_score();
#pragma unroll
    for (int i = 0; i < kTileKv / 8; ++i) {
      row_max = fmaxf(row_max, fmaxf(score[i][row * 2], score[i][row * 2 + 1]));
    }
    warp_max = fmaxf(warp_max, Steps::row_max_of_lane(row_max, queries.q_row[row], seqlen_q));
  }
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    warp_max = fmaxf(warp_max, __shfl_xor_sync(kAllLanes, warp_max, distance));
  }
  if (queries.lane == 0) {
    store_shared(maxima + queries.warp * 4, __float_as_uint(warp_max));
  }
  // The maxima of 4 warps: written above, read below. Named barriers 1 and 2 are the turns'.
  named_barrier_wait(3 + consumer, 128);
  float all[4];
#pragma unroll
  for (int warp = 0; warp < 4; ++warp) {
    all[warp] = __uint_as_float(load_shared(maxima + warp * 4));
  }
  return Steps::score_max(all, queries.warp);
}

/// Tells the thread that copies values whether this warpgroup keeps the tile of a stage.
template <int kHeadDim>
__device__ __forceinline__ void tell(ThresholdShared<kHeadDim> const& shared, Stage const& stage,
                                     std::uint32_t consumer, bool keep) {
  if (threadIdx.x % 128 == 0) {
    store_shared(shared.keeps + (stage.index * kConsumers + consumer) * 4, keep ? 1 : 0);
    barrier_arrive(shared.decided + stage.index * 8);
  }
}

/// One warpgroup: 64 queries of each tile of 128, which decides for itself.
///
/// Weights wait two turns. The products of tile j - 2 with its values are issued with those of tile j
/// with its keys: between a decision and the use of its values lie the scores of a tile of both
/// warpgroups.
template <typename Element, int kHeadDim, typename Steps>
__device__ __forceinline__ void consume_kept(PairedThresholdParameters<Element> const& parameters,
                                             ThresholdShared<kHeadDim> const& shared,
                                             std::uint32_t consumer) {
  using Queries = Rows<Element, kHeadDim, Steps>;
  using Products = WarpgroupProducts<Element, kHeadDim, Steps>;
  constexpr std::uint32_t kTileBytes = Tile<kHeadDim>::kBytes;
  AttentionParameters<Element> const& p = parameters.attention;
  Thresholds const& t = parameters.walk.selection;
  PairedWindows const& windows = parameters.walk.windows;
  std::uint32_t const q_tile = shared.q + consumer * kTileBytes;
  std::uint32_t const q_tiles = (p.seqlen_q + kTileQ - 1) / kTileQ;
  Turns<Steps> const turns(consumer);

  Stage k_stage;
  Stage v_stage;
  std::uint32_t q_parity = 0;
  for (std::uint32_t position = blockIdx.x; position < windows.work_count; position += gridDim.x) {
    Work const work = windows.template work<Steps>(position, p);
    auto tiles = windows.template tiles<Steps>(work, p);  // of both warpgroups
    std::uint32_t const q_tile_idx = work.q_tile_idx * kConsumers + consumer;
    std::uint64_t const q_head_idx = std::uint64_t{work.batch} * p.num_q_heads + work.q_head;
    int const q_first = static_cast<int>(q_tile_idx * kTileQ);
    bool const exists = q_first < p.seqlen_q;
    WindowTiles<Steps> own(q_first, kTileQ, p);
    Queries queries(q_first, p);
    float const threshold = t.thresholds[Steps::threshold_idx(work.q_head, q_tile_idx, t, p)];
    std::uint32_t* const kept = t.kept + (q_head_idx * q_tiles + q_tile_idx) * t.kept_words;
    bool const writes = exists && threadIdx.x % 128 == 0;
    std::uint32_t word = 0;  // of the bitmap
    std::uint32_t kept_bits = 0;
    if (!tiles.done()) {
      barrier_wait(shared.q_full, q_parity);
      Steps::next_queries(q_parity);
      typename Queries::Scores score;
      typename Queries::Weights older;       // of the tile two before, if that was kept
      typename Queries::Weights newer;       // of the tile before
      float newer_factor[2] = {1.0f, 1.0f};  // what o is to be multiplied by before newer joins it
      bool has_older = false;
      bool has_newer = false;
      bool kept_any = false;
      std::uint32_t visited = 0;
      // The tile before becomes the tile two before.
      auto const move_up = [&] {
        if (has_newer) {
          queries.rescale(newer_factor);
#pragma unroll
          for (int step = 0; step < kTileKv / 16; ++step) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
              older[step][i] = newer[step][i];
            }
          }
        }
        has_older = has_newer;
      };

      bool keep = false;
      float factor[2];
      // Decides on the tile whose scores have been computed, tells, and weighs it if it is kept.
      auto const decide = [&] {
        std::uint32_t const mask = own.mask();
        bool const full = (mask & kTileFull) != 0;
        if (!full) {
          queries.hide(score, own.column(), mask);
        }
        std::uint32_t const maxima = shared.maxima + (visited % 2 * kConsumers + consumer) * 4 * 4;
        float const score_max =
            warpgroup_max<Queries, Steps>(queries, score, maxima, consumer, p.seqlen_q);
        bool const kept =
            Steps::keeps(full, __fmul_rn(score_max, p.scale), threshold, own.last(), kept_any);
        own.advance();
        // Of lane 0, so that the compiler sees that a warp does not part here.
        keep = __shfl_sync(kAllLanes, kept ? 1 : 0, 0) != 0;
        tell(shared, k_stage, consumer, keep);
        if (keep) {
          queries.weigh(score, factor, p.scale_log2);
        }
      };
      std::uint32_t k_empty;
      auto const finish_keys = [&] {
        fence_registers(score);
        Steps::release(k_empty);
      };

      for (; !tiles.done(); tiles.advance()) {
        // A tile of the other warpgroup's queries alone is neither computed nor kept.
        bool const sees =
            __shfl_sync(kAllLanes, exists && !own.done() && own.column() == tiles.column(), 0) != 0;
        std::uint32_t const k_tile = shared.k + k_stage.index * kTileBytes;
        std::uint32_t const v_tile = shared.v + v_stage.index * kTileBytes;
        k_empty = shared.k_empty + k_stage.index * 8;
        barrier_wait(shared.k_full + k_stage.index * 8, k_stage.parity);
        if (visited >= 2) {
          barrier_wait(shared.v_full + v_stage.index * 8, v_stage.parity);
        }
        keep = false;
        turns.wait();
        // Written out by what there is to multiply: ptxas lets products run side by side only where no
        // branch lies between.
        if (sees && has_older) {
          Steps::before_products(score, queries.o);
          Products::multiply_keys(score, q_tile, k_tile);
          Products::add_values(queries, older, v_tile);
          turns.pass();
          warpgroup_wait<1>();
          finish_keys();
          decide();
          warpgroup_wait<0>();
          fence_registers(queries.o);
        } else if (sees) {
          Steps::before_products(score, queries.o);
          Products::multiply_keys(score, q_tile, k_tile);
          turns.pass();
          warpgroup_wait<0>();
          finish_keys();
          decide();
        } else {
          if (has_older) {
            Steps::before_products(score, queries.o);
            Products::add_values(queries, older, v_tile);
            warpgroup_wait<0>();
            fence_registers(queries.o);
          }
          turns.pass();
          Steps::release(k_empty);
          tell(shared, k_stage, consumer, false);
        }
        Steps::advance(k_stage);
        if (visited >= 2) {
          Steps::release(shared.v_empty + v_stage.index * 8);
          Steps::advance(v_stage);
        }
        move_up();
        has_newer = keep;
        if (keep) {
          newer_factor[0] = factor[0];
          newer_factor[1] = factor[1];
          Queries::pack(newer, score);
        }
        kept_any = kept_any || keep;
        ++visited;

        std::uint32_t const column = tiles.column();
        for (; word < column / 32; ++word) {
          if (writes) {
            kept[word] = kept_bits;
          }
          kept_bits = 0;
        }
        kept_bits |= keep ? Steps::kept_bit(column) : 0;
      }
      // Every product with q is complete.
      Steps::release(shared.q_empty);
      auto const finish_older = [&] {
        barrier_wait(shared.v_full + v_stage.index * 8, v_stage.parity);
        if (has_older) {
          Steps::before_products(score, queries.o);
          Products::add_values(queries, older, shared.v + v_stage.index * kTileBytes);
          warpgroup_wait<0>();
          fence_registers(queries.o);
        }
        Steps::release(shared.v_empty + v_stage.index * 8);
        Steps::advance(v_stage);
      };
      if (visited >= 2) {
        finish_older();
      }
      move_up();
      finish_older();
    }
    for (; word < t.kept_words; ++word) {
      if (writes) {
        kept[word] = kept_bits;
      }
      kept_bits = 0;
    }
    queries.store(q_head_idx, p);
  }
  turns.end(consumer);
}

/// Attention of the tiles of queries whose turn it is, over the tiles of keys that are kept.
template <typename Element, int kHeadDim, typename Steps = SpecialisedThresholdSteps>
__device__ __forceinline__ void specialised_threshold_attention(
    PairedThresholdParameters<Element> const& parameters) {
  extern __shared__ unsigned char shared_bytes[];  // (kSpecialisedSharedBytes + 64)
  ThresholdShared<kHeadDim> const shared(shared_address(shared_bytes));
  if (threadIdx.x == 0) {
    for (std::uint32_t stage = 0; stage < kStages; ++stage) {
      barrier_init(shared.decided + stage * 8, kConsumers);
    }
  }
  make_barriers<kHeadDim, Steps>(shared);

  // Of lane 0, so that the compiler sees that a warp does not part here.
  std::uint32_t const warpgroup = __shfl_sync(kAllLanes, threadIdx.x / 128, 0);
  if (warpgroup == 0) {
    release_registers<24>();
    if (threadIdx.x == 0) {
      produce_keys<Element, kHeadDim, Steps>(parameters, shared);
    } else if (threadIdx.x == 32) {
      produce_values<Element, kHeadDim, Steps>(parameters, shared);
    }
  } else {
    claim_registers<Steps::kConsumerRegisters>();
    consume_kept<Element, kHeadDim, Steps>(parameters, shared, warpgroup - 1);
  }
}

}  // namespace flashproof
