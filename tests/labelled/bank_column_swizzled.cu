// label: shared-race=proved divergence=proved shared-bounds=proved shared-init=proved bank-conflict=1
// Rows and columns of a swizzled tile.

extern "C" __global__ void __launch_bounds__(32)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    __shared__ float tile[32][32];
    for (int row = 0; row < 32; ++row) tile[row][t ^ row] = in[row * 32 + t];
    __syncthreads();
    float sum = 0;
    for (int column = 0; column < 32; ++column) sum += tile[t][column ^ t];
    out[t] = sum;
}
