/// DEFECT: hidden pairs score -1e37, and the exponent is one fused multiply-add.
///
/// Wrong      A row whose first visited tile is hidden has row_max = -1e37. Then fma(-1e37, c,
///            -RN(-1e37 c)) is not 0 but the rounding residue of the product, 2^95 and more in
///            magnitude: its power is +inf or 0, never 1, and inf * 0 is NaN at the next rescale.
///            The sign is that of the two mantissas: -1e30, the usual sentinel, is right by luck for
///            head_dim 32 and wrong for 64. Dense causal runs never show it.
/// Ancestor   https://github.com/flashinfer-ai/flashinfer/issues/4267 (finite sentinel),
///            https://github.com/ikawrakow/ik_llama.cpp/issues/2344 (hidden leading rows)
/// Finding    verdict disagree: NaN, or a row that sees no key with a finite lse; statically
///            finite-sentinel
/// Case       seqlen_q=128 seqlen_kv=128 layout=causal+window(20,-)
/// Launch     as kernels/block_sparse_sm80.toml says, head_dim 32 only
/// Repaired   -DREPAIRED: the step as common/steps.cuh has it

#include "../common/block_sparse.cuh"

struct Steps : flashproof::AttentionSteps {
  static __device__ __forceinline__ float hidden_score() {
#ifdef REPAIRED
    return -CUDART_INF_F;
#else
    return -1e37f;
#endif
  }

  static __device__ __forceinline__ float weight(float score, float row_max, float scale_log2) {
#ifdef REPAIRED
    return flashproof::exp2_approximate(__fmul_rn(__fsub_rn(score, row_max), scale_log2));
#else
    return flashproof::exp2_approximate(
        __fmaf_rn(score, scale_log2, -__fmul_rn(row_max, scale_log2)));
#endif
  }
};

extern "C" __global__ void __launch_bounds__(flashproof::kThreads) block_sparse_sm80_f16_d32(
    __grid_constant__ flashproof::BlockSparseParameters<flashproof::F16> const parameters) {
  flashproof::block_sparse_attention<flashproof::F16, 32, Steps>(parameters);
}
