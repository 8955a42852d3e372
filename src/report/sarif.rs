//! Findings as SARIF 2.1.0 (OASIS, 2020), which code scanning reads.
//!
//! One run; a rule for each code that is raised; a result for each finding, at the line of the PTX of its first place, its
//! other places and CUDA lines as related locations, allowed findings as results with a suppression and its reason.

use super::explain::explanation;
use crate::diagnostic::{Blame, Code, Diagnostic, Place};
use crate::oracle::CaseReport;
use crate::verdict::{Fault, Verdict};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Where the schema lies that the document names.
const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// A finding, the file it is about, and the reason for which it is allowed, if it is.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Path of the text, as the user gave it.
    pub uri: &'a str,
    /// The finding.
    pub finding: &'a Diagnostic,
    /// Why it is allowed.
    pub allowed: Option<&'a str>,
}

/// An output of a run that lies outside its bound.
pub const OUTSIDE: Code = Code("output-outside-bound");

/// What runs of a kernel showed, each once: what checkers found, what stopped it, outputs outside their bounds.
pub fn findings(reports: &[CaseReport]) -> Vec<Diagnostic> {
    let mut found: Vec<Diagnostic> = Vec::new();
    let mut add = |mut finding: Diagnostic, report: &CaseReport| {
        let same = |other: &&mut Diagnostic| {
            other.code == finding.code
                && other.sites.first().map(|site| &site.ptx)
                    == finding.sites.first().map(|site| &site.ptx)
        };
        if let Some(other) = found.iter_mut().find(same) {
            other.count = other.count.saturating_add(finding.count.max(1));
            return;
        }
        finding.message += &format!(" (case: {})", report.case);
        found.push(finding);
    };
    for report in reports {
        for finding in &report.findings {
            add(finding.clone(), report);
        }
        let Verdict::Disagree(faults) = &report.verdict else {
            continue;
        };
        for fault in faults {
            match fault {
                Fault::Finding(finding) | Fault::Trap(finding) => {
                    if !report.findings.contains(finding) {
                        add(finding.clone(), report);
                    }
                }
                Fault::Elements(elements) => add(
                    Diagnostic {
                        code: OUTSIDE,
                        blame: Blame::Kernel,
                        message: elements.to_string(),
                        sites: Vec::new(),
                        help: Some(format!(
                            "`flashproof verify --case '{}'` repeats it",
                            report.case
                        )),
                        count: 1,
                    },
                    report,
                ),
            }
        }
    }
    found
}

fn level(blame: Blame) -> &'static str {
    match blame {
        Blame::Kernel | Blame::Input | Blame::Toolkit => "error",
        Blame::Advice => "warning",
        Blame::Unsupported => "note",
    }
}

/// A path as a URI reference: separators forward, everything else that a URI reserves or lacks in per cents.
fn uri_of(path: &str) -> String {
    let mut uri = String::new();
    for byte in path.replace('\\', "/").bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}

fn location(uri: &str, place: &Place, snippet: Option<&str>) -> Value {
    let mut physical = json!({"artifactLocation": {"uri": uri_of(uri)}});
    if place.line > 0 {
        physical["region"] = json!({"startLine": place.line});
        if place.column > 0 {
            physical["region"]["startColumn"] = json!(place.column);
        }
        if let Some(text) = snippet {
            physical["region"]["snippet"] = json!({"text": text});
        }
    }
    json!({ "physicalLocation": physical })
}

fn result(entry: &Entry<'_>, rules: &[&str]) -> Value {
    let finding = entry.finding;
    let mut message = finding.message.clone();
    if let Some(site) = finding.sites.first() {
        message += &format!(": {}", site.label);
    }
    if let Some(help) = &finding.help {
        message += &format!(". Help: {help}");
    }
    let first = finding.sites.first();
    let main = first.and_then(|site| site.ptx.as_ref().map(|place| (site, place)));
    let mut result = json!({
        "ruleId": finding.code.0,
        "ruleIndex": rules.iter().position(|rule| *rule == finding.code.0),
        "level": level(finding.blame),
        "kind": "fail",
        "message": {"text": message},
        "locations": main.map_or_else(
            || vec![json!({"physicalLocation": {"artifactLocation": {"uri": uri_of(entry.uri)}}})],
            |(site, place)| vec![location(entry.uri, place, site.statement.as_deref())],
        ),
        "occurrenceCount": finding.count.max(1),
    });
    let mut related = Vec::new();
    for (number, site) in finding.sites.iter().enumerate() {
        if let Some(place) = site.ptx.as_ref().filter(|_| number > 0) {
            related.push((
                location(entry.uri, place, site.statement.as_deref()),
                site.label.clone(),
            ));
        }
        for place in site.cuda.iter().chain(&site.inlined) {
            related.push((
                location(&place.file, place, None),
                "in the CUDA source".to_owned(),
            ));
        }
    }
    if !related.is_empty() {
        let numbered = related.into_iter().enumerate();
        result["relatedLocations"] = numbered
            .map(|(id, (mut location, label))| {
                location["id"] = json!(id + 1);
                location["message"] = json!({"text": label});
                location
            })
            .collect();
    }
    if let Some(reason) = entry.allowed {
        result["suppressions"] = json!([{"kind": "inSource", "justification": reason}]);
    }
    result
}

/// The document.
pub fn document(entries: &[Entry<'_>]) -> Value {
    let codes: BTreeSet<&str> = entries.iter().map(|entry| entry.finding.code.0).collect();
    let codes: Vec<&str> = codes.into_iter().collect();
    let rules: Vec<Value> = codes
        .iter()
        .map(|code| {
            let mut rule = json!({"id": code});
            if let Some(explanation) = explanation(code) {
                rule["shortDescription"] = json!({"text": explanation.meaning});
                rule["fullDescription"] = json!({"text": explanation.cause});
                rule["help"] = json!({"text": format!("raised by {}; can miss {}", explanation.checker, explanation.misses)});
            }
            rule
        })
        .collect();
    let results: Vec<Value> = entries.iter().map(|entry| result(entry, &codes)).collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "flashproof",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}
