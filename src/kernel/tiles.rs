//! The tile list: a layout as a tiled kernel reads it.
//!
//! Queries are cut into tiles of `tile_q`, keys into tiles of `tile_kv`. For every tile of queries the list has the
//! tiles of keys, ascending, in which at least one pair is visible, and only those; so a kernel that visits the list
//! sees every visible pair. Rules that sparsity blocks state are lowered to 16 x 16 *granules* (a bit each); rules that
//! tokens state (causal, window, sinks, the end of the keys) stay with the kernel, which needs them only where a tile is
//! not full.

use flashproof_reference::Layout;

/// Queries, and keys, on a side of a granule.
pub const GRANULE: usize = 16;

/// Bit of a tile mask: all `tile_kv` keys exist, and every existing query of the tile sees all of them.
pub const TILE_FULL: u32 = 1 << 16;

/// Queries and keys that a kernel computes at a time: multiples of [`GRANULE`] where sparsity blocks may be absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TileShape {
    /// Queries of a tile.
    pub tile_q: usize,
    /// Keys of a tile.
    pub tile_kv: usize,
}

/// Queries, and keys, on a side of what one word of a tile mask covers.
const MASK_SIDE: usize = 64;

impl TileShape {
    /// Whether its tiles have masks: multiples of 64 queries, 64 keys.
    pub fn has_mask(&self) -> bool {
        self.tile_q.is_multiple_of(MASK_SIDE) && self.tile_q > 0 && self.tile_kv == MASK_SIDE
    }
}

impl TileList {
    /// Whether every existing query of an entry's tile sees all its keys; `false` where tiles have no masks.
    pub fn is_full(&self, entry: usize, tile: TileShape) -> bool {
        let words = tile.tile_q / MASK_SIDE;
        let masks = self.tile_mask.get(entry * words..(entry + 1) * words);
        masks.is_some_and(|masks| masks.iter().all(|mask| mask & TILE_FULL != 0))
    }

    /// Every tile of queries of every head and sequence, `(batch * num_q_heads + q_head) * q_tiles + q_tile`, by the
    /// length of its list, the longest first; as many of one length as they are, in ascending order. A persistent
    /// kernel that takes them so ends with the short ones.
    pub fn longest_first(&self, batch: usize, num_q_heads: usize) -> Vec<usize> {
        let lists = if self.row_ptr_stride == 0 {
            1
        } else {
            num_q_heads
        };
        let q_tiles = (self.row_ptr.len() / lists.max(1)).saturating_sub(1);
        let mut order: Vec<usize> = (0..batch * num_q_heads * q_tiles).collect();
        let length = |index: &usize| {
            let q_head = index / q_tiles % num_q_heads;
            let row = q_head * self.row_ptr_stride + index % q_tiles;
            self.row_ptr[row + 1] - self.row_ptr[row]
        };
        order.sort_by_key(|index| std::cmp::Reverse(length(index)));
        order
    }
}

/// A layout lowered for a kernel. Compressed rows, as [`flashproof_reference::BlockPattern`] has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TileList {
    /// Start of the entries of each tile of queries (lists, `q_tiles` + 1). One list where the heads share a layout.
    pub row_ptr: Vec<usize>,
    /// Index of the tile of keys (entries).
    pub col_idx: Vec<usize>,
    /// One word for each 64 queries of a tile (entries, `tile_q` / 64). Bit `4 * (q / 16) + k / 16`, for q counted in
    /// these 64 and k in the tile: the sparsity block over this granule is present (a granule past the last query or key
    /// is not). Bit 16: [`TILE_FULL`], of these 64. Empty for other shapes than (multiples of 64) x 64.
    pub tile_mask: Vec<u32>,
    /// Entries of `row_ptr` from one query head to the next; 0 where one list serves all.
    pub row_ptr_stride: usize,
}

/// Why a layout cannot be lowered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TileError {
    /// Blocks that granules cannot follow.
    #[error("{name} = {value} is not a multiple of {GRANULE}, the granule of a tile mask")]
    Block {
        /// `block_q` or `block_kv`.
        name: &'static str,
        /// Its value.
        value: usize,
    },
    /// Global tokens: a tile list has no word for them.
    #[error("the layout has {count} global tokens, which a tile list cannot say")]
    Global {
        /// How many.
        count: usize,
    },
}

/// Which keys one query sees: those of `window` in blocks that are present, and those below `sink_end`.
#[derive(Clone, Copy, Debug)]
struct KeyRange {
    window_begin: usize,
    window_end: usize,
    sink_end: usize,
}

