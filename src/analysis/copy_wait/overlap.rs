//! Which thread reads which byte that which thread copies.

use crate::analysis::value::Value;

/// Bytes that one access reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Shape {
    /// Each thread reads this many bytes at its address.
    Own {
        /// Bytes.
        bytes: u64,
    },
    /// The first `rows` lanes of each warp give addresses of 16-byte rows, spread over the warp.
    Matrix {
        /// Lanes that give an address.
        rows: usize,
        /// Whether columns rather than rows go to neighbouring lanes.
        transposed: bool,
    },
}

/// A reader and a copier of the same byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    /// Thread that gets the byte.
    pub(super) reader: usize,
    /// Thread whose copy writes it.
    pub(super) copier: usize,
    /// Shared address.
    pub(super) byte: u64,
}

/// How the bytes of a read and a copy overlap; the first pair of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Overlap {
    /// Any two threads, perhaps the same.
    pub(super) any: Option<Pair>,
    /// Two different threads.
    pub(super) threads: Option<Pair>,
    /// Threads of different warps.
    pub(super) warps: Option<Pair>,
    /// True where an address is not known, so that there may be more.
    pub(super) undecided: bool,
}

/// Overlap of a read with copies of `copy_bytes` each.
pub(super) fn overlap(
    threads: usize,
    (read, read_guard, shape): (&Value, &Value, Shape),
    (copy, copy_guard, copy_bytes): (&Value, &Value, u64),
) -> Overlap {
    let mut found = Overlap::default();
    let mut copies: Vec<(u64, usize)> = Vec::new();
    for thread in (0..threads).filter(|thread| copy_guard.number(*thread) != Some(0)) {
        match copy.number(thread) {
            Some(address) => copies.push((address, thread)),
            None => found.undecided = true,
        }
    }
    copies.sort_unstable();
    let gives_address = |thread: usize| match shape {
        Shape::Own { .. } => true,
        Shape::Matrix { rows, .. } => thread % 32 < rows,
    };
    let bytes = match shape {
        Shape::Own { bytes } => bytes,
        Shape::Matrix { .. } => 16,
    };
    for thread in (0..threads)
        .filter(|thread| gives_address(*thread) && read_guard.number(*thread) != Some(0))
    {
        let Some(start) = read.number(thread) else {
            found.undecided = true;
            continue;
        };
        let first =
            copies.partition_point(|(address, _)| address.saturating_add(copy_bytes) <= start);
        let end = start.saturating_add(bytes);
        for (address, copier) in copies[first..]
            .iter()
            .take_while(|(address, _)| *address < end)
        {
            for byte in start.max(*address)..end.min(address.saturating_add(copy_bytes)) {
                let reader = reader(shape, thread, byte - start);
                let pair = Pair {
                    reader,
                    copier: *copier,
                    byte,
                };
                found.any.get_or_insert(pair);
                if reader != *copier {
                    found.threads.get_or_insert(pair);
                }
                if reader / 32 != copier / 32 {
                    found.warps.get_or_insert(pair);
                }
            }
        }
        if found.warps.is_some() {
            break;
        }
    }
    found
}

/// The thread that gets byte `offset` of what `thread`'s address points to (PTX ISA 9.7.14.5.15).
fn reader(shape: Shape, thread: usize, offset: u64) -> usize {
    let (row, offset) = (thread % 8, usize::try_from(offset).expect("at most 16"));
    match shape {
        Shape::Own { .. } => thread,
        Shape::Matrix {
            transposed: false, ..
        } => thread / 32 * 32 + row * 4 + offset / 4,
        Shape::Matrix {
            transposed: true, ..
        } => thread / 32 * 32 + offset / 2 * 4 + row / 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(read: impl Iterator<Item = u64>, copy: impl Iterator<Item = u64>) -> Overlap {
        let all = Value::exact(1);
        overlap(
            64,
            (&Value::each(read), &all, Shape::Own { bytes: 4 }),
            (&Value::each(copy), &all, 4),
        )
    }

    #[test]
    fn own_bytes_of_a_thread_are_no_meeting_of_two() {
        let words = || (0..64).map(|thread| thread * 4);
        let found = own(words(), words());
        assert_eq!(
            (found.any.is_some(), found.threads, found.warps),
            (true, None, None)
        );
        let found = own(words(), (0..64).map(|thread| (thread ^ 1) * 4));
        assert_eq!(
            (found.threads, found.warps),
            (
                Some(Pair {
                    reader: 0,
                    copier: 1,
                    byte: 0
                }),
                None
            )
        );
        let found = own(words(), (0..64).map(|thread| (thread ^ 32) * 4));
        assert_eq!(
            found.warps,
            Some(Pair {
                reader: 0,
                copier: 32,
                byte: 0
            })
        );
        assert_eq!(
            own(words(), (0..64).map(|thread| 256 + thread * 4)),
            Overlap::default()
        );
    }

    #[test]
    fn rows_of_a_matrix_go_to_four_lanes_or_columns_to_eight() {
        let all = Value::exact(1);
        let rows = Value::each((0..32).map(|lane| lane * 16));
        let copy = Value::each((0..32).map(|lane| 16 + lane * 1000 + 8));
        let meet = |transposed| {
            overlap(
                32,
                (
                    &rows,
                    &all,
                    Shape::Matrix {
                        rows: 8,
                        transposed,
                    },
                ),
                (&copy, &all, 4),
            )
            .any
            .map(|pair| (pair.reader, pair.byte))
        };
        assert_eq!((meet(false), meet(true)), (Some((6, 24)), Some((16, 24))));
    }

    #[test]
    fn unknown_addresses_leave_it_open() {
        let all = Value::exact(1);
        let known = Value::exact(0);
        let found = overlap(
            32,
            (&Value::unknown(true), &all, Shape::Own { bytes: 4 }),
            (&known, &all, 4),
        );
        assert_eq!((found.any, found.undecided), (None, true));
    }
}
