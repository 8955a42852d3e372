/// DEFECT: a row that sees no key divides by its row sum of 0.
///
/// Wrong      0 * (1 / 0) is NaN; such a row must be 0.
/// Ancestor   https://github.com/pytorch/pytorch/issues/109517,
///            https://github.com/microsoft/onnxruntime/issues/28904
/// Finding    verdict disagree: NaN in o; statically unguarded-division
/// Case       seqlen_q=40 seqlen_kv=16 layout=causal
/// Launch     as kernels/block_sparse_sm80.toml says, head_dim 32 only
/// Repaired   -DREPAIRED: the step as common/steps.cuh has it

#include "../common/block_sparse.cuh"

struct Steps : flashproof::AttentionSteps {
  static __device__ __forceinline__ float reciprocal(float row_sum) {
#ifdef REPAIRED
    return row_sum == 0.0f ? 0.0f : __frcp_rn(row_sum);
#else
    return __frcp_rn(row_sum);
#endif
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kThreads) block_sparse_sm80_f16_d32(
    __grid_constant__ flashproof::BlockSparseParameters<flashproof::F16> const parameters) {
  flashproof::block_sparse_attention<flashproof::F16, 32, Steps>(parameters);
}
