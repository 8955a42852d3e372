// label: shared-race=proved divergence=proved shared-bounds=proved shared-init=proved
// Atomic sums do not race with each other.

extern "C" __global__ void __launch_bounds__(64)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    __shared__ int sum;
    if (t == 0) sum = 0;
    __syncthreads();
    atomicAdd(&sum, t);
    __syncthreads();
    out[t] = sum;
}
