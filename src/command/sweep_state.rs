//! `flashproof verify --full`: every kernel, repaired twin and example on many cases and schedules, resumable.
//!
//! The state is a file of one line a case, appended when its runs are done: a digest of the PTX, the case, the verdict of each run.
//! A line of another PTX is ignored, so a rebuilt kernel starts anew. The result is a table of counts beside it.

use super::{Failure, Status, note, write_file};
use crate::backend::Backend;
use crate::case::Case;
use crate::cli;
use crate::kernel::{self, Kernel};
use crate::oracle::{self, CaseReport, Exploration, explore};
use crate::report::table::Table;
use crate::verdict::Verdict;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

/// Schedules of every case.
const SCHEDULES: u32 = 3;
/// Cases between two writes.
const BATCH: usize = 16;

/// One case, done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    /// First half of the SHA-256 of the PTX, as hex.
    ptx: String,
    /// The ways it was run.
    ways: String,
    case: String,
    /// One a run, in order.
    verdicts: Vec<String>,
    /// What the first run that disagreed says.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

pub(super) fn run(
    arguments: &cli::Verify,
    exploration: &Exploration,
    backend: &Backend,
    out: &mut dyn Write,
) -> Result<Status, Failure> {
    let mut exploration = exploration.clone();
    if arguments.schedules.is_none() {
        exploration.schedules = SCHEDULES;
    }
    let ways = format!(
        "{} {:?} {:?} {:?} {}",
        exploration.schedules,
        exploration.async_orders,
        exploration.contracts,
        exploration.approx,
        backend.name()
    );
    let state = arguments.state.join("full.jsonl");
    fs::create_dir_all(&arguments.state)?;
    let mut done = read(&state)?;
    note(&format!(
        "state: {} ({} cases done)",
        state.display(),
        done.len()
    ));
    let kernels: Vec<&Kernel> = kernel::all()
        .iter()
        .chain(kernel::twins())
        .chain(kernel::examples())
        .collect();
    let mut table = Table::new([
        "kernel",
        "cases",
        "runs",
        "agree",
        "disagree",
        "incomparable",
        "unsupported",
    ]);
    let mut worst = Status::Agree;
    let (mut cases_all, mut runs_all, mut alarms) = (0, 0, Vec::new());
    for kernel in kernels {
        let ptx = digest(kernel);
        let count = usize::try_from(arguments.cases).map_err(Failure::input)?;
        let cases: Vec<Case> = oracle::cases(kernel, arguments.seed).take(count).collect();
        let key = |case: &Case| (ptx.clone(), ways.clone(), case.to_string());
        let open: Vec<&Case> = cases
            .iter()
            .filter(|case| !done.contains_key(&key(case)))
            .collect();
        for batch in open.chunks(BATCH) {
            let lines: Result<Vec<Line>, _> = batch
                .par_iter()
                .map(|case| {
                    let reports = explore(kernel, case, backend, &exploration)?;
                    Ok(line(&ptx, &ways, case, &reports))
                })
                .collect();
            let lines = lines.map_err(|error: oracle::CheckError| Failure::input(error))?;
            append(&state, &lines)?;
            done.extend(lines.into_iter().map(|line| {
                (
                    (line.ptx.clone(), line.ways.clone(), line.case.clone()),
                    line,
                )
            }));
        }
        let lines: Vec<&Line> = cases
            .iter()
            .filter_map(|case| done.get(&key(case)))
            .collect();
        let runs: usize = lines.iter().map(|line| line.verdicts.len()).sum();
        let of = |name: &str| {
            lines
                .iter()
                .flat_map(|line| &line.verdicts)
                .filter(|verdict| *verdict == name)
                .count()
        };
        let [agree, disagree, incomparable, unsupported] =
            ["agree", "disagree", "incomparable", "unsupported"].map(of);
        table.push([
            kernel.name().to_owned(),
            lines.len().to_string(),
            runs.to_string(),
            agree.to_string(),
            disagree.to_string(),
            incomparable.to_string(),
            unsupported.to_string(),
        ]);
        writeln!(
            out,
            "{}: {} cases, {agree} of {runs} runs agree, {disagree} disagree",
            kernel.name(),
            lines.len()
        )?;
        alarms.extend(
            lines
                .iter()
                .filter_map(|line| Some(format!("* `{}`: {}\n", line.case, line.detail.as_ref()?))),
        );
        worst = worst.max(match (disagree, 2 * (agree + disagree) >= runs) {
            (1.., _) => Status::Disagree,
            (0, true) => Status::Agree,
            (0, false) => Status::Unsupported,
        });
        cases_all += lines.len();
        runs_all += runs;
    }
    let text = format!(
        "# Every kernel, repaired twin and example\n\n\
         {cases_all} cases (seed {}), {runs_all} runs on {}: {} schedules of each case, all checkers on. None of these kernels\n\
         is wrong, so every run that disagrees is a false alarm: {} of them.\n\n{}{}{}",
        arguments.seed,
        backend.name(),
        exploration.schedules,
        alarms.len(),
        table.markdown(),
        if alarms.is_empty() { "" } else { "\n" },
        alarms.concat()
    );
    let result = arguments.state.join("full.md");
    write_file(&result, &text)?;
    writeln!(
        out,
        "{runs_all} runs, {} false alarms; see {}",
        alarms.len(),
        result.display()
    )?;
    Ok(worst)
}

fn digest(kernel: &Kernel) -> String {
    let digest = Sha256::digest(kernel.ptx().as_bytes());
    digest
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn line(ptx: &str, ways: &str, case: &Case, reports: &[CaseReport]) -> Line {
    let wrong = reports.iter().find_map(|report| match &report.verdict {
        Verdict::Disagree(faults) => faults
            .first()
            .map(|fault| format!("{fault} ({})", report.case)),
        Verdict::Agree(_) | Verdict::Incomparable(_) | Verdict::Unsupported(_) => None,
    });
    Line {
        ptx: ptx.to_owned(),
        ways: ways.to_owned(),
        case: case.to_string(),
        verdicts: reports
            .iter()
            .map(|report| report.verdict.name().to_owned())
            .collect(),
        detail: wrong,
    }
}

/// What was done before, by digest, ways and case. A line cut off by an interruption is no line.
fn read(path: &Path) -> Result<HashMap<(String, String, String), Line>, Failure> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => {
            return Err(Failure::Input(format!(
                "cannot read {}: {error}",
                path.display()
            )));
        }
    };
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Line>(line).ok());
    Ok(lines
        .map(|line| {
            (
                (line.ptx.clone(), line.ways.clone(), line.case.clone()),
                line,
            )
        })
        .collect())
}

fn append(path: &Path, lines: &[Line]) -> Result<(), Failure> {
    let mut text = String::new();
    // An interrupted write left no line break.
    if fs::read(path).is_ok_and(|bytes| bytes.last().is_some_and(|last| *last != b'\n')) {
        text.push('\n');
    }
    for line in lines {
        text += &serde_json::to_string(line).map_err(Failure::input)?;
        text.push('\n');
    }
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}
