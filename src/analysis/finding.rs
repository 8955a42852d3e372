//! Parts that the findings of passes share.

use super::evaluate::Context;
use super::walk::Walk;
use super::{Answer, PassResult};
use crate::diagnostic::{Blame, Code, Diagnostic, Site};
use crate::ptx::{Function, InstructionId, Module};

/// A place in a function.
pub(super) fn site(
    module: &Module,
    function: &Function,
    at: usize,
    label: impl Into<String>,
) -> Site {
    let at = InstructionId(u32::try_from(at).unwrap_or(u32::MAX));
    module.site(function, at, label)
}

/// What is wrong with a kernel.
pub(super) fn wrong(
    code: Code,
    message: String,
    sites: Vec<Site>,
    help: impl Into<String>,
) -> Diagnostic {
    Diagnostic {
        code,
        blame: Blame::Kernel,
        message,
        sites,
        help: Some(help.into()),
        count: 1,
    }
}

/// What a pass could not decide.
pub(super) fn undecided(code: Code, message: String, sites: Vec<Site>) -> Diagnostic {
    Diagnostic {
        code,
        blame: Blame::Unsupported,
        message,
        sites,
        help: Some("`flashproof verify` asks the same of concrete runs".to_owned()),
        count: 1,
    }
}

/// The answer that findings amount to.
pub(super) fn result(
    pass: &'static str,
    function: &Function,
    findings: Vec<Diagnostic>,
    states: usize,
) -> PassResult {
    let answer = if findings
        .iter()
        .any(|finding| finding.blame != Blame::Unsupported)
    {
        Answer::Refuted
    } else if findings.is_empty() {
        Answer::Proved
    } else {
        Answer::Unknown
    };
    PassResult {
        pass,
        function: function.name.clone(),
        answer,
        findings,
        states,
    }
}

/// One finding for each reason why the walk did not cover every path.
pub(super) fn gaps(context: &Context<'_>, walk: &Walk, code: Code) -> Vec<Diagnostic> {
    walk.gaps
        .iter()
        .map(|(at, why)| {
            let sites = vec![site(context.module, context.function, *at, "here")];
            undecided(
                code,
                format!(
                    "not every path of `{}` was followed: {why}",
                    context.function.name
                ),
                sites,
            )
        })
        .collect()
}

/// `, on the path of blocks at lines ...`.
pub(super) fn path(context: &Context<'_>, walk: &Walk, path: &[usize]) -> String {
    let line = |block: &usize| {
        let at = walk.block_starts.get(*block).copied().unwrap_or(0);
        let instruction = context.function.instructions.get(at);
        instruction.map_or(0, |instruction| instruction.span.line)
    };
    let lines: Vec<String> = path.iter().map(line).map(|line| line.to_string()).collect();
    format!(", on the path of blocks at lines {}", lines.join(", "))
}
