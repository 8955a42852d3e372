//! `flashproof layout` on files that numpy, scipy and safetensors wrote (`tests/layouts/make.py`).

use flashproof_reference::{Layout, Window};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/layouts")
        .join(name)
}

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_flashproof"))
        .arg("layout")
        .args(arguments)
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A folder of this test's own.
fn folder(name: &str) -> PathBuf {
    let folder =
        std::env::temp_dir().join(format!("flashproof-layout-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn every_form_of_one_matrix_is_the_same_layout() {
    let dense = fixture("dense.npy");
    let dense = dense.to_str().unwrap();
    for name in ["additive.npy", "csr.npz", "bsr.npz"] {
        let other = fixture(name);
        let output = run(&["diff", dense, other.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(0), "{name}: {}", text(&output));
        assert!(
            text(&output).starts_with("63 pairs in both, 0 only in"),
            "{name}"
        );
    }
    let blocks = fixture("block_mask.safetensors");
    let output = run(&["diff", "--limit", "1", dense, blocks.to_str().unwrap()]);
    assert_eq!(
        output.status.code(),
        Some(1),
        "blocks of 128 by default: another shape"
    );
}

#[test]
fn a_block_mask_without_its_rule_says_so() {
    let folder = folder("flex");
    let json = folder.join("m.json");
    let from = fixture("block_mask.safetensors");
    let output = run(&[
        "convert",
        from.to_str().unwrap(),
        json.to_str().unwrap(),
        "--block-q",
        "4",
        "--block-kv",
        "4",
    ]);
    assert_eq!(output.status.code(), Some(0));
    let note = String::from_utf8(output.stderr).unwrap();
    assert!(note.contains("1 partial blocks are taken whole"), "{note}");
    let dense = fixture("dense.npy");
    let output = run(&["diff", dense.to_str().unwrap(), json.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output).starts_with("head 0 query 7 key 11: only in "),
        "{}",
        text(&output)
    );
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_is_converted_comes_back() {
    let folder = folder("convert");
    let from = fixture("bsr.npz");
    let from = from.to_str().unwrap();
    for (name, flags) in [
        ("a.json", &[][..]),
        ("a.npy", &[]),
        ("dense.npz", &[]),
        ("csr.npz", &["--matrix", "csr"]),
        ("bsr.npz", &["--matrix", "bsr"]),
        ("a.safetensors", &[]),
    ] {
        let to = folder.join(name);
        let to = to.to_str().unwrap();
        let output = run(&[&["convert", from, to], flags].concat());
        assert_eq!(output.status.code(), Some(0), "{name}: {output:?}");
        assert_eq!(run(&["diff", from, to]).status.code(), Some(0), "{name}");
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn pictures_and_numbers() {
    let folder = folder("stats");
    let (svg, json) = (folder.join("m.svg"), folder.join("w.json"));
    let from = fixture("bsr.npz");
    let output = run(&[
        "show",
        from.to_str().unwrap(),
        "--width",
        "16",
        "--svg",
        svg.to_str().unwrap(),
    ]);
    assert_eq!(text(&output).lines().nth(7), Some("····███████·····"));
    assert!(fs::read_to_string(&svg).unwrap().starts_with("<svg"));
    let window = Layout::sliding_window(
        256,
        256,
        Window {
            left: Some(15),
            right: Some(0),
        },
    );
    fs::write(&json, window.to_json()).unwrap();
    let output = run(&[
        "stats",
        json.to_str().unwrap(),
        "--layers",
        "3",
        "--from",
        "100",
        "--to",
        "60",
        "--card",
        "a100-80g",
        "--format",
        "json",
    ]);
    let numbers: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(numbers["heads"][0]["visible_pairs"], 256 * 16 - 120);
    assert_eq!(numbers["receptive_field"][2]["tokens_max"], 46);
    assert_eq!(numbers["reach_layers"], 3);
    assert_eq!(numbers["tiles"], 7);
    let never = run(&[
        "stats",
        json.to_str().unwrap(),
        "--from",
        "60",
        "--to",
        "100",
    ]);
    assert!(text(&never).contains("query 60 can never know of token 100"));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn bad_files_are_refused_with_what_they_hold() {
    for (arguments, expected) in [
        (
            vec!["show", "tests/layouts/coo.npz"],
            "a scipy matrix of format \"coo\"",
        ),
        (
            vec!["show", "tests/layouts/make.py"],
            "a layout is .json, .npy, .npz or .safetensors",
        ),
        (
            vec!["stats", "tests/layouts/csr.npz", "--card", "gtx"],
            "no card is named \"gtx\"",
        ),
        (vec!["show", "tests/layouts/none.json"], "cannot read"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_flashproof"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .arg("layout")
            .args(&arguments)
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
}
