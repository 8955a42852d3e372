//! `flashproof mutants`: plants known faults, and shows who catches them.

use super::progress::count;
use super::{Failure, Status, write_file};
use crate::cli::{self, Format};
use crate::mutant::{self, Plan, run as run_mutants, selected, trials};
use crate::report::mutants as report;
use crate::report::svg::draw;
use std::collections::BTreeSet;
use std::io::Write;

/// The family of the kernels that exist as PTX.
const DEFECTS: &str = "cuda/defects";

pub(super) fn run(arguments: &cli::Mutants, out: &mut dyn Write) -> Result<Status, Failure> {
    let family = arguments.family.as_deref();
    let list = selected(family);
    let has_defects = family.is_none_or(|family| family == DEFECTS);
    if list.is_empty() && !has_defects {
        let families: BTreeSet<&str> = mutant::mutants().iter().map(|one| one.family).collect();
        let families: Vec<&str> = families.into_iter().chain([DEFECTS]).collect();
        return Err(Failure::Input(format!(
            "no family or mutant is called {:?}; families are {}",
            family.unwrap_or_default(),
            families.join(", ")
        )));
    }
    let plan = Plan {
        random_count: usize::try_from(arguments.cases).expect("at least 32 bits"),
        repeat: u64::from(arguments.repeat),
        seed: arguments.seed,
        has_field: arguments.grids,
    };
    let trials = if list.is_empty() {
        Vec::new()
    } else {
        trials(&plan).map_err(Failure::input)?
    };
    let defects = if has_defects {
        crate::kernel::defects().len()
    } else {
        0
    };
    let bar = count(
        u64::try_from(trials.len() + defects).unwrap_or(u64::MAX),
        "problems",
    );
    let findings = run_mutants(&list, &trials, has_defects.then_some(plan.repeat), || {
        bar.inc(1)
    })
    .map_err(Failure::input)?;
    bar.finish_and_clear();

    match arguments.format {
        Format::Text => out.write_all(report::text(&findings).as_bytes())?,
        Format::Json => writeln!(out, "{:#}", report::json(&findings))?,
    }
    if let Some(folder) = &arguments.out {
        let command = format!(
            "flashproof mutants --cases {} --repeat {} --seed {}{}",
            arguments.cases,
            arguments.repeat,
            arguments.seed,
            if arguments.grids { " --grids" } else { "" }
        );
        write_file(
            &folder.join("mutants.md"),
            report::markdown(&findings, &command),
        )?;
        write_file(&folder.join("mutants.csv"), report::table(&findings).csv())?;
        write_file(
            &folder.join("mutants.svg"),
            draw(&report::figure(&findings)),
        )?;
    }
    Ok(if findings.is_good() {
        Status::Agree
    } else {
        Status::Disagree
    })
}
