//! Case to verdict: the one door for tests, fuzzing, benches and the command line.

mod attended;
mod cases;
mod explore;
mod fuzz;
mod fuzz_manifest;
mod fuzz_ptx;
mod selection;
mod tally;

pub use attended::{Attended, Pair, Work, attended};
pub use cases::{cases, suited};
pub use explore::{Exploration, explore};
pub use fuzz::{Reached, fuzz_layout};
pub use fuzz_manifest::fuzz_manifest;
pub use fuzz_ptx::fuzz_ptx;
pub use tally::{Tally, TooFew};

use crate::backend::{Backend, Settings};
use crate::bound::{Arithmetic, Bound, Generation};
use crate::case::{Case, CaseError};
use crate::diagnostic::Diagnostic;
use crate::kernel::manifest::Manifest;
use crate::kernel::method::EmptyRow;
use crate::kernel::{self, Kernel, UnknownKernel};
use crate::outcome::{Outcome, Output};
use crate::verdict::{Verdict, judge};
use crate::vm::Target;
use flashproof_reference::{AttentionError, Problem, attention};
use std::fmt;

/// What came of one case.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseReport {
    /// The case.
    pub case: Case,
    /// `vm`, `native` or `device`.
    pub backend: &'static str,
    /// The verdict.
    pub verdict: Verdict,
    /// Everything the checkers said, whomever it blames.
    pub findings: Vec<Diagnostic>,
}

/// Why a case could not even be tried.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CheckError {
    /// Not a case.
    #[error(transparent)]
    Case(#[from] CaseError),
    /// Nobody knows the kernel.
    #[error(transparent)]
    Kernel(#[from] UnknownKernel),
    /// The reference has no answer.
    #[error(transparent)]
    Attention(#[from] AttentionError),
}

/// How a run is judged: the roundings it may make, and what it owes rows that see no key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// Roundings.
    pub arithmetic: Arithmetic,
    /// Rows that see no key.
    pub empty_row: EmptyRow,
}

impl Terms {
    /// Those of a kernel by its manifest, where it runs.
    pub fn of(manifest: &Manifest, backend: &Backend, problem: &Problem, target: Target) -> Self {
        let generation = match backend {
            Backend::Native => {
                let arithmetic = Arithmetic::native(problem.shape.seqlen_kv);
                return Self {
                    arithmetic,
                    empty_row: EmptyRow::Zero,
                };
            }
            Backend::Vm(_) => match target {
                Target::Sm80 | Target::Sm86 | Target::Sm89 => Generation::Ampere,
                Target::Sm90 | Target::Sm100 => Generation::Hopper,
            },
            Backend::Device => Generation::Any,
        };
        let method = manifest.method.for_inputs(problem.dtype());
        let arithmetic = Arithmetic::of(&method, manifest.lse_base, generation)
            .with_tile_order(manifest.tile_order);
        Self {
            arithmetic,
            empty_row: manifest.empty_row,
        }
    }
}

/// Runs a case and judges it.
///
/// ```
/// use flashproof::{backend::Backend, oracle};
/// let case = "kernel=block_sparse_sm80 seqlen_kv=2".parse()?;
/// assert_eq!(oracle::check(&case, &Backend::Native)?.verdict.name(), "agree");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`CheckError`]: the input is at fault; everything else is a verdict.
pub fn check(case: &Case, backend: &Backend) -> Result<CaseReport, CheckError> {
    check_kernel(kernel::by_name(&case.kernel)?, case, backend)
}

/// As [`check`], for a kernel that is in no table.
///
/// # Errors
/// As [`check`].
pub fn check_kernel(
    kernel: &Kernel,
    case: &Case,
    backend: &Backend,
) -> Result<CaseReport, CheckError> {
    check_with(kernel, case, backend, |problem| {
        backend.run(kernel, problem, &Settings::of(case))
    })
}

/// As [`check_kernel`], with somebody else's run judged as if `backend` had made it: how the judge itself is tested.
///
/// # Errors
/// As [`check`].
pub fn check_with(
    kernel: &Kernel,
    case: &Case,
    backend: &Backend,
    run: impl FnOnce(&Problem) -> Outcome,
) -> Result<CaseReport, CheckError> {
    let problem = case.problem()?;
    let outcome = run(&problem);
    let (verdict, findings) = match &outcome {
        // Without a run there is nothing to compare, so no answer is needed.
        Outcome::Unsupported(reason) => (Verdict::Unsupported(reason.clone()), Vec::new()),
        Outcome::Trapped(found) => (
            judge_run(kernel, case, backend, &problem, &outcome)?,
            found.clone(),
        ),
        Outcome::Finished(output) => (
            judge_run(kernel, case, backend, &problem, &outcome)?,
            output.findings.clone(),
        ),
    };
    Ok(CaseReport {
        case: case.clone(),
        backend: backend.name(),
        verdict,
        findings,
    })
}

fn judge_run(
    kernel: &Kernel,
    case: &Case,
    backend: &Backend,
    problem: &Problem,
    outcome: &Outcome,
) -> Result<Verdict, AttentionError> {
    let terms = Terms::of(kernel.manifest(), backend, problem, case.target);
    let (owed, chosen) = match &outcome {
        Outcome::Finished(output) => owed(problem, output, &terms),
        Outcome::Trapped(_) | Outcome::Unsupported(_) => (None, None),
    };
    let problem = owed.as_ref().unwrap_or(problem);
    let answer = attention(problem)?;
    let bound = Bound::of(problem, &answer, &terms.arithmetic);
    Ok(judge(
        problem,
        &answer,
        &bound,
        terms.empty_row,
        chosen.as_ref().unwrap_or(outcome),
    ))
}

/// Of a kernel that chooses its tiles: the problem whose answer it owes, and its outcome with what is wrong with its
/// choices.
pub(crate) fn owed(
    problem: &Problem,
    output: &Output,
    terms: &Terms,
) -> (Option<Problem>, Option<Outcome>) {
    let Some(kept) = &output.kept else {
        return (None, None);
    };
    let mut output = output.clone();
    let owed = match (
        selection::check(problem, kept, &terms.arithmetic),
        kept.problem(problem),
    ) {
        (Ok(finding), Ok(owed)) => {
            output.findings.extend(finding);
            owed
        }
        (Err(error), _) => return (None, Some(Outcome::Unsupported(error.to_string()))),
        (_, Err(error)) => return (None, Some(Outcome::Unsupported(error.to_string()))),
    };
    (Some(owed), Some(Outcome::Finished(output)))
}

impl CaseReport {
    /// The command that repeats this.
    pub fn command(&self) -> String {
        let backend = if self.backend == "vm" {
            String::new()
        } else {
            format!(" --backend {}", self.backend)
        };
        format!("flashproof verify{backend} --case '{}'", self.case)
    }
}

impl fmt::Display for CaseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  {}", self.verdict, self.command())
    }
}

