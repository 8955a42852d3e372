//! Many cases of one kernel: verdicts counted, failures with the command that repeats each.

use super::{diagnostic, verdict};
use crate::diagnostic::{Blame, Code};
use crate::oracle::{CaseReport, Tally};
use crate::verdict::{Agreement, Fault, Verdict};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Failures shown in full; the others are counted.
const SHOWN: usize = 3;
/// Findings of one code shown of a case.
const SHOWN_OF_A_CODE: usize = 2;

/// What came of the cases of one kernel.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// The kernel.
    pub kernel: String,
    /// `vm`, `native` or `device`.
    pub backend: &'static str,
    /// Seed of random cases; `None` where the user gave the case.
    pub seed: Option<u64>,
    /// One report a case, in the order of the cases.
    pub reports: Vec<CaseReport>,
    /// The smallest failing case found from the first failing one.
    pub smallest: Option<CaseReport>,
    /// What comes between `flashproof verify` and `--case` to repeat a case: a file and its manifest, a backend.
    pub arguments: String,
}

impl Sweep {
    /// The verdicts, counted.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for report in &self.reports {
            tally.add(&report.verdict);
        }
        tally
    }

    /// Agreements of all cases together: counts added, the worst distances.
    pub fn agreement(&self) -> Agreement {
        let mut all = Agreement::default();
        for report in &self.reports {
            if let Verdict::Agree(one) = &report.verdict {
                all.compared += one.compared;
                all.exact += one.exact;
                all.replayed += one.replayed;
                all.skipped += one.skipped;
                all.o_worst = all.o_worst.max(one.o_worst);
                all.lse_worst = all.lse_worst.max(one.lse_worst);
                all.suspicion.count += one.suspicion.count;
                all.suspicion.rms = all.suspicion.rms.max(one.suspicion.rms);
            }
        }
        all
    }

    /// The command that repeats a case.
    pub fn command(&self, report: &CaseReport) -> String {
        format!(
            "flashproof verify{} --case '{}'",
            self.arguments, report.case
        )
    }

    /// The sweep as text: failures first, the count last.
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text)
            .expect("writing to a string does not fail");
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let failures: Vec<&CaseReport> = self
            .reports
            .iter()
            .filter(|report| matches!(report.verdict, Verdict::Disagree(_)))
            .collect();
        for report in failures.iter().take(SHOWN) {
            self.write_failure(out, report)?;
        }
        if failures.len() > SHOWN {
            writeln!(out, "{} more cases disagree\n", failures.len() - SHOWN)?;
        }
        if let Some(smallest) = &self.smallest {
            writeln!(
                out,
                "smallest failing case found:\n  {}\n",
                self.command(smallest)
            )?;
        }
        self.write_reasons(out)?;
        write!(out, "{} on {}: {}", self.kernel, self.backend, self.tally())?;
        if let Some(seed) = self.seed {
            write!(out, " (seed {seed})")?;
        }
        let agreement = self.agreement();
        if agreement.compared > 0 {
            write!(
                out,
                "; {} elements compared, each within its bound",
                agreement.compared
            )?;
        }
        if agreement.skipped > 0 {
            write!(out, "; {} not compared", agreement.skipped)?;
        }
        writeln!(out)
    }

    fn write_failure(&self, out: &mut String, report: &CaseReport) -> std::fmt::Result {
        let case = report.case.to_string();
        let mut by_code: BTreeMap<Code, usize> = BTreeMap::new();
        if let Verdict::Disagree(faults) = &report.verdict {
            for fault in faults {
                match fault {
                    Fault::Elements(elements) => writeln!(out, "disagree: {elements}")?,
                    Fault::Finding(finding) | Fault::Trap(finding) => {
                        let count = by_code.entry(finding.code).or_default();
                        *count += 1;
                        if *count <= SHOWN_OF_A_CODE {
                            out.push_str(&diagnostic::text(finding, Some(&case)));
                        }
                    }
                }
            }
        }
        for (code, count) in by_code {
            if count > SHOWN_OF_A_CODE {
                let more = count - SHOWN_OF_A_CODE;
                writeln!(
                    out,
                    "{more} more {code} in this case, at other places: all with --format json"
                )?;
            }
        }
        // Faults are what blames the kernel; a finding that does not is still said.
        for finding in &report.findings {
            if finding.blame != Blame::Kernel {
                out.push_str(&diagnostic::text(finding, Some(&case)));
            }
        }
        writeln!(out, "  {}\n", self.command(report))
    }

    /// Why cases were not compared, each reason once with its count and its first case.
    fn write_reasons(&self, out: &mut String) -> std::fmt::Result {
        let mut reasons: Vec<(&'static str, &str, usize, &CaseReport)> = Vec::new();
        for report in &self.reports {
            let (Verdict::Incomparable(reason) | Verdict::Unsupported(reason)) = &report.verdict
            else {
                continue;
            };
            let name = report.verdict.name();
            match reasons
                .iter_mut()
                .find(|known| known.0 == name && known.1 == reason)
            {
                Some(known) => known.2 += 1,
                None => reasons.push((name, reason, 1, report)),
            }
        }
        for (name, reason, count, first) in reasons {
            writeln!(
                out,
                "{name}: {reason} ({count} cases; the first: {})",
                first.case
            )?;
        }
        Ok(())
    }

    /// The sweep as JSON.
    pub fn json(&self) -> Value {
        let Tally {
            agree,
            suspicious,
            disagree,
            incomparable,
            unsupported,
        } = self.tally();
        let agreement = self.agreement();
        let cases: Vec<Value> = self
            .reports
            .iter()
            .filter(|report| !matches!(report.verdict, Verdict::Agree(_)))
            .map(|report| self.case_json(report))
            .collect();
        json!({
            "kernel": self.kernel,
            "backend": self.backend,
            "seed": self.seed,
            "cases": self.reports.len(),
            "agree": agree,
            "suspicious": suspicious,
            "disagree": disagree,
            "incomparable": incomparable,
            "unsupported": unsupported,
            "elements_compared": agreement.compared,
            "elements_without_tolerance": agreement.exact,
            "elements_replayed": agreement.replayed,
            "elements_suspicious": agreement.suspicion.count,
            "elements_not_compared": agreement.skipped,
            "o_worst_in_bounds": rounded(agreement.o_worst),
            "lse_worst_in_bounds": rounded(agreement.lse_worst),
            "not_agreeing": cases,
            "smallest_failing": self.smallest.as_ref().map(|report| report.case.to_string()),
        })
    }

    fn case_json(&self, report: &CaseReport) -> Value {
        let case = report.case.to_string();
        let findings: Vec<Value> = report
            .findings
            .iter()
            .map(|finding| diagnostic::json(finding, None))
            .collect();
        let detail: Vec<String> = match &report.verdict {
            Verdict::Disagree(faults) => faults.iter().map(ToString::to_string).collect(),
            Verdict::Incomparable(reason) | Verdict::Unsupported(reason) => vec![reason.clone()],
            Verdict::Agree(_) => Vec::new(),
        };
        json!({
            "case": case,
            "command": self.command(report),
            "verdict": report.verdict.name(),
            "detail": detail,
            "result": verdict::json(&report.verdict),
            "findings": findings,
        })
    }
}

