//! The table of mutants: who catches which, and who cries wolf.

use super::figure::{Axis, Figure, Panel, Point, Scale, Series};
use super::table::Table;
use crate::convert::usize_to_f64;
use crate::mutant::{Check, Criterion, Findings, Row, Score};
use serde_json::{Value, json};

/// `caught/runs`, or a dash where nothing was run.
fn share(caught: usize, runs: usize) -> String {
    if runs == 0 {
        "-".to_owned()
    } else {
        format!("{caught}/{runs}")
    }
}

fn own(row: &Row, criterion: Criterion) -> String {
    row.own.get(&criterion).map_or_else(
        || "-".to_owned(),
        |score| share(score.refused_by(criterion), score.runs),
    )
}

fn checks(score: &Score) -> String {
    let by = |check: Check| score.checks.get(&check).map(|count| (check, *count));
    let found: Vec<String> = Check::ALL
        .into_iter()
        .filter_map(by)
        .map(|(check, count)| format!("{} {count}", check.name()))
        .collect();
    if found.is_empty() {
        "-".to_owned()
    } else {
        found.join(", ")
    }
}

/// One row a kernel, every column: the file that other programs read.
pub fn table(findings: &Findings) -> Table {
    let mut columns: Vec<String> = [
        "kernel", "family", "runs", "exposed", "caught", "checks", "first",
    ]
    .map(str::to_owned)
    .to_vec();
    for criterion in Criterion::ALL {
        columns.push(format!("{} ours", criterion.name()));
        columns.push(format!("{} own grid", criterion.name()));
    }
    columns.extend(["what", "source"].map(str::to_owned));
    let mut table = Table::new(columns.iter().map(String::as_str));
    for row in findings.mutants.iter().chain(&findings.clean) {
        let first = row.first.as_ref();
        let mut cells = vec![
            row.name.clone(),
            row.family.clone(),
            row.ours.runs.to_string(),
            row.ours.exposed.to_string(),
            row.ours.caught.to_string(),
            checks(&row.ours),
            first.map_or_else(
                || "-".to_owned(),
                |(check, text)| format!("{}: {text}", check.name()),
            ),
        ];
        for criterion in Criterion::ALL {
            cells.push(share(row.ours.refused_by(criterion), row.ours.runs));
            cells.push(own(row, criterion));
        }
        cells.extend([row.what.clone(), row.source.clone()]);
        table.push(cells);
    }
    table
}

/// Mutants that a criterion refused at least once, on our problems and on its own project's, and how many were run there.
fn noticed(findings: &Findings, criterion: Criterion) -> [(usize, usize); 2] {
    let on = |score: &dyn Fn(&Row) -> Option<Score>| {
        let scores: Vec<Score> = findings
            .mutants
            .iter()
            .filter(|row| row.equivalent.is_none())
            .filter_map(score)
            .filter(|score| score.runs > 0)
            .collect();
        let refused = scores
            .iter()
            .filter(|score| score.refused_by(criterion) > 0);
        (refused.count(), scores.len())
    };
    [
        on(&|row| Some(row.ours.clone())),
        on(&|row| row.own.get(&criterion).cloned()),
    ]
}

fn caught(findings: &Findings) -> (usize, usize) {
    let counted = || {
        findings
            .mutants
            .iter()
            .filter(|row| row.equivalent.is_none())
    };
    (
        counted().filter(|row| row.is_caught()).count(),
        counted().count(),
    )
}

/// Complaints about right kernels: ours, then each criterion's on our problems and on its own.
fn alarms(findings: &Findings, criterion: Criterion) -> [String; 2] {
    let sum = |score: &dyn Fn(&Row) -> Option<Score>| {
        let scores: Vec<Score> = findings.clean.iter().filter_map(score).collect();
        let refused = scores.iter().map(|score| score.refused_by(criterion)).sum();
        share(refused, scores.iter().map(|score| score.runs).sum())
    };
    [
        sum(&|row| Some(row.ours.clone())),
        sum(&|row| row.own.get(&criterion).cloned()),
    ]
}

