// label: shared-race=proved divergence=proved shared-bounds=proved shared-init=proved
// Lanes of one warp swap, ordered by the warp's barrier.

extern "C" __global__ void __launch_bounds__(64)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    __shared__ float tile[64];
    tile[t] = in[t];
    __syncwarp();
    out[t] = tile[t ^ 1];
}
