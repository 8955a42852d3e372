//! What an instruction does to memory.

use crate::ptx::{Address, AddressBase, Op, RegisterId, Space};

/// What happens to the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    /// They are read.
    Read,
    /// They are written.
    Write,
    /// They are read and written, unordered with no other atomic.
    Atomic,
    /// They are written some time after the instruction, until its thread has waited.
    Copy,
}

impl Kind {
    /// Whether bytes change.
    pub(super) fn writes(self) -> bool {
        self != Self::Read
    }

    /// As a verb of a thread.
    pub(super) fn verb(self) -> &'static str {
        match self {
            Self::Read => "reads",
            Self::Write => "writes",
            Self::Atomic => "changes",
            Self::Copy => "starts a copy that writes",
        }
    }
}

/// Which lanes touch which bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Shape {
    /// Each thread so many bytes at its address.
    Own(u64),
    /// The first lanes of each warp give addresses of 16-byte rows, spread over the warp.
    Rows {
        /// Lanes that give an address.
        rows: usize,
        /// Whether columns rather than rows go to neighbouring lanes.
        transposed: bool,
    },
}

impl Shape {
    /// Bytes at one address.
    pub(super) fn bytes(self) -> u64 {
        match self {
            Self::Own(bytes) => bytes,
            Self::Rows { .. } => 16,
        }
    }

    /// Whether a thread's address counts.
    pub(super) fn gives_address(self, thread: usize) -> bool {
        match self {
            Self::Own(_) => true,
            Self::Rows { rows, .. } => thread % 32 < rows,
        }
    }

    /// The thread whose registers byte `offset` behind `thread`'s address goes to or comes from (PTX ISA, `ldmatrix`).
    pub(super) fn owner(self, thread: usize, offset: u64) -> usize {
        let (row, offset) = (thread % 8, usize::try_from(offset).expect("at most 16"));
        match self {
            Self::Own(_) => thread,
            Self::Rows {
                transposed: false, ..
            } => thread / 32 * 32 + row * 4 + offset / 4,
            Self::Rows {
                transposed: true, ..
            } => thread / 32 * 32 + offset / 2 * 4 + row / 2,
        }
    }
}

/// An access to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Access {
    /// Where.
    pub(super) address: Address,
    /// Which memory.
    pub(super) space: Space,
    /// What.
    pub(super) kind: Kind,
    /// By whom.
    pub(super) shape: Shape,
}

impl Access {
    /// The register that the address needs.
    pub(super) fn register(&self) -> Option<RegisterId> {
        match self.address.base {
            AddressBase::Register(register) => Some(register),
            AddressBase::Symbol(_) | AddressBase::Absolute => None,
        }
    }
}

/// The access that an instruction makes to the memory it names first: of a copy from global to shared memory, the write.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "no other instruction that is read touches shared or global memory"
)]
pub(super) fn access(op: &Op) -> Option<Access> {
    let count = |elements: usize| u64::try_from(elements).expect("a few elements");
    match op {
        Op::Ld {
            space,
            d,
            ty,
            address,
            ..
        } => Some(Access {
            address: *address,
            space: *space,
            kind: Kind::Read,
            shape: Shape::Own(count(d.len()) * u64::from(ty.bytes())),
        }),
        Op::St {
            space,
            a,
            ty,
            address,
            ..
        } => Some(Access {
            address: *address,
            space: *space,
            kind: Kind::Write,
            shape: Shape::Own(count(a.len()) * u64::from(ty.bytes())),
        }),
        Op::Atomic {
            space, ty, address, ..
        } => Some(Access {
            address: *address,
            space: *space,
            kind: Kind::Atomic,
            shape: Shape::Own(u64::from(ty.bytes())),
        }),
        Op::CpAsync { d, bytes, .. } => Some(Access {
            address: *d,
            space: Space::Shared,
            kind: Kind::Copy,
            shape: Shape::Own(u64::from(*bytes)),
        }),
        Op::LdMatrix {
            transposed,
            space,
            d,
            address,
        } => Some(Access {
            address: *address,
            space: *space,
            kind: Kind::Read,
            shape: Shape::Rows {
                rows: 8 * d.len(),
                transposed: *transposed,
            },
        }),
        Op::StMatrix {
            transposed,
            space,
            address,
            a,
        } => Some(Access {
            address: *address,
            space: *space,
            kind: Kind::Write,
            shape: Shape::Rows {
                rows: 8 * a.len(),
                transposed: *transposed,
            },
        }),
        _ => None,
    }
}

/// The access to shared memory that an instruction makes, if any.
pub(super) fn shared_access(op: &Op) -> Option<Access> {
    access(op).filter(|access| access.space == Space::Shared)
}
