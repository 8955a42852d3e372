// label: sectors=proved index-overflow=proved
// The four lanes of a row exchange what they have first, and write sixteen bytes each.

extern "C" __global__ void __launch_bounds__(32)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    float mine[4];
    for (int tile = 0; tile < 4; ++tile) mine[tile] = in[tile * 32 + t];
    float piece[4];
    for (int from = 0; from < 4; ++from) {
        float got[4];
        for (int tile = 0; tile < 4; ++tile) got[tile] = __shfl_sync(0xffffffffu, mine[tile], t / 4 * 4 + from);
        float const lower = t & 1 ? got[1] : got[0];
        float const upper = t & 1 ? got[3] : got[2];
        piece[from] = t & 2 ? upper : lower;
    }
    reinterpret_cast<float4*>(out)[t] = make_float4(piece[0], piece[1], piece[2], piece[3]);
}
