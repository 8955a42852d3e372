//! Pass `copy-wait`: no thread reads shared memory that an asynchronous copy may still be writing.
//!
//! # Definition
//!
//! A `cp.async` is *in flight* from its issue until its thread executes a `cp.async.wait_group N` at which at most
//! `N` younger groups have been committed after the copy's own, or a `cp.async.wait_all`. From then on its bytes are
//! visible to that thread alone; to the rest of the warp after `bar.warp.sync`, to the CTA after a barrier of the
//! whole CTA (PTX ISA 9.7.9.25, 9.7.13). A read (`ld.shared`, `ldmatrix`) of a byte that a copy writes is wrong
//! * while the copy is in flight, whoever reads (`copy-wait-distance`);
//! * after the wait and before a barrier, if another thread reads (`copy-wait-barrier`).
//!
//! # Method
//!
//! Abstract interpretation, path by path, of one CTA with the number of threads that the entry declares. The state is
//! the block, the values of the live registers on which addresses and branches depend (`analysis::value`: a number
//! for each thread where it is known), and the set of copies that are not yet visible, each with its addresses and
//! the number of groups committed since (counted up to the largest `N` of the function). Copies and reads are
//! matched by comparing the byte ranges of every pair of threads, so rings of buffers need no model of their own:
//! the buffer that an iteration reads is a number. A branch whose condition is not known, but the same in all
//! threads, is followed both ways, and the condition is then known until it is computed again. Where threads may
//! part, every way up to where they meet again is followed, all its copies count, and what is written on the way is
//! unknown afterwards; a commit, wait or barrier there is not decided. States that have been met are not followed again; from its 13th distinct value at a loop head on, a
//! register keeps only its low 4 bits, so that there are finitely many. This is enumeration over threads as in WEFT
//! (Sharma, Bauer, Aiken 2015), with copies in place of named barriers.
//!
//! # What an answer means
//!
//! * *Proved*: on every path, every read comes after wait and barrier, for CTAs of the declared size, if counters do
//!   not wrap around.
//! * *Refuted*: a path (given as a list of lines) on which a read meets a pending copy. Unknown conditions are taken
//!   as independent of each other, so the path may be one that no launch takes.
//! * *Unknown*: something could not be decided; the reason names the instruction. Never silence.
//!
//! A load from an address that is the same in all threads is taken to give all of them the same number, though nothing is
//! known of it: that holds while nobody writes there meanwhile, as for the lists and parameters that kernels branch on.
//!
//! What it can miss: it asks about reads only (a copy that overwrites a tile which other threads still read is the
//! race detector's); generic loads whose address is unknown are taken not to read shared memory that was only
//! written through other windows; smaller CTAs than declared are covered as long as addresses do not depend on
//! `%ntid`; a read through a pointer past the end of its variable is attributed to whatever the layout of this pass
//! puts there.

mod explore;
mod overlap;
mod question;
mod report;
mod state;

use super::evaluate::Context;
use super::{Answer, PassResult};
use crate::diagnostic::Code;
use crate::ptx::{Function, Module, Op};

/// Name of the pass.
pub const PASS: &str = "copy-wait";

/// A read meets a copy that no wait has completed.
pub const DISTANCE: Code = Code("copy-wait-distance");

/// A read meets another thread's copy with no barrier after that thread's wait.
pub const BARRIER: Code = Code("copy-wait-barrier");

/// The pass could not decide.
pub const UNDECIDED: Code = Code("copy-wait-undecided");

/// Branches of a function that is looked at: the control-flow graph takes their square in memory.
pub(super) const BRANCHES_MAX: usize = 4096;

/// Checks one function.
pub fn run(module: &Module, function: &Function) -> PassResult {
    let result = |answer, findings, states| PassResult {
        pass: PASS,
        function: function.name.clone(),
        answer,
        findings,
        states,
    };
    if !function
        .instructions
        .iter()
        .any(|instruction| matches!(instruction.op, Op::CpAsync { .. }))
    {
        return result(Answer::Proved, Vec::new(), 0);
    }
    let branches = function.instructions.iter();
    let branches = branches
        .filter(|instruction| matches!(instruction.op, Op::Bra { .. }))
        .count();
    if branches > BRANCHES_MAX {
        return result(
            Answer::Unknown,
            vec![report::too_many_branches(module, function, branches)],
            0,
        );
    }
    let Some(context) = Context::new(module, function) else {
        return result(
            Answer::Unknown,
            vec![report::size_unknown(module, function)],
            0,
        );
    };
    let exploration = explore::Explorer::new(&context).run();
    let findings = report::findings(&context, &exploration);
    let answer = if !exploration.conflicts.is_empty() {
        Answer::Refuted
    } else if exploration.undecided.is_empty() {
        Answer::Proved
    } else {
        Answer::Unknown
    };
    result(answer, findings, exploration.states)
}

#[cfg(test)]
mod tests;