/// Four decimals: what a reader of a ratio needs, and no more than every machine gives.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// Cases of which at least half must have been compared for a sweep to mean anything.
pub fn floor(cases: usize) -> usize {
    cases.div_ceil(2).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Backend;
    use crate::oracle::check;

    fn sweep(lines: &[&str]) -> Sweep {
        let reports = lines
            .iter()
            .map(|line| check(&line.parse().unwrap(), &Backend::default()).unwrap());
        Sweep {
            kernel: "k".to_owned(),
            backend: "vm",
            seed: Some(7),
            reports: reports.collect(),
            smallest: None,
            arguments: String::new(),
        }
    }

    #[test]
    fn a_sweep_counts_and_gives_reasons_once() {
        let sweep = sweep(&[
            "kernel=block_sparse_sm80 seqlen_q=3 seqlen_kv=5",
            "kernel=block_sparse_sm80 dtype=f32",
            "kernel=block_sparse_sm80 dtype=f32 seqlen_kv=2",
        ]);
        let text = sweep.text();
        assert!(
            text.contains("k on vm: 1 agree, 0 disagree, 0 incomparable, 2 unsupported (seed 7)"),
            "{text}"
        );
        assert_eq!(text.matches("unsupported: ").count(), 1, "{text}");
        assert!(
            text.contains("(2 cases; the first: kernel=block_sparse_sm80 dtype=f32)"),
            "{text}"
        );
        let json = sweep.json();
        assert_eq!(json["agree"], 1);
        assert_eq!(json["not_agreeing"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn a_failure_names_the_command_that_repeats_it() {
        let sweep = sweep(&["kernel=ragged_tail_scores_zero seqlen_q=16 seqlen_kv=17"]);
        let text = sweep.text();
        let command =
            "flashproof verify --case 'kernel=ragged_tail_scores_zero seqlen_q=16 seqlen_kv=17'";
        assert!(text.contains(command), "{text}");
        assert!(text.contains("outputs outside their bounds"), "{text}");
    }

    #[test]
    fn findings_of_one_code_are_shown_twice_and_counted() {
        let mut sweep = sweep(&["kernel=copy_barrier_missing seqlen_q=64 seqlen_kv=256"]);
        let Verdict::Disagree(faults) = &mut sweep.reports[0].verdict else {
            panic!("a defect agrees")
        };
        let found = |fault: &Fault| matches!(fault, Fault::Finding(_));
        let finding = faults.iter().find(|fault| found(fault)).unwrap().clone();
        *faults = vec![finding.clone(), finding.clone(), finding.clone(), finding];
        let text = sweep.text();
        assert_eq!(text.matches("kernel bug[").count(), 2, "{text}");
        assert!(text.contains("2 more shared-race in this case"), "{text}");
    }

    #[test]
    fn half_of_the_cases_must_compare() {
        assert_eq!([0, 1, 2, 3, 100].map(floor), [1, 1, 1, 2, 50]);
    }
}
