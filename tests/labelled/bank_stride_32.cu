// label: shared-race=proved divergence=proved shared-bounds=proved shared-init=proved bank-conflict=32
// Lanes are 32 words apart.

extern "C" __global__ void __launch_bounds__(32)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    __shared__ float tile[32 * 32];
    tile[t * 32] = in[t];
    __syncthreads();
    out[t] = tile[t * 32];
}
