//! `flashproof score` against the official programs: their values where `FLASHPROOF_DATA` holds them, small files
//! worked by hand everywhere.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use flashproof::mlqa::AnswerMetric;
use flashproof::retrieval::{Denominator, Measure, Qrels, Run, evaluate};
use serde_json::{Value, json};

/// A fixture, or a counted line that says it was skipped.
#[expect(
    clippy::print_stdout,
    reason = "what a run skipped is part of its report"
)]
fn fixture(name: &str) -> Option<Value> {
    let path = std::env::var_os("FLASHPROOF_DATA")
        .map(|folder| PathBuf::from(folder).join("fixtures").join(name))
        .filter(|path| path.is_file());
    let Some(path) = path else {
        println!("skipped 1: {name} (FLASHPROOF_DATA names no folder that holds fixtures/{name})");
        return None;
    };
    Some(serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap())
}

#[test]
fn answers_score_as_the_official_script_scores_them() {
    let Some(fixture) = fixture("mlqa_metric_cases.json") else {
        return;
    };
    let cases = fixture["cases"].as_array().unwrap();
    for case in cases {
        let text = |field: &str| case[field].as_str().unwrap();
        let metric = AnswerMetric::new(text("lang").parse().unwrap()).unwrap();
        let golds: Vec<&str> = case["gold"]
            .as_array()
            .unwrap()
            .iter()
            .map(|gold| gold.as_str().unwrap())
            .collect();
        let prediction = text("pred");
        assert_eq!(metric.normal_form(prediction), text("norm_pred"), "{case}");
        assert_eq!(metric.normal_form(golds[0]), text("norm_gold"), "{case}");
        let exact = golds
            .iter()
            .any(|gold| metric.is_exact_match(prediction, gold));
        assert_eq!(u64::from(exact), case["em"].as_u64().unwrap(), "{case}");
        let f1 = golds
            .iter()
            .map(|gold| metric.f1(prediction, gold))
            .fold(0.0, f64::max);
        assert!(
            (f1 - case["f1"].as_f64().unwrap()).abs() <= 1e-12,
            "{case}: {f1}"
        );
    }
    println!("{} cases equal the official script's", cases.len());
    assert!(cases.len() >= 1211, "only {} cases", cases.len());
}

#[test]
fn rankings_score_as_trec_eval_scores_them() {
    let Some(fixture) = fixture("trec_cases.json") else {
        return;
    };
    let (mut qrels, mut run) = (Qrels::default(), Run::new("fixture").unwrap());
    for (query, documents) in fixture["qrels"].as_object().unwrap() {
        for (document, grade) in documents.as_object().unwrap() {
            let grade = i32::try_from(grade.as_i64().unwrap()).unwrap();
            qrels.insert(query, document, grade).unwrap();
        }
    }
    for (query, documents) in fixture["run"].as_object().unwrap() {
        for (document, score) in documents.as_object().unwrap() {
            run.insert(query, document, score.as_f64().unwrap())
                .unwrap();
        }
    }
    // Through the files' text, so that writing and reading lose nothing either.
    let qrels = Qrels::parse("qrels", &qrels.to_string()).unwrap();
    let run = Run::parse("run", &run.to_string()).unwrap();

    let expected = fixture["expected"].as_object().unwrap();
    let names: Vec<&String> = expected
        .values()
        .next()
        .unwrap()
        .as_object()
        .unwrap()
        .keys()
        .collect();
    let measures: Vec<Measure> = names.iter().map(|name| name.parse().unwrap()).collect();
    let ours = evaluate(&qrels, &run, &measures, Denominator::Retrieved);
    assert_eq!(ours.queries.len(), expected.len());
    assert_eq!(
        ours.missing.len(),
        fixture["qrels"].as_object().unwrap().len() - expected.len()
    );
    for (query, values) in &ours.queries {
        for (name, value) in names.iter().zip(values) {
            let want = expected[query][name.as_str()].as_f64().unwrap();
            assert!(
                (value - want).abs() <= 1e-6,
                "{query} {name}: {value}, trec_eval {want}"
            );
        }
    }
    println!(
        "{} queries, {} measures equal trec_eval's; {} queries are not in the run",
        expected.len(),
        names.len(),
        ours.missing.len()
    );
    assert!(expected.len() >= 188 && names.len() >= 17);
}

