//! NVIDIA's assembler accepts every file of `tests/ptx`: what the machine is tested on is PTX.

use super::coverage::files;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

/// `ptxas` of the wheels that `cuda/build.sh` installs.
fn assembler() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
    let path = cache.join("flashproof/cuda-13.0/nvidia/cu13/bin/ptxas");
    path.is_file().then_some(path)
}

/// A file without header and module directives, and its architecture.
fn body(text: &str) -> (String, String) {
    let word = |line: &str| line.split_whitespace().nth(1).unwrap_or("").to_owned();
    let target = text
        .lines()
        .find(|line| line.starts_with(".target"))
        .map(word);
    let kept: Vec<&str> = text
        .lines()
        .filter(|line| {
            ![".version", ".target", ".address_size", "//"]
                .iter()
                .any(|start| line.starts_with(start))
        })
        .collect();
    (target.unwrap_or_default(), kept.join("\n"))
}

/// Names that a text declares at module scope.
fn declared(body: &str) -> BTreeSet<String> {
    let module_scope = body.lines().filter(|line| {
        [
            ".visible", ".const", ".global", ".extern", ".shared", ".func",
        ]
        .iter()
        .any(|start| line.starts_with(start))
    });
    module_scope
        .flat_map(|line| line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')))
        .filter(|word| word.len() > 2 && !word.starts_with(|c: char| c.is_ascii_digit()))
        .filter(|word| {
            !matches!(
                *word,
                "visible"
                    | "entry"
                    | "param"
                    | "const"
                    | "global"
                    | "extern"
                    | "shared"
                    | "align"
                    | "func"
                    | "u64"
                    | "b32"
                    | "u32"
                    | "s32"
                    | "f32"
                    | "out"
                    | "pair"
            )
        })
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_file_is_accepted() {
    let Some(assembler) = assembler() else {
        println!(
            "ptxas: skipped {} files (cuda/build.sh installs it)",
            files().len()
        );
        return;
    };
    // Texts of one architecture that share no name go through the assembler together: it is fast, its start is not.
    let mut groups: BTreeMap<(String, usize), (String, BTreeSet<String>)> = BTreeMap::new();
    let mut count = 0;
    for (name, text) in files() {
        let (target, body) = body(&text);
        let names = declared(&body);
        let mut round = 0;
        loop {
            let group = groups.entry((target.clone(), round)).or_default();
            if group.1.is_disjoint(&names) {
                group.0.push_str(&format!("// {name}\n{body}\n"));
                group.1.extend(names);
                break;
            }
            round += 1;
        }
        count += 1;
    }
    let folder = std::env::temp_dir().join(format!("flashproof-ptxas-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut refused = Vec::new();
    for ((target, round), (text, _)) in &groups {
        let path = folder.join(format!("{target}-{round}.ptx"));
        let whole = format!(".version 8.8\n.target {target}\n.address_size 64\n{text}");
        std::fs::write(&path, &whole).unwrap();
        let run = Command::new(&assembler)
            .arg(format!("-arch={target}"))
            .args(["-O0", "-o", "/dev/null"])
            .arg(&path)
            .output()
            .expect("ptxas starts");
        if !run.status.success() {
            for line in String::from_utf8_lossy(&run.stderr).lines().take(20) {
                let at = line
                    .split("line ")
                    .nth(1)
                    .and_then(|rest| rest.split(';').next()?.parse::<usize>().ok());
                let file = at.and_then(|at| {
                    whole
                        .lines()
                        .take(at)
                        .filter(|line| line.starts_with("// "))
                        .last()
                });
                refused.push(format!("{}: {line}", file.unwrap_or("?")));
            }
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    println!("ptxas: {count} files accepted in {} runs", groups.len());
}

/// A text cut to be independent of where its source lay is still PTX, lines of the source included.
#[test]
fn kernels_from_outside_are_accepted() {
    let Some(assembler) = assembler() else {
        println!("ptxas: skipped 3 kernels (cuda/build.sh installs it)");
        return;
    };
    for path in [
        "examples/nvcc_attention/attention.ptx",
        "examples/triton_attention/attention.ptx",
        "tests/wmma/attention.ptx",
    ] {
        let run = Command::new(&assembler)
            .args(["-arch=sm_80", "-o", "/dev/null"])
            .arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path))
            .output()
            .expect("ptxas starts");
        let said = String::from_utf8_lossy(&run.stderr);
        let first = said.lines().next().unwrap_or_default();
        assert!(run.status.success(), "{path}: {first}");
    }
}
