// label: shared-race=proved divergence=proved shared-bounds=proved shared-init=proved bank-conflict=4
// Lanes are 12 words apart.

extern "C" __global__ void __launch_bounds__(32)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    __shared__ float tile[32 * 12];
    tile[t * 12] = in[t];
    __syncthreads();
    out[t] = tile[t * 12];
}
