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

fn check(kernel: &Kernel, arguments: &str) -> CaseReport {
    let case: Case = format!("kernel={} {arguments}", kernel.name())
        .parse()
        .unwrap();
    oracle::check(&case, &Backend::default()).unwrap()
}

#[test]
fn every_defect_is_found_as_it_says() {
    let mut complaints = Vec::new();
    for defect in kernel::defects() {
        let report = check(&defect.kernel, defect.case);
        let found = match defect.expected {
            Expected::Findings(codes) => {
                let named = |finding: &Diagnostic| codes.contains(&finding.code.0);
                report.findings.iter().any(named)
                    || matches!(&report.verdict, Verdict::Disagree(faults) if faults.iter().any(|fault| matches!(fault, Fault::Finding(finding) if named(finding))))
            }
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
