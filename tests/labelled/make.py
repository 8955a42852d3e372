"""Writes the labelled programs of this folder and, with nvcc, their PTX.

    python3 tests/labelled/make.py [NVCC]

Each program is one kernel of N threads: `out[t] = something of shared memory`. Its first line says what is true of it:
`PASS=refuted` or `PASS=proved` for each pass that is scored, `bank-conflict=D` for the degree of its worst access.
"""

import pathlib
import subprocess
import sys

here = pathlib.Path(__file__).parent
programs = {}
CORRECT = ["shared-race", "divergence", "shared-bounds", "shared-init"]


def program(name, body, why, threads=64, **label):
    """`label`: pass with _ for -, "refuted" or a degree; the other correctness passes are proved unless `only`."""
    only = label.pop("only", False)
    told = {key.replace("_", "-"): value for key, value in label.items()}
    if not only:
        told = {**{each: "proved" for each in CORRECT}, **told}
    words = " ".join(f"{key}={value}" for key, value in told.items())
    lines = "\n".join("    " + line for line in body.strip("\n").splitlines())
    programs[name] = (
        f"// label: {words}\n// {why}\n\n"
        f'extern "C" __global__ void __launch_bounds__({threads})\n'
        f"    kernel(float* out, float const* in, int n) {{\n"
        f"    int const t = threadIdx.x;\n{lines}\n}}\n"
    )


SYNC = "__syncthreads();"


def twins(name, body, why, cure, threads=64, **label):
    """The program without the line CURE, and with it."""
    program(name, body.replace("CURE\n", ""), why, threads, **label)
    program(f"{name}_clean", body.replace("CURE", cure), f"The same, mended: {cure}", threads)


