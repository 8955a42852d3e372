// label: shared-race=proved divergence=proved shared-bounds=proved shared-init=proved
// The tail is filled by sixteen threads.

extern "C" __global__ void __launch_bounds__(64)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    __shared__ float tile[80];
    tile[t] = in[t];
    if (t < 16) tile[64 + t] = 0;
    __syncthreads();
    out[t] = tile[t + 8];
}
