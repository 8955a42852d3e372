//! Pass `unused`: no parameter goes unread, and nothing is loaded that nobody uses.
//!
//! # Definition
//!
//! A parameter is read by a load from the parameter space, or where its address is taken (then all of it counts as read). A
//! result is dead where its registers are read by no instruction, or only by instructions that are dead themselves;
//! stores, atomics, barriers and jumps are not. Dead loads count; of other dead results (a `mov` that a compiler has left behind) the
//! source is not the cause.
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
/// A load whose result is never used.
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
            "what is loaded here is used by nobody".to_owned(),
            vec![site(module, function, *first, "here")],
            "leave the load out, or use it",
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

/// Loads without effect whose results nothing with an effect needs, in the order of the text.
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
        .filter(|at| matches!(function.instructions[*at].op, Op::Ld { .. }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ptx::parse;

    fn codes(body: &str) -> Vec<&'static str> {
        let text = format!(
            ".version 8.0\n.target sm_80\n.address_size 64\n.entry k(.param .u64 x, .param .u32 n) .reqntid 32\n{{\n\
             .reg .b32 %r<9>;\n.reg .b64 %rd<4>;\nld.param.u64 %rd1, [x];\n{body}\nret;\n}}\n"
        );
        let module = parse("k.ptx", &text).unwrap_or_else(|error| panic!("{error}"));
        let result = run(&module, &module.functions[0]);
        result
            .findings
            .iter()
            .map(|finding| finding.code.0)
            .collect()
    }

    #[test]
    fn what_the_source_can_change_is_advice() {
        let read = "ld.param.u32 %r1, [n];\nst.global.u32 [%rd1], %r1;";
        assert_eq!(codes(read), [] as [&str; 0]);
        assert_eq!(codes("st.global.u32 [%rd1], 1;"), [PARAMETER.0]);
        assert_eq!(
            codes(&format!("{read}\nld.global.u32 %r2, [%rd1];")),
            [RESULT.0]
        );
        // Left behind by a compiler.
        assert_eq!(codes(&format!("{read}\nmov.u32 %r2, 7;")), [] as [&str; 0]);
    }
}
