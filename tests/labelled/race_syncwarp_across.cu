// label: shared-race=refuted
// Warps swap; the warp's barrier does not order them.

extern "C" __global__ void __launch_bounds__(64)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    __shared__ float tile[64];
    tile[t] = in[t];
    __syncwarp();
    out[t] = tile[t ^ 32];
}
