//! What the machine tells its observers of the asynchronous family: mbarriers, bulk copies, `wgmma`.

use super::event::Step;

/// Bytes of a bulk copy that lie together on both sides and within 16 aligned shared bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// Offset in shared memory.
    pub(crate) shared: u32,
    /// Address in global memory; `None` for the fill beyond the edge of a tensor.
    pub(crate) global: Option<u64>,
    /// At most 16.
    pub(crate) bytes: u32,
}

/// A bulk or tensor copy by one thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bulk<'a> {
    /// Different for each copy of a CTA, rising.
    pub(crate) id: u32,
    pub(crate) lane: usize,
    /// Global to shared; else shared to global.
    pub(crate) loads: bool,
    pub(crate) runs: &'a [Run],
}

/// 16 shared bytes that a `wgmma` reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) address: u32,
    /// First row of A (column of B) it belongs to: the only one, or with `spread` the first of eight, two bytes each.
    pub(crate) first: u32,
    pub(crate) spread: bool,
}

/// Something of the family happens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AsyncEvent<'a> {
    /// An mbarrier is made (`live`) or invalidated.
    Mbarrier { address: u32, live: bool },
    /// Threads of a warp arrive with release order.
    Signal { warp: usize, mbarrier: u32 },
    /// A phase is complete.
    Phase { mbarrier: u32 },
    /// Threads of a warp know, with acquire order, that so many phases are complete.
    Observe {
        warp: usize,
        mbarrier: u32,
        complete: u64,
    },
    /// A bulk copy starts.
    Issue(&'a Step<'a>, &'a Bulk<'a>),
    /// A load arrives, and counts towards the phase of that number.
    Land { id: u32, mbarrier: u32, phase: u64 },
    /// A thread has waited for its stores to have read their source.
    StoresRead { warp: usize, ids: &'a [u32] },
    /// `fence.proxy.async` of shared memory.
    ProxyFence { warp: usize, lanes: u32 },
    /// `wgmma.fence`.
    WgmmaFence { warp: usize },
    /// `wgmma.mma_async`, with what it reads of shared memory.
    Wgmma {
        step: &'a Step<'a>,
        a: &'a [Chunk],
        b: &'a [Chunk],
        accumulates: bool,
    },
    /// `wgmma.commit_group`.
    WgmmaCommit { warp: usize },
    /// `wgmma.wait_group`: of the groups of this warp, so many may be pending.
    WgmmaWait { warp: usize, groups: u32 },
    /// The CTA is done; these stores were never waited for, each with its instruction and thread.
    Unwaited(&'a [(usize, u32)]),
}
