//! Pass `shared-bounds`: no access lies outside the shared memory of the CTA, or off its alignment.
//!
//! # Definition
//!
//! The window is the static variables of module and function, one after the other, and after them the dynamic bytes that a
//! launch promises. An access must end within it, and begin at a multiple of its size (of 16 for rows of `ldmatrix` and what bulk copies
//! write, of 128 for boxes of tensors). Barriers in memory are accesses of eight bytes.
//!
//! # What an answer means
//!
//! *Proved*: every access on every path of the walk is inside. *Refuted*: a thread whose guard is known to hold, with the
//! byte. *Unknown*: an address depends on data, or there is a dynamic array and no launch says how long it is.
//!
//! Can miss: operands of `wgmma`, which descriptors address; an access past the end of one variable that lands in another; where variables lie is this tool's choice.

use super::PassResult;
use super::access::{Shape, shared_access};
use super::evaluate::Context;
use super::finding::{gaps, result, site, undecided, wrong};
use super::value::ValueId;
use super::walk::{CopyBytes, Walk};
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

/// A barrier in memory.
const BARRIER_BYTES: u64 = 8;
/// What the destination of a bulk copy must be a multiple of (PTX ISA, `cp.async.bulk`).
const BULK_ALIGN: u64 = 16;
/// The same of a copy of a tensor's box.
const TENSOR_ALIGN: u64 = 128;

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

/// Accesses of one instruction that are asked for.
struct Asked {
    at: usize,
    bytes: u64,
    /// What their addresses must be multiples of.
    align: u64,
    shape: Shape,
    visits: Vec<(ValueId, ValueId)>,
}

/// Bytes that a copy writes, as far as they are promised.
fn copied(bytes: CopyBytes, contract: Option<&Contract>) -> Option<u64> {
    match bytes {
        CopyBytes::Known(bytes) => Some(bytes),
        CopyBytes::Map(offset) => contract?.box_bytes(offset),
        CopyBytes::Unknown => None,
    }
}

/// What is asked of every instruction: accesses of threads, barriers, and what copies write.
fn asked(context: &Context<'_>, walk: &Walk, contract: Option<&Contract>) -> Vec<Asked> {
    let ordinary = walk.visits.iter().map(|(at, visits)| {
        let op = &context.function.instructions[*at].op;
        let shape = shared_access(op).expect("only such are visited").shape;
        Asked {
            at: *at,
            bytes: shape.bytes(),
            align: shape.bytes(),
            shape,
            visits: visits.iter().copied().collect(),
        }
    });
    let barriers = walk.barriers.iter().map(|(at, visits)| Asked {
        at: *at,
        bytes: BARRIER_BYTES,
        align: BARRIER_BYTES,
        shape: Shape::Own(BARRIER_BYTES),
        visits: visits.iter().copied().collect(),
    });
    let copies = walk.copies.iter().flat_map(|(at, visits)| {
        visits.iter().map(|(address, guard, bytes)| Asked {
            at: *at,
            // The first line at least.
            bytes: copied(*bytes, contract).unwrap_or(BULK_ALIGN),
            align: if matches!(bytes, CopyBytes::Map(_)) {
                TENSOR_ALIGN
            } else {
                BULK_ALIGN
            },
            shape: Shape::Own(BULK_ALIGN),
            visits: vec![(*address, *guard)],
        })
    });
    ordinary.chain(barriers).chain(copies).collect()
}

