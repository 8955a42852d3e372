//! The other tasks: sentences in a pool of languages, and folders of BEIR's shape.

use std::fs;
use std::path::{Path, PathBuf};

use super::toy::{ENDLESS, Made, Scratch, Toy};
use flashproof::mlqa::{Corpus, Language, Pair, load};
use flashproof::retrieval::{Denominator, Measure, Qrels, Run, evaluate};
use flashproof::study::{
    DataFolder, Metric, Plan, Results, RunOptions, Silent, Source, StudyError, Task, pair_scores,
    qrels_file, run, run_file,
};
use serde_json::json;

/// Parallel paragraphs of three sentences; question k of paragraph p is answered by sentence k.
struct Parallel;

const PARAGRAPHS: usize = 8;

impl Source for Parallel {
    fn pair(&self, pair: Pair) -> Result<Corpus, StudyError> {
        Made.pair(pair)
    }

    fn distractors(&self, language: Language) -> Result<Corpus, StudyError> {
        Made.distractors(language)
    }

    fn sentences(&self, task: Task, language: Language) -> Result<Corpus, StudyError> {
        assert_eq!(task, Task::XquadR);
        let paragraph = |p: usize| {
            let sentences: Vec<String> = (0..3)
                .map(|k| format!("{language}a{p} key{p}x{k} key{p}x{k} {language}b{k}."))
                .collect();
            let text = sentences.join(" ");
            let mut breaks = Vec::new();
            for sentence in &sentences {
                let start = text.find(sentence.as_str()).unwrap();
                breaks.push([start, start + sentence.len()]);
            }
            let qas: Vec<_> = (0..2)
                .map(|k| {
                    let answer = format!("key{p}x{k}");
                    json!({"id": format!("q{p}x{k}"), "question": format!("{language}q {answer}?"),
                           "answers": [{"text": answer, "answer_start": text.find(&answer).unwrap()}]})
                })
                .collect();
            json!({"context": text, "sentence_breaks": breaks, "qas": qas})
        };
        let articles: Vec<_> = (0..PARAGRAPHS / 2)
            .map(|a| json!({"title": format!("A{a}"), "paragraphs": [paragraph(2 * a), paragraph(2 * a + 1)]}))
            .collect();
        Ok(load("parallel", &json!({"data": articles}).to_string()).unwrap())
    }
}

#[test]
fn sentences_are_found_in_a_pool_of_languages() {
    let plan = Plan::from_toml(
        r#"
        model = "toy"
        task = "xquad-r"
        pool = ["de", "en", "el"]
        pairs = ["all-en", "all-el", "de-en", "en-en"]
        arms = ["dense", "half"]
        "#,
    )
    .unwrap();
    let run_on = |plan: &Plan, scratch: &Scratch| {
        run(
            plan,
            &Parallel,
            &mut Toy { ..ENDLESS },
            &scratch.0,
            &RunOptions::default(),
            &mut Silent,
        )
    };
    let scratch = Scratch::new("sentences");
    let summary = run_on(&plan, &scratch).unwrap();
    // Two arms, and three languages' sentences made once each although four pairs search them.
    assert_eq!(
        (summary.cells, summary.documents_embedded),
        (8, 2 * 3 * 3 * PARAGRAPHS)
    );
    let results = Results::read(&scratch.0).unwrap();
    let pooled = &results.judgements["all-en"];
    assert_eq!(pooled.documents, 3 * 3 * PARAGRAPHS);
    assert_eq!(
        pooled.query_ids.len(),
        2 * PARAGRAPHS * 3,
        "a positive a language"
    );
    assert_eq!(results.judgements["de-en"].query_ids.len(), 2 * PARAGRAPHS);
    let scores = pair_scores(&results);
    let of = |pair: &str| {
        let found = scores
            .iter()
            .find(|score| score.pair == pair && score.arm == "dense");
        Metric::Map.of(found.unwrap().scores)
    };
    assert!(
        of("de-en") > 0.4 && of("all-en") > 0.3,
        "{} {}",
        of("de-en"),
        of("all-en")
    );

    let few = Plan {
        contexts_per_pair: Some(3),
        noise: flashproof::study::Family::Characters,
        levels: vec![0.0, 0.2],
        ..plan.clone()
    };
    let scratch = Scratch::new("few-sentences");
    run_on(&few, &scratch).unwrap();
    let results = Results::read(&scratch.0).unwrap();
    let pooled = &results.judgements["all-en"];
    assert_eq!(
        pooled.documents,
        3 * 3 * 3,
        "the same three paragraphs in every language"
    );
    assert_eq!(pooled.query_ids.len(), 2 * 3 * 3);
    assert!(results.cells["pair=all-en seed=0 level=0.2 arm=dense"].achieved_noise > 0.1);
}

