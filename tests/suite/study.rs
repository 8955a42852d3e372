//! Studies end to end: a made-up corpus and a toy encoder; the real data where it is there.

mod against;
mod bad_data;
mod mechanism;
mod noise;
mod real;
mod stored;
mod tasks;
mod toy;

use std::path::PathBuf;

use flashproof::mlqa::{Corpus, Half, Language, Pair, half_of};
use flashproof::stats::BandOptions;
use flashproof::study::{
    DataFolder, Event, Family, Metric, Plan, Progress, Results, ResultsError, RunOptions, Shard,
    Silent, Source, Split, StudyError, between, csv, curves, differences, merge, pair_scores, run,
};
use toy::{ENDLESS, Made, Scratch, Toy, plan, run_part, run_toy, timeless};

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
                    (f64::from(u32::try_from(*texts).expect("few texts"))
                        / texts_per_second
                        / seconds
                        - 1.0)
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
    let summary = run(
        &plan,
        &Made,
        &mut Toy { ..ENDLESS },
        &scratch.0,
        &RunOptions::default(),
        &mut told,
    )
    .unwrap();
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
    for cell in results.cells.values() {
        let noise = cell.noise.expect("there is noise");
        assert!(cell.seconds.is_none(), "a finished file has no clock in it");
        assert_eq!((noise.documents, noise.pool_paragraphs), (30, 29));
    }
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

    // Beside a study in which everything was found first under dense, and no other arm is.
    let mut other = results.clone();
    other.cells.retain(|key, _| key.ends_with("arm=dense"));
    for cell in other.cells.values_mut() {
        cell.ranks.fill(1);
    }
    let beside = between(&results, &other, Metric::MrrAt10, &options);
    let beside = beside.unwrap().curves;
    assert_eq!(beside.len(), 1, "only dense is in both");
    let rank = curves(&results, Metric::MrrAt10, &options).unwrap();
    for (point, dense) in beside[0].points.iter().zip(&rank.curves[0].points) {
        assert!((point.mean - (dense.mean - 1.0)).abs() < 1e-12, "{point:?}");
    }
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
    // Where pairs share documents, too.
    let shared = growing();
    let grown = Scratch::new("grown");
    run_toy(&shared, &grown).unwrap();
    let finished = std::fs::read(&grown.0).unwrap();
    for share in [3, 5, 7] {
        std::fs::write(&cut.0, &finished[..finished.len() * share / 8]).unwrap();
        run_toy(&shared, &cut).unwrap();
        assert!(
            std::fs::read(&cut.0).unwrap() == finished,
            "cut at {share}/8"
        );
    }
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
        &RunOptions::default(),
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
        &RunOptions::default(),
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
        beside: PathBuf::new(),
    };
    let error = run(
        &plan(),
        &absent,
        &mut Toy { ..ENDLESS },
        &scratch.0,
        &RunOptions::default(),
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
        &RunOptions::default(),
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
            &RunOptions::default(),
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
    let few = Plan {
        queries_per_pair: Some(7),
        ..all
    };
    let scratch = Scratch::new("few");
    run_toy(&few, &scratch).unwrap();
    let judgements = &Results::read(&scratch.0).unwrap().judgements["de-en"];
    assert_eq!((judgements.query_ids.len(), judgements.documents), (7, 30));
}

/// A plan whose corpora grow, and whose pairs share documents.
fn growing() -> Plan {
    Plan {
        contexts_per_pair: None,
        corpus_shares: vec![0.5, 1.0],
        ..plan()
    }
}

