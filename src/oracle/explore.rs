//! One case run in all the ways that PTX leaves open: schedules, arrival of asynchronous copies, fused products, values
//! of approximate functions.
//!
//! **Law.** A right kernel's verdict holds in every one of them. Schedules and arrivals must not change a bit of its output
//! either; fusing and approximating may.

use super::{CaseReport, CheckError, check_with};
use crate::backend::{Backend, Settings};
use crate::case::{Case, Contract};
use crate::diagnostic::{Blame, Code, Diagnostic};
use crate::kernel::Kernel;
use crate::outcome::{Outcome, Output};
use crate::vm::{Approx, AsyncOrder};
use flashproof_reference::Tensor;

const NONDETERMINISTIC: Code = Code("nondeterministic-result");

/// Which ways to run a case; an empty list stands for the case's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exploration {
    /// How many schedules, the case's own first; 0 is 1.
    pub schedules: u32,
    /// Arrivals of asynchronous copies.
    pub async_orders: Vec<AsyncOrder>,
    /// Whether products are fused.
    pub contracts: Vec<Contract>,
    /// Values of approximate functions.
    pub approx: Vec<Approx>,
}

impl Exploration {
    /// Every way, with so many schedules.
    pub fn all(schedules: u32) -> Self {
        Self {
            schedules,
            async_orders: AsyncOrder::ALL.map(|(_, order)| order).to_vec(),
            contracts: Contract::ALL.map(|(_, contract)| contract).to_vec(),
            approx: Approx::ALL.map(|(_, approx)| approx).to_vec(),
        }
    }

    /// The case in every way: those that must give the same bits together, the first of them first.
    fn groups(&self, case: &Case) -> Vec<Vec<Case>> {
        let or_own = |list: &[Contract]| {
            if list.is_empty() {
                vec![case.contract]
            } else {
                list.to_vec()
            }
        };
        let approx = if self.approx.is_empty() {
            vec![case.approx]
        } else {
            self.approx.clone()
        };
        let orders = if self.async_orders.is_empty() {
            vec![case.async_order]
        } else {
            self.async_orders.clone()
        };
        let schedules = u64::from(self.schedules.max(1));
        let mut groups = Vec::new();
        for contract in or_own(&self.contracts) {
            for &approx in &approx {
                let mut group = Vec::new();
                for &async_order in &orders {
                    for schedule in 0..schedules {
                        group.push(Case {
                            contract,
                            approx,
                            async_order,
                            schedule: case.schedule.wrapping_add(schedule),
                            ..case.clone()
                        });
                    }
                }
                // The schedule seeds approximate functions too: then it may change bits.
                if approx == Approx::Seeded {
                    groups.extend(group.into_iter().map(|case| vec![case]));
                } else {
                    groups.push(group);
                }
            }
        }
        groups
    }
}

/// Runs and judges the case in every way. Where bits differ that must not, the later run has a finding.
///
/// # Errors
/// As [`super::check`].
pub fn explore(
    kernel: &Kernel,
    case: &Case,
    backend: &Backend,
    exploration: &Exploration,
) -> Result<Vec<CaseReport>, CheckError> {
    let mut reports = Vec::new();
    for group in exploration.groups(case) {
        let mut first: Option<(Case, Output)> = None;
        for case in group {
            let report = check_with(kernel, &case, backend, |problem| {
                let mut outcome = backend.run(kernel, problem, &Settings::of(&case));
                if let Outcome::Finished(output) = &mut outcome {
                    match &first {
                        None => first = Some((case.clone(), output.clone())),
                        Some((other, expected)) => {
                            output.findings.extend(difference(other, expected, output));
                        }
                    }
                }
                outcome
            })?;
            reports.push(report);
        }
    }
    Ok(reports)
}

/// A finding where two runs differ in a bit.
fn difference(case: &Case, expected: &Output, got: &Output) -> Option<Diagnostic> {
    let [a, b] = [&expected.o, &got.o].map(bits);
    let in_o = a.iter().zip(&b).filter(|(a, b)| a != b).count();
    let lse = expected.lse.iter().zip(&got.lse);
    let in_lse = lse.filter(|(a, b)| a.to_bits() != b.to_bits()).count();
    (in_o + in_lse > 0).then(|| Diagnostic {
        code: NONDETERMINISTIC,
        blame: Blame::Kernel,
        message: format!(
            "{in_o} elements of o and {in_lse} of lse have other bits than under schedule={} async={}",
            case.schedule, case.async_order
        ),
        sites: Vec::new(),
        help: Some("look for a race or an atomic sum: results depend on who comes first".to_owned()),
        count: 1,
    })
}

fn bits(tensor: &Tensor) -> Vec<u64> {
    match tensor {
        Tensor::F16(numbers) => numbers.iter().map(|x| u64::from(x.to_bits())).collect(),
        Tensor::Bf16(numbers) => numbers.iter().map(|x| u64::from(x.to_bits())).collect(),
        Tensor::F32(numbers) => numbers.iter().map(|x| u64::from(x.to_bits())).collect(),
        Tensor::F64(numbers) => numbers.iter().map(|x| x.to_bits()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel;
    use crate::verdict::{Fault, Verdict};

    #[test]
    fn a_clean_kernel_is_clean_in_every_way() {
        let case: Case =
            "kernel=block_sparse_sm80 seqlen_q=40 seqlen_kv=150 layout=causal+window(70,-) seed=3"
                .parse()
                .unwrap();
        let kernel = kernel::by_name(&case.kernel).unwrap();
        let reports = explore(kernel, &case, &Backend::default(), &Exploration::all(2)).unwrap();
        assert_eq!(reports.len(), 2 * 4 * 3 * 2);
        for report in reports {
            assert_eq!(report.verdict.name(), "agree", "{report}");
        }
    }

    #[test]
    fn a_missing_barrier_shows_in_the_bits_too() {
        let case: Case = "kernel=trailing_barrier_missing seqlen_q=64 seqlen_kv=256"
            .parse()
            .unwrap();
        let kernel = kernel::by_name(&case.kernel).unwrap();
        let early = Exploration {
            async_orders: vec![AsyncOrder::Late, AsyncOrder::Early],
            ..Exploration::default()
        };
        let reports = explore(kernel, &case, &Backend::default(), &early).unwrap();
        let Verdict::Disagree(faults) = &reports[1].verdict else {
            panic!("{}", reports[1]);
        };
        let codes: Vec<&str> = faults.iter().map(Fault::kind).collect();
        assert!(codes.contains(&"shared-race"), "{codes:?}");
        assert!(codes.contains(&"nondeterministic-result"), "{codes:?}");
    }
}
