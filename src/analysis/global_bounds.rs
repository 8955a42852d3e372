//! Pass `global-bounds`: no access to global memory lies outside the buffers that a launch is given.
//!
//! # Definition
//!
//! A launch promises buffers of so many bytes, numbers, and of lists of integers the least and the greatest entry
//! (`contract`). An access must lie within the buffer from whose address its own is computed; a copy of no bytes accesses
//! nothing.
//!
//! # Method
//!
//! The walk of `analysis::walk` over one CTA after the other of each launch, parameters and indices being numbers: an
//! address is then a number for each thread. Where all threads read one entry of a list, the walk goes on with every number
//! that the entry may be, whatever the list of that launch holds; so the answer is about every layout of these shapes that
//! keeps the promise. Barriers and shared memory are not looked at. Buffers are taken to lie 2^40 bytes apart.
//!
//! Extents as inputs of the question follow Triton's bounds proposal (triton-lang/triton RFC 10525); the enumeration of
//! threads follows Sharma, Bauer, Aiken (PLDI 2015).
//!
//! # What an answer means
//!
//! *Proved*: every access of every CTA that was walked is inside, for all lists the promise allows and all values of the
//! tensors. *Refuted*: a thread, a buffer and a byte outside it. *Unknown*: an address depends on data that nothing bounds.
//! Without a manifest the pass is not asked.
//!
//! Can miss: shapes other than the launches it is given (the smallest and two or three ragged ones of each kernel); CTAs between the corners
//! of a large grid; copies by tensor maps, which the hardware clips.

use super::PassResult;
use super::evaluate::Context;
use super::finding::{result, site, undecided, wrong};
use super::walk::{Walk, global_access};
use crate::diagnostic::{Code, Diagnostic};
use std::collections::BTreeMap;

/// Name of the pass.
pub const PASS: &str = "global-bounds";
/// An access outside its buffer.
pub const OUTSIDE: Code = Code("global-out-of-bounds");
/// The pass could not decide.
pub const UNDECIDED: Code = Code("global-bounds-undecided");

/// Findings by instruction: the first place that is outside, or why nothing is known.
#[derive(Default)]
pub(super) struct Found {
    outside: BTreeMap<usize, Diagnostic>,
    open: BTreeMap<usize, Diagnostic>,
}

impl Found {
    /// What the walk over one CTA of a launch met.
    pub(super) fn check(&mut self, context: &Context<'_>, walk: &Walk) {
        let found = self;
        let (module, function) = (context.module, context.function);
        let launch = context.launch.expect("a context of a launch");
        let open = |found: &mut Found, at: usize, why: String| {
            found.open.entry(at).or_insert_with(|| {
                undecided(UNDECIDED, why, vec![site(module, function, at, "here")])
            });
        };
        for (at, why) in &walk.gaps {
            open(
                found,
                *at,
                format!("not every path of `{}` was followed: {why}", function.name),
            );
        }
        for (at, visits) in &walk.visits {
            let access =
                global_access(&function.instructions[*at].op).expect("only such are visited");
            let bytes = access.shape.bytes();
            for (address, guard) in visits {
                let (address, guard) = (walk.value(*address), walk.value(*guard));
                for thread in 0..context.threads() {
                    if guard.number(thread) == Some(0) {
                        continue;
                    }
                    let place = address.number(thread).and_then(|start| launch.place(start));
                    let Some(place) = place else {
                        open(
                        found,
                        *at,
                        "an address in global memory depends on data that no promise of the manifest bounds"
                            .to_owned(),
                    );
                        break;
                    };
                    let inside = u64::try_from(place.offset)
                        .is_ok_and(|offset| offset.saturating_add(bytes) <= place.bytes);
                    if inside {
                        continue;
                    }
                    if guard.number(thread).is_none() {
                        open(
                        found,
                        *at,
                        "whether a thread that would leave its buffer comes here depends on data"
                            .to_owned(),
                    );
                        continue;
                    }
                    let [x, y, z] = launch.cta;
                    let label = format!(
                        "thread {} of CTA ({x},{y},{z}) accesses {bytes} bytes at byte {} of `{}`, which has {}",
                        context.thread_name(thread),
                        place.offset,
                        place.name,
                        place.bytes
                    );
                    found.outside.entry(*at).or_insert_with(|| {
                    wrong(
                        OUTSIDE,
                        "an access outside its buffer in global memory".to_owned(),
                        vec![site(module, function, *at, label)],
                        "compare the index with the extent before the access, or copy no bytes where it is beyond",
                    )
                });
                    break;
                }
            }
        }
    }

