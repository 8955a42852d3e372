//! `flashproof analyze`: static passes over PTX.

use super::modules::{is_file, kernels, read_text};
use super::{Failure, Status};
use crate::analysis::{Answer, PassResult, analyze};
use crate::cli::{self, Format};
use crate::diagnostic::{Blame, Diagnostic};
use crate::ptx;
use crate::report::diagnostic;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;

/// A PTX text and what the user calls it.
struct Text {
    name: String,
    ptx: String,
}

/// What the passes say about one text.
struct Analysed {
    name: String,
    results: Vec<PassResult>,
    /// Why the text could not be read.
    error: Option<Diagnostic>,
}

pub(super) fn run(arguments: &cli::Analyze, out: &mut dyn Write) -> Result<Status, Failure> {
    let texts = texts(&arguments.modules)?;
    let analysed: Vec<Analysed> = texts.iter().map(analysed).collect();
    let status = analysed
        .iter()
        .map(status_of)
        .max()
        .unwrap_or(Status::Agree);
    match arguments.format {
        Format::Text => out.write_all(render(&analysed).as_bytes())?,
        Format::Json => {
            let documents: Vec<Value> = analysed.iter().map(json_of).collect();
            writeln!(out, "{:#}", json!({ "modules": documents }))?;
        }
    }
    Ok(status)
}

/// What the passes say about every right kernel of the table, as text.
pub(super) fn all() -> Result<(String, Status), Failure> {
    let analysed: Vec<Analysed> = texts(&[])?.iter().map(analysed).collect();
    let status = analysed.iter().map(status_of).max();
    Ok((render(&analysed), status.unwrap_or(Status::Unsupported)))
}

fn texts(modules: &[String]) -> Result<Vec<Text>, Failure> {
    if modules.is_empty() {
        return Ok(kernels(&[])?.into_iter().map(text_of).collect());
    }
    modules
        .iter()
        .map(|module| {
            if is_file(module) {
                Ok(Text {
                    name: module.clone(),
                    ptx: read_text(Path::new(module))?,
                })
            } else {
                Ok(kernels(std::slice::from_ref(module))?
                    .into_iter()
                    .map(text_of)
                    .next()
                    .expect("one name gives one kernel"))
            }
        })
        .collect()
}

fn text_of(kernel: &crate::kernel::Kernel) -> Text {
    Text {
        name: kernel.name().to_owned(),
        ptx: kernel.ptx().to_owned(),
    }
}

fn analysed(text: &Text) -> Analysed {
    let (results, error) = match ptx::parse(&text.name, &text.ptx) {
        Ok(module) => (analyze(&module), None),
        Err(error) => (Vec::new(), Some(error.diagnostic())),
    };
    Analysed {
        name: text.name.clone(),
        results,
        error,
    }
}

fn status_of(analysed: &Analysed) -> Status {
    let of_error = analysed.error.iter().map(|error| match error.blame {
        Blame::Unsupported => Status::Unsupported,
        Blame::Kernel | Blame::Input | Blame::Toolkit => Status::BadInput,
    });
    let of_results = analysed.results.iter().map(|result| match result.answer {
        Answer::Proved => Status::Agree,
        Answer::Refuted => Status::Disagree,
        Answer::Unknown => Status::Unsupported,
    });
    of_error
        .chain(of_results)
        .max()
        .unwrap_or(Status::Unsupported)
}

fn word(answer: Answer) -> &'static str {
    match answer {
        Answer::Proved => "proved",
        Answer::Refuted => "refuted",
        Answer::Unknown => "unknown",
    }
}

/// The findings of every text, then one line an answer.
fn render(analysed: &[Analysed]) -> String {
    let mut text = String::new();
    for module in analysed {
        let of_results = module.results.iter().flat_map(|result| &result.findings);
        for finding in module.error.iter().chain(of_results) {
            text += &diagnostic::text(finding, None);
            text += "\n";
        }
    }
    for module in analysed {
        for result in &module.results {
            text += &format!(
                "{}: {}: {}: {}\n",
                module.name,
                result.function,
                result.pass,
                word(result.answer)
            );
        }
    }
    text
}

fn json_of(analysed: &Analysed) -> Value {
    let results: Vec<Value> = analysed
        .results
        .iter()
        .map(|result| {
            let findings: Vec<Value> = result
                .findings
                .iter()
                .map(|finding| diagnostic::json(finding, None))
                .collect();
            json!({
                "function": result.function,
                "pass": result.pass,
                "answer": word(result.answer),
                "findings": findings,
            })
        })
        .collect();
    json!({
        "module": analysed.name,
        "results": results,
        "error": analysed.error.as_ref().map(|error| diagnostic::json(error, None)),
    })
}
