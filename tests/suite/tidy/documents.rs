//! Lists in documents say what is so.

use super::{assert_none, root};
use std::collections::BTreeSet;
use std::fs;

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What stands between `<!-- generated: NAME -->` and `<!-- end -->`.
fn generated<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let begin = format!("<!-- generated: {name} -->\n");
    let rest = &text[text.find(&begin)? + begin.len()..];
    Some(&rest[..rest.find("<!-- end -->")?])
}

/// First cells of a Markdown table, without backticks.
fn first_cells(table: &str) -> BTreeSet<String> {
    table
        .lines()
        .filter(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| {
            line.split('|')
                .nth(1)
                .unwrap()
                .trim()
                .trim_matches('`')
                .to_owned()
        })
        .collect()
}

/// Names under `[dependencies]` and `[dev-dependencies]` of the manifests.
fn dependencies(manifests: &[String]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for manifest in manifests {
        let manifest: toml::Table = manifest.parse().unwrap();
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            if let Some(table) = manifest.get(section) {
                names.extend(table.as_table().unwrap().keys().cloned());
            }
        }
    }
    names.retain(|name| !name.starts_with("flashproof"));
    names
}

#[test]
fn the_dependency_table_is_the_manifests() {
    let manifests = ["Cargo.toml", "reference/Cargo.toml", "fuzz/Cargo.toml"].map(read);
    let contributing = read("CONTRIBUTING.md");
    let table = generated(&contributing, "dependencies").expect("CONTRIBUTING.md has the table");
    assert_eq!(first_cells(table), dependencies(&manifests));
    for line in table.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.split('|').collect();
        assert_eq!(cells.len(), 5, "{line}: crate, why, what would replace it");
        assert!(
            cells[1..4].iter().all(|cell| !cell.trim().is_empty()),
            "{line}"
        );
    }
}

#[test]
fn the_module_table_is_the_order_that_is_held() {
    let architecture = read("ARCHITECTURE.md");
    let table = generated(&architecture, "modules").expect("ARCHITECTURE.md has the table");
    let rows: Vec<BTreeSet<&str>> = table
        .lines()
        .filter(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| {
            let modules = line.split('|').nth(1).unwrap();
            modules.split('`').skip(1).step_by(2).collect()
        })
        .collect();
    let order: Vec<BTreeSet<&str>> = super::ORDER
        .iter()
        .map(|row| row.iter().copied().collect())
        .collect();
    assert_eq!(rows, order);
}

/// Command lines of `flashproof` in the fenced blocks of a document, as arguments after the program's name.
fn commands(text: &str) -> Vec<Vec<String>> {
    let mut fenced = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
            continue;
        }
        let line = line.trim_start_matches("$ ");
        let arguments = line
            .strip_prefix("flashproof ")
            .or_else(|| line.strip_prefix("cargo run --release -- "));
        if let (true, Some(arguments)) = (fenced, arguments) {
            let arguments = arguments.split(" #").next().unwrap();
            found.push(words(arguments));
        }
    }
    found
}

/// Words of a shell line, single quotes respected.
fn words(line: &str) -> Vec<String> {
    line.split('\'')
        .enumerate()
        .flat_map(|(index, part)| {
            if index % 2 == 1 {
                vec![part.to_owned()]
            } else {
                part.split_whitespace().map(str::to_owned).collect()
            }
        })
        .collect()
}

fn command_complaints(document: &str, text: &str) -> Vec<String> {
    use clap::Parser;
    commands(text)
        .into_iter()
        .filter_map(|arguments| {
            let line = std::iter::once("flashproof".to_owned()).chain(arguments.iter().cloned());
            match flashproof::cli::Cli::try_parse_from(line) {
                Ok(_) => None,
                Err(error) if error.exit_code() == 0 => None, // --help, --version
                Err(error) => Some(format!(
                    "{document}: `flashproof {}`: {error}",
                    arguments.join(" ")
                )),
            }
        })
        .collect()
}

#[test]
fn documented_commands_exist() {
    let mut complaints = Vec::new();
    let mut count = 0;
    for document in [
        "README.md",
        "CONTRIBUTING.md",
        "ARCHITECTURE.md",
        "reports/README.md",
    ] {
        let text = read(document);
        count += commands(&text).len();
        complaints.extend(command_complaints(document, &text));
    }
    assert_none(complaints);
    assert!(count >= 4, "only {count} commands are documented");
    assert_eq!(
        command_complaints("x", "```\n$ flashproof verfy\n```\n").len(),
        1
    );
    assert_eq!(commands("flashproof is a tool\n").len(), 0);
}

#[test]
fn the_architecture_stays_short() {
    let lines = read("ARCHITECTURE.md").lines().count();
    assert!(lines < 300, "ARCHITECTURE.md has {lines} lines");
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut complaints = Vec::new();
    for document in [
        "README.md",
        "CONTRIBUTING.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "reports/README.md",
    ] {
        let text = read(document);
        let folder = root().join(document);
        let folder = folder.parent().unwrap();
        for (at, _) in text.match_indices("](") {
            let target: String = text[at + 2..].chars().take_while(|c| *c != ')').collect();
            let local = target.split('#').next().unwrap();
            if !target.contains("://") && !local.is_empty() && !folder.join(local).exists() {
                complaints.push(format!("{document}: {target} does not exist"));
            }
        }
    }
    assert_none(complaints);
}

/// Codes that the sources raise: strings inside `Code("...")` and first arguments of `finding("...")`.
fn raised_codes() -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    for (path, text) in super::rust_files() {
        if !path.starts_with("src/") {
            continue;
        }
        let text = super::without_tests(&text);
        for begin in [
            "Code(\"",
            "finding(\"",
            "finding(\n        \"",
            "finding(\n            \"",
        ] {
            for (at, _) in text.match_indices(begin) {
                let code: String = text[at + begin.len()..]
                    .chars()
                    .take_while(|c| *c != '"')
                    .collect();
                if code.contains('-') || !code.contains(' ') {
                    codes.insert(code);
                }
            }
        }
    }
    codes
}

#[test]
fn every_code_is_explained_and_every_explained_code_is_raised() {
    let explained: BTreeSet<String> = flashproof::report::explain::ALL
        .iter()
        .map(|explanation| explanation.code.to_owned())
        .collect();
    assert_eq!(raised_codes(), explained);
}

#[test]
fn every_defect_expects_codes_that_exist() {
    for defect in flashproof::kernel::defects() {
        if let flashproof::kernel::Expected::Findings(codes) = defect.expected {
            for code in codes {
                assert!(
                    flashproof::report::explain::explanation(code).is_some(),
                    "{}: no code `{code}`",
                    defect.kernel.name()
                );
            }
        }
    }
}
