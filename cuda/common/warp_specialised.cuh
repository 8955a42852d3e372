/// Attention on Hopper: one warp copies, two warpgroups compute 64 queries each.
/// kernels/block_sparse_sm90.cu states what it computes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "bulk.cuh"
#include "rows.cuh"
#include "wgmma.cuh"

namespace flashproof {

constexpr int kConsumers = 2;                                // warpgroups that compute
constexpr int kCtaTileQ = kConsumers * kTileQ;               // queries of a CTA at a time
constexpr int kSpecialisedThreads = 128 * (1 + kConsumers);  // the first warpgroup copies
constexpr int kBoxColumns = 64;                              // 128 bytes, which TMA swizzles
constexpr int kStages = 4;  // tiles of keys, and of values, in flight
constexpr std::uint32_t kBoxBytes = kTileRows * kBoxColumns * 2;

/// Shared memory of a CTA: two tiles of q, kStages of k, kStages of v, barriers; 1,024 bytes more
/// because swizzled boxes start at multiples of 1,024.
template <int kHeadDim>
constexpr std::uint32_t kSpecialisedSharedBytes =
    (kConsumers + 2 * kStages) * Tile<kHeadDim>::kBytes + 1024 + 256;

/// Which tiles of 64 keys each tile of 128 queries has, and in which order tiles of queries go.
struct PairedTileLists {
  std::uint32_t const* row_ptr;    // (lists, q_tiles + 1)
  std::uint32_t const* col_idx;    // (tiles)
  std::uint32_t const* tile_mask;  // (tiles, 2): one word for each 64 queries
  std::uint32_t const* order;      // (work_count): tiles of queries, the longest lists first
  std::uint32_t row_ptr_stride;    // entries of row_ptr from one head to the next; 0: all share
  std::uint32_t work_count;        // batch * num_q_heads * q_tiles
  std::uint32_t q_tiles;
};

/// The kernel's one parameter; the manifest lists the same offsets.
template <typename Element>
struct SpecialisedParameters {
  TensorMap q;  // (batch * num_q_heads, seqlen_q, head_dim), boxes of 64 x 64
  TensorMap k;  // (batch * num_kv_heads, seqlen_kv, head_dim), boxes of 64 x 64
  TensorMap v;  // the same
  AttentionParameters<Element> attention;
  PairedTileLists lists;
};
static_assert(offsetof(SpecialisedParameters<F16>, attention) == 384);
static_assert(offsetof(SpecialisedParameters<F16>, lists) == 440);

/// A tile of queries and its list.
struct Work {
  std::uint32_t q_tile_idx;
  std::uint32_t q_head;
  std::uint32_t batch;
  std::uint32_t begin;
  std::uint32_t end;

  __device__ __forceinline__ Work(std::uint32_t position, std::uint32_t num_q_heads,
                                  PairedTileLists const& lists) {
    std::uint32_t const index = lists.order[position];
    q_tile_idx = index % lists.q_tiles;
    q_head = index / lists.q_tiles % num_q_heads;
    batch = index / lists.q_tiles / num_q_heads;
    std::uint32_t const* const row_ptr =
        lists.row_ptr + std::uint64_t{q_head} * lists.row_ptr_stride + q_tile_idx;
    begin = row_ptr[0];
    end = row_ptr[1];
  }
};

/// Which of the kStages buffers is next, and the parity of its barrier's phase.
struct Stage {
  std::uint32_t index = 0;
  std::uint32_t parity = 0;

  __device__ __forceinline__ void advance() {
    if (++index == kStages) {
      index = 0;
      parity ^= 1;
    }
  }
};

/// The steps in which the pipeline can go wrong.
struct SpecialisedSteps : AttentionSteps {
  /// Bytes that one tile of keys or values brings: whole boxes, zeros past the end included.
  template <int kHeadDim>
  static __device__ __forceinline__ std::uint32_t tile_bytes() {
    return Tile<kHeadDim>::kBytes;
  }

