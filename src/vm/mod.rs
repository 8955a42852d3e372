//! A virtual machine for PTX: executes a kernel on the CPU, bit for bit where PTX or the hardware pins the bits, and
//! watches it for races, uninitialised data, barrier and async-copy misuse.
//!
//! ```text
//! ptx::Module + Launch + Memory + Options --run--> Report (findings, statistics), Memory changed
//!                                          \-----> Stop (trap, not supported, invalid launch)
//! ```
//!
//! A run is a function of its arguments: no clock, no environment, the same bits and findings for any number of threads.
//! The machine knows nothing of attention, and no detector: those observe its events (`detect/`). What PTX leaves open can
//! be explored: the order of CTAs and warps, when asynchronous copies arrive, the values of approximate functions
//! ([`Options`]), and which products the assembler fuses into sums ([`fused`]).
//!
//! A kernel for Hopper takes its tensor maps as 128 bytes made by [`TensorMap::encode`], put into the parameters or into
//! memory where the kernel expects a `CUtensorMap`. Clusters have one CTA.
//!
//! What it does not model: time, caches, occupancy, weak memory order, more than one grid at a time. `.approx` functions
//! are rounded to nearest unless asked otherwise, which PTX allows and no GPU does (`arithmetic/function.rs`). PTX is executed as written:
//! `ptxas` may fuse un-rounded `mul` and `add`, and then a GPU's bits differ.

mod arithmetic;
mod async_event;
mod detect;
mod event;
mod exec;
mod fusion;
mod grid;
mod launch;
mod memory;
pub mod target;
pub mod tensor_core;
mod tensor_map;

pub use event::Traffic;
pub use fusion::fused;
pub use launch::{
    Approx, AsyncOrder, Detectors, InvalidLaunch, Launch, MAX_CTAS, MAX_SHARED_BYTES, MAX_THREADS,
    Options,
};
pub use memory::{Initial, Memory};
pub use target::{Target, UnknownTarget};
pub use tensor_map::{Element, Swizzle, TensorMap, TensorMapError};

use crate::diagnostic::Diagnostic;
use crate::ptx::Module;
use std::collections::BTreeMap;

/// What a finished run gives besides the memory it changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What the detectors saw, by CTA, each pair of instructions once with its count.
    pub findings: Vec<Diagnostic>,
    /// Where shared memory conflicts and global accesses are scattered, worst first; empty unless asked for.
    pub notes: Vec<Diagnostic>,
    /// Global bytes that each CTA touched; empty unless asked for.
    pub traffic: Vec<([u32; 3], Vec<Traffic>)>,
    /// Counts.
    pub stats: Stats,
}

/// Counts of a run; none of them is a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// CTAs executed.
    pub ctas: u64,
    /// Instructions summed over the threads that executed them.
    pub thread_instructions: u64,
    /// Instructions of warps, by class; `mma` counts the tensor-core tiles.
    pub warp_instructions: BTreeMap<&'static str, u64>,
    /// Barriers that opened.
    pub barriers: u64,
    /// Copies (by thread) issued and never waited for.
    pub async_copies_left_pending: u64,
}

impl Stats {
    /// Instructions of warps in all.
    pub fn warp_instructions_in_all(&self) -> u64 {
        self.warp_instructions.values().sum()
    }
}

/// Why a run did not finish.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// The kernel did what stops a GPU, or never ends: the reason first, then what the detectors had seen.
    #[error("the kernel was stopped: {}", .0.first().map_or("", |first| first.message.as_str()))]
    Trap(Vec<Diagnostic>),
    /// An instruction this machine does not execute; says nothing about the kernel.
    #[error("not supported: {}", .0.message)]
    Unsupported(Box<Diagnostic>),
    /// No GPU would start this.
    #[error(transparent)]
    InvalidLaunch(#[from] InvalidLaunch),
}

/// Executes a launch of a kernel on `memory`.
///
/// # Errors
/// [`Stop`]: the launch is invalid, an instruction is not supported, or the kernel trapped. The memory then holds what
/// the CTAs before had written.
pub fn run(
    module: &Module,
    launch: &Launch,
    memory: &mut Memory,
    options: &Options,
) -> Result<Report, Stop> {
    grid::run(module, launch, memory, options)
}
