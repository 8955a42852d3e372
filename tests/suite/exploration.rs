//! What PTX leaves open changes nothing: every shipped kernel on one case, in every way there is.

use flashproof::backend::Backend;
use flashproof::case::Case;
use flashproof::kernel;
use flashproof::oracle::{Exploration, explore};

/// Bits are the same under all schedules and orders of asynchronous copies, verdicts also under fused products and all
/// values of approximate functions: a run with other bits would have the finding `nondeterministic-result`.
#[test]
fn shipped_kernels_are_clean_in_every_way() {
    for kernel in kernel::all() {
        let line = format!(
            "kernel={} seqlen_q=40 seqlen_kv=100 head_dim=64 layout=causal+window(70,-) seed=5",
            kernel.name()
        );
        let case: Case = line.parse().unwrap();
        let ways = Exploration::all(2);
        let reports = explore(kernel, &case, &Backend::default(), &ways).unwrap();
        let orders = ways.async_orders.len() * 2;
        assert_eq!(orders, 6, "late, early and reordered, under two schedules");
        assert_eq!(
            reports.len(),
            orders * ways.contracts.len() * ways.approx.len()
        );
        for report in reports {
            assert_eq!(report.verdict.name(), "agree", "{report}");
            assert!(
                report.findings.is_empty(),
                "{report}: {:?}",
                report.findings
            );
        }
    }
}