# Races: who writes what another reads.
for shift in (1, 16, 32, 63):
    twins(f"race_shift_{shift}", f"""
__shared__ float tile[64];
tile[t] = in[t];
CURE
out[t] = tile[(t + {shift}) % 64];""", f"A thread reads what thread t + {shift} writes.", SYNC, shared_race="refuted", only=True)
twins("race_reverse", """
__shared__ float tile[128];
tile[t] = in[t];
CURE
out[t] = tile[127 - t];""", "The tile is read backwards.", SYNC, 128, shared_race="refuted", only=True)
for mask in (1, 32):
    twins(f"race_xor_{mask}", f"""
__shared__ float tile[64];
tile[t] = in[t];
CURE
out[t] = tile[t ^ {mask}];""", f"Threads that differ by {mask} swap.", SYNC, shared_race="refuted", only=True)
program("race_syncwarp_within", """
__shared__ float tile[64];
tile[t] = in[t];
__syncwarp();
out[t] = tile[t ^ 1];""", "Lanes of one warp swap, ordered by the warp's barrier.")
program("race_syncwarp_across", """
__shared__ float tile[64];
tile[t] = in[t];
__syncwarp();
out[t] = tile[t ^ 32];""", "Warps swap; the warp's barrier does not order them.", shared_race="refuted", only=True)
program("race_tree", """
__shared__ float sum[64];
sum[t] = in[t];
for (int step = 32; step > 0; step /= 2) {
    __syncthreads();
    if (t < step) sum[t] += sum[t + step];
}
__syncthreads();
out[t] = sum[0];""", "A tree reduction with a barrier before each step.")
program("race_tree_no_barrier", """
__shared__ float sum[64];
sum[t] = in[t];
__syncthreads();
for (int step = 32; step > 0; step /= 2) {
    if (t < step) sum[t] += sum[t + step];
}
__syncthreads();
out[t] = sum[0];""", "A tree reduction whose steps are not ordered.", shared_race="refuted", only=True)
program("race_tree_last_missing", """
__shared__ float sum[64];
sum[t] = in[t];
for (int step = 32; step > 0; step /= 2) {
    __syncthreads();
    if (t < step) sum[t] += sum[t + step];
}
out[t] = sum[0];""", "The sum is read with no barrier after the last step.", shared_race="refuted", only=True)
for stages in (1, 2, 3):
    for barriers in (0, 1, 2):
        clean = barriers == 2 or (barriers == 1 and stages > 1)
        before = SYNC if barriers > 0 else ""
        after = SYNC if barriers > 1 else ""
        label = {} if clean else {"shared_race": "refuted", "only": True}
        program(f"ring_{stages}_stages_{barriers}_barriers", f"""
__shared__ float ring[{stages}][64];
float sum = 0;
for (int i = 0; i < n; ++i) {{
    ring[i % {stages}][t] = in[i * 64 + t];
    {before}
    sum += ring[i % {stages}][63 - t];
    {after}
}}
out[t] = sum;""".replace("    \n", ""), f"A ring of {stages} buffers, {barriers} barriers an iteration.", **label)
program("race_all_write", """
__shared__ float one;
one = in[t];
__syncthreads();
out[t] = one;""", "Every thread writes the same word.", shared_race="refuted", only=True)
twins("race_broadcast", """
__shared__ float one;
if (t == 0) one = in[0];
CURE
out[t] = one;""", "One thread writes, all read.", SYNC, shared_race="refuted", only=True)
twins("race_transpose", """
__shared__ float tile[8][9];
tile[t / 8][t % 8] = in[t];
CURE
out[t] = tile[t % 8][t / 8];""", "A tile is written by rows and read by columns.", SYNC, shared_race="refuted", only=True)
program("race_halves", """
__shared__ float tile[64];
if (t < 32) tile[t] = in[t];
else tile[t] = -in[t];
__syncthreads();
out[t] = tile[63 - t];""", "Two branches write two halves.")
program("race_halves_overlap", """
__shared__ float tile[64];
if (t < 32) tile[t] = in[t];
else tile[t - 1] = -in[t];
__syncthreads();
out[t] = tile[t % 32];""", "The upper half writes one word of the lower.", shared_race="refuted", only=True)
program("race_atomic", """
__shared__ int sum;
if (t == 0) sum = 0;
__syncthreads();
atomicAdd(&sum, t);
__syncthreads();
out[t] = sum;""", "Atomic sums do not race with each other.")
program("race_atomic_read", """
__shared__ int sum;
if (t == 0) sum = 0;
__syncthreads();
atomicAdd(&sum, t);
out[t] = sum;""", "A plain read meets the others' atomic sums.", shared_race="refuted", only=True)
twins("race_loop_carried", """
__shared__ float tile[64];
float sum = 0;
for (int i = 0; i < n; ++i) {
    tile[t] = in[i * 64 + t];
    __syncthreads();
    sum += tile[t ^ 32];
    CURE
}
out[t] = sum;""", "The next iteration writes what this one still reads.", SYNC, shared_race="refuted", only=True)

