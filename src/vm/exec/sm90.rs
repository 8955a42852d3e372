//! The asynchronous family: its state in a CTA, where each instruction goes, and when asynchronous work is done.
//!
//! Bulk loads land late: when no warp can go on, or while one polls. PTX allows any moment from the issue on; the last
//! one shows a read that comes too early. With a seed some land at their issue, the others late and in any order. Bulk stores read their source when their thread waits for them. A `try_wait`
//! parks its lanes until an mbarrier changes; when nothing else can happen it times out, as PTX lets it, and a kernel
//! that then still makes no progress is in a deadlock.

use super::super::async_event::AsyncEvent;
use super::bulk::{BulkGroups, PendingLoad};
use super::cta::{BARRIERS, Machine};
use super::dispatch::Site;
use super::mbarrier::Mbarrier;
use super::program::Class;
use super::warp::{State as PathState, Warp};
use super::{Halt, Lanes, Next, lanes, lanes_of};
use crate::convert::index;
use crate::ptx::{Address, ScalarType, Sm90, Space};
use std::collections::BTreeMap;

/// Timeouts of `try_wait` without any progress in between, after which a CTA is in a deadlock.
const TIMEOUTS: u32 = 8;
/// Rounds of polling without any progress, after which a CTA is in a deadlock.
const POLLS: u32 = 4096;

/// What a CTA keeps for the family.
#[derive(Debug)]
pub(super) struct State {
    pub(super) mbarriers: BTreeMap<u32, Mbarrier>,
    pub(super) loads: Vec<PendingLoad>,
    /// Bulk groups by thread.
    pub(super) groups: BTreeMap<u32, BulkGroups>,
    /// Bulk copies so far.
    pub(super) copies: u32,
    /// Choices of the seed so far.
    pub(super) choices: u64,
    /// Lanes of each warp whose `try_wait` gives up.
    pub(super) timed_out: Vec<u32>,
    /// Registers of each warp's threads as `setmaxnreg` has set them.
    registers: Vec<Option<u32>>,
    /// Groups of `wgmma`s that each warp has committed.
    committed: Vec<u32>,
    /// An mbarrier has changed: parked lanes look again.
    pub(super) changed: bool,
    yielded: bool,
    polled: bool,
    /// Timeouts and polling rounds since the last change.
    timeouts: u32,
    polls: u32,
}

impl State {
    pub(super) fn new(warps: usize) -> Self {
        Self {
            mbarriers: BTreeMap::new(),
            loads: Vec::new(),
            groups: BTreeMap::new(),
            copies: 0,
            choices: 0,
            timed_out: vec![0; warps],
            registers: vec![None; warps],
            committed: vec![0; warps],
            changed: false,
            yielded: false,
            polled: false,
            timeouts: 0,
            polls: 0,
        }
    }

    /// Loads nobody waited for.
    pub(super) fn loads_pending(&self) -> u64 {
        u64::try_from(self.loads.len()).expect("a length fits 64 bits")
    }

    /// True once after an instruction that gives way to other warps.
    pub(super) fn has_yielded(&mut self) -> bool {
        std::mem::take(&mut self.yielded)
    }

    /// Something happened that lanes may be waiting for.
    pub(super) fn progress(&mut self) {
        self.changed = true;
        (self.timeouts, self.polls) = (0, 0);
    }

    /// A warp commits its `wgmma`s, for which others of its warpgroup may wait.
    pub(super) fn commit(&mut self, warp: usize) {
        self.committed[warp] += 1;
        self.progress();
    }

    /// A warp has ended: nobody waits for its `wgmma`s. That some are missing is for a detector to say.
    pub(super) fn leave(&mut self, warp: usize) {
        self.committed[warp] = u32::MAX;
        self.progress();
    }

    /// A warp of the warpgroup that has not yet issued all that a `wgmma.wait_group` of this warp is for.
    pub(super) fn behind(&self, warp: usize, pending: u32) -> Option<usize> {
        let due = self.committed[warp].saturating_sub(pending);
        let first = warp / 4 * 4;
        (first..self.committed.len().min(first + 4)).find(|&other| self.committed[other] < due)
    }

    pub(super) fn give_way(&mut self) -> Next {
        (self.yielded, self.polled) = (true, true);
        Next::Yield
    }
}

