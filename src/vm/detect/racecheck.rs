//! Racecheck: unordered accesses of two threads of a CTA to the same byte of shared or global memory, at least one a
//! write.
//!
//! **Definition.** Happens-before by vector clocks over warps. A barrier orders everything its participants did before
//! it (waiting or only arriving) before everything its waiting participants do after it; `bar.warp.sync` orders the lanes
//! it names, and through several of them what follows from one to the next. Two accesses by different threads that this does not order, one of them a write, not both atomic, are a race. A
//! `cp.async` writes at its issue, unordered with every access until its thread has waited for it; from then on it counts
//! as a write of that thread at that moment. Two plain stores of one instruction that write the same bits are no race:
//! compilers let several lanes, and several warps, store one value that all of them hold. Global memory is watched where
//! the kernel may write.
//!
//! **Source.** Flanagan and Freund, "`FastTrack`" (PLDI 2009): the last write as one epoch. Deviations: clocks are kept by
//! warp, not by thread (threads of a warp share barriers), and of the readers since the last write two are kept, which is
//! enough to tell whether one of them is somebody else. Shadow granularity is a 32-bit word until a narrower access
//! touches it, then a byte.
//!
//! **Can miss.** Only races of the schedule that ran: happens-before makes barriers count, not luck, but code that another
//! schedule would reach is not seen. A store of the bits that are there already, by the instruction that put them there,
//! goes unnoticed where values happen to be equal. Fences and atomics order nothing here, so a hand-made flag protocol is
//! reported. `shfl`, `vote` and `mma` order nothing, as PTX says. The third and later readers of a word are forgotten, so a report may name the second in their place.

use super::super::async_event::AsyncEvent;
use super::super::event::{
    Access, AccessKind, AsyncCopy, Completion, Harvest, Landing, Observer, Step,
};
use super::super::exec::{Program, lanes_of};
use super::super::memory::View;
use super::clocks::Clocks;
use super::{Ledger, Names, Where};
use crate::convert::index;
use crate::diagnostic::Code;
use crate::ptx::Space;
use std::collections::HashMap;

const SHARED: Code = Code("shared-race");
const GLOBAL: Code = Code("global-race");

/// An access: who, when, where in the code. `clock` 0 means there was none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Epoch {
    clock: u32,
    thread: u16,
    atomic: bool,
    at: u32,
}

impl Epoch {
    fn warp(self) -> usize {
        usize::from(self.thread / 32)
    }
}

/// What is known of a word or byte.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    write: Epoch,
    /// First reader since, and the first by another thread.
    reads: [Epoch; 2],
    /// The last write is a `cp.async` that its thread has not waited for.
    in_flight: bool,
}

#[derive(Clone, Debug)]
enum Word {
    Whole(Cell),
    /// By byte.
    Split(Box<[Cell; 4]>),
}

/// The detector.
#[derive(Debug)]
pub(super) struct Racecheck {
    names: Names,
    words: Vec<Word>,
    /// Words of global memory that the kernel may write.
    global: HashMap<u64, Word>,
    /// What each warp's `bar.warp.sync`s named; `syncs[w][c]` made its clock `c + 1`. All lanes where there is none.
    syncs: Vec<Vec<u32>>,
    clocks: Clocks,
    ledger: Ledger,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    /// A write of what is there already.
    Again,
    Atomic,
    Issue,
}

impl Racecheck {
    pub(super) fn new(program: &Program<'_>, names: Names) -> Self {
        let warps = index(program.threads().div_ceil(32));
        Self {
            names,
            words: vec![Word::Whole(Cell::default()); program.layout.shared_bytes.div_ceil(4)],
            global: HashMap::new(),
            syncs: vec![Vec::new(); warps],
            clocks: Clocks::new(warps),
            ledger: Ledger::default(),
        }
    }

