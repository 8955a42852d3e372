//! Pass `bank-conflict`: how often a warp's access to shared memory is repeated because lanes want different words of one
//! bank.
//!
//! # Definition
//!
//! Shared memory has 32 banks of 4 bytes. A warp's access is made in phases: of 32 lanes for up to 4 bytes a lane, 16 for
//! 8 bytes, 8 for 16 bytes, and of the 8 rows of each matrix for `ldmatrix`. In a phase, each bank gives one word;
//! lanes that want the same word share it. The *degree* is the largest number of different words that a bank must give in
//! one phase, over all warps and paths; 1 is free of conflicts.
//!
//! # What an answer means
//!
//! *Proved*: degree 1 everywhere. *Refuted*: a degree above 1, with the warp; it costs time and is no bug. *Unknown*: the
//! lanes' addresses differ by data. A base that is unknown but the same in all lanes does not matter.
//!
//! The help names a row padding or a swizzle that would cure it, tried on the very addresses: a padding of 4, 8 or 16 bytes
//! after each row of the lanes' stride; the chunk of 16 bytes within 128 xored with bits of the row.
//!
//! Can miss: replays for other reasons; that an access is never executed often enough to matter.

use super::PassResult;
use super::access::{Shape, shared_access};
use super::evaluate::Context;
use super::finding::{result, site, undecided};
use super::value::Value;
use super::walk::Walk;
use crate::diagnostic::{Blame, Code, Diagnostic};
use std::collections::{BTreeMap, BTreeSet};

/// Name of the pass.
pub const PASS: &str = "bank-conflict";
/// Lanes of a warp want different words of a bank.
pub const CONFLICT: Code = Code("bank-conflict");
/// The pass could not decide.
pub const UNDECIDED: Code = Code("bank-conflict-undecided");

/// Addresses of the lanes of one phase.
type Phase = Vec<u64>;

/// Lanes of a phase.
fn lanes(shape: Shape) -> usize {
    match shape {
        Shape::Own(..=4) => 32,
        Shape::Own(8) => 16,
        Shape::Own(_) | Shape::Rows { .. } => 8,
    }
}

/// Phases of every warp; `None` where the lanes' addresses are not known relative to each other.
fn phases(
    context: &Context<'_>,
    address: &Value,
    guard: &Value,
    shape: Shape,
) -> Option<Vec<(usize, Phase)>> {
    if address.varying && address.symbol.is_some() {
        return None;
    }
    let width = lanes(shape);
    let mut phases = Vec::new();
    for first in (0..context.threads()).step_by(width) {
        let mut phase = Vec::new();
        for thread in first..(first + width).min(context.threads()) {
            // A lane that may not take part only makes conflicts fewer.
            if shape.gives_address(thread) && guard.number(thread) != Some(0) {
                phase.push(relative(address, thread)?);
            }
        }
        phases.push((first / 32, phase));
    }
    Some(phases)
}

/// A lane's address up to an unknown that is the same in all lanes: bits unknown in a value that does not differ otherwise
/// are the same in all.
fn relative(address: &Value, thread: usize) -> Option<u64> {
    let lane = address.lane(thread);
    if lane.value().is_some() {
        return lane.value();
    }
    // Unknown high bits move no bank; unknown low ones must be the same in all lanes.
    (!address.varying || lane.known & 127 == 127).then_some(lane.ones)
}

/// The largest number of different words that one bank must give.
fn degree(phase: &[u64], bytes: u64) -> usize {
    let mut banks: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    for start in phase {
        for word in start / 4..(start + bytes).div_ceil(4) {
            banks.entry(word % 32).or_default().insert(word);
        }
    }
    banks.values().map(BTreeSet::len).max().unwrap_or(1).max(1)
}

