//! Laws of layouts: what holds for all of them, on random ones.

use flashproof_reference::random::Draws;
use flashproof_reference::{BlockKind, BlockPattern, Extents, Layout, Window};
use quickcheck::{Arbitrary, Gen, quickcheck};

/// Two layouts of the same lengths, with two heads to ask about.
#[derive(Clone, Debug)]
struct Pair(Layout, Layout);

#[derive(Clone, Debug)]
struct Any(Layout);

impl Arbitrary for Any {
    fn arbitrary(g: &mut Gen) -> Self {
        let mut draws = Draws::from_seed(u64::arbitrary(g));
        let extents = extents(&mut draws);
        Self(layout(&mut draws, extents))
    }
}

impl Arbitrary for Pair {
    fn arbitrary(g: &mut Gen) -> Self {
        let mut draws = Draws::from_seed(u64::arbitrary(g));
        let extents = extents(&mut draws);
        let left = layout(&mut draws, extents);
        let mut right = layout(&mut draws, extents);
        // Alike in one thing or another, or nearly no two would have a union or an intersection.
        if draws.below(4) > 0 {
            right = right.with_sinks(left.sinks());
            right = right
                .with_global(left.global().iter().copied())
                .expect("tokens of the same lengths");
        }
        if draws.below(4) > 0 {
            right = right.with_causal(left.causal());
        }
        if draws.below(2) > 0 {
            right = right.with_window(left.window());
        }
        Self(left, right)
    }
}

fn extents(draws: &mut Draws) -> Extents {
    let mut below = |limit| draws.below(limit);
    Extents {
        seqlen_q: below(14),
        seqlen_kv: below(14),
        block_q: 1 + below(5),
        block_kv: 1 + below(5),
    }
}

fn layout(draws: &mut Draws, extents: Extents) -> Layout {
    let mut layout = Layout::from_extents(extents).expect("lengths are small and blocks not empty");
    if draws.below(4) > 0 {
        let density = [0.0, 0.2, 0.5, 0.9, 1.0][draws.below(5)];
        let heads = (0..1 + draws.below(2))
            .map(|_| {
                let seed = draws.bits();
                BlockPattern::random(extents.block_rows(), extents.block_columns(), density, seed)
                    .expect("a density in 0..=1")
            })
            .collect();
        layout = layout.with_heads(heads).expect("patterns of this grid");
    }
    let mut bound = || (draws.below(2) > 0).then(|| draws.below(9));
    let window = Window {
        left: bound(),
        right: bound(),
    };
    layout = layout.with_window(window).with_causal(draws.below(2) > 0);
    if draws.below(2) > 0 {
        layout = layout.with_sinks(draws.below(4));
    }
    let tokens = extents.seqlen_q.max(extents.seqlen_kv);
    if draws.below(2) > 0 && tokens > 0 {
        let global: Vec<usize> = (0..draws.below(3)).map(|_| draws.below(tokens)).collect();
        layout = layout.with_global(global).expect("tokens of these lengths");
    }
    layout
}

/// Every pair of both heads.
fn pairs(layout: &Layout) -> impl Iterator<Item = (usize, usize, usize)> + use<> {
    let (seqlen_q, seqlen_kv) = (layout.seqlen_q(), layout.seqlen_kv());
    (0..2).flat_map(move |head| {
        (0..seqlen_q).flat_map(move |q| (0..seqlen_kv).map(move |k| (head, q, k)))
    })
}

fn same_pairs(left: &Layout, right: &Layout) -> bool {
    pairs(left).all(|(head, q, k)| left.is_visible(head, q, k) == right.is_visible(head, q, k))
}

