//! `flashproof manifest`: a skeleton for a kernel of the user's.

use super::modules::read_ptx;
use super::{Failure, Status, write_file};
use crate::cli::{self, ManifestInit, ManifestTask};
use crate::kernel::{Manifest, skeleton};
use crate::ptx;
use crate::report::diagnostic;
use std::io::Write;

pub(super) fn run(arguments: &cli::Manifest, out: &mut dyn Write) -> Result<Status, Failure> {
    match &arguments.what {
        ManifestTask::Init(arguments) => init(arguments, out),
    }
}

fn init(arguments: &ManifestInit, out: &mut dyn Write) -> Result<Status, Failure> {
    let text = read_ptx(&arguments.file)?;
    let name = arguments
        .file
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    let module = match ptx::parse(&name, &text) {
        Ok(module) => module,
        Err(error) => {
            out.write_all(diagnostic::text(&error.diagnostic(), None).as_bytes())?;
            return Ok(if error.is_unsupported() {
                Status::Unsupported
            } else {
                Status::BadInput
            });
        }
    };
    let text = skeleton(&module, arguments.entry.as_deref()).map_err(Failure::input)?;
    let Some(path) = &arguments.out else {
        out.write_all(text.as_bytes())?;
        return Ok(Status::Agree);
    };
    if path.exists() {
        return Err(Failure::Input(format!(
            "{} is there already; name another file or remove it",
            path.display()
        )));
    }
    write_file(path, &text)?;
    let guesses = text.lines().filter(|line| line.contains("# guess")).count();
    writeln!(
        out,
        "{}: {guesses} lines are guesses, marked so",
        path.display()
    )?;
    // What a reader would stumble over first.
    if let Err(error) = Manifest::parse(&text) {
        writeln!(out, "it needs an edit before it can be used: {error}")?;
    }
    Ok(Status::Agree)
}