# Barriers and whole-warp instructions that not all threads reach.
for count in (16, 32, 63):
    program(f"barrier_below_{count}", f"""
__shared__ float tile[64];
tile[t] = in[t];
if (t < {count}) __syncthreads();
out[t] = tile[t];""", f"Only {count} of 64 threads reach the barrier.", divergence="refuted", only=True)
program("barrier_all", """
__shared__ float tile[64];
tile[t] = in[t];
if (t < 64) __syncthreads();
out[t] = tile[63 - t];""", "The condition holds for every thread of the CTA.")
program("barrier_uniform_parameter", """
__shared__ float tile[64];
tile[t] = in[t];
if (n > 5) {
    __syncthreads();
    out[t] = tile[63 - t];
}""", "The condition is the same in all threads.")
program("barrier_uniform_block", """
__shared__ float tile[64];
tile[t] = in[t];
if (blockIdx.x % 2 == 0) {
    __syncthreads();
    out[t] = tile[63 - t];
}""", "The condition is the same in all threads of a CTA.")
program("barrier_after_exit", """
__shared__ float tile[64];
if (t >= 48) return;
tile[t] = in[t];
__syncthreads();
out[t] = tile[47 - t];""", "Sixteen threads leave before the barrier.", divergence="refuted", only=True)
program("barrier_before_exit", """
__shared__ float tile[64];
tile[t] = in[t];
__syncthreads();
if (t >= 48) return;
out[t] = tile[63 - t];""", "Threads leave after the barrier.")
program("barrier_loop_by_thread", """
float sum = 0;
#pragma unroll 1
for (int i = 0; i < t; ++i) {
    sum += in[i];
    __syncthreads();
}
out[t] = sum;""", "Each thread meets the barrier another number of times.", divergence="refuted", only=True)
program("barrier_loop_by_parameter", """
float sum = 0;
for (int i = 0; i < n; ++i) {
    sum += in[i];
    __syncthreads();
}
out[t] = sum;""", "All threads meet the barrier n times.")
program("barrier_by_warp", """
__shared__ float tile[64];
tile[t] = in[t];
if (t / 32 == 1) __syncthreads();
out[t] = tile[t];""", "One of two warps reaches the barrier.", divergence="refuted", only=True)
program("barrier_in_both_arms", """
__shared__ float tile[64];
tile[t] = in[t];
if (t % 2 == 0) { __syncthreads(); out[t] = tile[t]; }
else { out[t] = -tile[t]; __syncthreads(); }""", "Lanes of a warp meet two different barriers.", divergence="refuted", only=True)
program("shuffle_half_warp", """
float sum = in[t];
if (t % 32 < 16) sum += __shfl_xor_sync(0xffffffffu, sum, 8);
out[t] = sum;""", "Half a warp makes a shuffle that names the whole.", divergence="refuted", only=True)
program("shuffle_whole_warp", """
float sum = in[t];
if (t / 32 == 1) sum += __shfl_xor_sync(0xffffffffu, sum, 8);
out[t] = sum;""", "A whole warp makes the shuffle, the other does not.")
program("shuffle_after_exit", """
if (t >= 40) return;
float sum = in[t];
sum += __shfl_xor_sync(0xffffffffu, sum, 8);
out[t] = sum;""", "Lanes 8 to 31 of the second warp have left.", divergence="refuted", only=True)

# Bounds and alignment.
for name, length, index, wrong in (
    ("next", 64, "t + 1", True), ("next_room", 65, "t + 1", False),
    ("double", 64, "2 * t", True), ("double_room", 127, "2 * t", False),
    ("before", 64, "t - 1", True), ("modulo", 64, "(t - 1) & 63", False),
    ("last_stage", 256, "t + 64 * (n % 5 != 4 ? 4 : 0)", True),
    ("stage_masked", 256, "t + 64 * (n & 3)", False),
):
    label = {"shared_bounds": "refuted", "only": True} if wrong else {"shared_bounds": "proved", "only": True}
    program(f"bounds_{name}", f"""
__shared__ float tile[{length}];
tile[{index}] = in[t];
__syncthreads();
out[t] = tile[t % {length}];""", f"Index {index} of {length} words.", **label)
for stride, wrong in ((17, True), (20, False)):
    label = {"shared_bounds": "refuted" if wrong else "proved", "only": True}
    program(f"bounds_vector_stride_{stride}", f"""
__shared__ __align__(16) float tile[64 * {stride}];
*reinterpret_cast<float4*>(&tile[t * {stride}]) = make_float4(in[t], 0, 0, 0);
__syncthreads();
out[t] = tile[t];""", f"Vectors of 16 bytes in rows of {4 * stride}.", **label)

# Reads of what nobody wrote.
for count, wrong in ((32, True), (63, True), (64, False)):
    label = {"shared_init": "refuted"} if wrong else {}
    program(f"init_first_{count}", f"""
__shared__ float tile[64];
if (t < {count}) tile[t] = in[t];
__syncthreads();
out[t] = tile[63 - t];""", f"{count} of 64 words are written, all are read.", **label)
program("init_tail", """
__shared__ float tile[80];
tile[t] = in[t];
__syncthreads();
out[t] = tile[t + 8];""", "The last eight words read are in the array, but never written.", shared_init="refuted")
program("init_tail_filled", """
__shared__ float tile[80];
tile[t] = in[t];
if (t < 16) tile[64 + t] = 0;
__syncthreads();
out[t] = tile[t + 8];""", "The tail is filled by sixteen threads.")

