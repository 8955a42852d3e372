//! Memcheck: accesses that memory does not allow, and the other ways a run stops.
//!
//! **Finds** accesses to global memory outside every allocation or across the end of one, to freed memory, writes to
//! memory the launch made read-only, accesses outside the CTA's shared, the thread's local or the launch's parameter
//! memory, generic addresses in no space, and addresses that are no multiple of the access size. The run stops there, as
//! it would on a GPU; the machine raises it, and this file says it.
//!
//! **Source**: PTX ISA 6.4 (alignment), 5.1 (spaces); compute-sanitizer's memcheck.
//!
//! **Can miss** an access that lands inside another allocation (they are a megabyte apart), an index that is wrong but
//! inside, padding between shared variables, and everything after the first fault.

use super::super::exec::{Halt, Program};
use super::super::memory::Reason;
use super::{Names, Where, site};
use crate::diagnostic::{Blame, Code, Diagnostic};
use crate::ptx::Space;

const OUT_OF_BOUNDS: Code = Code("out-of-bounds");
const FREED: Code = Code("freed-memory");
const READ_ONLY: Code = Code("read-only-memory");
const MISALIGNED: Code = Code("misaligned-address");
const NO_SPACE: Code = Code("address-in-no-space");
const TRAP: Code = Code("trap");
const UNSUPPORTED: Code = Code("unsupported-instruction");
const MEMBERS: Code = Code("missing-lanes");
const BARRIER: Code = Code("invalid-barrier");
const DEADLOCK: Code = Code("deadlock");
const BUDGET: Code = Code("instruction-budget");

/// A halt as a diagnostic.
pub(crate) fn diagnose(program: &Program<'_>, cta: [u32; 3], halt: &Halt) -> Diagnostic {
    let names = Names::new(program, cta);
    let warp_name = |warp: &usize| format!("warp {warp} of {}", names.cta());
    let kernel = |code: Code, message: String, places: Vec<Where>, help: &str| Diagnostic {
        code,
        blame: Blame::Kernel,
        message,
        sites: places
            .iter()
            .map(|place| site(program, place.at, &place.label))
            .collect(),
        help: Some(help.to_owned()),
        count: 1,
    };
    match halt {
        Halt::Fault {
            at,
            space,
            reason,
            thread,
            address,
            bytes,
            write,
        } => {
            let verb = if *write { "write" } else { "read" };
            let place = Where {
                at: *at,
                label: format!("{verb} here by {}", names.thread(*thread)),
            };
            let (code, why, help) = explain(*space, reason, *address);
            kernel(
                code,
                format!("{verb} of {bytes} bytes at {space} address {address:#x}: {why}"),
                vec![place],
                help,
            )
        }
        Halt::Trap { at, thread } => kernel(
            TRAP,
            "the kernel executed `trap`".to_owned(),
            vec![Where {
                at: *at,
                label: format!("executed here by {}", names.thread(*thread)),
            }],
            "an assertion of the kernel failed, or code the compiler holds unreachable was reached",
        ),
        Halt::Unsupported { at, what } => Diagnostic {
            blame: Blame::Unsupported,
            ..kernel(
                UNSUPPORTED,
                format!("{what}: this machine does not execute it"),
                vec![Where {
                    at: *at,
                    label: "here".to_owned(),
                }],
                "this says nothing about the kernel",
            )
        },
        Halt::Members { at, warp, what } => kernel(
            MEMBERS,
            what.clone(),
            vec![Where {
                at: *at,
                label: format!("executed here by {}", warp_name(warp)),
            }],
            "every lane that a warp-wide instruction names has to execute it",
        ),
        Halt::Barrier { at, warp, what } => kernel(
            BARRIER,
            what.clone(),
            vec![Where {
                at: *at,
                label: format!("executed here by {}", warp_name(warp)),
            }],
            "all arrivals at a barrier agree on its number and its thread count",
        ),
        Halt::Misuse {
            at,
            thread,
            misuse,
            what,
        } => {
            let (code, help) = super::mbarrier::code(*misuse);
            let label = format!("executed here by {}", names.thread(*thread));
            kernel(code, what.clone(), vec![Where { at: *at, label }], help)
        }
        Halt::Deadlock { waiting } => {
            let places = waiting
                .iter()
                .map(|(at, what)| Where {
                    at: *at,
                    label: what.clone(),
                })
                .collect();
            let message = format!("every warp of {} that has not ended waits", names.cta());
            kernel(
                DEADLOCK,
                message,
                places,
                "look for a barrier that some threads do not reach",
            )
        }
        Halt::Budget { at, warp, budget } => kernel(
            BUDGET,
            format!(
                "{} has executed {budget} warp instructions, which is the budget",
                names.cta()
            ),
            vec![Where {
                at: *at,
                label: format!("{} was here", warp_name(warp)),
            }],
            "a loop that does not end, or a run that needs a larger budget",
        ),
    }
}

fn explain(space: Space, reason: &Reason, address: u64) -> (Code, String, &'static str) {
    match reason {
        Reason::OutOfBounds(None) => (
            OUT_OF_BOUNDS,
            "nothing is allocated there".to_owned(),
            "a null or wild pointer, most often",
        ),
        Reason::OutOfBounds(Some((name, base, length))) => {
            let offset = address.wrapping_sub(*base);
            let why = format!("`{name}` starts {offset} bytes before it and has {length} bytes");
            (
                OUT_OF_BOUNDS,
                why,
                "check the index against the extent of the tensor, ragged tails above all",
            )
        }
        Reason::OutsideSpace(size) => {
            let why = format!("{space} memory has {size} bytes");
            (
                OUT_OF_BOUNDS,
                why,
                "check the index, and the shared bytes of the launch",
            )
        }
        Reason::Freed(name) => (
            FREED,
            format!("`{name}` was freed"),
            "the host frees it before this kernel runs",
        ),
        Reason::ReadOnly(name) => (
            READ_ONLY,
            format!("`{name}` is read-only"),
            "an input tensor is written, or outputs and inputs are mixed up",
        ),
        Reason::Misaligned(to) => (
            MISALIGNED,
            format!("it is no multiple of {to}"),
            "vector accesses need addresses aligned to their whole size",
        ),
        Reason::NoSpace => (
            NO_SPACE,
            "it lies in no space".to_owned(),
            "a null pointer, or a shared address used as a generic one",
        ),
    }
}
