//! Mutants: kernels that are wrong in one known way, and who notices.
//!
//! Each [`Mutant`] plants one [`Fault`] in the simulated kernel; the defective kernels of
//! `cuda/defects`, run in the virtual machine, stand beside them. Every mutant runs on our problems and on those of the
//! projects whose criteria are compared (see [`trial`] and [`criteria`]); a mutant is caught when one of our checks says
//! *disagree*. The right kernels run on the same problems, and whoever complains about them cries wolf.

pub mod criteria;
mod defects;
mod judge;
mod table;
pub mod trial;

pub use criteria::Criterion;
pub use judge::{Bench, Check, Said};
pub use table::{Kind, Mutant, mutants};
pub use trial::{Grid, Plan, Trial, trials};

use crate::simulation::Fault;
use flashproof_reference::AttentionError;
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Runs, and who noticed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Score {
    /// Runs.
    pub runs: usize,
    /// Runs in which any bit differs from the right kernel's.
    pub exposed: usize,
    /// Runs in which one of our checks said *disagree*.
    pub caught: usize,
    /// The same by check.
    pub checks: BTreeMap<Check, usize>,
    /// Runs that a criterion refused, the right kernel's on the same problem not: who refuses both has noticed nothing.
    pub refused: BTreeMap<Criterion, usize>,
}

impl Score {
    fn add(&mut self, said: &Said) {
        self.runs += 1;
        self.exposed += usize::from(said.is_exposed);
        self.caught += usize::from(!said.checks.is_empty());
        for check in &said.checks {
            *self.checks.entry(*check).or_default() += 1;
        }
        for criterion in &said.refused {
            *self.refused.entry(*criterion).or_default() += 1;
        }
    }

    fn merge(&mut self, other: &Self) {
        self.runs += other.runs;
        self.exposed += other.exposed;
        self.caught += other.caught;
        for (check, count) in &other.checks {
            *self.checks.entry(*check).or_default() += count;
        }
        for (criterion, count) in &other.refused {
            *self.refused.entry(*criterion).or_default() += count;
        }
    }

    /// Runs that a criterion refused.
    pub fn refused_by(&self, criterion: Criterion) -> usize {
        self.refused.get(&criterion).copied().unwrap_or(0)
    }
}

/// Everything known of one kernel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// The mutant's name, or the right kernel's.
    pub name: String,
    /// Its family.
    pub family: String,
    /// What is wrong.
    pub what: String,
    /// Where a kernel had this defect.
    pub source: String,
    /// Why it counts as equivalent.
    pub equivalent: Option<&'static str>,
    /// On our problems.
    pub ours: Score,
    /// On the problems of a criterion's own project.
    pub own: BTreeMap<Criterion, Score>,
    /// The first of our problems on which one of our checks said *disagree*, and which.
    pub first: Option<(Check, String)>,
    /// Elements compared, of runs that agreed.
    pub compared: usize,
}

impl Row {
    fn add(&mut self, grid: Grid, text: &str, said: &Said) {
        self.compared += said.compared;
        match grid {
            Grid::Ours => {
                self.ours.add(said);
                if self.first.is_none() {
                    let check = said.checks.iter().next();
                    self.first = check.map(|check| (*check, text.to_owned()));
                }
            }
            Grid::Of(criterion) => self.own.entry(criterion).or_default().add(said),
        }
    }

    /// Takes the runs on our problems of another row of the same kernel.
    fn merge(&mut self, other: &Self) {
        self.ours.merge(&other.ours);
        self.compared += other.compared;
        if self.first.is_none() {
            self.first.clone_from(&other.first);
        }
    }

    /// Whether our checks noticed it.
    pub fn is_caught(&self) -> bool {
        self.ours.caught > 0
    }

    /// Runs on any problem that one of our checks complained about.
    pub fn caught_anywhere(&self) -> usize {
        self.ours.caught + self.own.values().map(|score| score.caught).sum::<usize>()
    }
}

