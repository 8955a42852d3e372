// label: index-overflow=refuted
// Rows of 2^30 elements: from the fourth on their first index does not fit 32 bits.

extern "C" __global__ void __launch_bounds__(32)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    unsigned const row = static_cast<unsigned>(n) * 0x40000000u;
    out[t] = in[row + t];
}
