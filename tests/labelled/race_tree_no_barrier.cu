// label: shared-race=refuted
// A tree reduction whose steps are not ordered.

extern "C" __global__ void __launch_bounds__(64)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    __shared__ float sum[64];
    sum[t] = in[t];
    __syncthreads();
    for (int step = 32; step > 0; step /= 2) {
        if (t < step) sum[t] += sum[t + step];
    }
    __syncthreads();
    out[t] = sum[0];
}
