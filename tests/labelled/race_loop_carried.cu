// label: shared-race=refuted
// The next iteration writes what this one still reads.

extern "C" __global__ void __launch_bounds__(64)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    __shared__ float tile[64];
    float sum = 0;
    for (int i = 0; i < n; ++i) {
        tile[t] = in[i * 64 + t];
        __syncthreads();
        sum += tile[t ^ 32];
        }
    out[t] = sum;
}
