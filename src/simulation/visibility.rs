//! Which pairs a simulated kernel takes for visible: the layout's rule, term by term, with room for its faults.

use super::fault::Fault;
use flashproof_reference::{Layout, Shape, Window};

/// What a tile of keys is to a tile of queries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tile {
    /// No pair is visible.
    Empty,
    /// Every pair within the lengths is.
    Full,
    /// Some are: (queries, keys), keys of a whole tile.
    Partial(Vec<bool>),
}

/// The rule of one head.
pub(super) struct Rule<'a> {
    layout: &'a Layout,
    fault: Fault,
    q_head: usize,
    group: usize,
    /// Key of query 0's diagonal.
    offset: i64,
    left: Option<i64>,
    right: Option<i64>,
}

impl<'a> Rule<'a> {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "faults of other steps change nothing here"
    )]
    pub(super) fn new(layout: &'a Layout, shape: &Shape, q_head: usize, fault: Fault) -> Self {
        let Window { left, right } = layout.window();
        let (mut left, mut right) = (left.map(signed), right.map(signed));
        match fault {
            Fault::WindowLeftWide => left = left.map(|left| left + 1),
            Fault::WindowLeftNarrow => left = left.map(|left| left - 1),
            Fault::WindowRightWide => right = right.map(|right| right + 1),
            Fault::WindowRightClamped if left.is_some() && right.is_none() => {
                right = Some(signed(shape.seqlen_kv));
            }
            Fault::WindowIgnored => (left, right) = (None, None),
            _ => {} // no other fault is one of the window
        }
        let offset = if fault == Fault::DiagonalTopLeft {
            0
        } else {
            signed(shape.seqlen_kv) - signed(shape.seqlen_q)
        };
        Self {
            layout,
            fault,
            q_head: if fault == Fault::FirstHeadPattern {
                0
            } else {
                q_head
            },
            group: shape.num_q_heads / shape.num_kv_heads.max(1),
            offset,
            left,
            right,
        }
    }

    fn sees(&self, q: usize, k: usize) -> bool {
        let layout = self.layout;
        let position = if self.fault == Fault::PackedPosition {
            (q * self.group).min(layout.seqlen_q() - 1)
        } else {
            q
        };
        let (diagonal, key) = (signed(position) + self.offset, signed(k));
        let next = i64::from(self.fault == Fault::CausalSeesNext);
        if layout.causal() && key > diagonal + next {
            return false;
        }
        if self.fault == Fault::LastKeyHidden && k + 1 == layout.seqlen_kv() {
            return false;
        }
        let in_window = self.left.is_none_or(|left| key >= diagonal - left)
            && self.right.is_none_or(|right| key <= diagonal + right);
        (in_window && self.in_block(q, k))
            || (k < layout.sinks() && self.fault != Fault::SinksIgnored)
            || layout.global().binary_search(&q).is_ok()
            || layout.global().binary_search(&k).is_ok()
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "faults of other steps change nothing here"
    )]
    fn in_block(&self, q: usize, k: usize) -> bool {
        let Some(pattern) = self.layout.pattern(self.q_head) else {
            return true;
        };
        let (block_q, block_kv) = (self.layout.block_q(), self.layout.block_kv());
        let (row, column) = match self.fault {
            Fault::BlocksIgnored => return true,
            Fault::BlockSizesSwapped => (q / block_kv, k / block_q),
            _ => (q / block_q, k / block_kv), // every other fault finds the block where it is
        };
        row < pattern.block_rows() && pattern.contains(row, column)
    }

    /// One tile: queries `rows` and `tile_kv` keys from `first`.
    pub(super) fn tile(&self, rows: std::ops::Range<usize>, first: usize, tile_kv: usize) -> Tile {
        let keys = first..(first + tile_kv).min(self.layout.seqlen_kv());
        let mut seen = vec![false; rows.len() * tile_kv];
        let mut count = 0;
        for (q, seen) in rows.clone().zip(seen.chunks_mut(tile_kv)) {
            for (k, seen) in keys.clone().zip(seen) {
                *seen = self.sees(q, k);
                count += usize::from(*seen);
            }
        }
        if count == 0 {
            Tile::Empty
        } else if count == rows.len() * keys.len() {
            Tile::Full
        } else {
            Tile::Partial(seen)
        }
    }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).expect("a length of a tensor in memory")
}