/// A folder of files, removed at the end.
struct Files(PathBuf);

impl Files {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let folder =
            std::env::temp_dir().join(format!("flashproof-score-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for (file, text) in files {
            fs::write(folder.join(file), text).unwrap();
        }
        Self(folder)
    }

    /// Exit code, standard output, standard error of `flashproof score ..` in the folder.
    fn score(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_flashproof"))
            .arg("score")
            .args(arguments)
            .current_dir(&self.0)
            .output()
            .unwrap();
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const DATASET: &str = r#"{"version": "1.0", "data": [{"title": "T", "paragraphs": [{"context": "The cat sat. Then it ran.", "qas": [
    {"id": "a", "question": "Who?", "answers": [{"text": "The cat", "answer_start": 0}]},
    {"id": "b", "question": "What?", "answers": [{"text": "cat sat", "answer_start": 4}]},
    {"id": "c", "question": "Then?", "answers": [{"text": "it ran", "answer_start": 18}]}]}]}]}"#;

#[test]
fn answers_are_printed_as_the_script_prints_them() {
    let files = Files::new(
        "mlqa",
        &[
            ("d.json", DATASET),
            ("p.json", r#"{"a": "a cat!", "b": "the cat", "stray": ""}"#),
            ("old.json", &DATASET.replace("\"1.0\"", "\"0.9\"")),
            ("all.json", r#"{"a": "cat", "b": "cat sat", "c": "it ran"}"#),
            ("list.json", "[]"),
        ],
    );
    // Exact 1, 0, 0; F1 1, 2/3, 0: means 1/3 and 5/9. The same objects under Python print these digits.
    assert_eq!(
        files.score(&["mlqa", "d.json", "p.json", "en"]),
        (
            0,
            "{\"exact_match\": 33.333333333333336, \"f1\": 55.55555555555555}\n".to_owned(),
            "Unanswered question c will receive score 0.\n\
             note: 1 of 3 predictions are for no question of d.json\n"
                .to_owned()
        )
    );
    assert_eq!(
        files.score(&["mlqa", "old.json", "all.json", "en"]),
        (
            0,
            "{\"exact_match\": 100.0, \"f1\": 100.0}\n".to_owned(),
            "Evaluation expects v-1.0, but got dataset with v-0.9\n".to_owned()
        )
    );
    for (arguments, want) in [
        (["d.json", "p.json", "xx"], "unknown language 'xx'"),
        (["d.json", "p.json", "ru"], "does not know ru"),
        (["none.json", "p.json", "en"], "cannot read none.json"),
        (
            ["d.json", "list.json", "en"],
            "list.json: the file is [], want an object",
        ),
        (["p.json", "p.json", "en"], "p.json: data is missing"),
    ] {
        let (code, out, err) = files.score(&[&["mlqa"], &arguments[..]].concat());
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        assert!(err.starts_with("error: ") && err.contains(want), "{err}");
    }
}

#[test]
fn rankings_are_printed_in_three_columns() {
    let files = Files::new(
        "trec",
        &[
            ("qrels", "q1 0 d9 1\nq1 0 d10 0\nq2 0 d1 2\nq3 0 d1 1\n"),
            (
                "run",
                "q1 Q0 d10 1 0.5 t\nq1 Q0 d9 2 0.5 t\nq2 Q0 d2 1 9 t\nq2 Q0 d1 2 8 t\n",
            ),
            ("bad", "q1 Q0 d10 1 0.5\n"),
            ("other", "q7 Q0 d1 1 1 t\n"),
        ],
    );
    let (code, out, err) = files.score(&[
        "trec",
        "qrels",
        "run",
        "--measures",
        "map,P_5",
        "--per-query",
    ]);
    assert_eq!(
        out,
        "map                   \tq1\t1.0000\nP_5                   \tq1\t0.2000\n\
         map                   \tq2\t0.5000\nP_5                   \tq2\t0.2000\n\
         map                   \tall\t0.7500\nP_5                   \tall\t0.2000\n"
    );
    assert_eq!(
        (code, err.as_str()),
        (
            0,
            "note: 1 judged queries are not in run and are left out (`--complete` counts them 0); averages are over 2\n"
        )
    );
    let (code, out, err) =
        files.score(&["trec", "qrels", "run", "--measures", "map", "--complete"]);
    assert_eq!(
        (code, out.as_str()),
        (0, "map                   \tall\t0.5000\n")
    );
    assert_eq!(
        err,
        "note: 1 judged queries are not in run and count 0; averages are over 3\n"
    );

    for (arguments, want) in [
        (&["trec", "qrels", "bad"][..], "bad:1: 5 fields, want 6"),
        (&["trec", "run", "run"], "run:1: 6 fields, want 4"),
        (&["trec", "qrels", "gone"], "cannot read gone"),
        (
            &["trec", "qrels", "run", "--measures", "mrr"],
            "unknown measure 'mrr'",
        ),
    ] {
        let (code, out, err) = files.score(arguments);
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        assert!(err.starts_with("error: ") && err.contains(want), "{err}");
    }
    let (code, out, err) = files.score(&["trec", "qrels", "other"]);
    assert_eq!((code, out.as_str()), (3, ""), "{err}");
    assert!(err.contains("nothing was compared"), "{err}");
}

#[test]
fn mtebs_files_come_in_and_go_out() {
    let files = Files::new(
        "mteb",
        &[
            ("qrels", "q1 0 d9 1\nq2 0 d1 1\n"),
            (
                "predictions.json",
                r#"{"deu-eng": {"test": {"q1": {"d10": 0.5, "d9": 0.5}, "q2": {"d2": 9, "d1": 8}}}}"#,
            ),
            ("bad.json", r#"{"deu-eng": {"test": {"q1": ["d10"]}}}"#),
        ],
    );
    let (code, out, err) = files.score(&[
        "trec",
        "qrels",
        "predictions.json",
        "--measures",
        "ndcg_cut_10,map",
        "--to-run",
        "run",
        "--to-predictions",
        "again.json",
        "--subset",
        "deu-eng",
        "--to-result",
        "result.json",
        "--task-name",
        "MLQARetrieval",
        "--languages",
        "deu-Latn,eng-Latn",
    ]);
    assert_eq!((code, err.as_str()), (0, ""));
    let result: Value =
        serde_json::from_slice(&fs::read(files.0.join("result.json")).unwrap()).unwrap();
    assert_eq!(
        result["scores"]["test"][0]["languages"],
        json!(["deu-Latn", "eng-Latn"])
    );
    assert!(
        out.starts_with("ndcg_cut_10           \tall\t0.8155\n"),
        "{out}"
    );
    for run in ["run", "again.json"] {
        let (code, again, _) =
            files.score(&["trec", "qrels", run, "--measures", "ndcg_cut_10,map"]);
        assert_eq!((code, &again), (0, &out), "{run}");
    }
    let (code, out, err) = files.score(&["mteb", "result.json"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(
        out.starts_with("MLQARetrieval (revision unknown, flashproof ") && out.contains("81.55"),
        "{out}"
    );
    for (arguments, want) in [
        (
            &["trec", "qrels", "bad.json"][..],
            "bad.json: subset 'deu-eng': ",
        ),
        (
            &["trec", "qrels", "predictions.json", "--split", "dev"],
            "0 subsets and splits fit",
        ),
        (
            &["mteb", "predictions.json"],
            "missing field `dataset_revision`",
        ),
    ] {
        let (code, out, err) = files.score(arguments);
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        assert!(err.starts_with("error: ") && err.contains(want), "{err}");
    }
}