    fn touch(
        &mut self,
        thread: u16,
        at: usize,
        space: Space,
        address: u64,
        bytes: u32,
        kind: Kind,
    ) {
        let warp = usize::from(thread / 32);
        let clock = &self.clocks.now[warp];
        let now = Now {
            epoch: Epoch {
                clock: clock[warp],
                thread,
                atomic: kind == Kind::Atomic,
                at: u32::try_from(at).unwrap_or(u32::MAX),
            },
            kind,
            clock,
            syncs: &self.syncs[warp],
            space,
            names: self.names,
        };
        let ledger = &mut self.ledger;
        let end = address.saturating_add(u64::from(bytes));
        let whole = address.is_multiple_of(4) && end.is_multiple_of(4);
        for number in address / 4..end.div_ceil(4) {
            let word = if space == Space::Shared {
                &mut self.words[usize::try_from(number).expect("inside shared memory")]
            } else {
                self.global
                    .entry(number)
                    .or_insert(Word::Whole(Cell::default()))
            };
            if let (Word::Whole(cell), false) = (&*word, whole) {
                *word = Word::Split(Box::new([*cell; 4]));
            }
            match word {
                Word::Whole(cell) => visit(cell, &now, 4 * number, ledger),
                Word::Split(cells) => {
                    for (byte, cell) in (4 * number..).zip(cells.iter_mut()) {
                        if (address..end).contains(&byte) {
                            visit(cell, &now, byte, ledger);
                        }
                    }
                }
            }
        }
    }

    /// The lanes that the next step of a warp's clock orders.
    fn name(&mut self, warp: usize, lanes: u32) {
        let clock = index(self.clocks.now[warp][warp]);
        self.syncs[warp].resize(clock, u32::MAX);
        self.syncs[warp].push(lanes);
    }

    fn thread(warp: usize, lane: usize) -> u16 {
        u16::try_from(32 * warp + lane).expect("a cta has at most 1024 threads")
    }
}

/// An access that happens now.
#[derive(Clone, Copy, Debug)]
struct Now<'a> {
    epoch: Epoch,
    kind: Kind,
    /// Of its warp.
    clock: &'a [u32],
    syncs: &'a [u32],
    space: Space,
    names: Names,
}

impl Now<'_> {
    /// True if `before` is ordered before this.
    #[inline]
    fn follows(&self, before: Epoch) -> bool {
        let warp = before.warp();
        if before.thread == self.epoch.thread || before.clock == 0 {
            true
        } else if warp == self.epoch.warp() {
            // Lanes of one warp: only what lies before a barrier of both.
            before.clock < self.clock[warp] && self.reached(before)
        } else {
            before.clock <= self.clock[warp]
        }
    }

    /// Whether warp barriers since `before`, of the same warp, lead from its lane to this one.
    fn reached(&self, before: Epoch) -> bool {
        let mut known = 1_u32 << (before.thread % 32);
        for clock in before.clock..self.epoch.clock {
            let named = self.syncs.get(index(clock)).copied().unwrap_or(u32::MAX);
            if named & known != 0 {
                known |= named;
            }
        }
        known >> (self.epoch.thread % 32) & 1 == 1
    }
}

#[inline]
fn visit(cell: &mut Cell, now: &Now<'_>, address: u64, ledger: &mut Ledger) {
    let thread = now.epoch.thread;
    let excused = cell.write.atomic && now.epoch.atomic
        || now.kind == Kind::Again && cell.write.at == now.epoch.at;
    // Bytes in flight are async_copies' business for readers; for writers they are a write like any other.
    let hazard = if cell.in_flight {
        now.kind != Kind::Read
    } else {
        !now.follows(cell.write)
    };
    if hazard && !excused && cell.write.thread != thread {
        report(ledger, now, address, cell.write, true);
    }
    if now.kind == Kind::Read {
        // Two readers by different threads are kept; a reader that is ordered before this one is superseded.
        let [first, second] = &mut cell.reads;
        if first.clock == 0 || first.thread == thread || now.follows(*first) {
            *first = now.epoch;
        } else if second.clock == 0 || second.thread == thread || now.follows(*second) {
            *second = now.epoch;
        }
        return;
    }
    for read in cell.reads {
        if read.clock != 0 && read.thread != thread && !now.follows(read) {
            report(ledger, now, address, read, false);
        }
    }
    *cell = Cell {
        write: now.epoch,
        reads: [Epoch::default(); 2],
        in_flight: now.kind == Kind::Issue,
    };
}