/// The summary: mutants noticed, and false alarms.
fn summary(findings: &Findings) -> Table {
    let mut table = Table::new([
        "judge",
        "mutants noticed, our problems",
        "its own problems",
        "false alarms, our problems",
        "its own problems",
    ]);
    let (found, of) = caught(findings);
    let runs: usize = findings.clean.iter().map(|row| row.ours.runs).sum();
    let wrong: usize = findings.clean.iter().map(Row::caught_anywhere).sum();
    table.push([
        "flashproof".to_owned(),
        share(found, of),
        "-".to_owned(),
        share(wrong, runs),
        "-".to_owned(),
    ]);
    for criterion in Criterion::ALL {
        let [(ours, of), (own, of_own)] = noticed(findings, criterion);
        let [alarms, own_alarms] = alarms(findings, criterion);
        table.push([
            criterion.name().to_owned(),
            share(ours, of),
            share(own, of_own),
            alarms,
            own_alarms,
        ]);
    }
    table
}

/// Who notices each mutant, short enough for a page.
fn short(findings: &Findings) -> Table {
    let columns = ["mutant", "caught", "by"]
        .into_iter()
        .chain(Criterion::ALL.map(Criterion::name));
    let mut table = Table::new(columns);
    for row in &findings.mutants {
        let name = if row.equivalent.is_some() {
            format!("{} (equivalent)", row.name)
        } else {
            row.name.clone()
        };
        let mut cells = vec![
            name,
            share(row.ours.caught, row.ours.runs),
            checks(&row.ours),
        ];
        for criterion in Criterion::ALL {
            cells.push(share(row.ours.refused_by(criterion), row.ours.runs));
        }
        table.push(cells);
    }
    table
}

/// What right kernels were compared in, and how many complaints of ours.
fn silence(findings: &Findings) -> String {
    let compared: usize = findings.clean.iter().map(|row| row.compared).sum();
    let wrong: usize = findings.clean.iter().map(Row::caught_anywhere).sum();
    format!("right kernels: {compared} elements compared, {wrong} false alarms of ours")
}

fn misses(findings: &Findings) -> Vec<&str> {
    let missed = |row: &&Row| !row.is_caught() && row.equivalent.is_none();
    let rows = findings.mutants.iter().filter(missed);
    rows.map(|row| row.name.as_str()).collect()
}

/// For a terminal.
pub fn text(findings: &Findings) -> String {
    let (found, of) = caught(findings);
    let mut text = format!("{}\n{}", short(findings).text(), summary(findings).text());
    text.push_str(&format!(
        "\n{found} of {of} mutants caught on {} problems; {}\n",
        findings.trials,
        silence(findings)
    ));
    for row in &findings.mutants {
        if let Some((check, case)) = &row.first {
            text.push_str(&format!("{}: {}: {case}\n", row.name, check.name()));
        }
    }
    for name in misses(findings) {
        text.push_str(&format!("not caught: {name}\n"));
    }
    text
}

/// The committed page.
pub fn markdown(findings: &Findings, command: &str) -> String {
    let (found, of) = caught(findings);
    let missed = misses(findings);
    let missed = if missed.is_empty() {
        "none".to_owned()
    } else {
        missed.join(", ")
    };
    let equivalent: Vec<String> = findings
        .mutants
        .iter()
        .filter_map(|row| Some(format!("* `{}`: {}", row.name, row.equivalent?)))
        .collect();
    let equivalent = if equivalent.is_empty() {
        "No mutant counts as equivalent.".to_owned()
    } else {
        format!("Equivalent, and why:\n\n{}", equivalent.join("\n"))
    };
    let mut origins = Table::new(["mutant", "what is wrong", "from"]);
    for row in &findings.mutants {
        origins.push([row.name.clone(), row.what.clone(), row.source.clone()]);
    }
    format!(
        "# Mutants\n\n\
         Kernels that are wrong in one known way, and who notices: our checks, and the criteria of other projects\n\
         (`src/mutant/criteria.rs` states each with its source). Made by `{command}`; every cell of every grid is in\n\
         [mutants.csv](mutants.csv).\n\n\
         **{found} of {of} caught** by a *disagree* on {} problems; not caught: {missed}. {}.\n{equivalent}\n\n\
         ![Share of mutants noticed](mutants.svg)\n\n\
         A mutant is noticed by a criterion when at least one run is refused on a problem on which the right kernel is accepted.\n\
         `caught` counts runs on our problems.\n\n\
         {}\n\
         ## Each mutant, on our problems\n\n{}\n\
         ## Where they come from\n\n{}\n\
         ## Not planted\n\n\
         Backward, paged and split-KV kernels do not exist here yet (zoo 3, 7, 11, 18, 23, 38, 44). Overflow of 32-bit\n\
         offsets (33 to 35) needs tensors beyond this simulator's memory, and a narrower type would be another fault.\n\
         Races, hangs and missing waits (29, 36, 37, 39 to 41) are faults of real kernels: `cuda/defects` has them, and\n\
         the virtual machine finds them.\n",
        findings.trials,
        silence(findings),
        summary(findings).markdown(),
        short(findings).markdown(),
        origins.markdown(),
    )
}

