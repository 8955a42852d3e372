//! The command line, run as a user runs it.

use std::process::{Command, Output};

/// Runs the program with no data in reach and no network but the loopback interface.
fn flashproof(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_flashproof"))
        .args(arguments)
        .env("FLASHPROOF_DATA", "/nonexistent/flashproof")
        .env("XDG_CACHE_HOME", "/nonexistent/cache")
        .env("HF_ENDPOINT", "http://127.0.0.1:9")
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Exit code, standard output, standard error.
fn outcome(arguments: &[&str]) -> (i32, String, String) {
    let output = flashproof(arguments);
    (
        output.status.code().unwrap(),
        text(&output.stdout).to_owned(),
        text(&output.stderr).to_owned(),
    )
}

#[test]
fn help_is_as_reviewed() {
    let mut all = String::new();
    for command in [
        "",
        "verify",
        "analyze",
        "kernels",
        "fetch",
        "eval",
        "score",
        "score mlqa",
        "score trec",
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
        &["eval", "--through", "vm"],
        &["report", "--quick", "--full"],
        &[],
    ] {
        let (code, _, err) = outcome(arguments);
        assert_eq!(code, 2, "{arguments:?}: {err}");
    }
}

#[test]
fn a_fetch_that_cannot_write_says_what_to_do() {
    let (code, out, err) = outcome(&["fetch", "xquad", "--from", "/nonexistent"]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.starts_with("error: "), "{err}");
    assert!(err.contains("/nonexistent"), "{err}");
}
