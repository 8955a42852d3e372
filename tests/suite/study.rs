//! Studies end to end: a made-up corpus and a toy encoder; the real data where `FLASHPROOF_DATA` names it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use flashproof::mlqa::{
    Articles, Corpus, DEV_QUESTION_COUNTS, Half, Language, Pair, half_of, load,
};
use flashproof::noise::{Distractor, DistractorPool, DistractorShare, Level, Passage, sentences};
use flashproof::retrieval::{rank, scores};
use flashproof::stats::BandOptions;
use flashproof::study::{
    DataFolder, Embedded, Embedder, Event, Family, Metric, Plan, Progress, Results, ResultsError,
    Silent, Source, Split, StudyError, csv, curves, differences, pair_scores, run,
};
use serde_json::json;

/// Forty articles of one or two paragraphs; every language has the same words with its code in front, but topic words
/// are shared, which is what the toy encoder can match across languages.
struct Made;

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
                                   "answers": [{"text": answer, "answer_start": text.find(&answer).unwrap()}]})
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
    .unwrap()
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
        Ok(load("distractors", &json!({"data": articles}).to_string()).unwrap())
    }
}

/// Bag of hashed words, normalised. Arm `dense` reads all words, `half` every second one.
struct Toy {
    calls_left: usize,
}

const ENDLESS: Toy = Toy {
    calls_left: usize::MAX,
};

fn bag<'a>(words: impl Iterator<Item = &'a str>) -> Vec<f32> {
    let mut vector = vec![0.0_f32; 64];
    for word in words {
        let word = word.trim_end_matches(['.', '?']);
        let hash = word.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        vector[usize::try_from(hash >> 58).unwrap()] += if hash & 1 == 0 { 1.0 } else { -1.0 };
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

fn plan() -> Plan {
    let plan = Plan::from_toml(
        r#"
        model = "toy"
        pairs = ["de-en", "de-de", "en-de"]
        arms = ["dense", "half"]
        levels = [0, 0.5, 1]
        seeds = [0, 1]
        contexts_per_pair = 30
        total_tokens = 100
        gold_tokens = 24
        "#,
    );
    plan.unwrap()
}

/// A file of its own in the system's temporary folder, removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("flashproof-{}-{name}.jsonl", std::process::id()));
        let _ = std::fs::remove_file(&path);
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn run_toy(plan: &Plan, scratch: &Scratch) -> Result<flashproof::study::Summary, StudyError> {
    run(plan, &Made, &mut Toy { ..ENDLESS }, &scratch.0, &mut Silent)
}

/// Results without the one thing that differs between runs.
fn timeless(scratch: &Scratch) -> Results {
    let mut results = Results::read(&scratch.0).unwrap();
    results
        .cells
        .values_mut()
        .for_each(|cell| cell.seconds = 0.0);
    results
}

#[derive(Default)]
struct Told {
    events: Vec<String>,
    estimates: usize,
    cells: usize,
}

impl Progress for Told {
    fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Estimate {
                texts,
                texts_per_second,
                seconds,
                ..
            } => {
                assert!(
                    (f64::from(u32::try_from(*texts).unwrap()) / texts_per_second / seconds - 1.0)
                        .abs()
                        < 1e-6
                );
                self.estimates += 1;
            }
            Event::Cell { done, total, .. } => {
                self.cells += 1;
                assert!(done <= total);
            }
            Event::Texts { done, total } => assert!(done <= total),
            Event::Cut { .. } | Event::Planned { .. } | Event::Composed { .. } => {}
        }
        self.events.push(format!("{event:?}"));
    }
}

