// label: shared-race=refuted
// Every thread writes the same word.

extern "C" __global__ void __launch_bounds__(64)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    __shared__ float one;
    one = in[t];
    __syncthreads();
    out[t] = one;
}
