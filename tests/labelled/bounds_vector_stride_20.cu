// label: shared-bounds=proved
// Vectors of 16 bytes in rows of 80.

extern "C" __global__ void __launch_bounds__(64)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    __shared__ __align__(16) float tile[64 * 20];
    *reinterpret_cast<float4*>(&tile[t * 20]) = make_float4(in[t], 0, 0, 0);
    __syncthreads();
    out[t] = tile[t];
}
