// label: shared-race=proved divergence=proved shared-bounds=proved shared-init=proved
// 64 of 64 words are written, all are read.

extern "C" __global__ void __launch_bounds__(64)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    __shared__ float tile[64];
    if (t < 64) tile[t] = in[t];
    __syncthreads();
    out[t] = tile[63 - t];
}
