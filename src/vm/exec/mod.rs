//! Executing a CTA: warps of 32 lanes, structure of arrays, each instruction for all lanes at once.
//!
//! `cta` takes turns among warps and opens barriers, `warp` follows the paths of a warp, `dispatch` is the one match on
//! instructions; the other files execute one class each.

mod asynchronous;
mod atomic;
mod barrier;
mod bulk;
mod comparison;
mod convert;
mod cta;
mod dispatch;
mod exchange;
mod float;
mod integer;
mod matrix;
mod mbarrier;
mod memory;
mod product;
mod program;
mod registers;
mod sm90;
mod warp;
mod wgmma;

pub(crate) use cta::{CtaResult, run_cta};
pub(crate) use exchange::shuffle_source;
pub(crate) use mbarrier::Misuse;
pub(crate) use program::{Class, Program};
pub(crate) use registers::{Registers, Slot, Slots, lanes, lanes_of};
pub(crate) use wgmma::place as wgmma_place;

use super::memory::Reason;
use crate::ptx::Space;

/// A value a lane.
pub(crate) type Lanes<T> = [T; 32];

/// Why a CTA stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Halt {
    /// An access that memory does not allow.
    Fault {
        at: usize,
        space: Space,
        reason: Reason,
        thread: u32,
        address: u64,
        bytes: u32,
        write: bool,
    },
    /// The kernel executed `trap`.
    Trap { at: usize, thread: u32 },
    /// An instruction form this machine does not execute.
    Unsupported { at: usize, what: String },
    /// A warp-wide instruction named lanes that do not execute it.
    Members {
        at: usize,
        warp: usize,
        what: String,
    },
    /// A barrier number above 15, or a thread count that no barrier has.
    Barrier {
        at: usize,
        warp: usize,
        what: String,
    },
    /// An mbarrier, a tensor map or the register pool used as PTX does not allow.
    Misuse {
        at: usize,
        thread: u32,
        misuse: Misuse,
        what: String,
    },
    /// Every live warp waits.
    Deadlock { waiting: Vec<(usize, String)> },
    /// More instructions than the budget.
    Budget { at: usize, warp: usize, budget: u64 },
}

/// What follows an instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The instruction after it.
    Continue,
    /// For the lanes of the mask, another one.
    Jump(usize),
    /// The lanes of the mask are done.
    Exit,
    /// The lanes of the mask wait.
    Wait(usize),
    /// The lanes of the mask stay at the instruction until an mbarrier changes.
    Park,
    /// The instruction after it, once the other warps have had a turn.
    Yield,
    /// The instruction needs lanes that are on other paths: try again with them.
    Gather,
}
