//! What the machine tells its observers while a CTA runs. The machine knows no detector: it knows this trait.

use super::detect::Finding;
use super::exec::{Lanes, Registers};
use super::memory::View;
use crate::ptx::{Instruction, Space};

/// One warp is about to execute one instruction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step<'a> {
    /// Index of the instruction.
    pub(crate) at: usize,
    pub(crate) instruction: &'a Instruction,
    pub(crate) warp: usize,
    /// Lanes that stand at the instruction.
    pub(crate) path: u32,
    /// Those of them whose guard holds.
    pub(crate) mask: u32,
    /// Registers before the instruction.
    pub(crate) registers: &'a Registers,
}

/// What an access does with memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccessKind {
    Read,
    Write,
    /// Reads and writes in one.
    Atomic,
}

/// A checked access of a warp: `bytes` contiguous bytes a lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access<'a> {
    /// Never generic: the space the address lies in.
    pub(crate) space: Space,
    pub(crate) kind: AccessKind,
    pub(crate) mask: u32,
    /// Address of global memory, or offset in the space.
    pub(crate) addresses: &'a Lanes<u64>,
    /// At most 16.
    pub(crate) bytes: u32,
    /// Of a write: lanes that store what is there already, or what an earlier lane of it stores there.
    pub(crate) unchanged: u32,
}

/// A `cp.async` at its issue: it reads global memory now and writes shared memory later.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AsyncCopy<'a> {
    pub(crate) mask: u32,
    pub(crate) source: &'a Lanes<u64>,
    /// Bytes read; the rest of `bytes` is filled with zeros.
    pub(crate) source_bytes: &'a Lanes<u32>,
    pub(crate) destination: &'a Lanes<u64>,
    pub(crate) bytes: u32,
}

/// Copies of an earlier `cp.async` become visible to the lanes that waited for them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Landing<'a> {
    pub(crate) warp: usize,
    /// The `cp.async`.
    pub(crate) issued_at: usize,
    pub(crate) mask: u32,
    pub(crate) destination: &'a Lanes<u64>,
    pub(crate) bytes: u32,
}

/// Lanes come to a barrier.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) barrier: usize,
    /// All threads of the warp are promised to execute it together.
    pub(crate) aligned: bool,
    /// Lanes of the warp that have not exited.
    pub(crate) live: u32,
    /// Threads of this generation of the barrier, this arrival included, and how many it needs.
    pub(crate) arrived: u32,
    pub(crate) expected: u32,
    /// Some lane had arrived already.
    pub(crate) again: bool,
}

/// One warp's share in a barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Participant {
    pub(crate) warp: usize,
    pub(crate) lanes: u32,
    /// Its instruction.
    pub(crate) at: usize,
    /// False for `bar.arrive`.
    pub(crate) waits: bool,
}

/// All threads of a barrier have come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Completion<'a> {
    pub(crate) participants: &'a [Participant],
    /// Threads of the CTA that had exited.
    pub(crate) exited: u32,
    /// The barrier was for the whole CTA.
    pub(crate) whole: bool,
}

/// A run of global bytes that a CTA touched at one instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Touch {
    pub(crate) address: u64,
    pub(crate) bytes: u64,
    pub(crate) write: bool,
    pub(crate) at: usize,
    /// First thread of the run.
    pub(crate) thread: u32,
    /// Operations of the CTA before it that may order it with other CTAs.
    pub(crate) syncs: usize,
}

/// A run of global bytes that a CTA read or wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Traffic {
    /// Written (or updated), not only read.
    pub write: bool,
    /// First byte.
    pub address: u64,
    /// How many.
    pub bytes: u64,
}

/// How often an instruction was worse than it could be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Executions by a warp.
    pub(crate) accesses: u64,
    /// Passes over shared memory, or sectors of global memory.
    pub(crate) took: u64,
    /// The least that these bytes can take.
    pub(crate) least: u64,
}

/// What an observer has to say when its CTA is done.
#[derive(Debug, Default)]
pub(crate) struct Harvest {
    pub(crate) findings: Vec<Finding>,
    /// Global bytes touched, for what only all CTAs together can show.
    pub(crate) touches: Vec<Touch>,
    /// Fences and strong operations, which may order CTAs.
    pub(crate) syncs: Vec<super::detect::Sync>,
    /// Global bytes that hold undefined bits.
    pub(crate) undefined: Vec<u64>,
    /// By kind of memory and instruction.
    pub(crate) notes: std::collections::BTreeMap<(Space, usize), Tally>,
    /// Global bytes read and written, ascending.
    pub(crate) traffic: Vec<Traffic>,
}

/// Watches one CTA.
pub(crate) trait Observer: Send {
    /// True if [`step`](Self::step) is wanted: it is called for every instruction.
    fn wants_steps(&self) -> bool {
        false
    }
    /// Before an instruction.
    fn step(&mut self, _step: &Step<'_>) {}
    /// A load, store, atomic or matrix access, before registers or memory change.
    fn access(&mut self, _step: &Step<'_>, _access: &Access<'_>, _memory: &View<'_>) {}
    /// A `cp.async`.
    fn issue(&mut self, _step: &Step<'_>, _copy: &AsyncCopy<'_>, _memory: &View<'_>) {}
    /// Its bytes arrive.
    fn land(&mut self, _landing: &Landing<'_>) {}
    /// Before lanes wait at a barrier or pass it by `bar.arrive`.
    fn arrive(&mut self, _step: &Step<'_>, _arrival: &Arrival) {}
    /// A barrier opens.
    fn complete(&mut self, _completion: &Completion<'_>) {}
    /// The asynchronous family of Hopper.
    fn asynchronous(&mut self, _event: &super::async_event::AsyncEvent<'_>, _memory: &View<'_>) {}
    /// Lanes at these instructions of a warp exchange values; [`step`](Self::step) for each of them follows.
    fn exchange(&mut self, _steps: &[Step<'_>]) {}
    /// `bar.warp.sync` of these lanes.
    fn warp_sync(&mut self, _step: &Step<'_>, _lanes: u32) {}
    /// The CTA is done, or was stopped.
    fn finish(&mut self, harvest: &mut Harvest);
}

/// The observers of a CTA.
pub(crate) struct Observers {
    all: Vec<Box<dyn Observer>>,
    wants_steps: bool,
}

impl std::fmt::Debug for Observers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observers")
            .field("count", &self.all.len())
            .finish()
    }
}

impl Observers {
    pub(crate) fn new(all: Vec<Box<dyn Observer>>) -> Self {
        let wants_steps = all.iter().any(|observer| observer.wants_steps());
        Self { all, wants_steps }
    }

    /// True if nobody watches.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    #[inline]
    pub(crate) fn step(&mut self, step: &Step<'_>) {
        if self.wants_steps {
            for observer in &mut self.all {
                observer.step(step);
            }
        }
    }

    /// Tells each observer.
    #[inline]
    pub(crate) fn each(&mut self, mut tell: impl FnMut(&mut dyn Observer)) {
        for observer in &mut self.all {
            tell(observer.as_mut());
        }
    }

    pub(crate) fn finish(mut self) -> Harvest {
        let mut harvest = Harvest::default();
        for observer in &mut self.all {
            observer.finish(&mut harvest);
        }
        harvest
    }
}
