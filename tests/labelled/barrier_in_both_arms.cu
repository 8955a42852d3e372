// label: divergence=refuted
// Lanes of a warp meet two different barriers.

extern "C" __global__ void __launch_bounds__(64)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    __shared__ float tile[64];
    tile[t] = in[t];
    if (t % 2 == 0) { __syncthreads(); out[t] = tile[t]; }
    else { out[t] = -tile[t]; __syncthreads(); }
}
