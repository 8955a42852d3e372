//! Arguments in, exit code out.

use clap::Parser;
use flashproof::{cli, command};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = cli::Cli::parse();
    command::run(&arguments)
}
