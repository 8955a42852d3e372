//! `flashproof verify`: kernels on random cases, every output element judged.

use super::modules::{is_file, kernels, read_manifest, read_ptx};
use super::verify_extras::Extras;
use super::{Failure, Status, progress, sweep_state};
use crate::backend::Backend;
use crate::case::{Case, Contract};
use crate::cli::{self, Approximation, Arrival, FindingFormat, Fusing, Machine, Runner};
use crate::diagnostic::Diagnostic;
use crate::kernel::{self, Kernel};
use crate::oracle::{self, CaseReport, CheckError, Exploration, check_kernel, explore, minimise};
use crate::ptx;
use crate::report::sweep::{Sweep, floor};
use crate::report::{diagnostic, sarif};
use crate::verdict::Verdict;
use crate::vm::{Approx, AsyncOrder, Target};
use rayon::prelude::*;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;

/// Simpler cases tried for a failing one.
const MINIMISE_BUDGET: usize = 60;

pub(super) fn run(arguments: &cli::Verify, out: &mut dyn Write) -> Result<Status, Failure> {
    let backend = backend(arguments.backend);
    if arguments.full {
        return sweep_state::run(arguments, &exploration(arguments), &backend, out);
    }
    let subjects = match subjects(arguments, out)? {
        Ok(subjects) => subjects,
        Err(status) => return Ok(status),
    };
    let mut sweeps = Vec::new();
    let exploration = exploration(arguments);
    for subject in &subjects {
        sweeps.push(sweep(subject, arguments.target, &backend, &exploration)?);
    }
    let mut extras = Vec::new();
    for (subject, sweep) in subjects.iter().zip(&sweeps) {
        extras.push(Extras::of(subject, sweep, arguments)?);
    }
    match arguments.format {
        FindingFormat::Text => {
            for ((subject, sweep), extras) in subjects.iter().zip(&sweeps).zip(&extras) {
                out.write_all(sweep.text().as_bytes())?;
                extras.write(out)?;
                let advice = subject.advice();
                if let Some(advice) = advice.filter(|_| status(sweep) == Status::Disagree) {
                    out.write_all(advice.as_bytes())?;
                }
            }
        }
        FindingFormat::Json => {
            let document = |(sweep, extras): (&Sweep, &Extras)| {
                let mut document = sweep.json();
                extras.add_to(&mut document);
                document
            };
            let documents: Vec<Value> = sweeps.iter().zip(&extras).map(document).collect();
            writeln!(out, "{:#}", json!({ "sweeps": documents }))?;
        }
        FindingFormat::Sarif => {
            let found: Vec<(&str, Vec<Diagnostic>)> = subjects
                .iter()
                .zip(&sweeps)
                .map(|(subject, sweep)| (subject.uri(), sarif::findings(&sweep.reports)))
                .collect();
            let entries: Vec<sarif::Entry<'_>> = found
                .iter()
                .flat_map(|(uri, findings)| {
                    findings.iter().map(|finding| sarif::Entry {
                        uri,
                        finding,
                        allowed: None,
                    })
                })
                .collect();
            writeln!(out, "{:#}", sarif::document(&entries))?;
        }
    }
    Ok(sweeps
        .iter()
        .map(status)
        .chain(extras.iter().map(Extras::status))
        .max()
        .unwrap_or(Status::Unsupported))
}

/// The ways of running a case that the flags ask for.
fn exploration(arguments: &cli::Verify) -> Exploration {
    Exploration {
        schedules: arguments.schedules.unwrap_or(1),
        async_orders: match arguments.arrival {
            None => Vec::new(),
            Some(Arrival::Late) => vec![AsyncOrder::Late],
            Some(Arrival::Early) => vec![AsyncOrder::Early],
            Some(Arrival::Reordered) => vec![AsyncOrder::Reordered],
            Some(Arrival::All) => AsyncOrder::ALL.map(|(_, order)| order).to_vec(),
        },
        contracts: match arguments.contract {
            None => Vec::new(),
            Some(Fusing::None) => vec![Contract::None],
            Some(Fusing::Ptxas) => vec![Contract::Ptxas],
            Some(Fusing::Both) => vec![Contract::None, Contract::Ptxas],
        },
        approx: match arguments.approx {
            None => Vec::new(),
            Some(Approximation::Nearest) => vec![Approx::Nearest],
            Some(Approximation::Low) => vec![Approx::Low],
            Some(Approximation::High) => vec![Approx::High],
            Some(Approximation::Seeded) => vec![Approx::Seeded],
            Some(Approximation::All) => Approx::ALL.map(|(_, approx)| approx).to_vec(),
        },
    }
}