/// Lowers `layout` for tiles of `shape`.
pub fn lower(layout: &Layout, shape: TileShape) -> Result<TileList, TileError> {
    if layout.pattern_count() > 0 {
        let blocks = [
            ("block_q", layout.block_q()),
            ("block_kv", layout.block_kv()),
        ];
        for (name, value) in blocks {
            if !value.is_multiple_of(GRANULE) {
                return Err(TileError::Block { name, value });
            }
        }
    }
    if !layout.global().is_empty() {
        return Err(TileError::Global {
            count: layout.global().len(),
        });
    }
    let q_tiles = layout.seqlen_q().div_ceil(shape.tile_q);
    let kv_tiles = layout.seqlen_kv().div_ceil(shape.tile_kv);
    let lists = layout.pattern_count().max(1);
    let mut list = TileList {
        row_ptr: Vec::with_capacity(lists * (q_tiles + 1)),
        col_idx: Vec::new(),
        tile_mask: Vec::new(),
        row_ptr_stride: if lists > 1 { q_tiles + 1 } else { 0 },
    };
    for head in 0..lists {
        for q_tile in 0..q_tiles {
            list.row_ptr.push(list.col_idx.len());
            let part = if shape.has_mask() {
                MASK_SIDE
            } else {
                shape.tile_q
            };
            let parts: Vec<Rows<'_>> = (0..shape.tile_q / part)
                .map(|i| Rows::of(layout, head, q_tile * shape.tile_q + i * part, part))
                .collect();
            for kv_tile in 0..kv_tiles {
                let masks: Vec<Option<u32>> = parts
                    .iter()
                    .map(|rows| rows.tile(kv_tile * shape.tile_kv, shape.tile_kv))
                    .collect();
                if masks.iter().any(Option::is_some) {
                    list.col_idx.push(kv_tile);
                    if shape.has_mask() {
                        list.tile_mask
                            .extend(masks.iter().map(|mask| mask.unwrap_or(0)));
                    }
                }
            }
        }
        list.row_ptr.push(list.col_idx.len());
    }
    Ok(list)
}

/// The existing queries of one tile.
struct Rows<'a> {
    layout: &'a Layout,
    head: usize,
    q_first: usize,
    /// One per query.
    ranges: Vec<KeyRange>,
}

impl<'a> Rows<'a> {
    fn of(layout: &'a Layout, head: usize, q_first: usize, tile_q: usize) -> Self {
        let q_end = (q_first + tile_q).min(layout.seqlen_q());
        Self {
            layout,
            head,
            q_first,
            ranges: (q_first..q_end).map(|q| key_range(layout, q)).collect(),
        }
    }

    /// Mask of the tile of keys from `k_first`, or `None` where no pair is visible.
    fn tile(&self, k_first: usize, tile_kv: usize) -> Option<u32> {
        let seqlen_kv = self.layout.seqlen_kv();
        let tile_end = (k_first + tile_kv).min(seqlen_kv);
        let mut mask = 0;
        let mut visible = false;
        let mut full = k_first + tile_kv <= seqlen_kv;
        let mut bit = 1_u32;
        for (i, rows) in self.ranges.chunks(GRANULE).enumerate() {
            let q = self.q_first + i * GRANULE;
            for k in (k_first..k_first + tile_kv).step_by(GRANULE) {
                let present = k < seqlen_kv && self.block_is_present(q, k);
                if present {
                    mask |= bit;
                }
                bit = bit.wrapping_shl(1);
                let k_end = (k + GRANULE).min(tile_end);
                for row in rows {
                    // Keys of this granule that the sinks leave to block and window.
                    let rest = k.max(row.sink_end);
                    let window = present && row.window_begin < k_end && row.window_end > rest;
                    visible |= k < row.sink_end || (window && rest < k_end);
                    full &= rest >= k_end
                        || (present && row.window_begin <= rest && row.window_end >= k_end);
                }
            }
        }
        visible.then_some(mask | if full { TILE_FULL } else { 0 })
    }

    fn block_is_present(&self, q: usize, k: usize) -> bool {
        self.layout.pattern(self.head).is_none_or(|pattern| {
            pattern.contains(q / self.layout.block_q(), k / self.layout.block_kv())
        })
    }
}