/// One entry of the list of tiles that a CTA visits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Which tile of keys.
    pub(super) tile: usize,
    /// Whether pairs are looked up, or all taken for visible.
    pub(super) masked: bool,
}

/// The tiles that a row of tiles visits, in order, given what they are.
pub(super) fn entries(tiles: &[Tile]) -> Vec<Entry> {
    tiles
        .iter()
        .enumerate()
        .filter(|(_, kind)| **kind != Tile::Empty)
        .map(|(tile, kind)| Entry {
            tile,
            masked: *kind != Tile::Full,
        })
        .collect()
}

/// The same as a kernel with a fault has it. `rows` are all rows of tiles of the head, `row` this one.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "faults of other steps change nothing here"
)]
pub(super) fn faulty_entries(
    fault: Fault,
    rows: &[Vec<Tile>],
    row: usize,
    (seqlen_kv, tile_kv): (usize, usize),
    has_window: bool,
) -> Vec<Entry> {
    let mut list = entries(&rows[row]);
    match fault {
        Fault::ListStaleEntry => {
            let stale =
                (0..rows[row].len()).find(|tile| list.iter().all(|entry| entry.tile != *tile));
            list.extend(stale.map(|tile| Entry {
                tile,
                masked: false,
            }));
        }
        Fault::ListDuplicateEntry => list.extend(list.last().copied()),
        Fault::ListLastDropped => {
            list.pop();
        }
        Fault::ListOfNextRow => {
            if let Some(next) = rows.get(row + 1) {
                list = entries(next);
            }
        }
        Fault::PartialAsFull => list.iter_mut().for_each(|entry| entry.masked = false),
        Fault::TilesFloor => list.retain(|entry| entry.tile < seqlen_kv / tile_kv),
        Fault::StartTileLate if has_window && list.first().is_some_and(|entry| entry.tile > 0) => {
            list.remove(0);
        }
        Fault::ExtraTiles => {
            list = (0..rows[row].len())
                .map(|tile| Entry { tile, masked: true })
                .collect();
        }
        _ => {} // no other fault is one of the list
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Case;
    use flashproof_reference::random;

    #[test]
    fn without_a_fault_the_rule_is_the_layouts() {
        for seed in 0..40 {
            let bytes: Vec<u8> = (0..4)
                .flat_map(|word| random::bits(seed, word).to_le_bytes())
                .collect();
            let case = Case::from_bytes("k", &bytes);
            let layout = case.problem().unwrap().layout;
            let head = case.shape.num_q_heads - 1;
            let rule = Rule::new(&layout, &case.shape, head, Fault::None);
            for q in 0..case.shape.seqlen_q.min(90) {
                for k in 0..case.shape.seqlen_kv {
                    assert_eq!(
                        rule.sees(q, k),
                        layout.is_visible(head, q, k),
                        "{case} {q} {k}"
                    );
                }
            }
        }
    }

    #[test]
    fn tiles_are_empty_partial_or_full_and_ragged_ones_can_be_full() {
        let case: Case = "kernel=k seqlen_q=40 seqlen_kv=40 layout=causal"
            .parse()
            .unwrap();
        let layout = case.problem().unwrap().layout;
        let rule = Rule::new(&layout, &case.shape, 0, Fault::None);
        assert_eq!(rule.tile(0..16, 16, 16), Tile::Empty);
        assert_eq!(rule.tile(16..32, 0, 16), Tile::Full);
        assert!(matches!(rule.tile(16..32, 16, 16), Tile::Partial(_)));
        let dense: Case = "kernel=k seqlen_q=40 seqlen_kv=40".parse().unwrap();
        let layout = dense.problem().unwrap().layout;
        let rule = Rule::new(&layout, &dense.shape, 0, Fault::None);
        assert_eq!(rule.tile(32..40, 32, 16), Tile::Full);
    }
}
