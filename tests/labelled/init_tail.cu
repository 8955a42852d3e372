// label: shared-race=proved divergence=proved shared-bounds=proved shared-init=refuted
// The last eight words read are in the array, but never written.

extern "C" __global__ void __launch_bounds__(64)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    __shared__ float tile[80];
    tile[t] = in[t];
    __syncthreads();
    out[t] = tile[t + 8];
}
