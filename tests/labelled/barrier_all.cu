// label: shared-race=proved divergence=proved shared-bounds=proved shared-init=proved
// The condition holds for every thread of the CTA.

extern "C" __global__ void __launch_bounds__(64)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    __shared__ float tile[64];
    tile[t] = in[t];
    if (t < 64) __syncthreads();
    out[t] = tile[63 - t];
}
