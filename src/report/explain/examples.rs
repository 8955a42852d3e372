//! A defect and its repair for each code that a kernel can earn.

/// Lines of CUDA that earn a code, and the same lines repaired.
pub fn example(code: &str) -> Option<(&'static str, &'static str)> {
    EXAMPLES
        .iter()
        .find(|(codes, ..)| codes.contains(&code))
        .map(|(_, defect, repair)| (*defect, *repair))
}

/// Codes, defect, repair.
type Example = (&'static [&'static str], &'static str, &'static str);

#[rustfmt::skip]
const EXAMPLES: &[Example] = &[
    (&["interval-race", "shared-race"],
     "    tile[threadIdx.x] = input[i];\n    sum += tile[threadIdx.x ^ 32];\n",
     "    tile[threadIdx.x] = input[i];\n    __syncthreads();  // tile written above, read below\n    sum += tile[threadIdx.x ^ 32];\n"),
    (&["barrier-divergence", "divergent-barrier", "deadlock"],
     "    if (threadIdx.x < 32) {\n        tile[threadIdx.x] = 0;\n        __syncthreads();\n    }\n",
     "    if (threadIdx.x < 32) {\n        tile[threadIdx.x] = 0;\n    }\n    __syncthreads();\n"),
    (&["barrier-after-exit"],
     "    if (row >= seqlen_q) return;\n    __syncthreads();\n",
     "    bool const inside = row < seqlen_q;\n    __syncthreads();\n    if (!inside) return;\n"),
    (&["aligned-divergence"],
     "    if (lane < 16) sum += __shfl_xor_sync(0xffffffffu, sum, 8);\n",
     "    float const other = __shfl_xor_sync(0xffffffffu, sum, 8);\n    if (lane < 16) sum += other;\n"),
    (&["copy-wait-distance", "async-copy-read-early"],
     "    cp_async(tile[next]); commit();\n    wait_group<2>();  // one group too many may be pending\n    __syncthreads();\n    use(tile[current]);\n",
     "    cp_async(tile[next]); commit();\n    wait_group<1>();\n    __syncthreads();\n    use(tile[current]);\n"),
    (&["copy-wait-barrier"],
     "    wait_group<0>();\n    use(tile);  // other threads' copies\n",
     "    wait_group<0>();\n    __syncthreads();\n    use(tile);\n"),
    (&["shared-out-of-bounds", "shared-misaligned", "misaligned-address"],
     "    __shared__ float tile[64];\n    tile[threadIdx.x + 1] = x;  // 64 threads\n",
     "    __shared__ float tile[65];\n    tile[threadIdx.x + 1] = x;\n"),
    (&["global-out-of-bounds"],
     "    int const row = blockIdx.x * 64 + threadIdx.x;\n    o[row] = x;\n",
     "    int const row = blockIdx.x * 64 + threadIdx.x;\n    if (row < seqlen_q) o[row] = x;\n"),
    (&["index-overflow"],
     "    int const first = row * seqlen_kv;  // beyond 2^31 for long sequences\n    x = score[first + key];\n",
     "    std::int64_t const first = static_cast<std::int64_t>(row) * seqlen_kv;\n    x = score[first + key];\n"),
    (&["scattered-access", "uncoalesced-access-counted"],
     "    x = q[threadIdx.x * head_dim];  // a column: one sector a lane\n",
     "    x = q[row * head_dim + threadIdx.x];  // along a row: four sectors a warp\n"),
    (&["shared-unwritten"],
     "    if (threadIdx.x < count) tile[threadIdx.x] = x;\n    __syncthreads();\n    use(tile[63]);\n",
     "    tile[threadIdx.x] = threadIdx.x < count ? x : 0.0f;\n    __syncthreads();\n    use(tile[63]);\n"),
    (&["wgmma-unwaited"],
     "    wgmma(o, weight, v_tile); commit();\n    o[0] *= rescale;\n",
     "    wgmma(o, weight, v_tile); commit();\n    wgmma_wait<0>();\n    o[0] *= rescale;\n"),
    (&["wgmma-unfenced"],
     "    o[0] *= rescale;\n    wgmma(o, weight, v_tile);\n",
     "    o[0] *= rescale;\n    wgmma_fence();\n    wgmma(o, weight, v_tile);\n"),
    (&["wgmma-operand-rewritten"],
     "    wgmma(o, weight, v_tile); commit();\n    weight[0] = pack(x, y);\n",
     "    wgmma(o, weight, v_tile); commit();\n    next_weight[0] = pack(x, y);\n"),
    (&["bank-conflict"],
     "    __shared__ float tile[32][32];\n    y = tile[threadIdx.x][0];  // 32 rows, one bank\n",
     "    __shared__ float tile[32][33];\n    y = tile[threadIdx.x][0];\n"),
    (&["unused-parameter", "unused-result"],
     "    __global__ void scale(float* x, float factor, int stride) { x[threadIdx.x] *= factor; }\n",
     "    __global__ void scale(float* x, float factor, int stride) { x[threadIdx.x * stride] *= factor; }\n"),
    (&["finite-sentinel"],
     "    float row_max = -1e30f;\n",
     "    float row_max = -INFINITY;  // and a test of it before every difference\n"),
    (&["mbarrier-unpublished", "mbarrier-init-unordered"],
     "    if (threadIdx.x == 0) barrier_init(full, 1);\n    barrier_wait(full, 0);\n",
     "    if (threadIdx.x == 0) barrier_init(full, 1);\n    __syncthreads();  // full: made above, used below\n    barrier_wait(full, 0);\n"),
    (&["phase-arrivals", "mbarrier-over-arrival"],
     "    barrier_init(empty, 2);  // two warpgroups\n    ...\n    barrier_arrive(empty);  // every thread\n",
     "    barrier_init(empty, 2);  // two warpgroups\n    ...\n    if (threadIdx.x % 128 == 0) barrier_arrive(empty);\n"),
    (&["phase-bytes"],
     "    barrier_arrive_expect(full, rows * 128);  // the rows inside the tensor\n    copy_box(tile, &map, full, 0, row, head);\n",
     "    barrier_arrive_expect(full, 64 * 128);  // a whole box, zeros past the end included\n    copy_box(tile, &map, full, 0, row, head);\n"),
    (&["phase-never-completes"],
     "    Stage stage = {.index = 0, .parity = 0};\n    barrier_wait(empty, stage.parity);  // nobody has held it yet\n",
     "    Stage stage = {.index = 0, .parity = 1};\n    barrier_wait(empty, stage.parity);\n"),
    (&["stage-read-early", "bulk-copy-read-early"],
     "    barrier_wait(full + index * 8, parity);\n    ...\n    if (++index == kStages) index = 0;\n",
     "    barrier_wait(full + index * 8, parity);\n    ...\n    if (++index == kStages) {\n      index = 0;\n      parity ^= 1;\n    }\n"),
    (&["stage-refilled-early"],
     "    barrier_arrive_expect(full, kBytes);\n    copy_box(tile, &map, full, 0, row, head);\n",
     "    barrier_wait(empty, parity);\n    barrier_arrive_expect(full, kBytes);\n    copy_box(tile, &map, full, 0, row, head);\n"),
    (&["stage-released-early", "wgmma-operand-overwritten"],
     "    wgmma(score, q_tile, k_tile); commit();\n    barrier_arrive(empty);\n    wgmma_wait<0>();\n",
     "    wgmma(score, q_tile, k_tile); commit();\n    wgmma_wait<0>();\n    barrier_arrive(empty);\n"),
    (&["unguarded-infinity"],
     "    float const weight = exp2f(score - row_max);\n",
     "    float const shift = row_max == -INFINITY ? 0.0f : row_max;\n    float const weight = exp2f(score - shift);\n"),
    (&["unguarded-division"],
     "    o = sum / row_sum;\n",
     "    o = row_sum == 0.0f ? 0.0f : sum / row_sum;\n"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::explain::explanation;

    #[test]
    fn every_example_is_of_a_code_that_exists() {
        for code in EXAMPLES.iter().flat_map(|(codes, ..)| codes.iter()) {
            assert!(explanation(code).is_some(), "{code}");
            assert!(example(code).is_some_and(|(defect, repair)| defect != repair));
        }
    }
}