#[test]
fn a_study_runs_and_noise_costs_accuracy() {
    let (plan, scratch) = (plan(), Scratch::new("runs"));
    let mut told = Told::default();
    let summary = run(&plan, &Made, &mut Toy { ..ENDLESS }, &scratch.0, &mut told).unwrap();
    assert_eq!((summary.cells, summary.cells_made), (36, 36));
    // de-en and de-de share contexts and crops; seeds share the clean documents whose crop has the same place.
    let texts = 2 * 2 * 2 * 3 * 30;
    let embedded = summary.documents_embedded;
    assert!(
        embedded < texts && embedded > texts * 9 / 10,
        "{embedded} of languages x seeds x arms x levels x contexts"
    );
    assert_eq!((told.estimates, told.cells), (1, 36));
    assert!(
        told.events
            .iter()
            .any(|event| event.contains("distractors_left_out: 2")),
        "one article in two languages"
    );

    let results = Results::read(&scratch.0).unwrap();
    for judgements in results.judgements.values() {
        assert_eq!(judgements.documents, 30);
        assert!(judgements.query_ids.len() >= 10);
        for id in &judgements.query_ids {
            let article = id[1..].split('x').next().unwrap();
            assert_eq!(
                half_of(&format!("Article {article}")),
                Half::Exploration,
                "{id}"
            );
        }
    }
    let options = BandOptions {
        resamples: 500,
        ..BandOptions::default()
    };
    let all = curves(&results, Metric::NdcgAt10, &options).unwrap();
    assert_eq!((all.curves.len(), all.missing_cells), (2, 0));
    for curve in &all.curves {
        let [clean, middle, full] = curve.points.as_slice() else {
            panic!("three levels: {curve:?}")
        };
        assert!(
            clean.achieved.abs() < 1e-12
                && middle.achieved > 0.2
                && full.achieved > middle.achieved
        );
        for point in &curve.points {
            assert!(
                point.low <= point.mean && point.mean <= point.high && point.low < point.high,
                "{point:?}"
            );
            assert!(
                (point.mean_tokens - clean.mean_tokens).abs() < 1.0,
                "length does not depend on the level"
            );
            assert_eq!((point.pair_count, point.seed_count), (3, 2));
            assert!(point.cluster_count < point.query_count);
        }
    }
    let dense = &all.curves[0].points;
    assert!(
        dense[0].mean > 0.5 && dense[0].mean > dense[2].mean + 0.05,
        "noise costs: {dense:?}"
    );
    assert!((all.curves[0].points[0].realised_density - 1.0).abs() < 1e-12);
    assert!((all.curves[1].points[0].realised_density - 0.5).abs() < 1e-12);
    let paired = differences(&results, "dense", Metric::NdcgAt10, &options).unwrap();
    let [difference] = paired.curves.as_slice() else {
        panic!("one arm besides dense")
    };
    assert_eq!(
        (difference.arm.as_str(), difference.baseline.as_deref()),
        ("half", Some("dense"))
    );
    for (point, (dense, half)) in difference
        .points
        .iter()
        .zip(all.curves[0].points.iter().zip(&all.curves[1].points))
    {
        assert!((point.mean - (half.mean - dense.mean)).abs() < 1e-12);
    }
    let text = csv(&paired.curves);
    assert_eq!(text.lines().count(), 4);
    assert!(
        text.lines()
            .nth(1)
            .unwrap()
            .starts_with("half,dense,ndcg_at_10,0,0.000000,"),
        "{text}"
    );
    assert_eq!(pair_scores(&results).len(), 3 * 3 * 2);
}

#[test]
fn a_killed_run_goes_on_from_any_byte() {
    let plan = Plan {
        pairs: vec!["de-en".into(), "en-de".into()],
        seeds: vec![3],
        levels: vec![0.0, 1.0],
        ..plan()
    };
    let whole = Scratch::new("whole");
    run_toy(&plan, &whole).unwrap();
    let (bytes, results) = (std::fs::read(&whole.0).unwrap(), timeless(&whole));
    let header = bytes.iter().position(|&byte| byte == b'\n').unwrap();
    let cut = Scratch::new("cut");
    let mut cut_somewhere = 0;
    for length in (0..bytes.len()).step_by(bytes.len() / 23).chain([
        1,
        header - 1,
        header,
        header + 1,
        bytes.len() - 1,
    ]) {
        std::fs::write(&cut.0, &bytes[..length]).unwrap();
        let kept = bytes[..length]
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1);
        let summary = run_toy(&plan, &cut).unwrap();
        assert_eq!(
            summary.cut_bytes,
            u64::try_from(length - kept).unwrap(),
            "cut at {length}"
        );
        cut_somewhere += usize::from(summary.cut_bytes > 0);
        assert_eq!(timeless(&cut), results, "cut at {length}");
    }
    assert!(cut_somewhere > 20);
    let again = run_toy(&plan, &whole).unwrap();
    assert_eq!(
        (again.cells_made, again.documents_embedded),
        (0, 0),
        "nothing is made twice"
    );
    assert_eq!(std::fs::read(&whole.0).unwrap(), bytes, "nor written");
}

