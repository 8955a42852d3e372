// label: shared-bounds=proved
// Index (t - 1) & 63 of 64 words.

extern "C" __global__ void __launch_bounds__(64)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    __shared__ float tile[64];
    tile[(t - 1) & 63] = in[t];
    __syncthreads();
    out[t] = tile[t % 64];
}
