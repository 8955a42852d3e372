// label: shared-race=refuted
// The upper half writes one word of the lower.

extern "C" __global__ void __launch_bounds__(64)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    __shared__ float tile[64];
    if (t < 32) tile[t] = in[t];
    else tile[t - 1] = -in[t];
    __syncthreads();
    out[t] = tile[t % 32];
}
