//! Findings of the pass as diagnostics.

use super::explore::{Conflict, Exploration, Kind};
use super::{BARRIER, DISTANCE, UNDECIDED};
use crate::analysis::evaluate::Context;
use crate::diagnostic::{Blame, Diagnostic, Site};
use crate::ptx::{Function, InstructionId, Module, Op};

/// Nothing can be said about a CTA of unknown size.
pub(super) fn size_unknown(module: &Module, function: &Function) -> Diagnostic {
    let message = format!(
        "`{}` does not declare how many threads a CTA has (`.reqntid` or `.maxntid`, at most 1024 in all)",
        function.name
    );
    let site = module.site(function, InstructionId(0), "the entry begins here");
    undecided(
        message,
        vec![site],
        "compile the kernel with __launch_bounds__",
    )
}

/// A function that is too large to look at.
pub(super) fn too_many_branches(
    module: &Module,
    function: &Function,
    branches: usize,
) -> Diagnostic {
    let message = format!(
        "`{}` has {branches} branches, more than the {} that are followed",
        function.name,
        super::BRANCHES_MAX
    );
    let site = module.site(function, InstructionId(0), "the entry begins here");
    undecided(
        message,
        vec![site],
        "`flashproof verify` checks the same on concrete runs",
    )
}

fn undecided(message: String, sites: Vec<Site>, help: &str) -> Diagnostic {
    Diagnostic {
        code: UNDECIDED,
        blame: Blame::Unsupported,
        message,
        sites,
        help: Some(help.to_owned()),
        count: 1,
    }
}

/// One finding a kind of conflict, the shortest path's first; then what could not be decided.
pub(super) fn findings(context: &Context<'_>, exploration: &Exploration) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for kind in [Kind::Distance, Kind::Barrier] {
        let of_kind = || {
            exploration
                .conflicts
                .iter()
                .filter(|conflict| conflict.kind == kind)
        };
        if let Some(first) = of_kind().next() {
            let count = u64::try_from(of_kind().count()).unwrap_or(u64::MAX);
            found.push(conflict(context, exploration, first, count));
        }
    }
    for (at, why) in &exploration.undecided {
        let sites = vec![site(context, *at, "here".to_owned())];
        found.push(undecided(
            format!(
                "copies of `{}` could not be followed: {why}",
                context.function.name
            ),
            sites,
            "`flashproof verify` checks the same on concrete runs",
        ));
    }
    found
}

fn site(context: &Context<'_>, at: usize, label: String) -> Site {
    let at = InstructionId(u32::try_from(at).unwrap_or(u32::MAX));
    context.module.site(context.function, at, label)
}

/// What the path did about a copy before it was read.
struct History {
    /// Last wait before the read, if the copy was issued before it.
    wait: Option<usize>,
    /// Groups committed between the copy and that wait, its own included.
    commits: u32,
}

/// Looks back along the path from the read.
fn history(context: &Context<'_>, exploration: &Exploration, conflict: &Conflict) -> History {
    let instructions = &context.function.instructions;
    let blocks = conflict
        .path
        .iter()
        .flat_map(|block| exploration.graph.blocks[*block].instructions.clone());
    let mut trace: Vec<usize> = blocks.collect();
    let read = trace
        .iter()
        .rposition(|at| *at == conflict.read)
        .unwrap_or(0);
    trace.truncate(read);
    let is_wait = |at: &usize| {
        matches!(
            instructions[*at].op,
            Op::CpAsyncWait { .. } | Op::CpAsyncWaitAll
        )
    };
    let copy_before = |end: usize| trace[..end].iter().rposition(|at| *at == conflict.copy);
    // A copy issued again after the last wait may be the same tile's next turn; the wait that matters follows a copy.
    let wait = trace
        .iter()
        .rposition(is_wait)
        .filter(|wait| copy_before(*wait).is_some());
    let commits = wait
        .zip(wait.and_then(copy_before))
        .map_or(0, |(wait, copy)| {
            let commits = trace[copy..wait]
                .iter()
                .filter(|at| matches!(instructions[**at].op, Op::CpAsyncCommit));
            u32::try_from(commits.count()).unwrap_or(u32::MAX)
        });
    History {
        wait: wait.map(|wait| trace[wait]),
        commits,
    }
}

fn conflict(
    context: &Context<'_>,
    exploration: &Exploration,
    conflict: &Conflict,
    count: u64,
) -> Diagnostic {
    let history = history(context, exploration, conflict);
    let (reader, copier) = (
        context.thread_name(conflict.pair.reader),
        context.thread_name(conflict.pair.copier),
    );
    let byte = format!("shared byte {:#x}", conflict.pair.byte);
    let lines: Vec<String> = conflict
        .path
        .iter()
        .map(|block| {
            let first = exploration.graph.blocks[*block].instructions.start;
            context.function.instructions[first].span.line.to_string()
        })
        .collect();
    let mut sites = vec![site(
        context,
        conflict.read,
        format!(
            "thread {reader} reads {byte} here, on the path of blocks at lines {}",
            lines.join(", ")
        ),
    )];
    let (code, message, help) = match conflict.kind {
        Kind::Distance => {
            let (label, help) = match (
                history
                    .wait
                    .map(|wait| &context.function.instructions[wait].op),
                history.commits,
            ) {
                (Some(Op::CpAsyncWait { groups }), 1..) => {
                    let newer = history.commits - 1;
                    (
                        format!(
                            "lets the {groups} newest groups stay pending; {newer} came after the copy's own"
                        ),
                        format!(
                            "wait with `cp.async.wait_group {newer}` at most, or commit a group in between"
                        ),
                    )
                }
                (Some(_), 0) => (
                    "the copy is in no committed group yet, so this does not wait for it"
                        .to_owned(),
                    "commit the copy's group before the wait".to_owned(),
                ),
                (Some(_) | None, _) => (
                    String::new(),
                    "wait for the copy's group before the tile is read".to_owned(),
                ),
            };
            sites.extend(
                history
                    .wait
                    .filter(|_| !label.is_empty())
                    .map(|wait| site(context, wait, label)),
            );
            (
                DISTANCE,
                "a tile is read while an asynchronous copy may still be writing it".to_owned(),
                help,
            )
        }
        Kind::Barrier => {
            let label = format!("makes the copy visible to thread {copier} alone");
            sites.extend(history.wait.map(|wait| site(context, wait, label)));
            (
                BARRIER,
                "a tile is read with no barrier after the wait of the thread that copied it"
                    .to_owned(),
                "put a barrier of the CTA between the wait and the read".to_owned(),
            )
        }
    };
    sites.push(site(
        context,
        conflict.copy,
        format!("thread {copier} starts copying this byte here"),
    ));
    Diagnostic {
        code,
        blame: Blame::Kernel,
        message,
        sites,
        help: Some(help),
        count,
    }
}
