//! Async proxy: shared memory that bulk copies and `wgmma` read or write behind the back of ordinary loads and stores.
//!
//! **Definition.** A bulk load writes its bytes at some moment between its issue and the completion of the mbarrier phase it
//! counts on; whoever touches them has to have observed that phase, by a wait of its own or through barriers. A bulk store
//! reads its source until its thread has waited for its group (`.read` suffices). A `wgmma` reads its operands until a
//! warp of its warpgroup has waited for its group: the group is the warpgroup's, one operation of four warps, and
//! complete for all once it is for one (PTX ISA 9.7.16.7.2; a pipeline whose warpgroup hands a stage back by the arrival
//! of one thread rests on that). An ordinary store is seen by the async proxy only after a `fence.proxy.async` that is
//! ordered after it and before the operation. Everything else is ordered as in `racecheck.rs`, by vector clocks.
//!
//! **Source.** PTX ISA 8.6 (proxies), 9.7.9.25 (asynchronous copies), 9.7.16 (`wgmma`).
//!
//! **Can miss.** Fences count for the whole warp unless other lanes of it have stored since its last barrier. A write by the
//! async proxy after ordinary accesses needs no fence here, only order. Of ordinary accesses since the last write one of
//! each warp is kept. Global memory is not followed. The moment at which the machine lands a copy is not part of the rule.

use super::super::async_event::{AsyncEvent, Bulk, Chunk};
use super::super::event::{Access, AccessKind, Completion, Harvest, Observer, Step};
use super::super::exec::{Program, lanes_of};
use super::super::memory::View;
use super::clocks::Clocks;
use super::{Ledger, Names, Where};
use crate::convert::index;
use crate::diagnostic::Code;
use crate::ptx::{Op, Space};
use std::collections::BTreeMap;

const READ_EARLY: Code = Code("bulk-copy-read-early");
const RACE: Code = Code("bulk-copy-race");
const SOURCE: Code = Code("bulk-source-overwritten");
const FENCE: Code = Code("proxy-fence-missing");
const UNWAITED: Code = Code("bulk-store-unwaited");
const OPERAND: Code = Code("wgmma-operand-overwritten");

/// An access by the generic proxy; clock 0 for none.
#[derive(Clone, Copy, Debug, Default)]
struct Epoch {
    clock: u32,
    thread: u16,
    at: u32,
}

/// A bulk copy.
#[derive(Clone, Copy, Debug)]
struct Copy {
    at: u32,
    thread: u16,
    /// Mbarrier and phase that a landed load counts for.
    phase: Option<(u32, u64)>,
    /// Clock of its warp when a store's thread had waited for it.
    read: Option<u32>,
}

/// What is known of 16 shared bytes.
#[derive(Clone, Debug, Default)]
struct Granule {
    /// Last ordinary store.
    write: Epoch,
    /// Ordinary loads since the last write of any kind, the last one of each warp.
    reads: Vec<Epoch>,
    /// The last bulk load to it.
    load: Option<u32>,
    /// The last bulk store from it.
    store: Option<u32>,
    /// `wgmma`s that read it: warp, number of the warp's `wgmma`, instruction; the last one of each warp.
    products: Vec<(usize, u32, u32)>,
}

/// The `wgmma`s of a warp.
#[derive(Clone, Debug, Default)]
struct Products {
    issued: u32,
    /// Numbers at which groups end, oldest pending first.
    groups: Vec<u32>,
    /// `(number, clock)`: those up to the number were waited for at that clock.
    waited: Vec<(u32, u32)>,
}

/// The detector.
#[derive(Debug)]
pub(super) struct AsyncProxy {
    names: Names,
    granules: Vec<Granule>,
    clocks: Clocks,
    /// As the clocks, but only what a proxy fence has passed on.
    fenced: Vec<Vec<u32>>,
    /// Lanes that have stored since their warp's clock last moved.
    dirty: Vec<u32>,
    /// Phases of each mbarrier that each warp knows to be complete, itself or from others.
    known: Vec<BTreeMap<u32, u64>>,
    /// What arrivals at an mbarrier pass on: fences and phases, of the running phase and of complete ones.
    passed: BTreeMap<u32, [Passed; 2]>,
    copies: Vec<Copy>,
    products: Vec<Products>,
    /// Nothing of the family has happened: most kernels.
    idle: bool,
    ledger: Ledger,
}