pub(super) fn run(context: &Context<'_>, walk: &Walk, contract: Option<&Contract>) -> PassResult {
    let (module, function) = (context.module, context.function);
    let end = window(context, contract);
    let mut findings = Vec::new();
    for asked in asked(context, walk, contract) {
        let Asked {
            at, bytes, align, ..
        } = asked;
        let (mut open, mut outside, mut misaligned) = (false, None, None);
        for (address, guard) in &asked.visits {
            let (address, guard) = (walk.value(*address), walk.value(*guard));
            for thread in 0..context.threads() {
                if !asked.shape.gives_address(thread) || guard.number(thread) == Some(0) {
                    continue;
                }
                let certain = guard.number(thread).is_some();
                match address.number(thread) {
                    None => {
                        // The known bits bound it.
                        let lane = address.bits(thread);
                        let most = lane.ones | !lane.known;
                        open |= end.is_none_or(|end| most.saturating_add(bytes) > end)
                            || lane.known & (align - 1) != align - 1;
                    }
                    Some(start) => {
                        if end.is_some_and(|end| start.saturating_add(bytes) > end) {
                            if certain {
                                outside = outside.or(Some((thread, start)));
                            } else {
                                open = true;
                            }
                        } else if !start.is_multiple_of(align) {
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
        let here = |label: String| vec![site(module, function, at, label)];
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
                format!("an access of {bytes} bytes that begins at no multiple of {align}"),
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
    let unboxed = walk.copies.iter().find(|(_, visits)| {
        let known = |bytes: &CopyBytes| copied(*bytes, contract).is_some();
        visits.iter().any(|(_, _, bytes)| !known(bytes))
    });
    if let Some((at, _)) = unboxed {
        findings.push(undecided(
            UNDECIDED,
            "how many bytes this copy writes depends on data, or is a fact of the launch: give a manifest (tensor_map)".to_owned(),
            vec![site(module, function, *at, "here")],
        ));
    }
    let any = !(walk.visits.is_empty() && walk.barriers.is_empty() && walk.copies.is_empty());
    if end.is_none() && any {
        findings.push(undecided(
            UNDECIDED,
            "the length of a dynamic array is a fact of the launch: give a manifest (shared_bytes); without it only alignment is checked".to_owned(),
            vec![site(module, function, 0, "the entry begins here")],
        ));
    }
    findings.extend(gaps(context, walk, UNDECIDED));
    result(PASS, function, findings, walk.states)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::{Answer, analyze};
    use crate::ptx::parse;

    /// Thread 0 makes a barrier at `barrier` and copies so many bytes to `to`, of 1,024 bytes of shared memory.
    fn codes(barrier: u32, to: u32, bytes: u32) -> (Answer, Vec<&'static str>) {
        let text = format!(
            ".version 8.0\n.target sm_90a\n.address_size 64\n.entry k(.param .u64 x) .reqntid 32\n{{\n.reg .pred %p<4>;\n\
             .reg .b32 %r<4>;\n.reg .b64 %rd<4>;\n.shared .align 128 .b8 s[1024];\nld.param.u64 %rd1, [x];\nmov.u32 %r1, %tid.x;\n\
             setp.ne.u32 %p1, %r1, 0;\nmov.u32 %r2, s;\n@%p1 bra MADE;\nmbarrier.init.shared.b64 [%r2+{barrier}], 1;\n\
             MADE: bar.sync 0;\n@%p1 bra DONE;\nmbarrier.arrive.expect_tx.shared.b64 _, [%r2+{barrier}], {bytes};\n\
             cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r2+{to}], [%rd1], {bytes}, [%r2+{barrier}];\n\
             DONE: ret;\n}}\n"
        );
        let module = parse("k.ptx", &text).unwrap_or_else(|error| panic!("{error}"));
        let mut results = analyze(&module).into_iter();
        let result = results.find(|result| result.pass == PASS).unwrap();
        let codes = result.findings.iter().map(|finding| finding.code.0);
        (result.answer, codes.collect())
    }

    #[test]
    fn barriers_and_copies_lie_inside() {
        assert_eq!(codes(1016, 0, 1008), (Answer::Proved, vec![]));
        assert_eq!(codes(0, 16, 1024), (Answer::Refuted, vec![OUTSIDE.0]));
        assert_eq!(codes(1024, 0, 1024), (Answer::Refuted, vec![OUTSIDE.0; 3]));
        assert_eq!(
            codes(1012, 0, 1008),
            (Answer::Refuted, vec![MISALIGNED.0; 3])
        );
        assert_eq!(codes(1016, 8, 16), (Answer::Refuted, vec![MISALIGNED.0]));
    }
}
