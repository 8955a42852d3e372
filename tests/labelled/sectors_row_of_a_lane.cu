// label: sectors=refuted index-overflow=proved
// Each lane writes a row: 32 sectors a store, where 4 would do.

extern "C" __global__ void __launch_bounds__(32)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    for (int i = 0; i < 32; ++i) {
        out[t * 32 + i] = in[i * 32 + t];
    }
}
