// label: sectors=proved index-overflow=proved
// The warp writes each row together.

extern "C" __global__ void __launch_bounds__(32)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    for (int i = 0; i < 32; ++i) {
        out[i * 32 + t] = in[i * 32 + t];
    }
}
