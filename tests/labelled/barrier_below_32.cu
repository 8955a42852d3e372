// label: divergence=refuted
// Only 32 of 64 threads reach the barrier.

extern "C" __global__ void __launch_bounds__(64)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    __shared__ float tile[64];
    tile[t] = in[t];
    if (t < 32) __syncthreads();
    out[t] = tile[t];
}
