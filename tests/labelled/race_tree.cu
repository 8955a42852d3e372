// label: shared-race=proved divergence=proved shared-bounds=proved shared-init=proved
// A tree reduction with a barrier before each step.

extern "C" __global__ void __launch_bounds__(64)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    __shared__ float sum[64];
    sum[t] = in[t];
    for (int step = 32; step > 0; step /= 2) {
        __syncthreads();
        if (t < step) sum[t] += sum[t + step];
    }
    __syncthreads();
    out[t] = sum[0];
}
