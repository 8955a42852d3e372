//! The rules of the repository that a program can hold: module order, sizes, where printing, `unsafe` and narrowing
//! may be, no orphan snapshots, and lists in documents that say what is so.
//!
//! Every rule is a function from text to complaints, so that each is shown to complain.

mod documents;
mod examples;
mod source;

use source::{code_of, without_tests};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Modules of `src/` in the order of ARCHITECTURE.md: a module imports only from rows above its own.
const ORDER: [&[&str]; 21] = [
    &["convert"],
    &["contract", "diagnostic", "format", "simd", "ulp"],
    &["ptx"],
    &["analysis", "vm"],
    &["kernel"],
    &["outcome"],
    &["case"],
    &["device"],
    &["backend"],
    &["simulation"],
    &["bound"],
    &["verdict"],
    &["oracle"],
    &["mutant"],
    &["encoder", "mlqa", "retrieval", "stats"],
    &["noise"],
    &["study"],
    &["report"],
    &["fetch"],
    &["cli"],
    &["command"],
];

/// Lines a source file may have.
const LINES_MAX: usize = 600;

/// Files that may be longer, each with its reason.
const LONG_FILES: [(&str, &str); 0] = [];

/// Where `unsafe` may be.
const UNSAFE: [&str; 3] = ["src/device/", "src/simd/", "reference/src/simd.rs"];

/// Where files, clock and environment may be used: DESIGN's list, and `command`, which is above them all.
const OUTSIDE_WORLD: [&str; 7] = [
    "src/device/",
    "src/study/",
    "src/fetch/",
    "src/command/",
    "src/main.rs",
    "src/cli.rs",
    "benches/",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Paths under the repository root that git would track, with one of the extensions.
fn files(folders: &[&str], extensions: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| extensions.iter().any(|wanted| extension == *wanted))
            {
                let name = path
                    .strip_prefix(root())
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    assert!(
        !found.is_empty(),
        "no {extensions:?} files: the rule would hold of nothing"
    );
    found
}

fn rust_files() -> Vec<(String, String)> {
    files(
        &[
            "src",
            "reference/src",
            "fuzz/fuzz_targets",
            "tests",
            "benches",
        ],
        &["rs"],
    )
}

fn assert_none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// Top-level modules that code of `src/<module>...` at `depth` (1 in `src/x.rs` and `src/x/mod.rs`) names.
fn imports(code: &str, depth: usize) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        names.extend(first_names(&code[at + "crate::".len()..]));
    }
    let climb = "super::".repeat(depth);
    for (at, _) in code.match_indices(&climb) {
        let rest = &code[at + climb.len()..];
        if code[..at].ends_with("super::") || rest.starts_with("super::") {
            continue;
        }
        names.extend(first_names(rest));
    }
    names
}

/// The first segment of a path, or those of a group `{a, b::c}`.
fn first_names(path: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let Some(group) = path.strip_prefix('{') else {
        return vec![word(path)];
    };
    let mut level = 0;
    let mut names = vec![word(group)];
    for (at, c) in group.char_indices() {
        match c {
            '{' => level += 1,
            '}' if level == 0 => break,
            '}' => level -= 1,
            ',' if level == 0 => names.push(word(&group[at + 1..])),
            _ => {}
        }
    }
    names
}

fn order_complaints(path: &str, text: &str) -> Vec<String> {
    let Some(inside) = path.strip_prefix("src/") else {
        return Vec::new();
    };
    let parts: Vec<&str> = inside.trim_end_matches(".rs").split('/').collect();
    let module = parts[0];
    if ["lib", "main"].contains(&module) {
        return Vec::new();
    }
    // Tests of a module may use what stands above it.
    if path.ends_with("tests.rs") {
        return Vec::new();
    }
    let rank = |name: &str| ORDER.iter().position(|row| row.contains(&name));
    let Some(own) = rank(module) else {
        return vec![format!("{path}: module `{module}` is not in tidy's ORDER")];
    };
    let depth = parts.len() - usize::from(parts.last() == Some(&"mod"));
    imports(&code_of(&without_tests(text)), depth)
        .into_iter()
        .filter(|name| name != module)
        .filter_map(|name| match rank(&name) {
            Some(other) if other < own => None,
            Some(_) => Some(format!(
                "{path}: `{module}` imports `{name}`, which is not above it in tidy's ORDER"
            )),
            // A macro or an item of lib.rs itself.
            None => None,
        })
        .collect()
}

