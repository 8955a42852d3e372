// label: shared-race=refuted
// One thread writes, all read.

extern "C" __global__ void __launch_bounds__(64)
    kernel(float* out, float const* in, int n) {
    int const t = threadIdx.x;
    __shared__ float one;
    if (t == 0) one = in[0];
    out[t] = one;
}