/// For programs.
pub fn json(findings: &Findings) -> Value {
    let score = |score: &Score| {
        let checks: Value = Check::ALL
            .into_iter()
            .map(|check| {
                (
                    check.name().to_owned(),
                    json!(score.checks.get(&check).unwrap_or(&0)),
                )
            })
            .collect::<serde_json::Map<_, _>>()
            .into();
        let refused: Value = Criterion::ALL
            .into_iter()
            .map(|one| (one.name().to_owned(), json!(score.refused_by(one))))
            .collect::<serde_json::Map<_, _>>()
            .into();
        json!({
            "runs": score.runs,
            "exposed": score.exposed,
            "caught": score.caught,
            "checks": checks,
            "refused": refused,
        })
    };
    let row = |row: &Row| {
        let own: Value = row
            .own
            .iter()
            .map(|(criterion, own)| (criterion.name().to_owned(), score(own)))
            .collect::<serde_json::Map<_, _>>()
            .into();
        json!({
            "name": row.name,
            "family": row.family,
            "what": row.what,
            "source": row.source,
            "caught": row.is_caught(),
            "equivalent": row.equivalent,
            "first": row.first.as_ref().map(|(check, case)| json!({"check": check.name(), "case": case})),
            "ours": score(&row.ours),
            "own_grids": own,
        })
    };
    json!({
        "good": findings.is_good(),
        "problems": findings.trials,
        "mutants": findings.mutants.iter().map(row).collect::<Vec<_>>(),
        "clean": findings.clean.iter().map(row).collect::<Vec<_>>(),
        "clean_elements_compared": findings.clean.iter().map(|row| row.compared).sum::<usize>(),
        "false_alarms": findings.clean.iter().map(Row::caught_anywhere).sum::<usize>(),
    })
}

/// Share of mutants noticed, by judge.
pub fn figure(findings: &Findings) -> Figure {
    let percent = |(part, of): (usize, usize)| 100.0 * usize_to_f64(part) / usize_to_f64(of.max(1));
    let names: Vec<&str> = std::iter::once("flashproof")
        .chain(Criterion::ALL.map(Criterion::name))
        .collect();
    let ticks: Vec<(f64, String)> = names
        .iter()
        .enumerate()
        .map(|(index, name)| (usize_to_f64(index), (*name).to_owned()))
        .collect();
    let points = |own: usize| -> Vec<Point> {
        let first = (own == 0).then(|| percent(caught(findings)));
        let rest = Criterion::ALL.map(|criterion| percent(noticed(findings, criterion)[own]));
        first
            .into_iter()
            .chain(rest)
            .enumerate()
            .map(|(index, y)| Point {
                x: usize_to_f64(index + own),
                y,
                band: None,
            })
            .collect()
    };
    let mut series = vec![Series {
        name: "our problems".to_owned(),
        style: 1,
        points: points(0),
    }];
    if findings.clean.iter().any(|row| !row.own.is_empty()) {
        series.push(Series {
            name: "its own problems".to_owned(),
            style: 2,
            points: points(1),
        });
    }
    Figure {
        title: "Which judge notices how many of the planted faults?".to_owned(),
        panels: vec![Panel {
            title: format!(
                "{} mutants, noticed in at least one run",
                caught(findings).1
            ),
            x: Axis::at("judge", Scale::Linear, &ticks),
            y: Axis::from_zero("mutants noticed, %", 100.0),
            series,
            reference: None,
        }],
        columns: 1,
        caption: vec![format!(
            "{} problems; a criterion is shown the outputs only. {}.",
            findings.trials,
            silence(findings)
        )],
        watermark: None,
    }
}