  /// Tells the copying warp that this warpgroup has read a buffer.
  static __device__ __forceinline__ void release(std::uint32_t empty_barrier) {
    if (threadIdx.x % 128 == 0) {
      barrier_arrive(empty_barrier);
    }
  }

  /// Makes the writes to accumulators and operands visible to the products that follow.
  template <int kScoreRows, int kOutputRows>
  static __device__ __forceinline__ void before_products(float (&score)[kScoreRows][4],
                                                         float (&o)[kOutputRows][4]) {
    fence_registers(score);
    fence_registers(o);
    warpgroup_fence();
  }
};

/// Addresses in shared memory.
template <int kHeadDim>
struct SpecialisedShared {
  static constexpr std::uint32_t kTileBytes = Tile<kHeadDim>::kBytes;
  std::uint32_t q;       // (kConsumers)
  std::uint32_t k;       // (kStages)
  std::uint32_t v;       // (kStages)
  std::uint32_t q_full;  // barriers
  std::uint32_t q_empty;
  std::uint32_t k_full;  // (kStages)
  std::uint32_t k_empty;
  std::uint32_t v_full;
  std::uint32_t v_empty;

  __device__ __forceinline__ explicit SpecialisedShared(std::uint32_t base) {
    q = (base + 1023) / 1024 * 1024;
    k = q + kConsumers * kTileBytes;
    v = k + kStages * kTileBytes;
    q_full = v + kStages * kTileBytes;
    q_empty = q_full + 8;
    k_full = q_empty + 8;
    k_empty = k_full + kStages * 8;
    v_full = k_empty + kStages * 8;
    v_empty = v_full + kStages * 8;
  }
};

/// Copies a tile of 64 rows, one box for 64 columns.
template <int kHeadDim>
__device__ __forceinline__ void copy_tile(std::uint32_t tile, TensorMap const* map,
                                          std::uint32_t barrier, std::uint32_t row,
                                          std::uint32_t head) {
#pragma unroll
  for (int column = 0; column < kHeadDim; column += kBoxColumns) {
    copy_box(tile + column / kBoxColumns * kBoxBytes, map, barrier, column,
             static_cast<std::int32_t>(row), static_cast<std::int32_t>(head));
  }
}

/// One thread: queries of a tile, then keys and values of the tiles of its list, as buffers become
/// empty.
template <typename Element, int kHeadDim, typename Steps>
__device__ __forceinline__ void produce(SpecialisedParameters<Element> const& parameters,
                                        SpecialisedShared<kHeadDim> const& shared) {
  constexpr std::uint32_t kTileBytes = Tile<kHeadDim>::kBytes;
  AttentionParameters<Element> const& p = parameters.attention;
  PairedTileLists const& lists = parameters.lists;
  Stage stage;
  std::uint32_t q_parity =
      1;  // no one holds the buffers yet: the phase before the first is complete
  stage.parity = 1;
  for (std::uint32_t position = blockIdx.x; position < lists.work_count; position += gridDim.x) {
    Work const work(position, p.num_q_heads, lists);
    if (work.begin >= work.end) {
      continue;
    }
    std::uint32_t const q_head_idx = work.batch * p.num_q_heads + work.q_head;
    std::uint32_t const kv_head_idx = work.batch * p.num_kv_heads + Steps::kv_head(work.q_head, p);
    barrier_wait(shared.q_empty, q_parity);
    q_parity ^= 1;
    barrier_arrive_expect(shared.q_full, kConsumers * kTileBytes);
#pragma unroll
    for (int half = 0; half < kConsumers; ++half) {
      copy_tile<kHeadDim>(shared.q + half * kTileBytes, &parameters.q, shared.q_full,
                          work.q_tile_idx * kCtaTileQ + half * kTileQ, q_head_idx);
    }
    std::uint32_t column = lists.col_idx[work.begin];
    for (std::uint32_t entry = work.begin; entry < work.end; ++entry) {
      std::uint32_t const next_column = entry + 1 < work.end ? lists.col_idx[entry + 1] : 0;
      barrier_wait(shared.k_empty + stage.index * 8, stage.parity);
      barrier_arrive_expect(shared.k_full + stage.index * 8,
                            Steps::template tile_bytes<kHeadDim>());
      copy_tile<kHeadDim>(shared.k + stage.index * kTileBytes, &parameters.k,
                          shared.k_full + stage.index * 8, column * kTileKv, kv_head_idx);
      barrier_wait(shared.v_empty + stage.index * 8, stage.parity);
      barrier_arrive_expect(shared.v_full + stage.index * 8,
                            Steps::template tile_bytes<kHeadDim>());
      copy_tile<kHeadDim>(shared.v + stage.index * kTileBytes, &parameters.v,
                          shared.v_full + stage.index * 8, column * kTileKv, kv_head_idx);
      stage.advance();
      column = next_column;
    }
  }
}

/// A warpgroup's turn to give products to the tensor cores: while one is at them, the other has its
/// exponentials. Named barriers 1 and 2, of 256 threads.
struct Turns {
  std::uint32_t mine;
  std::uint32_t other;

