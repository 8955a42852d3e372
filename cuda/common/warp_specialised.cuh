/// Attention on Hopper: one warp copies, two warpgroups compute 64 queries each.
/// kernels/block_sparse_sm90.cu states what it computes; `Walk` says which tiles a tile of queries has.
#pragma once

#include <cstddef>
#include <cstdint>

#include "bulk.cuh"
#include "rows.cuh"
#include "wgmma.cuh"
#include "window_tiles.cuh"

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

/// The one parameter of a kernel.
template <typename Element, typename Walk>
struct SpecialisedParameters {
  TensorMap q;  // (batch * num_q_heads, seqlen_q, head_dim), boxes of 64 x 64
  TensorMap k;  // (batch * num_kv_heads, seqlen_kv, head_dim), boxes of 64 x 64
  TensorMap v;  // the same
  AttentionParameters<Element> attention;
  Walk walk;
};

/// A tile of 128 queries of one head.
struct Work {
  std::uint32_t q_tile_idx;
  std::uint32_t q_head;
  std::uint32_t batch;
};

/// Which of the kStages buffers is next, and the parity of its barrier's phase.
struct Stage {
  std::uint32_t index = 0;
  std::uint32_t parity = 0;
};

/// The steps in which the pipeline can go wrong.
struct SpecialisedSteps : WindowSteps {
  static constexpr int kReleases = kConsumers;  // arrivals that make a buffer empty
  static constexpr int kTurnThreads = 128 * kConsumers;
  static constexpr int kConsumerRegisters = 240;

  /// Makes the barriers that one thread initialised those of every thread, and of copies.
  static __device__ __forceinline__ void publish_barriers() {
    if (threadIdx.x == 0) {
      barrier_init_fence();
    }
    __syncthreads();  // the barriers: initialised above, used by every warp below
  }

  /// The copying thread's first buffer. No one holds it yet: the phase before the first is complete.
  static __device__ __forceinline__ Stage first_empty() {
    return {.index = 0, .parity = 1};
  }

  /// The buffer after this one.
  static __device__ __forceinline__ void advance(Stage& stage) {
    if (++stage.index == kStages) {
      stage.index = 0;
      stage.parity ^= 1;
    }
  }

  /// The phase of the next tile of queries.
  static __device__ __forceinline__ void next_queries(std::uint32_t& parity) {
    parity ^= 1;
  }

  /// What begins anew with a tile of queries: no buffer does.
  static __device__ __forceinline__ void begin(Stage&, Stage&) {
  }

  /// Whether a tile of queries has nothing to copy, given that it has no tiles of keys.
  static __device__ __forceinline__ bool is_idle(bool has_no_tiles) {
    return has_no_tiles;
  }

  /// Bytes that one tile of keys or values brings: whole boxes, zeros past the end included.
  template <int kHeadDim>
  static __device__ __forceinline__ std::uint32_t tile_bytes() {
    return Tile<kHeadDim>::kBytes;
  }

  /// Where eight rows of keys follow the eight before.
  static __device__ __forceinline__ std::uint32_t key_stride() {
    return 1024;
  }

  /// Tells the copying thread that this warpgroup has read a buffer.
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

  /// What is done to values between their copy and their product: nothing, the copy has made rows past
  /// the last key zeros.
  static __device__ __forceinline__ void before_values([[maybe_unused]] std::uint32_t v_tile) {
  }

  /// Closes the group of the products issued.
  static __device__ __forceinline__ void commit_products() {
    warpgroup_commit();
  }

