// label: divergence=refuted
// Half a warp makes a shuffle that names the whole.

extern "C" __global__ void __launch_bounds__(64)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    float sum = in[t];
    if (t % 32 < 16) sum += __shfl_xor_sync(0xffffffffu, sum, 8);
    out[t] = sum;
}
