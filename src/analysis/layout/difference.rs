//! Where two layouts show different pairs.

use flashproof_reference::Layout;

/// A pair of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    /// Query head.
    pub head: usize,
    /// Query.
    pub q: usize,
    /// Key.
    pub k: usize,
}

/// Pairs that one of two layouts shows and the other does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Visible in the first only.
    pub only_first: usize,
    /// Visible in the second only.
    pub only_second: usize,
    /// Visible in both.
    pub both: usize,
    /// The first pairs that differ, by head, query, key; true where the first layout shows them.
    pub pairs: Vec<(Pair, bool)>,
}

impl Difference {
    /// Whether the two show the same.
    pub fn is_empty(&self) -> bool {
        self.only_first == 0 && self.only_second == 0
    }
}

/// Compares pair by pair, the first `limit` differing ones listed. `None` where the lengths differ, or the numbers of
/// heads do and neither is shared.
pub fn difference(first: &Layout, second: &Layout, limit: usize) -> Option<Difference> {
    let lengths = |layout: &Layout| (layout.seqlen_q(), layout.seqlen_kv());
    let heads = first.pattern_count().max(second.pattern_count()).max(1);
    if lengths(first) != lengths(second)
        || !first.has_head(heads - 1)
        || !second.has_head(heads - 1)
    {
        return None;
    }
    let mut found = Difference::default();
    let keys = first.seqlen_kv();
    let (mut left, mut right) = (vec![false; keys], vec![false; keys]);
    for head in 0..heads {
        for q in 0..first.seqlen_q() {
            for (row, layout) in [(&mut left, first), (&mut right, second)] {
                row.fill(false);
                for range in layout.visible_keys(head, q) {
                    row[range].fill(true);
                }
            }
            for (k, pair) in left.iter().zip(&right).enumerate() {
                match pair {
                    (true, true) => found.both += 1,
                    (false, false) => {}
                    (in_first, _) => {
                        *(if *in_first {
                            &mut found.only_first
                        } else {
                            &mut found.only_second
                        }) += 1;
                        if found.pairs.len() < limit {
                            found.pairs.push((Pair { head, q, k }, *in_first));
                        }
                    }
                }
            }
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flashproof_reference::Window;

    #[test]
    fn a_window_off_by_one() {
        let window = |left| Window {
            left: Some(left),
            right: Some(0),
        };
        let (a, b) = (
            Layout::sliding_window(8, 8, window(2)),
            Layout::sliding_window(8, 8, window(3)),
        );
        let found = difference(&a, &b, 2).unwrap();
        assert_eq!(
            (found.only_first, found.only_second, found.both),
            (0, 5, 21)
        );
        let pair = |q, k| Pair { head: 0, q, k };
        assert_eq!(found.pairs, [(pair(3, 0), false), (pair(4, 1), false)]);
        assert!(difference(&a, &a, 2).unwrap().is_empty());
        assert_eq!(difference(&a, &Layout::dense(8, 9), 2), None);
    }
}
