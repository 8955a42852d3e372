//! One walk over all paths of a function, from which several passes read their answers.
//!
//! # Method
//!
//! As [`super::copy_wait`]: one CTA of the declared size; values of the registers on which addresses, guards and branches
//! depend, a number for each thread where it is known. In addition the state holds the accesses to shared memory since
//! the last barrier (an *interval*), which every new access is compared with, thread by thread; and the bytes of shared
//! memory that have been written for certain. Loops are walked until a state repeats, so an interval that begins in one
//! iteration and ends in the next is an interval like any other. Branches whose condition is unknown but the same in all
//! threads are followed both ways, taken as independent of each other unless they compare the same numbers; what a taken branch says of
//! the predicates it is made from is kept. States at a loop head that differ only in what branches ask for are taken
//! together (`gather`), so that flags and counters which depend on data do not multiply. Where threads part, each way is followed with the
//! threads that take it up to where the ways meet; an access on one way meets those on the others.
//!
//! Threads that part by a known condition for tasks of their own (`role`) are walked task by task; what their accesses meet in other
//! tasks is asked at the end, and what they do to barriers in memory is kept for `mbarrier`.
//!
//! Sharma, Bauer, Aiken, "Verification of Producer-Consumer Synchronization in GPU Programs" (PLDI 2015), with intervals
//! instead of named barriers, which are followed where they are of all threads of a task and no others.

mod barrier;
mod compare;
mod decide;
mod event;
mod execute;
mod explore;
mod gather;
mod global;
mod interval;
mod meet;
mod part;
mod role;
mod state;

pub(super) use event::{CopyBytes, Event, What};
pub(super) use explore::Plan;
pub(super) use global::global_access;
pub(super) use meet::Pair;

use super::access::{Kind, shared_access};
use super::control_flow::BlockIndex;
use super::evaluate::Context;
use super::uniformity::Uniformity;
use super::value::{Value, ValueId, Values};
use crate::ptx::{Address, AddressBase, ArriveKind, Op, Operand, RegisterId, Sm90, WgmmaA};
use std::collections::{BTreeMap, BTreeSet};

/// Two accesses that nothing orders.
#[derive(Clone, Debug)]
pub(super) struct Race {
    pub(super) first: usize,
    pub(super) second: usize,
    pub(super) kinds: (Kind, Kind),
    pub(super) pair: Pair,
    /// Blocks from the entry to the second access.
    pub(super) path: Vec<BlockIndex>,
}

/// An instruction that all threads of a CTA or of a warp must execute together, and may not.
#[derive(Clone, Debug)]
pub(super) struct Divergence {
    /// The instruction.
    pub(super) at: usize,
    /// The branch where threads parted; the instruction's own guard where `None`.
    pub(super) branch: Option<usize>,
    /// A thread that executes it and one that does not; `None` where that is not known.
    pub(super) threads: Option<(usize, usize)>,
}

/// A read of shared bytes that nobody has written for certain.
#[derive(Clone, Debug)]
pub(super) struct Unwritten {
    pub(super) at: usize,
    pub(super) thread: usize,
    pub(super) byte: u64,
    /// True where it is certain: every write before it is known.
    pub(super) certain: bool,
    pub(super) path: Vec<BlockIndex>,
}

/// A use of a barrier of a part of the CTA.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NamedBarrier {
    pub(super) at: usize,
    /// Threads that it waits for.
    pub(super) asked: u64,
    pub(super) role: usize,
    /// Threads that come here.
    pub(super) members: Vec<usize>,
    /// True where it was taken for a barrier of the role's own.
    pub(super) own: bool,
}

/// A state that was met: the start of a block with what is known there.
#[derive(Clone, Debug, Default)]
pub(super) struct Step {
    pub(super) role: usize,
    /// What happens from there to the next states.
    pub(super) events: Vec<Event>,
    pub(super) next: Vec<usize>,
}

/// Address and guard of a copy, and its bytes.
pub(super) type Copied = (ValueId, ValueId, CopyBytes);

