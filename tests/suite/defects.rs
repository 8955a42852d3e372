//! Every known-bad kernel is caught in the case its table entry states, by what it states; its repaired twin is not.
#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers may panic as the test itself may"
)]

use flashproof::backend::Backend;
use flashproof::case::Case;
use flashproof::diagnostic::Diagnostic;
use flashproof::kernel::{self, Expected, Kernel};
use flashproof::oracle::{self, CaseReport};
use flashproof::verdict::{Fault, Verdict};
use rayon::prelude::*;

fn check(kernel: &Kernel, arguments: &str) -> CaseReport {
    let case: Case = format!("kernel={} {arguments}", kernel.name())
        .parse()
        .unwrap();
    oracle::check(&case, &Backend::default()).unwrap()
}

/// Whether a report names one of these diagnostics.
fn is_found(report: &CaseReport, codes: &[&str]) -> bool {
    let named = |finding: &Diagnostic| codes.contains(&finding.code.0);
    report.findings.iter().any(named)
        || matches!(&report.verdict, Verdict::Disagree(faults) if faults.iter().any(|fault| matches!(fault, Fault::Finding(finding) if named(finding))))
}

/// Somebody who does not know where to look finds them too.
#[test]
fn defects_of_memory_and_order_are_found_by_name_within_20_random_cases() {
    let found: Vec<(&str, bool)> = kernel::defects()
        .par_iter()
        .filter_map(|defect| {
            let codes = match defect.expected {
                // What a kernel decides from values is not a matter of memory or order.
                Expected::Disagree | Expected::Findings(["tile-decision"]) => return None,
                Expected::Findings(codes) => codes,
            };
            let found = oracle::cases(&defect.kernel, 0).take(20).any(|case| {
                let report = oracle::check(&case, &Backend::default()).unwrap();
                is_found(&report, codes)
            });
            Some((defect.kernel.name(), found))
        })
        .collect();
    let missed: Vec<&(&str, bool)> = found.iter().filter(|(_, found)| !found).collect();
    assert!(missed.is_empty(), "{missed:?}");
    assert!(found.len() >= 25, "{found:?}");
}

#[test]
fn every_defect_is_found_as_it_says() {
    let mut complaints = Vec::new();
    for defect in kernel::defects() {
        let report = check(&defect.kernel, defect.case);
        let found = match defect.expected {
            Expected::Findings(codes) => is_found(&report, codes),
            Expected::Disagree => match &report.verdict {
                Verdict::Disagree(faults) => faults
                    .iter()
                    .any(|fault| matches!(fault, Fault::Elements(_))),
                Verdict::Agree(_) | Verdict::Incomparable(_) | Verdict::Unsupported(_) => false,
            },
        };
        if !found || report.verdict.name() != "disagree" {
            complaints.push(format!("expected {:?}, but: {report}", defect.expected));
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn every_repaired_twin_stays_silent() {
    let mut complaints = Vec::new();
    for defect in kernel::defects() {
        let stated = check(&defect.repaired, defect.case);
        let is_kernel = kernel::all()
            .iter()
            .any(|kernel| kernel.name() == defect.repaired.name());
        let others = oracle::cases(&defect.repaired, 5)
            .take(if is_kernel { 0 } else { 2 })
            .map(|case| oracle::check(&case, &Backend::default()).unwrap());
        for report in std::iter::once(stated).chain(others) {
            if report.verdict.name() != "agree" || !report.findings.is_empty() {
                complaints.push(report.to_string());
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn every_kernel_of_sparsity_has_defects() {
    for (kernel, least) in [
        ("block_sparse_sm80", 10),
        ("window_sm80", 10),
        ("bsfa_sm80", 10),
        ("block_sparse_sm90", 20),
    ] {
        let of_kernel = kernel::defects().iter().filter(|defect| {
            let entry = &defect.kernel.manifest().entries()[0];
            entry.starts_with(kernel)
        });
        assert!(of_kernel.count() >= least, "{kernel}");
    }
}
