"""Times other projects' attention on the card that this runs on: python3 peers.py PLAN.json OUT.json SECONDS

`flashproof bench device` writes PLAN.json and reads OUT.json. Uses what is installed: PyTorch's scaled_dot_product_attention
with each of its backends, compiled FlexAttention with the same blocks, the Triton kernel of examples/triton_attention,
flash_attn.cute (`flash-attn-4`), and a large matrix product as the card's ceiling. What cannot be imported, or refuses, is
written down with its own words. Inputs are those of the plan, made by the same formula; sums over their bits must agree.

Every time is the median of CUDA events around single calls, after a buffer of twice the L2 cache was written.

    python3 peers.py --self-test     checks the formulas that need no card (needs nothing but Python)
"""

import json
import os
import struct
import sys
import time

GAMMA = 0x9E3779B97F4A7C15
SEED = 0x666C617368707266
MASK = (1 << 64) - 1
RUNS_LEAST, RUNS_MOST, SPAN, WARM_UPS = 7, 30, 0.25, 3


def bits(seed, index):
    """Output number `index` of SplitMix64 from `seed`."""
    state = (seed + GAMMA * (index + 1)) & MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
    return state ^ (state >> 31)


def value(role, place):
    """Element `place` of q, k or v (roles 1, 2, 3) before it is rounded."""
    draw = bits((SEED + role) & MASK, place)
    return (sum((draw >> shift) & 0xFFFF for shift in (0, 16, 32, 48)) - 2 * 65535) / 32768.0


def is_present(row, column, own, permille):
    draw = ((bits(SEED, (row << 32) | column) >> 32) & 0xFFFFFFFF) * 1000 >> 32
    return column == own or draw < permille


def signed(x):
    """64 bits as the number that torch's int64 has for them."""
    return x - (1 << 64) if x >> 63 else x


def bf16_bits(x):
    word = struct.unpack("<I", struct.pack("<f", x))[0]
    return ((word + 0x7FFF + ((word >> 16) & 1)) >> 16) & 0xFFFF


