//! Pass `unused`: no parameter goes unread, and no instruction computes what nobody uses.
//!
//! # Definition
//!
//! A parameter is read by a load from the parameter space, or where its address is taken (then all of it counts as read). A
//! result is dead where its registers are read by no instruction, or only by instructions that are dead themselves;
//! loads that are not volatile count, stores, atomics, barriers and jumps do not.
//!
//! *Proved* and *refuted* are exact for the text; the pass is never *unknown*. It is advice: an unused parameter is often
//! one that was meant to be used (a stride, a length).
//!
//! Can miss: results that are used, but on no path that is taken.

use super::PassResult;
use super::finding::{result, site};
use crate::diagnostic::{Blame, Code, Diagnostic, Site};
use crate::ptx::{AddressBase, Function, Module, Op, Operand, RegisterId, Space, Symbol};
use std::collections::{HashMap, HashSet};

/// Name of the pass.
pub const PASS: &str = "unused";
/// A parameter that is never read.
pub const PARAMETER: Code = Code("unused-parameter");
/// A result that is never used.
pub const RESULT: Code = Code("unused-result");

pub(super) fn run(module: &Module, function: &Function) -> PassResult {
    let advice = |code, message: String, sites: Vec<Site>, help: &str, count| Diagnostic {
        code,
        blame: Blame::Advice,
        message,
        sites,
        help: Some(help.to_owned()),
        count,
    };
    let mut findings = Vec::new();
    for (name, bytes) in unread_params(function) {
        findings.push(advice(
            PARAMETER,
            format!("{bytes} of parameter `{name}` are never read"),
            vec![site(module, function, 0, "the entry begins here")],
            "was it meant to be used? else take it out of the signature",
            1,
        ));
    }
    let dead = dead_results(function);
    if let Some(first) = dead.first() {
        let count = u64::try_from(dead.len()).unwrap_or(u64::MAX);
        findings.push(advice(
            RESULT,
            "an instruction computes what nobody uses".to_owned(),
            vec![site(module, function, *first, "here")],
            "take it out, or use it",
            count,
        ));
    }
    result(PASS, function, findings, 0)
}

/// Names of parameters with bytes that no load reads, and which.
fn unread_params(function: &Function) -> Vec<(String, String)> {
    let mut read: HashMap<u32, Vec<(u64, u64)>> = HashMap::new();
    for instruction in &function.instructions {
        if let Op::Ld {
            space: Space::Param,
            address,
            d,
            ty,
            ..
        } = &instruction.op
            && let AddressBase::Symbol(Symbol::Param(index)) = address.base
        {
            let start = u64::try_from(address.offset).unwrap_or(0);
            let count = u64::try_from(d.len()).expect("a few elements");
            let end = start + count * u64::from(ty.bytes());
            read.entry(index).or_default().push((start, end));
        } else {
            for index in taken(&instruction.op) {
                read.entry(index).or_default().push((0, u64::MAX));
            }
        }
    }
    let params = function.params.iter().zip(0_u32..);
    params
        .filter_map(|(param, index)| {
            let mut ranges = read.remove(&index).unwrap_or_default();
            ranges.sort_unstable();
            let (mut gaps, mut at) = (Vec::new(), 0);
            for (start, end) in ranges {
                if start > at {
                    gaps.push((at, start));
                }
                at = at.max(end);
            }
            if at < param.bytes() {
                gaps.push((at, param.bytes()));
            }
            // Padding of a struct is never read: gaps below a word are no finding.
            gaps.retain(|(start, end)| end - start >= 4);
            let gap = gaps.first()?;
            let what = if *gap == (0, param.bytes()) {
                format!("all {} bytes", gap.1)
            } else {
                format!("bytes {} to {}", gap.0, gap.1 - 1)
            };
            Some((param.name.clone(), what))
        })
        .collect()
}

/// Parameters whose address an instruction takes.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "an address that is only computed with comes from `mov` or `cvta`"
)]
fn taken(op: &Op) -> Vec<u32> {
    let symbol = |operand: &Operand| match operand {
        Operand::Address(Symbol::Param(index), _) => Some(*index),
        Operand::Address(Symbol::Module(_) | Symbol::Function(_), _)
        | Operand::Register(_)
        | Operand::Immediate(_)
        | Operand::Special(_) => None,
    };
    match op {
        Op::Mov { a, .. } | Op::Cvta { a, .. } => symbol(a).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// Whether an instruction matters beyond its registers.
fn has_effect(op: &Op) -> bool {
    matches!(
        op,
        Op::St { .. }
            | Op::PrefetchLine { .. }
            | Op::Atomic { .. }
            | Op::Shfl { .. }
            | Op::Vote { .. }
            | Op::Redux { .. }
            | Op::BarrierSync { .. }
            | Op::BarrierArrive { .. }
            | Op::BarrierRed { .. }
            | Op::WarpSync { .. }
            | Op::Membar { .. }
            | Op::Fence { .. }
            | Op::CpAsync { .. }
            | Op::CpAsyncCommit
            | Op::CpAsyncWait { .. }
            | Op::CpAsyncWaitAll
            | Op::StMatrix { .. }
            | Op::Bra { .. }
            | Op::Ret
            | Op::Exit
            | Op::Trap
    ) || op.writes().is_empty()
}

/// Instructions without effect whose results nothing with an effect needs, in the order of the text.
fn dead_results(function: &Function) -> Vec<usize> {
    let mut writers: HashMap<RegisterId, Vec<usize>> = HashMap::new();
    for (at, instruction) in function.instructions.iter().enumerate() {
        for register in instruction.op.writes() {
            writers.entry(register).or_default().push(at);
        }
    }
    let mut alive: HashSet<usize> = HashSet::new();
    let all = function.instructions.iter().enumerate();
    let mut left: Vec<usize> = all
        .filter(|(_, instruction)| has_effect(&instruction.op))
        .map(|(at, _)| at)
        .collect();
    while let Some(at) = left.pop() {
        if !alive.insert(at) {
            continue;
        }
        let instruction = &function.instructions[at];
        let guard = instruction.guard.map(|guard| guard.register);
        for register in instruction.op.reads().into_iter().chain(guard) {
            left.extend(writers.get(&register).into_iter().flatten());
        }
    }
    (0..function.instructions.len())
        .filter(|at| !alive.contains(at))
        .collect()
}
