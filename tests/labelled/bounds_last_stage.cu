// label: shared-bounds=refuted
// Index t + 64 * (n % 5 != 4 ? 4 : 0) of 256 words.

extern "C" __global__ void __launch_bounds__(64)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    __shared__ float tile[256];
    tile[t + 64 * (n % 5 != 4 ? 4 : 0)] = in[t];
    __syncthreads();
    out[t] = tile[t % 256];
}
