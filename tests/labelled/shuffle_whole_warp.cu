// label: shared-race=proved divergence=proved shared-bounds=proved shared-init=proved
// A whole warp makes the shuffle, the other does not.

extern "C" __global__ void __launch_bounds__(64)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    float sum = in[t];
    if (t / 32 == 1) sum += __shfl_xor_sync(0xffffffffu, sum, 8);
    out[t] = sum;
}