/// A kernel and the cases it is tried on.
pub(super) struct Subject {
    pub(super) kernel: Kernel,
    pub(super) cases: Vec<Case>,
    seed: Option<u64>,
    /// File and manifest as arguments, where the kernel is the user's.
    arguments: String,
    /// Lines of the manifest that nobody has looked at.
    guesses: usize,
}

impl Subject {
    /// What SARIF calls the text: the user's file, or the kernel's name.
    fn uri(&self) -> &str {
        let file = self.arguments.split(" --manifest").next();
        match file.map(str::trim) {
            Some(file) if !file.is_empty() => file,
            _ => self.kernel.name(),
        }
    }

    /// A kernel of the table on random cases.
    pub(super) fn random(kernel: &Kernel, cases: usize, seed: u64) -> Self {
        Self {
            kernel: kernel.clone(),
            cases: oracle::cases(kernel, seed).take(cases).collect(),
            seed: Some(seed),
            arguments: String::new(),
            guesses: 0,
        }
    }

    /// What to think of a disagreement first, where the manifest still holds guesses.
    fn advice(&self) -> Option<String> {
        let (file, manifest) = self.arguments.trim().split_once(" --manifest ")?;
        (self.guesses > 0).then(|| {
            format!(
                "{} lines of {manifest} are still marked `guess`: what was found may be wrong there and not in {file}. \
                 Look at them, those with EDIT first, and take the marks off.\n",
                self.guesses
            )
        })
    }
}

pub(super) fn backend(runner: Runner) -> Backend {
    match runner {
        Runner::Vm => Backend::default(),
        Runner::Native => Backend::Native,
        Runner::Device => Backend::Device,
    }
}

/// What a sweep says of the kernel; too few compared cases say nothing.
pub(super) fn status(sweep: &Sweep) -> Status {
    let tally = sweep.tally();
    if tally.disagree > 0 {
        Status::Disagree
    } else if tally.require(floor(sweep.reports.len())).is_err() {
        Status::Unsupported
    } else {
        Status::Agree
    }
}

/// The kernels and cases that the arguments name; a PTX file that cannot be read is a status, its reason printed.
fn subjects(
    arguments: &cli::Verify,
    out: &mut dyn Write,
) -> Result<Result<Vec<Subject>, Status>, Failure> {
    let case: Option<Case> = arguments
        .case
        .as_deref()
        .map(|line| line.parse().map_err(Failure::input))
        .transpose()?;
    let file = arguments.kernels.iter().find(|argument| is_file(argument));
    match (file, &arguments.manifest) {
        (Some(file), Some(manifest)) => {
            if arguments.kernels.len() > 1 {
                return Err(Failure::Input(format!(
                    "a manifest is of one file, but {} are named; verify each by itself",
                    arguments.kernels.len()
                )));
            }
            user_subject(file, manifest, case, arguments, out)
        }
        (Some(file), None) => Err(Failure::Input(format!(
            "{file} needs a manifest that says how to launch it; give one with `--manifest FILE.toml` \
             (`flashproof manifest init {file}` writes a skeleton)"
        ))),
        (None, Some(manifest)) => Err(Failure::Input(format!(
            "manifest {} is of no PTX file; name the file too",
            manifest.display()
        ))),
        (None, None) => Ok(Ok(table_subjects(case, arguments)?)),
    }
}

fn table_subjects(case: Option<Case>, arguments: &cli::Verify) -> Result<Vec<Subject>, Failure> {
    let Some(case) = case else {
        let count = usize::try_from(arguments.cases).map_err(Failure::input)?;
        return Ok(kernels(&arguments.kernels)?
            .into_iter()
            .map(|kernel| Subject::random(kernel, count, arguments.seed))
            .collect());
    };
    let kernel = kernel::by_name(&case.kernel).map_err(Failure::input)?;
    if let Some(other) = arguments.kernels.iter().find(|name| **name != case.kernel) {
        return Err(Failure::Input(format!(
            "the case is of kernel {}, but {other} is named; leave the name out",
            case.kernel
        )));
    }
    Ok(vec![Subject {
        kernel: kernel.clone(),
        cases: vec![case],
        seed: None,
        arguments: String::new(),
        guesses: 0,
    }])
}

