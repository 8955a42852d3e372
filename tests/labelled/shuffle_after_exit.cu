// label: divergence=refuted
// Lanes 8 to 31 of the second warp have left.

extern "C" __global__ void __launch_bounds__(64)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    if (t >= 40) return;
    float sum = in[t];
    sum += __shfl_xor_sync(0xffffffffu, sum, 8);
    out[t] = sum;
}
