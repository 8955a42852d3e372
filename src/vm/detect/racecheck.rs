//! Racecheck: unordered accesses of two threads of a CTA to the same byte of shared memory, at least one a write.
//!
//! **Definition.** Happens-before by vector clocks over warps. A barrier orders everything its participants did before
//! it (waiting or only arriving) before everything its waiting participants do after it; `bar.warp.sync` orders the lanes of a
//! warp. Two accesses by different threads that this does not order, one of them a write, not both atomic, are a race. A
//! `cp.async` writes at its issue, unordered with every access until its thread has waited for it; from then on it counts
//! as a write of that thread at that moment.
//!
//! **Source.** Flanagan and Freund, "`FastTrack`" (PLDI 2009): the last write as one epoch. Deviations: clocks are kept by
//! warp, not by thread (threads of a warp share barriers), and of the readers since the last write two are kept, which is
//! enough to tell whether one of them is somebody else. Shadow granularity is a 32-bit word until a narrower access
//! touches it, then a byte.
//!
//! **Can miss.** Only races of the schedule that ran: happens-before makes barriers count, not luck, but code that another
//! schedule would reach is not seen. `bar.warp.sync` is taken to order all lanes of its warp, whatever its mask. Fences
//! and atomics order nothing here, so a hand-made flag protocol is reported. `shfl`, `vote` and `mma` order nothing, as
//! PTX says. The third and later readers of a word are forgotten, so a report may name the second in their place.

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

const RACE: Code = Code("shared-race");

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
    clocks: Clocks,
    ledger: Ledger,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    Atomic,
    Issue,
}

impl Racecheck {
    pub(super) fn new(program: &Program<'_>, names: Names) -> Self {
        let warps = index(program.threads().div_ceil(32));
        Self {
            names,
            words: vec![Word::Whole(Cell::default()); program.layout.shared_bytes.div_ceil(4)],
            clocks: Clocks::new(warps),
            ledger: Ledger::default(),
        }
    }

    fn touch(&mut self, thread: u16, at: usize, address: u64, bytes: u32, kind: Kind) {
        let clock = &self.clocks.now[usize::from(thread / 32)];
        let now = Epoch {
            clock: clock[usize::from(thread / 32)],
            thread,
            atomic: kind == Kind::Atomic,
            at: u32::try_from(at).unwrap_or(u32::MAX),
        };
        let start = usize::try_from(address).unwrap_or(usize::MAX);
        let end = start.saturating_add(index(bytes));
        if start % 4 == 0 && end % 4 == 0 {
            for word in start / 4..end / 4 {
                match &mut self.words[word] {
                    Word::Whole(cell) => {
                        visit(
                            cell,
                            clock,
                            now,
                            kind,
                            4 * word,
                            &mut self.ledger,
                            self.names,
                        );
                    }
                    Word::Split(cells) => {
                        for (byte, cell) in cells.iter_mut().enumerate() {
                            visit(
                                cell,
                                clock,
                                now,
                                kind,
                                4 * word + byte,
                                &mut self.ledger,
                                self.names,
                            );
                        }
                    }
                }
            }
        } else {
            for byte in start..end {
                let word = &mut self.words[byte / 4];
                if let Word::Whole(cell) = word {
                    *word = Word::Split(Box::new([*cell; 4]));
                }
                if let Word::Split(cells) = word {
                    visit(
                        &mut cells[byte % 4],
                        clock,
                        now,
                        kind,
                        byte,
                        &mut self.ledger,
                        self.names,
                    );
                }
            }
        }
    }

    fn thread(warp: usize, lane: usize) -> u16 {
        u16::try_from(32 * warp + lane).expect("a cta has at most 1024 threads")
    }
}

