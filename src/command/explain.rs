//! `flashproof explain`: a diagnostic code in words.

use super::{Failure, Status};
use crate::cli;
use crate::report::explain::{ALL, example, explanation};
use crate::report::table::Table;
use std::io::Write;

pub(super) fn run(arguments: &cli::Explain, out: &mut dyn Write) -> Result<Status, Failure> {
    let Some(code) = &arguments.code else {
        let mut table = Table::new(["code", "meaning"]);
        for explanation in ALL {
            table.push([explanation.code.to_owned(), explanation.meaning.to_owned()]);
        }
        out.write_all(table.text().as_bytes())?;
        return Ok(Status::Agree);
    };
    let explanation = explanation(code).ok_or_else(|| {
        Failure::Input(format!(
            "no diagnostic has the code `{code}`; `flashproof explain` lists them"
        ))
    })?;
    writeln!(out, "{code}: {}", explanation.meaning)?;
    writeln!(out, "\nraised by  {}", explanation.checker)?;
    writeln!(out, "cause      {}", explanation.cause)?;
    writeln!(out, "can miss   {}", explanation.misses)?;
    if let Some((defect, repair)) = example(code) {
        writeln!(out, "\na defect\n\n{defect}\nits repair\n\n{repair}")?;
    }
    Ok(Status::Agree)
}
