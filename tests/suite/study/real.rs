//! The real data, where `FLASHPROOF_DATA` names it: official counts, noise over MLQA, `trec_eval`'s numbers.

use std::collections::BTreeMap;
use std::path::PathBuf;

use flashproof::mlqa::{Articles, DEV_QUESTION_COUNTS, Half, Language, Pair, Parallelism, half_of};
use flashproof::noise::{
    Choice, Distractor, DistractorPool, DistractorShare, Length, Level, Passage, sentences,
};
use flashproof::retrieval::{rank, scores};
use flashproof::study::{DataFolder, Source, Task};

/// Folder of the real data, or a counted line that says what was skipped.
#[expect(
    clippy::print_stdout,
    reason = "what a run skipped is part of its report"
)]
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
    let folder = DataFolder {
        root,
        beside: PathBuf::new(),
    };
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
    let folder = DataFolder {
        root,
        beside: PathBuf::new(),
    };
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
            choice: Choice::Any,
            length: Length::Fixed,
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

#[test]
fn sentence_candidates_are_lareqas() {
    let Some(root) = data("candidates of XQuAD-R") else {
        return;
    };
    let folder = DataFolder {
        root,
        beside: PathBuf::new(),
    };
    // Roy et al., table 1.
    for (code, want) in [
        ("ar", 1222),
        ("de", 1276),
        ("en", 1180),
        ("es", 1215),
        ("hi", 1244),
        ("vi", 1209),
        ("zh", 1196),
    ] {
        let corpus = folder
            .sentences(Task::XquadR, code.parse().unwrap())
            .unwrap();
        let sentences = corpus.paragraphs();
        let sentences = sentences.map(|(_, paragraph)| paragraph.sentences.as_ref().unwrap().len());
        assert_eq!(sentences.sum::<usize>(), want, "{code}");
    }
}

#[test]
fn mlqas_parallelism_is_the_papers() {
    let Some(root) = data("MLQA's parallel questions") else {
        return;
    };
    let folder = DataFolder {
        root,
        beside: PathBuf::new(),
    };
    let corpora: Vec<_> = Language::MLQA
        .into_iter()
        .map(|language| {
            (
                language,
                folder.pair(Pair::new(language, language).unwrap()).unwrap(),
            )
        })
        .collect();
    let found = Parallelism::of(corpora.iter().map(|(language, corpus)| (*language, corpus)));
    assert_eq!(found.ways(), BTreeMap::from([(2, 65), (3, 263), (4, 820)]));
}
