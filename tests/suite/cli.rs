//! The command line, run as a user runs it.

mod examples;

use std::path::PathBuf;
use std::process::{Command, Output};

/// The program with no data in reach and no network but the loopback interface.
fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flashproof"));
    command
        .env("FLASHPROOF_DATA", "/nonexistent/flashproof")
        .env("XDG_CACHE_HOME", "/nonexistent/cache")
        .env("HF_ENDPOINT", "http://127.0.0.1:9")
        .env_remove("RUST_BACKTRACE");
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Exit code, standard output, standard error.
fn outcome(arguments: &[&str]) -> (i32, String, String) {
    let output: Output = program().args(arguments).output().unwrap();
    (
        output.status.code().unwrap(),
        text(&output.stdout).to_owned(),
        text(&output.stderr).to_owned(),
    )
}

/// A file of this test alone.
fn file(name: &str, content: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("flashproof-cli-{}-{name}", std::process::id()));
    std::fs::write(&path, content).unwrap();
    path
}

#[test]
fn help_is_as_reviewed() {
    let mut all = String::new();
    for command in [
        "",
        "verify",
        "analyze",
        "answer",
        "judge",
        "kernels",
        "fetch",
        "eval",
        "merge",
        "calibrate",
        "score",
        "score mlqa",
        "score trec",
        "score mteb",
        "read",
        "bitext",
        "bitext mlqa",
        "bitext mine",
        "bench",
        "report",
        "explain",
    ] {
        let arguments: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let (code, out, err) = outcome(&arguments);
        assert_eq!((code, err.as_str()), (0, ""), "{command}");
        all += &format!("$ flashproof {}\n{out}\n", arguments.join(" "));
    }
    insta::assert_snapshot!("help", all);
}

#[test]
fn misuse_is_bad_input() {
    for arguments in [
        &["verfy"][..],
        &["verify", "--cases", "0"],
        &["verify", "--backend", "gpu"],
        &["verify", "no_such_kernel"],
        &["verify", "--case", "kernel=block_sparse_sm80 colour=red"],
        &["verify", "mine.ptx"],
        &["verify", "--manifest", "mine.toml"],
        &["analyze", "/nonexistent/mine.ptx"],
        &["bench", "--densities", "0"],
        &["eval", "--through", "vm"],
        &["explain", "no-such-code"],
        &["report", "--quick", "--full"],
        &[],
    ] {
        let (code, out, err) = outcome(arguments);
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}: {err}");
        assert!(
            arguments.is_empty() || err.starts_with("error: "),
            "{arguments:?}: {err}"
        );
    }
}

#[test]
fn a_right_kernel_agrees() {
    let (code, out, err) = outcome(&["verify", "--cases", "12", "--seed", "3"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let expected =
        "block_sparse_sm80 on vm: 12 agree, 0 disagree, 0 incomparable, 0 unsupported (seed 3)";
    assert!(out.starts_with(expected), "{out}");
    assert_eq!(
        out,
        outcome(&["verify", "--cases", "12", "--seed", "3"]).1,
        "twice is the same"
    );
}

#[test]
fn a_wrong_kernel_is_a_finding_with_a_command_that_repeats_it() {
    let (code, out, _) = outcome(&[
        "verify",
        "--case",
        "kernel=trailing_barrier_missing seqlen_q=64 seqlen_kv=256",
    ]);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("kernel bug[shared-race]"), "{out}");
    let command =
        "flashproof verify --case 'kernel=trailing_barrier_missing seqlen_q=64 seqlen_kv=256'";
    assert!(out.contains(command), "{out}");
    assert!(out.contains("smallest failing case found"), "{out}");
}

#[test]
fn what_is_unsupported_says_nothing_about_the_kernel() {
    let (code, out, _) = outcome(&["verify", "--case", "kernel=block_sparse_sm80 dtype=f32"]);
    assert_eq!(code, 3, "{out}");
    assert!(
        out.contains("unsupported: ") && out.contains("0 agree"),
        "{out}"
    );
    let (code, out, _) = outcome(&["verify", "--backend", "device", "--cases", "2"]);
    assert!(code == 3 || out.contains("2 agree"), "{out}");
}

#[test]
fn json_is_one_document() {
    for arguments in [
        &["verify", "--cases", "3", "--format", "json"][..],
        &[
            "verify",
            "--case",
            "kernel=lse_base2 seqlen_q=16 seqlen_kv=64",
            "--format",
            "json",
        ],
        &["analyze", "--format", "json"],
        &["kernels", "--format", "json"],
    ] {
        let (_, out, err) = outcome(arguments);
        let document: serde_json::Value = serde_json::from_str(&out).unwrap_or_else(|error| {
            panic!("{arguments:?}: {error}: {out}{err}");
        });
        assert!(document.is_object());
    }
}

#[test]
fn ptx_that_is_not_known_is_named_with_its_line() {
    let head = ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k()\n{\n";
    let unknown = file(
        "unknown.ptx",
        &format!("{head}\tfrobnicate.b32 %r1, 2;\n\tret;\n}}\n"),
    );
    let malformed = file("malformed.ptx", &format!("{head}\tret\n"));
    for (path, expected, words) in [(&unknown, 3, "frobnicate"), (&malformed, 2, "ptx-syntax")] {
        let (code, out, err) = outcome(&["analyze", path.to_str().unwrap()]);
        assert_eq!(code, expected, "{out}{err}");
        assert!(out.contains(words), "{out}");
        let manifest = format!(
            "{}/cuda/kernels/block_sparse_sm80.toml",
            env!("CARGO_MANIFEST_DIR")
        );
        let (code, out, err) =
            outcome(&["verify", path.to_str().unwrap(), "--manifest", &manifest]);
        assert_eq!(code, expected, "{out}{err}");
    }
    assert!(
        outcome(&["analyze", unknown.to_str().unwrap()])
            .1
            .contains("unknown.ptx:6:")
    );
    std::fs::remove_file(unknown).unwrap();
    std::fs::remove_file(malformed).unwrap();
}

#[test]
fn a_kernel_of_the_users_is_judged_by_its_manifest() {
    let root = env!("CARGO_MANIFEST_DIR");
    let ptx = file(
        "mine.ptx",
        &std::fs::read_to_string(format!("{root}/cuda/ptx/block_sparse_sm80.ptx")).unwrap(),
    );
    let manifest = format!("{root}/cuda/kernels/block_sparse_sm80.toml");
    let (code, out, err) = outcome(&[
        "verify",
        ptx.to_str().unwrap(),
        "--manifest",
        &manifest,
        "--cases",
        "5",
    ]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.contains("5 agree"), "{out}");
    std::fs::remove_file(ptx).unwrap();
}

#[test]
fn without_data_a_measurement_says_what_is_missing() {
    let (code, out, err) = outcome(&["eval"]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(
        err.contains("model-e5/") && err.contains("flashproof fetch model"),
        "{err}"
    );
}

#[test]
fn a_fetch_that_cannot_write_says_what_to_do() {
    let (code, out, err) = outcome(&["fetch", "xquad", "--from", "/nonexistent"]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.starts_with("error: "), "{err}");
    assert!(err.contains("/nonexistent"), "{err}");
}
