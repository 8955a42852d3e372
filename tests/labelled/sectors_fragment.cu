// label: sectors=refuted index-overflow=proved
// Tiles as tensor cores leave them: the four lanes of a row write half a sector at a time.

extern "C" __global__ void __launch_bounds__(32)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    for (int tile = 0; tile < 4; ++tile) {
        out[t / 4 * 16 + tile * 4 + t % 4] = in[tile * 32 + t];
    }
}
