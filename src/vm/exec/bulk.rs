//! `cp.async.bulk` and `cp.async.bulk.tensor`: copies between global and shared memory by the async proxy.
//!
//! Addresses are checked at the issue. A load lands when the machine says (`sm90.rs`), all its bytes at once, and then
//! counts on its mbarrier. A store reads its source when its thread waits for its group, or at the end.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "dispatch matches every instruction; only those of this class come here"
)]

use super::super::async_event::{AsyncEvent, Bulk, Run};
use super::super::event::{Access, AccessKind};
use super::super::memory::Reason;
use super::super::tensor_map::{MAP_BYTES, TensorMap};
use super::atomic::combine;
use super::cta::Machine;
use super::dispatch::Site;
use super::memory::{Bytes, Place};
use super::program::thread_of;
use super::warp::Warp;
use super::{Halt, Lanes, Misuse, lanes_of};
use crate::convert::{index, low_u32};
use crate::ptx::{Address, AtomicOp, BulkReduction, Operand, ScalarType, Sm90, Space, TensorPlace};

/// A load that has not landed.
#[derive(Clone, Debug)]
pub(super) struct PendingLoad {
    id: u32,
    mbarrier: u32,
    /// What it counts on its mbarrier.
    bytes: u32,
    runs: Vec<Run>,
}

/// A store whose source has not been read.
#[derive(Clone, Debug)]
pub(super) struct PendingStore {
    id: u32,
    at: usize,
    runs: Vec<Run>,
    reduce: Option<(AtomicOp, ScalarType)>,
}

/// Bulk stores of a thread.
#[derive(Clone, Debug, Default)]
pub(super) struct BulkGroups {
    open: Vec<PendingStore>,
    /// Oldest first.
    committed: Vec<Vec<PendingStore>>,
}

/// Runs of a plain copy.
fn plain_runs(shared: u32, global: u64, bytes: u32) -> Vec<Run> {
    (0..bytes)
        .step_by(16)
        .map(|at| Run {
            shared: shared + at,
            global: Some(global.wrapping_add(u64::from(at))),
            bytes: 16,
        })
        .collect()
}

fn operation(reduction: BulkReduction) -> AtomicOp {
    match reduction {
        BulkReduction::Add => AtomicOp::Add,
        BulkReduction::Min => AtomicOp::Min,
        BulkReduction::Max => AtomicOp::Max,
        BulkReduction::Inc => AtomicOp::Inc,
        BulkReduction::Dec => AtomicOp::Dec,
        BulkReduction::And => AtomicOp::And,
        BulkReduction::Or => AtomicOp::Or,
        BulkReduction::Xor => AtomicOp::Xor,
    }
}

