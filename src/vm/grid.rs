//! A grid: every CTA on its own, results merged in order.
//!
//! CTAs read memory as it was when the grid began and write to copies of their own, committed in the order of the CTAs; so
//! any number of threads gives the same bits and the same findings. A module with atomics or strong accesses on global memory runs its CTAs
//! one after another, each seeing what the ones before it wrote.

use super::detect::{self, CtaTouches, Finding};
use super::event::Tally;
use super::exec::{Class, CtaResult, Halt, Program, run_cta};
use super::launch::{self, Launch, Options};
use super::memory::{Memory, View};
use super::{Report, Stats, Stop};
use crate::convert::index;
use crate::diagnostic::{Blame, Code, Diagnostic};
use crate::ptx::{Function, InlineError, InstructionId, Module, inline};
use rayon::prelude::*;
use std::collections::BTreeMap;

/// CTAs that run between two commits: bounds what their writes and findings take.
const BATCH: usize = 256;

/// Runs a launch.
pub(crate) fn run(
    module: &Module,
    launch: &Launch,
    memory: &mut Memory,
    options: &Options,
) -> Result<Report, Stop> {
    let function = launch::check(module, launch)?;
    let function =
        &*inline(module, function).map_err(|error| unsupported(module, function, error))?;
    let layout = launch::lay_out(module, function, launch, memory)?;
    let allocated = layout.allocated.clone();
    let program = Program::new(module, function, launch, layout, options);
    let result = run_program(&program, memory, options);
    for address in allocated {
        memory.free(address);
    }
    result
}

fn unsupported(module: &Module, function: &Function, error: InlineError) -> Stop {
    Stop::Unsupported(Box::new(Diagnostic {
        code: Code("ptx-unsupported"),
        blame: Blame::Unsupported,
        message: error.to_string(),
        sites: vec![module.site(function, InstructionId(0), "called from here on")],
        help: Some(
            "let the compiler inline the function, or write the recursion as a loop".to_owned(),
        ),
        count: 1,
    }))
}

fn run_program(
    program: &Program<'_>,
    memory: &mut Memory,
    options: &Options,
) -> Result<Report, Stop> {
    let order = cta_order(program.launch.grid, options.seed);
    let talks = program.instructions().iter().any(detect::talks);
    let warps = index(program.threads().div_ceil(32));
    let mut findings: Vec<Finding> = Vec::new();
    let mut touches: Vec<CtaTouches> = Vec::new();
    let mut stats = Stats::default();
    let mut notes = BTreeMap::new();
    let mut traffic = Vec::new();
    let batch = if talks { 1 } else { BATCH };
    for ctas in order.chunks(batch) {
        let one = |cta: &[u32; 3]| {
            let observers = detect::observers(program, *cta, options);
            let turns = warp_order(warps, options.seed, *cta);
            run_cta(
                program,
                *cta,
                View::new(memory),
                observers,
                options.instruction_budget,
                &turns,
            )
        };
        let results: Vec<CtaResult> = if ctas.len() == 1 {
            ctas.iter().map(one).collect()
        } else {
            ctas.par_iter().map(one).collect()
        };
        for (cta, result) in ctas.iter().zip(results) {
            stats.add(&result);
            findings.extend(result.harvest.findings);
            touches.push(CtaTouches {
                name: detect::Names::new(program, *cta).cta(),
                touches: result.harvest.touches,
                syncs: result.harvest.syncs,
            });
            for (place, tally) in result.harvest.notes {
                let sum: &mut Tally = notes.entry(place).or_default();
                sum.accesses += tally.accesses;
                sum.took += tally.took;
                sum.least += tally.least;
            }
            if options.traffic {
                traffic.push((*cta, result.harvest.traffic));
            }
            memory.commit(result.writes);
            for address in result.harvest.undefined {
                memory.forget(address);
            }
            if let Some(halt) = result.halt {
                let mut diagnostics = vec![detect::diagnose(program, *cta, &halt)];
                diagnostics.extend(to_diagnostics(program, findings));
                return Err(match halt {
                    Halt::Unsupported { .. } => {
                        Stop::Unsupported(Box::new(diagnostics.swap_remove(0)))
                    }
                    Halt::Fault { .. }
                    | Halt::Trap { .. }
                    | Halt::Members { .. }
                    | Halt::Barrier { .. }
                    | Halt::Misuse { .. }
                    | Halt::Deadlock { .. }
                    | Halt::Budget { .. } => Stop::Trap(diagnostics),
                });
            }
        }
    }
    findings.extend(detect::overlaps(&touches));
    Ok(Report {
        findings: to_diagnostics(program, findings),
        notes: detect::performance_notes(program, &notes),
        traffic,
        stats,
    })
}

fn to_diagnostics(program: &Program<'_>, findings: Vec<Finding>) -> Vec<Diagnostic> {
    detect::merge(findings)
        .iter()
        .map(|finding| detect::to_diagnostic(program, finding))
        .collect()
}

impl Stats {
    fn add(&mut self, result: &CtaResult) {
        let counts = &result.counts;
        self.ctas += 1;
        self.thread_instructions += counts.thread_instructions;
        self.barriers += counts.barriers;
        self.async_copies_left_pending += counts.copies_left_pending;
        for ((_, name), count) in Class::ALL.iter().zip(counts.warp_instructions) {
            *self.warp_instructions.entry(name).or_insert(0) += count;
        }
    }
}

/// Every CTA once: x fastest for seed 0, else shuffled.
fn cta_order(grid: [u32; 3], seed: u64) -> Vec<[u32; 3]> {
    let mut order = Vec::new();
    for z in 0..grid[2] {
        for y in 0..grid[1] {
            order.extend((0..grid[0]).map(|x| [x, y, z]));
        }
    }
    shuffle(&mut order, seed);
    order
}

/// Turns of the warps of a CTA: ascending for seed 0, else shuffled.
fn warp_order(warps: usize, seed: u64, cta: [u32; 3]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..warps).collect();
    if seed != 0 {
        let own = cta.iter().fold(seed, |state, &n| mix(state ^ u64::from(n)));
        shuffle(&mut order, own | 1);
    }
    order
}

/// `SplitMix64` (Steele, Lea and Flood, OOPSLA 2014).
pub(super) fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// Fisher and Yates; seed 0 leaves the order.
fn shuffle<T>(items: &mut [T], seed: u64) {
    if seed == 0 {
        return;
    }
    let mut state = seed;
    for last in (1..items.len()).rev() {
        state = mix(state);
        let count = u64::try_from(last + 1).expect("a length fits 64 bits");
        items.swap(
            last,
            usize::try_from(state % count).expect("below the length"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_permutations_of_the_seed() {
        let plain = cta_order([3, 2, 2], 0);
        assert_eq!(
            (plain.len(), plain[0], plain[1], plain[3]),
            (12, [0, 0, 0], [1, 0, 0], [0, 1, 0])
        );
        let shuffled = cta_order([3, 2, 2], 7);
        assert_ne!(plain, shuffled);
        assert_eq!(shuffled, cta_order([3, 2, 2], 7));
        let mut sorted = shuffled;
        sorted.sort_by_key(|&[x, y, z]| (z, y, x));
        assert_eq!(sorted, plain);
        assert_eq!(warp_order(4, 0, [1, 2, 3]), [0, 1, 2, 3]);
    }
}