#[test]
fn growing_corpora_hold_the_smaller_ones() {
    let (plan, scratch) = (growing(), Scratch::new("growing"));
    let summary = run_toy(&plan, &scratch).unwrap();
    assert_eq!(summary.cells, 2 * 2 * 3 * 3 * 2);
    // 60 contexts in each of two languages, under two arms at three levels with two seeds; those of the smaller share
    // are not made again.
    let most = 60 * 2 * 2 * 3 * 2;
    assert!(
        summary.documents_embedded <= most && summary.documents_embedded > most * 8 / 10,
        "{} of {most}",
        summary.documents_embedded
    );
    let results = Results::read(&scratch.0).unwrap();
    assert_eq!(results.reached(), Some((1.0, vec![0, 1])));
    for pair in &plan.pairs {
        let half = &results.judgements[&format!("{pair} share=0.5")];
        let whole = &results.judgements[&format!("{pair} share=1")];
        assert_eq!(whole.documents, 60);
        assert!((15..45).contains(&half.documents));
        assert!(half.query_ids.iter().all(|id| whole.query_ids.contains(id)));
    }
    let at = results.at(1.0, &[1]);
    let all = curves(&at, Metric::NdcgAt10, &BandOptions::default()).unwrap();
    assert_eq!((all.curves.len(), all.missing_cells), (2, 0));
    assert_eq!(all.curves[0].points[0].seed_count, 1);

    let mut unfinished = results.clone();
    let gone = |key: &String| key.ends_with("share=1") && key.contains("seed=1");
    unfinished.cells.retain(|key, _| !gone(key));
    assert_eq!(unfinished.reached(), Some((1.0, vec![0])));
    unfinished.cells.retain(|key, _| !key.ends_with("share=1"));
    assert_eq!(unfinished.reached(), Some((0.5, vec![0, 1])));
    unfinished.cells.clear();
    assert_eq!(unfinished.reached(), None);
}

#[test]
fn sharded_equals_unsharded_byte_for_byte() {
    for (name, plan) in [("grown", growing()), ("plain", plan())] {
        let whole = Scratch::new(&format!("unsharded-{name}"));
        let made = run_toy(&plan, &whole).unwrap();
        let mut parts = Vec::new();
        let (mut cells, mut texts) = (0, 0);
        for index in 0..3 {
            let part = Scratch::new(&format!("shard-{name}-{index}"));
            let shard: Shard = format!("{}/3", index + 1).parse().unwrap();
            let options = RunOptions {
                shard: Some(shard),
                vectors: Some(part.vectors()),
                ..RunOptions::default()
            };
            let summary = run_part(&plan, &part, &options).unwrap();
            cells += summary.cells_made;
            texts += summary.documents_embedded;
            parts.push((format!("{index}"), Results::read(&part.0).unwrap()));
        }
        assert_eq!(
            (cells, texts >= made.documents_embedded),
            (made.cells, true)
        );
        let bytes = std::fs::read_to_string(&whole.0).unwrap();
        let missing = merge(parts[1..].to_vec()).unwrap().canonical().unwrap();
        assert!(missing.len() < bytes.len());
        parts.reverse();
        let merged = merge(parts.clone()).unwrap().canonical().unwrap();
        for (line, (merged, whole)) in merged.lines().zip(bytes.lines()).enumerate() {
            assert_eq!(merged, whole, "{name} line {}", line + 1);
        }
        assert!(merged == bytes, "{name}: as many lines");
        // A shard that another encoder made is refused, and so is one of another plan.
        let mut other = parts[0].1.clone();
        other.cells.values_mut().next().unwrap().ranks[0] += 1;
        parts.push(("other".to_owned(), other));
        let error = merge(parts.clone()).unwrap_err().to_string();
        assert!(error.starts_with("other has other cell 'pair="), "{error}");
        parts[3].1.plan.total_tokens = 90;
        let error = merge(parts).unwrap_err().to_string();
        assert!(error.contains("total_tokens: 90, not 100"), "{error}");
    }
}

#[test]
fn kept_vectors_change_nothing_and_are_not_made_again() {
    let (plan, plain) = (growing(), Scratch::new("unkept"));
    let made = run_toy(&plan, &plain).unwrap();
    let kept = Scratch::new("kept");
    let options = RunOptions {
        vectors: Some(kept.vectors()),
        ..RunOptions::default()
    };
    let first = run_part(&plan, &kept, &options).unwrap();
    assert_eq!(first.documents_embedded, made.documents_embedded);
    let bytes = std::fs::read(&plain.0).unwrap();
    assert_eq!(std::fs::read(&kept.0).unwrap(), bytes);
    // Results lost, half of the vectors too: the rest is not embedded again.
    std::fs::remove_file(&kept.0).unwrap();
    let vectors = std::fs::read(kept.vectors()).unwrap();
    std::fs::write(kept.vectors(), &vectors[..vectors.len() / 2]).unwrap();
    let again = run_part(&plan, &kept, &options).unwrap();
    assert!(
        again.documents_embedded > 0 && again.documents_embedded < made.documents_embedded * 6 / 10,
        "{again:?}"
    );
    assert_eq!(std::fs::read(&kept.0).unwrap(), bytes);
}
