// label: shared-race=proved divergence=proved shared-bounds=proved shared-init=proved
// All threads meet the barrier n times.

extern "C" __global__ void __launch_bounds__(64)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    float sum = 0;
    for (int i = 0; i < n; ++i) {
        sum += in[i];
        __syncthreads();
    }
    out[t] = sum;
}
