//! Pass `sectors`: how many sectors of global memory an access of a warp moves, and how many would do.
//!
//! # Definition
//!
//! Global memory moves sectors of 32 bytes. An access of a warp moves every sector that a byte of one of its lanes lies in; as
//! many as its different bytes fill, laid side by side, are the least. An access is *scattered* where it moves more than a
//! fifth more than that, and more than one sector more: one may be due to where a row of a tensor begins. Source: CUDA C++
//! Best Practices Guide, "Coalesced Access to Global Memory".
//!
//! # Method
//!
//! The addresses of the walk over CTAs of launches (`launches`), the 32 lanes of each warp one by one, as `bank-conflict` does
//! for shared memory. The virtual machine counts the same in runs (`verify --notes`).
//!
//! # What an answer means
//!
//! *Proved*: no access of the CTAs that were walked is scattered. *Refuted*: the access, its sectors and the least; it costs
//! time and is no bug. *Unknown*: an address, or who takes part, depends on data. Without a manifest the pass is not asked.
//!
//! Can miss: caches, which may join what two accesses move; atomics and copies by tensor maps; shapes other than those walked.

use super::PassResult;
use super::access::Kind;
use super::evaluate::Context;
use super::finding::{result, site, undecided};
use super::value::Value;
use super::walk::{Walk, global_access};
use crate::diagnostic::{Blame, Code, Diagnostic};
use std::collections::BTreeMap;

/// Name of the pass.
pub const PASS: &str = "sectors";
/// A warp's access moves more sectors than its bytes fill.
pub const SCATTERED: Code = Code("scattered-access");
/// The pass could not decide.
pub const UNDECIDED: Code = Code("sectors-undecided");

/// Bytes of a sector.
const SECTOR: u64 = 32;

/// Places that a finding names; the others are counted.
const PLACES_MAX: usize = 1;

/// What one access of a warp moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Moved {
    sectors: u64,
    least: u64,
    /// Bytes of a lane.
    bytes: u64,
    /// From one lane to the next, where it is the same for all.
    stride: Option<u64>,
}

impl Moved {
    fn is_scattered(&self) -> bool {
        self.sectors * 5 > self.least * 6 && self.sectors > self.least + 1
    }

    /// What to change.
    fn cure(&self) -> String {
        let vector = self.bytes * 4 <= 16;
        match self.stride {
            Some(stride) if stride > self.bytes => format!(
                "lanes lie {stride} bytes apart and take {} each: let neighbouring lanes take neighbouring elements",
                self.bytes
            ),
            _ if vector => format!(
                "groups of lanes lie apart, {} bytes a lane: exchange values within the warp, or through shared memory, so that \
                 each lane takes 16 neighbouring bytes and neighbouring lanes go on where it ends",
                self.bytes
            ),
            _ => "let neighbouring lanes take neighbouring bytes, from a multiple of 32 on"
                .to_owned(),
        }
    }
}

/// What a warp moves whose lanes access so many bytes at these addresses; `None` where there are none.
fn moved(addresses: &[u64], bytes: u64) -> Option<Moved> {
    let mut starts = addresses.to_vec();
    starts.sort_unstable();
    let (mut sectors, mut different, mut sector_end, mut byte_end) = (0, 0, 0, 0);
    for start in &starts {
        let end = start.saturating_add(bytes);
        let first = (start / SECTOR).max(sector_end);
        sectors += end.div_ceil(SECTOR).saturating_sub(first);
        sector_end = sector_end.max(end.div_ceil(SECTOR));
        different += end.saturating_sub((*start).max(byte_end));
        byte_end = byte_end.max(end);
    }
    let strides = || starts.windows(2).map(|pair| pair[1] - pair[0]);
    let stride = strides()
        .next()
        .filter(|first| strides().all(|other| other == *first));
    (sectors > 0).then_some(Moved {
        sectors,
        least: different.div_ceil(SECTOR),
        bytes,
        stride,
    })
}

