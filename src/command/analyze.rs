//! `flashproof analyze`: static passes over PTX.

use super::modules::{is_file, kernels, read_manifest, read_ptx};
use super::{Failure, Status, resources};
use crate::analysis::allow::{self, Allowed};
use crate::analysis::{Answer, PassResult, analyze_under, not_asked};
use crate::case::Case;
use crate::cli::{self, FindingFormat};
use crate::contract::Contract;
use crate::diagnostic::{Blame, Diagnostic};
use crate::kernel::Kernel;
use crate::oracle;
use crate::ptx::{self, Function};
use crate::report::table::Table;
use crate::report::{diagnostic, sarif};
use rayon::prelude::*;
use serde_json::{Value, json};
use std::fmt::Display;
use std::io::Write;
use std::path::Path;

/// A PTX text and what the user calls it.
struct Text {
    name: String,
    ptx: String,
    /// The kernel, where its manifest is known.
    kernel: Option<Kernel>,
}

/// What the passes say about one text.
struct Analysed {
    name: String,
    results: Vec<PassResult>,
    /// Why the text could not be read, and what is wrong with its allowances.
    errors: Vec<Diagnostic>,
    /// Findings that the text allows.
    allowed: Vec<Allowed>,
    /// Whether a manifest says how an entry of it is launched.
    has_manifest: bool,
}

pub(super) fn run(arguments: &cli::Analyze, out: &mut dyn Write) -> Result<Status, Failure> {
    let texts = texts(&arguments.modules, arguments.manifest.as_deref())?;
    if arguments.resources {
        return resources_of(&texts, out);
    }
    let analysed: Vec<Analysed> = texts.par_iter().map(analysed).collect();
    let status = analysed
        .iter()
        .map(status_of)
        .max()
        .unwrap_or(Status::Agree);
    match arguments.format {
        FindingFormat::Text => out.write_all(render(&analysed).as_bytes())?,
        FindingFormat::Json => {
            let documents: Vec<Value> = analysed.iter().map(json_of).collect();
            writeln!(out, "{:#}", json!({ "modules": documents }))?;
        }
        FindingFormat::Sarif => {
            let entries: Vec<sarif::Entry<'_>> = analysed.iter().flat_map(entries).collect();
            writeln!(out, "{:#}", sarif::document(&entries))?;
        }
    }
    Ok(status)
}

fn resources_of(texts: &[Text], out: &mut dyn Write) -> Result<Status, Failure> {
    let mut table = Table::new(resources::COLUMNS);
    for text in texts {
        let module = ptx::parse(&text.name, &text.ptx).map_err(Failure::input)?;
        let promised =
            |function: &Function| launches(text.kernel.as_ref(), function).into_iter().next();
        resources::rows(&mut table, &text.name, &text.ptx, &module, &promised)?;
    }
    out.write_all(table.text().as_bytes())?;
    Ok(Status::Agree)
}

/// What the passes say about every right kernel of the table, as text.
pub(super) fn all() -> Result<(String, Status), Failure> {
    let analysed: Vec<Analysed> = texts(&[], None)?.par_iter().map(analysed).collect();
    let status = analysed.iter().map(status_of).max();
    Ok((render(&analysed), status.unwrap_or(Status::Unsupported)))
}