/// The smallest case reached by simplifying while `fails` holds of it; `case` itself if nothing simpler fails.
///
/// Tries at most `budget` cases.
pub fn minimise(case: &Case, mut budget: usize, fails: impl Fn(&Case) -> bool) -> Case {
    let mut smallest = case.clone();
    'smaller: loop {
        for simpler in smallest.simpler() {
            if budget == 0 {
                return smallest;
            }
            budget -= 1;
            if fails(&simpler) {
                smallest = simpler;
                continue 'smaller;
            }
        }
        return smallest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_of_an_unknown_kernel_is_an_error_with_a_suggestion() {
        let case: Case = "kernel=block_sparse_sm8".parse().unwrap();
        let error = check(&case, &Backend::Native).unwrap_err().to_string();
        assert!(error.contains("block_sparse_sm80"), "{error}");
    }

    #[test]
    fn a_report_ends_with_the_command_that_repeats_it() {
        let case: Case = "kernel=block_sparse_sm80 seqlen_q=3 seqlen_kv=5 dtype=f32"
            .parse()
            .unwrap();
        let report = check(&case, &Backend::Native).unwrap();
        assert_eq!(report.verdict.name(), "agree", "{report}");
        let command = "flashproof verify --backend native --case 'kernel=block_sparse_sm80 dtype=f32 seqlen_q=3 seqlen_kv=5'";
        assert!(report.to_string().ends_with(command), "{report}");
    }

    #[test]
    fn a_failing_case_becomes_as_small_as_it_can() {
        let text = "kernel=k batch=2 seqlen_q=100 seqlen_kv=200 layout=blocks(500,16,16,3)+causal+window(9,-) values=peaky seed=77";
        let case: Case = text.parse().unwrap();
        let found = minimise(&case, 2000, |case| {
            case.shape.seqlen_kv > 16 && case.layout.window.left.is_some()
        });
        assert_eq!(
            found.to_string(),
            "kernel=k seqlen_kv=17 layout=window(0,-)"
        );
        assert_eq!(minimise(&case, 0, |_| true), case);
    }
}
