// label: shared-bounds=refuted
// Vectors of 16 bytes in rows of 68.

extern "C" __global__ void __launch_bounds__(64)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    __shared__ __align__(16) float tile[64 * 17];
    *reinterpret_cast<float4*>(&tile[t * 17]) = make_float4(in[t], 0, 0, 0);
    __syncthreads();
    out[t] = tile[t];
}
