//! Work of a launch: tiles of each CTA, how evenly the card's multiprocessors share them, and a roofline of the whole.
//!
//! One CTA computes one tile of queries of one head against every tile of keys in which a pair is visible, as the shipped
//! kernels do. The card runs one CTA a multiprocessor at a time and gives the next CTA, in launch order, to the first
//! that is free: list scheduling, in units of one tile.

use super::Card;
use crate::convert::usize_to_f64;
use flashproof_reference::Layout;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// How a layout is launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Query heads, over all batch entries.
    pub num_q_heads: usize,
    /// Key heads, over all batch entries.
    pub num_kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Bytes of an element of q, k, v and o.
    pub element_bytes: usize,
    /// Queries of a tile.
    pub tile_q: usize,
    /// Keys of a tile.
    pub tile_kv: usize,
}

/// Tiles of every CTA and how they are shared.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// Tiles of keys of each CTA of each pattern: (patterns, tiles of queries).
    pub tiles: Vec<Vec<usize>>,
    /// CTAs of the launch.
    pub ctas: usize,
    /// Tiles of the launch.
    pub total_tiles: usize,
    /// Most tiles of one CTA.
    pub tiles_max: usize,
    /// CTAs over multiprocessors, rounded up.
    pub waves: usize,
    /// Tiles that the busiest multiprocessor computes.
    pub makespan_tiles: usize,
    /// `total_tiles / (multiprocessors * makespan_tiles)`: 1 where all are busy to the end.
    pub balance: f64,
}

/// Operations, bytes and times of a launch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// `4 * head_dim` for each visible pair: what must be computed.
    pub flops: f64,
    /// `4 * head_dim` for each pair of each tile visited: what is computed.
    pub computed_flops: f64,
    /// q, k, v and o once each.
    pub bytes: f64,
    /// q and o once, k and v once for each tile visited: what leaves the L2 cache.
    pub tile_bytes: f64,
    /// Largest of the time of the busiest multiprocessor's tiles and that of the bytes.
    pub seconds: f64,
    /// The same of the dense layout.
    pub dense_seconds: f64,
    /// `dense_seconds / seconds`.
    pub speedup: f64,
    /// Pairs over visible pairs: the most that skipping can give.
    pub speedup_limit: f64,
}

/// Keys tiles visited by each tile of queries of a head.
fn tiles_of(layout: &Layout, head: usize, launch: &Launch) -> Vec<usize> {
    let q_tiles = layout.seqlen_q().div_ceil(launch.tile_q);
    let kv_tiles = layout.seqlen_kv().div_ceil(launch.tile_kv);
    (0..q_tiles)
        .map(|tile| {
            let mut visited = vec![false; kv_tiles];
            let end = ((tile + 1) * launch.tile_q).min(layout.seqlen_q());
            for q in tile * launch.tile_q..end {
                for keys in layout.visible_keys(head, q) {
                    let last = keys.end.saturating_sub(1) / launch.tile_kv;
                    visited[keys.start / launch.tile_kv..=last].fill(true);
                }
            }
            visited.iter().filter(|visited| **visited).count()
        })
        .collect()
}

/// Tiles of the multiprocessor that is done last.
fn makespan(work: impl Iterator<Item = usize>, sms: usize) -> usize {
    let mut free: BinaryHeap<Reverse<usize>> = (0..sms.max(1)).map(|_| Reverse(0)).collect();
    let mut last = 0;
    for tiles in work {
        let Reverse(start) = free.pop().expect("as many as before");
        last = last.max(start + tiles);
        free.push(Reverse(start + tiles));
    }
    last
}

/// How the work of a launch is shared by a number of multiprocessors.
pub fn load(layout: &Layout, launch: &Launch, sms: usize) -> Load {
    let patterns = layout.pattern_count().max(1);
    let tiles: Vec<Vec<usize>> = (0..patterns)
        .map(|head| tiles_of(layout, head, launch))
        .collect();
    let heads = (0..launch.num_q_heads).map(|head| &tiles[head % patterns]);
    let work: Vec<usize> = heads.flatten().copied().collect();
    let total_tiles = work.iter().sum();
    let makespan_tiles = makespan(work.iter().copied(), sms);
    Load {
        ctas: work.len(),
        total_tiles,
        tiles_max: work.iter().copied().max().unwrap_or(0),
        waves: work.len().div_ceil(sms.max(1)),
        makespan_tiles,
        balance: usize_to_f64(total_tiles) / usize_to_f64(sms * makespan_tiles).max(1.0),
        tiles,
    }
}

