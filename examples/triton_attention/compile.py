"""Compiles attention.py to PTX without a GPU: python3 compile.py [FILE.ptx]

Needs `pip install triton==3.9.0`. What the compiler says of the launch (threads, shared bytes) goes to standard error.
"""

import pathlib
import sys

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from attention import attention

sys.path.insert(0, str(pathlib.Path(__file__).parent / "../../cuda"))
from portable_ptx import portable  # noqa: E402

pointers = {"q": "*fp16", "k": "*fp16", "v": "*fp16", "o": "*fp16", "lse": "*fp32"}
sizes = [
    "q_batch_stride", "q_row_stride", "q_head_stride", "kv_batch_stride", "kv_row_stride", "kv_head_stride",
    "num_q_heads", "num_kv_heads", "seqlen_q", "seqlen_kv",
]
constants = {"HEAD_DIM": 32, "TILE_Q": 64, "TILE_KV": 64}
signature = {**pointers, **{name: "i32" for name in sizes}, "scale_log2": "fp32", **{name: "constexpr" for name in constants}}
# Pointers are aligned and strides are multiples of head_dim, as a launch from PyTorch would find out by itself.
aligned = [i for i, name in enumerate(signature) if name in pointers or name.endswith("_stride")]
source = ASTSource(
    fn=attention,
    signature=signature,
    constexprs=constants,
    attrs={(i,): [["tt.divisibility", 16]] for i in aligned},
)
compiled = triton.compile(source, target=GPUTarget("cuda", 80, 32), options={"num_warps": 4, "num_stages": 2})
ptx = portable(compiled.asm["ptx"])
with open(sys.argv[1] if len(sys.argv) > 1 else "attention.ptx", "w") as file:
    file.write(ptx)
print(f"{compiled.metadata.num_warps * 32} threads, {compiled.metadata.shared} shared bytes", file=sys.stderr)
