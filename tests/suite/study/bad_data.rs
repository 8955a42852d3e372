//! Data that the tasks besides MLQA's retrieval must refuse, and stored results that they must not mix with others.

use std::fs;
use std::path::PathBuf;

use super::toy::{ENDLESS, Made, Scratch, Toy, plan, run_toy};
use flashproof::mlqa::{Corpus, Language, Pair};
use flashproof::study::{
    DataFolder, Family, Plan, RunOptions, Silent, Source, StudyError, Summary, run,
};
use serde_json::{Value, json};

/// A data tree of its own, removed when dropped.
struct Tree(PathBuf);

impl Tree {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("flashproof-{}-{name}", std::process::id()));
        for folder in ["xquad-r", "made/qrels"] {
            fs::create_dir_all(path.join(folder)).unwrap();
        }
        Self(path)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).unwrap();
    }

    fn run(&self, plan: &Plan, scratch: &Scratch) -> Result<Summary, StudyError> {
        let source = DataFolder {
            root: self.0.clone(),
            beside: self.0.clone(),
        };
        let options = RunOptions::default();
        let mut toy = Toy { ..ENDLESS };
        run(plan, &source, &mut toy, &scratch.0, &options, &mut Silent)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Two paragraphs of two sentences with a question each.
fn sentences(change: impl Fn(&mut Value)) -> String {
    let paragraph = |p: usize| {
        let context = format!("First key{p} here. Then other{p}.");
        let answer = format!("key{p}");
        json!({"context": context, "sentence_breaks": [[0, 16], [17, 29]], "qas": [
            {"id": format!("q{p}"), "question": format!("where is {answer}?"),
             "answers": [{"text": answer, "answer_start": 6}]}]})
    };
    let mut file = json!({"data": [{"title": "T", "paragraphs": [paragraph(0), paragraph(1)]}]});
    change(&mut file);
    file.to_string()
}

#[test]
fn sentences_that_are_none_are_named() {
    let plan = Plan::from_toml(
        "model = \"toy\"\ntask = \"xquad-r\"\npool = [\"de\", \"en\"]\npairs = [\"all-en\"]\narms = [\"dense\"]",
    )
    .unwrap();
    let tree = Tree::new("sentences");
    let scratch = Scratch::new("bad-sentences");
    let message = || tree.run(&plan, &scratch).unwrap_err().to_string();
    tree.write("xquad-r/en.json", &sentences(|_| {}));
    let error = message();
    assert!(
        error.contains("xquad-r/de.json") && error.contains("`flashproof fetch xquad`"),
        "{error}"
    );
    let question = |file: &mut Value| file["data"][0]["paragraphs"][1]["qas"][0].take();
    let set = |file: &mut Value, key: &str, value: Value| {
        file["data"][0]["paragraphs"][1]["qas"][0][key] = value;
    };
    for (file, want) in [
        (
            sentences(|file| set(file, "id", json!("q0"))),
            "qas[0].id = 'q0' is the id of an earlier question",
        ),
        (
            sentences(|file| set(file, "answers", json!([]))),
            "qas[0].answers[0] is missing",
        ),
        (
            sentences(|file| drop(question(file))),
            "data[0].paragraphs[1].qas[0]",
        ),
        (
            sentences(|file| {
                file["data"][0]["paragraphs"][0]["sentence_breaks"] = json!([[0, 99]])
            }),
            "sentence_breaks[0] = [0, 99]",
        ),
    ] {
        tree.write("xquad-r/de.json", &file);
        let error = message();
        assert!(
            error.contains("xquad-r/de.json") && error.contains(want),
            "{error} for {want}"
        );
    }
    tree.write("xquad-r/de.json", &sentences(|_| {}));
    assert_eq!(tree.run(&plan, &scratch).unwrap().cells, 1);
    // Nothing was stored before the data was whole, and what is stored is of these sentences.
    tree.write(
        "xquad-r/de.json",
        &sentences(|file| {
            let context = json!("First key0 here. Then otter0.");
            file["data"][0]["paragraphs"][0]["context"] = context;
        }),
    );
    let error = message();
    assert!(error.contains("pair all-en has other documents"), "{error}");
    // The same for a question whose text changed under its id.
    tree.write("xquad-r/de.json", &sentences(|_| {}));
    tree.write(
        "xquad-r/en.json",
        &sentences(|file| set(file, "question", json!("where else is key1?"))),
    );
    let error = message();
    assert!(error.contains("pair all-en has other questions"), "{error}");
    // Results from before texts were kept are taken at their word.
    let stored = fs::read_to_string(&scratch.0).unwrap();
    let start = stored.find(",\"questions_sha256\"").unwrap();
    let length = ",\"questions_sha256\":\"\"".len() + 64;
    let before = format!("{}{}", &stored[..start], &stored[start + length..]);
    fs::write(&scratch.0, before).unwrap();
    assert_eq!(tree.run(&plan, &scratch).unwrap().cells_made, 0);
}

#[test]
fn a_folder_that_changed_is_not_mixed_with_its_results() {
    let tree = Tree::new("folder-changed");
    let corpus =
        "{\"_id\": \"d1\", \"text\": \"fox runs\"}\n{\"_id\": \"d2\", \"text\": \"whale swims\"}\n";
    let queries = "{\"_id\": \"q1\", \"text\": \"fox\"}\n{\"_id\": \"q2\", \"text\": \"whale\"}\n";
    tree.write("made/corpus.jsonl", corpus);
    tree.write("made/queries.jsonl", queries);
    tree.write("made/qrels/test.tsv", "q1\td1\t1\nq2\td2\t1\n");
    let plan =
        Plan::from_toml("model = \"toy\"\ntask = \"beir\"\nfolder = \"made\"\narms = [\"dense\"]")
            .unwrap();
    let scratch = Scratch::new("folder-changed");
    tree.run(&plan, &scratch).unwrap();
    assert_eq!(tree.run(&plan, &scratch).unwrap().cells_made, 0);
    for (file, text, original, want) in [
        (
            "made/corpus.jsonl",
            corpus.replace("runs", "sleeps"),
            corpus,
            "pair all has other documents",
        ),
        (
            "made/queries.jsonl",
            queries.replace("fox", "red fox"),
            queries,
            "pair all has other questions",
        ),
    ] {
        tree.write(file, &text);
        let error = tree.run(&plan, &scratch).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
        tree.write(file, original);
    }
    let fewer = Plan {
        queries_per_pair: Some(1),
        ..plan
    };
    let error = tree.run(&fewer, &scratch).unwrap_err().to_string();
    assert!(error.contains("queries_per_pair: 1, not all"), "{error}");
}

/// The made-up corpus with distractors of the test's own.
struct With(Vec<&'static str>);

impl Source for With {
    fn pair(&self, pair: Pair) -> Result<Corpus, StudyError> {
        Made.pair(pair)
    }

    fn distractors(&self, language: Language) -> Result<Corpus, StudyError> {
        let mut corpus = Made.distractors(language)?;
        corpus.articles.truncate(self.0.len());
        for (article, text) in corpus.articles.iter_mut().zip(&self.0) {
            article.title = "Elsewhere".to_owned();
            article.paragraphs.truncate(1);
            article.paragraphs[0].context = (*text).to_owned();
        }
        Ok(corpus)
    }
}

#[test]
fn hard_distractors_need_a_pool_without_the_answers() {
    let hard = Plan {
        noise: Family::HardDistractor,
        pairs: vec!["de-en".to_owned()],
        ..plan()
    };
    let answers: String = (0..80)
        .flat_map(|topic| [1, 6].map(|at| format!("topic{topic}n{at} ")))
        .collect();
    let spoilt: &'static str = Box::leak(format!("All of {answers}here.").into_boxed_str());
    for (pool, want) in [
        (vec![], "the pool of distractors is empty"),
        (vec![spoilt], "every sentence of every distractor holds one"),
    ] {
        let scratch = Scratch::new("hard-pool");
        let (source, options) = (With(pool), RunOptions::default());
        let mut toy = Toy { ..ENDLESS };
        let found = run(&hard, &source, &mut toy, &scratch.0, &options, &mut Silent);
        let error = found.unwrap_err().to_string();
        assert!(
            error.starts_with("noise in de: ") && error.contains(want),
            "{error}"
        );
    }
}

#[test]
fn a_plan_of_other_noise_is_not_mixed_with_stored_results() {
    let scratch = Scratch::new("other-noise");
    run_toy(&plan(), &scratch).unwrap();
    for (other, want) in [
        (
            Plan {
                noise: Family::HardDistractor,
                ..plan()
            },
            "noise: \"hard-distractor\", not \"distractor\"",
        ),
        (
            Plan {
                length: flashproof::noise::Length::Growing,
                ..plan()
            },
            "length: \"growing\", not",
        ),
    ] {
        let error = run_toy(&other, &scratch).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    }
}