#[test]
fn modules_import_only_from_above() {
    let complaints: Vec<String> = rust_files()
        .iter()
        .flat_map(|(path, text)| order_complaints(path, text))
        .collect();
    assert_none(complaints);
    assert_eq!(
        order_complaints("src/vm/mod.rs", "use crate::analysis::Pass;").len(),
        1
    );
    assert_eq!(
        order_complaints("src/ulp.rs", "use super::verdict;").len(),
        1
    );
    assert_eq!(
        order_complaints("src/vm/x.rs", "use super::super::kernel::Table;").len(),
        1
    );
    assert_eq!(
        order_complaints("src/ptx/a.rs", "use crate::{ptx::b, report::{c, d}, vm};").len(),
        2
    );
    assert_eq!(order_complaints("src/newcomer.rs", "").len(), 1);
    assert!(
        order_complaints("src/vm/mod.rs", "use crate::ptx::Module; // crate::report").is_empty()
    );
}

#[test]
fn every_module_of_the_library_has_a_rank() {
    let library = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let declared: BTreeSet<&str> = library
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect();
    let ranked: BTreeSet<&str> = ORDER.iter().flat_map(|row| row.iter().copied()).collect();
    assert_eq!(declared, ranked);
}

fn size_complaints(path: &str, text: &str) -> Option<String> {
    let lines = text.lines().count();
    let excused = LONG_FILES
        .iter()
        .any(|(file, reason)| *file == path && !reason.is_empty());
    (lines > LINES_MAX && !excused).then(|| {
        format!("{path}: {lines} lines, more than {LINES_MAX}: it holds two ideas, split it")
    })
}

#[test]
fn no_source_file_is_long() {
    let sources = files(
        &[
            "src",
            "reference/src",
            "cuda",
            "fuzz/fuzz_targets",
            "tests",
            "benches",
        ],
        &["rs", "cu", "cuh"],
    );
    let complaints = sources
        .iter()
        .filter_map(|(path, text)| size_complaints(path, text))
        .collect();
    assert_none(complaints);
    for (file, _) in LONG_FILES {
        let (_, text) = sources
            .iter()
            .find(|(path, _)| path == file)
            .expect("an excused file exists");
        assert!(
            text.lines().count() > LINES_MAX,
            "{file} needs no excuse any more"
        );
    }
    assert!(size_complaints("src/a.rs", &"\n".repeat(601)).is_some());
    assert!(size_complaints("src/a.rs", &"\n".repeat(600)).is_none());
}

/// Lines of `code` (comments and strings blanked) that hold `word` as a word, with their numbers.
fn lines_with<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    code.lines().enumerate().filter_map(move |(index, line)| {
        line.match_indices(word)
            .any(|(at, _)| {
                !line[..at].ends_with(is_part) && !line[at + word.len()..].starts_with(is_part)
            })
            .then_some(index + 1)
    })
}

fn word_complaints(path: &str, text: &str, words: &[&str], rule: &str) -> Vec<String> {
    let code = code_of(&without_tests(text));
    words
        .iter()
        .flat_map(|word| {
            lines_with(&code, word)
                .map(move |line| format!("{path}:{line}: `{word}`: {rule}"))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Whether a file is part of what users run, not a test module in a file of its own.
fn is_product(path: &str) -> bool {
    let source = path.starts_with("src/") || path.starts_with("reference/src/");
    source && !test_modules().iter().any(|module| path.starts_with(module))
}

/// Beginnings of the paths of modules that are declared as `#[cfg(test)] mod NAME;`.
fn test_modules() -> &'static [String] {
    static FOUND: OnceLock<Vec<String>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let mut found = Vec::new();
        for (path, text) in rust_files() {
            // Children of `a/mod.rs` and of `a.rs` lie in `a/`, those of `lib.rs` beside it.
            let stem = path.strip_suffix(".rs").unwrap();
            let folder = ["/mod", "/lib", "/main"]
                .iter()
                .find_map(|own| stem.strip_suffix(own))
                .unwrap_or(stem);
            for (at, begin) in text.match_indices("#[cfg(test)]\n") {
                let declared = &text[at + begin.len()..];
                // `#[path = "FILE"]` names a file beside this one.
                if let Some(file) = declared.strip_prefix("#[path = \"") {
                    let beside = Path::new(&path).with_file_name(&file[..file.find('"').unwrap()]);
                    found.push(beside.to_str().unwrap().to_owned());
                    continue;
                }
                let Some(declared) = declared.strip_prefix("mod ") else {
                    continue;
                };
                let name = &first_names(declared)[0];
                if declared[name.len()..].starts_with(';') {
                    found.push(format!("{folder}/{name}.rs"));
                    found.push(format!("{folder}/{name}/"));
                }
            }
        }
        found
    })
}

