//! Launches as large as a manifest allows, of which nothing is allocated: what a static pass asks how far numbers reach.

use super::bind::assemble;
use super::binding::Content;
use super::extents::Extents;
use super::manifest::{BufferName, Manifest, MaskRule};
use super::request::without_values;
use super::{Request, selection};
use crate::contract::{Contract, Entries, PromisedValue};
use flashproof_reference::{DType, Layout, Shape};

/// Bytes that all buffers of a launch have together at most: 2^40, more than any card holds.
const BYTES_MAX: usize = 1 << 40;

/// Heads and sequences of a launch at most: axes y and z of a grid.
const HEADS_MAX: usize = 65_535;

/// How the tokens of the longest sequences are shared between queries and keys, in sixteenths of the sum.
const SHARES: [usize; 3] = [0, 8, 16];

/// The largest launches for a format and a number of channels: one head, as many heads, and as many sequences as a grid has;
/// most tokens queries, half, and most keys. Tokens are halved until the manifest gives a launch and its buffers fit a card.
pub(super) fn largest(manifest: &Manifest, dtype: DType, head_dim: usize) -> Vec<Contract> {
    let requires = &manifest.requires;
    let sum = usize::try_from(requires.seqlen_sum_max).unwrap_or(usize::MAX);
    let multiple = |x: usize, of: u32| {
        let of = usize::try_from(of).expect("32 bits fit");
        (x / of * of).max(of)
    };
    let mut contracts: Vec<Contract> = Vec::new();
    for (batch, heads) in [(1, 1), (1, HEADS_MAX), (HEADS_MAX, 1)] {
        for share in SHARES {
            let mut sum = sum;
            while sum >= 2 {
                let queries = if requires.seqlen_equal { 8 } else { share };
                let seqlen_q = (sum / 16 * queries + sum % 16).clamp(1, sum - 1);
                let shape = Shape {
                    batch,
                    num_q_heads: heads,
                    num_kv_heads: heads,
                    seqlen_q: multiple(seqlen_q, requires.seqlen_q_multiple),
                    seqlen_kv: multiple(
                        if requires.seqlen_equal {
                            seqlen_q
                        } else {
                            sum - seqlen_q
                        },
                        requires.seqlen_kv_multiple,
                    ),
                    head_dim,
                };
                if let Some(contract) = contract(manifest, dtype, shape) {
                    if !contracts.contains(&contract) {
                        contracts.push(contract);
                    }
                    break;
                }
                sum /= 2;
            }
        }
    }
    contracts
}

