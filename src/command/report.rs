//! `flashproof report`: verify, measure and time, into a folder of tables and plots.

use super::eval::{Place, carry, measure, source};
use super::model::Model;
use super::publish::{Extras, publish, stored};
use super::verify::{Subject, status, sweep};
use super::{Failure, Status, analyze, bench, fetch, note, write_file};
use crate::backend::Backend;
use crate::case::Case;
use crate::cli;
use crate::fetch::{Collection, Environment, Origin, Sources, Tree};
use crate::kernel::{self, Defect};
use crate::oracle::{CaseReport, Exploration, check};
use crate::report::resources;
use crate::report::sweep::Sweep;
use crate::report::table::Table;
use crate::study::{Plan, Results, RunOptions};
use std::io::Write;
use std::path::Path;

/// Cases of each kernel in the committed report; `.ci/run` repeats them.
const CASES: usize = 100;
const CASES_FULL: usize = 2000;

/// The small study of every run: enough to see the machinery, too little to conclude.
const SMOKE: &str = r#"
    model = ""
    pairs = ["de-en", "es-en"]
    arms = ["dense", "window:0.25", "block-topk:0.25:16"]
    noise = "distractor"
    levels = [0, 0.5, 1]
    seeds = [0]
    contexts_per_pair = 12
"#;

pub(super) fn run(arguments: &cli::Report, out: &mut dyn Write) -> Result<Status, Failure> {
    let folder = &arguments.out;
    let mut worst = verification(folder, out)?;
    worst = worst.max(analysis(folder, out)?);
    replot(folder, out)?;
    if arguments.deterministic {
        return Ok(worst);
    }
    match model_and_data() {
        Ok((tree, mut model)) => {
            smoke(arguments, &tree, &mut model, out)?;
            if arguments.full {
                recompute(folder, &tree, &mut model, out)?;
            }
        }
        Err(failure) => writeln!(out, "accuracy: not recomputed: {failure}")?,
    }
    if arguments.full {
        worst = worst.max(many_cases(out)?);
    }
    timing(arguments, out)?;
    Ok(worst)
}

/// Every kernel on the same cases on both backends, and every defect on its case.
fn verification(folder: &Path, out: &mut dyn Write) -> Result<Status, Failure> {
    let mut sweeps = Vec::new();
    for kernel in kernel::all() {
        for backend in [Backend::default(), Backend::Native] {
            sweeps.push(sweep(
                &Subject::random(kernel, CASES, 0),
                None,
                &backend,
                &Exploration::default(),
            )?);
        }
    }
    let mut cases = Table::new(["backend", "case", "verdict", "detail"]);
    let mut summary = Table::new([
        "kernel",
        "backend",
        "cases",
        "agree",
        "disagree",
        "incomparable",
        "unsupported",
    ]);
    for sweep in &sweeps {
        let tally = sweep.tally();
        summary.push([
            sweep.kernel.clone(),
            sweep.backend.to_owned(),
            sweep.reports.len().to_string(),
            tally.agree.to_string(),
            tally.disagree.to_string(),
            tally.incomparable.to_string(),
            tally.unsupported.to_string(),
        ]);
        for report in &sweep.reports {
            cases.push(case_row(report));
        }
    }
    let mut defects = Table::new(["defect", "case", "verdict", "found", "repaired twin"]);
    let mut worst = sweeps
        .iter()
        .map(status)
        .max()
        .unwrap_or(Status::Unsupported);
    for defect in kernel::defects() {
        let (row, is_caught) = defect_row(defect)?;
        defects.push(row);
        if !is_caught {
            worst = worst.max(Status::Disagree);
        }
    }
    let text = format!(
        "# Verification\n\n\
         Every kernel on {CASES} random cases (seed 0), each output element judged; cases and verdicts are in\n\
         [cases.csv](cases.csv).\n\n{}\n\
         Kernels that are wrong on purpose, and their repaired twins, on the case that shows the defect.\n\n{}",
        summary.markdown(),
        defects.markdown()
    );
    write_file(&folder.join("verification/README.md"), &text)?;
    write_file(&folder.join("verification/cases.csv"), cases.csv())?;
    for sweep in &sweeps {
        out.write_all(sweep.text().as_bytes())?;
    }
    writeln!(
        out,
        "defects: {} checked, see {}",
        defects.len(),
        folder.join("verification").display()
    )?;
    Ok(worst)
}

