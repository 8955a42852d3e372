// label: shared-race=refuted
// A tile is written by rows and read by columns.

extern "C" __global__ void __launch_bounds__(64)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    __shared__ float tile[8][9];
    tile[t / 8][t % 8] = in[t];
    out[t] = tile[t % 8][t / 8];
}
