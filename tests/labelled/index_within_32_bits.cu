// label: index-overflow=proved
// Rows of 64 elements.

extern "C" __global__ void __launch_bounds__(32)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    unsigned const row = static_cast<unsigned>(n) * 64u;
    out[t] = in[row + t];
}