#[derive(Clone, Debug, Default)]
struct Passed {
    fenced: Vec<u32>,
    known: BTreeMap<u32, u64>,
}

impl Passed {
    fn join(&mut self, fenced: &[u32], known: &BTreeMap<u32, u64>) {
        self.fenced.resize(fenced.len(), 0);
        join(&mut self.fenced, fenced);
        join_known(&mut self.known, known);
    }
}

fn join(to: &mut [u32], from: &[u32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = (*to).max(*from);
    }
}

fn join_known(to: &mut BTreeMap<u32, u64>, from: &BTreeMap<u32, u64>) {
    for (mbarrier, complete) in from {
        let known = to.entry(*mbarrier).or_insert(0);
        *known = (*known).max(*complete);
    }
}

/// Who touches shared memory now.
#[derive(Clone, Copy)]
struct Now {
    warp: usize,
    thread: u16,
    at: usize,
}

fn granules(start: u32, bytes: u32) -> std::ops::Range<usize> {
    index(start) / 16..index(start + bytes).div_ceil(16)
}

impl AsyncProxy {
    pub(super) fn new(program: &Program<'_>, names: Names) -> Self {
        let warps = index(program.threads().div_ceil(32));
        let uses = program
            .instructions()
            .iter()
            .any(|instruction| matches!(instruction.op, Op::Sm90(_)));
        let count = if uses {
            program.layout.shared_bytes.div_ceil(16)
        } else {
            0
        };
        Self {
            names,
            granules: vec![Granule::default(); count],
            clocks: Clocks::new(warps),
            fenced: vec![vec![0; warps]; warps],
            dirty: vec![0; warps],
            known: vec![BTreeMap::new(); warps],
            passed: BTreeMap::new(),
            copies: Vec::new(),
            products: vec![Products::default(); warps],
            idle: !uses,
            ledger: Ledger::default(),
        }
    }

    /// True if `before` is ordered before what happens now.
    fn ordered(&self, before: Epoch, now: Now) -> bool {
        let warp = usize::from(before.thread / 32);
        let clock = self.clocks.now[now.warp][warp];
        before.clock == 0
            || before.thread == now.thread
            || if warp == now.warp {
                before.clock < clock
            } else {
                before.clock <= clock
            }
    }

    /// True if a `wgmma` was waited for by a warp of its warpgroup, and that is ordered before what happens now.
    fn product_done(&self, (warp, number, _): (usize, u32, u32), now: Now) -> bool {
        let first = warp / 4 * 4;
        let mut group = first..self.products.len().min(first + 4);
        group.any(|warp| {
            let waited = &self.products[warp].waited;
            let at = waited.partition_point(|(upto, _)| *upto <= number);
            waited.get(at).is_some_and(|(_, clock)| {
                warp == now.warp || *clock <= self.clocks.now[now.warp][warp]
            })
        })
    }

    /// True if the phase in which a bulk load landed has been observed.
    fn load_done(&self, copy: &Copy, now: Now) -> bool {
        copy.phase.is_some_and(|(mbarrier, phase)| {
            self.known[now.warp]
                .get(&mbarrier)
                .is_some_and(|known| *known > phase)
        })
    }

    /// True if a bulk store's thread has waited for it, and that is ordered before what happens now.
    fn store_done(&self, copy: &Copy, now: Now) -> bool {
        let warp = usize::from(copy.thread / 32);
        copy.read.is_some_and(|clock| {
            copy.thread == now.thread
                || if warp == now.warp {
                    clock < self.clocks.now[now.warp][warp]
                } else {
                    clock <= self.clocks.now[now.warp][warp]
                }
        })
    }

    fn report(
        &mut self,
        code: Code,
        message: String,
        now: (Now, &str),
        other: (u32, u32, &str),
        help: &'static str,
    ) {
        let names = self.names;
        let at = index(other.0);
        self.ledger.report(code, now.0.at, Some(at), || {
            let places = vec![
                Where {
                    at: now.0.at,
                    label: format!("{} by {}", now.1, names.thread(u32::from(now.0.thread))),
                },
                Where {
                    at,
                    label: format!("{} by {}", other.2, names.thread(other.1)),
                },
            ];
            (message, places, help)
        });
    }

