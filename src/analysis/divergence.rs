//! Pass `divergence`: every barrier is executed by all threads of the CTA together, and every instruction of a whole warp
//! (`.aligned`, or with a full member mask) by all of its lanes.
//!
//! # Definition
//!
//! Threads part at a branch or exit whose condition differs between them, until they meet again at its immediate
//! post-dominator. `bar.sync`, `bar.red` and `bar.arrive` of the CTA must not lie between for some of its threads only; those of a
//! part of it not for some lanes of a warp only, and as many threads as they wait for must come to each somewhere;
//! `ldmatrix`, `stmatrix`, `mma`, `wgmma` and its fences, `setmaxnreg`, and `shfl`, `vote`, `redux`, `bar.warp.sync` with mask -1 not for some lanes of a warp
//! only. (PTX ISA, `barrier`; `.aligned`.)
//!
//! # Method
//!
//! The walk of `analysis::walk`, in which a condition is a truth value for each thread where it is known, and otherwise
//! marked as the same in all threads (computed from parameters, CTA indices, loads at an address that is the same in all)
//! or not. A warp whose lanes agree has not parted, whatever the CTA does.
//!
//! # What an answer means
//!
//! *Proved*: together on every path. *Refuted*: a thread that executes it and one that does not, by known conditions.
//! *Unknown*: threads part by a condition that depends on data.
//!
//! Can miss: named barriers whose threads come in an order that blocks them all; a member mask other than -1 is taken to name the lanes that are there; threads that a scheduler lets part without a branch (independent thread scheduling); that a loaded value is
//! the same in all threads is concluded from its address, which holds while nobody writes there meanwhile.

use super::PassResult;
use super::evaluate::Context;
use super::finding::{gaps, result, site, undecided, wrong};
use super::walk::{NamedBarrier, Walk};
use crate::diagnostic::{Code, Diagnostic};
use crate::ptx::Op;
use std::collections::BTreeSet;

/// Name of the pass.
pub const PASS: &str = "divergence";
/// A barrier that some threads of the CTA do not reach.
pub const BARRIER: Code = Code("barrier-divergence");
/// An instruction of a whole warp that some of its lanes do not reach.
pub const ALIGNED: Code = Code("aligned-divergence");
/// The pass could not decide.
pub const UNDECIDED: Code = Code("divergence-undecided");

pub(super) fn run(context: &Context<'_>, walk: &Walk) -> PassResult {
    let (module, function) = (context.module, context.function);
    let mut findings = Vec::new();
    for found in &walk.divergences {
        let barrier = matches!(
            function.instructions[found.at].op,
            Op::BarrierSync { .. } | Op::BarrierArrive { .. } | Op::BarrierRed { .. }
        );
        let label = match found.threads {
            Some((does, does_not)) => format!(
                "thread {} comes here and thread {} does not",
                context.thread_name(does),
                context.thread_name(does_not)
            ),
            None => "perhaps not all threads come here".to_owned(),
        };
        let mut sites = vec![site(module, function, found.at, label)];
        if let Some(branch) = found.branch {
            sites.push(site(module, function, branch, "threads part here"));
        }
        findings.push(match (found.threads, barrier) {
            (Some(_), true) => wrong(
                BARRIER,
                "a barrier of the whole CTA is not reached by all of its threads".to_owned(),
                sites,
                "move the barrier out of the branch, or make the condition the same in all threads",
            ),
            (Some(_), false) => wrong(
                ALIGNED,
                "an instruction of a whole warp is not reached by all of its lanes".to_owned(),
                sites,
                "move it out of the branch, or make the condition the same in all lanes of a warp",
            ),
            (None, _) => undecided(
                UNDECIDED,
                "threads may part before this, by a condition that depends on data".to_owned(),
                sites,
            ),
        });
    }
    for (number, uses) in &walk.named {
        findings.extend(named(context, *number, uses, walk.gaps.is_empty()));
    }
    let parted = |at: &usize| walk.divergences.iter().any(|found| found.at == *at);
    let others = gaps(context, walk, UNDECIDED);
    let at_gap = walk.gaps.iter().map(|(at, _)| at);
    findings.extend(
        at_gap
            .zip(others)
            .filter(|(at, _)| !parted(at))
            .map(|(_, finding)| finding),
    );
    result(PASS, function, findings, walk.states)
}

/// What is wrong with a named barrier of a part of the CTA, or not known of it: whether it can be completed. Where every path
/// was followed, threads that never came never come.
fn named(
    context: &Context<'_>,
    number: u64,
    uses: &BTreeSet<NamedBarrier>,
    complete: bool,
) -> Vec<Diagnostic> {
    let (module, function) = (context.module, context.function);
    let Some(first) = uses.first() else {
        return Vec::new();
    };
    let open = |message: String, at: usize| {
        undecided(UNDECIDED, message, vec![site(module, function, at, "here")])
    };
    let mut findings = Vec::new();
    if let Some(other) = uses.iter().find(|other| other.asked != first.asked) {
        let message = format!(
            "named barrier {number} is waited for with {} threads and with {}",
            first.asked, other.asked
        );
        findings.push(open(message, other.at));
    }
    let members: BTreeSet<usize> = uses.iter().flat_map(|one| &one.members).copied().collect();
    if u64::try_from(members.len()).is_ok_and(|count| count < first.asked) {
        let message = format!(
            "named barrier {number} waits for {} threads, and only {} ever come to it",
            first.asked,
            members.len()
        );
        findings.push(if complete && findings.is_empty() {
            let label = format!("waits for {} threads", first.asked);
            wrong(
                BARRIER,
                message,
                vec![site(module, function, first.at, label)],
                "give `bar.sync` and `bar.arrive` the number of threads that come to this barrier, all of one number",
            )
        } else {
            open(message, first.at)
        });
    }
    findings
}
