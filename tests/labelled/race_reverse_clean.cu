// label: shared-race=proved divergence=proved shared-bounds=proved shared-init=proved
// The same, mended: __syncthreads();

extern "C" __global__ void __launch_bounds__(128)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    __shared__ float tile[128];
    tile[t] = in[t];
    __syncthreads();
    out[t] = tile[127 - t];
}
