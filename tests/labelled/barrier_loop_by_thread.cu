// label: divergence=refuted
// Each thread meets the barrier another number of times.

extern "C" __global__ void __launch_bounds__(64)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    float sum = 0;
    #pragma unroll 1
    for (int i = 0; i < t; ++i) {
        sum += in[i];
        __syncthreads();
    }
    out[t] = sum;
}
