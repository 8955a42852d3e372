//! `flashproof read` and `flashproof bitext` as commands: a tiny reader's answers scored, and what is refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

/// A folder with files, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let path =
            std::env::temp_dir().join(format!("flashproof-{}-tasks-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        for (name, text) in files {
            fs::write(path.join(name), text).unwrap();
        }
        Self(path)
    }

    /// Exit code, output and errors of the program in this folder, without data or network.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_flashproof"))
            .args(arguments)
            .current_dir(&self.0)
            .env("FLASHPROOF_DATA", "/nonexistent/flashproof")
            .env("XDG_CACHE_HOME", "/nonexistent/cache")
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code().unwrap(),
            text(output.stdout),
            text(output.stderr),
        )
    }

    fn read(&self, name: &str) -> Value {
        serde_json::from_str(&fs::read_to_string(self.0.join(name)).unwrap()).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn checkpoint(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints");
    folder.join(name).to_str().unwrap().to_owned()
}

/// What transformers' best spans are, as a data set whose answers they are.
fn as_dataset(model: &str) -> (String, Vec<String>) {
    let path = format!("{model}/expected.json");
    let expected: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let context = expected["context"].as_str().unwrap();
    let mut answers = Vec::new();
    let mut asked = Vec::new();
    for (index, question) in expected["questions"].as_array().unwrap().iter().enumerate() {
        let answer = question["answers"][0]["text"].as_str().unwrap();
        answers.push(answer.to_owned());
        asked.push(
            json!({"id": format!("q{index}"), "question": question["question"],
            "answers": [{"text": answer, "answer_start": context.find(answer).unwrap()}]}),
        );
    }
    let data = json!([{"title": "T", "paragraphs": [{"context": context, "qas": asked}]}]);
    (json!({"version": "1.0", "data": data}).to_string(), answers)
}

#[test]
fn a_reader_answers_as_transformers_and_is_scored() {
    for name in ["bert-qa", "xlmr-qa"] {
        let model = checkpoint(name);
        let (dataset, answers) = as_dataset(&model);
        let folder = Folder::new(name, &[("data.json", &dataset)]);
        // The windows and spans that the checkpoint's outputs were made with.
        let windows = ["--max-tokens", "32", "--doc-stride", "8"];
        let read = |windows: &[&str], more: &[&str]| {
            let usual = ["read", "data.json", "--model", &model];
            let answers = ["--answer-tokens", "6"];
            folder.run(&[&usual, windows, &answers, more].concat())
        };
        let (code, out, err) = read(&windows, &["--nbest", "nbest.json"]);
        assert_eq!(
            (code, out.as_str()),
            (0, "predictions.json: answers to 3 questions under dense\n"),
            "{err}"
        );
        let predictions = folder.read("predictions.json");
        let best = folder.read("nbest.json");
        for (index, answer) in answers.iter().enumerate() {
            let id = format!("q{index}");
            assert_eq!(predictions[&id], answer.as_str());
            assert_eq!(best[&id][0]["text"], answer.as_str());
            assert_eq!(best[&id].as_array().unwrap().len(), 20);
        }
        let (code, out, err) =
            folder.run(&["score", "mlqa", "data.json", "predictions.json", "en"]);
        assert_eq!(code, 0, "{err}");
        assert_eq!(out.trim(), "{\"exact_match\": 100.0, \"f1\": 100.0}");

        let (code, _, err) = read(
            &windows,
            &["--limit", "1", "--arm", "window:0.3", "--out", "one.json"],
        );
        assert_eq!(code, 0, "{err}");
        assert_eq!(folder.read("one.json").as_object().unwrap().len(), 1);
        for (windows, more, want) in [
            (&windows[..], &["--arm", "magic"][..], "magic"),
            (
                &["--max-tokens", "999"],
                &[],
                "max_tokens = 999, expected 1 to 48",
            ),
            // The question leaves less room than two windows share.
            (
                &["--max-tokens", "16", "--doc-stride", "15"],
                &[],
                "question q0: ",
            ),
        ] {
            let (code, out, err) = read(windows, more);
            assert_eq!((code, out.as_str()), (2, ""), "{err}");
            assert!(err.starts_with("error: ") && err.contains(want), "{err}");
        }
    }
}

#[test]
fn readers_name_what_is_missing() {
    let (dataset, _) = as_dataset(&checkpoint("bert-qa"));
    let unanswered = dataset.replacen("\"answers\":[{", "\"answers\":[],\"not\":[{", 1);
    let twice = dataset.replace("\"q1\"", "\"q0\"");
    let folder = Folder::new(
        "missing",
        &[
            ("data.json", dataset.as_str()),
            ("unanswered.json", &unanswered),
            ("twice.json", &twice),
            ("config.json", "{}"),
        ],
    );
    let model = checkpoint("bert-qa");
    let headless = checkpoint("xlmr-long");
    for (data, model, want) in [
        ("absent.json", model.as_str(), "absent.json"),
        ("unanswered.json", &model, "answers[0] is missing"),
        (
            "twice.json",
            &model,
            "'q0' is the id of an earlier question",
        ),
        ("data.json", ".", "cannot read ./model.safetensors"),
        ("data.json", &headless, "qa_outputs.weight"),
    ] {
        let (code, out, err) = folder.run(&["read", data, "--model", model]);
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        assert!(err.starts_with("error: ") && err.contains(want), "{err}");
        assert!(!folder.0.join("predictions.json").exists());
    }
}

#[test]
fn bitexts_that_cannot_be_mined_are_named() {
    let folder = Folder::new(
        "bitext",
        &[
            ("de", "eins\nzwei\n"),
            ("en", "one\n"),
            ("gap", "one\n\ntwo\n"),
            ("empty", ""),
        ],
    );
    for (arguments, want) in [
        (&["mine", "de", "absent"][..], "absent"),
        (&["mine", "de", "gap"], "gap:2: an empty line"),
        (&["mine", "empty", "en"], "empty: no sentence in it"),
        (
            &["mine", "de", "en", "--aligned"],
            "--aligned: de has 2 lines, en has 1",
        ),
        (
            &["mine", "de", "en", "--margin", "cosine"],
            "unknown margin 'cosine'",
        ),
        (
            &["mine", "de", "en", "--retrieval", "both"],
            "unknown direction 'both'",
        ),
        (
            &["mine", "de", "en", "--neighbours", "0"],
            "--neighbours 0: want at least 1",
        ),
        // Everything is in order but the model, and MLQA, are not here: how to get them.
        (&["mine", "de", "en"], "flashproof fetch model"),
        (&["mlqa"], "flashproof fetch mlqa"),
    ] {
        let (code, out, err) = folder.run(&[&["bitext"], arguments].concat());
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        assert!(err.starts_with("error: ") && err.contains(want), "{err}");
    }
}
