//! Findings that the text of a kernel allows, with a reason.
//!
//! `// flashproof: allow(CODE) reason` before an instruction, or at the end of its line, allows findings of that code whose
//! first place is that instruction; before an `.entry`, those of the whole function. An allowance without a reason, of a
//! code that no pass raises, or that allows nothing, is itself a finding: forgiveness goes stale loudly.

use super::PassResult;
use crate::diagnostic::{Blame, Code, Diagnostic, Place, Site};

/// An allowance that is wrong or has gone stale.
pub const BAD: Code = Code("bad-allow");

const MARK: &str = "flashproof: allow(";

/// A finding and why it is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// The finding.
    pub finding: Diagnostic,
    /// The pass that raised it.
    pub pass: &'static str,
    /// The reason given.
    pub reason: String,
}

struct Allowance<'t> {
    code: &'t str,
    reason: &'t str,
    /// Line of the comment, from 1.
    line: usize,
    /// Lines it is about, from 1.
    lines: std::ops::RangeInclusive<usize>,
    used: bool,
}

/// Takes the findings that `text` allows out of the results. Gives them, and what is wrong with the allowances.
pub fn apply(
    name: &str,
    text: &str,
    results: &mut [PassResult],
) -> (Vec<Allowed>, Vec<Diagnostic>) {
    let lines: Vec<&str> = text.lines().collect();
    let mut allowances: Vec<Allowance<'_>> = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some((before, rest)) = line
            .split_once("//")
            .and_then(|(before, comment)| Some((before, comment.trim().strip_prefix(MARK)?)))
        else {
            continue;
        };
        let (code, reason) = rest.split_once(')').unwrap_or((rest, ""));
        allowances.push(Allowance {
            code: code.trim(),
            reason: reason.trim(),
            line: at + 1,
            lines: about(&lines, at, before),
            used: false,
        });
    }
    let mut allowed = Vec::new();
    for result in results {
        let pass = result.pass;
        result.findings.retain(|finding| {
            let place = finding.sites.first().and_then(|site| site.ptx.as_ref());
            let line = place.and_then(|place| usize::try_from(place.line).ok());
            let found = allowances.iter_mut().find(|allowance| {
                allowance.code == finding.code.0
                    && !allowance.reason.is_empty()
                    && line.is_some_and(|line| allowance.lines.contains(&line))
            });
            let Some(allowance) = found else {
                return true;
            };
            allowance.used = true;
            allowed.push(Allowed {
                finding: finding.clone(),
                pass,
                reason: allowance.reason.to_owned(),
            });
            false
        });
    }
    let complaints = allowances
        .iter()
        .filter(|allowance| !allowance.used)
        .map(|allowance| complaint(name, &lines, allowance))
        .collect();
    (allowed, complaints)
}

/// Lines that a comment on line `at` (from 0) is about.
fn about(lines: &[&str], at: usize, before: &str) -> std::ops::RangeInclusive<usize> {
    if !before.trim().is_empty() {
        return at + 1..=at + 1;
    }
    let code = |line: &str| {
        let line = line.trim();
        !(line.is_empty() || line.starts_with("//") || line.starts_with(".loc"))
    };
    let next = (at + 1..lines.len())
        .find(|next| code(lines[*next]))
        .unwrap_or(at);
    if lines[next].contains(".entry") {
        let end = (next..lines.len()).find(|end| lines[*end].starts_with('}'));
        return next + 1..=end.unwrap_or(lines.len()) + 1;
    }
    next + 1..=next + 1
}

fn complaint(name: &str, lines: &[&str], allowance: &Allowance<'_>) -> Diagnostic {
    let message = if allowance.reason.is_empty() {
        format!("the allowance of {} gives no reason", allowance.code)
    } else {
        format!(
            "the allowance of {} allows nothing: no finding of this code is at its place any more",
            allowance.code
        )
    };
    Diagnostic {
        code: BAD,
        blame: Blame::Input,
        message,
        sites: vec![Site {
            label: "this comment".to_owned(),
            ptx: Some(Place {
                file: name.to_owned(),
                line: u32::try_from(allowance.line).unwrap_or(u32::MAX),
                column: 1,
            }),
            cuda: None,
            inlined: Vec::new(),
            statement: Some(lines[allowance.line - 1].trim().to_owned()),
        }],
        help: Some(
            "take it out, or write `// flashproof: allow(CODE) reason` before the instruction"
                .to_owned(),
        ),
        count: 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::analyze;
    use crate::ptx::parse;

    const TEXT: &str = ".version 9.0\n.target sm_80\n.address_size 64\n.entry k() .reqntid 64\n{\n.reg .b32 %r<4>;\n.shared .align 4 .b8 s[256];\nmov.u32 %r1, s;\nmov.u32 %r2, %tid.x;\nALLOW\nst.shared.u32 [%r1], %r2;\nret;\n}\n";

    fn applied(comment: &str) -> (usize, usize, Vec<String>) {
        let text = TEXT.replace("ALLOW", comment);
        let mut results = analyze(&parse("k.ptx", &text).unwrap());
        let (allowed, complaints) = apply("k.ptx", &text, &mut results);
        let left: usize = results.iter().map(|result| result.findings.len()).sum();
        (
            left,
            allowed.len(),
            complaints.into_iter().map(|found| found.message).collect(),
        )
    }

    #[test]
    fn an_allowance_needs_a_reason_and_something_to_allow() {
        let plain = applied("");
        assert_eq!((plain.1, plain.2.len()), (0, 0));
        assert!(plain.0 > 0, "all threads write one word");
        let (left, allowed, complaints) =
            applied("// flashproof: allow(interval-race) any will do");
        assert_eq!((left, allowed), (plain.0 - 1, 1), "{complaints:?}");
        let (left, _, complaints) = applied("// flashproof: allow(interval-race)");
        assert_eq!((left, complaints.len()), (plain.0, 1));
        assert!(complaints[0].ends_with("gives no reason"));
        let (_, _, complaints) = applied("// flashproof: allow(bank-conflict) once upon a time");
        assert!(complaints[0].contains("allows nothing"), "{complaints:?}");
    }
}