fn texts(modules: &[String], manifest: Option<&Path>) -> Result<Vec<Text>, Failure> {
    let manifest = manifest
        .map(|path| Ok::<_, Failure>((path, read_manifest(path)?)))
        .transpose()?;
    let refused = |path: &Path, error: &dyn Display| {
        Failure::Input(format!(
            "{}: {error}\nhelp: without --manifest every pass is asked but those that need a launch: {}",
            path.display(),
            not_asked(&[], "").join(", ")
        ))
    };
    if modules.is_empty() {
        return Ok(kernels(&[])?.into_iter().map(text_of).collect());
    }
    modules
        .iter()
        .map(|module| {
            if is_file(module) {
                let ptx = read_ptx(Path::new(module))?;
                let kernel = manifest
                    .as_ref()
                    .map(|(path, text)| {
                        Kernel::from_parts(module, &ptx, text)
                            .map_err(|error| refused(path, &error))
                    })
                    .transpose()?;
                Ok(Text {
                    name: module.clone(),
                    ptx,
                    kernel,
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

fn text_of(kernel: &Kernel) -> Text {
    Text {
        name: kernel.name().to_owned(),
        ptx: kernel.ptx().to_owned(),
        kernel: Some(kernel.clone()),
    }
}

fn analysed(text: &Text) -> Analysed {
    let (mut results, mut errors) = match ptx::parse(&text.name, &text.ptx) {
        Ok(module) => (
            analyze_under(&module, &|function| {
                launches(text.kernel.as_ref(), function)
            }),
            Vec::new(),
        ),
        Err(error) => (Vec::new(), vec![error.diagnostic()]),
    };
    let (allowed, complaints) = allow::apply(&text.name, &text.ptx, &mut results);
    errors.extend(complaints);
    Analysed {
        name: text.name.clone(),
        results,
        errors,
        allowed,
        has_manifest: text.kernel.is_some(),
    }
}

/// What launches of a function are promised: of the smallest and of ragged problems for which the manifest names it. Every
/// list is tried, so that with lists the problems are smaller.
fn launches(kernel: Option<&Kernel>, function: &Function) -> Vec<Contract> {
    let Some(kernel) = kernel else {
        return Vec::new();
    };
    let requires = &kernel.manifest().requires;
    let mut contracts = Vec::new();
    let mut largest = Vec::new();
    for (num_q_heads, seqlen_q, seqlen_kv) in [(1, 1, 1), (2, 20, 70), (1, 70, 20), (2, 70, 130)] {
        let small = seqlen_q + seqlen_kv <= 90;
        for dtype in &requires.dtype {
            for head_dim in &requires.head_dim {
                if kernel.manifest().entry_for(*dtype, head_dim) != function.name {
                    continue;
                }
                let mut case = Case::smallest(kernel.name());
                case.shape.num_q_heads = num_q_heads;
                case.shape.seqlen_q = seqlen_q;
                case.shape.seqlen_kv = seqlen_kv;
                case.dtype = *dtype;
                let Ok(head_dim) = usize::try_from(*head_dim) else {
                    continue;
                };
                case.shape.head_dim = head_dim;
                if largest.is_empty() {
                    largest = kernel.largest(*dtype, head_dim);
                }
                let case = oracle::suited(kernel, case);
                let binding = case.problem().ok().map(|problem| kernel.bind(&problem));
                let binding = binding.and_then(Result::ok);
                let contract = binding.map(|binding| binding.contract());
                contracts.extend(contract.filter(|contract| small || !contract.has_lists()));
            }
        }
    }
    contracts.extend(largest);
    contracts
}

/// Every finding of a text for SARIF, the allowed ones with their reason.
fn entries(analysed: &Analysed) -> impl Iterator<Item = sarif::Entry<'_>> {
    let uri = analysed.name.as_str();
    let of_results = analysed.results.iter().flat_map(|result| &result.findings);
    let left = analysed.errors.iter().chain(of_results);
    let left = left.map(move |finding| sarif::Entry {
        uri,
        finding,
        allowed: None,
    });
    left.chain(analysed.allowed.iter().map(move |allowed| sarif::Entry {
        uri,
        finding: &allowed.finding,
        allowed: Some(&allowed.reason),
    }))
}

/// The worst of the findings that are left: advice is none, and what is not decided says nothing.
fn status_of(analysed: &Analysed) -> Status {
    let of_errors = analysed.errors.iter().map(|error| match error.blame {
        Blame::Unsupported => Status::Unsupported,
        Blame::Kernel | Blame::Advice | Blame::Input | Blame::Toolkit => Status::BadInput,
    });
    let findings = analysed.results.iter().flat_map(|result| &result.findings);
    let of_findings = findings.map(|finding| match finding.blame {
        Blame::Advice => Status::Agree,
        Blame::Unsupported => Status::Unsupported,
        Blame::Kernel | Blame::Input | Blame::Toolkit => Status::Disagree,
    });
    let nothing = if analysed.results.is_empty() {
        Status::Unsupported
    } else {
        Status::Agree
    };
    of_errors.chain(of_findings).fold(nothing, Status::max)
}

fn word(answer: Answer) -> &'static str {
    match answer {
        Answer::Proved => "proved",
        Answer::Refuted => "refuted",
        Answer::Unknown => "unknown",
    }
}

/// The findings that a text shows: of what a pass could not decide in a function, the first place stands for all.
fn shown(result: &PassResult) -> impl Iterator<Item = &Diagnostic> {
    let undecided = |finding: &&Diagnostic| finding.blame == Blame::Unsupported;
    let decided = result.findings.iter().filter(move |f| !undecided(f));
    decided.chain(result.findings.iter().find(undecided))
}

/// How many places of a function a pass could not decide.
fn places(result: &PassResult) -> String {
    let undecided = result.findings.iter();
    match undecided.filter(|f| f.blame == Blame::Unsupported).count() {
        0 | 1 => String::new(),
        count => format!(" in {count} places, the first above; all with --format json"),
    }
}

/// Passes of each function that wait for a launch to be known.
fn waiting(analysed: &Analysed) -> Vec<(&str, Vec<&'static str>)> {
    let mut functions: Vec<&str> = analysed.results.iter().map(|r| &*r.function).collect();
    functions.dedup();
    let passes = |function| (function, not_asked(&analysed.results, function));
    let waiting = functions.into_iter().map(passes);
    waiting.filter(|(_, passes)| !passes.is_empty()).collect()
}

/// The findings of every text, then one line an answer.
fn render(analysed: &[Analysed]) -> String {
    let mut text = String::new();
    for module in analysed {
        let of_results = module.results.iter().flat_map(shown);
        for finding in module.errors.iter().chain(of_results) {
            text += &diagnostic::text(finding, None);
            text += "\n";
        }
    }
    for module in analysed {
        for allowed in &module.allowed {
            text += &format!(
                "{}: {}: {} allowed: {}\n",
                module.name, allowed.pass, allowed.finding.code, allowed.reason
            );
        }
        for result in &module.results {
            text += &format!(
                "{}: {}: {}: {}{}\n",
                module.name,
                result.function,
                result.pass,
                word(result.answer),
                places(result)
            );
        }
        for (function, passes) in waiting(module) {
            let why = if module.has_manifest {
                "the manifest launches another entry"
            } else {
                "no manifest says how it is launched (`flashproof manifest init FILE.ptx` begins one, --manifest names it)"
            };
            text += &format!(
                "{}: {function}: {}: not asked: {why}\n",
                module.name,
                passes.join(", ")
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
        "not_asked": waiting(analysed).iter().map(|(function, passes)| json!({
            "function": function,
            "passes": passes,
        })).collect::<Vec<_>>(),
        "error": analysed.errors.first().map(|error| diagnostic::json(error, None)),
        "errors": analysed.errors.iter().map(|error| diagnostic::json(error, None)).collect::<Vec<_>>(),
        "allowed": analysed.allowed.iter().map(|allowed| json!({
            "finding": diagnostic::json(&allowed.finding, None),
            "pass": allowed.pass,
            "reason": allowed.reason,
        })).collect::<Vec<_>>(),
    })
}
