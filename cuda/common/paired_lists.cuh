/// Tiles of 64 keys of each tile of 128 queries from a list. kernels/block_sparse_sm90.cu states what it
/// computes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "warp_specialised.cuh"

namespace flashproof {

/// The steps in which reading a list can go wrong.
struct ListSteps : SpecialisedSteps {
  /// Tile of queries, counted through heads and sequences, at a position of the order.
  static __device__ __forceinline__ std::uint32_t work_idx(std::uint32_t const* order,
                                                           std::uint32_t position) {
    return order[position];
  }

  /// The first entry of each list of a query head.
  static __device__ __forceinline__ std::uint32_t const* head_lists(std::uint32_t const* row_ptr,
                                                                    std::uint32_t stride,
                                                                    std::uint32_t q_head) {
    return row_ptr + std::uint64_t{q_head} * stride;
  }

  /// The entry after the last of a list.
  static __device__ __forceinline__ std::uint32_t list_end(std::uint32_t const* list) {
    return list[1];
  }

  /// The word of a warpgroup's 64 queries.
  static __device__ __forceinline__ std::uint32_t tile_mask(std::uint32_t const* words,
                                                            std::uint32_t consumer) {
    return words[consumer];
  }
};

/// One list.
template <typename Steps>
class ListedPairs {
 public:
  __device__ __forceinline__ ListedPairs(std::uint32_t const* list, std::uint32_t const* col_idx,
                                         std::uint32_t const* tile_mask)
      : col_idx_(col_idx), tile_mask_(tile_mask), entry_(list[0]), end_(Steps::list_end(list)) {
  }

  /// The masks are of this warpgroup's queries from here on.
  template <typename Element>
  __device__ __forceinline__ void see(std::uint32_t consumer, int,
                                      AttentionParameters<Element> const&) {
    consumer_ = consumer;
  }

  __device__ __forceinline__ bool done() const {
    return entry_ >= end_;
  }
  __device__ __forceinline__ std::uint32_t column() const {
    return col_idx_[entry_];
  }
  __device__ __forceinline__ std::uint32_t next_column() const {
    return entry_ + 1 < end_ ? col_idx_[entry_ + 1] : 0;
  }
  __device__ __forceinline__ std::uint32_t mask() const {
    return Steps::tile_mask(tile_mask_ + 2 * entry_, consumer_);
  }
  __device__ __forceinline__ void advance() {
    ++entry_;
  }

 private:
  std::uint32_t const* col_idx_;
  std::uint32_t const* tile_mask_;
  std::uint32_t entry_;
  std::uint32_t end_;
  std::uint32_t consumer_ = 0;
};

/// Which tiles of 64 keys each tile of 128 queries has, and in which order tiles of queries go.
struct PairedTileLists {
  std::uint32_t const* row_ptr;    // (lists, q_tiles + 1)
  std::uint32_t const* col_idx;    // (tiles)
  std::uint32_t const* tile_mask;  // (tiles, 2): one word for each 64 queries
  std::uint32_t const* order;      // (work_count): tiles of queries, the longest lists first
  std::uint32_t row_ptr_stride;    // entries of row_ptr from one head to the next; 0: all share
  std::uint32_t work_count;        // batch * num_q_heads * q_tiles
  std::uint32_t q_tiles;

  template <typename Steps, typename Element>
  __device__ __forceinline__ Work work(std::uint32_t position,
                                       AttentionParameters<Element> const& p) const {
    std::uint32_t const index = Steps::work_idx(order, position);
    return {.q_tile_idx = index % q_tiles,
            .q_head = index / q_tiles % p.num_q_heads,
            .batch = index / q_tiles / p.num_q_heads};
  }

  template <typename Steps, typename Element>
  __device__ __forceinline__ ListedPairs<Steps> tiles(Work const& work,
                                                      AttentionParameters<Element> const&) const {
    return {Steps::head_lists(row_ptr, row_ptr_stride, work.q_head) + work.q_tile_idx, col_idx,
            tile_mask};
  }
};

/// The kernel's one parameter; the manifest lists the same offsets.
template <typename Element>
using PairedListParameters = SpecialisedParameters<Element, PairedTileLists>;
static_assert(offsetof(PairedListParameters<F16>, attention) == 384);
static_assert(offsetof(PairedListParameters<F16>, walk) == 440);

}  // namespace flashproof