/// Class of an instruction, for counts.
pub(super) fn class(op: &Sm90) -> Class {
    match op {
        Sm90::MbarrierInit { .. }
        | Sm90::MbarrierInvalidate { .. }
        | Sm90::MbarrierTx { .. }
        | Sm90::MbarrierArrive(_)
        | Sm90::MbarrierWait(_)
        | Sm90::MbarrierPending { .. }
        | Sm90::FenceProxyAsync { .. }
        | Sm90::FenceMbarrierInit
        | Sm90::WgmmaFence
        | Sm90::WgmmaCommit
        | Sm90::WgmmaWait { .. }
        | Sm90::SetMaxRegisters { .. }
        | Sm90::GridDependency { .. }
        | Sm90::ClusterArrive { .. }
        | Sm90::ClusterWait { .. } => Class::Barrier,
        Sm90::CpAsyncArrive { .. }
        | Sm90::BulkLoad { .. }
        | Sm90::BulkStore { .. }
        | Sm90::TensorLoad { .. }
        | Sm90::TensorStore { .. }
        | Sm90::BulkCommit
        | Sm90::BulkWait { .. } => Class::AsyncCopy,
        Sm90::BulkPrefetch { .. }
        | Sm90::TensorPrefetch { .. }
        | Sm90::PrefetchTensorMap { .. } => Class::Memory,
        Sm90::Wgmma(_) => Class::Mma,
        Sm90::Elect { .. } | Sm90::Mapa { .. } => Class::Warp,
    }
}

