//! What each diagnostic code means, what causes it, and what its checker can miss.
//!
//! A test compares this list with the codes that the sources raise.

mod examples;

pub use examples::example;

/// One code, explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The code.
    pub code: &'static str,
    /// Who raises it.
    pub checker: &'static str,
    /// What was seen.
    pub meaning: &'static str,
    /// What usually causes it, and the repair.
    pub cause: &'static str,
    /// What the checker does not see.
    pub misses: &'static str,
}

/// The explanation of a code.
pub fn explanation(code: &str) -> Option<&'static Explanation> {
    ALL.iter().find(|explanation| explanation.code == code)
}

const MEMCHECK: &str = "memcheck, in the virtual machine";
const MEMCHECK_MISSES: &str = "an access that lands inside another allocation, an index that is wrong but inside, \
     padding between shared variables, and everything after the first fault, which stops the run";
const BARRIERS: &str = "barrier check, in the virtual machine";
const BARRIERS_MISSES: &str = "divergence that the machine's reconvergence heals before the barrier though a GPU need \
     not, and barriers whose count fits by accident";
const INITCHECK: &str = "initcheck, in the virtual machine";
const INITCHECK_MISSES: &str = "undefined contributions to `bar.red`; it may also report wrongly where defined bits are \
     extracted from a byte of which other bits are undefined";
const COPY_WAIT: &str = "pass copy-wait, without running the kernel";
const COPY_WAIT_MISSES: &str = "copies that overwrite a tile which other threads still read (racecheck sees those), \
     generic loads whose address is unknown, counters that wrap around";
const LAUNCHES: &str = "a pass over the CTAs of a few small launches, without running them";
const LAUNCHES_MISSES: &str =
    "other shapes than those; CTAs between the corners of a large grid; copies by tensor maps";
const WALK: &str = "a pass over all paths, without running the kernel";
const WALK_MISSES: &str = "generic accesses to shared memory; conditions that depend on data count as independent of each \
     other, so the path shown may be one that no launch takes";
const UNDECIDED_CAUSE: &str = "the message names the instruction and the reason; run `flashproof verify`, which executes the kernel";
const UNDECIDED: &str = "the pass could not decide; this says nothing about the kernel";
const SOFTMAX_MISSES: &str =
    "guards are recognised by their comparison: one that tests the wrong row is taken for a guard";
const READER: &str = "reader of PTX";
const READER_MISSES: &str = "whatever follows in the file: reading stops at the first error";
const MACHINE: &str = "the virtual machine";
const MBARRIER: &str = "mbarrier check, in the virtual machine";
const MBARRIER_MISSES: &str = "a wait for the wrong parity that happens to succeed (the reads it lets through are found), a phase \
     that completes twice between two looks of a waiting thread, and everything after the first fault";
const PROXY: &str = "async proxy check, in the virtual machine";
const PROXY_MISSES: &str = "global memory, fences and arrivals by fewer lanes than those that stored (both count for their \
     warp), and a missing proxy fence before the async proxy overwrites bytes";
const WGMMA_PASS: &str = "pass wgmma, over all paths of the text";
const WGMMA_PASS_MISSES: &str = "operands in shared memory (`wgmma-operand-overwritten` of a run); conditions are not looked at, so \
     the path may be one that no launch takes";
const WGMMA: &str = "wgmma register check, in the virtual machine";
const WGMMA_MISSES: &str = "a read of an accumulator followed by a wgmma with no fence, and warps that execute as many, but \
     not the same wgmmas; the assembler repairs some of these by waiting, with a warning";