/// The table of who notices what.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// One row a mutant.
    pub mutants: Vec<Row>,
    /// The right kernels: whoever complains is wrong.
    pub clean: Vec<Row>,
    /// Problems.
    pub trials: usize,
}

impl Findings {
    /// Whether every mutant that is not equivalent is caught, and no right kernel is.
    pub fn is_good(&self) -> bool {
        self.mutants
            .iter()
            .all(|row| row.is_caught() || row.equivalent.is_some())
            && self.clean.iter().all(|row| row.caught_anywhere() == 0)
            && !self.mutants.is_empty()
    }
}

/// Which mutants are meant: all, or those of one family or name.
pub fn selected(family: Option<&str>) -> Vec<Mutant> {
    let all = mutants().into_iter();
    all.filter(|mutant| family.is_none_or(|name| name == mutant.family || name == mutant.name))
        .collect()
}

/// Runs mutants on the trials of a plan, and the right kernels. `has_defects`: the kernels of `cuda/defects` too. `done`
/// hears of every trial that is finished.
///
/// # Errors
/// A case that is no case, or that has no answer: a bug of this module.
pub fn run(
    list: &[Mutant],
    trials: &[Trial],
    defects: Option<u64>,
    done: impl Fn() + Sync,
) -> Result<Findings, AttentionError> {
    let asked: Vec<Vec<Option<Said>>> = trials
        .par_iter()
        .map(|trial| {
            let bench = Bench::new(trial)?;
            let of_kind = list
                .iter()
                .map(|mutant| (mutant.kind == trial.kind).then(|| bench.ask(mutant.fault)));
            let clean = bench.ask(Fault::None).map(Some);
            let said = of_kind
                .map(Option::transpose)
                .chain([clean])
                .collect::<Result<Vec<_>, _>>();
            done();
            said
        })
        .collect::<Result<_, _>>()?;
    let mut findings = Findings {
        mutants: list.iter().map(row_of).collect(),
        clean: vec![Row {
            name: "simulated".to_owned(),
            family: "right".to_owned(),
            ..Row::default()
        }],
        trials: trials.len(),
    };
    for (trial, said) in trials.iter().zip(&asked) {
        let Some(Some(clean)) = said.last() else {
            continue; // there is always a right kernel
        };
        for (row, said) in findings.mutants.iter_mut().zip(said) {
            if let Some(said) = said {
                row.add(trial.grid, &trial.text, &said.beyond(clean));
            }
        }
        findings.clean[0].add(trial.grid, &trial.text, clean);
    }
    if let Some(repeat) = defects {
        defects::run(repeat, &mut findings, &done)?;
    }
    Ok(findings)
}

fn row_of(mutant: &Mutant) -> Row {
    Row {
        name: mutant.name.to_owned(),
        family: mutant.family.to_owned(),
        what: mutant.what.to_owned(),
        source: mutant.source.to_owned(),
        equivalent: mutant.equivalent,
        ..Row::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_that_does_nothing_is_a_mutant_that_nobody_catches() {
        let plan = Plan {
            random_count: 0,
            repeat: 1,
            seed: 0,
            has_field: false,
        };
        let trials: Vec<Trial> = trials(&plan).unwrap().into_iter().take(4).collect();
        let ignored = Mutant {
            fault: Fault::None,
            ..mutants()[0]
        };
        let findings = run(&[ignored], &trials, None, || {}).unwrap();
        assert!(!findings.mutants[0].is_caught() && !findings.is_good());
        assert_eq!(findings.mutants[0].ours.exposed, 0);
        assert_eq!(findings.clean[0].caught_anywhere(), 0);
        // And one that does something is.
        let real = selected(Some("lse_negated"));
        assert!(run(&real, &trials, None, || {}).unwrap().is_good());
        assert!(!Findings::default().is_good());
    }

    #[test]
    fn a_family_and_a_name_both_select() {
        assert_eq!(selected(Some("lse")).len(), 4);
        assert_eq!(selected(Some("lse_base2")).len(), 1);
        assert!(selected(Some("nothing")).is_empty());
    }
}