#[test]
fn only_command_writes_to_the_streams() {
    let words = [
        "println!",
        "eprintln!",
        "print!",
        "eprint!",
        "stdout",
        "stderr",
        "dbg!",
    ];
    let check = |path: &str, text: &str| {
        // `stderr` of a child process is not this process's.
        let may =
            !is_product(path) || path.starts_with("src/command/") || path == "src/fetch/wheel.rs";
        if may {
            Vec::new()
        } else {
            word_complaints(path, text, &words, "nothing below `command` prints")
        }
    };
    assert_none(
        rust_files()
            .iter()
            .flat_map(|(path, text)| check(path, text))
            .collect(),
    );
    assert_eq!(
        check("src/vm/a.rs", "fn f() { eprintln!(\"x\"); }").len(),
        1
    );
    assert!(check("src/vm/a.rs", "// println!\nconst A: &str = \"println!\";").is_empty());
}

#[test]
fn only_the_outer_modules_meet_the_outside_world() {
    let words = [
        "std::fs",
        "std::env",
        "std::net",
        "std::process",
        "Instant",
        "SystemTime",
        "File",
    ];
    let check = |path: &str, text: &str| {
        let may = !is_product(path) || OUTSIDE_WORLD.iter().any(|place| path.starts_with(place));
        if may {
            Vec::new()
        } else {
            word_complaints(
                path,
                text,
                &words,
                "only device, study, fetch and command read files, clock or environment",
            )
        }
    };
    assert_none(
        rust_files()
            .iter()
            .flat_map(|(path, text)| check(path, text))
            .collect(),
    );
    assert_eq!(check("src/stats/a.rs", "use std::fs;").len(), 1);
    assert_eq!(check("src/vm/a.rs", "let now = Instant::now();").len(), 1);
}

#[test]
fn unsafe_is_where_the_design_lists_it() {
    let check = |path: &str, text: &str| {
        if UNSAFE.iter().any(|place| path.starts_with(place)) {
            Vec::new()
        } else {
            word_complaints(
                path,
                text,
                &["unsafe"],
                "unsafe code belongs to src/device, src/simd, reference/src/simd.rs",
            )
        }
    };
    assert_none(
        rust_files()
            .iter()
            .flat_map(|(path, text)| check(path, text))
            .collect(),
    );
    assert_eq!(check("src/vm/a.rs", "unsafe { f() }").len(), 1);
    assert!(check("src/vm/a.rs", "#![deny(unsafe_code)] // unsafe").is_empty());
}

fn cast_complaints(path: &str, text: &str) -> Vec<String> {
    if path.ends_with("/convert.rs") || !is_product(path) {
        return Vec::new();
    }
    let numbers = [
        "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize",
        "f32", "f64",
    ];
    let code = code_of(text);
    code.lines()
        .enumerate()
        .filter(|(_, line)| {
            line.match_indices(" as ").any(|(at, _)| {
                let target = &first_names(&line[at + " as ".len()..])[0];
                numbers.contains(&target.as_str())
            })
        })
        .map(|(index, line)| {
            format!(
                "{path}:{}: numbers change type by `as` only in convert.rs: {}",
                index + 1,
                line.trim()
            )
        })
        .collect()
}

#[test]
fn numbers_are_cast_in_convert_alone() {
    assert_none(
        rust_files()
            .iter()
            .flat_map(|(path, text)| cast_complaints(path, text))
            .collect(),
    );
    assert_eq!(
        cast_complaints("src/vm/a.rs", "let a = b as usize;").len(),
        1
    );
    assert_eq!(
        cast_complaints("reference/src/a.rs", "f(x as f32)").len(),
        1
    );
    assert!(
        cast_complaints(
            "src/vm/a.rs",
            "use a as b; let c = <T as Into<f64>>::into(d); // x as u8"
        )
        .is_empty()
    );
}

#[test]
fn every_snapshot_has_its_test() {
    let sources: String = rust_files().into_iter().map(|(_, text)| text).collect();
    let mut folders = vec![root().join("tests"), root().join("src")];
    let mut complaints = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if name.ends_with(".snap.new") {
                complaints.push(format!("{}: an unreviewed snapshot", path.display()));
            } else if let Some(name) = name.strip_suffix(".snap") {
                // insta names a file module__path__NAME.snap.
                let own = name.rsplit("__").next().unwrap();
                let own = own
                    .trim_end_matches(|c: char| c.is_ascii_digit())
                    .trim_end_matches('-');
                if !sources.contains(own) {
                    complaints.push(format!("{}: no test names `{own}`", path.display()));
                }
            }
        }
    }
    assert_none(complaints);
}
