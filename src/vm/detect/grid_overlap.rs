//! Grid overlap: global bytes that one CTA writes and another one touches.
//!
//! **Definition.** CTAs of a grid are unordered but for what `grid_order.rs` finds: releases and acquires through atomics,
//! strong loads and stores, and fences. Two CTAs that touch the same byte with plain accesses, at least one a write, with
//! nothing between, race. Atomic updates are left out.
//!
//! **Source.** PTX ISA 8 (memory consistency model): morally strong operations aside, unordered conflicting accesses race.
//!
//! **Can miss.** What `grid_order.rs` cannot tell. Reads are compared only where the allocation can be written. Races
//! between threads of one CTA on global memory are `racecheck.rs`'s.

use super::super::event::{Access, AccessKind, AsyncCopy, Harvest, Observer, Step, Touch};
use super::super::exec::{Program, lanes_of};
use super::super::memory::View;
use super::grid_order::{Order, Sync, is_fence, strength, talks};
use super::{Finding, Where};
use crate::diagnostic::Code;
use crate::ptx::Space;

const OVERLAP: Code = Code("grid-overlap");

/// The detector's part within a CTA: a list of what it touched, and of what may order it with others.
#[derive(Debug)]
pub(super) struct GridOverlap {
    touches: Vec<Touch>,
    syncs: Vec<Sync>,
    /// CTAs of this module may talk.
    talks: bool,
}

impl GridOverlap {
    pub(super) fn new(program: &Program<'_>) -> Self {
        Self {
            touches: Vec::new(),
            syncs: Vec::new(),
            talks: program.instructions().iter().any(talks),
        }
    }

    fn add(&mut self, touch: Touch) {
        // Neighbouring lanes, and the same instruction in a loop, make one run.
        if let Some(last) = self.touches.last_mut()
            && last.at == touch.at
            && last.write == touch.write
            && last.syncs == touch.syncs
            && last.address + last.bytes == touch.address
        {
            last.bytes += touch.bytes;
            return;
        }
        self.touches.push(touch);
    }
}

impl Observer for GridOverlap {
    fn wants_steps(&self) -> bool {
        self.talks
    }

    fn step(&mut self, step: &Step<'_>) {
        if self.talks && step.mask != 0 && is_fence(&step.instruction.op) {
            self.syncs.push(Sync::Fence);
        }
    }

    fn access(&mut self, step: &Step<'_>, access: &Access<'_>, memory: &View<'_>) {
        if access.space != Space::Global {
            return;
        }
        if self.talks
            && let Some([acquires, releases]) = strength(step.instruction)
        {
            self.syncs
                .extend(lanes_of(access.mask).map(|lane| Sync::Strong {
                    address: access.addresses[lane],
                    acquires,
                    releases,
                }));
            return;
        }
        if access.kind == AccessKind::Atomic {
            return;
        }
        let write = access.kind == AccessKind::Write;
        for lane in lanes_of(access.mask) {
            let address = access.addresses[lane];
            if write || memory.may_change(address) {
                let thread = u32::try_from(32 * step.warp + lane).unwrap_or(0);
                self.add(Touch {
                    address,
                    bytes: u64::from(access.bytes),
                    write,
                    at: step.at,
                    thread,
                    syncs: self.syncs.len(),
                });
            }
        }
    }

    fn issue(&mut self, step: &Step<'_>, copy: &AsyncCopy<'_>, memory: &View<'_>) {
        for lane in lanes_of(copy.mask) {
            let (address, bytes) = (copy.source[lane], u64::from(copy.source_bytes[lane]));
            if bytes > 0 && memory.may_change(address) {
                let thread = u32::try_from(32 * step.warp + lane).unwrap_or(0);
                self.add(Touch {
                    address,
                    bytes,
                    write: false,
                    at: step.at,
                    thread,
                    syncs: self.syncs.len(),
                });
            }
        }
    }

    fn finish(&mut self, harvest: &mut Harvest) {
        harvest.touches.append(&mut self.touches);
        harvest.syncs.append(&mut self.syncs);
    }
}

