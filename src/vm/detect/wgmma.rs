//! Registers of a `wgmma`: accumulators touched before the wait, operands overwritten, a missing `wgmma.fence`; and warps
//! of a warpgroup that do not all execute it.
//!
//! **Definition.** From the issue of a `wgmma.mma_async` until its warp has waited for its group, its accumulators may be
//! neither read nor written and its A registers not written, but by other `wgmma`s. A register that an ordinary
//! instruction has written needs a `wgmma.fence` before a `wgmma` uses it; so does the first `wgmma` of a warp. The four
//! warps of a warpgroup execute as many `wgmma`s each.
//!
//! **Source.** PTX ISA 9.7.16.7 (`wgmma.fence`, `wgmma.wait_group`, and what is undefined without them).
//!
//! **Can miss.** An ordinary *read* of an accumulator followed by a `wgmma` on it without a fence; warps that execute as many
//! `wgmma`s, but not the same ones. `ptxas` repairs some of what is reported, by waiting at once and with a
//! warning: such a kernel is slow on a GPU, not wrong.

use super::super::async_event::AsyncEvent;
use super::super::event::{Harvest, Observer, Step};
use super::super::exec::Program;
use super::super::memory::View;
use super::{Ledger, Names, Where};
use crate::convert::index;
use crate::diagnostic::Code;
use crate::ptx::{Op, RegisterId, Sm90, WgmmaA};

const IN_FLIGHT: Code = Code("wgmma-accumulator-in-flight");
const OPERAND: Code = Code("wgmma-register-overwritten");
const FENCE: Code = Code("wgmma-fence-missing");
const WARP: Code = Code("wgmma-warp-missing");

/// No instruction.
const NONE: u32 = u32::MAX;

/// A `wgmma` that has not been waited for: its number in its warp, and its instruction.
type Pending = Option<(u32, u32)>;

/// Registers of one warp.
#[derive(Clone, Debug)]
struct Registers {
    /// The `wgmma` that has a register as accumulator, and as operand.
    accumulates: Vec<Pending>,
    reads: Vec<Pending>,
    /// Ordinary instruction that wrote it since the last fence.
    written: Vec<u32>,
    /// Written since the last fence.
    fresh: Vec<RegisterId>,
    fenced: bool,
    issued: u32,
    /// The latest one.
    latest: usize,
    /// Registers of each committed group, oldest first, and of the open one, with the numbers of their `wgmma`s.
    groups: Vec<Vec<(RegisterId, u32)>>,
    open: Vec<(RegisterId, u32)>,
}

/// The detector.
#[derive(Debug)]
pub(super) struct WgmmaRegisters {
    names: Names,
    /// Registers each instruction reads, and writes.
    uses: Vec<(Vec<RegisterId>, Vec<RegisterId>)>,
    warps: Vec<Registers>,
    /// The function has no `wgmma`.
    idle: bool,
    ledger: Ledger,
}

impl WgmmaRegisters {
    pub(super) fn new(program: &Program<'_>, names: Names) -> Self {
        let idle = !program.instructions().iter().any(
            |instruction| matches!(&instruction.op, Op::Sm90(op) if matches!(**op, Sm90::Wgmma(_))),
        );
        let count = if idle { 0 } else { program.slots.count() };
        let warp = Registers {
            accumulates: vec![None; count],
            reads: vec![None; count],
            written: vec![NONE; count],
            fresh: Vec::new(),
            fenced: false,
            issued: 0,
            latest: 0,
            groups: Vec::new(),
            open: Vec::new(),
        };
        let uses = if idle {
            Vec::new()
        } else {
            let uses = program.instructions().iter().map(|instruction| {
                let mut reads = instruction.op.reads();
                reads.extend(instruction.guard.map(|guard| guard.register));
                (reads, instruction.op.writes())
            });
            uses.collect()
        };
        Self {
            names,
            uses,
            warps: vec![warp; index(program.threads().div_ceil(32))],
            idle,
            ledger: Ledger::default(),
        }
    }

    fn report(
        &mut self,
        code: Code,
        step: &Step<'_>,
        other: Option<(u32, &str)>,
        message: &str,
        label: &str,
        help: &'static str,
    ) {
        let names = self.names;
        let second = other.map(|(at, _)| index(at));
        self.ledger.report(code, step.at, second, || {
            let mut places = vec![Where {
                at: step.at,
                label: format!("{label} by warp {} of {}", step.warp, names.cta()),
            }];
            places.extend(other.map(|(at, label)| Where {
                at: index(at),
                label: label.to_owned(),
            }));
            (message.to_owned(), places, help)
        });
    }

    fn ordinary(&mut self, step: &Step<'_>) {
        let at = step.at;
        let warp = &self.warps[step.warp];
        let busy = |register: &RegisterId| warp.accumulates[index(register.0)];
        let (reads, writes) = &self.uses[at];
        let touched = reads.iter().chain(writes).find_map(busy);
        let overwritten = writes
            .iter()
            .find_map(|register| warp.reads[index(register.0)]);
        if let Some((_, by)) = touched {
            self.report(
                IN_FLIGHT,
                step,
                Some((by, "the wgmma was issued here and has not been waited for")),
                "an accumulator of a wgmma is used while the wgmma is in flight",
                "used here",
                "wgmma.commit_group, then wgmma.wait_group for its group, before the accumulators are touched",
            );
        }
        if let Some((_, by)) = overwritten {
            self.report(
                OPERAND,
                step,
                Some((by, "the wgmma was issued here and has not been waited for")),
                "a register that a wgmma takes its A operand from is overwritten while the wgmma is in flight",
                "written here",
                "keep the fragments in other registers, or wait first",
            );
        }
        let warp = &mut self.warps[step.warp];
        for register in &self.uses[at].1 {
            let written = &mut warp.written[index(register.0)];
            if *written == NONE {
                warp.fresh.push(*register);
            }
            *written = u32::try_from(at).unwrap_or(0);
        }
    }

