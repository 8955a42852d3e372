// label: shared-bounds=refuted
// Index 2 * t of 64 words.

extern "C" __global__ void __launch_bounds__(64)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    __shared__ float tile[64];
    tile[2 * t] = in[t];
    __syncthreads();
    out[t] = tile[t % 64];
}
