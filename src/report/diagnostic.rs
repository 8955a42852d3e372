//! Findings as text and JSON.
//!
//! The text names the blame first, then each place with its PTX line, its CUDA line and the statement, then what
//! repeats it. Places are numbered in the order in which they happened, the culprit, shown first, last.

use crate::diagnostic::{Blame, Diagnostic, Place, Site};
use serde_json::{Value, json};
use std::fmt::Write;

/// First words of a finding.
fn blame(blame: Blame) -> &'static str {
    match blame {
        Blame::Kernel => "kernel bug",
        Blame::Advice => "advice",
        Blame::Unsupported => "not supported",
        Blame::Input => "bad input",
        Blame::Toolkit => "flashproof bug",
    }
}

/// What the blame means for the reader, where it does not go without saying.
fn note(blame: Blame) -> Option<&'static str> {
    match blame {
        Blame::Unsupported => Some("this says nothing about the kernel"),
        Blame::Toolkit => Some("please report this with the case"),
        Blame::Kernel | Blame::Advice | Blame::Input => None,
    }
}

/// `file:line:column`, without what is unknown.
fn place(place: &Place) -> String {
    let mut text = place.file.clone();
    for number in [place.line, place.column]
        .into_iter()
        .take_while(|number| *number > 0)
    {
        text.push(':');
        text.push_str(&number.to_string());
    }
    text
}

/// `file:line` of a CUDA place: columns of generated code say little.
fn line(place: &Place) -> String {
    if place.line > 0 {
        format!("{}:{}", place.file, place.line)
    } else {
        place.file.clone()
    }
}

/// A finding as text, a line break at the end. `case` is the line that repeats the run, where there was one.
pub fn text(diagnostic: &Diagnostic, case: Option<&str>) -> String {
    let mut out = String::new();
    write_text(&mut out, diagnostic, case).expect("writing to a string does not fail");
    out
}

fn write_text(out: &mut String, diagnostic: &Diagnostic, case: Option<&str>) -> std::fmt::Result {
    writeln!(
        out,
        "{}[{}]: {}",
        blame(diagnostic.blame),
        diagnostic.code,
        diagnostic.message
    )?;
    let count = diagnostic.sites.len();
    for (index, site) in diagnostic.sites.iter().enumerate() {
        write_site(out, site, (count > 1).then(|| count - index))?;
    }
    if diagnostic.count > 1 {
        writeln!(out, "   = count: {}; the first is shown", diagnostic.count)?;
    }
    if let Some(case) = case {
        writeln!(out, "   = case: {case}")?;
    }
    if let Some(help) = &diagnostic.help {
        writeln!(out, "   = help: {help}")?;
    }
    if let Some(note) = note(diagnostic.blame) {
        writeln!(out, "   = note: {note}")?;
    }
    Ok(())
}

/// Characters of a PTX statement that text shows; JSON has all.
const STATEMENT_CHARS: usize = 140;

fn write_site(out: &mut String, site: &Site, number: Option<usize>) -> std::fmt::Result {
    let cuda = site.cuda.as_ref().map(|innermost| {
        let calls: String = site
            .inlined
            .iter()
            .map(|call| format!(", inlined at {}", line(call)))
            .collect();
        format!("{}{calls}", line(innermost))
    });
    match (&site.ptx, cuda) {
        (Some(ptx), Some(cuda)) => writeln!(out, "  --> {}   ({cuda})", place(ptx))?,
        (Some(ptx), None) => writeln!(out, "  --> {}", place(ptx))?,
        (None, Some(cuda)) => writeln!(out, "  --> {cuda}")?,
        (None, None) => writeln!(out, "  -->")?,
    }
    if let Some(statement) = &site.statement {
        // A product of warpgroups names up to 128 registers.
        match statement.char_indices().nth(STATEMENT_CHARS) {
            Some((end, _)) => writeln!(out, "   |   {} ...", &statement[..end])?,
            None => writeln!(out, "   |   {statement}")?,
        }
    }
    match number {
        Some(number) => writeln!(out, "   |   ({number}) {}", site.label),
        None => writeln!(out, "   |   {}", site.label),
    }
}