/// What a launch costs on a card.
pub fn cost(layout: &Layout, launch: &Launch, card: &Card) -> Cost {
    let shared = load(layout, launch, card.sms);
    let patterns = layout.pattern_count().max(1);
    let visible: Vec<usize> = (0..patterns)
        .map(|head| layout.visible_pairs(head))
        .collect();
    let visible: usize = (0..launch.num_q_heads)
        .map(|head| visible[head % patterns])
        .sum();
    let number = usize_to_f64;
    let head_dim = number(launch.head_dim);
    let tile_flops = 4.0 * head_dim * number(launch.tile_q) * number(launch.tile_kv);
    let row_bytes = head_dim * number(launch.element_bytes);
    let q_rows = number(launch.num_q_heads) * number(layout.seqlen_q());
    let kv_rows = number(launch.num_kv_heads) * number(layout.seqlen_kv());
    let bytes = row_bytes * (2.0 * q_rows + 2.0 * kv_rows);
    let rate = card.tflops * 1e12 / number(card.sms);
    let seconds = |makespan: usize| {
        let products = number(makespan) * tile_flops / rate;
        products.max(bytes / (card.gbytes_per_second * 1e9))
    };
    let dense = load(
        &Layout::dense(layout.seqlen_q(), layout.seqlen_kv()),
        launch,
        card.sms,
    );
    let (time, dense_seconds) = (
        seconds(shared.makespan_tiles),
        seconds(dense.makespan_tiles),
    );
    let pairs = q_rows * number(layout.seqlen_kv());
    Cost {
        flops: 4.0 * head_dim * number(visible),
        computed_flops: tile_flops * number(shared.total_tiles),
        bytes,
        tile_bytes: row_bytes
            * (2.0 * q_rows + 2.0 * number(launch.tile_kv) * number(shared.total_tiles)),
        seconds: time,
        dense_seconds,
        speedup: dense_seconds / time.max(f64::MIN_POSITIVE),
        speedup_limit: pairs / number(visible).max(1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flashproof_reference::Window;

    const LAUNCH: Launch = Launch {
        num_q_heads: 2,
        num_kv_heads: 1,
        head_dim: 64,
        element_bytes: 2,
        tile_q: 64,
        tile_kv: 64,
    };

    #[test]
    fn causal_work_is_a_staircase() {
        let layout = Layout::dense_causal(256, 256);
        let shared = load(&layout, &LAUNCH, 3);
        assert_eq!(shared.tiles, [[1, 2, 3, 4]]);
        assert_eq!(
            (shared.ctas, shared.total_tiles, shared.tiles_max),
            (8, 20, 4)
        );
        // Three at a time, in order 1 2 3 4 | 1 2 3 4: ends 1 2 3 | 5 (on 0) | 3 (on 1) | 5 (on 2) | 6 (on 1) | 9.
        assert_eq!((shared.waves, shared.makespan_tiles), (3, 9));
    }

    #[test]
    fn a_window_is_bounded_by_its_density() {
        let window = Window {
            left: Some(127),
            right: Some(0),
        };
        let layout = Layout::sliding_window(8192, 8192, window);
        let card = Card::by_name("H100-SXM").unwrap();
        let cost = cost(&layout, &LAUNCH, card);
        assert!(
            cost.speedup > 10.0 && cost.speedup <= cost.speedup_limit,
            "{cost:?}"
        );
        assert!(cost.computed_flops > cost.flops);
        let dense = super::cost(&Layout::dense(8192, 8192), &LAUNCH, card);
        assert!((dense.speedup - 1.0).abs() < 1e-12 && (dense.speedup_limit - 1.0).abs() < 1e-12);
    }
}
