//! One file a command: arguments to a status, words to the stream it is given.

mod analyze;
mod answer;
mod bench;
mod bitext;
mod calibrate;
mod device_bench;
mod eval;
mod explain;
mod fetch;
mod inputs;
mod judge;
mod kernels;
mod layout;
mod machine;
mod manifest;
mod merge;
mod model;
mod modules;
mod mutants;
mod other_studies;
mod progress;
mod publish;
mod read;
mod report;
mod resources;
mod score;
mod selftest;
mod sweep_state;
mod through;
mod verify;
mod verify_extras;

use crate::cli::{Cli, Command};
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

/// What a command found, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Everything compared agreed.
    Agree,
    /// Something is not supported, or nothing was compared.
    Unsupported,
    /// A disagreement or a finding.
    Disagree,
    /// The input is malformed.
    BadInput,
}

impl Status {
    /// The exit code of a process that ends so.
    pub fn code(self) -> u8 {
        match self {
            Self::Agree => 0,
            Self::Disagree => 1,
            Self::BadInput => 2,
            Self::Unsupported => 3,
        }
    }
}

/// Why a command stopped before its end.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The input is malformed or something it needs is not there.
    #[error("{0}")]
    Input(String),
    /// A kernel that must be right is not.
    #[error("{0}")]
    Wrong(String),
    /// A result could not be written.
    #[error("cannot write {what}: {source}")]
    Write {
        /// Stream or file.
        what: String,
        /// The system's words.
        source: io::Error,
    },
}

impl Failure {
    fn input(error: impl std::fmt::Display) -> Self {
        Self::Input(error.to_string())
    }

    fn status(&self) -> Status {
        match self {
            Self::Input(_) | Self::Write { .. } => Status::BadInput,
            Self::Wrong(_) => Status::Disagree,
        }
    }
}

/// Writing to the output stream is the only input or output a command does without naming a file.
impl From<io::Error> for Failure {
    fn from(source: io::Error) -> Self {
        Self::Write {
            what: "to the output".to_owned(),
            source,
        }
    }
}

/// Runs a command on this process's streams.
pub fn run(arguments: &Cli) -> ExitCode {
    let mut out = io::stdout().lock();
    let result = dispatch(&arguments.command, &mut out).and_then(|status| {
        out.flush()?;
        Ok(status)
    });
    let status = match result {
        Ok(status) => status,
        // The reader has seen enough (`flashproof ... | head`): no error of ours.
        Err(Failure::Write { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => {
            Status::Agree
        }
        Err(failure) => {
            // If even this cannot be written, the exit code still says it.
            let _ = writeln!(io::stderr(), "error: {failure}");
            failure.status()
        }
    };
    ExitCode::from(status.code())
}

/// Something the user should know that is no result, on standard error.
fn note(message: &str) {
    // Nothing depends on a note: if it cannot be written, the work goes on.
    let _ = writeln!(io::stderr(), "note: {message}");
}

/// Writes a file whole: beside its place, then renamed, its folder made if need be.
fn write_file(path: &Path, content: impl AsRef<[u8]>) -> Result<(), Failure> {
    let partial = path.with_extension(format!("{}.partial", std::process::id()));
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&partial, content))
        .and_then(|()| fs::rename(&partial, path))
        .map_err(|source| {
            // What could not be renamed must not stay; if it cannot be removed either, the error says enough.
            let _ = fs::remove_file(&partial);
            Failure::Write {
                what: path.display().to_string(),
                source,
            }
        })
}

fn dispatch(command: &Command, out: &mut dyn Write) -> Result<Status, Failure> {
    match command {
        Command::Verify(arguments) => verify::run(arguments, out),
        Command::Analyze(arguments) => analyze::run(arguments, out),
        Command::Answer(arguments) => answer::run(arguments, out),
        Command::Judge(arguments) => judge::run(arguments, out),
        Command::Mutants(arguments) => mutants::run(arguments, out),
        Command::Kernels(arguments) => kernels::run(arguments, out),
        Command::Manifest(arguments) => manifest::run(arguments, out),
        Command::Fetch(arguments) => fetch::run(arguments, out),
        Command::Eval(arguments) => eval::run(arguments, out),
        Command::Merge(arguments) => merge::run(arguments, out),
        Command::Calibrate(arguments) => calibrate::run(arguments, out),
        Command::Explain(arguments) => explain::run(arguments, out),
        Command::Selftest(arguments) => selftest::run(arguments, out),
        Command::Score(arguments) => score::run(arguments, out),
        Command::Layout(arguments) => layout::run(arguments, out),
        Command::Read(arguments) => read::run(arguments, out),
        Command::Bitext(arguments) => bitext::run(arguments, out),
        Command::Bench(arguments) => bench::run(arguments, out),
        Command::Report(arguments) => report::run(arguments, out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_status_wins() {
        let all = [
            Status::Unsupported,
            Status::BadInput,
            Status::Agree,
            Status::Disagree,
        ];
        assert_eq!(all.into_iter().max(), Some(Status::BadInput));
        assert!(Status::Disagree > Status::Unsupported && Status::Unsupported > Status::Agree);
        let codes: Vec<u8> = all.into_iter().map(Status::code).collect();
        assert_eq!(codes, [3, 2, 0, 1]);
    }
}