  /// Waits for the products into `accumulator`, after which `kPending` groups may follow, and hands
  /// back the buffer that they have read.
  template <typename Steps, int kPending, int kRows>
  static __device__ __forceinline__ void complete(float (&accumulator)[kRows][4],
                                                  std::uint32_t empty_barrier) {
    warpgroup_wait<kPending>();
    fence_registers(accumulator);
    Steps::release(empty_barrier);
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

/// Copies the 128 queries of a tile.
template <typename Element, int kHeadDim, typename Walk>
__device__ __forceinline__ void copy_queries(SpecialisedParameters<Element, Walk> const& parameters,
                                             SpecialisedShared<kHeadDim> const& shared,
                                             Work const& work) {
  constexpr std::uint32_t kTileBytes = Tile<kHeadDim>::kBytes;
  barrier_arrive_expect(shared.q_full, kConsumers * kTileBytes);
#pragma unroll
  for (int half = 0; half < kConsumers; ++half) {
    copy_tile<kHeadDim>(shared.q + half * kTileBytes, &parameters.q, shared.q_full,
                        work.q_tile_idx * kCtaTileQ + half * kTileQ,
                        work.batch * parameters.attention.num_q_heads + work.q_head);
  }
}

/// One thread: queries of a tile, then keys and values of its tiles, as buffers become empty.
template <typename Element, int kHeadDim, typename Steps, typename Walk>
__device__ __forceinline__ void produce(SpecialisedParameters<Element, Walk> const& parameters,
                                        SpecialisedShared<kHeadDim> const& shared) {
  constexpr std::uint32_t kTileBytes = Tile<kHeadDim>::kBytes;
  AttentionParameters<Element> const& p = parameters.attention;
  Walk const& walk = parameters.walk;
  Stage stage = Steps::first_empty();
  std::uint32_t q_parity = stage.parity;
  for (std::uint32_t position = blockIdx.x; position < walk.work_count; position += gridDim.x) {
    Work const work = walk.template work<Steps>(position, p);
    auto tiles = walk.template tiles<Steps>(work, p);
    if (Steps::is_idle(tiles.done())) {
      continue;
    }
    std::uint32_t const kv_head_idx = work.batch * p.num_kv_heads + Steps::kv_head(work.q_head, p);
    barrier_wait(shared.q_empty, q_parity);
    q_parity ^= 1;
    copy_queries(parameters, shared, work);
    std::uint32_t column = tiles.done() ? 0 : tiles.column();
    for (; !tiles.done(); tiles.advance()) {
      std::uint32_t const next_column = tiles.next_column();
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
      SpecialisedSteps::advance(stage);
      column = next_column;
    }
  }
}

/// A warpgroup's turn to give products to the tensor cores: while one is at them, the other has its
/// exponentials. Named barriers 1 and 2, of 256 threads.
template <typename Steps>
struct Turns {
  std::uint32_t mine;
  std::uint32_t other;

  __device__ __forceinline__ explicit Turns(std::uint32_t consumer)
      : mine(1 + consumer), other(2 - consumer) {
    if (consumer == 1) {
      named_barrier_arrive(other, Steps::kTurnThreads);  // the first turn is consumer 0's
    }
  }
  __device__ __forceinline__ void wait() const {
    named_barrier_wait(mine, Steps::kTurnThreads);
  }
  __device__ __forceinline__ void pass() const {
    named_barrier_arrive(other, Steps::kTurnThreads);
  }
  /// Takes the turn that consumer 1 has passed last, so that no barrier is left half full.
  __device__ __forceinline__ void end(std::uint32_t consumer) const {
    if (consumer == 0) {
      wait();
    }
  }
};

/// The two products of a warpgroup, issued and not waited for.
template <typename Element, int kHeadDim, typename Steps>
struct WarpgroupProducts {
  using Queries = Rows<Element, kHeadDim, Steps>;

  /// score = q k^T: 16 channels are 32 bytes of a row, 64 are a box.
  static __device__ __forceinline__ void multiply_keys(typename Queries::Scores& score,
                                                       std::uint32_t q_tile, std::uint32_t k_tile) {
#pragma unroll
    for (int step = 0; step < kHeadDim / 16; ++step) {
      std::uint32_t const offset = step / 4 * kBoxBytes + step % 4 * 32;
      Warpgroup<Element>::multiply(score, matrix_descriptor(q_tile + offset, 16, 1024),
                                   matrix_descriptor(k_tile + offset, 16, Steps::key_stride()),
                                   step > 0);
    }
    Steps::commit_products();
  }

  /// o += weight v: 16 keys are two groups of eight rows.
  static __device__ __forceinline__ void add_values(Queries& queries,
                                                    typename Queries::Weights const& weight,
                                                    std::uint32_t v_tile) {
#pragma unroll
    for (int step = 0; step < kTileKv / 16; ++step) {
      Warpgroup<Element>::multiply_add(queries.o, weight[step],
                                       matrix_descriptor(v_tile + step * 2048, kBoxBytes, 1024));
    }
    Steps::commit_products();
  }
};

/// One warpgroup: 64 queries of each tile of 128.
///
/// The products of tile j with its values run while the weights of tile j + 1 are computed.
template <typename Element, int kHeadDim, typename Steps, typename Walk>
__device__ __forceinline__ void consume(SpecialisedParameters<Element, Walk> const& parameters,
                                        SpecialisedShared<kHeadDim> const& shared,
                                        std::uint32_t consumer) {
  using Queries = Rows<Element, kHeadDim, Steps>;
  using Products = WarpgroupProducts<Element, kHeadDim, Steps>;
  constexpr std::uint32_t kTileBytes = Tile<kHeadDim>::kBytes;
  AttentionParameters<Element> const& p = parameters.attention;
  Walk const& walk = parameters.walk;
  std::uint32_t const q_tile = shared.q + consumer * kTileBytes;
  Turns<Steps> const turns(consumer);

  Stage k_stage;
  Stage v_stage;
  std::uint32_t q_parity = 0;
  for (std::uint32_t position = blockIdx.x; position < walk.work_count; position += gridDim.x) {
    Work const work = walk.template work<Steps>(position, p);
    auto tiles = walk.template tiles<Steps>(work, p);
    int const q_first = static_cast<int>(work.q_tile_idx * kCtaTileQ + consumer * kTileQ);
    tiles.see(consumer, q_first, p);
    Queries queries(q_first, p);
    Steps::begin(k_stage, v_stage);
    if (!tiles.done()) {
      barrier_wait(shared.q_full, q_parity);
      Steps::next_queries(q_parity);
      typename Queries::Scores score;
      typename Queries::Weights weight;
      float factor[2];
      auto const weigh = [&] {
        std::uint32_t const tile_mask = tiles.mask();
        if ((tile_mask & kTileFull) == 0) {
          queries.hide(score, tiles.column(), tile_mask);
        }
        queries.weigh(score, factor, p.scale_log2);
      };

      barrier_wait(shared.k_full + k_stage.index * 8, k_stage.parity);
      turns.wait();
      Steps::before_products(score, queries.o);
      Products::multiply_keys(score, q_tile, shared.k + k_stage.index * kTileBytes);
      turns.pass();
      Steps::template complete<Steps, 0>(score, shared.k_empty + k_stage.index * 8);
      Steps::advance(k_stage);
      weigh();
      Queries::pack(weight, score);

      for (tiles.advance(); !tiles.done(); tiles.advance()) {
        barrier_wait(shared.k_full + k_stage.index * 8, k_stage.parity);
        barrier_wait(shared.v_full + v_stage.index * 8, v_stage.parity);
        turns.wait();
        Steps::before_values(shared.v + v_stage.index * kTileBytes);
        Steps::before_products(score, queries.o);
        Products::multiply_keys(score, q_tile, shared.k + k_stage.index * kTileBytes);
        Products::add_values(queries, weight, shared.v + v_stage.index * kTileBytes);
        turns.pass();
        Steps::template complete<Steps, 1>(score, shared.k_empty + k_stage.index * 8);
        Steps::advance(k_stage);
        weigh();
        Steps::template complete<Steps, 0>(queries.o, shared.v_empty + v_stage.index * 8);
        Steps::advance(v_stage);
        queries.rescale(factor);
        Queries::pack(weight, score);
      }
      // Every product with q is complete.
      Steps::release(shared.q_empty);
      barrier_wait(shared.v_full + v_stage.index * 8, v_stage.parity);
      Steps::before_values(shared.v + v_stage.index * kTileBytes);
      Steps::before_products(score, queries.o);
      Products::add_values(queries, weight, shared.v + v_stage.index * kTileBytes);
      Steps::template complete<Steps, 0>(queries.o, shared.v_empty + v_stage.index * 8);
      Steps::advance(v_stage);
    }
    queries.store(std::uint64_t{work.batch} * p.num_q_heads + work.q_head, p);
  }
  turns.end(consumer);
}

/// Initialises the barriers.
template <int kHeadDim, typename Steps>
__device__ __forceinline__ void make_barriers(SpecialisedShared<kHeadDim> const& shared) {
  if (threadIdx.x == 0) {
    barrier_init(shared.q_full, 1);
    barrier_init(shared.q_empty, kConsumers);
    for (std::uint32_t stage = 0; stage < kStages; ++stage) {
      barrier_init(shared.k_full + stage * 8, 1);
      barrier_init(shared.k_empty + stage * 8, Steps::kReleases);
      barrier_init(shared.v_full + stage * 8, 1);
      barrier_init(shared.v_empty + stage * 8, Steps::kReleases);
    }
  }
  Steps::publish_barriers();
}

/// Attention of the tiles of queries whose turn it is: CTA c takes c, c + gridDim.x, .. of the walk.
template <typename Element, int kHeadDim, typename Steps = SpecialisedSteps, typename Walk>
__device__ __forceinline__ void specialised_attention(
    SpecialisedParameters<Element, Walk> const& parameters) {
  static_assert(kHeadDim % kBoxColumns == 0, "a row is whole boxes");
  extern __shared__ unsigned char shared_bytes[];  // (kSpecialisedSharedBytes)
  SpecialisedShared<kHeadDim> const shared(shared_address(shared_bytes));
  make_barriers<kHeadDim, Steps>(shared);

  // Of lane 0, so that the compiler sees that a warp does not part here.
  std::uint32_t const warpgroup = __shfl_sync(kAllLanes, threadIdx.x / 128, 0);
  if (warpgroup == 0) {
    release_registers<24>();
    if (threadIdx.x == 0) {
      produce<Element, kHeadDim, Steps>(parameters, shared);
    }
  } else {
    claim_registers<Steps::kConsumerRegisters>();
    consume<Element, kHeadDim, Steps>(parameters, shared, warpgroup - 1);
  }
}

}  // namespace flashproof
