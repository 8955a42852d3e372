//! Keys and values of a head in the order in which the loops read them.

use super::NativeInputs;
use crate::simd::{LANES, Lanes};
use flashproof_reference::Shape;
use rayon::prelude::*;

/// Keys and values of one head, in strips of [`LANES`] keys. The last strip is filled up with zeros, which no row sees.
#[derive(Debug)]
pub(super) struct PackedHead {
    /// Keys: (strips, `head_dim`) of one number for each key of the strip.
    pub(super) k: Vec<Lanes>,
    /// Values: (strips, keys, chunks) of [`LANES`] channels, zeros where the value is not finite.
    pub(super) v: Vec<Lanes>,
    /// Chunks of [`LANES`] channels, the last filled up with zeros.
    pub(super) chunks: usize,
    /// Values that are not finite: key, channel, value.
    pub(super) non_finite: Vec<(usize, usize, f32)>,
    pub(super) seqlen_kv: usize,
    pub(super) head_dim: usize,
}

/// Where the keys of query head number `index` (of all batch entries) are in [`PackedHead::all`].
pub(super) fn index_of(shape: &Shape, index: usize) -> usize {
    let (batch, q_head) = (index / shape.num_q_heads, index % shape.num_q_heads);
    batch * shape.num_kv_heads + shape.kv_head(q_head)
}

impl PackedHead {
    /// Every head of every batch entry.
    pub(super) fn all(inputs: &NativeInputs<'_>) -> Vec<Self> {
        let Shape {
            batch,
            num_kv_heads,
            seqlen_kv,
            head_dim,
            ..
        } = inputs.shape;
        let head_len = seqlen_kv * head_dim;
        (0..batch * num_kv_heads)
            .into_par_iter()
            .map(|head| {
                let range = head * head_len..(head + 1) * head_len;
                Self::pack(
                    &inputs.k[range.clone()],
                    &inputs.v[range],
                    seqlen_kv,
                    head_dim,
                )
            })
            .collect()
    }

    /// Number of strips.
    pub(super) fn strips(&self) -> usize {
        self.seqlen_kv.div_ceil(LANES)
    }

    fn pack(k: &[f32], v: &[f32], seqlen_kv: usize, head_dim: usize) -> Self {
        let strips = seqlen_kv.div_ceil(LANES);
        let chunks = head_dim.div_ceil(LANES);
        let mut packed = Self {
            k: vec![[0.0; LANES]; strips * head_dim],
            v: vec![[0.0; LANES]; strips * LANES * chunks],
            chunks,
            non_finite: Vec::new(),
            seqlen_kv,
            head_dim,
        };
        for (key, (k, v)) in k
            .chunks_exact(head_dim)
            .zip(v.chunks_exact(head_dim))
            .enumerate()
        {
            let strip = &mut packed.k[key / LANES * head_dim..][..head_dim];
            for (lanes, &k) in strip.iter_mut().zip(k) {
                lanes[key % LANES] = k;
            }
            let row = packed.v[key * chunks..][..chunks].as_flattened_mut();
            row[..head_dim].copy_from_slice(v);
            if v.iter().any(|value| !value.is_finite()) {
                for (channel, value) in row
                    .iter_mut()
                    .enumerate()
                    .filter(|(_, value)| !value.is_finite())
                {
                    packed
                        .non_finite
                        .push((key, channel, std::mem::take(value)));
                }
            }
        }
        packed
    }
}
