//! Performance notes: bank conflicts of shared memory and scattered accesses to global memory, counted by instruction.
//! Nothing here is wrong; it is slow.
//!
//! **Definition.** Shared memory has 32 banks of 4 bytes. A warp's access of 4 bytes a lane or fewer is one phase, of 8
//! bytes two (16 lanes each), of 16 bytes four (8 lanes each). A phase takes as many passes as its fullest bank has
//! different words. Global memory moves sectors of 32 bytes: an access takes as many as it touches, and needs at least as
//! many as hold its different bytes side by side.
//!
//! **Source.** CUDA C++ Best Practices Guide, "Shared Memory" and "Coalesced Access to Global Memory"; that phases are
//! quarter warps for 16 bytes is what profilers show on `sm_70` and later.
//!
//! **Can miss.** Caches, the order in which a memory controller serves, conflicts between warps, and bulk copies.

use super::super::event::{Access, AccessKind, AsyncCopy, Harvest, Observer, Step, Tally};
use super::super::exec::{Lanes, Program, lanes_of};
use super::super::memory::View;
use super::site;
use crate::convert::{index, u64_to_f64};
use crate::diagnostic::{Blame, Code, Diagnostic};
use crate::ptx::Space;
use std::collections::BTreeMap;

const CONFLICT: Code = Code("bank-conflict-counted");
const SCATTERED: Code = Code("uncoalesced-access-counted");
/// Bytes of a sector.
const SECTOR: u64 = 32;
/// Notes given of a run.
const NOTES_MAX: usize = 20;

/// The observer.
#[derive(Debug, Default)]
pub(super) struct Performance {
    tallies: BTreeMap<(Space, usize), Tally>,
}

impl Performance {
    fn shared(&mut self, at: usize, mask: u32, addresses: &Lanes<u64>, bytes: u32) {
        let group = match bytes {
            0..=4 => 32,
            5..=8 => 16,
            _ => 8,
        };
        let (mut took, mut phases) = (0, 0);
        for first in (0..32).step_by(group) {
            let mut words: Vec<u64> = lanes_of(mask)
                .filter(|lane| (first..first + group).contains(lane))
                .flat_map(|lane| {
                    addresses[lane] / 4..(addresses[lane] + u64::from(bytes)).div_ceil(4)
                })
                .collect();
            if words.is_empty() {
                continue;
            }
            words.sort_unstable();
            words.dedup();
            let mut banks = [0_u64; 32];
            for word in words {
                banks[index(u32::try_from(word % 32).expect("below 32"))] += 1;
            }
            took += banks.into_iter().max().unwrap_or(1);
            phases += 1;
        }
        self.add(Space::Shared, at, took, phases);
    }

    fn global(
        &mut self,
        at: usize,
        mask: u32,
        addresses: &Lanes<u64>,
        bytes: impl Fn(usize) -> u32,
    ) {
        let mut runs: Vec<(u64, u64)> = lanes_of(mask)
            .filter(|&lane| bytes(lane) > 0)
            .map(|lane| (addresses[lane], addresses[lane] + u64::from(bytes(lane))))
            .collect();
        runs.sort_unstable();
        let (mut sectors, mut different) = (0, 0);
        let (mut sector_end, mut byte_end) = (0, 0);
        for (first, end) in runs {
            let start = (first / SECTOR).max(sector_end);
            sectors += end.div_ceil(SECTOR).saturating_sub(start);
            sector_end = sector_end.max(end.div_ceil(SECTOR));
            different += end.saturating_sub(first.max(byte_end));
            byte_end = byte_end.max(end);
        }
        if sectors > 0 {
            self.add(Space::Global, at, sectors, different.div_ceil(SECTOR));
        }
    }

    fn add(&mut self, space: Space, at: usize, took: u64, least: u64) {
        let tally = self.tallies.entry((space, at)).or_default();
        tally.accesses += 1;
        tally.took += took;
        tally.least += least;
    }
}