impl Machine<'_> {
    /// An instruction of the family.
    pub(super) fn sm90(
        &mut self,
        warp: &mut Warp,
        site: &Site<'_>,
        op: &Sm90,
    ) -> Result<Next, Halt> {
        match op {
            Sm90::MbarrierInit { .. }
            | Sm90::MbarrierInvalidate { .. }
            | Sm90::MbarrierTx { .. }
            | Sm90::MbarrierArrive(_)
            | Sm90::MbarrierWait(_)
            | Sm90::MbarrierPending { .. }
            | Sm90::CpAsyncArrive { .. } => self.mbarrier(warp, site, op),
            Sm90::BulkLoad { .. }
            | Sm90::BulkStore { .. }
            | Sm90::TensorLoad { .. }
            | Sm90::TensorStore { .. }
            | Sm90::BulkCommit
            | Sm90::BulkWait { .. } => self.bulk(warp, site, op).map(|()| Next::Continue),
            // Hints and orders: accesses of the generic proxy are complete, and ordered, when their instruction is.
            Sm90::BulkPrefetch { .. }
            | Sm90::TensorPrefetch { .. }
            | Sm90::PrefetchTensorMap { .. }
            | Sm90::FenceMbarrierInit
            // One grid at a time: the one before is complete.
            | Sm90::GridDependency { .. } => Ok(Next::Continue),
            Sm90::FenceProxyAsync { space } => {
                if *space != Some(Space::Global) {
                    self.tell(&AsyncEvent::ProxyFence {
                        warp: warp.index,
                        lanes: site.mask,
                    });
                }
                Ok(Next::Continue)
            }
            Sm90::WgmmaFence | Sm90::WgmmaCommit | Sm90::WgmmaWait { .. } | Sm90::Wgmma(_) => {
                self.wgmma(warp, site, op)
            }
            Sm90::SetMaxRegisters { increase, count } => {
                self.set_max_registers(warp, site, *increase, *count)
            }
            Sm90::Elect { .. } => self.across_lanes(warp, site),
            Sm90::ClusterArrive { .. } => self.cluster_arrive(warp, site),
            Sm90::ClusterWait { .. } => Ok(self.cluster_wait(warp, site)),
            Sm90::Mapa { ty, d, a, rank, .. } => {
                let ranks = self.read::<u32>(warp, *rank);
                for lane in lanes_of(site.mask) {
                    if ranks[lane] != 0 {
                        let rank = ranks[lane];
                        return Err(site.unsupported(format!(
                            "mapa to cta {rank} of a cluster: clusters have one cta here"
                        )));
                    }
                }
                if *ty == ScalarType::U64 {
                    let value = self.read::<u64>(warp, *a);
                    self.write(warp, *d, site.mask, &value);
                } else {
                    let value = self.read::<u32>(warp, *a);
                    self.write(warp, *d, site.mask, &value);
                }
                Ok(Next::Continue)
            }
        }
    }

    /// Tells the observers.
    pub(super) fn tell(&mut self, event: &AsyncEvent<'_>) {
        let view = &self.view;
        self.observers
            .each(|observer| observer.asynchronous(event, view));
    }

    /// Offsets in shared memory of addresses that are shared or generic.
    pub(super) fn shared_addresses(&self, warp: &Warp, address: &Address) -> Lanes<u64> {
        use super::super::memory::window;
        let addresses = self.addresses(warp, address);
        lanes(|lane| {
            let address = addresses[lane];
            match address.checked_sub(window::SHARED) {
                Some(offset) if offset < window::BYTES => offset,
                _ => address,
            }
        })
    }

    fn set_max_registers(
        &mut self,
        warp: &Warp,
        site: &Site<'_>,
        increase: bool,
        count: u32,
    ) -> Result<Next, Halt> {
        let fail = |what: String| {
            Err(Halt::Misuse {
                at: site.at,
                thread: super::program::thread_of(warp.index, index(site.mask.trailing_zeros())),
                misuse: super::Misuse::RegisterPool,
                what,
            })
        };
        if let Some(known) = self.sm90.registers[warp.index] {
            if increase && count < known {
                return fail(format!(
                    "setmaxnreg.inc to {count} registers, fewer than the {known} the warp has"
                ));
            }
            if !increase && count > known {
                return fail(format!(
                    "setmaxnreg.dec to {count} registers, more than the {known} the warp has"
                ));
            }
        }
        self.sm90.registers[warp.index] = Some(count);
        // A warp that has said nothing has 24 at least.
        let all: u32 = self
            .sm90
            .registers
            .iter()
            .map(|count| 32 * count.unwrap_or(24))
            .sum();
        if all > 65536 {
            return fail(format!(
                "the warps of the cta ask for {all} registers together; a multiprocessor has 65536, so `inc` waits for ever"
            ));
        }
        Ok(Next::Continue)
    }

    fn cluster_arrive(&mut self, warp: &Warp, site: &Site<'_>) -> Result<Next, Halt> {
        let barrier = &mut self.barriers[BARRIERS];
        if barrier.arrived[warp.index] & site.mask != 0 {
            return Err(Halt::Barrier {
                at: site.at,
                warp: warp.index,
                what: "barrier.cluster.arrive again, before the wait for the one before".to_owned(),
            });
        }
        barrier.arrived[warp.index] |= site.mask;
        barrier.participants.push(super::super::event::Participant {
            warp: warp.index,
            lanes: site.mask,
            at: site.at,
            // It will: each arrival is followed by a wait.
            waits: true,
        });
        self.sm90.progress();
        Ok(Next::Continue)
    }

    /// Complete as soon as the barrier has forgotten the arrival.
    fn cluster_wait(&self, warp: &Warp, site: &Site<'_>) -> Next {
        if self.barriers[BARRIERS].arrived[warp.index] & site.mask == 0 {
            Next::Continue
        } else {
            Next::Wait(BARRIERS)
        }
    }

    /// Parked lanes look again after a change.
    pub(super) fn wake(&mut self, warps: &mut [Warp]) {
        if std::mem::take(&mut self.sm90.changed) {
            for path in warps.iter_mut().flat_map(|warp| &mut warp.paths) {
                if path.state == PathState::Parked {
                    path.state = PathState::Ready;
                }
            }
        }
    }

    /// After a round of turns: lets asynchronous work go on where the warps cannot. True for a deadlock.
    pub(super) fn stands_still(&mut self, warps: &mut [Warp], idle: bool, ready: bool) -> bool {
        let polled = std::mem::take(&mut self.sm90.polled);
        if ready && !polled {
            return false;
        }
        if self.land_next() {
            self.wake(warps);
            return false;
        }
        if ready {
            self.sm90.polls += 1;
            return self.sm90.polls > POLLS;
        }
        if self.sm90.timeouts < TIMEOUTS {
            let mut parked = false;
            for warp in warps.iter_mut() {
                for path in &mut warp.paths {
                    if path.state == PathState::Parked {
                        path.state = PathState::Ready;
                        self.sm90.timed_out[warp.index] |= path.mask;
                        parked = true;
                    }
                }
            }
            if parked {
                self.sm90.timeouts += 1;
                return false;
            }
        }
        idle || self.sm90.timeouts >= TIMEOUTS
    }
}
