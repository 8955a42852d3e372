//! Undefined bits through bulk copies and `wgmma`.
//!
//! A bulk load brings the state of its source, and defined zeros beyond the edge of a tensor; a bulk store of undefined
//! bits to global memory is a finding. A `wgmma` spoils the results of the rows and columns that have undefined bits.

use super::super::super::async_event::{AsyncEvent, Bulk, Chunk};
use super::super::super::event::Step;
use super::super::super::exec::wgmma_place;
use super::super::super::memory::View;
use super::shadow::Planes;
use super::{Initcheck, STORE};
use crate::convert::index;
use crate::ptx::{Op, Operand, RegisterId, ScalarType, Sm90, Space, Wgmma, WgmmaA};

/// True for a `wgmma`, whose results come with its event.
pub(super) fn is_product(op: &Op) -> bool {
    matches!(op, Op::Sm90(op) if matches!(**op, Sm90::Wgmma(_)))
}

/// Registers that become addresses, coordinates, counts or descriptors: all that are read but data.
pub(super) fn addresses(op: &Sm90) -> Vec<RegisterId> {
    let register = |operand: &Operand| match operand {
        Operand::Register(register) => Some(*register),
        Operand::Immediate(_) | Operand::Address(..) | Operand::Special(_) => None,
    };
    if let Sm90::Wgmma(wgmma) = op {
        let a = match &wgmma.a {
            WgmmaA::Shared(descriptor) => Some(descriptor),
            WgmmaA::Registers(_) => None,
        };
        return [Some(&wgmma.b), Some(&wgmma.scale_d), a]
            .into_iter()
            .flatten()
            .filter_map(register)
            .collect();
    }
    if matches!(op, Sm90::Mapa { .. }) {
        return Vec::new();
    }
    Op::Sm90(Box::new(op.clone())).reads()
}

impl Initcheck {
    pub(super) fn follow(&mut self, event: &AsyncEvent<'_>, memory: &View<'_>) {
        match event {
            AsyncEvent::Mbarrier { address, .. } => {
                self.shared.set(index(*address), 8, 0);
            }
            AsyncEvent::Issue(step, bulk) if bulk.loads => {
                let mut undefined = Vec::with_capacity(bulk.runs.len());
                for run in bulk.runs {
                    let bits = run.global.map_or(0, |address| {
                        self.memory_bits(step, Space::Global, bulk.lane, address, run.bytes, memory)
                    });
                    undefined.push((run.shared, run.bytes, bits));
                }
                self.bulk.insert(bulk.id, undefined);
            }
            AsyncEvent::Issue(step, bulk) => self.bulk_store(step, bulk),
            AsyncEvent::Land { id, .. } => {
                for (shared, bytes, bits) in self.bulk.remove(id).unwrap_or_default() {
                    self.shared.set(index(shared), bytes, bits);
                }
            }
            AsyncEvent::Wgmma {
                step,
                a,
                b,
                accumulates,
            } => self.product(step, a, b, *accumulates),
            AsyncEvent::Signal { .. }
            | AsyncEvent::Phase { .. }
            | AsyncEvent::Observe { .. }
            | AsyncEvent::StoresRead { .. }
            | AsyncEvent::ProxyFence { .. }
            | AsyncEvent::WgmmaFence { .. }
            | AsyncEvent::WgmmaCommit { .. }
            | AsyncEvent::WgmmaWait { .. }
            | AsyncEvent::Unwaited(_) => {}
        }
    }

    fn bulk_store(&mut self, step: &Step<'_>, bulk: &Bulk<'_>) {
        for run in bulk.runs {
            let bits = self.shared.get(index(run.shared), run.bytes);
            let Some(address) = run.global else { continue };
            if bits != 0 {
                let what = "a tile that a bulk store writes to global memory";
                self.report(STORE, step, None, 1 << bulk.lane, what);
            }
            if bits == 0 && self.global.is_empty() {
                continue;
            }
            for byte in 0..run.bytes {
                let at = address + u64::from(byte);
                if bits >> byte & 1 == 1 {
                    self.global.insert(at);
                } else {
                    self.global.remove(&at);
                }
            }
        }
    }

    /// Rows (columns) of an operand that have undefined bits.
    fn undefined_lines(&self, chunks: &[Chunk], lines: &mut [bool]) {
        for chunk in chunks {
            let bits = self.shared.get(index(chunk.address), 16);
            if bits == 0 {
                continue;
            }
            let first = index(chunk.first);
            if chunk.spread {
                for (which, line) in lines[first..].iter_mut().take(8).enumerate() {
                    *line |= bits >> (2 * which) & 3 != 0;
                }
            } else {
                lines[first] = true;
            }
        }
    }

    fn product(&mut self, step: &Step<'_>, a: &[Chunk], b: &[Chunk], accumulates: bool) {
        let Op::Sm90(op) = &step.instruction.op else {
            return;
        };
        let Sm90::Wgmma(op) = &**op else { return };
        let mut rows = [false; 16];
        let mut columns = vec![false; index(op.n)];
        self.undefined_lines(a, &mut rows);
        self.undefined_lines(b, &mut columns);
        if let WgmmaA::Registers(registers) = &op.a {
            for (register, id) in registers.iter().enumerate() {
                let any = self.warps[step.warp].of(*id).any();
                for lane in (0..32).filter(|lane| any >> lane & 1 == 1) {
                    rows[lane / 4 + 8 * (register & 1)] = true;
                }
            }
        }
        let spoilt = rows.contains(&true) || columns.contains(&true);
        let origin = u32::try_from(step.at).unwrap_or(u32::MAX);
        for (which, register) in op.d.iter().enumerate() {
            let old = self.warps[step.warp].of(*register);
            if !spoilt && (!accumulates || old.any() == 0) {
                self.warps[step.warp].planes[index(register.0)].clear(u32::MAX);
                continue;
            }
            let mut planes = Planes::DEFINED;
            for lane in 0..32 {
                let bits =
                    undefined_bits(op, lane, which, |row, column| rows[row] || columns[column]);
                let before = if accumulates { old.lane(lane) } else { 0 };
                planes.set_lane(lane, bits | before);
            }
            let known = self.warps[step.warp].origin[index(register.0)];
            let origin = if spoilt { origin } else { known };
            self.warps[step.warp].set(*register, u32::MAX, planes, origin);
        }
    }
}

/// Undefined bytes of accumulator register `which` of a lane.
fn undefined_bits(
    op: &Wgmma,
    lane: usize,
    which: usize,
    is_undefined: impl Fn(usize, usize) -> bool,
) -> u32 {
    if op.d_type == ScalarType::F16 {
        let (row, column) = wgmma_place(lane, 2 * which);
        let half = |column| if is_undefined(row, column) { 3 } else { 0 };
        half(column) | half(column + 1) << 2
    } else {
        let (row, column) = wgmma_place(lane, which);
        if is_undefined(row, column) { 0xf } else { 0 }
    }
}
