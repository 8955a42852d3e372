// label: shared-race=proved divergence=proved shared-bounds=proved shared-init=proved
// Two branches write two halves.

extern "C" __global__ void __launch_bounds__(64)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    __shared__ float tile[64];
    if (t < 32) tile[t] = in[t];
    else tile[t] = -in[t];
    __syncthreads();
    out[t] = tile[63 - t];
}
