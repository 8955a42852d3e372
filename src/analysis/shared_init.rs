//! Pass `shared-init`: no byte of shared memory is read before a thread has written it.
//!
//! # Definition
//!
//! A byte counts as written from the instruction of any thread that writes it (for `cp.async` from its issue): whether the
//! reader may see it yet is the question of `shared-race` and `copy-wait`. Reads are those of threads (`ld`, `ldmatrix`): that a
//! product reads what a copy has brought is the question of `mbarrier`.
//!
//! # What an answer means
//!
//! *Proved*: on every path each byte read has been written, by threads whose guards are known to hold. *Refuted*: a byte
//! that no access before it on the path writes, all of whose conditions are known. *Unknown*: an address, a guard or a
//! condition on the path depends on data.
//!
//! Can miss: a `cp.async` that copies undefined global bytes; values that are read and not used are reported too.

use super::PassResult;
use super::evaluate::Context;
use super::finding::{gaps, path, result, site, undecided, wrong};
use super::walk::Walk;
use crate::diagnostic::Code;
use std::collections::BTreeSet;

/// Name of the pass.
pub const PASS: &str = "shared-init";
/// A read of bytes that nobody wrote.
pub const UNWRITTEN: Code = Code("shared-unwritten");
/// The pass could not decide.
pub const UNDECIDED: Code = Code("shared-init-undecided");

pub(super) fn run(context: &Context<'_>, walk: &Walk) -> PassResult {
    let (module, function) = (context.module, context.function);
    let mut findings = Vec::new();
    let mut done = BTreeSet::new();
    let certain_first = walk.unwritten.iter().filter(|found| found.certain);
    for found in certain_first.chain(walk.unwritten.iter().filter(|found| !found.certain)) {
        if !done.insert(found.at) {
            continue;
        }
        if found.certain {
            let label = format!(
                "thread {} reads shared byte {:#x} here{}",
                context.thread_name(found.thread),
                found.byte,
                path(context, walk, &found.path)
            );
            findings.push(wrong(
                UNWRITTEN,
                "a byte of shared memory is read that no thread has written".to_owned(),
                vec![site(module, function, found.at, label)],
                "write the array before it is read, ragged tails included",
            ));
        } else {
            findings.push(undecided(
                UNDECIDED,
                "whether these bytes have been written depends on data: on an address, a guard, or a condition on the path"
                    .to_owned(),
                vec![site(module, function, found.at, "this read")],
            ));
        }
    }
    findings.extend(gaps(context, walk, UNDECIDED));
    result(PASS, function, findings, walk.states)
}
