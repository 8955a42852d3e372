// label: shared-race=proved divergence=proved shared-bounds=proved shared-init=proved
// A ring of 3 buffers, 2 barriers an iteration.

extern "C" __global__ void __launch_bounds__(64)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    __shared__ float ring[3][64];
    float sum = 0;
    for (int i = 0; i < n; ++i) {
        ring[i % 3][t] = in[i * 64 + t];
        __syncthreads();
        sum += ring[i % 3][63 - t];
        __syncthreads();
    }
    out[t] = sum;
}