fn user_subject(
    file: &str,
    manifest: &Path,
    case: Option<Case>,
    arguments: &cli::Verify,
    out: &mut dyn Write,
) -> Result<Result<Vec<Subject>, Status>, Failure> {
    let text = read_ptx(Path::new(file))?;
    let module = match ptx::parse(file, &text) {
        Ok(module) => module,
        Err(error) => {
            out.write_all(diagnostic::text(&error.diagnostic(), None).as_bytes())?;
            return Ok(Err(if error.is_unsupported() {
                Status::Unsupported
            } else {
                Status::BadInput
            }));
        }
    };
    let name = Path::new(file)
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy();
    // The name stands in lines of text where spaces separate and names are words.
    let name: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '.' {
                c
            } else {
                '_'
            }
        })
        .collect();
    let manifest_text = read_manifest(manifest)?;
    let kernel = Kernel::from_parts(&name, &text, &manifest_text)
        .map_err(|error| Failure::Input(format!("{}: {error}", manifest.display())))?;
    kernel
        .check_params(&module)
        .map_err(|error| Failure::Input(format!("{}: {error}", manifest.display())))?;
    let given = format!(" {file} --manifest {}", manifest.display());
    let guesses = manifest_text.lines();
    let guesses = guesses.filter(|line| line.contains("# guess")).count();
    let subject = match case {
        Some(case) => Subject {
            kernel,
            cases: vec![case],
            seed: None,
            arguments: given,
            guesses,
        },
        None => Subject {
            arguments: given,
            guesses,
            ..Subject::random(
                &kernel,
                usize::try_from(arguments.cases).map_err(Failure::input)?,
                arguments.seed,
            )
        },
    };
    Ok(Ok(vec![subject]))
}

/// Runs and judges every case of a subject.
pub(super) fn sweep(
    subject: &Subject,
    machine: Option<Machine>,
    backend: &Backend,
    exploration: &Exploration,
) -> Result<Sweep, Failure> {
    let kernel = &subject.kernel;
    let mut cases = subject.cases.clone();
    if let Some(machine) = machine {
        let target = match machine {
            Machine::Sm80 => Target::Sm80,
            Machine::Sm86 => Target::Sm86,
            Machine::Sm89 => Target::Sm89,
            Machine::Sm90 => Target::Sm90,
            Machine::Sm100 => Target::Sm100,
        };
        for case in &mut cases {
            case.target = target;
        }
    }
    let bar = progress::count(
        u64::try_from(cases.len()).unwrap_or(u64::MAX),
        kernel.name(),
    );
    let one = |case: &Case| {
        let reports = explore(kernel, case, backend, exploration);
        bar.inc(1);
        reports
    };
    let reports: Result<Vec<Vec<CaseReport>>, CheckError> = match backend {
        // One device runs one kernel at a time.
        Backend::Device => cases.iter().map(one).collect(),
        Backend::Vm(_) | Backend::Native => cases.par_iter().map(one).collect(),
    };
    bar.finish_and_clear();
    let reports = reports.map_err(Failure::input)?.concat();
    let mut arguments = subject.arguments.clone();
    if backend.name() != "vm" {
        arguments += &format!(" --backend {}", backend.name());
    }
    Ok(Sweep {
        kernel: kernel.name().to_owned(),
        backend: backend.name(),
        seed: subject.seed,
        smallest: smallest(kernel, &reports, backend),
        reports,
        arguments,
    })
}

/// The smallest case found that fails as the first failing one does; `None` if that is as small as it gets.
fn smallest(kernel: &Kernel, reports: &[CaseReport], backend: &Backend) -> Option<CaseReport> {
    let disagrees = |report: &CaseReport| matches!(report.verdict, Verdict::Disagree(_));
    let first = reports.iter().find(|report| disagrees(report))?;
    let found = minimise(&first.case, MINIMISE_BUDGET, |case| {
        check_kernel(kernel, case, backend).is_ok_and(|report| disagrees(&report))
    });
    if found == first.case {
        return None;
    }
    check_kernel(kernel, &found, backend).ok()
}
