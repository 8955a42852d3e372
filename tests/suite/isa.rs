//! One PTX file an instruction form, its expectation in its header: `tests/ptx/*.ptx`.
//!
//! The header is comment lines before the first directive:
//!
//! ```text
//! // What the file shows.
//! // threads: 2
//! // shared: 1024
//! // target: sm_90
//! // in: 00000001 00000002
//! // out: 00000003 00000005
//! // finding: shared-race
//! // stop: out-of-bounds
//! ```
//!
//! `in` lines are buffers of words (the digits of a word say its size, bytes little-endian), `out` lines the buffers that
//! the kernel writes. The parameters are their addresses, in the order of the header. `threads` (default 1) are in x.
//! `finding` (default: none) lists the codes of all findings, `stop` the code with which the run must stop.
//! A `?` in place of a word accepts anything.

mod accepted;
mod coverage;

use flashproof::diagnostic::Diagnostic;
use flashproof::ptx::{Opcode, parse};
use flashproof::vm::{Initial, Launch, Memory, Options, Stop, Target, run};
use std::collections::BTreeSet;
use std::path::Path;

/// What a header asks for.
#[derive(Debug, Default)]
struct Expectation {
    threads: u32,
    shared: u32,
    target: Target,
    /// Words with their size in bytes; outputs have an expectation, `None` for anything.
    buffers: Vec<Buffer>,
    findings: BTreeSet<String>,
    stop: Option<String>,
}

#[derive(Debug)]
enum Buffer {
    In(Vec<u8>),
    Out(Vec<Option<u8>>),
}

/// Bytes of a line of words.
fn bytes(words: &str) -> Vec<Option<u8>> {
    let size = words
        .split_whitespace()
        .map(|word| word.len() / 2)
        .max()
        .expect("words");
    let mut all = Vec::new();
    for word in words.split_whitespace() {
        if word.starts_with('?') {
            all.extend(vec![None; size]);
        } else {
            let value =
                u64::from_str_radix(word, 16).unwrap_or_else(|e| panic!("word `{word}`: {e}"));
            all.extend(value.to_le_bytes()[..size].iter().map(|byte| Some(*byte)));
        }
    }
    all
}

fn expectation(text: &str) -> Expectation {
    let mut expected = Expectation {
        threads: 1,
        ..Expectation::default()
    };
    for line in text.lines().take_while(|line| line.starts_with("//")) {
        let line = line.trim_start_matches('/').trim();
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim();
        match key {
            "threads" => expected.threads = value.parse().expect("threads"),
            "shared" => expected.shared = value.parse().expect("shared bytes"),
            "target" => expected.target = value.parse().expect("target"),
            "in" => {
                let defined = bytes(value)
                    .into_iter()
                    .map(|byte| byte.expect("inputs are defined"));
                expected.buffers.push(Buffer::In(defined.collect()));
            }
            "out" => expected.buffers.push(Buffer::Out(bytes(value))),
            "finding" => expected.findings = value.split_whitespace().map(str::to_owned).collect(),
            "stop" => expected.stop = Some(value.to_owned()),
            // A sentence with a colon.
            _ => {}
        }
    }
    expected
}

fn codes(diagnostics: &[Diagnostic]) -> BTreeSet<String> {
    diagnostics
        .iter()
        .map(|diagnostic| diagnostic.code.to_string())
        .collect()
}

