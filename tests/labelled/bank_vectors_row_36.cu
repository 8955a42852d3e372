// label: shared-race=proved divergence=proved shared-bounds=proved shared-init=proved bank-conflict=1
// Sixteen bytes a lane, rows of 144 bytes, in four phases.

extern "C" __global__ void __launch_bounds__(32)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    __shared__ __align__(16) float tile[32 * 36];
    *reinterpret_cast<float4*>(&tile[t * 36]) = make_float4(in[t], 1, 2, 3);
    __syncthreads();
    float4 const v = *reinterpret_cast<float4*>(&tile[(31 - t) * 36]);
    out[t] = v.x + v.y + v.z + v.w;
}
