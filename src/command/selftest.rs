//! `flashproof selftest`: what the virtual machine computes against what GPUs computed.

use super::modules::read_text;
use super::{Failure, Status};
use crate::cli::{self, Checked, Format};
use crate::report::table::Table;
use crate::vm::tensor_core::Measurement;
use serde_json::json;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

pub(super) fn run(arguments: &cli::Selftest, out: &mut dyn Write) -> Result<Status, Failure> {
    match &arguments.what {
        Checked::TensorCore(arguments) => tensor_core(arguments, out),
    }
}

/// What a file gave.
struct Counted {
    name: String,
    rows: u64,
    mismatches: u64,
    /// Line of the first mismatch and its bits.
    first: Option<String>,
}

fn tensor_core(
    arguments: &cli::SelftestTensorCore,
    out: &mut dyn Write,
) -> Result<Status, Failure> {
    let files: Vec<Counted> = vectors(&arguments.folder)?
        .iter()
        .map(|path| count(path))
        .collect::<Result<_, _>>()?;
    let rows: u64 = files.iter().map(|file| file.rows).sum();
    let mismatches: u64 = files.iter().map(|file| file.mismatches).sum();
    match arguments.format {
        Format::Text => {
            let mut table = Table::new(["file", "rows", "mismatches", "first mismatch"]);
            for file in &files {
                table.push([
                    file.name.clone(),
                    file.rows.to_string(),
                    file.mismatches.to_string(),
                    file.first.clone().unwrap_or_default(),
                ]);
            }
            table.push([
                "total".to_owned(),
                rows.to_string(),
                mismatches.to_string(),
                String::new(),
            ]);
            out.write_all(table.text().as_bytes())?;
        }
        Format::Json => {
            let list: Vec<_> = files
                .iter()
                .map(|file| {
                    json!({
                        "file": file.name,
                        "rows": file.rows,
                        "mismatches": file.mismatches,
                        "first_mismatch": file.first,
                    })
                })
                .collect();
            let whole = json!({ "files": list, "rows": rows, "mismatches": mismatches });
            writeln!(out, "{whole:#}")?;
        }
    }
    Ok(if mismatches > 0 {
        Status::Disagree
    } else if rows > 0 {
        Status::Agree
    } else {
        Status::Unsupported
    })
}

/// The files of vectors of a folder, by name.
fn vectors(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let bad = |error: std::io::Error| {
        Failure::Input(format!(
            "cannot read the folder {}: {error}; give one with files such as a100_fp16_fp32.txt",
            folder.display()
        ))
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(bad)? {
        let path = entry.map_err(bad)?.path();
        if path.extension().is_some_and(|extension| extension == "txt") && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn count(path: &Path) -> Result<Counted, Failure> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let measurement: Measurement = stem
        .parse()
        .map_err(|error| Failure::Input(format!("{}: {error}", path.display())))?;
    let text = read_text(path)?;
    let mut counted = Counted {
        name: path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        rows: 0,
        mismatches: 0,
        first: None,
    };
    for (number, line) in (1_u64..).zip(text.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        let row = measurement
            .row(line)
            .map_err(|error| Failure::Input(format!("{}:{number}: {error}", path.display())))?;
        counted.rows += 1;
        if !row.matches() {
            counted.mismatches += 1;
            let computed = row
                .through_mma
                .filter(|bits| *bits != row.measured)
                .unwrap_or(row.computed);
            counted.first.get_or_insert_with(|| {
                format!("line {number}: {computed:#x}, measured {:#x}", row.measured)
            });
        }
    }
    Ok(counted)
}
