// label: shared-race=refuted
// Threads that differ by 1 swap.

extern "C" __global__ void __launch_bounds__(64)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    __shared__ float tile[64];
    tile[t] = in[t];
    out[t] = tile[t ^ 1];
}