#[cold]
fn report(ledger: &mut Ledger, now: &Now<'_>, address: u64, before: Epoch, wrote: bool) {
    let (at, other) = (index(now.epoch.at), index(before.at));
    let (code, space) = if now.space == Space::Shared {
        (SHARED, "shared")
    } else {
        (GLOBAL, "global")
    };
    let names = now.names;
    ledger.report(code, at, Some(other), || {
        let verb = match now.kind {
            Kind::Read => "read",
            Kind::Write | Kind::Again => "written",
            Kind::Atomic => "updated",
            Kind::Issue => "written asynchronously",
        };
        let earlier = if wrote { "written" } else { "read" };
        let message = format!(
            "{space} byte {address:#x} is {verb} by one thread and {earlier} by another with no barrier between"
        );
        let thread = |epoch: Epoch| names.thread(u32::from(epoch.thread));
        let places = vec![
            Where { at, label: format!("{verb} here by {}", thread(now.epoch)) },
            Where { at: other, label: format!("{earlier} here by {}", thread(before)) },
        ];
        (message, places, "order the two with a barrier, or give each thread its own bytes")
    });
}

impl Observer for Racecheck {
    fn access(&mut self, step: &Step<'_>, access: &Access<'_>, memory: &View<'_>) {
        let space = access.space;
        if space != Space::Shared && space != Space::Global {
            return;
        }
        for lane in lanes_of(access.mask) {
            let address = access.addresses[lane];
            let kind = match access.kind {
                AccessKind::Read if space == Space::Global && !memory.may_change(address) => {
                    continue;
                }
                AccessKind::Read => Kind::Read,
                AccessKind::Write if access.unchanged >> lane & 1 == 1 => Kind::Again,
                AccessKind::Write => Kind::Write,
                AccessKind::Atomic => Kind::Atomic,
            };
            let thread = Self::thread(step.warp, lane);
            self.touch(thread, step.at, space, address, access.bytes, kind);
        }
    }

    fn issue(&mut self, step: &Step<'_>, copy: &AsyncCopy<'_>, memory: &View<'_>) {
        for lane in lanes_of(copy.mask) {
            let thread = Self::thread(step.warp, lane);
            let (source, count) = (copy.source[lane], copy.source_bytes[lane]);
            if count > 0 && memory.may_change(source) {
                self.touch(thread, step.at, Space::Global, source, count, Kind::Read);
            }
            self.touch(
                thread,
                step.at,
                Space::Shared,
                copy.destination[lane],
                copy.bytes,
                Kind::Issue,
            );
        }
    }

    fn land(&mut self, landing: &Landing<'_>) {
        let clock = self.clocks.now[landing.warp][landing.warp];
        for lane in lanes_of(landing.mask) {
            let thread = Self::thread(landing.warp, lane);
            let start = usize::try_from(landing.destination[lane]).unwrap_or(0) / 4;
            for word in start..start + index(landing.bytes) / 4 {
                let settle = |cell: &mut Cell| {
                    if cell.in_flight && cell.write.thread == thread {
                        cell.in_flight = false;
                        cell.write.clock = clock;
                    }
                };
                match &mut self.words[word] {
                    Word::Whole(cell) => settle(cell),
                    Word::Split(cells) => cells.iter_mut().for_each(settle),
                }
            }
        }
    }

    fn complete(&mut self, completion: &Completion<'_>) {
        // `bar.arrive` orders nothing of its own warp.
        for participant in completion.participants.iter().filter(|one| !one.waits) {
            self.name(participant.warp, 0);
        }
        self.clocks.complete(completion);
    }

    fn asynchronous(&mut self, event: &AsyncEvent<'_>, _: &View<'_>) {
        self.clocks.asynchronous(event);
    }

    fn warp_sync(&mut self, step: &Step<'_>, lanes: u32) {
        self.name(step.warp, lanes);
        self.clocks.advance(step.warp);
    }

    fn finish(&mut self, harvest: &mut Harvest) {
        harvest
            .findings
            .extend(std::mem::take(&mut self.ledger).into_findings());
    }
}