quickcheck! {
    fn ranges_are_the_visible_keys(any: Any) -> bool {
        let layout = any.0;
        (0..3).all(|head| (0..layout.seqlen_q() + 1).all(|q| {
            let listed: Vec<usize> = layout.visible_keys(head, q).flatten().collect();
            let asked: Vec<usize> =
                (0..layout.seqlen_kv() + 1).filter(|&k| layout.is_visible(head, q, k)).collect();
            listed == asked
        }))
    }

    fn ranges_are_maximal_ascending_and_not_empty(any: Any) -> bool {
        let layout = any.0;
        (0..2).all(|head| (0..layout.seqlen_q()).all(|q| {
            let ranges: Vec<_> = layout.visible_keys(head, q).collect();
            ranges.iter().all(|range| range.start < range.end)
                && ranges.windows(2).all(|pair| pair[0].end < pair[1].start)
        }))
    }

    fn statistics_count_the_visible_pairs(any: Any) -> bool {
        let layout = any.0;
        let extents = layout.extents();
        (0..2).all(|head| {
            let count = pairs(&layout).filter(|&(h, q, k)| h == head && layout.is_visible(h, q, k)).count();
            let empty: Vec<usize> = (0..layout.seqlen_q())
                .filter(|&q| !(0..layout.seqlen_kv()).any(|k| layout.is_visible(head, q, k)))
                .collect();
            let kinds_hold = (0..extents.block_rows()).all(|row| {
                layout.block_kinds(head, row).iter().enumerate().all(|(column, &kind)| {
                    let mut states = (0..layout.seqlen_q())
                        .flat_map(|q| (0..layout.seqlen_kv()).map(move |k| (q, k)))
                        .filter(|&(q, k)| q / extents.block_q == row && k / extents.block_kv == column)
                        .map(|(q, k)| layout.is_visible(head, q, k));
                    let first = states.next();
                    let expected = match (first, states.all(|state| Some(state) == first)) {
                        (Some(true), true) => BlockKind::Full,
                        (Some(false), true) => BlockKind::Empty,
                        _ => BlockKind::Partial,
                    };
                    kind == expected
                })
            });
            let counts = layout.block_counts(head);
            layout.visible_pairs(head) == count
                && layout.empty_rows(head).collect::<Vec<_>>() == empty
                && kinds_hold
                && counts.empty + counts.partial + counts.full == extents.block_rows() * extents.block_columns()
        })
    }

    fn union_shows_what_either_shows(pair: Pair) -> bool {
        let Pair(a, b) = pair;
        a.union(&b).is_ok_and(|union| {
            pairs(&a).all(|(h, q, k)| union.is_visible(h, q, k) == (a.is_visible(h, q, k) || b.is_visible(h, q, k)))
        }) || a.union(&b).is_err()
    }

    fn intersection_shows_what_both_show(pair: Pair) -> bool {
        let Pair(a, b) = pair;
        a.intersection(&b).is_ok_and(|both| {
            pairs(&a).all(|(h, q, k)| both.is_visible(h, q, k) == (a.is_visible(h, q, k) && b.is_visible(h, q, k)))
        }) || a.intersection(&b).is_err()
    }

    fn algebra_is_idempotent(any: Any) -> bool {
        let a = any.0;
        a.union(&a).as_ref() == Ok(&a) && a.intersection(&a).as_ref() == Ok(&a)
    }

    fn algebra_is_commutative(pair: Pair) -> bool {
        let Pair(a, b) = pair;
        a.union(&b).ok() == b.union(&a).ok() && a.intersection(&b).ok() == b.intersection(&a).ok()
    }

    fn absorption(pair: Pair) -> bool {
        let Pair(a, b) = pair;
        let absorbed = |inner: Option<Layout>, outer: fn(&Layout, &Layout) -> Option<Layout>| {
            inner.and_then(|inner| outer(&a, &inner)).is_none_or(|absorbed| same_pairs(&absorbed, &a))
        };
        absorbed(a.intersection(&b).ok(), |a, inner| a.union(inner).ok())
            && absorbed(a.union(&b).ok(), |a, inner| a.intersection(inner).ok())
    }

    fn all_blocks_on_shows_what_dense_shows(any: Any) -> bool {
        let extents = any.0.extents();
        let full = BlockPattern::from_fn(extents.block_rows(), extents.block_columns(), |_, _| true);
        let dense = Layout::from_extents(extents).unwrap();
        same_pairs(&dense.clone().with_heads(vec![full]).unwrap(), &dense)
    }

    fn a_window_as_long_as_the_sequences_hides_nothing(any: Any) -> bool {
        let layout = any.0;
        let all = Some(layout.seqlen_q() + layout.seqlen_kv());
        let unbounded = layout.clone().with_window(Window::default());
        same_pairs(&layout.with_window(Window { left: all, right: all }), &unbounded)
    }

    fn causal_is_a_window_without_a_right_side(any: Any) -> bool {
        // Sinks and global tokens pass a window, not causal: without them the two are one.
        let plain = any.0.with_sinks(0).with_global([]).unwrap();
        let Window { left, .. } = plain.window();
        let windowed = plain.clone().with_causal(false).with_window(Window { left, right: Some(0) });
        same_pairs(&plain.with_causal(true).with_window(Window { left, right: None }), &windowed)
    }

    fn json_round_trips(any: Any) -> bool {
        Layout::from_json(&any.0.to_json()).as_ref() == Ok(&any.0)
    }

    fn damaged_json_is_an_error_and_never_a_panic(any: Any, at: usize, byte: u8) -> bool {
        let mut text = any.0.to_json().into_bytes();
        let at = at % text.len();
        text[at] = byte & 0x7f;
        let text = String::from_utf8(text).unwrap();
        // A digit for a digit may be another layout; it must then be one that can be written again.
        Layout::from_json(&text).is_err()
            || Layout::from_json(&text).is_ok_and(|layout| Layout::from_json(&layout.to_json()) == Ok(layout))
    }

    fn patterns_are_a_lattice(a: Any, b: Any) -> bool {
        let (Some(a), Some(b)) = (a.0.pattern(0), b.0.pattern(0)) else { return true };
        a.union(&a.intersection(b)) == a.union(&BlockPattern::from_fn(a.block_rows().max(b.block_rows()), 0, |_, _| false))
            && a.union(b) == b.union(a)
            && a.intersection(b) == b.intersection(a)
    }
}

/// The laws above are no laws if every pair is refused.
#[test]
fn most_pairs_have_a_union_and_an_intersection() {
    let mut g = Gen::new(100);
    let (mut unions, mut intersections) = (0, 0);
    for _ in 0..1000 {
        let Pair(a, b) = Pair::arbitrary(&mut g);
        unions += usize::from(a.union(&b).is_ok());
        intersections += usize::from(a.intersection(&b).is_ok());
    }
    assert!(
        unions > 300 && intersections > 500,
        "{unions} unions and {intersections} intersections of 1000"
    );
}