/// The launch of a shape, everything visible; `None` where the manifest gives none or its buffers fit no card.
fn contract(manifest: &Manifest, dtype: DType, shape: Shape) -> Option<Contract> {
    let layout = Layout::dense(shape.seqlen_q, shape.seqlen_kv);
    let problem = without_values(&Request {
        shape,
        dtype,
        layout: &layout,
        scale: 1.0,
        thresholds: None,
    });
    let tile = manifest.tile_shape();
    let q_tiles = shape.seqlen_q.div_ceil(tile.tile_q);
    let kv_tiles = shape.seqlen_kv.div_ceil(tile.tile_kv);
    let heads = shape.batch.checked_mul(shape.num_q_heads)?;
    let rows = heads.checked_mul(shape.seqlen_q)?;
    let limit = usize::try_from(i32::MAX).expect("31 bits fit");
    let lists = shape.num_q_heads;
    let tile_count = q_tiles
        .checked_mul(kv_tiles)?
        .saturating_mul(lists)
        .min(limit);
    let int = |x: usize| i64::try_from(x).ok();
    let causal = manifest.supports(MaskRule::Causal);
    let side = int(shape.seqlen_q + shape.seqlen_kv)?;
    let extents = Extents {
        batch: int(shape.batch)?,
        num_q_heads: int(shape.num_q_heads)?,
        num_kv_heads: int(shape.num_kv_heads)?,
        seqlen_q: int(shape.seqlen_q)?,
        seqlen_kv: int(shape.seqlen_kv)?,
        head_dim: int(shape.head_dim)?,
        block_q: int(tile.tile_q)?,
        block_kv: int(tile.tile_kv)?,
        tile_q: int(tile.tile_q)?,
        tile_kv: int(tile.tile_kv)?,
        q_tiles: int(q_tiles)?,
        kv_tiles: int(kv_tiles)?,
        tile_count: int(tile_count)?,
        row_ptr_stride: int(q_tiles + 1)?,
        causal: i64::from(causal),
        window_left: side,
        window_right: side,
        sinks: if manifest.supports(MaskRule::Sinks) {
            int(shape.seqlen_kv)?
        } else {
            0
        },
    };
    let of_rows = |rows: usize| {
        rows.checked_mul(shape.head_dim)?
            .checked_mul(dtype.size_bytes())
    };
    let keys = shape
        .batch
        .checked_mul(shape.num_kv_heads)?
        .checked_mul(shape.seqlen_kv)?;
    let cached = if causal {
        shape.seqlen_kv.saturating_sub(shape.seqlen_q) / tile.tile_q
    } else {
        0
    };
    let bytes = |name: BufferName| match name {
        BufferName::Q | BufferName::O => of_rows(rows),
        BufferName::K | BufferName::V => of_rows(keys),
        BufferName::Lse => rows.checked_mul(4),
        BufferName::RowPtr => lists.checked_mul(q_tiles + 1)?.checked_mul(4),
        BufferName::ColIdx => tile_count.checked_mul(4),
        BufferName::TileMask => tile_count.checked_mul(4 * tile.tile_q.div_ceil(64)),
        BufferName::Order => heads.checked_mul(q_tiles)?.checked_mul(4),
        BufferName::Thresholds => lists.checked_mul(q_tiles + cached)?.checked_mul(4),
        BufferName::Kept => {
            let words = selection::kept_words(&shape, tile);
            heads
                .checked_mul(q_tiles)?
                .checked_mul(words)?
                .checked_mul(4)
        }
        BufferName::CuSeqlensQ | BufferName::CuSeqlensKv => (shape.batch + 1).checked_mul(4),
    };
    let fits = BufferName::ALL
        .into_iter()
        .all(|name| bytes(name).is_some_and(|bytes| bytes <= BYTES_MAX));
    if !fits {
        return None;
    }
    let binding = assemble(manifest, &problem, &extents, |name| {
        Ok(Content::Uninitialised(bytes(name).unwrap_or(usize::MAX)))
    })
    .ok()?;
    let total = binding.buffers.iter().map(|buffer| match &buffer.content {
        Content::Uninitialised(bytes) => *bytes,
        Content::Bytes(bytes) => bytes.len(),
    });
    if total.sum::<usize>() > BYTES_MAX {
        return None;
    }
    let mut contract = binding.contract();
    let greatest = |name: BufferName| match name {
        BufferName::RowPtr => Some(tile_count),
        BufferName::ColIdx => Some(kv_tiles - 1),
        BufferName::Order => Some(heads * q_tiles - 1),
        BufferName::TileMask => usize::try_from(u32::MAX).ok(),
        BufferName::CuSeqlensQ => Some(shape.batch * shape.seqlen_q),
        BufferName::CuSeqlensKv => Some(shape.batch * shape.seqlen_kv),
        BufferName::Q
        | BufferName::K
        | BufferName::V
        | BufferName::O
        | BufferName::Lse
        | BufferName::Thresholds
        | BufferName::Kept => None,
    };
    for promise in &mut contract.params {
        let PromisedValue::Buffer { name, entries, .. } = &mut promise.value else {
            continue;
        };
        let of = BufferName::ALL.into_iter().find(|of| of.text() == name);
        if let Some(greatest) = of.and_then(greatest) {
            *entries = Some(Entries {
                least: 0,
                greatest: u32::try_from(greatest).ok()?,
                ascending: false,
            });
        }
    }
    contract.sizes = Some(format!(
        "batch = {}, {} heads, seqlen_q = {}, seqlen_kv = {}, head_dim = {}",
        shape.batch, shape.num_q_heads, shape.seqlen_q, shape.seqlen_kv, shape.head_dim
    ));
    Some(contract)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel;

    #[test]
    fn launches_reach_what_the_manifest_allows_and_fit_a_card() {
        for kernel in kernel::all() {
            let requires = &kernel.manifest().requires;
            let contracts = kernel.largest(DType::F16, 64);
            assert!(contracts.len() >= 4, "{}", kernel.name());
            let numbers = contracts.iter().flat_map(|contract| &contract.params);
            let longest = numbers.filter_map(|promise| match promise.value {
                PromisedValue::Bits(bits) if promise.bytes == 4 => Some(bits),
                PromisedValue::Bits(_)
                | PromisedValue::Buffer { .. }
                | PromisedValue::Map { .. } => None,
            });
            // The longest sequence of one head, but for what lists and scratch of a card allow.
            assert!(
                longest.max().unwrap() >= requires.seqlen_sum_max / 64,
                "{}",
                kernel.name()
            );
        }
    }
}