/// A finding as JSON: `{code, blame, message, sites: [{label, ptx, cuda, inlined, statement}], help, count, case}`;
/// a place is `{file, line, column}`; what is unknown is null.
pub fn json(diagnostic: &Diagnostic, case: Option<&str>) -> Value {
    let place =
        |place: &Place| json!({"file": place.file, "line": place.line, "column": place.column});
    let sites: Vec<Value> = diagnostic
        .sites
        .iter()
        .map(|site| {
            json!({
                "label": site.label,
                "ptx": site.ptx.as_ref().map(place),
                "cuda": site.cuda.as_ref().map(place),
                "inlined": site.inlined.iter().map(place).collect::<Vec<_>>(),
                "statement": site.statement,
            })
        })
        .collect();
    json!({
        "code": diagnostic.code.0,
        "blame": blame(diagnostic.blame),
        "message": diagnostic.message,
        "sites": sites,
        "help": diagnostic.help,
        "count": diagnostic.count,
        "case": case,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Code;

    fn at(file: &str, line: u32, column: u32) -> Place {
        Place {
            file: file.to_owned(),
            line,
            column,
        }
    }

    fn race() -> Diagnostic {
        Diagnostic {
            code: Code("shared-race"),
            blame: Blame::Kernel,
            message: "two threads of a CTA write shared byte 0x40 with no barrier between"
                .to_owned(),
            sites: vec![
                Site {
                    label: "thread (33,0,0) writes here".to_owned(),
                    ptx: Some(at("racy.ptx", 41, 5)),
                    cuda: Some(at("tile.cuh", 23, 3)),
                    inlined: vec![at("racy.cu", 7, 1)],
                    statement: Some("st.shared.f32 [%r7], %f2;".to_owned()),
                },
                Site {
                    label: "thread (1,0,0) wrote here".to_owned(),
                    ptx: Some(at("racy.ptx", 38, 5)),
                    cuda: None,
                    inlined: Vec::new(),
                    statement: Some("st.shared.f32 [%r6], %f1;".to_owned()),
                },
            ],
            help: Some("order the two with a barrier".to_owned()),
            count: 30_624,
        }
    }

    #[test]
    fn a_finding_with_two_places() {
        insta::assert_snapshot!(text(&race(), Some("kernel=racy seqlen_q=2")), @r"
        kernel bug[shared-race]: two threads of a CTA write shared byte 0x40 with no barrier between
          --> racy.ptx:41:5   (tile.cuh:23, inlined at racy.cu:7)
           |   st.shared.f32 [%r7], %f2;
           |   (2) thread (33,0,0) writes here
          --> racy.ptx:38:5
           |   st.shared.f32 [%r6], %f1;
           |   (1) thread (1,0,0) wrote here
           = count: 30624; the first is shown
           = case: kernel=racy seqlen_q=2
           = help: order the two with a barrier
        ");
    }

    #[test]
    fn long_statements_are_cut() {
        let mut race = race();
        race.sites[0].statement = Some("é".repeat(STATEMENT_CHARS + 1));
        let text = text(&race, None);
        assert!(text.contains("é ...\n"), "{text}");
        assert_eq!(text.matches('é').count(), STATEMENT_CHARS);
    }

    #[test]
    fn an_opcode_that_is_not_read() {
        let text_read = ".version 9.0\n.target sm_100a\n.address_size 64\n.entry k() {\n\ttcgen05.fence::before_thread_sync;\n}";
        let error = crate::ptx::parse("k.ptx", text_read).unwrap_err();
        insta::assert_snapshot!(text(&error.diagnostic(), None), @r"
        not supported[ptx-unsupported]: `tcgen05.fence::before_thread_sync` is not among the instructions and directives that are read
          --> k.ptx:5:2
           |   tcgen05.fence::before_thread_sync;
           |   needed here
           = help: compile for sm_80, or report the opcode
           = note: this says nothing about the kernel
        ");
    }

    #[test]
    fn json_says_the_same() {
        let value = json(&race(), None);
        assert_eq!(
            value["sites"][0]["inlined"][0],
            json!({"file": "racy.cu", "line": 7, "column": 1})
        );
        assert_eq!(
            (&value["blame"], &value["count"], &value["case"]),
            (&json!("kernel bug"), &json!(30_624), &Value::Null)
        );
        assert_eq!(value["sites"][1]["cuda"], Value::Null);
    }
}
