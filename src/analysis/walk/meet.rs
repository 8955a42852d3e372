//! Whether two accesses of different threads touch the same byte.

use crate::analysis::access::Shape;
use crate::analysis::alike::{Alike, joins};
use crate::analysis::value::{Bits, Value};

/// One side: address and guard of every thread, and the bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Side<'a> {
    pub(super) address: &'a Value,
    pub(super) guard: &'a Value,
    pub(super) shape: Shape,
}

/// Two threads and a byte that both touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::analysis) struct Pair {
    /// Thread of the earlier access.
    pub(in crate::analysis) first: usize,
    /// Thread of the later one.
    pub(in crate::analysis) second: usize,
    /// The byte, as an offset from the unknown that both addresses share, if they share one.
    pub(in crate::analysis) byte: u64,
}

/// How two accesses meet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Meeting {
    /// Two different threads meet, both guards known to hold.
    pub(super) threads: Option<Pair>,
    /// Threads of different warps do.
    pub(super) warps: Option<Pair>,
    /// It could not be excluded that different threads meet.
    pub(super) threads_open: bool,
    /// It could not be excluded that different warps meet.
    pub(super) warps_open: bool,
}

struct Segment {
    start: Bits,
    giver: usize,
    certain: bool,
}

fn segments(threads: usize, side: &Side<'_>, offsets: bool) -> Vec<Segment> {
    (0..threads)
        .filter(|thread| side.shape.gives_address(*thread) && side.guard.number(*thread) != Some(0))
        .map(|thread| Segment {
            start: if offsets {
                side.address.lane(thread)
            } else {
                side.address.bits(thread)
            },
            giver: thread,
            certain: side.guard.number(thread).is_some(),
        })
        .collect()
}

/// Compares every pair of threads.
pub(super) fn meet(threads: usize, first: &Side<'_>, second: &Side<'_>) -> Meeting {
    meet_unless_alike(threads, first, second, 0)
}

/// Compares every pair of threads, but for those that write the same value (alike in these bits) to the same address.
pub(super) fn meet_unless_alike(
    threads: usize,
    first: &Side<'_>,
    second: &Side<'_>,
    alike: Alike,
) -> Meeting {
    let mut found = Meeting::default();
    // Offsets from one unknown that is the same in all threads compare as numbers do.
    let offsets = first.address.symbol.is_some()
        && first.address.symbol == second.address.symbol
        && !(first.address.varying || second.address.varying);
    let (ours, theirs) = (
        segments(threads, first, offsets),
        segments(threads, second, offsets),
    );
    let (first_bytes, second_bytes) = (first.shape.bytes(), second.shape.bytes());
    let granule = first_bytes.max(second_bytes).next_power_of_two();
    let mut known: Vec<(u64, &Segment)> = Vec::new();
    let mut unknown: Vec<&Segment> = Vec::new();
    for segment in &ours {
        match segment.start.value() {
            Some(start) => known.push((start, segment)),
            None => unknown.push(segment),
        }
    }
    known.sort_unstable_by_key(|(start, segment)| (*start, segment.giver));
    let open = |found: &mut Meeting, a: &Segment, b: &Segment, two_owners: bool| {
        if a.giver != b.giver || two_owners {
            found.threads_open = true;
        }
        if a.giver / 32 != b.giver / 32 {
            found.warps_open = true;
        }
    };
    let rows =
        matches!(first.shape, Shape::Rows { .. }) || matches!(second.shape, Shape::Rows { .. });
    let apart = |a: Bits, b: Bits| a.known & b.known & !(granule - 1) & (a.ones ^ b.ones) != 0;
    for theirs in &theirs {
        if found.warps.is_some() && found.threads.is_some() {
            break;
        }
        let Some(start) = theirs.start.value() else {
            for ours in &ours {
                if !apart(ours.start, theirs.start) {
                    open(&mut found, ours, theirs, rows);
                }
            }
            continue;
        };
        for ours in &unknown {
            if !apart(ours.start, theirs.start) {
                open(&mut found, ours, theirs, rows);
            }
        }
        let from =
            known.partition_point(|(address, _)| address.saturating_add(first_bytes) <= start);
        let end = start.saturating_add(second_bytes);
        for (address, ours) in known[from..]
            .iter()
            .take_while(|(address, _)| *address < end)
        {
            if alike != 0 && *address == start && joins(alike, ours.giver, theirs.giver) {
                continue;
            }
            for byte in start.max(*address)..end.min(address.saturating_add(first_bytes)) {
                let pair = Pair {
                    first: first.shape.owner(ours.giver, byte - address),
                    second: second.shape.owner(theirs.giver, byte - start),
                    byte,
                };
                let certain = ours.certain && theirs.certain;
                if pair.first != pair.second {
                    if certain {
                        found.threads.get_or_insert(pair);
                    } else {
                        found.threads_open = true;
                    }
                }
                if pair.first / 32 != pair.second / 32 {
                    if certain {
                        found.warps.get_or_insert(pair);
                    } else {
                        found.warps_open = true;
                    }
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side<'a>(address: &'a Value, guard: &'a Value) -> Side<'a> {
        Side {
            address,
            guard,
            shape: Shape::Own(4),
        }
    }

    #[test]
    fn neighbours_meet_and_owners_do_not() {
        let all = Value::exact(1);
        let own = Value::each((0..64).map(|thread| thread * 4));
        let next = Value::each((0..64).map(|thread| thread * 4 + 4));
        assert_eq!(
            meet(64, &side(&own, &all), &side(&own, &all)),
            Meeting::default()
        );
        let found = meet(64, &side(&own, &all), &side(&next, &all));
        let pair = |first, second, byte| {
            Some(Pair {
                first,
                second,
                byte,
            })
        };
        assert_eq!(
            (found.threads, found.warps),
            (pair(1, 0, 4), pair(32, 31, 128))
        );
        let nobody = Value::exact(0);
        assert_eq!(
            meet(64, &side(&own, &nobody), &side(&next, &all)),
            Meeting::default()
        );
        let maybe = Value::unknown(true);
        let found = meet(64, &side(&own, &maybe), &side(&next, &all));
        assert!(found.threads.is_none() && found.threads_open && found.warps_open);
    }

    #[test]
    fn one_unknown_in_both_addresses_does_not_matter() {
        let all = Value::exact(1);
        let mask = u64::MAX;
        let base = Value::result_of(9, false);
        let own = base
            .linear(&Value::each((0..64).map(|thread| thread * 4)), false, mask)
            .unwrap();
        assert_eq!(
            meet(64, &side(&own, &all), &side(&own, &all)),
            Meeting::default()
        );
        let other = Value::result_of(13, false);
        assert!(meet(64, &side(&own, &all), &side(&other, &all)).threads_open);
    }
}
