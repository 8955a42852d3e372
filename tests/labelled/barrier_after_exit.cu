// label: divergence=refuted
// Sixteen threads leave before the barrier.

extern "C" __global__ void __launch_bounds__(64)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    __shared__ float tile[64];
    if (t >= 48) return;
    tile[t] = in[t];
    __syncthreads();
    out[t] = tile[47 - t];
}