# Bank conflicts of known degree.
for stride, degree in ((1, 1), (2, 2), (3, 1), (4, 4), (8, 8), (16, 16), (32, 32), (33, 1), (6, 2), (12, 4)):
    program(f"bank_stride_{stride}", f"""
__shared__ float tile[32 * {stride}];
tile[t * {stride}] = in[t];
__syncthreads();
out[t] = tile[t * {stride}];""", f"Lanes are {stride} words apart.", 32, bank_conflict=degree)
program("bank_broadcast", """
__shared__ float tile[32];
tile[t] = in[t];
__syncthreads();
out[t] = tile[n & 31];""", "All lanes read one word, whichever it is.", 32, bank_conflict=1)
program("bank_pairs", """
__shared__ float2 tile[32];
tile[t] = make_float2(in[t], 1);
__syncthreads();
out[t] = tile[31 - t].x + tile[31 - t].y;""", "Eight bytes a lane, in two phases.", 32, bank_conflict=1)
for row, degree in ((32, 8), (36, 1)):
    program(f"bank_vectors_row_{row}", f"""
__shared__ __align__(16) float tile[32 * {row}];
*reinterpret_cast<float4*>(&tile[t * {row}]) = make_float4(in[t], 1, 2, 3);
__syncthreads();
float4 const v = *reinterpret_cast<float4*>(&tile[(31 - t) * {row}]);
out[t] = v.x + v.y + v.z + v.w;""", f"Sixteen bytes a lane, rows of {4 * row} bytes, in four phases.", 32, bank_conflict=degree)
program("bank_column_swizzled", """
__shared__ float tile[32][32];
for (int row = 0; row < 32; ++row) tile[row][t ^ row] = in[row * 32 + t];
__syncthreads();
float sum = 0;
for (int column = 0; column < 32; ++column) sum += tile[t][column ^ t];
out[t] = sum;""", "Rows and columns of a swizzled tile.", 32, bank_conflict=1)

# Global memory: the sectors that a warp moves, and where a row begins; read under the launch that the runs have.
program("sectors_row_of_a_lane", """
for (int i = 0; i < 32; ++i) {
    out[t * 32 + i] = in[i * 32 + t];
}""", "Each lane writes a row: 32 sectors a store, where 4 would do.", 32, sectors="refuted", index_overflow="proved", only=True)
program("sectors_row_of_a_warp", """
for (int i = 0; i < 32; ++i) {
    out[i * 32 + t] = in[i * 32 + t];
}""", "The warp writes each row together.", 32, sectors="proved", index_overflow="proved", only=True)
program("sectors_fragment", """
for (int tile = 0; tile < 4; ++tile) {
    out[t / 4 * 16 + tile * 4 + t % 4] = in[tile * 32 + t];
}""", "Tiles as tensor cores leave them: the four lanes of a row write half a sector at a time.", 32,
        sectors="refuted", index_overflow="proved", only=True)
program("sectors_fragment_exchanged", """
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
reinterpret_cast<float4*>(out)[t] = make_float4(piece[0], piece[1], piece[2], piece[3]);""",
        "The four lanes of a row exchange what they have first, and write sixteen bytes each.", 32,
        sectors="proved", index_overflow="proved", only=True)
program("index_cut_to_32_bits", """
unsigned const row = static_cast<unsigned>(n) * 0x40000000u;
out[t] = in[row + t];""", "Rows of 2^30 elements: from the fourth on their first index does not fit 32 bits.", 32,
        index_overflow="refuted", only=True)
program("index_within_32_bits", """
unsigned const row = static_cast<unsigned>(n) * 64u;
out[t] = in[row + t];""", "Rows of 64 elements.", 32, index_overflow="proved", only=True)

for old in list(here.glob("*.cu")) + list(here.glob("ptx/*.ptx")):
    old.unlink()
for name, text in programs.items():
    (here / f"{name}.cu").write_text(text)
if len(sys.argv) > 1:
    for name in programs:
        command = [sys.argv[1], "-arch=sm_80", "-ptx", f"{name}.cu", "-o", f"ptx/{name}.ptx"]
        subprocess.run(command, cwd=here, check=True)
print(len(programs), "programs")