    fn product(&mut self, step: &Step<'_>, op: &crate::ptx::Wgmma, accumulates: bool) {
        let operands: &[RegisterId] = match &op.a {
            WgmmaA::Registers(registers) => registers,
            WgmmaA::Shared(_) => &[],
        };
        let warp = &self.warps[step.warp];
        let first = !warp.fenced;
        let fresh =
            op.d.iter()
                .filter(|_| accumulates)
                .chain(operands)
                .map(|register| warp.written[index(register.0)])
                .find(|&at| at != NONE);
        if first || fresh.is_some() {
            let message = if first {
                "the first wgmma of a warp has no wgmma.fence before it"
            } else {
                "a register is written and then used by a wgmma with no wgmma.fence between"
            };
            self.report(
                FENCE,
                step,
                fresh.map(|at| (at, "written here")),
                message,
                "wgmma issued here",
                "wgmma.fence.sync.aligned after the last write and before the first wgmma",
            );
        }
        let warp = &mut self.warps[step.warp];
        let at = u32::try_from(step.at).unwrap_or(0);
        let number = warp.issued;
        warp.issued += 1;
        warp.latest = step.at;
        for register in &op.d {
            warp.accumulates[index(register.0)] = Some((number, at));
        }
        for register in operands {
            warp.reads[index(register.0)] = Some((number, at));
        }
        let all = op.d.iter().chain(operands);
        warp.open.extend(all.map(|register| (*register, number)));
    }
}

impl WgmmaRegisters {
    /// At the end: have the warps of each warpgroup executed as many?
    fn compare_warps(&mut self) {
        let names = self.names;
        for (group, warps) in self.warps.chunks(4).enumerate() {
            let most = warps.iter().max_by_key(|warp| warp.issued);
            let Some(most) = most.filter(|warp| warp.issued > 0) else {
                continue;
            };
            let counts: Vec<u32> = warps.iter().map(|warp| warp.issued).collect();
            if counts.len() == 4 && counts.iter().all(|&count| count == most.issued) {
                continue;
            }
            self.ledger.report(WARP, most.latest, None, || {
                let message = format!(
                    "the warps of warpgroup {group} execute {counts:?} wgmma instructions; all four have to execute each"
                );
                let label = format!("the last one of a warp of {}", names.cta());
                let places = vec![Where {
                    at: most.latest,
                    label,
                }];
                (message, places, "branch by warpgroup, never by warp, around a wgmma")
            });
        }
    }
}

impl Observer for WgmmaRegisters {
    fn wants_steps(&self) -> bool {
        !self.idle
    }

    fn step(&mut self, step: &Step<'_>) {
        if self.idle || step.mask == 0 {
            return;
        }
        let is_product =
            matches!(&step.instruction.op, Op::Sm90(op) if matches!(**op, Sm90::Wgmma(_)));
        if !is_product {
            self.ordinary(step);
        }
    }

    fn asynchronous(&mut self, event: &AsyncEvent<'_>, _: &View<'_>) {
        if self.idle {
            return;
        }
        match event {
            AsyncEvent::WgmmaFence { warp } => {
                let warp = &mut self.warps[*warp];
                warp.fenced = true;
                for register in std::mem::take(&mut warp.fresh) {
                    warp.written[index(register.0)] = NONE;
                }
            }
            AsyncEvent::Wgmma {
                step, accumulates, ..
            } => {
                if let Op::Sm90(op) = &step.instruction.op
                    && let Sm90::Wgmma(op) = &**op
                {
                    self.product(step, op, *accumulates);
                }
            }
            AsyncEvent::WgmmaCommit { warp } => {
                let warp = &mut self.warps[*warp];
                let group = std::mem::take(&mut warp.open);
                warp.groups.push(group);
            }
            AsyncEvent::WgmmaWait { warp, groups } => {
                let warp = &mut self.warps[*warp];
                let due = warp.groups.len().saturating_sub(index(*groups));
                for (register, number) in warp.groups.drain(..due).flatten() {
                    // A later group may use the register too.
                    for all in [&mut warp.accumulates, &mut warp.reads] {
                        all[index(register.0)].take_if(|(latest, _)| *latest == number);
                    }
                }
            }
            AsyncEvent::Mbarrier { .. }
            | AsyncEvent::Signal { .. }
            | AsyncEvent::Phase { .. }
            | AsyncEvent::Observe { .. }
            | AsyncEvent::Issue(..)
            | AsyncEvent::Land { .. }
            | AsyncEvent::StoresRead { .. }
            | AsyncEvent::ProxyFence { .. }
            | AsyncEvent::Unwaited(_) => {}
        }
    }

    fn finish(&mut self, harvest: &mut Harvest) {
        self.compare_warps();
        harvest
            .findings
            .extend(std::mem::take(&mut self.ledger).into_findings());
    }
}