    /// Something reads a granule: the bulk load that wrote it has to be complete.
    fn check_load(&mut self, granule: usize, now: Now, what: &str) {
        let Some(id) = self.granules[granule].load else {
            return;
        };
        let copy = self.copies[index(id)];
        if !self.load_done(&copy, now) {
            self.report(
                READ_EARLY,
                format!(
                    "shared byte {:#x} is read before the phase that completes its bulk copy has been waited for",
                    16 * granule
                ),
                (now, what),
                (copy.at, u32::from(copy.thread), "copy issued here"),
                "wait for the phase of the mbarrier that the copy counts on, with its parity, before the first read",
            );
        }
    }

    /// The async proxy reads what ordinary stores wrote: ordered, with a proxy fence.
    fn check_fence(&mut self, granule: usize, now: Now, what: &str) {
        let write = self.granules[granule].write;
        if write.clock == 0 {
            return;
        }
        let warp = usize::from(write.thread / 32);
        if write.clock <= self.fenced[now.warp][warp] {
            return;
        }
        let (message, help) = if self.ordered(write, now) {
            (
                format!(
                    "shared byte {:#x}, written by an ordinary store, is read by the async proxy with no fence.proxy.async between",
                    16 * granule
                ),
                "let the writing threads execute fence.proxy.async.shared::cta before the barrier",
            )
        } else {
            (
                format!(
                    "shared byte {:#x} is written by an ordinary store and read by the async proxy with no order between",
                    16 * granule
                ),
                "fence.proxy.async.shared::cta by the writers, then a barrier, then the operation",
            )
        };
        self.report(
            FENCE,
            message,
            (now, what),
            (write.at, u32::from(write.thread), "written here"),
            help,
        );
    }

    /// Something writes a granule: whoever still reads or writes it has to be done.
    fn check_users(&mut self, granule: usize, now: Now, bulk: bool) {
        let what = if bulk {
            "copy issued here"
        } else {
            "written here"
        };
        let shared = 16 * granule;
        if let Some(id) = self.granules[granule].load {
            let copy = self.copies[index(id)];
            if !self.load_done(&copy, now) {
                let message = format!(
                    "shared byte {shared:#x} is written while a bulk copy to it may be in flight"
                );
                self.report(
                    RACE,
                    message,
                    (now, what),
                    (copy.at, u32::from(copy.thread), "the copy was issued here"),
                    "wait for the phase of the copy's mbarrier first",
                );
            }
        }
        if let Some(id) = self.granules[granule].store {
            let copy = self.copies[index(id)];
            if !self.store_done(&copy, now) {
                let message = format!(
                    "shared byte {shared:#x} is overwritten while a bulk store may still read it"
                );
                self.report(
                    SOURCE,
                    message,
                    (now, what),
                    (copy.at, u32::from(copy.thread), "the store was issued here"),
                    "cp.async.bulk.wait_group.read by the storing thread, then a barrier, before the bytes are used again",
                );
            }
        }
        let products = std::mem::take(&mut self.granules[granule].products);
        for &product in &products {
            if !self.product_done(product, now) {
                let message = format!(
                    "shared byte {shared:#x} is overwritten while a wgmma may still read it"
                );
                let thread = u32::try_from(32 * product.0).unwrap_or(0);
                self.report(
                    OPERAND,
                    message,
                    (now, what),
                    (product.2, thread, "read here"),
                    "wgmma.wait_group for the group that reads the stage before it is handed back",
                );
            }
        }
        self.granules[granule].products = products;
    }

