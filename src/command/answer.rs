//! `flashproof answer`: the reference's own result of a problem given as files.

use super::inputs::Inputs;
use super::{Failure, Status, write_file};
use crate::cli;
use crate::format::npy;
use flashproof_reference::attention;
use std::io::Write;

pub(super) fn run(arguments: &cli::Answer, out: &mut dyn Write) -> Result<Status, Failure> {
    if arguments.lse.as_ref() == Some(&arguments.o) {
        return Err(Failure::Input(format!(
            "--o and --lse are both {}; name two files",
            arguments.o.display()
        )));
    }
    let inputs = Inputs::read(&arguments.inputs, &[])?;
    let answer = attention(&inputs.problem).map_err(Failure::input)?;
    let outputs = [
        (Some(&arguments.o), &inputs.q_shape[..], &answer.o),
        (arguments.lse.as_ref(), inputs.lse_shape(), &answer.lse),
    ];
    for (path, shape, values) in outputs {
        if let Some(path) = path {
            write_file(path, npy::write(shape, values))?;
            writeln!(out, "{}: f64 {shape:?}", path.display())?;
        }
    }
    Ok(Status::Agree)
}