def self_test():
    assert bits(0, 0) == 0xE220A8397B1DCDAF
    # The same sums as in src/command/device_bench/inputs.rs.
    sums = [sum(bf16_bits(value(role, i)) for i in range(1000)) for role in (1, 2, 3)]
    assert sums == PINNED, sums
    assert all(is_present(3, 3, 3, 0) for _ in range(1))
    count = sum(is_present(i // 100, i % 100, i // 100, 500) for i in range(10000))
    assert 4600 < count < 5600, count
    print("peers.py: formulas agree")


PINNED = [32604977, 31500085, 31666499]


class Card:
    """PyTorch, the inputs, and a stopwatch."""

    def __init__(self, torch):
        self.torch = torch
        self.l2 = torch.cuda.get_device_properties(0).L2_cache_size
        self.flush = torch.empty(2 * self.l2, dtype=torch.uint8, device="cuda")
        self.made = {}

    def stream(self, role, count):
        """(count,) of float32: the formula in int64, whose products wrap as they should."""
        torch = self.torch

        def shifted(x, by):
            return (x >> by) & ((1 << (64 - by)) - 1)

        index = torch.arange(1, count + 1, dtype=torch.int64, device="cuda")
        state = index * signed(GAMMA) + signed((SEED + role) & MASK)
        state = (state ^ shifted(state, 30)) * signed(0xBF58476D1CE4E5B9)
        state = (state ^ shifted(state, 27)) * signed(0x94D049BB133111EB)
        state = state ^ shifted(state, 31)
        total = sum((state >> shift) & 0xFFFF for shift in (0, 16, 32, 48)) - 2 * 65535
        return total.to(torch.float32) * 2.0**-15

    def inputs(self, of):
        """q, k and v (batch, heads, seqlen, head_dim)."""
        torch = self.torch
        shape = (of["batch"], of["heads"], of["seqlen"], of["head_dim"])
        count = shape[0] * shape[1] * shape[2] * shape[3]
        key = (of["bf16"], count)
        if key not in self.made:
            self.made.clear()
            dtype = torch.bfloat16 if of["bf16"] else torch.float16
            self.made[key] = [self.stream(role, count).to(dtype) for role in (1, 2, 3)]
        return [x.view(shape) for x in self.made[key]]

    def fingerprint(self, bf16, count):
        torch = self.torch
        dtype = torch.bfloat16 if bf16 else torch.float16
        sums = []
        for role in (1, 2, 3):
            words = self.stream(role, count).to(dtype).view(torch.int16).to(torch.int64)
            sums.append(int((words & 0xFFFF).sum()))
        return sums

    def times(self, call):
        """Sorted milliseconds."""
        torch = self.torch
        for _ in range(WARM_UPS):
            call()
        torch.cuda.synchronize()
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        found, begin = [], time.monotonic()
        while len(found) < RUNS_LEAST or (len(found) < RUNS_MOST and time.monotonic() - begin < SPAN):
            self.flush.zero_()
            start.record()
            call()
            stop.record()
            stop.synchronize()
            found.append(start.elapsed_time(stop))
        return sorted(found)


def visible(torch, of, rows, device="cuda"):
    """(rows, seqlen) of bool."""
    length = of["seqlen"]
    q = torch.tensor(rows, device=device)[:, None]
    k = torch.arange(length, device=device)[None, :]
    seen = torch.ones(len(rows), length, dtype=torch.bool, device=device)
    if of["causal"]:
        seen &= k <= q
    pattern = of["pattern"]
    if "window" in pattern:
        seen &= k >= q - pattern["window"]["left"]
    if "blocks" in pattern:
        b = pattern["blocks"]
        for i, row in enumerate(rows):
            block_row = row // b["block_q"]
            own = block_row * b["block_q"] // b["block_kv"]
            there = [is_present(block_row, c, own, b["permille"]) for c in range(-(-length // b["block_kv"]))]
            mask = torch.tensor(there, device=device).repeat_interleave(b["block_kv"])[:length]
            seen[i] &= mask
    return seen


def distance(card, of, out):
    """Largest distance of sampled rows from float64."""
    torch = card.torch
    q, k, v = card.inputs(of)
    found = []
    length = of["seqlen"]
    rows = sorted({0, length - 1, length // 3})
    seen = visible(torch, of, rows)
    for batch, head in ((0, 0), (of["batch"] - 1, of["heads"] - 1)):
        score = q[batch, head, rows].double() @ k[batch, head].double().T / of["head_dim"] ** 0.5
        weight = torch.softmax(score.masked_fill(~seen, float("-inf")), -1)
        answer = weight @ v[batch, head].double()
        found.append(float((out[batch, head, rows].double() - answer).abs().max()))
    # max() would lose a NaN.
    return float("nan") if any(x != x for x in found) else max(found)


def sdpa(card, of, backend):
    torch = card.torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.functional import scaled_dot_product_attention

    if of["pattern"] != "dense":
        raise NotImplementedError("dense alone")
    q, k, v = card.inputs(of)

    def call():
        with sdpa_kernel(getattr(SDPBackend, backend)):
            return scaled_dot_product_attention(q, k, v, is_causal=of["causal"])

    return call


COMPILED = {}


def block_lists(torch, of, block_q, block_kv):
    """Which blocks hold a visible pair, and which hold no hidden one: two (rows, columns) of bool on the processor."""
    length, pattern = of["seqlen"], of["pattern"]
    rows, columns = -(-length // block_q), -(-length // block_kv)
    first_q = torch.arange(rows)[:, None] * block_q
    last_q = (first_q + block_q - 1).clamp(max=length - 1)
    first_k = torch.arange(columns)[None, :] * block_kv
    last_k = first_k + block_kv - 1
    some = torch.ones(rows, columns, dtype=torch.bool)
    every = last_k.expand(rows, columns) < length
    if of["causal"]:
        some &= first_k <= last_q
        every = every & (last_k <= first_q)
    if "window" in pattern:
        left = pattern["window"]["left"]
        some &= last_k >= first_q - left
        every = every & (first_k >= last_q - left)
    if "blocks" in pattern:
        b = pattern["blocks"]
        present = torch.tensor(
            [
                [is_present(r, c, r * block_q // block_kv, b["permille"]) for c in range(columns)]
                for r in range(rows)
            ]
        )
        some &= present
        every = every & present
    return some, every


def ordered(torch, mask):
    """Counts, and indices with those that are there first, as block masks have them."""
    counts = mask.sum(-1).to(torch.int32)
    indices = torch.argsort(mask.to(torch.int8), dim=-1, descending=True, stable=True).to(torch.int32)
    return counts[None, None].cuda(), indices[None, None].contiguous().cuda()


def flex(card, of):
    torch = card.torch
    from torch.nn.attention.flex_attention import BlockMask, flex_attention

    pattern = of["pattern"]
    if pattern != "dense" and "kept" in pattern:
        raise NotImplementedError("takes no threshold")
    if "blocks" in pattern:
        size = (pattern["blocks"]["block_q"], pattern["blocks"]["block_kv"])
    else:
        size = (128, 128)
    left = pattern["window"]["left"] if "window" in pattern else None

    def sees(batch, head, q, k):
        seen = q >= q
        if of["causal"]:
            seen = seen & (k <= q)
        if left is not None:
            seen = seen & (k >= q - left)
        return seen

    some, every = block_lists(torch, of, *size)
    partial_count, partial = ordered(torch, some & ~every)
    full_count, full = ordered(torch, every)
    mask = None
    if pattern != "dense" or of["causal"]:
        length = of["seqlen"]
        mask = BlockMask.from_kv_blocks(
            partial_count, partial, full_count, full, BLOCK_SIZE=size, mask_mod=sees, seq_lengths=(length, length)
        )
    # One compilation for a kind of mask; a new one where PyTorch asks for it.
    call_flex = COMPILED.setdefault("flex", torch.compile(flex_attention, dynamic=False))
    q, k, v = card.inputs(of)
    return lambda: call_flex(q, k, v, block_mask=mask)


def triton_attention(card, of):
    torch = card.torch
    import triton

    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../examples/triton_attention")
    sys.path.insert(0, folder)
    from attention import attention

    if of["pattern"] != "dense" or not of["causal"]:
        raise NotImplementedError("causal and dense alone")
    # The kernel takes (batch, seqlen, heads, head_dim), each by its strides.
    q, k, v = card.inputs(of)
    batch, heads, length, head_dim = q.shape
    o = torch.empty_like(q)
    lse = torch.empty(batch, heads, length, dtype=torch.float32, device="cuda")
    strides = [x for t in (q, k) for x in (t.stride(0), t.stride(2), t.stride(1))]
    scale_log2 = head_dim**-0.5 * 1.4426950408889634

    def call():
        attention[(triton.cdiv(length, 128), heads, batch)](
            q, k, v, o, lse, *strides, heads, heads, length, length, scale_log2,
            HEAD_DIM=head_dim, TILE_Q=128, TILE_KV=64, num_warps=8, num_stages=3,
        )  # fmt: skip
        return o

    return call


def flash_cute(card, of):
    from flash_attn.cute import interface

    q, k, v = card.inputs(of)
    # (batch, seqlen, heads, head_dim) by strides; the copies are made before the clock runs.
    q, k, v = (x.transpose(1, 2).contiguous() for x in (q, k, v))
    pattern = of["pattern"]
    options = {"causal": of["causal"]}
    if pattern != "dense" and "kept" in pattern:
        raise NotImplementedError("takes no threshold")
    if "window" in pattern:
        options = {"causal": False, "window_size": (pattern["window"]["left"], 0)}
    if "blocks" in pattern:
        from flash_attn.cute.block_sparsity import BlockSparseTensorsTorch

        if of["causal"]:
            raise NotImplementedError("blocks without causal alone")
        b = pattern["blocks"]
        some, every = block_lists(card.torch, of, b["block_q"], b["block_kv"])
        partial_count, partial = ordered(card.torch, some & ~every)
        full_count, full = ordered(card.torch, every)
        options["block_sparse_tensors"] = BlockSparseTensorsTorch(
            mask_block_cnt=partial_count, mask_block_idx=partial, full_block_cnt=full_count, full_block_idx=full
        )

        def call():
            out = interface._flash_attn_fwd(q, k, v, **options)
            return out[0].transpose(1, 2)

        return call

    def call():
        out = interface.flash_attn_func(q, k, v, **options)
        return (out[0] if isinstance(out, tuple) else out).transpose(1, 2)

    return call


def ceilings(card):
    torch = card.torch
    found = []
    for bf16 in (True, False):
        dtype = torch.bfloat16 if bf16 else torch.float16
        for n in (8192, 16384):
            a, b = (card.stream(role, n * n).to(dtype).view(n, n) for role in (1, 2))
            times = card.times(lambda: torch.matmul(a, b))
            rate = 2 * n**3 / (times[len(times) // 2] * 1e9)
            found.append({"bf16": bf16, "tflops": rate, "how": f"torch.matmul, {n} x {n} x {n}, random numbers"})
            del a, b
    return found


def main(plan_path, out_path, seconds):
    begin = time.monotonic()
    with open(plan_path) as file:
        plan = json.load(file)
    document = {"machine": [], "ceilings": [], "timed": []}

    def save():
        with open(out_path + ".partial", "w") as file:
            json.dump(document, file)
        os.replace(out_path + ".partial", out_path)

    save()
    try:
        import torch
    except ImportError as error:
        document["machine"].append(f"peers not timed: {error}")
        return save()
    if not torch.cuda.is_available():
        document["machine"].append("peers not timed: PyTorch sees no card")
        return save()
    card = Card(torch)
    document["machine"].append(f"torch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}")
    for name in ("triton", "flash_attn.cute"):
        try:
            module = __import__(name)
            document["machine"].append(f"{name} {getattr(module, '__version__', 'of no version')}")
        except Exception as error:  # noqa: BLE001 - whatever an import of somebody else's code does
            document["machine"].append(f"{name}: {type(error).__name__}: {error}")
    fingerprint = plan["fingerprint"]
    for bf16, name in ((True, "bf16"), (False, "f16")):
        found = card.fingerprint(bf16, fingerprint["elements"])
        if found != fingerprint[name]:
            document["machine"].append(f"peers not timed: other inputs in {name}: {found}, not {fingerprint[name]}")
            return save()
    document["ceilings"] = ceilings(card)
    save()

    who = [
        ("torch sdpa cudnn", lambda of: sdpa(card, of, "CUDNN_ATTENTION")),
        ("torch sdpa flash", lambda of: sdpa(card, of, "FLASH_ATTENTION")),
        ("torch sdpa efficient", lambda of: sdpa(card, of, "EFFICIENT_ATTENTION")),
        ("flex_attention", lambda of: flex(card, of)),
        ("flash_attn.cute", lambda of: flash_cute(card, of)),
        ("triton example", lambda of: triton_attention(card, of)),
    ]
    refused = {}
    for row in plan["list"]:
        of = row["measurement"]
        for name, make in who:
            timed = {
                "measurement": of, "by": name, "visible_pairs": row["visible_pairs"], "milliseconds": None,
                "range": None, "runs": 0, "check": "not run", "note": "",
            }  # fmt: skip
            if time.monotonic() - begin > seconds:
                timed["note"] = "out of time"
            elif name in refused:
                timed["note"] = refused[name]
            else:
                try:
                    call = make(of)
                    far = distance(card, of, call())
                    timed["check"] = f"{far:.1e} from float64"
                    if not far <= 0.05:  # NaN is no distance
                        raise ArithmeticError(f"{far} from float64: not timed")
                    times = card.times(call)
                    timed["milliseconds"] = times[len(times) // 2]
                    timed["range"] = [times[0], times[-1]]
                    timed["runs"] = len(times)
                except NotImplementedError:
                    continue
                except (ImportError, AttributeError) as error:
                    # It is not installed, or is another version: it will not be better next time.
                    refused[name] = timed["note"] = f"{type(error).__name__}: {error}"[:300]
                except Exception as error:  # noqa: BLE001 - others' code may refuse in any way; its words are the result
                    timed["note"] = f"{type(error).__name__}: {error}"[:300]
            document["timed"].append(timed)
        save()


if __name__ == "__main__":
    if sys.argv[1:] == ["--self-test"]:
        self_test()
    elif len(sys.argv) == 4:
        main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
    else:
        sys.exit(__doc__)