  __device__ __forceinline__ explicit Turns(std::uint32_t consumer)
      : mine(1 + consumer), other(2 - consumer) {
    if (consumer == 1) {
      named_barrier_arrive(other, 128 * kConsumers);  // the first turn is consumer 0's
    }
  }
  __device__ __forceinline__ void wait() const {
    named_barrier_wait(mine, 128 * kConsumers);
  }
  __device__ __forceinline__ void pass() const {
    named_barrier_arrive(other, 128 * kConsumers);
  }
  /// Takes the turn that consumer 1 has passed last, so that no barrier is left half full.
  __device__ __forceinline__ void end(std::uint32_t consumer) const {
    if (consumer == 0) {
      wait();
    }
  }
};

/// One warpgroup: 64 queries of each tile of 128.
///
/// The products of tile j with its values run while the weights of tile j + 1 are computed.
template <typename Element, int kHeadDim, typename Steps>
__device__ __forceinline__ void consume(SpecialisedParameters<Element> const& parameters,
                                        SpecialisedShared<kHeadDim> const& shared,
                                        std::uint32_t consumer) {
  using Queries = Rows<Element, kHeadDim, Steps>;
  using Products = Warpgroup<Element>;
  constexpr std::uint32_t kTileBytes = Tile<kHeadDim>::kBytes;
  AttentionParameters<Element> const& p = parameters.attention;
  PairedTileLists const& lists = parameters.lists;
  std::uint32_t const q_tile = shared.q + consumer * kTileBytes;
  Turns const turns(consumer);

  // score = q k^T: 16 channels are 32 bytes of a row, 64 are a box.
  auto const multiply_keys = [&](typename Queries::Scores& score, std::uint32_t k_tile) {
#pragma unroll
    for (int step = 0; step < kHeadDim / 16; ++step) {
      std::uint32_t const offset = step / 4 * kBoxBytes + step % 4 * 32;
      Products::multiply(score, matrix_descriptor(q_tile + offset, 16, 1024),
                         matrix_descriptor(k_tile + offset, 16, 1024), step > 0);
    }
  };
  // o += weight v: 16 keys are two groups of eight rows.
  auto const add_values = [&](Queries& queries, typename Queries::Weights const& weight,
                              std::uint32_t v_tile) {
#pragma unroll
    for (int step = 0; step < kTileKv / 16; ++step) {
      Products::multiply_add(queries.o, weight[step],
                             matrix_descriptor(v_tile + step * 2048, kBoxBytes, 1024));
    }
  };

  Stage k_stage;
  Stage v_stage;
  std::uint32_t q_parity = 0;
  for (std::uint32_t position = blockIdx.x; position < lists.work_count; position += gridDim.x) {
    Work const work(position, p.num_q_heads, lists);
    Queries queries(static_cast<int>(work.q_tile_idx * kCtaTileQ + consumer * kTileQ), p);
    if (work.begin < work.end) {
      barrier_wait(shared.q_full, q_parity);
      q_parity ^= 1;
      typename Queries::Scores score;
      typename Queries::Weights weight;
      float factor[2];
      auto const weigh = [&](std::uint32_t entry) {
        std::uint32_t const tile_mask = lists.tile_mask[2 * entry + consumer];
        if ((tile_mask & kTileFull) == 0) {
          queries.hide(score, lists.col_idx[entry], tile_mask);
        }
        queries.weigh(score, factor, p.scale_log2);
      };

      barrier_wait(shared.k_full + k_stage.index * 8, k_stage.parity);
      turns.wait();
      Steps::before_products(score, queries.o);
      multiply_keys(score, shared.k + k_stage.index * kTileBytes);
      warpgroup_commit();
      turns.pass();
      warpgroup_wait<0>();
      fence_registers(score);
      Steps::release(shared.k_empty + k_stage.index * 8);
      k_stage.advance();
      weigh(work.begin);
      Queries::pack(weight, score);

      for (std::uint32_t entry = work.begin + 1; entry < work.end; ++entry) {
        barrier_wait(shared.k_full + k_stage.index * 8, k_stage.parity);
        barrier_wait(shared.v_full + v_stage.index * 8, v_stage.parity);
        turns.wait();
        Steps::before_products(score, queries.o);
        multiply_keys(score, shared.k + k_stage.index * kTileBytes);
        warpgroup_commit();
        add_values(queries, weight, shared.v + v_stage.index * kTileBytes);
        warpgroup_commit();
        turns.pass();
        warpgroup_wait<1>();
        fence_registers(score);
        Steps::release(shared.k_empty + k_stage.index * 8);
        k_stage.advance();
        weigh(entry);
        warpgroup_wait<0>();
        fence_registers(queries.o);
        Steps::release(shared.v_empty + v_stage.index * 8);
        v_stage.advance();
        queries.rescale(factor);
        Queries::pack(weight, score);
      }
      // Every product with q is complete.
      Steps::release(shared.q_empty);
      barrier_wait(shared.v_full + v_stage.index * 8, v_stage.parity);
      Steps::before_products(score, queries.o);
      add_values(queries, weight, shared.v + v_stage.index * kTileBytes);
      warpgroup_commit();
      warpgroup_wait<0>();
      fence_registers(queries.o);
      Steps::release(shared.v_empty + v_stage.index * 8);
      v_stage.advance();
    }
    queries.store(std::uint64_t{work.batch} * p.num_q_heads + work.q_head, p);
  }
  turns.end(consumer);
}

/// Attention of the tiles of queries whose turn it is: CTA c takes c, c + gridDim.x, .. of the order.
template <typename Element, int kHeadDim, typename Steps = SpecialisedSteps>
__device__ __forceinline__ void specialised_attention(
    SpecialisedParameters<Element> const& parameters) {
  static_assert(kHeadDim % kBoxColumns == 0, "a row is whole boxes");
  extern __shared__ unsigned char shared_bytes[];  // (kSpecialisedSharedBytes)
  SpecialisedShared<kHeadDim> const shared(shared_address(shared_bytes));
  if (threadIdx.x == 0) {
    barrier_init(shared.q_full, 1);
    barrier_init(shared.q_empty, kConsumers);
    for (std::uint32_t stage = 0; stage < kStages; ++stage) {
      barrier_init(shared.k_full + stage * 8, 1);
      barrier_init(shared.k_empty + stage * 8, kConsumers);
      barrier_init(shared.v_full + stage * 8, 1);
      barrier_init(shared.v_empty + stage * 8, kConsumers);
    }
    barrier_init_fence();
  }
  __syncthreads();  // the barriers: initialised above, used by every warp below

  // Of lane 0, so that the compiler sees that a warp does not part here.
  std::uint32_t const warpgroup = __shfl_sync(kAllLanes, threadIdx.x / 128, 0);
  if (warpgroup == 0) {
    release_registers<24>();
    if (threadIdx.x == 0) {
      produce<Element, kHeadDim, Steps>(parameters, shared);
    }
  } else {
    claim_registers<240>();
    consume<Element, kHeadDim, Steps>(parameters, shared, warpgroup - 1);
  }
}

}  // namespace flashproof
