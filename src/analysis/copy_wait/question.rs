//! What the pass asks of an instruction. `Slice` matches on every one, so that a new instruction is looked at here.

use super::overlap::Shape;
use crate::ptx::{Address, Op, Space};

/// Whether an instruction orders copies and reads of threads.
pub(super) fn is_order(op: &Op) -> bool {
    matches!(
        op,
        Op::CpAsyncCommit
            | Op::CpAsyncWait { .. }
            | Op::CpAsyncWaitAll
            | Op::BarrierSync { .. }
            | Op::BarrierArrive { .. }
            | Op::BarrierRed { .. }
    )
}

/// Whether control leaves the block here.
pub(super) fn is_jump(op: &Op) -> bool {
    matches!(op, Op::Bra { .. } | Op::Ret | Op::Exit | Op::Trap)
}

/// Bytes that a `cp.async` writes.
pub(super) fn copied_bytes(op: &Op) -> u64 {
    if let Op::CpAsync { bytes, .. } = op {
        u64::from(*bytes)
    } else {
        0
    }
}

/// Groups that a `cp.async.wait_group` lets stay pending.
pub(super) fn waited_groups(op: &Op) -> Option<u32> {
    if let Op::CpAsyncWait { groups } = op {
        Some(*groups)
    } else {
        None
    }
}

/// The shared read that an instruction makes, if any. A generic address may be a shared one.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "no other instruction reads what copies write"
)]
pub(super) fn shared_read(op: &Op) -> Option<(Address, Shape)> {
    match op {
        Op::Ld {
            space: Space::Shared | Space::Generic,
            d,
            ty,
            address,
            ..
        } => {
            let count = u64::try_from(d.len()).expect("at most 4 elements");
            Some((
                *address,
                Shape::Own {
                    bytes: count * u64::from(ty.bytes()),
                },
            ))
        }
        Op::Atomic {
            space: Space::Shared | Space::Generic,
            ty,
            address,
            ..
        } => Some((
            *address,
            Shape::Own {
                bytes: u64::from(ty.bytes()),
            },
        )),
        Op::LdMatrix {
            transposed,
            d,
            address,
            ..
        } => Some((
            *address,
            Shape::Matrix {
                rows: 8 * d.len(),
                transposed: *transposed,
            },
        )),
        _ => None,
    }
}