/// Verdict and, where there is none to compare by, the reason; no float, whose last digit may be the machine's.
fn case_row(report: &CaseReport) -> [String; 4] {
    use crate::verdict::Verdict;
    let detail = match &report.verdict {
        Verdict::Agree(agreement) => format!("{} elements", agreement.compared),
        Verdict::Disagree(faults) => faults
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; "),
        Verdict::Incomparable(reason) | Verdict::Unsupported(reason) => reason.clone(),
    };
    [
        report.backend.to_owned(),
        report.case.to_string(),
        report.verdict.name().to_owned(),
        detail,
    ]
}

/// The row of a defect, and whether it was caught while its twin stayed silent.
fn defect_row(defect: &Defect) -> Result<([String; 5], bool), Failure> {
    let report_of = |name: &str| -> Result<CaseReport, Failure> {
        let case: Case = format!("kernel={name} {}", defect.case)
            .parse()
            .map_err(Failure::input)?;
        check(&case, &Backend::default()).map_err(Failure::input)
    };
    let bad = report_of(defect.kernel.name())?;
    let twin = report_of(defect.repaired.name())?;
    let mut found: Vec<&str> = bad.findings.iter().map(|finding| finding.code.0).collect();
    found.sort_unstable();
    found.dedup();
    let is_caught = bad.verdict.name() == "disagree"
        && twin.verdict.name() == "agree"
        && twin.findings.is_empty();
    let found = if found.is_empty() {
        "values outside their bounds".to_owned()
    } else {
        found.join(", ")
    };
    let row = [
        defect.kernel.name().to_owned(),
        defect.case.to_owned(),
        bad.verdict.name().to_owned(),
        found,
        twin.verdict.name().to_owned(),
    ];
    Ok((row, is_caught))
}

/// The static passes over every kernel.
fn analysis(folder: &Path, out: &mut dyn Write) -> Result<Status, Failure> {
    let (text, status) = analyze::all()?;
    write_file(
        &folder.join("analysis/README.md"),
        format!(
            "# Analysis\n\nEvery static pass over every kernel, without running it.\n\n```text\n{text}```\n"
        ),
    )?;
    out.write_all(text.as_bytes())?;
    let known = resources::document().map_err(Failure::Wrong)?;
    write_file(&folder.join("analysis/resources.md"), known)?;
    let entries = resources::entries().map_err(Failure::Wrong)?;
    write_file(&folder.join("analysis/resources.csv"), entries.csv())?;
    Ok(status)
}

/// Tables and figures of every stored study.
fn replot(folder: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    let places = stored(&folder.join("accuracy"));
    for place in &places {
        publish(place, &Extras::default(), &mut std::io::sink())?;
    }
    writeln!(
        out,
        "accuracy: {} stored studies plotted again",
        places.len()
    )?;
    Ok(())
}

/// The tree and the encoder, fetched where they are missing.
fn model_and_data() -> Result<(Tree, Model), Failure> {
    let tree = Tree::locate(&Environment::read()).map_err(Failure::input)?;
    let missing = [
        (Collection::Model, tree.model().is_err()),
        (Collection::Mlqa, tree.mlqa_dev().is_err()),
        (
            Collection::Xquad,
            tree.find("xquad/xquad.en.json", Collection::Xquad).is_err(),
        ),
    ];
    let origin = Origin::Network(Sources::from_environment());
    for (collection, _) in missing.iter().filter(|(_, is_missing)| *is_missing) {
        note(&format!("{collection} is not on this machine; fetching it"));
        fetch::bring(*collection, &origin, &tree)?;
    }
    let model = Model::load(&tree)?;
    Ok((tree, model))
}