#[test]
fn a_failing_encoder_keeps_what_is_done() {
    let (plan, scratch) = (plan(), Scratch::new("fails"));
    let error = run(
        &plan,
        &Made,
        &mut Toy { calls_left: 20 },
        &scratch.0,
        &mut Silent,
    )
    .unwrap_err();
    assert!(error.to_string().contains("the toy is tired"), "{error}");
    let done = Results::read(&scratch.0).unwrap();
    assert!(!done.cells.is_empty() && done.cells.len() < 36);
    let partial = curves(&done, Metric::RecallAt1, &BandOptions::default()).unwrap();
    assert!(
        partial.curves.is_empty() && partial.missing_cells == 36 - done.cells.len(),
        "no pair is skipped silently"
    );
    let summary = run_toy(&plan, &scratch).unwrap();
    assert_eq!(summary.cells_made, 36 - done.cells.len());
}

#[test]
fn another_plan_or_other_data_is_refused() {
    let (plan, scratch) = (plan(), Scratch::new("changed"));
    run_toy(&plan, &scratch).unwrap();
    let bytes = std::fs::read(&scratch.0).unwrap();
    let other = Plan {
        total_tokens: 90,
        arms: vec!["dense".into()],
        ..plan.clone()
    };
    let error = run_toy(&other, &scratch).unwrap_err();
    let StudyError::Results(ResultsError::PlanChanged { differences, .. }) = &error else {
        panic!("{error}")
    };
    assert_eq!(
        *differences,
        [
            r#"arms: ["dense"], not ["dense","half"]"#,
            "total_tokens: 90, not 100"
        ]
    );

    struct Fewer;
    impl Source for Fewer {
        fn pair(&self, pair: Pair) -> Result<Corpus, StudyError> {
            let mut corpus = Made.pair(pair)?;
            if pair.context() != pair.question() {
                corpus.articles.truncate(30);
            }
            Ok(corpus)
        }
        fn distractors(&self, language: Language) -> Result<Corpus, StudyError> {
            Made.distractors(language)
        }
    }
    let error = run(
        &plan,
        &Fewer,
        &mut Toy { ..ENDLESS },
        &scratch.0,
        &mut Silent,
    )
    .unwrap_err();
    assert!(
        matches!(error, StudyError::Results(ResultsError::DataChanged { .. })),
        "{error}"
    );
    assert_eq!(
        std::fs::read(&scratch.0).unwrap(),
        bytes,
        "a refusal writes nothing"
    );
}

#[test]
fn damaged_and_foreign_files_are_left_alone() {
    let (plan, scratch) = (plan(), Scratch::new("damaged"));
    run_toy(&plan, &scratch).unwrap();
    let text = std::fs::read_to_string(&scratch.0).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let last = *lines.last().unwrap();
    let foreign = "my diary\nday one".to_owned();
    let ranks_cut = last.replacen("\"ranks\":[", "\"ranks\":[7,", 1);
    for (damaged, message) in [
        (foreign, "line 1: no plan"),
        ("my diary".to_owned(), "line 1: no plan"),
        (
            text.replacen("\"total_tokens\":100", "\"total_tokens\":101", 1),
            "line 1: the plan does not have the hash",
        ),
        (
            text.replacen("\"ranks\":[", "\"rangs\":[", 1),
            "unknown field `rangs`",
        ),
        (format!("{text}{last}\n"), "for the second time"),
        (
            text.replacen(last, &ranks_cut, 1),
            "is of other questions than its pair",
        ),
        (
            text.replacen("seed=0 level=0 arm=dense", "seed=9 level=0 arm=dense", 1),
            "is not in the plan",
        ),
        (
            format!("{}\n{}\n", lines[0], last),
            "before the judgements of its pair",
        ),
    ] {
        std::fs::write(&scratch.0, &damaged).unwrap();
        let error = run_toy(&plan, &scratch).unwrap_err().to_string();
        assert!(error.contains(message), "{error} for {message}");
        assert_eq!(
            std::fs::read_to_string(&scratch.0).unwrap(),
            damaged,
            "left as it was"
        );
    }
}