    fn issue(&mut self, step: &Step<'_>, bulk: &Bulk<'_>) {
        let thread = u16::try_from(32 * step.warp + bulk.lane).expect("at most 1024 threads");
        let now = Now {
            warp: step.warp,
            thread,
            at: step.at,
        };
        debug_assert_eq!(self.copies.len(), index(bulk.id));
        self.copies.push(Copy {
            at: u32::try_from(step.at).unwrap_or(u32::MAX),
            thread,
            phase: None,
            read: None,
        });
        let mut last = usize::MAX;
        for run in bulk.runs {
            for granule in granules(run.shared, run.bytes) {
                // A granule at the edge of a tensor has more than one run.
                if granule == last || granule >= self.granules.len() {
                    continue;
                }
                last = granule;
                if bulk.loads {
                    self.check_users(granule, now, true);
                    self.check_generic(granule, now);
                    self.granules[granule] = Granule {
                        load: Some(bulk.id),
                        ..Granule::default()
                    };
                } else {
                    self.check_load(granule, now, "read here by a bulk store");
                    self.check_fence(granule, now, "read here by a bulk store");
                    self.granules[granule].store = Some(bulk.id);
                }
            }
        }
    }

    /// A bulk load comes after every ordinary access to its bytes.
    fn check_generic(&mut self, granule: usize, now: Now) {
        let cell = &self.granules[granule];
        let before = std::iter::once((cell.write, "written here"))
            .chain(cell.reads.iter().map(|read| (*read, "read here")))
            .find(|(epoch, _)| !self.ordered(*epoch, now));
        if let Some((epoch, verb)) = before {
            let message = format!(
                "a bulk copy overwrites shared byte {:#x}, which another thread uses with no order between",
                16 * granule
            );
            self.report(
                RACE,
                message,
                (now, "copy issued here"),
                (epoch.at, u32::from(epoch.thread), verb),
                "let the readers arrive at an mbarrier (or a barrier) that the copying thread waits for",
            );
        }
    }

    fn product(&mut self, step: &Step<'_>, chunks: &[&[Chunk]]) {
        let now = Now {
            warp: step.warp,
            thread: u16::try_from(32 * step.warp).expect("at most 1024 threads"),
            at: step.at,
        };
        let number = self.products[step.warp].issued;
        self.products[step.warp].issued += 1;
        let at = u32::try_from(step.at).unwrap_or(u32::MAX);
        for chunk in chunks.iter().copied().flatten() {
            let granule = index(chunk.address) / 16;
            if granule >= self.granules.len() {
                continue;
            }
            self.check_load(granule, now, "read here by a wgmma");
            self.check_fence(granule, now, "read here by a wgmma");
            let products = &mut self.granules[granule].products;
            match products.iter_mut().find(|product| product.0 == step.warp) {
                Some(product) => *product = (step.warp, number, at),
                None => products.push((step.warp, number, at)),
            }
        }
    }

    fn wait_products(&mut self, warp: usize, keep: u32) {
        let clock = self.clocks.now[warp][warp];
        let products = &mut self.products[warp];
        let due = products.groups.len().saturating_sub(index(keep));
        if let Some(upto) = products.groups.drain(..due).next_back() {
            products.waited.push((upto, clock));
        }
    }
}

impl Observer for AsyncProxy {
    fn access(&mut self, step: &Step<'_>, access: &Access<'_>, _: &View<'_>) {
        if self.idle || access.space != Space::Shared || matches!(step.instruction.op, Op::Sm90(_))
        {
            return;
        }
        let at = u32::try_from(step.at).unwrap_or(u32::MAX);
        for lane in lanes_of(access.mask) {
            let thread = u16::try_from(32 * step.warp + lane).expect("at most 1024 threads");
            let now = Now {
                warp: step.warp,
                thread,
                at: step.at,
            };
            let epoch = Epoch {
                clock: self.clocks.now[step.warp][step.warp],
                thread,
                at,
            };
            let start = u32::try_from(access.addresses[lane]).unwrap_or(u32::MAX - 64);
            for granule in granules(start, access.bytes) {
                if access.kind != AccessKind::Write {
                    self.check_load(granule, now, "read here");
                }
                if access.kind == AccessKind::Read {
                    let reads = &mut self.granules[granule].reads;
                    match reads
                        .iter_mut()
                        .find(|read| read.thread / 32 == thread / 32)
                    {
                        Some(read) => *read = epoch,
                        None => reads.push(epoch),
                    }
                } else {
                    self.check_users(granule, now, false);
                    let cell = &mut self.granules[granule];
                    cell.write = epoch;
                    cell.reads.clear();
                }
            }
            if access.kind != AccessKind::Read {
                self.dirty[step.warp] |= 1 << lane;
            }
        }
    }

