//! `flashproof selftest`, run as a user runs it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("flashproof-selftest-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
    fn write(&self, name: &str, text: &str) -> &Self {
        std::fs::write(self.0.join(name), text).unwrap();
        self
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is left to the system's own cleaning.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn run(folder: &Path, more: &[&str]) -> (Option<i32>, String, String) {
    let output: Output = Command::new(env!("CARGO_BIN_EXE_flashproof"))
        .args(["selftest", "tensor-core"])
        .arg(folder)
        .args(more)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// 1.5 * 2 + 1 = 4, exact on every GPU.
const RIGHT: &str = "3fc00000 0 0 0 | 40000000 0 0 0 | 3f800000 | 40800000\n";
const WRONG: &str = "3fc00000 0 0 0 | 40000000 0 0 0 | 3f800000 | 40800001\n";

#[test]
fn matching_rows_of_any_gpu() {
    let folder = Folder::new("right");
    folder
        .write("v100_fp16_fp32.txt", RIGHT)
        .write("h100_tf32_fp32.txt", &RIGHT.repeat(3))
        .write("LICENCE", "words");
    let (code, out, err) = run(&folder.0, &[]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    let rows: Vec<Vec<&str>> = out
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert!(
        rows.contains(&vec!["h100_tf32_fp32.txt", "3", "0"]),
        "{out}"
    );
    assert!(rows.contains(&vec!["total", "4", "0"]), "{out}");
    let (code, out, _) = run(&folder.0, &["--format", "json"]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, json["rows"].as_u64(), json["mismatches"].as_u64()),
        (Some(0), Some(4), Some(0))
    );
    assert_eq!(json["files"][1]["file"], "v100_fp16_fp32.txt");
}

#[test]
fn a_mismatch_is_counted_and_shown() {
    let folder = Folder::new("wrong");
    folder.write("a100_tf32_fp32.txt", &format!("{RIGHT}{WRONG}"));
    let (code, out, _) = run(&folder.0, &[]);
    assert_eq!(code, Some(1));
    assert!(
        out.contains("line 2: 0x40800000, measured 0x40800001"),
        "{out}"
    );
}

#[test]
fn bad_files_name_file_line_and_what() {
    for (name, text, words) in [
        (
            "a100_tf32_fp32.txt",
            format!("{RIGHT}0 | 0 | 0\n"),
            "a100_tf32_fp32.txt:2: 3 fields",
        ),
        (
            "a100_fp16_fp32.txt",
            "zz | 0 | 0 | 0".to_owned(),
            "a100_fp16_fp32.txt:1: `zz`",
        ),
        (
            "k80_fp16_fp32.txt",
            RIGHT.to_owned(),
            "`k80_fp16_fp32` names no measurement",
        ),
    ] {
        let folder = Folder::new(&format!("bad-{name}"));
        folder.write(name, &text);
        let (code, out, err) = run(&folder.0, &[]);
        assert_eq!((code, out.as_str()), (Some(2), ""));
        assert!(err.contains(words), "{err}");
    }
    let (code, _, err) = run(Path::new("/nowhere/at/all"), &[]);
    assert_eq!(code, Some(2));
    assert!(err.contains("/nowhere/at/all"), "{err}");
}

#[test]
fn nothing_compared_is_no_agreement() {
    let folder = Folder::new("empty");
    folder.write("a100_fp16_fp32.txt", "\n");
    assert_eq!(run(&folder.0, &[]).0, Some(3));
    let folder = Folder::new("none");
    assert_eq!(run(&folder.0, &[]).0, Some(3));
}
