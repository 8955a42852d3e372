//! Pass `shared-race`: no two threads touch a byte of shared memory, one of them writing, without a barrier between.
//!
//! # Definition
//!
//! An *interval* is what happens between two barriers of the CTA on one path. Two accesses of an interval by different
//! threads to the same byte, at least one of them writing and not both atomic, are a race, unless a `bar.warp.sync` of
//! the whole warp lies between and both threads are of one warp; nor is it a race where one instruction stores, by both, a value
//! that `analysis::alike` proves to be the same. A `cp.async` belongs to every interval from its issue to
//! the first barrier after its thread has waited. That a *read* meets a pending copy is the question of `copy-wait`; copies
//! that complete on a barrier in memory, and products that read shared memory, are those of `mbarrier`.
//!
//! # Method
//!
//! The walk of `analysis::walk`: addresses are numbers for each thread, so every pair of threads is compared.
//!
//! # What an answer means
//!
//! *Proved*: no race on any path, for CTAs of the declared size. *Refuted*: two threads whose guards are known to hold on a
//! path; unknown conditions are taken as independent of each other, so the path may be one that no launch takes. *Unknown*:
//! an address or a guard is not known and the bytes could not be told apart, or a path could not be followed.
//!
//! Can miss: generic accesses to shared memory; order that a program makes by flags in memory is not seen (and reported).

use super::evaluate::Context;
use super::finding::{gaps, path, result, site, undecided, wrong};
use super::walk::Walk;
use super::{PassResult, walk};
use crate::diagnostic::Code;

/// Name of the pass.
pub const PASS: &str = "shared-race";
/// Two accesses of one interval meet.
pub const RACE: Code = Code("interval-race");
/// The pass could not decide.
pub const UNDECIDED: Code = Code("interval-race-undecided");

pub(super) fn run(context: &Context<'_>, walk: &Walk) -> PassResult {
    let (module, function) = (context.module, context.function);
    let mut findings = Vec::new();
    for race in &walk.races {
        let walk::Pair {
            first,
            second,
            byte,
        } = race.pair;
        let sites = vec![
            site(
                module,
                function,
                race.second,
                format!(
                    "thread {} {} shared byte {byte:#x} here{}",
                    context.thread_name(second),
                    race.kinds.1.verb(),
                    path(context, walk, &race.path)
                ),
            ),
            site(
                module,
                function,
                race.first,
                format!(
                    "thread {} {} it here, with no barrier between",
                    context.thread_name(first),
                    race.kinds.0.verb()
                ),
            ),
        ];
        findings.push(wrong(
            RACE,
            "two threads of a CTA touch the same shared byte, one of them writing, with no barrier between".to_owned(),
            sites,
            "order the two with `__syncthreads()`, or give each thread bytes of its own",
        ));
    }
    for (second, first) in &walk.open_races {
        let sites = vec![
            site(module, function, *second, "this access"),
            site(module, function, *first, "and this one"),
        ];
        findings.push(undecided(
            UNDECIDED,
            "it is not known whether threads meet: an address or a guard depends on data"
                .to_owned(),
            sites,
        ));
    }
    for (first, second) in &walk.between_roles {
        let sites = vec![
            site(module, function, *second, "warps of one task do this"),
            site(module, function, *first, "and warps of another this"),
        ];
        findings.push(undecided(
            UNDECIDED,
            "warps of different tasks touch the same bytes: only barriers in memory or named barriers can order them, which is not followed for ordinary accesses"
                .to_owned(),
            sites,
        ));
    }
    findings.extend(gaps(context, walk, UNDECIDED));
    result(PASS, function, findings, walk.states)
}