#[test]
fn bad_plans_and_sources_are_named() {
    let scratch = Scratch::new("bad");
    let unknown = Plan {
        arms: vec!["dense".into(), "magic".into()],
        ..plan()
    };
    let error = run_toy(&unknown, &scratch).unwrap_err().to_string();
    assert_eq!(error, "arm magic: no arm 'magic'; there are dense, half");
    let absent = DataFolder {
        root: PathBuf::from("/nowhere"),
    };
    let error = run(
        &plan(),
        &absent,
        &mut Toy { ..ENDLESS },
        &scratch.0,
        &mut Silent,
    )
    .unwrap_err()
    .to_string();
    assert!(
        error.starts_with("cannot read /nowhere/mlqa/dev/dev-context-en-question-en.json"),
        "{error}"
    );

    struct NoNoise;
    impl Source for NoNoise {
        fn pair(&self, pair: Pair) -> Result<Corpus, StudyError> {
            Made.pair(pair)
        }
        fn distractors(&self, language: Language) -> Result<Corpus, StudyError> {
            let mut corpus = Made.distractors(language)?;
            corpus.articles.truncate(1);
            Ok(corpus)
        }
    }
    let error = run(
        &plan(),
        &NoNoise,
        &mut Toy { ..ENDLESS },
        &scratch.0,
        &mut Silent,
    )
    .unwrap_err()
    .to_string();
    assert!(
        error.contains("the pool of distractors is empty"),
        "{error}"
    );
    let clean = Plan {
        noise: Family::None,
        levels: vec![0.0],
        seeds: vec![0],
        ..plan()
    };
    assert_eq!(
        run(
            &clean,
            &NoNoise,
            &mut Toy { ..ENDLESS },
            &Scratch::new("clean").0,
            &mut Silent
        )
        .unwrap()
        .cells,
        6
    );
    let all = Plan {
        split: Split::All,
        arms: vec!["dense".into()],
        ..clean
    };
    let scratch = Scratch::new("all");
    run_toy(&all, &scratch).unwrap();
    let ids = Results::read(&scratch.0).unwrap().judgements["de-en"]
        .query_ids
        .len();
    assert!(ids > 30, "all questions of 30 contexts: {ids}");
}

/// Folder of the real data, or a counted line that says what was skipped.
fn data(what: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("FLASHPROOF_DATA")
        .map(PathBuf::from)
        .filter(|folder| folder.is_dir());
    if folder.is_none() {
        println!("skipped 1: {what} (FLASHPROOF_DATA names no folder)");
    }
    folder
}

#[test]
fn the_official_counts_hold() {
    let Some(root) = data("counts of MLQA and XQuAD") else {
        return;
    };
    let folder = DataFolder { root };
    let english = folder.pair("en-en".parse().unwrap()).unwrap();
    let articles = Articles::from_english(&english);
    for (language, count) in DEV_QUESTION_COUNTS {
        let corpus = folder.pair(Pair::new(language, language).unwrap()).unwrap();
        assert_eq!(corpus.question_count(), count, "{language}");
        for question in corpus
            .paragraphs()
            .flat_map(|(_, paragraph)| &paragraph.questions)
        {
            assert!(
                articles.title(&question.id).is_some(),
                "{language} {}",
                question.id
            );
        }
        let distractors = folder.distractors(language).unwrap();
        assert_eq!(
            (
                distractors.question_count(),
                distractors.paragraphs().count()
            ),
            (1190, 240),
            "{language}"
        );
        assert!(
            distractors
                .paragraphs()
                .all(|(_, paragraph)| paragraph.sentences.is_some()),
            "XQuAD-R has breaks"
        );
    }
    let exploration = articles
        .titles()
        .into_iter()
        .filter(|title| half_of(title) == Half::Exploration)
        .count();
    assert_eq!(
        (articles.titles().len(), exploration),
        (520, 267),
        "checked once against Python's hashlib"
    );
}

