//! What the pass asks of an instruction. `analysis::slice` matches on every one, so that a new instruction is looked at.

use super::overlap::Shape;
use crate::ptx::{Address, AddressBase, Op, RegisterId, Space};

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

/// Registers that an instruction needs for what the pass asks: its shared address, its barrier. `None` where the pass
/// asks nothing of it.
pub(super) fn asked(op: &Op) -> Option<Vec<RegisterId>> {
    let address = if let Op::CpAsync { d, .. } = op {
        Some(*d)
    } else {
        shared_read(op).map(|(address, _)| address)
    };
    match address.map(|address| address.base) {
        Some(AddressBase::Register(register)) => Some(vec![register]),
        Some(AddressBase::Symbol(_) | AddressBase::Absolute) => Some(Vec::new()),
        None if is_order(op) || matches!(op, Op::WarpSync { .. }) => Some(op.reads()),
        None => None,
    }
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