/// Runs a file; `Err` says how it differs from its header.
fn check(name: &str, text: &str) -> Result<(), String> {
    let expected = expectation(text);
    if expected
        .buffers
        .iter()
        .all(|buffer| matches!(buffer, Buffer::In(_)))
        && expected.stop.is_none()
        && expected.findings.is_empty()
    {
        return Err("the header expects nothing".to_owned());
    }
    let module = parse(name, text).map_err(|error| format!("does not parse: {error:?}"))?;
    let entry = &module.functions.first().ok_or("has no entry")?.name;
    let mut memory = Memory::new();
    let mut params = Vec::new();
    let mut outputs = Vec::new();
    for (index, buffer) in expected.buffers.iter().enumerate() {
        let (initial, writable) = match buffer {
            Buffer::In(bytes) => (Initial::Bytes(bytes.clone()), false),
            Buffer::Out(bytes) => (Initial::Uninitialised(bytes.len()), true),
        };
        let address = memory.allocate(&format!("buffer{index}"), initial, writable);
        params.extend(address.to_le_bytes());
        if let Buffer::Out(bytes) = buffer {
            outputs.push((address, bytes));
        }
    }
    let launch = Launch {
        entry: entry.clone(),
        grid: [1, 1, 1],
        cta: [expected.threads, 1, 1],
        shared_bytes: expected.shared,
        params,
    };
    let options = Options {
        target: expected.target,
        instruction_budget: 100_000,
        ..Options::default()
    };
    let findings = match run(&module, &launch, &mut memory, &options) {
        Ok(report) => {
            if let Some(stop) = expected.stop {
                return Err(format!("finished, but should stop with {stop}"));
            }
            codes(&report.findings)
        }
        Err(Stop::Trap(diagnostics)) => {
            let code = diagnostics[0].code.to_string();
            return match expected.stop {
                Some(stop) if stop == code => Ok(()),
                _ => Err(format!("stopped: {code}: {}", diagnostics[0].message)),
            };
        }
        Err(other) => return Err(format!("did not run: {other}")),
    };
    if findings != expected.findings {
        return Err(format!(
            "findings {findings:?}, expected {:?}",
            expected.findings
        ));
    }
    for (index, (address, wanted)) in outputs.into_iter().enumerate() {
        let got = memory
            .bytes(address, wanted.len())
            .expect("allocated above");
        if let Some(at) = (0..got.len()).find(|&i| wanted[i].is_some_and(|byte| byte != got[i])) {
            return Err(format!(
                "output {index} differs at byte {at}: got {:02x?}, expected {:02x?}",
                &got[at / 4 * 4..got.len().min(at / 4 * 4 + 8)],
                &wanted[at / 4 * 4..got.len().min(at / 4 * 4 + 8)]
            ));
        }
    }
    Ok(())
}

#[test]
fn every_file_does_what_its_header_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ptx");
    let mut names: Vec<_> = std::fs::read_dir(&folder)
        .expect("tests/ptx")
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "ptx"))
        .collect();
    names.sort();
    assert!(
        names.len() >= 60,
        "only {} files in {}",
        names.len(),
        folder.display()
    );
    let mut failures = Vec::new();
    let mut words = BTreeSet::new();
    for path in &names {
        let text = std::fs::read_to_string(path).expect("text");
        let name = path
            .file_name()
            .expect("name")
            .to_string_lossy()
            .into_owned();
        if let Err(why) = check(&name, &text) {
            failures.push(format!("{name}: {why}"));
        }
        for line in text.lines().filter(|line| !line.starts_with("//")) {
            for statement in line.split(';') {
                let statement = statement.trim().trim_start_matches('{').trim();
                let statement = match statement.strip_prefix('@') {
                    Some(guarded) => guarded.split_once(' ').map_or("", |(_, rest)| rest.trim()),
                    None => statement,
                };
                let word = statement.split(['.', ' ', '\t']).next().unwrap_or("");
                words.insert(word.to_owned());
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} files:\n{}",
        failures.len(),
        names.len(),
        failures.join("\n")
    );
    let missing: Vec<&str> = Opcode::ALL
        .iter()
        .map(|opcode| opcode.text())
        .filter(|text| !words.contains(*text))
        .collect();
    assert!(
        missing.is_empty(),
        "no file in tests/ptx executes: {}",
        missing.join(", ")
    );
}

/// The runner can fail: wrong output, missing expectation, unexpected finding.
#[test]
fn a_wrong_expectation_is_noticed() {
    let body = ".version 7.0\n.target sm_80\n.address_size 64\n.visible .entry t(.param .u64 d) {\n\
        .reg .b64 %rd<2>;\nld.param.u64 %rd1, [d];\nst.global.u32 [%rd1], 5;\nret;\n}\n";
    assert_eq!(check("t", &format!("// out: 00000005\n{body}")), Ok(()));
    for header in [
        "// out: 00000006",
        "// nothing",
        "// out: 00000005\n// finding: shared-race",
        "// out: 00000005\n// stop: trap",
    ] {
        assert!(
            check("t", &format!("{header}\n{body}")).is_err(),
            "{header}"
        );
    }
}