/// A change of the layout after which no phase has a conflict.
fn cure(phases: &[(usize, Phase)], bytes: u64) -> Option<String> {
    let free = |map: &dyn Fn(u64) -> u64| {
        phases.iter().all(|(_, phase)| {
            let mapped: Vec<u64> = phase.iter().map(|address| map(*address)).collect();
            degree(&mapped, bytes) == 1
        })
    };
    let (_, phase) = phases.iter().find(|(_, phase)| degree(phase, bytes) > 1)?;
    let stride = phase
        .windows(2)
        .map(|pair| pair[1].abs_diff(pair[0]))
        .filter(|stride| *stride >= bytes.max(4))
        .max()?;
    let row = stride.next_power_of_two().max(32);
    for pad in [4, 8, 16] {
        if pad % bytes.min(16) == 0 && free(&|address| address + address / row * pad) {
            return Some(format!("pad each row of {row} bytes by {pad}"));
        }
    }
    (7..=10)
        .find(|bit| free(&|address| address ^ (address >> bit & 7) << 4))
        .map(|bit| {
            format!(
                "swizzle: xor bits 4 to 6 of the address with bits {bit} to {}",
                bit + 2
            )
        })
}

pub(super) fn run(context: &Context<'_>, walk: &Walk) -> PassResult {
    let (module, function) = (context.module, context.function);
    let mut findings = Vec::new();
    for (at, visits) in &walk.visits {
        let access = shared_access(&function.instructions[*at].op).expect("only such are visited");
        let bytes = access.shape.bytes();
        let mut open = false;
        let mut worst: Option<(usize, usize, Option<String>)> = None;
        for (address, guard) in visits {
            let found = phases(
                context,
                walk.value(*address),
                walk.value(*guard),
                access.shape,
            );
            let Some(phases) = found else {
                open = true;
                continue;
            };
            for (warp, phase) in &phases {
                let degree = degree(phase, bytes);
                if degree > 1 && worst.as_ref().is_none_or(|(most, ..)| degree > *most) {
                    worst = Some((degree, *warp, cure(&phases, bytes)));
                }
            }
        }
        if let Some((degree, warp, cure)) = worst {
            findings.push(Diagnostic {
                code: CONFLICT,
                blame: Blame::Advice,
                message: format!("{degree}-way bank conflict: a phase of this access takes {degree} turns"),
                sites: vec![site(module, function, *at, format!("warp {warp} here"))],
                help: Some(cure.unwrap_or_else(|| {
                    "spread the lanes over the 32 banks: no padding or swizzle that was tried does".to_owned()
                })),
                count: 1,
            });
        } else if open {
            findings.push(undecided(
                UNDECIDED,
                "how the lanes' addresses differ depends on data".to_owned(),
                vec![site(module, function, *at, "this access")],
            ));
        }
    }
    result(PASS, function, findings, walk.states)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strided(stride: u64, lanes: u64) -> Phase {
        (0..lanes).map(|lane| lane * stride).collect()
    }

    #[test]
    fn degrees_of_strides() {
        for (stride, expected) in [
            (4, 1),
            (8, 2),
            (12, 1),
            (16, 4),
            (64, 16),
            (128, 32),
            (132, 1),
            (0, 1),
        ] {
            assert_eq!(degree(&strided(stride, 32), 4), expected, "stride {stride}");
        }
        // Rows of 128 bytes, 16 bytes a lane: all 8 rows of a matrix in the same 4 banks.
        assert_eq!(degree(&strided(128, 8), 16), 8);
        assert_eq!(degree(&strided(144, 8), 16), 1);
        assert_eq!(degree(&strided(16, 8), 16), 1);
    }

    #[test]
    fn cures_are_tried_on_the_addresses() {
        let phases = vec![(0, strided(128, 32))];
        assert_eq!(cure(&phases, 4).unwrap(), "pad each row of 128 bytes by 4");
        let rows = vec![(0, strided(128, 8))];
        assert_eq!(cure(&rows, 16).unwrap(), "pad each row of 128 bytes by 16");
    }
}
