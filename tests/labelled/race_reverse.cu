// label: shared-race=refuted
// The tile is read backwards.

extern "C" __global__ void __launch_bounds__(128)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    __shared__ float tile[128];
    tile[t] = in[t];
    out[t] = tile[127 - t];
}
