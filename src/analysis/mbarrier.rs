//! Pass `mbarrier`: buffers that copies fill and other warps read are handed over by barriers in memory, and handed back.
//!
//! # Definition
//!
//! A *stage* is the bytes that copies completing on one barrier, *full*, write. Its *writer* is the role that issues them, its
//! *readers* the roles that wait for full; the barrier that the writer waits for before it fills the stage again is *empty*. A role
//! holds a stage:
//!
//! * the writer from the start; from its arrival at full until it has waited for the phase of empty that follows;
//! * a reader from its wait for a phase of full that it has not waited for before, until it arrives at empty.
//!
//! Copies are issued and products read only by a role that holds the stage; a product that reads it has been waited for when the
//! role hands it back; a role that holds a stage does not wait for it again; the bytes that a phase of full expects are the bytes
//! of its copies; the arrivals in a phase of full, and of all readers together in a phase of empty, are as many as the barrier
//! was made for; no barrier is used by other threads before a barrier of the CTA after its initialisation.
//!
//! # Method
//!
//! The walk of `analysis::walk` gives every role's paths with what happens on them. Each stage is followed through each role's
//! paths by itself, in a product with two bits and the parity that is next: a handful of states for each state of the walk,
//! so that roles need not be interleaved. That this is enough: let every reader have handed the stage back `j` times. Empty
//! has then completed `j` phases, the writer has filled it `j + 1` times at most, and full has completed `j` or `j + 1` phases; so
//! a wait for phase `j` by its parity is a wait for that phase and no other, by induction over `j`. What a reader reads then lies after the
//! writer's fill `j` and before its fill `j + 1`.
//!
//! # Source
//!
//! PTX ISA 9.7.13.15 (mbarrier: phases, parity, transactions); Sharma, Bauer, Aiken, WEFT (PLDI 2015), who ask the same
//! of named barriers; the discipline is that of CUTLASS's `PipelineTmaAsync`.
//!
//! # What an answer means
//!
//! *Proved*: for every stage and every path of every role, however many iterations. *Refuted*: a path of one role on which it breaks
//! the discipline; unknown conditions are taken as independent, so the path may be one that no launch takes. *Unknown*: a
//! parity, an address or a count depends on data; ordinary accesses to a stage; what a box brings, without a manifest; a barrier
//! on which no copy completes and by which no stage is handed back, of which only is asked that somebody arrives.
//!
//! Can miss: roles that do not agree how often a stage is filled (a deadlock); what orders the generic and the asynchronous proxy.

mod reader;
mod stage;
mod writer;

use super::PassResult;
use super::evaluate::Context;
use super::finding::{gaps, result, site, undecided, wrong};
use super::walk::{CopyBytes, Walk, What};
use crate::contract::Contract;
use crate::diagnostic::{Code, Diagnostic};
use stage::{Fault, Stages};
use std::collections::{BTreeMap, BTreeSet};

/// Name of the pass.
pub const PASS: &str = "mbarrier";
/// A phase expects other bytes than its copies bring.
pub const BYTES: Code = Code("phase-bytes");
/// A phase gets more or fewer arrivals than its barrier was made for.
pub const ARRIVALS: Code = Code("phase-arrivals");
/// A role waits for a phase that nobody can complete.
pub const STALL: Code = Code("phase-never-completes");
/// A stage is read by a role that does not hold it.
pub const READ_EARLY: Code = Code("stage-read-early");
/// A stage is filled by a role that does not hold it.
pub const REFILLED: Code = Code("stage-refilled-early");
/// A stage is handed back while a product reads it.
pub const RELEASED: Code = Code("stage-released-early");
/// A barrier is used before all threads can know of it.
pub const UNPUBLISHED: Code = Code("mbarrier-unpublished");
/// The pass could not decide.
pub const UNDECIDED: Code = Code("mbarrier-undecided");

/// Whether a function has anything for this pass.
fn is_asked(walk: &Walk) -> bool {
    !walk.copies.is_empty() || !walk.barriers.is_empty()
}