#[test]
fn real_contexts_compose_at_fixed_length() {
    let Some(root) = data("N1 over MLQA and XQuAD-R") else {
        return;
    };
    let folder = DataFolder { root };
    // A stand-in for a tokenizer: a token for every three characters of a word, one for an unspaced character.
    let is_unspaced = |word: &str| word.chars().any(|character| character >= '\u{3000}');
    let of_word = |word: &str| {
        word.chars()
            .count()
            .div_ceil(if is_unspaced(word) { 1 } else { 3 })
    };
    let mut tokens =
        |text: &str| -> Result<usize, String> { Ok(text.split_whitespace().map(of_word).sum()) };
    for language in ["de", "ar", "zh"] {
        let pair: Pair = format!("{language}-en").parse().unwrap();
        let corpus = folder.pair(pair).unwrap();
        let pool: Vec<Distractor> = folder
            .distractors(pair.context())
            .unwrap()
            .paragraphs()
            .map(|(_, paragraph)| Distractor {
                text: paragraph.context.clone(),
                sentences: paragraph.sentences.clone(),
            })
            .collect();
        let pool = DistractorPool::new(pool, 480, &mut tokens).unwrap();
        let answers: Vec<Vec<std::ops::Range<usize>>> = corpus
            .paragraphs()
            .take(60)
            .map(|(_, paragraph)| {
                paragraph
                    .questions
                    .iter()
                    .flat_map(|question| &question.answers)
                    .map(|answer| answer.bytes.clone())
                    .collect()
            })
            .collect();
        let passages: Vec<Passage<'_>> = corpus
            .paragraphs()
            .zip(&answers)
            .map(|((_, paragraph), answers)| Passage {
                id: &paragraph.questions[0].id,
                text: &paragraph.context,
                answers,
            })
            .collect();
        let family = DistractorShare {
            total_tokens: 480,
            gold_tokens: 128,
            seed: 0,
        };
        let composed = family.compose(&passages, &pool, &mut tokens).unwrap();
        println!("{pair}: {:?}", composed.report);
        let mut off_length = 0;
        for (composition, passage) in composed.compositions.iter().zip(&passages) {
            let mut before = -1.0;
            for level in Level::all() {
                let noisy = composition.at(level);
                off_length += usize::from(!(460..=490).contains(&noisy.tokens));
                assert!(noisy.achieved() >= before, "{pair} {}", passage.id);
                before = noisy.achieved();
                for answer in passage.answers {
                    assert!(noisy.text[noisy.gold.clone()].contains(&passage.text[answer.clone()]));
                }
            }
        }
        // Five texts for each context whose answers fill the document alone, and one in fifty of the others.
        let (texts, crowded) = (
            5 * passages.len(),
            5 * composed.report.documents_without_room,
        );
        assert!(
            crowded <= 10 && off_length <= crowded + texts / 50,
            "{pair}: {off_length} of {texts}"
        );
        assert!(
            composed.report.golds_grown * 10 <= passages.len(),
            "{pair}: {:?}",
            composed.report
        );
        let lengths: Vec<usize> = passages
            .iter()
            .map(|passage| sentences(passage.text).len())
            .collect();
        println!(
            "{pair}: {} sentences in {} contexts",
            lengths.iter().sum::<usize>(),
            lengths.len()
        );
    }
}

#[test]
fn measures_are_those_of_trec_eval() {
    let Some(root) = data("trec_eval's own numbers") else {
        return;
    };
    let text = std::fs::read_to_string(root.join("fixtures/trec_cases.json")).unwrap();
    let cases: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut compared = 0;
    for (query, measures) in cases["expected"].as_object().unwrap() {
        let run: BTreeMap<&str, f64> = cases["run"][query]
            .as_object()
            .unwrap()
            .iter()
            .map(|(id, score)| (id.as_str(), score.as_f64().unwrap()))
            .collect();
        let (ids, values): (Vec<&str>, Vec<f64>) = run.into_iter().unzip();
        let judged = cases["qrels"][query].as_object().unwrap();
        if judged.values().any(|grade| grade.as_u64().unwrap() > 1) {
            continue; // Graded relevance: the collections here have none.
        }
        let ranks: Vec<u32> = judged
            .iter()
            .filter(|(_, grade)| grade.as_u64() == Some(1))
            .map(|(id, _)| {
                ids.iter()
                    .position(|other| other == id)
                    .map_or(0, |gold| rank(&values, &ids, gold))
            })
            .collect();
        let ours = scores(&ranks);
        let near = |a: f64, name: &str| {
            let b = measures[name].as_f64().unwrap();
            assert!((a - b).abs() < 1e-12, "{query} {name}: {a}, trec_eval {b}");
        };
        near(ours.ndcg_at_10, "ndcg_cut_10");
        near(ours.recall_at_1, "recall_1");
        let reciprocal = measures["recip_rank"].as_f64().unwrap();
        let cut = if reciprocal > 0.099 { reciprocal } else { 0.0 };
        assert!((ours.mrr_at_10 - cut).abs() < 1e-12, "{query}");
        compared += 1;
    }
    assert!(compared >= 20, "{compared} queries with relevance 0 and 1");
}
