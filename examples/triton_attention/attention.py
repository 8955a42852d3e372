"""Fused causal attention, forward, one program per tile of queries and query head.

    o[i]   = sum over visible j of softmax(scale * q[i] . k[j])[j] * v[j]
    lse[i] = ln of the sum over visible j of exp(scale * q[i] . k[j])

Query i sees key j where j <= i + seqlen_kv - seqlen_q. A row that sees no key gets o = 0, lse = -inf. Query head h reads
key head h // (num_q_heads // num_kv_heads). q, k, v and o are (batch, seqlen, heads, head_dim), each with its strides in
elements; lse is (batch, num_q_heads, seqlen_q). scale_log2 is scale * log2(e).
"""

import triton
import triton.language as tl


@triton.jit
def attention(
    q, k, v, o, lse,
    q_batch_stride, q_row_stride, q_head_stride,
    kv_batch_stride, kv_row_stride, kv_head_stride,
    num_q_heads, num_kv_heads, seqlen_q, seqlen_kv,
    scale_log2,
    HEAD_DIM: tl.constexpr, TILE_Q: tl.constexpr, TILE_KV: tl.constexpr,
):
    q_tile = tl.program_id(0)
    head = tl.program_id(1)
    batch = tl.program_id(2)
    kv_head = head // (num_q_heads // num_kv_heads)

    row = q_tile * TILE_Q + tl.arange(0, TILE_Q)
    channel = tl.arange(0, HEAD_DIM)
    key = tl.arange(0, TILE_KV)
    q_start = q + batch.to(tl.int64) * q_batch_stride + head * q_head_stride
    k_start = k + batch.to(tl.int64) * kv_batch_stride + kv_head * kv_head_stride
    v_start = v + batch.to(tl.int64) * kv_batch_stride + kv_head * kv_head_stride

    q_tile_values = tl.load(
        q_start + row[:, None] * q_row_stride + channel[None, :], mask=row[:, None] < seqlen_q, other=0.0
    )
    row_max = tl.full([TILE_Q], float("-inf"), tl.float32)
    row_sum = tl.zeros([TILE_Q], tl.float32)
    acc = tl.zeros([TILE_Q, HEAD_DIM], tl.float32)

    # The last key that the last row of the tile sees, and one more.
    last = tl.minimum(seqlen_kv, (q_tile + 1) * TILE_Q + seqlen_kv - seqlen_q)
    for first in tl.range(0, last, TILE_KV):
        column = first + key
        k_tile = tl.load(
            k_start + column[None, :] * kv_row_stride + channel[:, None], mask=column[None, :] < seqlen_kv, other=0.0
        )
        score = tl.dot(q_tile_values, k_tile)
        visible = (column[None, :] <= row[:, None] + seqlen_kv - seqlen_q) & (column[None, :] < seqlen_kv)
        score = tl.where(visible, score, float("-inf"))
        tile_max = tl.maximum(row_max, tl.max(score, 1))
        # A row that has seen no key yet has no maximum: 0 keeps -inf - -inf away.
        finite_max = tl.where(tile_max == float("-inf"), 0.0, tile_max)
        weight = tl.math.exp2((score - finite_max[:, None]) * scale_log2)
        correction = tl.math.exp2((row_max - finite_max) * scale_log2)
        row_sum = row_sum * correction + tl.sum(weight, 1)
        acc = acc * correction[:, None]
        v_tile = tl.load(
            v_start + column[:, None] * kv_row_stride + channel[None, :], mask=column[:, None] < seqlen_kv, other=0.0
        )
        acc = tl.dot(weight.to(v_tile.dtype), v_tile, acc)
        row_max = tile_max

    sees = row_sum > 0.0
    # (row_max * scale_log2 + log2(row_sum)) * ln 2
    logarithm = (row_max * scale_log2 + tl.math.log2(row_sum)) * 0.6931471805599453
    acc = acc / tl.where(sees, row_sum, 1.0)[:, None]
    o_start = o + batch.to(tl.int64) * q_batch_stride + head * q_head_stride
    tl.store(
        o_start + row[:, None] * q_row_stride + channel[None, :], acc.to(o.dtype.element_ty), mask=row[:, None] < seqlen_q
    )
    lse_start = lse + (batch.to(tl.int64) * num_q_heads + head) * seqlen_q
    tl.store(lse_start + row, tl.where(sees, logarithm, float("-inf")), mask=row < seqlen_q)
