//! `flashproof merge`: the results of a study's shards in one file, as one run would have left them.

use super::{Failure, Status, write_file};
use crate::cli;
use crate::study::{Results, merge};
use std::io::Write;
use std::path::{Path, PathBuf};

pub(super) fn run(arguments: &cli::Merge, out: &mut dyn Write) -> Result<Status, Failure> {
    let mut files = Vec::new();
    for file in &arguments.files {
        if file
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            files.extend(shards_of(file)?);
        } else {
            files.push(file.clone());
        }
    }
    let mut parts = Vec::new();
    for file in &files {
        let results = Results::read(file).map_err(Failure::input)?;
        parts.push((file.display().to_string(), results));
    }
    let target = arguments
        .out
        .clone()
        .or_else(|| files.first().map(|first| whole_of(first)))
        .ok_or_else(|| Failure::Input("no shard to merge".to_owned()))?;
    let merged = merge(parts).map_err(Failure::input)?;
    let cells = merged.plan.cells().len();
    write_file(&target, merged.canonical().map_err(Failure::input)?)?;
    writeln!(
        out,
        "{}: {} of {cells} cells from {} files",
        target.display(),
        merged.cells.len(),
        files.len()
    )?;
    Ok(if merged.cells.is_empty() {
        Status::Unsupported
    } else {
        Status::Agree
    })
}

/// `NAME.shard-I-of-N.jsonl` beside `NAME.toml`.
fn shards_of(plan: &Path) -> Result<Vec<PathBuf>, Failure> {
    let stem = plan
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    let start = format!("{stem}.shard-");
    let folder = match plan.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .map_err(|error| Failure::Input(format!("cannot read {}: {error}", folder.display())))?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            name.starts_with(&start) && name.ends_with(".jsonl")
        })
        .collect();
    found.sort();
    if found.is_empty() {
        return Err(Failure::Input(format!(
            "no {start}*.jsonl in {}; `flashproof eval {} --shard 0/2` makes one",
            folder.display(),
            plan.display()
        )));
    }
    Ok(found)
}

/// The file of all cells that goes with a shard's.
fn whole_of(shard: &Path) -> PathBuf {
    let name = shard
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let stem = name
        .split(".shard-")
        .next()
        .unwrap_or(name)
        .trim_end_matches(".jsonl");
    shard.with_file_name(format!("{stem}.jsonl"))
}