    /// The answer.
    pub(super) fn result(self, context: &Context<'_>, states: usize) -> PassResult {
        let mut findings: Vec<Diagnostic> = Vec::new();
        for (at, finding) in &self.open {
            if !self.outside.contains_key(at) {
                findings.push(finding.clone());
            }
        }
        findings.extend(self.outside.into_values());
        findings.sort_by_key(|finding| finding.code != OUTSIDE);
        result(PASS, context.function, findings, states)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::{Answer, launches};
    use crate::contract::{Contract, Entries, Promise, PromisedValue};
    use crate::ptx::parse;

    fn contract(greatest: u32) -> Contract {
        let buffer = |offset, name: &str, bytes, entries| Promise {
            offset,
            bytes: 8,
            value: PromisedValue::Buffer {
                name: name.to_owned(),
                bytes,
                align: 256,
                writable: true,
                entries,
            },
        };
        let entries = Entries {
            least: 0,
            greatest,
            ascending: false,
        };
        Contract {
            grid: [2, 1, 1],
            cta: [32, 1, 1],
            shared_bytes: 0,
            sizes: None,
            params: vec![
                buffer(0, "x", 4 * 40, None),
                buffer(8, "list", 4 * 2, Some(entries)),
                Promise {
                    offset: 16,
                    bytes: 4,
                    value: PromisedValue::Bits(40),
                },
            ],
        }
    }

    /// Thread t of CTA c writes element 32 c + t of x, if that is below the third parameter; `BODY` may change the index.
    fn answer(body: &str, greatest: u32) -> (Answer, Vec<String>) {
        let text = format!(
            ".version 9.0\n.target sm_80\n.address_size 64\n.entry k(.param .u64 x, .param .u64 list, .param .u32 n) .reqntid 32\n{{\n\
             .reg .pred %p<4>;\n.reg .b32 %r<9>;\n.reg .b64 %rd<9>;\nld.param.u64 %rd1, [x];\nld.param.u64 %rd2, [list];\n\
             ld.param.u32 %r1, [n];\nmov.u32 %r2, %ctaid.x;\nmov.u32 %r3, %tid.x;\nmad.lo.s32 %r4, %r2, 32, %r3;\n{body}\n\
             setp.ge.u32 %p1, %r4, %r1;\n@%p1 ret;\nmul.wide.u32 %rd3, %r4, 4;\nadd.s64 %rd4, %rd1, %rd3;\n\
             st.global.u32 [%rd4], %r4;\nret;\n}}\n"
        );
        let module = parse("k.ptx", &text).unwrap_or_else(|error| panic!("{error}"));
        let context = Context::new(&module, &module.functions[0]).unwrap();
        let [result, _] = launches::run(&context, &[&contract(greatest)]);
        let labels = result.findings.iter().map(|found| {
            let label = found.sites[0].label.clone();
            format!("{}: {label}", found.code)
        });
        (result.answer, labels.collect())
    }

    #[test]
    fn a_guard_keeps_threads_inside() {
        assert_eq!(answer("", 0), (Answer::Proved, vec![]));
        let (refuted, labels) = answer("add.s32 %r1, %r1, 1;", 0);
        assert_eq!(refuted, Answer::Refuted);
        assert_eq!(
            labels,
            [
                "global-out-of-bounds: thread (8,0,0) of CTA (1,0,0) accesses 4 bytes at byte 160 of `x`, which has 160"
            ]
        );
    }

    #[test]
    fn every_entry_that_a_list_may_have_is_tried() {
        let body =
            "ld.global.u32 %r5, [%rd2+4];\nmad.lo.s32 %r4, %r5, 32, %r3;\nmov.u32 %r1, 1000;";
        assert_eq!(answer(body, 0), (Answer::Proved, vec![]));
        let (refuted, labels) = answer(body, 3);
        assert_eq!(refuted, Answer::Refuted);
        assert!(labels[0].contains("of `x`, which has 160"), "{labels:?}");
        // Too many to try.
        assert_eq!(answer(body, 1000).0, Answer::Unknown);
        let past = "ld.global.u32 %r5, [%rd2+8];";
        assert!(answer(past, 0).1[0].contains("byte 8 of `list`, which has 8"));
    }
}