/// Which keys query `q` sees as far as tokens decide; every end is at most `seqlen_kv`.
fn key_range(layout: &Layout, q: usize) -> KeyRange {
    let (seqlen_q, seqlen_kv) = (layout.seqlen_q(), layout.seqlen_kv());
    // The diagonal is q + seqlen_kv - seqlen_q, which may be negative: every sum below carries + seqlen_q first.
    let diagonal = q + seqlen_kv;
    let up_to = |offset: usize| {
        (diagonal.saturating_add(offset).saturating_add(1))
            .saturating_sub(seqlen_q)
            .min(seqlen_kv)
    };
    let causal_end = if layout.causal() { up_to(0) } else { seqlen_kv };
    let window = layout.window();
    KeyRange {
        window_begin: window.left.map_or(0, |left| {
            diagonal.saturating_sub(left).saturating_sub(seqlen_q)
        }),
        window_end: window
            .right
            .map_or(causal_end, |right| up_to(right).min(causal_end)),
        sink_end: layout.sinks().min(causal_end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flashproof_reference::{BlockPattern, Window};
    use proptest::prelude::*;

    const SHAPE: TileShape = TileShape {
        tile_q: 64,
        tile_kv: 64,
    };

    /// What the kernel does with a list: pairs it lets through, from mask and token rules, by the letter.
    fn kernel_sees(layout: &Layout, list: &TileList, head: usize, q: usize, k: usize) -> bool {
        let first = head * list.row_ptr_stride + q / 64;
        let entries = list.row_ptr[first]..list.row_ptr[first + 1];
        let Some(entry) = entries.clone().find(|&e| list.col_idx[e] == k / 64) else {
            return false;
        };
        if list.tile_mask[entry] & TILE_FULL != 0 {
            return true;
        }
        let present = list.tile_mask[entry] >> (4 * (q % 64 / 16) + k % 64 / 16) & 1 != 0;
        let signed = |x: usize| i64::try_from(x).unwrap();
        let distance =
            signed(k) - (signed(q) + signed(layout.seqlen_kv()) - signed(layout.seqlen_q()));
        let unbounded = signed(layout.seqlen_q() + layout.seqlen_kv());
        let side = |side: Option<usize>| side.map_or(unbounded, |side| signed(side).min(unbounded));
        let window =
            -side(layout.window().left) <= distance && distance <= side(layout.window().right);
        (!layout.causal() || distance <= 0) && ((present && window) || k < layout.sinks())
    }

    /// Compares list and layout on every pair, and the list with its own definition.
    fn check(layout: &Layout) -> Result<(), TestCaseError> {
        let list = lower(layout, SHAPE).unwrap();
        let heads = layout.pattern_count().max(1);
        let (q_tiles, kv_tiles) = (
            layout.seqlen_q().div_ceil(64),
            layout.seqlen_kv().div_ceil(64),
        );
        prop_assert_eq!(list.row_ptr.len(), heads * (q_tiles + 1));
        for head in 0..heads {
            for q in 0..layout.seqlen_q() {
                for k in 0..layout.seqlen_kv() {
                    prop_assert_eq!(
                        kernel_sees(layout, &list, head, q, k),
                        layout.is_visible(head, q, k),
                        "head {} q {} k {}",
                        head,
                        q,
                        k
                    );
                }
            }
            for q_tile in 0..q_tiles {
                let first = head * list.row_ptr_stride + q_tile;
                let entries = list.row_ptr[first]..list.row_ptr[first + 1];
                let columns = &list.col_idx[entries.clone()];
                prop_assert!(columns.is_sorted_by(|a, b| a < b));
                let qs = q_tile * 64..(q_tile * 64 + 64).min(layout.seqlen_q());
                for kv_tile in 0..kv_tiles {
                    let pairs = || {
                        qs.clone()
                            .flat_map(|q| (kv_tile * 64..kv_tile * 64 + 64).map(move |k| (q, k)))
                    };
                    let sees = |(q, k): (usize, usize)| {
                        k < layout.seqlen_kv() && layout.is_visible(head, q, k)
                    };
                    let listed = columns.binary_search(&kv_tile).ok();
                    prop_assert_eq!(
                        listed.is_some(),
                        pairs().any(sees),
                        "q_tile {} kv_tile {}",
                        q_tile,
                        kv_tile
                    );
                    if let Some(i) = listed {
                        let full = list.tile_mask[entries.start + i] & TILE_FULL != 0;
                        prop_assert_eq!(
                            full,
                            pairs().all(sees),
                            "q_tile {} kv_tile {}",
                            q_tile,
                            kv_tile
                        );
                    }
                }
            }
        }
        Ok(())
    }

    fn layouts() -> impl Strategy<Value = Layout> {
        let side = || proptest::option::of(prop_oneof![0..8_usize, 0..200_usize]);
        let block = || {
            prop_oneof![
                Just(16_usize),
                Just(32),
                Just(48),
                Just(64),
                Just(80),
                Just(128)
            ]
        };
        let tokens = (
            any::<bool>(),
            side(),
            side(),
            prop_oneof![2 => Just(0_usize), 1 => 0..150_usize],
        );
        (
            1..200_usize,
            0..200_usize,
            block(),
            block(),
            0..3_usize,
            tokens,
            any::<u64>(),
        )
            .prop_map(
                |(
                    seqlen_q,
                    seqlen_kv,
                    block_q,
                    block_kv,
                    heads,
                    (causal, left, right, sinks),
                    seed,
                )| {
                    let layout = Layout::dense(seqlen_q, seqlen_kv)
                        .with_blocks(block_q, block_kv)
                        .unwrap()
                        .with_causal(causal)
                        .with_window(Window { left, right })
                        .with_sinks(sinks);
                    if heads == 0 {
                        return layout;
                    }
                    let patterns = (0..heads).map(|head| {
                        BlockPattern::from_fn(
                            seqlen_q.div_ceil(block_q),
                            seqlen_kv.div_ceil(block_kv),
                            |row, column| seed >> ((row * 7 + column * 3 + head * 5) % 64) & 1 != 0,
                        )
                    });
                    layout.with_heads(patterns.collect()).unwrap()
                },
            )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_list_sees_exactly_the_visible_pairs(layout in layouts()) {
            check(&layout)?;
        }
    }

    #[test]
    fn a_dense_layout_is_full_except_for_the_tail() {
        let list = lower(&Layout::dense(65, 130), SHAPE).unwrap();
        assert_eq!(list.row_ptr, [0, 3, 6]);
        assert_eq!(list.col_idx, [0, 1, 2, 0, 1, 2]);
        // Two keys are left for the third tile, one query for the second.
        assert_eq!(
            list.tile_mask,
            [0x1ffff, 0x1ffff, 0x1111, 0x1000f, 0x1000f, 0x1]
        );
        assert_eq!(list.row_ptr_stride, 0);
    }

    #[test]
    fn tiles_of_any_size_follow_what_tokens_say() {
        let layout = Layout::dense(10, 10).with_causal(true).with_sinks(2);
        for (tile_q, tile_kv) in [(4, 1), (1, 3), (3, 20), (7, 5)] {
            let list = lower(&layout, TileShape { tile_q, tile_kv }).unwrap();
            for (q_tile, ends) in list.row_ptr.windows(2).enumerate() {
                let queries = q_tile * tile_q..((q_tile + 1) * tile_q).min(10);
                let seen = (0..10_usize.div_ceil(tile_kv)).filter(|tile| {
                    queries.clone().any(|q| {
                        let keys = tile * tile_kv..((tile + 1) * tile_kv).min(10);
                        keys.into_iter().any(|k| layout.is_visible(0, q, k))
                    })
                });
                let expected: Vec<usize> = seen.collect();
                assert_eq!(
                    list.col_idx[ends[0]..ends[1]],
                    expected,
                    "{tile_q} x {tile_kv}"
                );
            }
        }
    }

    #[test]
    fn no_keys_give_no_tiles() {
        let list = lower(&Layout::dense(70, 0), SHAPE).unwrap();
        assert_eq!(list.row_ptr, [0, 0, 0]);
        assert!(list.col_idx.is_empty() && list.tile_mask.is_empty());
    }

    #[test]
    fn what_a_list_cannot_say_is_refused_with_its_value() {
        let blocks = Layout::dense(40, 40).with_blocks(16, 20).unwrap();
        assert!(
            lower(&blocks, SHAPE).is_ok(),
            "no pattern, so the size does not matter"
        );
        let sparse = blocks
            .with_heads(vec![BlockPattern::from_fn(3, 2, |_, _| true)])
            .unwrap();
        assert_eq!(
            lower(&sparse, SHAPE).unwrap_err().to_string(),
            "block_kv = 20 is not a multiple of 16, the granule of a tile mask"
        );
        let global = Layout::dense(4, 4).with_global([1, 2]).unwrap();
        assert_eq!(
            lower(&global, SHAPE).unwrap_err().to_string(),
            "the layout has 2 global tokens, which a tile list cannot say"
        );
    }
}
