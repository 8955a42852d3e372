//! Pass `shared-bounds`: no access lies outside the shared memory of the CTA, or off its alignment.
//!
//! # Definition
//!
//! The window is the static variables of module and function, one after the other, and after them the dynamic bytes that a
//! launch promises. An access must end within it, and begin at a multiple of its size (of 16 for rows of `ldmatrix`).
//!
//! # What an answer means
//!
//! *Proved*: every access on every path of the walk is inside. *Refuted*: a thread whose guard is known to hold, with the
//! byte. *Unknown*: an address depends on data, or there is a dynamic array and no launch says how long it is.
//!
//! Can miss: an access past the end of one variable that lands in another; where variables lie is this tool's choice.

use super::PassResult;
use super::access::shared_access;
use super::evaluate::Context;
use super::finding::{gaps, result, site, undecided, wrong};
use super::walk::Walk;
use crate::contract::Contract;
use crate::diagnostic::Code;
use crate::ptx::Space;

/// Name of the pass.
pub const PASS: &str = "shared-bounds";
/// An access outside the window.
pub const OUTSIDE: Code = Code("shared-out-of-bounds");
/// An access off its alignment.
pub const MISALIGNED: Code = Code("shared-misaligned");
/// The pass could not decide.
pub const UNDECIDED: Code = Code("shared-bounds-undecided");

/// End of the window; `None` where a dynamic array's length is not promised.
fn window(context: &Context<'_>, contract: Option<&Contract>) -> Option<u64> {
    let lists = [&context.module.variables, &context.function.variables];
    let (mut end, mut dynamic) = (0, None);
    for (list, addresses) in lists.into_iter().zip(&context.shared) {
        for (variable, address) in list.iter().zip(addresses) {
            if let Some(address) = address.filter(|_| variable.space == Space::Shared) {
                end = end.max(address + variable.bytes());
                if variable.bytes() == 0 {
                    dynamic = Some(address);
                }
            }
        }
    }
    match (dynamic, contract) {
        (None, _) => Some(end),
        (Some(start), Some(contract)) => Some(start + u64::from(contract.shared_bytes)),
        (Some(_), None) => None,
    }
}

pub(super) fn run(context: &Context<'_>, walk: &Walk, contract: Option<&Contract>) -> PassResult {
    let (module, function) = (context.module, context.function);
    let end = window(context, contract);
    let mut findings = Vec::new();
    for (at, visits) in &walk.visits {
        let access = shared_access(&function.instructions[*at].op).expect("only such are visited");
        let bytes = access.shape.bytes();
        let (mut open, mut outside, mut misaligned) = (false, None, None);
        for (address, guard) in visits {
            let (address, guard) = (walk.value(*address), walk.value(*guard));
            for thread in 0..context.threads() {
                if !access.shape.gives_address(thread) || guard.number(thread) == Some(0) {
                    continue;
                }
                let certain = guard.number(thread).is_some();
                match address.number(thread) {
                    None => {
                        // The known bits bound it.
                        let lane = address.bits(thread);
                        let most = lane.ones | !lane.known;
                        open |= end.is_none_or(|end| most.saturating_add(bytes) > end)
                            || lane.known & (bytes - 1) != bytes - 1;
                    }
                    Some(start) => {
                        if end.is_some_and(|end| start.saturating_add(bytes) > end) {
                            if certain {
                                outside = outside.or(Some((thread, start)));
                            } else {
                                open = true;
                            }
                        } else if !start.is_multiple_of(bytes) {
                            if certain {
                                misaligned = misaligned.or(Some((thread, start)));
                            } else {
                                open = true;
                            }
                        }
                    }
                }
            }
        }
        let label = |(thread, start): (usize, u64)| {
            format!(
                "thread {} accesses {bytes} bytes at {start:#x}",
                context.thread_name(thread)
            )
        };
        let here = |label: String| vec![site(module, function, *at, label)];
        if let (Some(found), Some(end)) = (outside, end) {
            findings.push(wrong(
                OUTSIDE,
                format!("an access outside the {end} bytes of shared memory of the CTA"),
                here(label(found)),
                "check the index against the array's length, or launch with more dynamic shared memory",
            ));
        } else if let Some(found) = misaligned {
            findings.push(wrong(
                MISALIGNED,
                format!("an access of {bytes} bytes that begins at no multiple of {bytes}"),
                here(label(found)),
                "pad rows to a multiple of the access, or use a narrower one",
            ));
        } else if open {
            findings.push(undecided(
                UNDECIDED,
                "an address depends on data, and nothing bounds it".to_owned(),
                here("this access".to_owned()),
            ));
        }
    }
    if end.is_none() && !walk.visits.is_empty() {
        findings.push(undecided(
            UNDECIDED,
            "the length of a dynamic array is a fact of the launch: give a manifest (shared_bytes); without it only alignment is checked".to_owned(),
            vec![site(module, function, 0, "the entry begins here")],
        ));
    }
    findings.extend(gaps(context, walk, UNDECIDED));
    result(PASS, function, findings, walk.states)
}