/// What one CTA did to global memory.
#[derive(Debug)]
pub(crate) struct CtaTouches {
    /// As reports call it.
    pub(crate) name: String,
    /// What it touched.
    pub(crate) touches: Vec<Touch>,
    /// What may order it with others.
    pub(crate) syncs: Vec<Sync>,
}

/// Compares what the CTAs touched; they come in the order in which they ran.
pub(crate) fn overlaps(ctas: &[CtaTouches]) -> Vec<Finding> {
    let order = Order::new(ctas.iter().map(|cta| &*cta.syncs));
    let ordered = |one: (usize, &Touch), other: (usize, &Touch)| {
        let place = |(cta, touch): (usize, &Touch)| (cta, touch.syncs);
        order.holds(place(one), place(other)) || order.holds(place(other), place(one))
    };
    // A sweep over addresses; at each start, the runs that are still open are the ones it overlaps.
    let mut runs: Vec<(usize, &Touch)> = ctas
        .iter()
        .enumerate()
        .flat_map(|(cta, did)| did.touches.iter().map(move |t| (cta, t)))
        .collect();
    runs.sort_by_key(|(cta, touch)| (touch.address, *cta, touch.at));
    let mut open: Vec<(usize, &Touch)> = Vec::new();
    let mut ledger = super::Ledger::default();
    for (cta, touch) in runs {
        open.retain(|(_, other)| other.address + other.bytes > touch.address);
        for (other_cta, other) in &open {
            if *other_cta == cta
                || !(touch.write || other.write)
                || ordered((cta, touch), (*other_cta, *other))
            {
                continue;
            }
            let (first, second) = if touch.write {
                ((cta, touch), (*other_cta, *other))
            } else {
                ((*other_cta, *other), (cta, touch))
            };
            ledger.report(OVERLAP, first.1.at, Some(second.1.at), || {
                let message = format!(
                    "global byte {:#x} is written by one cta and {} by another, and nothing orders them",
                    touch.address,
                    if second.1.write { "written" } else { "read" }
                );
                let label = |(cta, touch): (usize, &Touch)| Where {
                    at: touch.at,
                    label: format!(
                        "{} here by thread {} of {}",
                        if touch.write { "written" } else { "read" },
                        touch.thread,
                        ctas[cta].name
                    ),
                };
                let help = "give each cta its own part of the output, or combine with atomics; a flag between ctas needs a release (fence, then the flag) and an acquire (the flag, then fence)";
                (message, vec![label(first), label(second)], help)
            });
        }
        open.push((cta, touch));
        // Bounded work on pathological kernels: enough runs are kept to name a pair.
        if open.len() > 64 {
            open.remove(0);
        }
    }
    ledger.into_findings()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(address: u64, bytes: u64, write: bool) -> Touch {
        Touch {
            address,
            bytes,
            write,
            at: 7,
            thread: 0,
            syncs: 0,
        }
    }

    #[test]
    fn only_writes_of_different_ctas_overlap() {
        let ctas = |a: Vec<Touch>, b: Vec<Touch>| {
            let cta = |name: &str, touches| CtaTouches {
                name: name.to_owned(),
                touches,
                syncs: Vec::new(),
            };
            [cta("cta (0,0,0)", a), cta("cta (1,0,0)", b)]
        };
        assert_eq!(
            overlaps(&ctas(vec![touch(0, 8, true)], vec![touch(8, 8, true)])).len(),
            0
        );
        assert_eq!(
            overlaps(&ctas(vec![touch(0, 8, false)], vec![touch(0, 8, false)])).len(),
            0
        );
        assert_eq!(
            overlaps(&ctas(vec![touch(0, 8, true), touch(4, 2, true)], vec![])).len(),
            0
        );
        let found = overlaps(&ctas(vec![touch(0, 8, false)], vec![touch(4, 8, true)]));
        assert_eq!((found.len(), found[0].count), (1, 1));
        assert!(
            found[0].places[0].label.contains("cta (1,0,0)"),
            "the writer comes first"
        );
    }
}
