//! Static passes: questions about a program that are answered without running it.
//!
//! Each pass states what its answers mean and what it can miss in its header. An answer has three values; what a pass
//! cannot decide it says, with the place and the reason.

mod access;
mod alike;
pub mod allow;
pub mod bank_conflict;
mod control_flow;
pub mod copy_wait;
mod descriptor;
pub mod divergence;
mod evaluate;
mod finding;
pub mod global_bounds;
pub mod index_overflow;
mod launches;
pub mod layout;
pub mod mbarrier;
pub mod occupancy;
pub mod sectors;
pub mod shared_bounds;
pub mod shared_init;
pub mod shared_race;
mod slice;
pub mod softmax;
pub mod uniformity;
pub mod unused;
mod value;
mod walk;
pub mod wgmma;

use crate::contract::Contract;
use crate::diagnostic::{Code, Diagnostic};
use crate::ptx::{Function, Module, Op, inline};
use evaluate::Context;
use rayon::prelude::*;
use std::borrow::Cow;

/// What a pass says about a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The property holds.
    Proved,
    /// It does not: the findings give a witness.
    Refuted,
    /// The pass could not decide: the findings say why.
    Unknown,
}

/// The answer of one pass about one function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassResult {
    /// Name of the pass, e.g. `copy-wait`.
    pub pass: &'static str,
    /// Entry function.
    pub function: String,
    /// The answer.
    pub answer: Answer,
    /// Why: empty exactly where the answer is [`Answer::Proved`].
    pub findings: Vec<Diagnostic>,
    /// States that the pass went through: how much work the answer took.
    pub states: usize,
}

/// Runs every pass on every entry, in the order of the text, knowing of a launch what the text says.
pub fn analyze(module: &Module) -> Vec<PassResult> {
    analyze_under(module, &|_| Vec::new())
}

/// Runs every pass on every entry, each with what launches of it are promised; the first stands for all where a pass asks
/// for one fact, as how long dynamic shared memory is.
pub fn analyze_under(
    module: &Module,
    launches: &(dyn Fn(&Function) -> Vec<Contract> + Sync),
) -> Vec<PassResult> {
    module
        .functions
        .par_iter()
        .flat_map_iter(|function| {
            // What cannot be put in place is analysed as it stands; running it says why.
            let whole = inline(module, function).unwrap_or(Cow::Borrowed(function));
            passes(module, &whole, &launches(function))
        })
        .collect()
}

/// Passes that need a walk over the paths of a CTA.
const WALKED: [(&str, Code); 9] = [
    (shared_race::PASS, shared_race::UNDECIDED),
    (divergence::PASS, divergence::UNDECIDED),
    (shared_bounds::PASS, shared_bounds::UNDECIDED),
    (shared_init::PASS, shared_init::UNDECIDED),
    (bank_conflict::PASS, bank_conflict::UNDECIDED),
    (mbarrier::PASS, mbarrier::UNDECIDED),
    (global_bounds::PASS, global_bounds::UNDECIDED),
    (sectors::PASS, sectors::UNDECIDED),
    (index_overflow::PASS, index_overflow::UNDECIDED),
];

/// The passes that are asked only where launches are promised.
const OF_LAUNCHES: [&str; 2] = [global_bounds::PASS, sectors::PASS];

/// The passes that were not asked of a function, of those that need to know how it is launched.
pub fn not_asked(results: &[PassResult], function: &str) -> Vec<&'static str> {
    let asked = |pass: &str| {
        results
            .iter()
            .any(|result| result.function == function && result.pass == pass)
    };
    let passes = OF_LAUNCHES.into_iter().chain([index_overflow::PASS]);
    passes.filter(|pass| !asked(pass)).collect()
}

fn passes(module: &Module, function: &Function, launches: &[Contract]) -> Vec<PassResult> {
    let (largest, launches): (Vec<&Contract>, Vec<&Contract>) = launches
        .iter()
        .partition(|contract| contract.sizes.is_some());
    let unfollowed = unfollowed(function);
    let mut results = vec![match &unfollowed {
        None => copy_wait::run(module, function),
        Some((at, why)) => {
            let site = finding::site(module, function, *at, "here");
            let finding = finding::undecided(copy_wait::UNDECIDED, why.clone(), vec![site]);
            finding::result(copy_wait::PASS, function, vec![finding], 0)
        }
    }];
    let context = match &unfollowed {
        None => context(module, function),
        Some((_, why)) => Err(why.clone()),
    };
    match context {
        Ok(context) => {
            let walk = walk::walk(&context, &walk::Plan::new(function, false));
            results.extend([
                shared_race::run(&context, &walk),
                divergence::run(&context, &walk),
                shared_bounds::run(&context, &walk, launches.first().copied()),
                shared_init::run(&context, &walk),
                bank_conflict::run(&context, &walk),
                mbarrier::run(&context, &walk, launches.first().copied()),
            ]);
            if !launches.is_empty() {
                results.extend(launches::run(&context, &launches));
            }
            if !largest.is_empty() {
                results.push(index_overflow::run(&context, &largest));
            }
        }
        Err(why) => {
            let asked = |pass: &str| {
                (!launches.is_empty() || !OF_LAUNCHES.contains(&pass))
                    && (!largest.is_empty() || pass != index_overflow::PASS)
            };
            results.extend(WALKED.into_iter().filter(|(pass, _)| asked(pass)).map(
                |(pass, code)| {
                    let site = finding::site(module, function, 0, "the entry begins here");
                    let finding = finding::undecided(code, why.clone(), vec![site]);
                    finding::result(pass, function, vec![finding], 0)
                },
            ));
        }
    }
    results.push(match unfollowed {
        None => wgmma::run(module, function),
        Some((at, why)) => {
            let site = finding::site(module, function, at, "here");
            let finding = finding::undecided(wgmma::UNDECIDED, why, vec![site]);
            finding::result(wgmma::PASS, function, vec![finding], 0)
        }
    });
    results.push(softmax::run(module, function));
    results.push(unused::run(module, function));
    results
}

/// A jump that no pass over paths follows, and why.
fn unfollowed(function: &Function) -> Option<(usize, String)> {
    let at = function
        .instructions
        .iter()
        .position(|found| matches!(found.op, Op::BranchIndexed { .. } | Op::Call(_)))?;
    let line = function.instructions[at].span.line;
    Some((
        at,
        format!("the call or branch by a list at line {line} is not followed"),
    ))
}

/// What the walk needs to know, or why it cannot begin.
fn context<'m>(module: &'m Module, function: &'m Function) -> Result<Context<'m>, String> {
    let branches = function.instructions.iter();
    let branches = branches
        .filter(|instruction| matches!(instruction.op, Op::Bra { .. }))
        .count();
    if branches > copy_wait::BRANCHES_MAX {
        return Err(format!(
            "`{}` has {branches} branches, more than the {} that are followed",
            function.name,
            copy_wait::BRANCHES_MAX
        ));
    }
    Context::new(module, function).ok_or_else(|| {
        format!(
            "`{}` does not declare how many threads a CTA has (`.reqntid` or `.maxntid`, at most 1024 in all): compile it with __launch_bounds__",
            function.name
        )
    })
}
