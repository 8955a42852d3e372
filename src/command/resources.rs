//! Registers, shared memory and occupancy of the entries of a module; registers as the assembler of the CUDA wheels gives
//! them, where it is there.

use super::Failure;
use crate::analysis::occupancy::{Footprint, MULTIPROCESSORS, occupancy};
use crate::contract::Contract;
use crate::ptx::{Function, Module, Space};
use crate::report::table::Table;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

/// What the assembler says of one entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Assembled {
    registers: u32,
    spilled_bytes: u32,
}

/// The assembler that `cuda/build.sh` has installed.
fn assembler() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    let path = cache.join("flashproof/cuda-13.0/nvidia/cu13/bin/ptxas");
    path.is_file().then_some(path)
}

/// Assembles a text for a target. Empty where there is no assembler or it refuses.
fn assemble(ptx: &str, target: &str) -> BTreeMap<String, Assembled> {
    let Some(assembler) = assembler() else {
        return BTreeMap::new();
    };
    let file = std::env::temp_dir().join(format!("flashproof-{}-{target}.ptx", std::process::id()));
    let said = std::fs::write(&file, ptx).ok().and_then(|()| {
        let mut command = Command::new(assembler);
        command.args(["-v", &format!("-arch={target}"), "-o", "/dev/null"]);
        command.arg(&file).output().ok()
    });
    // A file of ours in the folder for such: if it cannot be removed, nothing depends on it.
    let _ = std::fs::remove_file(&file);
    said.map_or_else(BTreeMap::new, |output| {
        read(&String::from_utf8_lossy(&output.stderr))
    })
}

/// Reads `ptxas -v`.
fn read(text: &str) -> BTreeMap<String, Assembled> {
    let mut entries = BTreeMap::new();
    let (mut name, mut spilled_bytes) = (String::new(), 0);
    for line in text.lines() {
        if let Some(rest) = line.split("entry function '").nth(1) {
            name = rest.split('\'').next().unwrap_or_default().to_owned();
            spilled_bytes = 0;
        } else if let Some(before) = line
            .split(" bytes spill stores")
            .next()
            .filter(|before| *before != line)
        {
            spilled_bytes = before
                .split_whitespace()
                .last()
                .and_then(|word| word.parse().ok())
                .unwrap_or(0);
        } else if let Some(rest) = line.split("Used ").nth(1) {
            let registers = rest
                .split_whitespace()
                .next()
                .and_then(|word| word.parse().ok());
            if let Some(registers) = registers {
                let assembled = Assembled {
                    registers,
                    spilled_bytes,
                };
                entries.insert(name.clone(), assembled);
            }
        }
    }
    entries
}

/// Bytes of static shared memory, at most, of an entry.
fn static_shared(module: &Module, function: &Function) -> u64 {
    let lists = module.variables.iter().chain(&function.variables);
    lists
        .filter(|variable| variable.space == Space::Shared)
        .map(|variable| {
            variable
                .bytes()
                .next_multiple_of(u64::from(variable.alignment().max(1)))
        })
        .sum()
}

/// What a module is assembled for to run on a target: that itself, or the architecture-specific form that the text asks
/// for; `None` where it asks for another or a newer one.
fn assembled_for(module: &Module, target: &str) -> Option<String> {
    let number = |name: &str| -> Option<u32> {
        let digits = name.strip_prefix("sm_")?;
        digits.trim_end_matches(['a', 'f']).parse().ok()
    };
    let Some(asked) = module.target.iter().find(|name| number(name).is_some()) else {
        return Some(target.to_owned());
    };
    if asked.ends_with(['a', 'f']) {
        return (number(asked) == number(target)).then(|| asked.clone());
    }
    (number(asked) <= number(target)).then(|| target.to_owned())
}

/// Adds a row for each entry and target that it can run on. `contract` says what a launch promises an entry.
pub(super) fn rows(
    table: &mut Table,
    name: &str,
    ptx: &str,
    module: &Module,
    contract: &dyn Fn(&Function) -> Option<Contract>,
) -> Result<(), Failure> {
    for on in &MULTIPROCESSORS {
        let Some(target) = assembled_for(module, on.target) else {
            continue;
        };
        let assembled = assemble(ptx, &target);
        for function in &module.functions {
            let promised = contract(function);
            let declared = function.directives.reqntid.or(function.directives.maxntid);
            let Some(cta) = promised.as_ref().map(|promised| promised.cta).or(declared) else {
                return Err(Failure::Input(format!(
                    "{name}: {} does not say how many threads a CTA has: give a manifest (cta), or compile with __launch_bounds__",
                    function.name
                )));
            };
            let dynamic = promised.map_or(0, |promised| promised.shared_bytes);
            let fixed = u32::try_from(static_shared(module, function)).unwrap_or(u32::MAX);
            let of = assembled.get(&function.name);
            let found = occupancy(
                Footprint {
                    threads: cta.iter().product(),
                    registers: of.map(|of| of.registers),
                    shared_bytes: fixed.saturating_add(dynamic),
                },
                on,
            );
            let or_unknown =
                |value: Option<u32>| value.map_or("?".to_owned(), |value| value.to_string());
            table.push([
                function.name.clone(),
                on.target.to_owned(),
                cta.iter().product::<u32>().to_string(),
                or_unknown(of.map(|of| of.registers)),
                or_unknown(of.map(|of| of.spilled_bytes)),
                fixed.to_string(),
                dynamic.to_string(),
                found.ctas.to_string(),
                found.warps.to_string(),
                found.limit.to_owned(),
            ]);
        }
    }
    Ok(())
}

/// The columns of [`rows`].
pub(super) const COLUMNS: [&str; 10] = [
    "entry",
    "target",
    "threads",
    "registers",
    "spilled_bytes",
    "shared_static",
    "shared_dynamic",
    "ctas",
    "warps",
    "limit",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_assemblers_words() {
        let text = "ptxas info    : Compiling entry function 'k' for 'sm_80'\n    0 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads\nptxas info    : Used 135 registers, used 1 barriers\n";
        let assembled = Assembled {
            registers: 135,
            spilled_bytes: 8,
        };
        assert_eq!(read(text), BTreeMap::from([("k".to_owned(), assembled)]));
    }
}
