//! Who raises a code and what they miss, where several codes share it.

pub(super) const MEMCHECK: &str = "memcheck, in the virtual machine";
pub(super) const MEMCHECK_MISSES: &str = "an access that lands inside another allocation, an index that is wrong but inside, \
     padding between shared variables, and everything after the first fault, which stops the run";
pub(super) const BARRIERS: &str = "barrier check, in the virtual machine";
pub(super) const BARRIERS_MISSES: &str = "divergence that the machine's reconvergence heals before the barrier though a GPU need \
     not, and barriers whose count fits by accident";
pub(super) const INITCHECK: &str = "initcheck, in the virtual machine";
pub(super) const INITCHECK_MISSES: &str = "undefined contributions to `bar.red`; it may also report wrongly where defined bits are \
     extracted from a byte of which other bits are undefined";
pub(super) const COPY_WAIT: &str = "pass copy-wait, without running the kernel";
pub(super) const COPY_WAIT_MISSES: &str = "copies that overwrite a tile which other threads still read (racecheck sees those), \
     generic loads whose address is unknown, counters that wrap around";
pub(super) const LAUNCHES: &str =
    "a pass over the CTAs of a few small launches, without running them";
pub(super) const LAUNCHES_MISSES: &str =
    "other shapes than those; CTAs between the corners of a large grid; copies by tensor maps";
pub(super) const LARGEST: &str =
    "pass index-overflow, over the largest launches that a manifest allows, without running them";
pub(super) const LARGEST_MISSES: &str = "sums of 64 bits, addresses in shared memory, and what passes through memory, which counts as any number of its type";
pub(super) const WALK: &str = "a pass over all paths, without running the kernel";
pub(super) const WALK_MISSES: &str = "generic accesses to shared memory; conditions that depend on data count as independent of each \
     other, so the path shown may be one that no launch takes";
pub(super) const UNDECIDED_CAUSE: &str = "the message names the instruction and the reason; run `flashproof verify`, which executes the kernel";
pub(super) const UNDECIDED: &str = "the pass could not decide; this says nothing about the kernel";
pub(super) const SOFTMAX_MISSES: &str =
    "guards are recognised by their comparison: one that tests the wrong row is taken for a guard";
pub(super) const READER: &str = "reader of PTX";
pub(super) const READER_MISSES: &str =
    "whatever follows in the file: reading stops at the first error";
pub(super) const MACHINE: &str = "the virtual machine";
pub(super) const MBARRIER: &str = "mbarrier check, in the virtual machine";
pub(super) const MBARRIER_MISSES: &str = "a wait for the wrong parity that happens to succeed (the reads it lets through are found), a phase \
     that completes twice between two looks of a waiting thread, and everything after the first fault";
pub(super) const PROXY: &str = "async proxy check, in the virtual machine";
pub(super) const PROXY_MISSES: &str = "global memory, fences and arrivals by fewer lanes than those that stored (both count for their \
     warp), and a missing proxy fence before the async proxy overwrites bytes";
pub(super) const WGMMA_PASS: &str = "pass wgmma, over all paths of the text";
pub(super) const WGMMA_PASS_MISSES: &str = "operands in shared memory (`wgmma-operand-overwritten` of a run); conditions are not looked at, so \
     the path may be one that no launch takes";
pub(super) const WGMMA: &str = "wgmma register check, in the virtual machine";
pub(super) const WGMMA_MISSES: &str = "a read of an accumulator followed by a wgmma with no fence, and warps that execute as many, but \
     not the same wgmmas; the assembler repairs some of these by waiting, with a warning";

pub(super) const RINGS: &str =
    "pass mbarrier, over all paths of every role, without running the kernel";
pub(super) const RINGS_MISSES: &str = "roles that do not agree how often a stage is filled (a deadlock); conditions that depend on data \
     count as independent of each other, so the path shown may be one that no launch takes";
