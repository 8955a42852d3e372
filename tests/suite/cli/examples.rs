//! Commands in the README, run, and their output compared with what stands there.
//!
//! `FLASHPROOF_UPDATE=1 cargo test --test suite examples` writes the output instead.

use super::program;
use std::fmt::Write as _;
use std::path::Path;

/// Blocks between `<!-- example: NAME -->` and `<!-- end -->`, each a fenced text whose lines `$ flashproof ...` are
/// commands; the command of an empty block is its name's.
fn rebuilt(document: &str) -> String {
    let mut out = String::new();
    let mut rest = document;
    while let Some(at) = rest.find("<!-- example: ") {
        let body = at + rest[at..].find("-->\n").unwrap() + "-->\n".len();
        let end = body + rest[body..].find("<!-- end -->").unwrap();
        out.push_str(&rest[..body]);
        out.push_str("```text\n");
        for line in rest[body..end]
            .lines()
            .filter(|line| line.starts_with("$ flashproof "))
        {
            write!(
                out,
                "{line}\n{}",
                run(line.strip_prefix("$ flashproof ").unwrap())
            )
            .unwrap();
        }
        out.push_str("```\n");
        rest = &rest[end..];
    }
    out + rest
}

fn run(line: &str) -> String {
    let arguments = line.split('\'').enumerate().flat_map(|(index, part)| {
        if index % 2 == 1 {
            vec![part]
        } else {
            part.split_whitespace().collect()
        }
    });
    let output = program().args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_readme_shows_what_the_program_prints() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let document = std::fs::read_to_string(&path).unwrap();
    let rebuilt = rebuilt(&document);
    assert!(rebuilt.matches("$ flashproof ").count() >= 2, "no examples");
    if std::env::var_os("FLASHPROOF_UPDATE").is_some() {
        std::fs::write(&path, rebuilt).unwrap();
    } else {
        assert!(
            document == rebuilt,
            "README.md shows other output than the program prints; write it with \
             `FLASHPROOF_UPDATE=1 cargo test --test suite examples` and review it"
        );
    }
}