    fn complete(&mut self, completion: &Completion<'_>) {
        self.clocks.complete(completion);
        if self.idle {
            return;
        }
        let mut all = Passed::default();
        for participant in completion.participants {
            all.join(
                &self.fenced[participant.warp],
                &self.known[participant.warp],
            );
        }
        for participant in completion.participants {
            self.dirty[participant.warp] = 0;
            if participant.waits {
                join(&mut self.fenced[participant.warp], &all.fenced);
                join_known(&mut self.known[participant.warp], &all.known);
            }
        }
    }

    fn warp_sync(&mut self, step: &Step<'_>, _: u32) {
        self.clocks.advance(step.warp);
        self.dirty[step.warp] = 0;
    }

    fn asynchronous(&mut self, event: &AsyncEvent<'_>, _: &View<'_>) {
        match event {
            AsyncEvent::Mbarrier { address, .. } => {
                self.passed.remove(address);
                for known in &mut self.known {
                    known.remove(address);
                }
            }
            AsyncEvent::Signal { warp, mbarrier } => {
                let passed = self.passed.entry(*mbarrier).or_default();
                passed[0].join(&self.fenced[*warp], &self.known[*warp]);
            }
            AsyncEvent::Phase { mbarrier } => {
                let [running, complete] = self.passed.entry(*mbarrier).or_default();
                complete.join(&running.fenced, &running.known);
            }
            AsyncEvent::Observe {
                warp,
                mbarrier,
                complete,
            } => {
                if let Some([_, passed]) = self.passed.get(mbarrier) {
                    join(&mut self.fenced[*warp], &passed.fenced);
                    join_known(&mut self.known[*warp], &passed.known);
                }
                let known = self.known[*warp].entry(*mbarrier).or_insert(0);
                *known = (*known).max(*complete);
            }
            AsyncEvent::Issue(step, bulk) => self.issue(step, bulk),
            AsyncEvent::Land {
                id,
                mbarrier,
                phase,
            } => self.copies[index(*id)].phase = Some((*mbarrier, *phase)),
            AsyncEvent::StoresRead { warp, ids } => {
                let clock = self.clocks.now[*warp][*warp];
                for id in *ids {
                    self.copies[index(*id)].read = Some(clock);
                }
            }
            AsyncEvent::ProxyFence { warp, lanes } => {
                let own = self.clocks.now[*warp][*warp];
                let before = self.clocks.now[*warp].clone();
                join(&mut self.fenced[*warp], &before);
                // Stores of other lanes since the last barrier are not this lane's to pass on.
                let covers = self.dirty[*warp] & !lanes == 0;
                self.fenced[*warp][*warp] = if covers { own } else { own - 1 };
                self.clocks.advance(*warp);
                if covers {
                    self.dirty[*warp] = 0;
                }
            }
            AsyncEvent::Wgmma { step, a, b, .. } => self.product(step, &[a, b]),
            AsyncEvent::WgmmaCommit { warp } => {
                let products = &mut self.products[*warp];
                products.groups.push(products.issued);
            }
            AsyncEvent::WgmmaWait { warp, groups } => self.wait_products(*warp, *groups),
            AsyncEvent::Unwaited(stores) => {
                for &(at, thread) in *stores {
                    let names = self.names;
                    self.ledger.report(UNWAITED, at, None, || {
                        let message =
                            "the cta ends while a bulk store may still read its shared memory".to_owned();
                        let label = format!("issued here by {}", names.thread(thread));
                        let help = "cp.async.bulk.commit_group and wait_group.read 0 by the storing thread before it returns";
                        (message, vec![Where { at, label }], help)
                    });
                }
            }
            AsyncEvent::WgmmaFence { .. } => {}
        }
        self.clocks.asynchronous(event);
    }

    fn finish(&mut self, harvest: &mut Harvest) {
        harvest
            .findings
            .extend(std::mem::take(&mut self.ledger).into_findings());
    }
}