#[test]
fn plans_of_other_tasks_have_their_own_rules() {
    let base = "model = \"m\"\narms = [\"dense\"]\n";
    let parsed = |rest: &str| Plan::from_toml(&format!("{base}{rest}"));
    let seven = parsed("task = \"mlqa-r\"").unwrap();
    assert_eq!(
        (
            seven.pool.len(),
            seven.pairs[0].as_str(),
            seven.levels.as_slice()
        ),
        (7, "all-en", [0.0].as_slice())
    );
    assert_eq!(Plan::from_toml(&seven.to_toml().unwrap()).unwrap(), seven);
    for (rest, message) in [
        (
            "task = \"mlqa-r\"\npairs = [\"all-el\"]",
            "MLQA-R has no el",
        ),
        (
            "task = \"xquad-r\"\npairs = [\"en\"]",
            "'en' is not all-QUESTION",
        ),
        (
            "task = \"xquad-r\"\npairs = [\"xx-en\"]",
            "unknown language 'xx'",
        ),
        (
            "task = \"xquad-r\"\npool = [\"en\", \"en\"]\npairs = [\"all-en\"]",
            "pool has en twice",
        ),
        (
            "task = \"xquad-r\"\npool = []\npairs = [\"all-en\"]",
            "pool is empty",
        ),
        (
            "task = \"xquad-r\"\nnoise = \"distractor\"\nlevels = [0]\nseeds = [0]",
            "distractors and protected answers",
        ),
        ("task = \"beir\"", "folder is empty"),
        (
            "task = \"beir\"\nfolder = \"f\"\npairs = [\"de-en\"]",
            "a folder has one pair",
        ),
        (
            "task = \"beir\"\nfolder = \"f\"\nsplit = \"confirmation\"",
            "\"confirmation\" is for the registered run",
        ),
        (
            "task = \"beir\"\nfolder = \"f\"\ncontexts_per_pair = 9",
            "searched whole",
        ),
        ("task = \"clirudit\"", "unknown variant `clirudit`"),
        (
            "pairs = [\"de-en\"]\nlevels = [0]\nseeds = [0]\nfolder = \"f\"",
            "goes with task = \"beir\"",
        ),
        (
            "pairs = [\"de-en\"]\nlevels = [0]\nseeds = [0]\npool = [\"de\"]",
            "goes with task = \"mlqa-r\"",
        ),
    ] {
        let error = parsed(rest).expect_err("must be refused").to_string();
        assert!(error.contains(message), "{error}");
    }
}

/// A folder that removes itself.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("flashproof-{}-{name}", std::process::id()));
        fs::create_dir_all(path.join("qrels")).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Keyword queries to abstracts: the shape of `CLIRudit`.
