/// Tiles of keys from a list. kernels/block_sparse_sm80.cu states what it computes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "pipeline.cuh"

namespace flashproof {

/// Which tiles of keys each tile of queries has.
struct TileLists {
  std::uint32_t const* row_ptr;    // (lists, q_tiles + 1)
  std::uint32_t const* col_idx;    // (tiles)
  std::uint32_t const* tile_mask;  // (tiles)
  std::uint32_t row_ptr_stride;    // entries of row_ptr from one head to the next; 0: all share
};

/// The kernel's one parameter; the manifest lists the same offsets.
template <typename Element>
struct BlockSparseParameters {
  Inputs<Element> inputs;
  AttentionParameters<Element> attention;
  TileLists lists;
};
static_assert(sizeof(BlockSparseParameters<F16>) == 112);
static_assert(offsetof(BlockSparseParameters<F16>, lists) == 80);

/// One tile of queries' list. Column and mask of an entry are fetched one tile before they are
/// needed, because the copies of the next tile start before this one is computed.
class ListedTiles {
 public:
  __device__ __forceinline__ ListedTiles(TileLists const& lists, std::uint32_t q_head,
                                         std::uint32_t q_tile_idx)
      : lists_(lists) {
    std::uint32_t const* const row_ptr =
        lists.row_ptr + std::uint64_t{q_head} * lists.row_ptr_stride + q_tile_idx;
    entry_ = row_ptr[0];
    end_ = row_ptr[1];
    if (!done()) {
      column_ = lists.col_idx[entry_];
      mask_ = lists.tile_mask[entry_];
      next_column_ = last() ? 0 : lists.col_idx[entry_ + 1];
    }
  }

  __device__ __forceinline__ bool done() const {
    return entry_ >= end_;
  }
  __device__ __forceinline__ bool last() const {
    return entry_ + 1 >= end_;
  }
  __device__ __forceinline__ std::uint32_t column() const {
    return column_;
  }
  __device__ __forceinline__ std::uint32_t mask() const {
    return mask_;
  }
  __device__ __forceinline__ std::uint32_t next_column() const {
    return next_column_;
  }
  /// Starts reading what the next tile needs.
  __device__ __forceinline__ void prefetch() {
    column_after_ = entry_ + 2 < end_ ? lists_.col_idx[entry_ + 2] : 0;
    next_mask_ = last() ? 0 : lists_.tile_mask[entry_ + 1];
  }
  __device__ __forceinline__ void advance() {
    ++entry_;
    column_ = next_column_;
    mask_ = next_mask_;
    next_column_ = column_after_;
  }

 private:
  TileLists const& lists_;
  std::uint32_t entry_;
  std::uint32_t end_;
  std::uint32_t column_ = 0;
  std::uint32_t mask_ = 0;
  std::uint32_t next_column_ = 0;
  std::uint32_t next_mask_ = 0;
  std::uint32_t column_after_ = 0;
};

/// Attention of one tile of 64 queries of one head over its list.
template <typename Element, int kHeadDim, typename Steps = AttentionSteps>
__device__ __forceinline__ void block_sparse_attention(BlockSparseParameters<Element> const& p) {
  attend<Element, kHeadDim, Steps>(p.inputs, p.attention,
                                   ListedTiles(p.lists, blockIdx.y, q_tile_of_cta()));
}

}  // namespace flashproof
