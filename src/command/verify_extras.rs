//! What `verify` shows beside verdicts: the attended set, and how memory is used.

use super::Status;
use super::verify::Subject;
use super::{Failure, progress};
use crate::backend::Settings;
use crate::backend::vm::{VmOptions, run_watched};
use crate::case::Case;
use crate::cli;
use crate::diagnostic::{Blame, Code, Diagnostic};
use crate::oracle::{Attended, attended};
use crate::report::diagnostic;
use crate::report::sweep::{Sweep, floor};
use rayon::prelude::*;
use serde_json::{Value, json};
use std::io::Write;

const ATTENDED_SET: Code = Code("attended-set");
const EXTRA_WORK: Code = Code("extra-work");
/// Findings shown in full.
const SHOWN: usize = 3;

/// What was asked for besides verdicts.
#[derive(Debug, Default)]
pub(super) struct Extras {
    attended: Option<Proof>,
    notes: Option<(Case, Vec<Diagnostic>)>,
}

/// The attended sets of all cases.
#[derive(Debug, Default)]
struct Proof {
    cases: usize,
    pairs: usize,
    runs: usize,
    visited: usize,
    needed: usize,
    /// Cases that could not be run, with the first reason.
    unsupported: (usize, Option<String>),
    findings: Vec<(String, Diagnostic)>,
}

impl Extras {
    /// Runs what the flags ask for on the cases of the sweep.
    pub(super) fn of(
        subject: &Subject,
        sweep: &Sweep,
        arguments: &cli::Verify,
    ) -> Result<Self, Failure> {
        let mut extras = Self::default();
        if arguments.attended {
            extras.attended = Some(Proof::of(subject)?);
        }
        if arguments.notes {
            let size = |case: &&Case| case.shape.seqlen_q * case.shape.seqlen_kv;
            let largest = sweep
                .reports
                .iter()
                .map(|report| &report.case)
                .max_by_key(size);
            if let Some(case) = largest {
                let problem = case.problem().map_err(Failure::input)?;
                let settings = Settings::of(case);
                let (_, watched) = run_watched(
                    &subject.kernel,
                    &problem,
                    &settings,
                    &VmOptions::default(),
                    true,
                );
                extras.notes = Some((case.clone(), watched.notes));
            }
        }
        Ok(extras)
    }

    pub(super) fn status(&self) -> Status {
        match &self.attended {
            None => Status::Agree,
            Some(proof) if !proof.findings.is_empty() => Status::Disagree,
            Some(proof) if proof.cases - proof.unsupported.0 < floor(proof.cases) => {
                Status::Unsupported
            }
            Some(_) => Status::Agree,
        }
    }

    pub(super) fn write(&self, out: &mut dyn Write) -> Result<(), Failure> {
        if let Some(proof) = &self.attended {
            proof.write(out)?;
        }
        if let Some((case, notes)) = &self.notes {
            for note in notes.iter().take(SHOWN) {
                out.write_all(diagnostic::text(note, None).as_bytes())?;
            }
            if notes.len() > SHOWN {
                writeln!(out, "and {} more", notes.len() - SHOWN)?;
            }
            writeln!(
                out,
                "performance: {} notes on the largest case ({case})",
                notes.len()
            )?;
        }
        Ok(())
    }

    pub(super) fn add_to(&self, document: &mut Value) {
        if let Some(proof) = &self.attended {
            let findings = proof.findings.iter();
            document["attended"] = json!({
                "cases": proof.cases,
                "unsupported": proof.unsupported.0,
                "pairs": proof.pairs,
                "runs": proof.runs,
                "tiles_visited": proof.visited,
                "tiles_needed": proof.needed,
                "findings": findings
                    .map(|(case, found)| json!({ "case": case, "finding": diagnostic::json(found, None) }))
                    .collect::<Vec<_>>(),
            });
        }
        if let Some((case, notes)) = &self.notes {
            let notes: Vec<Value> = notes
                .iter()
                .map(|note| diagnostic::json(note, None))
                .collect();
            document["notes"] = json!({ "case": case.to_string(), "notes": notes });
        }
    }
}

impl Proof {
    fn of(subject: &Subject) -> Result<Self, Failure> {
        let cases = &subject.cases;
        let bar = progress::count(u64::try_from(cases.len()).unwrap_or(u64::MAX), "attended");
        let found: Result<Vec<_>, _> = cases
            .par_iter()
            .map(|case| {
                let found = attended(&subject.kernel, case);
                bar.inc(1);
                found
            })
            .collect();
        bar.finish_and_clear();
        let mut proof = Self::default();
        for (case, found) in cases.iter().zip(found.map_err(Failure::input)?) {
            proof.cases += 1;
            match found {
                Ok(found) => proof.add(case, &found),
                Err(reason) => {
                    proof.unsupported.0 += 1;
                    proof.unsupported.1.get_or_insert(reason);
                }
            }
        }
        Ok(proof)
    }

    fn add(&mut self, case: &Case, found: &Attended) {
        self.pairs += found.pairs;
        self.runs += found.runs;
        let finding = |code, message, help: &str| {
            let found = Diagnostic {
                code,
                blame: Blame::Kernel,
                message,
                sites: Vec::new(),
                help: Some(help.to_owned()),
                count: 1,
            };
            (case.to_string(), found)
        };
        if let Some(pair) = &found.wrong {
            let help =
                "compare the kernel's mask, and the heads and tiles it reads, with the layout";
            self.findings
                .push(finding(ATTENDED_SET, pair.to_string(), help));
        }
        let Some(work) = &found.work else {
            return;
        };
        self.visited += work.visited;
        self.needed += work.needed;
        if let Some(([x, y, z], [batch, head, key])) = work.extra {
            let message = format!(
                "cta ({x},{y},{z}) reads k[batch {batch}, head {head}, key {key}], a tile or more from every key it needs; \
                 {} tiles are visited in all, {} needed",
                work.visited, work.needed
            );
            self.findings.push(finding(
                EXTRA_WORK,
                message,
                "start and end the loop over tiles where the layout does",
            ));
        }
    }

    fn write(&self, out: &mut dyn Write) -> Result<(), Failure> {
        for (case, found) in self.findings.iter().take(SHOWN) {
            out.write_all(diagnostic::text(found, Some(case)).as_bytes())?;
        }
        if self.findings.len() > SHOWN {
            writeln!(out, "and {} more", self.findings.len() - SHOWN)?;
        }
        if let (count @ 1.., Some(reason)) = (self.unsupported.0, &self.unsupported.1) {
            writeln!(
                out,
                "attended: {count} cases not run, the first because of {reason}"
            )?;
        }
        let verdict = if self.findings.is_empty() {
            "pass"
        } else {
            "mismatch"
        };
        writeln!(
            out,
            "attended: {verdict}: {} cases, {} pairs of the layouts in {} runs; {} tiles visited, {} needed",
            self.cases - self.unsupported.0,
            self.pairs,
            self.runs,
            self.visited,
            self.needed
        )?;
        Ok(())
    }
}