impl Machine<'_> {
    pub(super) fn bulk(&mut self, warp: &mut Warp, site: &Site<'_>, op: &Sm90) -> Result<(), Halt> {
        match op {
            Sm90::BulkLoad {
                d,
                s,
                bytes,
                mbarrier,
                ..
            } => {
                let (to, from) = (self.shared_addresses(warp, d), self.addresses(warp, s));
                let bytes = self.read::<u32>(warp, *bytes);
                let mbarriers = self.shared_addresses(warp, mbarrier);
                for lane in lanes_of(site.mask) {
                    let count = bytes[lane];
                    self.shared_box(warp, site, lane, to[lane], (count, 16), AccessKind::Write)?;
                    self.global_aligned(warp, site, lane, from[lane], count, false)?;
                    let runs = plain_runs(low_u32(to[lane]), from[lane], count);
                    self.load_issue(warp, site, lane, runs, count, mbarriers[lane])?;
                }
                Ok(())
            }
            Sm90::BulkStore {
                reduce,
                d,
                s,
                bytes,
                ..
            } => {
                let (to, from) = (self.addresses(warp, d), self.shared_addresses(warp, s));
                let bytes = self.read::<u32>(warp, *bytes);
                let reduce = reduce.map(|(reduction, ty)| (operation(reduction), ty));
                for lane in lanes_of(site.mask) {
                    let count = bytes[lane];
                    self.shared_box(warp, site, lane, from[lane], (count, 16), AccessKind::Read)?;
                    self.global_aligned(warp, site, lane, to[lane], count, true)?;
                    let runs = plain_runs(low_u32(from[lane]), to[lane], count);
                    self.store_issue(warp, site, lane, runs, reduce)?;
                }
                Ok(())
            }
            Sm90::TensorLoad {
                d, place, mbarrier, ..
            } => {
                let to = self.shared_addresses(warp, d);
                let mbarriers = self.shared_addresses(warp, mbarrier);
                let coordinates = self.coordinates(warp, &place.coordinates);
                for lane in lanes_of(site.mask) {
                    let map = self.tensor_map(warp, site, lane, place)?;
                    let count = map.box_bytes();
                    self.shared_box(warp, site, lane, to[lane], (count, 128), AccessKind::Write)?;
                    let runs = map.runs(&coordinates[lane], low_u32(to[lane]));
                    self.load_issue(warp, site, lane, runs, count, mbarriers[lane])?;
                }
                Ok(())
            }
            Sm90::TensorStore {
                reduce, place, s, ..
            } => {
                let from = self.shared_addresses(warp, s);
                let coordinates = self.coordinates(warp, &place.coordinates);
                for lane in lanes_of(site.mask) {
                    let map = self.tensor_map(warp, site, lane, place)?;
                    let count = map.box_bytes();
                    self.shared_box(warp, site, lane, from[lane], (count, 128), AccessKind::Read)?;
                    let mut runs = map.runs(&coordinates[lane], low_u32(from[lane]));
                    runs.retain(|run| run.global.is_some());
                    let reduce =
                        reduce.map(|reduction| (operation(reduction), map.element.scalar()));
                    self.store_issue(warp, site, lane, runs, reduce)?;
                }
                Ok(())
            }
            Sm90::BulkCommit => {
                for lane in lanes_of(site.mask) {
                    let groups = self
                        .sm90
                        .groups
                        .entry(thread_of(warp.index, lane))
                        .or_default();
                    let group = std::mem::take(&mut groups.open);
                    groups.committed.push(group);
                }
                Ok(())
            }
            Sm90::BulkWait { groups, .. } => {
                for lane in lanes_of(site.mask) {
                    self.wait_stores(warp, lane, index(*groups))?;
                }
                Ok(())
            }
            _ => unreachable!("dispatch sends bulk operations only"),
        }
    }

    fn coordinates(&self, warp: &Warp, operands: &[Operand]) -> Lanes<Vec<i32>> {
        let all: Vec<Lanes<u32>> = operands
            .iter()
            .map(|operand| self.read::<u32>(warp, *operand))
            .collect();
        std::array::from_fn(|lane| all.iter().map(|one| one[lane].cast_signed()).collect())
    }

    /// The shared side of a copy: alignment and bounds.
    fn shared_box(
        &mut self,
        warp: &Warp,
        site: &Site<'_>,
        lane: usize,
        address: u64,
        (bytes, alignment): (u32, u32),
        kind: AccessKind,
    ) -> Result<(), Halt> {
        let mut addresses = [0; 32];
        addresses[lane] = address;
        let place = Place {
            space: Space::Shared,
            mask: 1 << lane,
            addresses,
        };
        self.check_quietly(warp, site, &place, (bytes, alignment), kind)
    }

    /// The global side of a plain copy: size and alignment are those of 16 bytes.
    fn global_aligned(
        &self,
        warp: &Warp,
        site: &Site<'_>,
        lane: usize,
        address: u64,
        bytes: u32,
        write: bool,
    ) -> Result<(), Halt> {
        if address.is_multiple_of(16) && bytes.is_multiple_of(16) {
            return Ok(());
        }
        Err(Halt::Fault {
            at: site.at,
            space: Space::Global,
            reason: Reason::Misaligned(16),
            thread: thread_of(warp.index, lane),
            address,
            bytes,
            write,
        })
    }

    /// Every global run of a copy: bounds and permission; and what observers of global memory see.
    fn global_runs(
        &mut self,
        warp: &Warp,
        site: &Site<'_>,
        lane: usize,
        runs: &[Run],
        kind: AccessKind,
    ) -> Result<(), Halt> {
        for run in runs {
            let Some(address) = run.global else { continue };
            let write = kind != AccessKind::Read;
            if let Err(reason) = self.view.locate(address, run.bytes, write) {
                return Err(Halt::Fault {
                    at: site.at,
                    space: Space::Global,
                    reason,
                    thread: thread_of(warp.index, lane),
                    address,
                    bytes: run.bytes,
                    write,
                });
            }
            if !self.observers.is_empty() {
                let mut addresses = [0; 32];
                addresses[lane] = address;
                let access = Access {
                    unchanged: 0,
                    space: Space::Global,
                    kind,
                    mask: 1 << lane,
                    addresses: &addresses,
                    bytes: run.bytes,
                };
                let step = warp.step(site.at, site.instruction, site.path, 1 << lane);
                let view = &self.view;
                self.observers
                    .each(|observer| observer.access(&step, &access, view));
            }
        }
        Ok(())
    }

    /// The tensor map a lane names.
    fn tensor_map(
        &mut self,
        warp: &Warp,
        site: &Site<'_>,
        lane: usize,
        place: &TensorPlace,
    ) -> Result<TensorMap, Halt> {
        let address: &Address = &place.map;
        let addresses = self.addresses(warp, address);
        let one = Site {
            mask: 1 << lane,
            ..*site
        };
        let mut whole = [0_u8; MAP_BYTES];
        for (at, part) in (0_u64..).step_by(16).zip(whole.chunks_exact_mut(16)) {
            let shifted = addresses.map(|address| address.wrapping_add(at));
            for found in self.places(warp, &one, Space::Generic, &shifted, 16, false)? {
                self.check_quietly(warp, &one, &found, (16, 16), AccessKind::Read)?;
                let mut raw: Bytes = [[0; 16]; 32];
                self.fetch(warp, &found, 16, &mut raw);
                part.copy_from_slice(&raw[lane]);
            }
        }
        let fail = |what: String| {
            Err(Halt::Misuse {
                at: site.at,
                thread: thread_of(warp.index, lane),
                misuse: Misuse::TensorMap,
                what,
            })
        };
        let address = addresses[lane];
        if !address.is_multiple_of(64) {
            return fail(format!(
                "the tensor map at {address:#x} does not lie at a multiple of 64 bytes"
            ));
        }
        match TensorMap::decode(&whole) {
            None => fail(format!(
                "the 128 bytes at {address:#x} are no tensor map of this machine"
            )),
            Some(map) if map.sizes.len() != place.coordinates.len() => fail(format!(
                "a copy of {} dimensions by a tensor map of {}",
                place.coordinates.len(),
                map.sizes.len()
            )),
            Some(map) => Ok(map),
        }
    }

    fn load_issue(
        &mut self,
        warp: &Warp,
        site: &Site<'_>,
        lane: usize,
        runs: Vec<Run>,
        bytes: u32,
        mbarrier: u64,
    ) -> Result<(), Halt> {
        self.shared_box(warp, site, lane, mbarrier, (8, 8), AccessKind::Atomic)?;
        let mbarrier = self.live(warp, site, lane, mbarrier)?;
        self.global_runs(warp, site, lane, &runs, AccessKind::Read)?;
        let id = self.announce(warp, site, lane, true, &runs);
        let load = PendingLoad {
            id,
            mbarrier,
            bytes,
            runs,
        };
        if self.explored(4) == Some(0) {
            self.land_load(&load);
        } else {
            self.sm90.loads.push(load);
        }
        Ok(())
    }

    fn store_issue(
        &mut self,
        warp: &Warp,
        site: &Site<'_>,
        lane: usize,
        runs: Vec<Run>,
        reduce: Option<(AtomicOp, ScalarType)>,
    ) -> Result<(), Halt> {
        let kind = if reduce.is_some() {
            AccessKind::Atomic
        } else {
            AccessKind::Write
        };
        self.global_runs(warp, site, lane, &runs, kind)?;
        let id = self.announce(warp, site, lane, false, &runs);
        let groups = self
            .sm90
            .groups
            .entry(thread_of(warp.index, lane))
            .or_default();
        groups.open.push(PendingStore {
            id,
            at: site.at,
            runs,
            reduce,
        });
        Ok(())
    }

    fn announce(
        &mut self,
        warp: &Warp,
        site: &Site<'_>,
        lane: usize,
        loads: bool,
        runs: &[Run],
    ) -> u32 {
        let id = self.sm90.copies;
        self.sm90.copies += 1;
        let bulk = Bulk {
            id,
            lane,
            loads,
            runs,
        };
        let step = warp.step(site.at, site.instruction, site.path, 1 << lane);
        self.tell(&AsyncEvent::Issue(&step, &bulk));
        id
    }

    /// A number below `count` that the seed chooses; `None` where nothing is explored.
    fn explored(&mut self, count: usize) -> Option<usize> {
        if self.program.seed == 0 {
            return None;
        }
        let [x, y, z] = self.cta.map(u64::from);
        self.sm90.choices += 1;
        let state = self.program.seed ^ x << 40 ^ y << 20 ^ z ^ self.sm90.choices << 32;
        let count = u64::try_from(count).expect("a length");
        usize::try_from(super::super::grid::mix(state) % count).ok()
    }

    /// Lands the oldest load, or the one that the seed chooses; false if there is none.
    pub(super) fn land_next(&mut self) -> bool {
        let count = self.sm90.loads.len();
        if count == 0 {
            return false;
        }
        let which = self.explored(count).unwrap_or(0);
        let load = self.sm90.loads.remove(which);
        self.land_load(&load);
        true
    }

    fn land_load(&mut self, load: &PendingLoad) {
        for run in &load.runs {
            let (at, bytes) = (index(run.shared), index(run.bytes));
            let to = &mut self.shared[at..at + bytes];
            match run.global {
                None => to.fill(0),
                Some(address) => {
                    if let Ok(id) = self.view.locate(address, run.bytes, false) {
                        self.view.read(id, address, to);
                    }
                }
            }
        }
        let phase = self.complete_bytes(load.mbarrier, i64::from(load.bytes));
        self.tell(&AsyncEvent::Land {
            id: load.id,
            mbarrier: load.mbarrier,
            phase: phase.unwrap_or(u64::MAX),
        });
        self.settle_bytes(load.mbarrier);
    }

    /// Executes the stores of all but the newest `keep` groups of a thread.
    fn wait_stores(&mut self, warp: &Warp, lane: usize, keep: usize) -> Result<(), Halt> {
        let thread = thread_of(warp.index, lane);
        let Some(groups) = self.sm90.groups.get_mut(&thread) else {
            return Ok(());
        };
        let due = groups.committed.len().saturating_sub(keep);
        let stores: Vec<PendingStore> = groups.committed.drain(..due).flatten().collect();
        let ids: Vec<u32> = stores.iter().map(|store| store.id).collect();
        for store in &stores {
            self.perform(store)?;
        }
        if !ids.is_empty() {
            self.tell(&AsyncEvent::StoresRead {
                warp: warp.index,
                ids: &ids,
            });
        }
        Ok(())
    }

    fn perform(&mut self, store: &PendingStore) -> Result<(), Halt> {
        for run in &store.runs {
            let Some(address) = run.global else { continue };
            let (at, bytes) = (index(run.shared), index(run.bytes));
            let mut data = [0_u8; 16];
            data[..bytes].copy_from_slice(&self.shared[at..at + bytes]);
            let Ok(id) = self.view.locate(address, run.bytes, true) else {
                continue;
            };
            if let Some((operation, ty)) = store.reduce {
                let mut old = [0_u8; 16];
                self.view.read(id, address, &mut old[..bytes]);
                let size = index(ty.bytes());
                for (new, old) in data[..bytes]
                    .chunks_exact_mut(size)
                    .zip(old.chunks_exact(size))
                {
                    let number = |bytes: &[u8]| {
                        let mut whole = [0; 8];
                        whole[..size].copy_from_slice(bytes);
                        u64::from_le_bytes(whole)
                    };
                    let Some(value) = combine(operation, ty, number(old), number(new), 0) else {
                        return Err(Halt::Unsupported {
                            at: store.at,
                            what: format!("a bulk reduction {operation}.{ty}"),
                        });
                    };
                    new.copy_from_slice(&value.to_le_bytes()[..size]);
                }
            }
            self.view.write(id, address, &data[..bytes]);
        }
        Ok(())
    }

    /// At the end of the CTA: the stores that nobody waited for.
    pub(super) fn finish_bulk(&mut self) -> Result<(), Halt> {
        let mut unwaited = Vec::new();
        for (thread, groups) in std::mem::take(&mut self.sm90.groups) {
            for store in groups.committed.into_iter().flatten().chain(groups.open) {
                unwaited.push((store.at, thread));
                self.perform(&store)?;
            }
        }
        if !unwaited.is_empty() {
            self.tell(&AsyncEvent::Unwaited(&unwaited));
        }
        Ok(())
    }
}