/// The worst of each access, and those that are not known.
#[derive(Debug, Default)]
pub(super) struct Found {
    worst: BTreeMap<usize, (Moved, usize)>,
    open: BTreeMap<usize, String>,
}

impl Found {
    /// What the walk over one CTA of a launch met.
    pub(super) fn check(&mut self, context: &Context<'_>, walk: &Walk) {
        for (at, why) in &walk.gaps {
            let why = format!("not every path was followed: {why}");
            self.open.entry(*at).or_insert(why);
        }
        for (at, visits) in &walk.visits {
            let op = &context.function.instructions[*at].op;
            let access = global_access(op).expect("only such are visited");
            if access.kind == Kind::Atomic {
                continue;
            }
            let bytes = access.shape.bytes();
            for (address, guard) in visits {
                let (address, guard) = (walk.value(*address), walk.value(*guard));
                if self
                    .visit(*at, context.threads(), (address, guard), bytes)
                    .is_none()
                {
                    let why = "an address, or which lanes take part, depends on data".to_owned();
                    self.open.entry(*at).or_insert(why);
                }
            }
        }
    }

    /// One access by all warps; `None` where its lanes or their addresses are not known.
    fn visit(
        &mut self,
        at: usize,
        threads: usize,
        (address, guard): (&Value, &Value),
        bytes: u64,
    ) -> Option<()> {
        // A condition that all lanes share takes none of them away.
        let all_alike = guard.uniform().is_none() && !guard.differs();
        for first in (0..threads).step_by(32) {
            let mut addresses = Vec::new();
            for thread in first..(first + 32).min(threads) {
                let takes_part = all_alike || guard.number(thread)? != 0;
                if takes_part {
                    addresses.push(address.number(thread)?);
                }
            }
            let Some(moved) = moved(&addresses, bytes) else {
                continue;
            };
            let found = (moved, first / 32);
            let worst = self.worst.entry(at).or_insert(found);
            if moved.sectors * worst.0.least > worst.0.sectors * moved.least {
                *worst = found;
            }
        }
        Some(())
    }

