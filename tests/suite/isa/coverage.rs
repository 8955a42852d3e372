//! Which instruction forms `tests/ptx` executes: a committed list that is true, and the forms that must be in it.

use flashproof::ptx::{Module, parse, statement};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// `tests/ptx`.
pub(super) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ptx")
}

/// Names and texts of the files, by name.
pub(super) fn files() -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = std::fs::read_dir(folder())
        .expect("tests/ptx")
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "ptx"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&path).expect("text"))
        })
        .collect();
    all.sort();
    all
}

/// Opcodes with their modifiers, in canonical spelling.
fn forms(module: &Module) -> BTreeSet<String> {
    let functions = module.functions.iter();
    functions
        .chain(module.callees.iter().map(|callee| &callee.function))
        .flat_map(|function| {
            function.instructions.iter().map(move |instruction| {
                let text = statement(module, function, instruction);
                let rest = match text.strip_prefix('@') {
                    Some(guarded) => guarded.split_once(' ').map_or("", |(_, rest)| rest),
                    None => &text,
                };
                rest.split([' ', ';']).next().unwrap().to_owned()
            })
        })
        .collect()
}

fn report() -> String {
    let mut by_form: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, text) in files() {
        let module = parse(&name, &text).unwrap_or_else(|error| panic!("{error}"));
        for form in forms(&module) {
            by_form.entry(form).or_default().push(name.clone());
        }
    }
    let mut out = format!(
        "# Instruction forms that tests/ptx executes\n\nWritten by `FLASHPROOF_UPDATE=1 cargo test --test suite isa::coverage`; {} forms. The\n\
         file is the one named after the form, else the first that has it.\n\n| form | file |\n|---|---|\n",
        by_form.len()
    );
    for (form, names) in by_form {
        let own = form.replace(['.', ':'], "_").replace("__", "_");
        let file = names.iter().find(|name| **name == own).unwrap_or(&names[0]);
        writeln!(out, "| `{form}` | {file}.ptx |").unwrap();
    }
    out
}

#[test]
fn the_list_is_true() {
    let path = folder().join("COVERAGE.md");
    let made = report();
    if std::env::var_os("FLASHPROOF_UPDATE").is_some() {
        std::fs::write(&path, &made).expect("tests/ptx can be written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = made.lines().zip(committed.lines()).find(|(a, b)| a != b);
    assert!(
        made == committed,
        "tests/ptx/COVERAGE.md is not what the files execute; first difference {differs:?}; run with FLASHPROOF_UPDATE=1"
    );
}

/// Every spelling that compilers emit stands in some file, as it is spelt.
#[test]
fn every_opcode_of_the_list_is_executed() {
    let list = std::fs::read_to_string(folder().join("opcodes.txt")).expect("opcodes.txt");
    let mut words = BTreeSet::new();
    for (_, text) in files() {
        for line in text.lines().filter(|line| !line.starts_with("//")) {
            words.extend(line.split([' ', '\t', ';', '{']).map(str::to_owned));
        }
    }
    let missing: Vec<&str> = list.lines().filter(|line| !words.contains(*line)).collect();
    assert!(list.lines().count() > 150);
    assert!(
        missing.is_empty(),
        "no file in tests/ptx has: {}",
        missing.join(" ")
    );
}
