// label: shared-race=refuted
// A ring of 2 buffers, 0 barriers an iteration.

extern "C" __global__ void __launch_bounds__(64)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    __shared__ float ring[2][64];
    float sum = 0;
    for (int i = 0; i < n; ++i) {
        ring[i % 2][t] = in[i * 64 + t];
        sum += ring[i % 2][63 - t];
    }
    out[t] = sum;
}