/// True if `before` is ordered before what the thread of `now` does under `clock`.
#[inline]
fn ordered(before: Epoch, now: Epoch, clock: &[u32]) -> bool {
    let warp = before.warp();
    if before.thread == now.thread || before.clock == 0 {
        true
    } else if warp == now.warp() {
        // Lanes of one warp: only what lies before the last barrier or warp barrier.
        before.clock < clock[warp]
    } else {
        before.clock <= clock[warp]
    }
}

#[inline]
fn visit(
    cell: &mut Cell,
    clock: &[u32],
    now: Epoch,
    kind: Kind,
    address: usize,
    ledger: &mut Ledger,
    names: Names,
) {
    let both_atomic = cell.write.atomic && now.atomic;
    // Bytes in flight are async_copies' business for readers; for writers they are a write like any other.
    let hazard = if cell.in_flight {
        kind != Kind::Read
    } else {
        !ordered(cell.write, now, clock)
    };
    if hazard && !both_atomic && cell.write.thread != now.thread {
        report(ledger, names, address, kind, now, cell.write, true);
    }
    if kind == Kind::Read {
        // Two readers by different threads are kept; a reader that is ordered before this one is superseded.
        let [first, second] = &mut cell.reads;
        if first.clock == 0 || first.thread == now.thread || ordered(*first, now, clock) {
            *first = now;
        } else if second.clock == 0 || second.thread == now.thread || ordered(*second, now, clock) {
            *second = now;
        }
        return;
    }
    for read in cell.reads {
        if read.clock != 0 && read.thread != now.thread && !ordered(read, now, clock) {
            report(ledger, names, address, kind, now, read, false);
        }
    }
    *cell = Cell {
        write: now,
        reads: [Epoch::default(); 2],
        in_flight: kind == Kind::Issue,
    };
}

#[cold]
fn report(
    ledger: &mut Ledger,
    names: Names,
    address: usize,
    kind: Kind,
    now: Epoch,
    before: Epoch,
    wrote: bool,
) {
    let (at, other) = (index(now.at), index(before.at));
    ledger.report(RACE, at, Some(other), || {
        let verb = |kind: Kind| match kind {
            Kind::Read => "read",
            Kind::Write => "written",
            Kind::Atomic => "updated",
            Kind::Issue => "written asynchronously",
        };
        let earlier = if wrote { "written" } else { "read" };
        let message = format!(
            "shared byte {address:#x} is {} by one thread and {earlier} by another with no barrier between",
            verb(kind)
        );
        let places = vec![
            Where { at, label: format!("{} here by {}", verb(kind), names.thread(u32::from(now.thread))) },
            Where { at: other, label: format!("{earlier} here by {}", names.thread(u32::from(before.thread))) },
        ];
        (message, places, "order the two with a barrier, or give each thread its own bytes")
    });
}

impl Observer for Racecheck {
    fn access(&mut self, step: &Step<'_>, access: &Access<'_>, _: &View<'_>) {
        if access.space != Space::Shared {
            return;
        }
        let kind = match access.kind {
            AccessKind::Read => Kind::Read,
            AccessKind::Write => Kind::Write,
            AccessKind::Atomic => Kind::Atomic,
        };
        for lane in lanes_of(access.mask) {
            let thread = Self::thread(step.warp, lane);
            self.touch(thread, step.at, access.addresses[lane], access.bytes, kind);
        }
    }

    fn issue(&mut self, step: &Step<'_>, copy: &AsyncCopy<'_>, _: &View<'_>) {
        for lane in lanes_of(copy.mask) {
            let thread = Self::thread(step.warp, lane);
            self.touch(
                thread,
                step.at,
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
        self.clocks.complete(completion);
    }

    fn asynchronous(&mut self, event: &AsyncEvent<'_>, _: &View<'_>) {
        self.clocks.asynchronous(event);
    }

    fn warp_sync(&mut self, step: &Step<'_>, _: u32) {
        self.clocks.advance(step.warp);
    }

    fn finish(&mut self, harvest: &mut Harvest) {
        harvest
            .findings
            .extend(std::mem::take(&mut self.ledger).into_findings());
    }
}
