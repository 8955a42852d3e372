// label: shared-race=proved divergence=proved shared-bounds=proved shared-init=proved bank-conflict=1
// Eight bytes a lane, in two phases.

extern "C" __global__ void __launch_bounds__(32)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    __shared__ float2 tile[32];
    tile[t] = make_float2(in[t], 1);
    __syncthreads();
    out[t] = tile[31 - t].x + tile[31 - t].y;
}