    /// The answer: one finding for all accesses that are scattered alike.
    pub(super) fn result(self, context: &Context<'_>, states: usize) -> PassResult {
        let (module, function) = (context.module, context.function);
        let mut alike: BTreeMap<Moved, Vec<(usize, usize)>> = BTreeMap::new();
        for (at, (moved, warp)) in &self.worst {
            if moved.is_scattered() {
                alike.entry(*moved).or_default().push((*at, *warp));
            }
        }
        let mut findings = Vec::new();
        for (moved, places) in alike.iter().rev() {
            let label = |warp: usize| format!("warp {warp} here");
            let sites = places.iter().take(PLACES_MAX);
            findings.push(Diagnostic {
                code: SCATTERED,
                blame: Blame::Advice,
                message: match places.len() {
                    1 => format!(
                        "an access of a warp to global memory moves {} sectors of 32 bytes where {} would do",
                        moved.sectors, moved.least
                    ),
                    count => format!(
                        "{count} accesses of a warp to global memory move {} sectors of 32 bytes each where {} would do",
                        moved.sectors, moved.least
                    ),
                },
                sites: sites
                    .map(|(at, warp)| site(module, function, *at, label(*warp)))
                    .collect(),
                help: Some(moved.cure()),
                count: 1,
            });
        }
        findings.extend(
            self.open
                .iter()
                .filter(|(at, _)| !self.worst.contains_key(at))
                .map(|(at, why)| {
                    undecided(
                        UNDECIDED,
                        why.clone(),
                        vec![site(module, function, *at, "this access")],
                    )
                }),
        );
        result(PASS, function, findings, states)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::{Answer, launches};
    use crate::contract::{Contract, Promise, PromisedValue};
    use crate::ptx::parse;

    fn strided(stride: u64, bytes: u64) -> (u64, u64, bool) {
        let addresses: Vec<u64> = (0..32).map(|lane| 4096 + lane * stride).collect();
        let moved = moved(&addresses, bytes).unwrap();
        (moved.sectors, moved.least, moved.is_scattered())
    }

    #[test]
    fn sectors_of_strides() {
        assert_eq!(strided(4, 4), (4, 4, false));
        assert_eq!(strided(16, 16), (16, 16, false));
        assert_eq!(strided(8, 4), (8, 4, true));
        assert_eq!(strided(32, 4), (32, 4, true));
        assert_eq!(strided(128, 16), (32, 16, true));
        assert_eq!(strided(0, 4), (1, 1, false));
        assert_eq!(strided(2, 2), (2, 2, false));
        assert!(moved(&[], 4).is_none());
    }

    #[test]
    fn one_sector_more_is_put_down_to_where_a_row_begins() {
        let shifted: Vec<u64> = (0..32).map(|lane| 4100 + lane * 4).collect();
        let moved = moved(&shifted, 4).unwrap();
        assert_eq!((moved.sectors, moved.least), (5, 4));
        assert!(!moved.is_scattered());
    }

    /// Thread t reads what lies at `INDEX` times 4 bytes.
    fn answer(index: &str) -> (Answer, Vec<String>) {
        let text = format!(
            ".version 9.0\n.target sm_80\n.address_size 64\n.entry k(.param .u64 x) .reqntid 64\n{{\n\
             .reg .pred %p<4>;\n.reg .b32 %r<9>;\n.reg .b64 %rd<9>;\nld.param.u64 %rd1, [x];\nmov.u32 %r1, %tid.x;\n{index}\n\
             mul.wide.u32 %rd2, %r2, 4;\nadd.s64 %rd3, %rd1, %rd2;\nld.global.u32 %r3, [%rd3];\nret;\n}}\n"
        );
        let module = parse("k.ptx", &text).unwrap_or_else(|error| panic!("{error}"));
        let context = Context::new(&module, &module.functions[0]).unwrap();
        let contract = Contract {
            grid: [1; 3],
            cta: [64, 1, 1],
            params: vec![Promise {
                offset: 0,
                bytes: 8,
                value: PromisedValue::Buffer {
                    name: "x".to_owned(),
                    bytes: 1 << 20,
                    align: 256,
                    writable: false,
                    entries: None,
                },
            }],
            ..Contract::default()
        };
        let [_, result] = launches::run(&context, &[&contract]);
        let messages = result.findings.iter();
        (
            result.answer,
            messages
                .map(|found| format!("{}; {}", found.message, found.help.as_deref().unwrap_or("")))
                .collect(),
        )
    }

    #[test]
    fn rows_that_lanes_walk_down_are_scattered_and_columns_are_not() {
        assert_eq!(answer("mov.u32 %r2, %r1;"), (Answer::Proved, vec![]));
        assert_eq!(answer("xor.b32 %r2, %r1, 5;").0, Answer::Proved);
        let (refuted, found) = answer("shl.b32 %r2, %r1, 5;");
        assert_eq!(refuted, Answer::Refuted);
        assert_eq!(
            found,
            [
                "an access of a warp to global memory moves 32 sectors of 32 bytes where 4 would do; lanes lie 128 bytes apart and take 4 each: let neighbouring lanes take neighbouring elements"
            ]
        );
        // Eight groups of four lanes, as a fragment of a product lies.
        let (refuted, found) = answer(
            "shr.u32 %r4, %r1, 2;\nshl.b32 %r4, %r4, 6;\nand.b32 %r5, %r1, 3;\nor.b32 %r2, %r4, %r5;",
        );
        assert_eq!(refuted, Answer::Refuted);
        assert!(
            found[0].contains("8 sectors of 32 bytes where 4"),
            "{found:?}"
        );
        // An index that was loaded.
        assert_eq!(answer("ld.global.u32 %r2, [%rd1];").0, Answer::Unknown);
    }
}
