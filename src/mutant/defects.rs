//! The defective kernels of `cuda/defects`, in the virtual machine, on the case that shows each of them.

use super::criteria::{Criterion, Sample, half_precision};
use super::judge::{Check, Said, rules};
use super::{Findings, Grid, Row};
use crate::backend::{Backend, Settings};
use crate::bound::Bound;
use crate::case::Case;
use crate::kernel::{self, Kernel};
use crate::oracle::{Terms, owed};
use crate::outcome::Outcome;
use crate::verdict::judge;
use flashproof_reference::{AttentionError, attention};
use rayon::prelude::*;

/// Adds a row for each defect, and the repaired twins to the right kernels.
pub(super) fn run(
    repeat: u64,
    findings: &mut Findings,
    done: &(impl Fn() + Sync),
) -> Result<(), AttentionError> {
    let asked: Vec<(Row, Row)> = kernel::defects()
        .par_iter()
        .map(|defect| {
            let mut bad = Row {
                name: defect.kernel.name().to_owned(),
                family: "cuda/defects".to_owned(),
                what: "see its source".to_owned(),
                source: format!("cuda/defects/{}.cu", defect.kernel.name()),
                ..Row::default()
            };
            let mut twin = Row {
                name: defect.repaired.name().to_owned(),
                family: "right".to_owned(),
                ..Row::default()
            };
            for seed in 0..repeat {
                let ask_of = |row: &mut Row, kernel: &Kernel, clean: Option<&Said>| {
                    let line = format!("kernel={} {}", kernel.name(), defect.case);
                    let mut case: Case =
                        line.parse().expect("a test runs the case of every defect");
                    case.seed = case.seed.wrapping_add(seed);
                    let said = ask(kernel, &case)?;
                    let counted = clean.map_or_else(|| said.clone(), |clean| said.beyond(clean));
                    row.add(Grid::Ours, &case.to_string(), &counted);
                    Ok::<Said, AttentionError>(said)
                };
                let clean = ask_of(&mut twin, &defect.repaired, None)?;
                ask_of(&mut bad, &defect.kernel, Some(&clean))?;
            }
            done();
            Ok((bad, twin))
        })
        .collect::<Result<_, AttentionError>>()?;
    for (bad, twin) in asked {
        findings.mutants.push(bad);
        // One kernel is the twin of many.
        match findings.clean.iter_mut().find(|row| row.name == twin.name) {
            Some(row) => row.merge(&twin),
            None => findings.clean.push(twin),
        }
    }
    Ok(())
}

fn ask(kernel: &Kernel, case: &Case) -> Result<Said, AttentionError> {
    let problem = case
        .problem()
        .expect("a test runs the case of every defect");
    let backend = Backend::default();
    let outcome = backend.run(kernel, &problem, &Settings::of(case));
    let terms = Terms::of(kernel.manifest(), &backend, &problem, case.target);
    let (owed, chosen) = match &outcome {
        Outcome::Finished(output) => owed(&problem, output, &terms),
        Outcome::Trapped(_) | Outcome::Unsupported(_) => (None, None),
    };
    let (problem, outcome) = (owed.unwrap_or(problem), chosen.unwrap_or(outcome));
    let answer = attention(&problem)?;
    let bound = Bound::of(&problem, &answer, &terms.arithmetic);
    let verdict = judge(&problem, &answer, &bound, terms.empty_row, &outcome);
    let mut said = Said {
        checks: rules(&verdict),
        is_exposed: true,
        ..Said::default()
    };
    if let Outcome::Finished(output) = &outcome {
        let (out, half) = (output.o.to_f64(), half_precision(&problem));
        said.compared = if said.checks.is_empty() { out.len() } else { 0 };
        if output
            .findings
            .iter()
            .any(|found| found.blame == crate::diagnostic::Blame::Kernel)
        {
            said.checks.insert(Check::Finding);
        }
        let sample = Sample {
            out: &out,
            gold: &answer.o,
            half: &half,
            dtype: problem.dtype(),
        };
        let refused = Criterion::ALL
            .into_iter()
            .filter(|one| !one.accepts(&sample));
        said.refused.extend(refused);
    }
    Ok(said)
}