fn made_folder() -> Folder {
    let folder = Folder::new("beir");
    let lines = |count: usize, line: &dyn Fn(usize) -> serde_json::Value| -> String {
        (0..count)
            .map(|index| format!("{}\n", line(index)))
            .collect()
    };
    folder.write(
        "corpus.jsonl",
        &lines(40, &|d| {
            json!({"_id": format!("d{d}"), "title": format!("Title {d}"),
                   "text": format!("topic{} topic{} word{d} common words here", d % 10, d % 7)})
        }),
    );
    folder.write(
        "queries.jsonl",
        &lines(
            12,
            &|q| json!({"_id": format!("q{q}"), "text": format!("topic{q}; common")}),
        ),
    );
    let mut qrels = String::from("query-id\tcorpus-id\tscore\n");
    for q in 0..10 {
        for d in (0..40).filter(|d| d % 10 == q || d % 7 == q) {
            qrels += &format!("q{q}\td{d}\t{}\n", 1 + i32::from(d % 10 == q && d % 7 == q));
        }
    }
    // Judged, but nothing is relevant to it.
    qrels += "q10\td3\t0\n";
    folder.write("qrels/test.tsv", &qrels);
    folder
}

fn run_folder(plan: &Plan, beside: &Path, scratch: &Scratch) -> Result<(), StudyError> {
    let source = DataFolder {
        root: PathBuf::from("/nowhere"),
        beside: beside.to_owned(),
    };
    let options = RunOptions {
        rankings: Some(beside.join("rankings")),
        ..RunOptions::default()
    };
    run(
        plan,
        &source,
        &mut Toy { ..ENDLESS },
        &scratch.0,
        &options,
        &mut Silent,
    )
    .map(drop)
}

#[test]
fn a_folder_is_a_task_and_its_scores_are_trec_evals() {
    let folder = made_folder();
    let plan = Plan::from_toml(
        "model = \"toy\"\ntask = \"beir\"\nfolder = \".\"\narms = [\"dense\", \"half\"]",
    )
    .unwrap();
    let scratch = Scratch::new("folder");
    run_folder(&plan, &folder.0, &scratch).unwrap();
    let results = Results::read(&scratch.0).unwrap();
    let judged = &results.judgements["all"];
    assert_eq!(judged.documents, 40);
    assert!(judged.grades.contains(&2) && judged.grades.contains(&0));
    let read = |path: PathBuf| fs::read_to_string(path).unwrap();
    let rankings = folder.0.join("rankings");
    let qrels = Qrels::parse("qrels", &read(qrels_file(&rankings, "all"))).unwrap();
    let measures: Vec<Measure> = ["map", "ndcg_cut_10", "recall_100"]
        .iter()
        .map(|name| name.parse().unwrap())
        .collect();
    for score in pair_scores(&results) {
        let key = format!("pair=all seed=0 level=0 arm={}", score.arm);
        let run = Run::parse("run", &read(run_file(&rankings, &key))).unwrap();
        let found = evaluate(&qrels, &run, &measures, Denominator::Judged);
        assert_eq!(found.queries.len(), 11);
        let ours = Metric::of_task(Task::Beir).map(|metric| metric.of(score.scores));
        for (ours, theirs) in ours.iter().zip(found.means.unwrap()) {
            assert!(
                (ours - theirs).abs() < 1e-9,
                "{}: {ours} {theirs}",
                score.arm
            );
        }
        assert!(ours[0] > 0.1 && ours[0] < 1.0, "{ours:?}");
    }
}

#[test]
fn folders_that_are_none_are_named() {
    let folder = made_folder();
    let plan =
        Plan::from_toml("model = \"toy\"\ntask = \"beir\"\nfolder = \".\"\narms = [\"dense\"]")
            .unwrap();
    let scratch = Scratch::new("no-folder");
    let message = |plan: &Plan| {
        run_folder(plan, &folder.0, &scratch)
            .unwrap_err()
            .to_string()
    };
    let elsewhere = Plan {
        folder: Some("absent".to_owned()),
        ..plan.clone()
    };
    let error = message(&elsewhere);
    assert!(
        error.contains("absent/corpus.jsonl") && error.contains("qrels/test.tsv"),
        "{error}"
    );
    let other = Plan {
        qrels: Some("dev".to_owned()),
        ..plan.clone()
    };
    assert!(message(&other).contains("qrels/dev.tsv"));
    folder.write("queries.jsonl", "{\"_id\": \"q0\", \"text\": \"\"}\n");
    assert!(message(&plan).contains("queries.jsonl:1: query 'q0' has an empty text"));
}
