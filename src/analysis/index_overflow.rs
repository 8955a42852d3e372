//! Pass `index-overflow`: no index of 32 bits wraps around before an address in global memory is made from it.
//!
//! # Definition
//!
//! A register of 32 bits has the number that was computed modulo 2^32. Sums, differences, products and shifts to the left stay
//! right whatever they pass through; what matters is where a register is *taken* for a number: where it is widened to 64 bits,
//! divided, shifted right, compared by `min` or `max`, or is a coordinate of a tensor copy. There the number that was computed
//! must be one of the instruction's type, wherever an address in global memory, or such a coordinate, is made from the result.
//!
//! # Method
//!
//! Launches as large as the manifest allows (`requires.seqlen_sum_max`; heads and sequences as many as a grid has; buffers of
//! 2^40 bytes together): sizes are numbers, threads and CTAs intervals, entries of lists what the launch promises. Intervals of
//! unbounded integers for every register on which addresses and branches depend, to a fixed point over the blocks, bounds of
//! loops jumping to the launch's own numbers and coming back (Cousot and Cousot, POPL 1977); a branch that is taken bounds what
//! its condition compares, and copies of it. Where something may wrap, single threads of the first and last CTAs are followed
//! along the path that they take for certain, lists holding their greatest entries: a number that they compute beyond the
//! register is the witness.
//!
//! # What an answer means
//!
//! *Proved*: for the launches asked, whatever tensors and lists hold. *Refuted*: the sizes, the thread and the number. *Unknown*:
//! the interval reaches beyond the register and no thread was found that does. Without a manifest the pass is not asked.
//!
//! Can miss: sizes between the largest and the smallest along one axis where another falls as it grows; sums of 64 bits; addresses
//! in shared memory (`shared-bounds` has those); what passes through memory, which counts as any number of its type.

mod execute;
mod flow;
mod number;
mod relation;
mod state;

use super::PassResult;
use super::evaluate::Context;
use super::finding::{result, site, undecided, wrong};
use crate::contract::Contract;
use crate::diagnostic::{Code, Diagnostic, Site};
use flow::{Flow, Plan, Wrap};
use std::collections::BTreeMap;

/// Name of the pass.
pub const PASS: &str = "index-overflow";
/// An index wraps around.
pub const WRAPS: Code = Code("index-overflow");
/// The pass could not decide.
pub const UNDECIDED: Code = Code("index-overflow-undecided");

pub(super) fn run(context: &Context<'_>, largest: &[&Contract]) -> PassResult {
    let function = context.function;
    let plan = Plan::new(function);
    let mut states = 0;
    let mut refuted: BTreeMap<usize, Diagnostic> = BTreeMap::new();
    let mut open: BTreeMap<usize, Diagnostic> = BTreeMap::new();
    for contract in largest {
        let sizes = contract.sizes.as_deref().unwrap_or_default();
        let mut flow = Flow::new(context, &plan, contract, None);
        let solved = flow.solve();
        states += flow.steps;
        if !solved {
            let why = "bounds of loops did not settle".to_owned();
            let here = vec![site(context.module, function, 0, "the entry begins here")];
            open.entry(0)
                .or_insert_with(|| undecided(UNDECIDED, why, here));
            continue;
        }
        if flow.wraps.keys().all(|at| refuted.contains_key(at)) {
            continue;
        }
        for who in witnesses(contract) {
            let mut one = Flow::new(context, &plan, contract, Some(who));
            if let Some(wrap) = one.follow() {
                refuted
                    .entry(wrap.at)
                    .or_insert_with(|| refutation(context, &wrap, sizes, who));
            }
        }
        for (at, wrap) in &flow.wraps {
            open.entry(*at)
                .or_insert_with(|| unknown(context, wrap, sizes));
        }
    }
    let mut findings: Vec<Diagnostic> = refuted.values().cloned().collect();
    let left = open.into_iter().filter(|(at, _)| !refuted.contains_key(at));
    findings.extend(left.map(|(_, finding)| finding));
    result(PASS, function, findings, states)
}

/// Threads that are followed: the first and the last of the last CTA and of the first.
fn witnesses(contract: &Contract) -> Vec<([u32; 3], [u32; 3])> {
    let last = |extents: [u32; 3]| extents.map(|extent| extent.max(1) - 1);
    let (thread, cta) = (last(contract.cta), last(contract.grid));
    let mut who = vec![
        ([0; 3], cta),
        (thread, cta),
        ([0; 3], [0; 3]),
        (thread, [0; 3]),
    ];
    who.dedup();
    who
}

fn sites(context: &Context<'_>, wrap: &Wrap, computed: String) -> Vec<Site> {
    let (module, function) = (context.module, context.function);
    let taken = format!("taken for a number of type {} here", wrap.ty);
    let mut sites = vec![site(module, function, wrap.at, taken)];
    sites.extend(wrap.made.map(|made| site(module, function, made, computed)));
    sites
}

fn refutation(
    context: &Context<'_>,
    wrap: &Wrap,
    sizes: &str,
    ([x, y, z], [cta_x, cta_y, cta_z]): ([u32; 3], [u32; 3]),
) -> Diagnostic {
    let computed = format!(
        "thread ({x},{y},{z}) of CTA ({cta_x},{cta_y},{cta_z}) computes {} here, of which 32 bits are kept",
        wrap.low
    );
    wrong(
        WRAPS,
        format!("an index of 32 bits wraps around: {sizes}"),
        sites(context, wrap, computed),
        "widen before the product: `static_cast<std::int64_t>(row) * stride`; or promise less in the manifest (`seqlen_sum_max`)",
    )
}

fn unknown(context: &Context<'_>, wrap: &Wrap, sizes: &str) -> Diagnostic {
    let bound = |bound: i128| {
        if bound.abs() >= 1 << 64 {
            "no bound".to_owned()
        } else {
            bound.to_string()
        }
    };
    let computed = format!("from {} to {} here", bound(wrap.low), bound(wrap.high));
    undecided(
        UNDECIDED,
        format!("an index of 32 bits may wrap around, as far as its bounds are known: {sizes}"),
        sites(context, wrap, computed),
    )
}

#[cfg(test)]
mod tests;
