//! `flashproof kernels`: the kernels that `verify` knows, from their manifests.

use super::{Failure, Status};
use crate::cli::{self, Format};
use crate::kernel::{Kernel, Manifest, all, defects};
use crate::report::table::Table;
use serde_json::{Value, json};
use std::io::Write;

pub(super) fn run(arguments: &cli::Kernels, out: &mut dyn Write) -> Result<Status, Failure> {
    match arguments.format {
        Format::Text => {
            writeln!(out, "Kernels")?;
            out.write_all(table(all().iter()).text().as_bytes())?;
            writeln!(
                out,
                "\nDefects: wrong on purpose, to prove the checkers; each has a repaired twin NAME.repaired"
            )?;
            let mut table = Table::new(["name", "caught as", "case"]);
            for defect in defects() {
                table.push([
                    defect.kernel.name().to_owned(),
                    caught_as(&defect.expected),
                    defect.case.to_owned(),
                ]);
            }
            out.write_all(table.text().as_bytes())?;
        }
        Format::Json => {
            let defects: Vec<Value> = defects()
                .iter()
                .map(|defect| {
                    json!({
                        "name": defect.kernel.name(),
                        "repaired": defect.repaired.name(),
                        "caught_as": caught_as(&defect.expected),
                        "read_as": defect.read,
                        "case": defect.case,
                    })
                })
                .collect();
            let kernels: Vec<Value> = all().iter().map(described).collect();
            let document = json!({ "kernels": kernels, "defects": defects });
            writeln!(out, "{document:#}")?;
        }
    }
    Ok(Status::Agree)
}

fn table<'a>(kernels: impl Iterator<Item = &'a Kernel>) -> Table {
    let mut table = Table::new([
        "name", "target", "dtype", "head_dim", "tile", "masks", "lse",
    ]);
    for kernel in kernels {
        let manifest = kernel.manifest();
        table.push([
            kernel.name().to_owned(),
            manifest.target.clone(),
            dtypes(manifest).join(" "),
            head_dims(manifest).join(" "),
            format!("{}x{}", manifest.method.tile_q, manifest.method.tile_kv),
            masks(manifest).join(" "),
            format!("{:?}", manifest.lse_base).to_lowercase(),
        ]);
    }
    table
}

fn described(kernel: &Kernel) -> Value {
    let manifest = kernel.manifest();
    json!({
        "name": kernel.name(),
        "entry": manifest.entry,
        "target": manifest.target,
        "dtype": dtypes(manifest),
        "head_dim": manifest.requires.head_dim,
        "tile_q": manifest.method.tile_q,
        "tile_kv": manifest.method.tile_kv,
        "masks": masks(manifest),
        "ptx_bytes": kernel.ptx().len(),
    })
}

fn dtypes(manifest: &Manifest) -> Vec<String> {
    manifest
        .requires
        .dtype
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn head_dims(manifest: &Manifest) -> Vec<String> {
    manifest
        .requires
        .head_dim
        .iter()
        .map(u32::to_string)
        .collect()
}

fn masks(manifest: &Manifest) -> Vec<String> {
    manifest
        .mask
        .iter()
        .map(|rule| format!("{rule:?}").to_lowercase())
        .collect()
}

/// What finds a defect, in words.
fn caught_as(expected: &crate::kernel::Expected) -> String {
    match expected {
        crate::kernel::Expected::Findings(codes) => codes.join(" or "),
        crate::kernel::Expected::Disagree => "disagree".to_owned(),
    }
}
