/// DEFECT: the window has one key too many on its left.
///
/// Wrong      window_left counts the keys besides the diagonal; the first visible key is diagonal -
///            window_left, not the one before it.
/// Ancestor   https://github.com/huggingface/transformers/issues/39408,
///            https://github.com/huggingface/transformers/issues/29623
/// Finding    verdict disagree, in o and lse
/// Case       seqlen_q=64 seqlen_kv=64 layout=window(4,-)
/// Launch     as kernels/block_sparse_sm80.toml says, head_dim 32 only
/// Repaired   -DREPAIRED: the step as common/steps.cuh has it

#include "../common/block_sparse.cuh"

struct Steps : flashproof::AttentionSteps {
  static __device__ __forceinline__ flashproof::KeyRange key_range(
      int q, flashproof::AttentionParameters<flashproof::F16> const& p) {
    flashproof::KeyRange range = flashproof::AttentionSteps::key_range(q, p);
#ifndef REPAIRED
    range.window_begin -= 1;
#endif
    return range;
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kThreads) block_sparse_sm80_f16_d32(
    __grid_constant__ flashproof::BlockSparseParameters<flashproof::F16> const parameters) {
  flashproof::block_sparse_attention<flashproof::F16, 32, Steps>(parameters);
}
