//! A made-up corpus, a toy encoder, and a results file that removes itself.

use std::path::PathBuf;

use flashproof::mlqa::{Corpus, Language, Pair, load};
use flashproof::study::{
    Embedded, Embedder, Plan, Results, RunOptions, Silent, Source, StudyError, Summary, run,
};
use serde_json::json;

/// Forty articles of one or two paragraphs; every language has the same words with its code in front, but topic words
/// are shared, which is what the toy encoder can match across languages.
pub(super) struct Made;

fn paragraph(language: &str, article: usize, paragraph: usize) -> (String, Vec<(String, String)>) {
    let topic = format!("topic{}", article * 2 + paragraph);
    let sentence = |index: usize| {
        let words: Vec<String> = (0..6)
            .map(|word| format!("{language}{}", (article * 7 + index * 3 + word) % 50))
            .collect();
        format!("The {topic}n{index} {} {topic}.", words.join(" "))
    };
    let sentences: Vec<String> = (0..8).map(sentence).collect();
    let asked = [(0, 1), (1, 6)];
    let questions = asked[..1 + article % 2]
        .iter()
        .map(|&(question, at)| {
            (
                format!("q{article}x{paragraph}x{question}"),
                format!("{topic}n{at}"),
            )
        })
        .collect();
    (sentences.join(" "), questions)
}

fn corpus(context: &str, question_language: &str) -> Corpus {
    let articles: Vec<serde_json::Value> = (0..40)
        .map(|article| {
            let paragraphs: Vec<serde_json::Value> = (0..1 + article % 2)
                .map(|index| {
                    let (text, questions) = paragraph(context, article, index);
                    let qas: Vec<serde_json::Value> = questions
                        .into_iter()
                        .map(|(id, answer)| {
                            let question = format!("{question_language}1 {question_language}2 about {answer} topic{}?", article * 2 + index);
                            json!({"id": id, "question": question,
                                   "answers": [{"text": answer, "answer_start": text.find(&answer).expect("the test made it so")}]})
                        })
                        .collect();
                    json!({"context": text, "qas": qas})
                })
                .collect();
            json!({"title": format!("Article {article}"), "paragraphs": paragraphs})
        })
        .collect();
    load(
        &format!("{context}-{question_language}"),
        &json!({"data": articles}).to_string(),
    )
    .expect("the test made it so")
}

impl Source for Made {
    fn pair(&self, pair: Pair) -> Result<Corpus, StudyError> {
        Ok(corpus(pair.context().code(), pair.question().code()))
    }

    fn distractors(&self, language: Language) -> Result<Corpus, StudyError> {
        let articles: Vec<serde_json::Value> = (0..30)
            .map(|article| {
                // One title that the corpus has too, written XQuAD's way: it must be left out.
                let title = if article == 0 { "Article_7".to_owned() } else { format!("Other {article}") };
                let sentence = |index: usize| format!("Noise{article}x{index} {language}1 {language}3 {language}5 falls.");
                let text: Vec<String> = (0..3 + article % 5).map(sentence).collect();
                let qas = json!([{"id": format!("d{article}"), "question": "?", "answers": [{"text": "Noise", "answer_start": 0}]}]);
                json!({"title": title, "paragraphs": [{"context": text.join(" "), "qas": qas}]})
            })
            .collect();
        Ok(load("distractors", &json!({"data": articles}).to_string())
            .expect("the test made it so"))
    }
}

/// Bag of hashed words, normalised. Arm `dense` reads all words, `half` every second one.
pub(super) struct Toy {
    pub(super) calls_left: usize,
}

pub(super) const ENDLESS: Toy = Toy {
    calls_left: usize::MAX,
};

fn bag<'a>(words: impl Iterator<Item = &'a str>) -> Vec<f32> {
    let mut vector = vec![0.0_f32; 64];
    for word in words {
        let word = word.trim_end_matches(['.', '?']);
        let hash = word.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        vector[usize::try_from(hash >> 58).expect("the test made it so")] +=
            if hash & 1 == 0 { 1.0 } else { -1.0 };
    }
    vector[0] += 0.01;
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    vector.iter().map(|x| x / length).collect()
}

impl Embedder for Toy {
    fn check_arm(&self, arm: &str) -> Result<(), String> {
        if ["dense", "half"].contains(&arm) {
            Ok(())
        } else {
            Err(format!("no arm '{arm}'; there are dense, half"))
        }
    }

    fn embed_documents(&mut self, texts: &[String], arm: &str) -> Result<Embedded, String> {
        self.calls_left = self.calls_left.checked_sub(1).ok_or("the toy is tired")?;
        let (step, density) = if arm == "dense" { (1, 1.0) } else { (2, 0.5) };
        let vectors = texts
            .iter()
            .map(|text| bag(text.split_whitespace().step_by(step)))
            .collect();
        Ok(Embedded {
            vectors,
            densities: vec![density; texts.len()],
        })
    }

    fn embed_queries(&mut self, texts: &[String]) -> Result<Vec<Vec<f32>>, String> {
        Ok(texts
            .iter()
            .map(|text| bag(text.split_whitespace()))
            .collect())
    }

    fn count_tokens(&mut self, text: &str) -> Result<usize, String> {
        Ok(text.split_whitespace().count())
    }
}

pub(super) const PLAN: &str = r#"
    model = "toy"
    pairs = ["de-en", "de-de", "en-de"]
    arms = ["dense", "half"]
    levels = [0, 0.5, 1]
    seeds = [0, 1]
    contexts_per_pair = 30
    total_tokens = 100
    gold_tokens = 24
"#;

pub(super) fn plan() -> Plan {
    Plan::from_toml(PLAN).expect("the test made it so")
}

/// A file of its own in the system's temporary folder, removed when dropped.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("flashproof-{}-{name}.jsonl", std::process::id()));
        let scratch = Self(path);
        scratch.remove();
        scratch
    }

    /// Where a run of this file may keep its vectors.
    pub(super) fn vectors(&self) -> PathBuf {
        self.0.with_extension("vectors")
    }

    fn remove(&self) {
        for path in [self.0.clone(), self.vectors()] {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.remove();
    }
}

pub(super) fn run_toy(plan: &Plan, scratch: &Scratch) -> Result<Summary, StudyError> {
    run_part(plan, scratch, &RunOptions::default())
}

pub(super) fn run_part(
    plan: &Plan,
    scratch: &Scratch,
    options: &RunOptions,
) -> Result<Summary, StudyError> {
    run(
        plan,
        &Made,
        &mut Toy { ..ENDLESS },
        &scratch.0,
        options,
        &mut Silent,
    )
}

/// Results without the one thing that differs between runs.
pub(super) fn timeless(scratch: &Scratch) -> Results {
    let mut results = Results::read(&scratch.0).expect("the test made it so");
    results
        .cells
        .values_mut()
        .for_each(|cell| cell.seconds = None);
    results
}
