// label: shared-race=proved divergence=proved shared-bounds=proved shared-init=proved
// The same, mended: __syncthreads();

extern "C" __global__ void __launch_bounds__(64)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    __shared__ float one;
    if (t == 0) one = in[0];
    __syncthreads();
    out[t] = one;
}