impl Observer for Performance {
    fn access(&mut self, step: &Step<'_>, access: &Access<'_>, _: &View<'_>) {
        if access.kind == AccessKind::Atomic {
            return;
        }
        match access.space {
            Space::Shared => self.shared(step.at, access.mask, access.addresses, access.bytes),
            Space::Global => self.global(step.at, access.mask, access.addresses, |_| access.bytes),
            Space::Local | Space::Param | Space::Const | Space::Generic => {}
        }
    }

    fn issue(&mut self, step: &Step<'_>, copy: &AsyncCopy<'_>, _: &View<'_>) {
        self.shared(step.at, copy.mask, copy.destination, copy.bytes);
        self.global(step.at, copy.mask, copy.source, |lane| {
            copy.source_bytes[lane]
        });
    }

    fn finish(&mut self, harvest: &mut Harvest) {
        harvest.notes = std::mem::take(&mut self.tallies);
    }
}

/// What was more than a fifth worse than it could be, worst first.
pub(crate) fn performance_notes(
    program: &Program<'_>,
    tallies: &BTreeMap<(Space, usize), Tally>,
) -> Vec<Diagnostic> {
    let mut worse: Vec<(&(Space, usize), &Tally)> = tallies
        .iter()
        .filter(|(_, tally)| tally.took * 5 > tally.least * 6)
        .collect();
    worse.sort_by_key(|(place, tally)| (std::cmp::Reverse(tally.took - tally.least), **place));
    let note = |(&(space, at), tally): (&(Space, usize), &Tally)| {
        let times = u64_to_f64(tally.took) / u64_to_f64(tally.least);
        let (code, unit, help) = if space == Space::Shared {
            (
                CONFLICT,
                "passes over shared memory",
                "pad or swizzle rows so that the lanes of a phase use different banks",
            )
        } else {
            (
                SCATTERED,
                "sectors of global memory",
                "let neighbouring lanes use neighbouring bytes",
            )
        };
        Diagnostic {
            code,
            blame: Blame::Advice,
            message: format!(
                "{} accesses took {} {unit} where {} suffice ({times:.1} times as many)",
                tally.accesses, tally.took, tally.least
            ),
            sites: vec![site(program, at, "accessed here")],
            help: Some(help.to_owned()),
            count: 1,
        }
    };
    worse.into_iter().take(NOTES_MAX).map(note).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(bytes: u32, address: impl Fn(u64) -> u64) -> (u64, u64) {
        let mut performance = Performance::default();
        let mut lane = 0;
        let addresses = [0; 32].map(|_: u64| {
            lane += 1;
            address(lane - 1)
        });
        performance.shared(0, u32::MAX, &addresses, bytes);
        let tally = performance.tallies[&(Space::Shared, 0)];
        (tally.took, tally.least)
    }

    #[test]
    fn passes_are_those_of_the_fullest_bank() {
        assert_eq!(shared(4, |lane| 4 * lane), (1, 1));
        assert_eq!(shared(4, |_| 0), (1, 1), "one word for all is one pass");
        assert_eq!(shared(4, |lane| 8 * lane), (2, 1));
        assert_eq!(shared(4, |lane| 128 * lane), (32, 1));
        assert_eq!(shared(16, |lane| 16 * lane), (4, 4));
        assert_eq!(shared(16, |lane| 64 * lane), (16, 4));
        assert_eq!(shared(8, |lane| 8 * lane), (2, 2));
    }

    #[test]
    fn sectors_are_those_touched() {
        let mut performance = Performance::default();
        let addresses = |stride: u64| {
            let mut at = 0;
            [0; 32].map(|_: u64| {
                at += stride;
                at - stride
            })
        };
        performance.global(0, u32::MAX, &addresses(4), |_| 4);
        performance.global(1, u32::MAX, &addresses(128), |_| 4);
        performance.global(2, u32::MAX, &addresses(0), |_| 4);
        let found: Vec<(u64, u64)> = performance
            .tallies
            .values()
            .map(|t| (t.took, t.least))
            .collect();
        assert_eq!(found, [(4, 4), (32, 4), (1, 1)]);
    }
}