pub(super) fn run(context: &Context<'_>, walk: &Walk, contract: Option<&Contract>) -> PassResult {
    let (module, function) = (context.module, context.function);
    if !is_asked(walk) {
        return result(PASS, function, Vec::new(), 0);
    }
    let mut findings: Vec<Diagnostic> = Vec::new();
    let (mut lost, mut unboxed) = (BTreeMap::new(), BTreeSet::new());
    for event in walk.steps.iter().flat_map(|step| &step.events) {
        match event.what {
            What::Lost(why) => {
                lost.entry(event.at).or_insert(why);
            }
            What::Copy {
                bytes: CopyBytes::Unknown,
                ..
            } => {
                lost.entry(event.at)
                    .or_insert("a copy of so many bytes as data says");
            }
            What::Copy {
                bytes: CopyBytes::Map(offset),
                ..
            } if contract.is_none_or(|contract| contract.box_bytes(offset).is_none()) => {
                unboxed.insert(event.at);
            }
            What::Barrier
            | What::Init { .. }
            | What::Arrive { .. }
            | What::Wait { .. }
            | What::Copy { .. }
            | What::Read { .. }
            | What::Commit
            | What::Complete { .. } => {}
        }
    }
    let mut stages = Stages::new(walk, contract);
    stages.check();
    for (fault, sites) in &stages.faults {
        let sites = sites
            .iter()
            .map(|(at, label)| site(module, function, *at, label.clone()))
            .collect();
        let (code, message, help) = fault.text();
        findings.push(match code {
            Some(code) => wrong(code, message, sites, help),
            None => undecided(UNDECIDED, message, sites),
        });
    }
    let here = |at: usize| vec![site(module, function, at, "here")];
    findings.extend(lost.iter().map(|(at, why)| {
        undecided(
            UNDECIDED,
            format!("a stage could not be followed: {why}"),
            here(*at),
        )
    }));
    if let Some(at) = unboxed.first() {
        findings.push(undecided(
            UNDECIDED,
            "how many bytes a box has is a fact of the launch: give a manifest (tensor_map); without it a phase's bytes are not checked".to_owned(),
            here(*at),
        ));
    }
    findings.extend(gaps(context, walk, UNDECIDED));
    result(PASS, function, findings, stages.states)
}

impl Fault {
    /// Code (none: not decided), message and help.
    fn text(&self) -> (Option<Code>, String, &'static str) {
        match self {
            Self::Bytes { expected, copied } => (
                Some(BYTES),
                format!("a phase expects {expected} bytes and its copies bring {copied}"),
                "expect the bytes of whole boxes, those outside the tensor included",
            ),
            Self::Arrivals { made_for, arrive } => (
                Some(ARRIVALS),
                format!("a barrier is made for {made_for} arrivals a phase and gets {arrive}"),
                "count in `mbarrier.init` every arrival of every role, once a phase",
            ),
            Self::ReadEarly => (
                Some(READ_EARLY),
                "a stage is read by a role that has not waited for this filling of it".to_owned(),
                "wait for the full barrier, with a parity that changes whenever the ring wraps around",
            ),
            Self::Refilled => (
                Some(REFILLED),
                "a stage is filled again by a role that has not waited for it to be handed back"
                    .to_owned(),
                "wait for the empty barrier before each filling, with a parity that changes whenever the ring wraps around",
            ),
            Self::Released => (
                Some(RELEASED),
                "a stage is handed back while a product may still read it".to_owned(),
                "arrive at the empty barrier after the `wgmma.wait_group` that covers the product",
            ),
            Self::WaitedTwice => (
                Some(STALL),
                "a role waits for a stage to be filled again while it holds it".to_owned(),
                "arrive at the empty barrier after the last read of each filling",
            ),
            Self::WaitsForNobody => (
                Some(STALL),
                "a role waits for a stage to be handed back before anyone can have had it"
                    .to_owned(),
                "start the writer's parity at 1: the phase before the first counts as complete",
            ),
            Self::NobodyArrives => (
                Some(STALL),
                "a role waits for a phase at which nobody ever arrives".to_owned(),
                "arrive at the barrier in the role that hands something over, or do not wait for it",
            ),
            Self::Unpublished => (
                Some(UNPUBLISHED),
                "a barrier in memory is used by a thread that may not know of it".to_owned(),
                "`__syncthreads()` after `mbarrier.init` and its fence",
            ),
            Self::ReleasedTwice => (
                Some(ARRIVALS),
                "a role hands a stage back that it does not hold".to_owned(),
                "arrive at the empty barrier once for each filling that the role has waited for",
            ),
            Self::Open(why) => (None, format!("a stage could not be followed: {why}"), ""),
        }
    }
}

#[cfg(test)]
mod tests;