/// What a walk has met.
#[derive(Debug, Default)]
pub(super) struct Walk {
    pub(super) races: Vec<Race>,
    /// Pairs of accesses that may meet, by the later one.
    pub(super) open_races: BTreeSet<(usize, usize)>,
    pub(super) divergences: Vec<Divergence>,
    pub(super) unwritten: Vec<Unwritten>,
    /// Address and guard of every access of shared memory, as met; of global memory in a walk over one CTA of a launch.
    pub(super) visits: BTreeMap<usize, BTreeSet<(ValueId, ValueId)>>,
    /// The same of barriers in memory, which are eight bytes.
    pub(super) barriers: BTreeMap<usize, BTreeSet<(ValueId, ValueId)>>,
    /// The same of the bytes that copies from tensors and bulk copies write.
    pub(super) copies: BTreeMap<usize, BTreeSet<Copied>>,
    /// Accesses of two roles that may meet.
    pub(super) between_roles: BTreeSet<(usize, usize)>,
    /// Named barriers, by number.
    pub(super) named: BTreeMap<u64, BTreeSet<NamedBarrier>>,
    /// Threads of each role.
    pub(super) roles: Vec<Vec<usize>>,
    /// Every state, with what happens there.
    pub(super) steps: Vec<Step>,
    /// Why the walk does not cover every path: by instruction.
    pub(super) gaps: BTreeSet<(usize, &'static str)>,
    /// How alike threads decide at each branch and exit with a guard.
    pub(super) branches: BTreeMap<usize, Uniformity>,
    pub(super) values: Values,
    pub(super) states: usize,
    /// Lines of the first instruction of each block, for paths.
    pub(super) block_starts: Vec<usize>,
}

impl Walk {
    /// A value met on the way.
    pub(super) fn value(&self, id: ValueId) -> &Value {
        self.values.get(id)
    }
}

/// Registers that an instruction's part in the walk needs.
fn asked(op: &Op) -> Option<Vec<RegisterId>> {
    if let Some(access) = shared_access(op) {
        return Some(access.register().into_iter().collect());
    }
    if is_barrier(op) {
        return Some(op.reads());
    }
    if let Op::Sm90(op) = op {
        return asked_sm90(op);
    }
    match aligned(op) {
        Some(Aligned::Members(Operand::Register(mask))) => return Some(vec![mask]),
        Some(_) => return Some(Vec::new()),
        None => {}
    }
    matches!(
        op,
        Op::CpAsyncCommit | Op::CpAsyncWait { .. } | Op::CpAsyncWaitAll
    )
    .then(Vec::new)
}

/// Registers on which barriers in memory, copies to shared memory and operands of products depend.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the others have no part in the walk"
)]
fn asked_sm90(op: &Sm90) -> Option<Vec<RegisterId>> {
    let mut registers = Vec::new();
    let mut operand = |operand: &Operand| {
        if let Operand::Register(register) = operand {
            registers.push(*register);
        }
    };
    let register = |address: &Address| match address.base {
        AddressBase::Register(register) => Operand::Register(register),
        AddressBase::Symbol(_) | AddressBase::Absolute => Operand::Immediate(0),
    };
    match op {
        Sm90::MbarrierInit { address, count } => {
            operand(&register(address));
            operand(count);
        }
        Sm90::MbarrierArrive(arrive) => {
            operand(&register(&arrive.address));
            match &arrive.kind {
                ArriveKind::Count(None) => {}
                ArriveKind::Count(Some(count))
                | ArriveKind::ExpectTx(count)
                | ArriveKind::NoComplete(count) => operand(count),
            }
        }
        Sm90::MbarrierWait(wait) => {
            operand(&register(&wait.address));
            operand(&wait.phase);
        }
        Sm90::BulkLoad {
            d, bytes, mbarrier, ..
        } => {
            operand(&register(d));
            operand(bytes);
            operand(&register(mbarrier));
        }
        Sm90::TensorLoad {
            d, place, mbarrier, ..
        } => {
            operand(&register(d));
            operand(&register(&place.map));
            operand(&register(mbarrier));
        }
        Sm90::Wgmma(product) => {
            if let WgmmaA::Shared(a) = &product.a {
                operand(a);
            }
            operand(&product.b);
        }
        Sm90::WgmmaFence
        | Sm90::WgmmaCommit
        | Sm90::WgmmaWait { .. }
        | Sm90::SetMaxRegisters { .. }
        | Sm90::MbarrierTx { .. }
        | Sm90::MbarrierInvalidate { .. }
        | Sm90::CpAsyncArrive { .. } => {}
        _ => return None,
    }
    Some(registers)
}

/// Whether an instruction is a barrier of the CTA.
fn is_barrier(op: &Op) -> bool {
    matches!(
        op,
        Op::BarrierSync { .. } | Op::BarrierArrive { .. } | Op::BarrierRed { .. }
    )
}

/// Whether lanes of a warp must execute an instruction together: all of them, or those of a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aligned {
    /// `.aligned`.
    Warp,
    /// The lanes of a member mask.
    Members(Operand),
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "every other instruction may be executed by any lanes"
)]
fn aligned(op: &Op) -> Option<Aligned> {
    match op {
        Op::LdMatrix { .. } | Op::StMatrix { .. } | Op::MovMatrix { .. } | Op::Mma(_) => {
            Some(Aligned::Warp)
        }
        Op::Shfl { mask, .. }
        | Op::Vote { mask, .. }
        | Op::Redux { mask, .. }
        | Op::Match { mask, .. }
        | Op::WarpSync { mask } => Some(Aligned::Members(*mask)),
        Op::Sm90(op) => matches!(
            **op,
            Sm90::Wgmma(_)
                | Sm90::WgmmaFence
                | Sm90::WgmmaCommit
                | Sm90::WgmmaWait { .. }
                | Sm90::SetMaxRegisters { .. }
        )
        .then_some(Aligned::Warp),
        _ => None,
    }
}

/// Walks a function; of one CTA of a launch, for what it does to global memory.
pub(super) fn walk(context: &Context<'_>, plan: &Plan) -> Walk {
    explore::Explorer::new(context, plan).run()
}