fn plan(text: &str, model: &Model) -> Result<Plan, Failure> {
    Ok(Plan {
        model: model.name.to_owned(),
        ..Plan::from_toml(text).map_err(Failure::input)?
    })
}

/// A small study from nothing, watermarked.
fn smoke(
    arguments: &cli::Report,
    tree: &Tree,
    model: &mut Model,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let place = Place {
        folder: arguments.out.join("smoke"),
        name: "smoke".to_owned(),
    };
    for ending in [".jsonl", ".through.json"] {
        // It is computed anew; where there was none there is nothing to remove.
        let _ = std::fs::remove_file(place.file(ending));
    }
    let plan = plan(SMOKE, model)?;
    measure(&plan, &source(tree)?, model, &place, &RunOptions::default())?;
    if !arguments.quick {
        carry(&plan, tree, model, &place, 1)?;
    }
    let extras = Extras {
        is_smoke: true,
        notes: vec![
            "A smoke run: it shows that the machinery works, and proves nothing about the arms."
                .to_owned(),
        ],
    };
    writeln!(
        out,
        "\nsmoke study, no evidence, in {}:",
        place.folder.display()
    )?;
    publish(&place, &extras, out)
}

/// Every stored study from nothing beside the stored one, and whether the ranks are the same.
fn recompute(
    folder: &Path,
    tree: &Tree,
    model: &mut Model,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    for place in stored(&folder.join("accuracy")) {
        let old = Results::read(&place.file(".jsonl")).map_err(Failure::input)?;
        if old.plan.model != model.name {
            note(&format!(
                "{}: made with {}, but {} is on this machine; left out",
                place.name, old.plan.model, model.name
            ));
            continue;
        }
        let fresh = Place {
            folder: folder.join("full"),
            name: place.name.clone(),
        };
        measure(
            &old.plan,
            &source(tree)?,
            model,
            &fresh,
            &RunOptions::default(),
        )?;
        let new = Results::read(&fresh.file(".jsonl")).map_err(Failure::input)?;
        let same = new
            .cells
            .iter()
            .filter(|(key, cell)| {
                old.cells
                    .get(*key)
                    .is_some_and(|stored| stored.ranks == cell.ranks)
            })
            .count();
        writeln!(
            out,
            "{}: {same} of {} cells recomputed with the same ranks",
            place.name,
            new.cells.len()
        )?;
    }
    Ok(())
}

/// More cases than the committed report has, with another seed.
fn many_cases(out: &mut dyn Write) -> Result<Status, Failure> {
    let mut worst = Status::Agree;
    for kernel in kernel::all() {
        let sweep: Sweep = sweep(
            &Subject::random(kernel, CASES_FULL, 1),
            None,
            &Backend::default(),
            &Exploration::default(),
        )?;
        out.write_all(sweep.text().as_bytes())?;
        worst = worst.max(status(&sweep));
    }
    Ok(worst)
}

fn timing(arguments: &cli::Report, out: &mut dyn Write) -> Result<(), Failure> {
    let sweep = if arguments.quick {
        bench::Sweep {
            lengths: vec![128, 256],
            densities: vec![1.0, 0.25],
        }
    } else {
        bench::Sweep {
            lengths: vec![128, 256, 512, 1024],
            densities: vec![1.0, 0.5, 0.25, 0.125],
        }
    };
    let timings = sweep.measure()?;
    let folder = arguments.out.join("timing");
    bench::publish(&timings, &folder)?;
    writeln!(out, "\ntiming, see {}:", folder.display())?;
    out.write_all(crate::report::timing::table(&timings).text().as_bytes())?;
    Ok(())
}
