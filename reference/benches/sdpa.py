#!/usr/bin/env python3
"""The reference beside PyTorch's scaled_dot_product_attention in float64 with a boolean mask, in one run.

    python3 reference/benches/sdpa.py [TURNS]

8 heads, 1024 queries and keys, head_dim 64, blocks of 64 of which 30 % are kept, both on as many threads as there are
cores. Both compute the same problem, which is checked first; then they take turns, and medians are printed. Without
PyTorch it says "skipped".
"""

import json
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

try:
    import torch
except ImportError:
    print("skipped: no PyTorch for this Python (pip install torch)")
    sys.exit(0)

HEADS, SEQLEN, HEAD_DIM, BLOCK, DENSITY = 8, 1024, 64, 64, 0.3
TURNS = int(sys.argv[1]) if len(sys.argv) > 1 else 15
ROOT = pathlib.Path(__file__).resolve().parents[2]


def cargo_example():
    command = ["cargo", "build", "--release", "--quiet", "-p", "flashproof-reference", "--example", "sdpa"]
    subprocess.run(command, cwd=ROOT, check=True)
    command = ["cargo", "metadata", "--no-deps", "--format-version", "1"]
    target = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)["target_directory"]
    return pathlib.Path(target) / "release/examples/sdpa"


def main():
    torch.manual_seed(1)
    picks = random.Random(1)
    blocks = SEQLEN // BLOCK
    # Every row keeps a block: PyTorch gives NaN where it keeps none.
    counts = [round(DENSITY * blocks * (row + 1)) - round(DENSITY * blocks * row) for row in range(blocks)]
    chosen = [[picks.sample(range(blocks), count) for count in counts] for _ in range(HEADS)]
    kept = [[[column in row for column in range(blocks)] for row in head] for head in chosen]
    # Numbers of float16, as a kernel would get them.
    q, k, v = (torch.randn(HEADS, SEQLEN, HEAD_DIM).half().float() for _ in range(3))
    pattern = torch.tensor(kept)
    mask = pattern.repeat_interleave(BLOCK, 1).repeat_interleave(BLOCK, 2)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        for name, tensor in (("q", q), ("k", k), ("v", v)):
            (path / f"{name}.bin").write_bytes(tensor.numpy().tobytes())
        (path / "blocks.bin").write_bytes(bytes(int(bit) for bit in pattern.flatten().tolist()))
        arguments = [cargo_example(), folder, HEADS, SEQLEN, HEAD_DIM, BLOCK]
        ours = subprocess.Popen(list(map(str, arguments)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

        def certified():
            ours.stdin.write("\n")
            ours.stdin.flush()
            return float(ours.stdout.readline())

        scale = torch.tensor(HEAD_DIM, dtype=torch.float32).rsqrt().double().item()
        q, k, v = (tensor.double()[None] for tensor in (q, k, v))

        def peer():
            start = time.perf_counter()
            o = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask[None], scale=scale)
            return time.perf_counter() - start, o

        certified()
        _, expected = peer()
        times = [(certified(), peer()[0]) for _ in range(TURNS)]
        ours.stdin.close()
        ours.wait()
        found = torch.frombuffer(bytearray((path / "o.bin").read_bytes()), dtype=torch.float64)
    worst = (found - expected.flatten()).abs().max().item()
    assert worst < 1e-12, f"the two differ by {worst}"
    mine, theirs = (statistics.median(column) * 1e3 for column in zip(*times))
    ratio = statistics.median(theirs / mine for mine, theirs in times)
    print(f"heads {HEADS}, n {SEQLEN}, d {HEAD_DIM}, {pattern.float().mean():.0%} of blocks, "
          f"{torch.get_num_threads()} threads, PyTorch {torch.__version__}, float64")
    print(f"correctly rounded {mine:.1f} ms, scaled_dot_product_attention {theirs:.1f} ms: {ratio:.2f} times as fast")
    print(f"largest difference {worst:.1e} (PyTorch's error)")


main()