/// Every code, in alphabetical order.
#[rustfmt::skip]
pub const ALL: &[Explanation] = &[
    Explanation {
        code: "address-in-no-space", checker: MEMCHECK,
        meaning: "a generic address belongs to none of global, shared, local and parameter memory",
        cause: "a pointer was computed from an uninitialised or overflowed offset, or a shared address was used as a generic one without `cvta`",
        misses: MEMCHECK_MISSES,
    },
    Explanation {
        code: "aligned-divergence", checker: WALK,
        meaning: "an instruction of a whole warp (ldmatrix, mma, shfl with a full mask) is not reached by all of its lanes",
        cause: "a warp-wide operation inside a branch on the lane, or after an early exit of some lanes",
        misses: WALK_MISSES,
    },
    Explanation {
        code: "async-copy-read-early", checker: "async copy check, in the virtual machine",
        meaning: "shared bytes were read while a `cp.async` to them was in flight",
        cause: "a `cp.async.wait_group` whose number is one too large, or no wait at all before the read",
        misses: "copies still in flight at the end of the kernel that nobody reads; order between threads is racecheck's question",
    },
    Explanation {
        code: "attended-set", checker: "attended set, coded runs in the virtual machine",
        meaning: "a (query, key) pair that the layout does not have influences the output, or one that it has does not, or with another key's weight",
        cause: "a window or diagonal one key off, a tile list of another head, a wrong key head, a tail that is not masked",
        misses: "influence of hidden scores on queries other than the few whose hidden keys are poisoned; a weight made by another key's score whose code is the same",
    },
    Explanation {
        code: "bad-allow", checker: "this tool",
        meaning: "a `flashproof: allow` comment has no reason, names no known code, or allows nothing: the finding is gone",
        cause: "a finding was mended, or a comment moved away from its line; take the comment out",
        misses: "nothing: every such comment is checked in every run",
    },
    Explanation {
        code: "bank-conflict", checker: WALK,
        meaning: "lanes of a warp want different words of one bank of shared memory, so the access is repeated; slow, not wrong",
        cause: "rows whose stride is a multiple of 128 bytes, read by column",
        misses: "whether the access is executed often enough to matter",
    },
    Explanation {
        code: "bank-conflict-counted", checker: "performance notes, in the virtual machine",
        meaning: "lanes of one phase used different words of the same bank of shared memory, so the access took several passes; nothing is wrong",
        cause: "rows whose stride is a multiple of 128 bytes; pad them by 16 bytes or swizzle their chunks",
        misses: "conflicts between warps, and bulk copies",
    },
    Explanation {
        code: "bank-conflict-undecided", checker: WALK,
        meaning: UNDECIDED,
        cause: UNDECIDED_CAUSE,
        misses: WALK_MISSES,
    },
    Explanation {
        code: "barrier-after-exit", checker: BARRIERS,
        meaning: "a barrier of the whole CTA opened although threads of it had exited",
        cause: "an early `return` for rows out of range before a `__syncthreads()` that the other threads still reach",
        misses: BARRIERS_MISSES,
    },
    Explanation {
        code: "barrier-arrival-repeated", checker: BARRIERS,
        meaning: "a thread arrived twice at a barrier before it opened",
        cause: "a loop with different trip counts around a barrier, or two barriers that share a number",
        misses: BARRIERS_MISSES,
    },
    Explanation {
        code: "barrier-divergence", checker: WALK,
        meaning: "a barrier of the whole CTA is not reached by all of its threads",
        cause: "a `__syncthreads()` inside a branch on the thread index, or after an early return of some threads",
        misses: WALK_MISSES,
    },
    Explanation {
        code: "bulk-copy-race", checker: PROXY,
        meaning: "a bulk copy and another access wrote, or wrote and read, the same shared bytes with no order between",
        cause: "a stage is refilled before its readers have handed it back, or written while the copy into it is in flight",
        misses: PROXY_MISSES,
    },
    Explanation {
        code: "bulk-copy-read-early", checker: PROXY,
        meaning: "shared bytes were read before the mbarrier phase that completes their bulk copy had been waited for",
        cause: "a wait with the wrong parity, on the wrong stage, or missing; an expected byte count that is smaller than what is copied",
        misses: PROXY_MISSES,
    },
    Explanation {
        code: "bulk-source-overwritten", checker: PROXY,
        meaning: "shared bytes were written while a bulk store might still read them",
        cause: "no `cp.async.bulk.wait_group.read` by the storing thread, or no barrier after it, before the tile is used again",
        misses: PROXY_MISSES,
    },
    Explanation {
        code: "bulk-store-unwaited", checker: PROXY,
        meaning: "the CTA ended while a bulk store might still read its shared memory",
        cause: "a missing `cp.async.bulk.commit_group` and `wait_group.read 0` by the thread that stores",
        misses: PROXY_MISSES,
    },
    Explanation {
        code: "copy-wait-barrier", checker: COPY_WAIT,
        meaning: "a thread may read what another thread copied asynchronously, with no barrier after that thread's wait",
        cause: "`cp.async.wait_group` makes a copy visible to its own thread only; a `__syncthreads()` must follow it",
        misses: COPY_WAIT_MISSES,
    },
    Explanation {
        code: "copy-wait-distance", checker: COPY_WAIT,
        meaning: "a read may meet an asynchronous copy that no wait has completed",
        cause: "the number of `cp.async.wait_group` is larger than the number of groups committed since, often on the last iteration, where no new group is committed",
        misses: COPY_WAIT_MISSES,
    },
    Explanation {
        code: "copy-wait-undecided", checker: COPY_WAIT,
        meaning: "the pass could not decide; this says nothing about the kernel",
        cause: "the message names the instruction; run `flashproof verify`, which executes the kernel",
        misses: COPY_WAIT_MISSES,
    },
    Explanation {
        code: "deadlock", checker: MEMCHECK,
        meaning: "every thread that has not exited waits at a barrier that cannot open",
        cause: "a barrier inside a branch that not all threads take",
        misses: BARRIERS_MISSES,
    },
    Explanation {
        code: "decode", checker: "this tool",
        meaning: "the outputs of a finished run could not be read back as tensors; please report it",
        cause: "a manifest whose output buffers do not have the size of the outputs",
        misses: "nothing: no verdict on values is given",
    },
    Explanation {
        code: "device-error", checker: "the CUDA driver",
        meaning: "the driver stopped the kernel, or refused its launch",
        cause: "the driver's own words follow; `--backend vm` says more about what the kernel did",
        misses: "everything that a GPU does not fault on: races, reads of undefined memory inside an allocation",
    },
    Explanation {
        code: "divergence-undecided", checker: WALK,
        meaning: UNDECIDED,
        cause: UNDECIDED_CAUSE,
        misses: WALK_MISSES,
    },
    Explanation {
        code: "divergent-barrier", checker: BARRIERS,
        meaning: "part of a warp executed a barrier which promises that the whole warp does",
        cause: "a `__syncthreads()` inside a branch on the lane",
        misses: BARRIERS_MISSES,
    },
    Explanation {
        code: "extra-work", checker: "attended set, coded runs in the virtual machine",
        meaning: "a CTA reads rows of k that lie a tile or more from every key its queries see: the answer may be right, the sparsity is wasted",
        cause: "a loop over tiles that starts or ends by the index of the CTA instead of the query's tile, or that ignores the window or the list",
        misses: "work of CTAs that write no output, and tiles read once but computed with twice",
    },
    Explanation {
        code: "finite-sentinel", checker: "pass softmax, over the text",
        meaning: "a large finite number stands in for -inf in a softmax",
        cause: "`row_max = -1e30f` instead of `-INFINITY`: a real score may lie below it, and a row that sees no key gets the mean of V",
        misses: SOFTMAX_MISSES,
    },
    Explanation {
        code: "freed-memory", checker: MEMCHECK,
        meaning: "an access to memory that had been freed",
        cause: "a pointer kept beyond the life of its buffer",
        misses: MEMCHECK_MISSES,
    },
    Explanation {
        code: "global-bounds-undecided", checker: LAUNCHES,
        meaning: UNDECIDED,
        cause: UNDECIDED_CAUSE,
        misses: LAUNCHES_MISSES,
    },
    Explanation {
        code: "global-out-of-bounds", checker: LAUNCHES,
        meaning: "an access to global memory lies outside the buffer that the launch promises",
        cause: "a ragged tail that is not guarded, an extent of the wrong axis, or an entry of a list taken for another",
        misses: LAUNCHES_MISSES,
    },
    Explanation {
        code: "global-race", checker: "racecheck, in the virtual machine",
        meaning: "two threads of a CTA touched the same byte of global memory, at least one writing, with no order between",
        cause: "scratch in global memory used like shared memory, without `__syncthreads()` between its writer and its reader",
        misses: "races that only another schedule reaches; fences and atomics order nothing here, so a hand-made flag protocol is reported",
    },
    Explanation {
        code: "grid-overlap", checker: "overlap check, in the virtual machine",
        meaning: "one CTA wrote a byte of global memory that another one touched; CTAs are unordered",
        cause: "output offsets that overlap: a ragged last tile that writes beyond its rows, or a head index left out of an offset",
        misses: "order made by hand through atomics and fences (reported all the same), and races of one CTA's threads on global memory",
    },
    Explanation {
        code: "instruction-budget", checker: MACHINE,
        meaning: "the run was stopped after its budget of instructions; this says nothing about the kernel",
        cause: "an endless loop, or a problem too large for the virtual machine",
        misses: "nothing: no verdict is given",
    },
    Explanation {
        code: "interval-race", checker: WALK,
        meaning: "two threads touch the same shared byte between two barriers, one of them writing",
        cause: "a barrier missing between filling a tile and reading it, or between reading it and filling it again in the next iteration",
        misses: WALK_MISSES,
    },
    Explanation {
        code: "interval-race-undecided", checker: WALK,
        meaning: UNDECIDED,
        cause: UNDECIDED_CAUSE,
        misses: WALK_MISSES,
    },
    Explanation {
        code: "invalid-barrier", checker: MEMCHECK,
        meaning: "a barrier has a number or a count that no barrier can have, or its arrivals disagree on the count",
        cause: "a named barrier beyond 15, or a count that is no multiple of the warp size",
        misses: BARRIERS_MISSES,
    },
    Explanation {
        code: "invalid-tensor-map", checker: MBARRIER,
        meaning: "a tensor copy was given 128 bytes that are no tensor map, or one of another number of dimensions",
        cause: "a parameter at the wrong offset, a map passed by pointer instead of as `__grid_constant__`, or a map for another tensor",
        misses: MBARRIER_MISSES,
    },
    Explanation {
        code: "mbarrier-count", checker: MBARRIER,
        meaning: "an mbarrier was made for 0 arrivals or more than 2^20 - 1",
        cause: "a count computed from a number of threads that is 0",
        misses: MBARRIER_MISSES,
    },
    Explanation {
        code: "mbarrier-init-unordered", checker: MBARRIER,
        meaning: "a thread used an mbarrier that another thread had made, with no barrier between",
        cause: "a missing `__syncthreads()` (or cluster barrier) after `mbarrier.init`",
        misses: MBARRIER_MISSES,
    },
    Explanation {
        code: "mbarrier-initialised-twice", checker: MBARRIER,
        meaning: "an mbarrier was made again while it lived",
        cause: "`mbarrier.init` inside a loop, by more than one thread, or over an mbarrier that was not invalidated",
        misses: MBARRIER_MISSES,
    },
    Explanation {
        code: "mbarrier-not-initialised", checker: MBARRIER,
        meaning: "an mbarrier operation addressed bytes where no mbarrier has been made",
        cause: "a wrong offset, or a use that runs ahead of the thread that makes it",
        misses: MBARRIER_MISSES,
    },
    Explanation {
        code: "mbarrier-over-arrival", checker: MBARRIER,
        meaning: "more threads arrived in a phase than it waits for",
        cause: "a count of `mbarrier.init` that leaves out some arrivals (`arrive.expect_tx` is one), or a producer that does not wait for `empty` before it arms `full` again",
        misses: MBARRIER_MISSES,
    },
    Explanation {
        code: "mbarrier-overwritten", checker: MBARRIER,
        meaning: "an ordinary store wrote into a live mbarrier",
        cause: "a tile that is larger than its place, or shared memory used again without `mbarrier.inval`",
        misses: MBARRIER_MISSES,
    },
    Explanation {
        code: "mbarrier-transactions", checker: MBARRIER,
        meaning: "a phase waits for more than 2^20 - 1 bytes",
        cause: "an expectation that is repeated, or not in bytes",
        misses: MBARRIER_MISSES,
    },
    Explanation {
        code: "misaligned-address", checker: MEMCHECK,
        meaning: "an address is no multiple of the size of the access",
        cause: "a vector load from a row whose length is no multiple of the vector",
        misses: MEMCHECK_MISSES,
    },
    Explanation {
        code: "missing-lanes", checker: MEMCHECK,
        meaning: "an instruction of the whole warp was executed without some of the lanes that it names",
        cause: "`mma`, `ldmatrix`, `shfl` or `vote` inside a branch on the lane",
        misses: MEMCHECK_MISSES,
    },
    Explanation {
        code: "nondeterministic-result", checker: "exploration, `verify --schedules N --async all`",
        meaning: "another schedule, or another arrival of asynchronous copies, gives other bits",
        cause: "a race, or sums made by atomics, whose order is nobody's",
        misses: "schedules that were not tried",
    },
    Explanation {
        code: "out-of-bounds", checker: MEMCHECK,
        meaning: "an access outside every allocation, or across the end of one",
        cause: "a ragged last tile that is read without a test against the length",
        misses: MEMCHECK_MISSES,
    },
    Explanation {
        code: "output-outside-bound", checker: "the judge, against the exact answer",
        meaning: "an output lies further from the answer than the roundings of the kernel's method allow",
        cause: "a wrong mask, tile, head, scale or order; `flashproof verify` names the worst element and where the bound comes from",
        misses: "an error smaller than the bound; the case that shows it may not be among those tried",
    },
    Explanation {
        code: "output-undefined", checker: INITCHECK,
        meaning: "bytes of an output hold no defined value when the kernel ends",
        cause: "rows that the grid does not reach, or values computed from undefined inputs",
        misses: INITCHECK_MISSES,
    },
    Explanation {
        code: "proxy-fence-missing", checker: PROXY,
        meaning: "shared bytes that an ordinary store wrote were read by a bulk store or a wgmma with no `fence.proxy.async` between",
        cause: "the writers have to execute `fence.proxy.async.shared::cta` before the barrier; a barrier alone orders only ordinary accesses",
        misses: PROXY_MISSES,
    },
    Explanation {
        code: "ptx-syntax", checker: READER,
        meaning: "the text is not PTX",
        cause: "the message gives line and column, what was found and what is allowed there",
        misses: READER_MISSES,
    },
    Explanation {
        code: "ptx-unsupported", checker: READER,
        meaning: "PTX that this tool does not know; this says nothing about the kernel",
        cause: "an instruction or modifier outside the set that is executed bit for bit; the message names it",
        misses: READER_MISSES,
    },
    Explanation {
        code: "read-only-memory", checker: MEMCHECK,
        meaning: "the kernel wrote an input",
        cause: "an output pointer mixed up with an input pointer, or a wrong parameter offset in the manifest",
        misses: MEMCHECK_MISSES,
    },
    Explanation {
        code: "register-pool", checker: MBARRIER,
        meaning: "`setmaxnreg` went the wrong way, or asked for more registers than a multiprocessor has",
        cause: "an `inc` in a warpgroup before the others have given registers back, or counts whose sum over all threads exceeds 65536",
        misses: "what the kernel starts with, which only the assembler knows",
    },
    Explanation {
        code: "shared-bounds-undecided", checker: WALK,
        meaning: UNDECIDED,
        cause: UNDECIDED_CAUSE,
        misses: WALK_MISSES,
    },
    Explanation {
        code: "shared-init-undecided", checker: WALK,
        meaning: UNDECIDED,
        cause: UNDECIDED_CAUSE,
        misses: WALK_MISSES,
    },
    Explanation {
        code: "shared-misaligned", checker: WALK,
        meaning: "an access to shared memory begins at no multiple of its size",
        cause: "a vector access into rows whose length is no multiple of the vector",
        misses: WALK_MISSES,
    },
    Explanation {
        code: "shared-out-of-bounds", checker: WALK,
        meaning: "an access lies outside the shared memory of the CTA",
        cause: "an index off by one at the last thread or the last stage of a ring, or too little dynamic shared memory",
        misses: "an access past one variable that lands in the next",
    },
    Explanation {
        code: "shared-race", checker: "racecheck, in the virtual machine",
        meaning: "two threads of a CTA touched the same byte of shared memory, at least one writing, with no order between",
        cause: "a missing `__syncthreads()`: after a copy is waited for, or before a tile is overwritten that others still read",
        misses: "races that only another schedule reaches (`schedule=` of a case chooses one); fences and atomics order nothing here, so a hand-made flag protocol is reported",
    },
    Explanation {
        code: "shared-unwritten", checker: WALK,
        meaning: "shared memory is read that no thread has written",
        cause: "a ragged tail that is not filled, or a reduction over more slots than there are warps",
        misses: WALK_MISSES,
    },
    Explanation {
        code: "tile-decision", checker: "the oracle, with exact scores",
        meaning: "a kernel that chooses its tiles kept or dropped one against its threshold",
        cause: "the threshold of another head or tile of queries, cached tiles not counted, a test before the mask, rows of padding that score 0",
        misses: "decisions within the error of a score of the threshold, where both are right",
    },
    Explanation {
        code: "trap", checker: MACHINE,
        meaning: "the kernel executed `trap`",
        cause: "a failed assertion in device code",
        misses: MEMCHECK_MISSES,
    },
    Explanation {
        code: "uncoalesced-access-counted", checker: "performance notes, in the virtual machine",
        meaning: "the lanes of a warp touched more 32-byte sectors of global memory than their bytes need; nothing is wrong",
        cause: "neighbouring lanes that read different rows; let them read along a row",
        misses: "what caches make good again",
    },
    Explanation {
        code: "unguarded-division", checker: "pass softmax, over the text",
        meaning: "a division by a row sum that may be 0",
        cause: "no test of `row_sum == 0` before `1 / row_sum`: a row that sees no key becomes NaN or infinite",
        misses: SOFTMAX_MISSES,
    },
    Explanation {
        code: "unguarded-infinity", checker: "pass softmax, over the text",
        meaning: "a difference of two values that may both be -inf goes into an exponential",
        cause: "no test of `row_max == -inf` before `exp(score - row_max)`: a row that sees no key becomes NaN",
        misses: SOFTMAX_MISSES,
    },
    Explanation {
        code: "uninitialised-address", checker: INITCHECK,
        meaning: "undefined bits were used as an address",
        cause: "an index read from memory that nothing has written",
        misses: INITCHECK_MISSES,
    },
    Explanation {
        code: "uninitialised-branch", checker: INITCHECK,
        meaning: "undefined bits decided whether an instruction is executed",
        cause: "a comparison with a value from memory that nothing has written",
        misses: INITCHECK_MISSES,
    },
    Explanation {
        code: "uninitialised-store", checker: INITCHECK,
        meaning: "undefined bits were stored to global memory",
        cause: "rows of V beyond the length that were never filled: a weight of 0 does not excuse them, for 0 times NaN is NaN",
        misses: INITCHECK_MISSES,
    },
    Explanation {
        code: "unsupported-instruction", checker: MACHINE,
        meaning: "an instruction that this machine does not execute; this says nothing about the kernel",
        cause: "the message names it; tell us what you need",
        misses: "nothing: no verdict is given",
    },
    Explanation {
        code: "unused-parameter", checker: "pass unused, exact for the text",
        meaning: "a parameter of the entry is never read; advice",
        cause: "a stride or a length that was meant to be used",
        misses: "a parameter that is read and then ignored on every path",
    },
    Explanation {
        code: "unused-result", checker: "pass unused, exact for the text",
        meaning: "an instruction computes what nobody uses; advice",
        cause: "left-over code, or a result that was meant to be stored",
        misses: "results that are used on no path that is taken",
    },
    Explanation {
        code: "wgmma-accumulator-in-flight", checker: WGMMA,
        meaning: "an accumulator of a wgmma was read or written before its group had been waited for",
        cause: "a missing `wgmma.wait_group`, or one whose number is too large",
        misses: WGMMA_MISSES,
    },
    Explanation {
        code: "wgmma-fence-missing", checker: WGMMA,
        meaning: "a wgmma used registers written before, or was the first of its warp, with no `wgmma.fence`",
        cause: "a `wgmma.fence.sync.aligned` belongs before the first wgmma of each batch",
        misses: WGMMA_MISSES,
    },
    Explanation {
        code: "wgmma-operand-overwritten", checker: PROXY,
        meaning: "shared bytes were written while a wgmma might still read them",
        cause: "the stage is handed back, or written, before `wgmma.wait_group` of the warps that read it; or fewer arrivals are counted than warps read",
        misses: PROXY_MISSES,
    },
    Explanation {
        code: "wgmma-operand-rewritten", checker: WGMMA_PASS,
        meaning: "a register that a wgmma takes its A operand from may be written before the wgmma is waited for",
        cause: "weights packed into the registers of a product still in flight; use other registers, or wgmma.wait_group first",
        misses: WGMMA_PASS_MISSES,
    },
    Explanation {
        code: "wgmma-register-overwritten", checker: WGMMA,
        meaning: "a register that holds the A operand of a wgmma was written before its group had been waited for",
        cause: "the next fragments are built in the same registers; wait, or use others",
        misses: WGMMA_MISSES,
    },
    Explanation {
        code: "wgmma-undecided", checker: WGMMA_PASS,
        meaning: UNDECIDED,
        cause: UNDECIDED_CAUSE,
        misses: WGMMA_PASS_MISSES,
    },
    Explanation {
        code: "wgmma-unfenced", checker: WGMMA_PASS,
        meaning: "a wgmma may take a register with no wgmma.fence since an ordinary instruction wrote it, or be a warp's first with none at all",
        cause: "accumulators set to zero or rescaled, then a product; wgmma.fence between",
        misses: WGMMA_PASS_MISSES,
    },
    Explanation {
        code: "wgmma-unwaited", checker: WGMMA_PASS,
        meaning: "an accumulator of a wgmma may be touched before the wgmma is waited for",
        cause: "wgmma.commit_group or wgmma.wait_group is missing on some way, or lets one group too many run",
        misses: WGMMA_PASS_MISSES,
    },
    Explanation {
        code: "wgmma-warp-missing", checker: WGMMA,
        meaning: "the four warps of a warpgroup executed different numbers of wgmma instructions",
        cause: "a branch by warp around a wgmma, or a warpgroup that is not whole",
        misses: WGMMA_MISSES,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_complete_in_itself() {
        assert!(ALL.windows(2).all(|pair| pair[0].code < pair[1].code));
        assert_eq!(explanation("shared-race").unwrap().code, "shared-race");
        assert_eq!(explanation("no-such-code"), None);
    }
}
