//! Studies under each family of noise, and a real (tiny) encoder as an embedder, with noise on its embeddings.

use std::ops::Range;

use super::toy::{Made, Scratch, Toy, plan, run_toy};
use crate::tiny_model::TinyModel;
use flashproof::encoder::Encoder;
use flashproof::noise::Length;
use flashproof::study::{
    ArmEncoder, Embedded, Embedder, Family, Plan, Results, RunOptions, Shift, Silent, StudyError,
    run,
};

fn clean_first(noise: Family, levels: [f64; 3]) -> Plan {
    Plan {
        noise,
        levels: levels.to_vec(),
        pairs: vec!["de-en".to_owned()],
        ..plan()
    }
}

/// Achieved level and mean tokens of each level under the first arm and seed.
fn levels(plan: &Plan, results: &Results) -> Vec<(f64, f64)> {
    let cell = |level: &f64| {
        let key = format!("pair=de-en seed=0 level={level} arm=dense");
        (
            results.cells[&key].achieved_noise,
            results.cells[&key].mean_tokens,
        )
    };
    plan.levels.iter().map(cell).collect()
}

#[test]
fn growing_texts_and_hard_distractors_run() {
    let fixed = clean_first(Family::HardDistractor, [0.0, 0.5, 1.0]);
    let scratch = Scratch::new("hard");
    run_toy(&fixed, &scratch).unwrap();
    let results = Results::read(&scratch.0).unwrap();
    for cell in results.cells.values() {
        let report = cell.noise.expect("there is noise");
        assert_eq!(report.paragraphs_with_answer, Some(0));
    }
    let of_fixed = levels(&fixed, &results);
    assert!(of_fixed[0].0 < 1e-9 && of_fixed[1].0 > 0.2 && of_fixed[2].0 > of_fixed[1].0);
    assert!((of_fixed[0].1 - of_fixed[2].1).abs() < 1.0);

    let growing = Plan {
        length: Length::Growing,
        noise: Family::Distractor,
        ..fixed
    };
    let scratch = Scratch::new("longer");
    run_toy(&growing, &scratch).unwrap();
    let of_growing = levels(&growing, &Results::read(&scratch.0).unwrap());
    assert!(
        of_growing[0].1 < 45.0,
        "the gold crop alone: {of_growing:?}"
    );
    assert!(of_growing[1].1 > of_growing[0].1 + 20.0 && of_growing[2].1 > of_growing[1].1 + 20.0);
}

#[test]
fn character_errors_run_and_are_logged() {
    for protect_answers in [false, true] {
        let plan = Plan {
            protect_answers,
            ..clean_first(Family::Characters, [0.0, 0.1, 0.3])
        };
        let scratch = Scratch::new(&format!("characters-{protect_answers}"));
        run_toy(&plan, &scratch).unwrap();
        let results = Results::read(&scratch.0).unwrap();
        let found = levels(&plan, &results);
        assert!(
            found[0].0 < 1e-9 && found[1].0 > 0.07 && found[2].0 > 2.0 * found[1].0,
            "{found:?}"
        );
        for cell in results.cells.values() {
            let report = cell.characters.expect("errors are logged");
            assert_eq!(report.protected > 0, protect_answers);
            assert!(
                (report.achieved() - cell.achieved_noise).abs() < 0.02,
                "{report:?}"
            );
            assert!(cell.noise.is_none());
        }
    }
}

/// The toy with noise on its vectors.
struct Shaken(Toy);

impl Embedder for Shaken {
    fn check_arm(&self, arm: &str) -> Result<(), String> {
        self.0.check_arm(arm)
    }
    fn embed_documents(&mut self, texts: &[String], arm: &str) -> Result<Embedded, String> {
        self.0.embed_documents(texts, arm)
    }
    fn embed_queries(&mut self, texts: &[String]) -> Result<Vec<Vec<f32>>, String> {
        self.0.embed_queries(texts)
    }
    fn count_tokens(&mut self, text: &str) -> Result<usize, String> {
        self.0.count_tokens(text)
    }
    fn embed_shifted(
        &mut self,
        texts: &[String],
        shifts: &[Shift],
        arm: &str,
    ) -> Result<Embedded, String> {
        assert_eq!(texts.len(), shifts.len());
        // Another text altogether, so that a vector kept under the wrong name would show.
        let others: Vec<String> = shifts.iter().map(|shift| format!("{shift:?}")).collect();
        self.0.embed_documents(&others, arm)
    }
    fn shift_rms(&mut self, _: &str, shift: &Shift) -> Result<f64, String> {
        Ok(shift.sigma)
    }
}

#[test]
fn embedding_noise_reaches_the_encoder_and_its_own_vectors() {
    let plan = clean_first(Family::Embedding, [0.0, 0.5, 2.0]);
    let scratch = Scratch::new("shaken");
    let options = RunOptions {
        vectors: Some(scratch.vectors()),
        ..RunOptions::default()
    };
    let summary = run(
        &plan,
        &Made,
        &mut Shaken(Toy { calls_left: 999 }),
        &scratch.0,
        &options,
        &mut Silent,
    )
    .unwrap();
    // 30 contexts and two arms: clean vectors serve both seeds, noisy ones belong to a seed and a level.
    assert_eq!(summary.documents_embedded, 30 * 2 * (1 + 2 * 2));
    let results = Results::read(&scratch.0).unwrap();
    assert_eq!(
        levels(&plan, &results)
            .iter()
            .map(|found| found.0)
            .collect::<Vec<_>>(),
        [0.0, 0.5, 2.0]
    );
    let refused = run_toy(&plan, &Scratch::new("unshaken")).unwrap_err();
    let is_refused = matches!(&refused, StudyError::Embedder { cause, .. } if cause.contains("no noise on embeddings"));
    assert!(is_refused, "{refused}");
}

#[test]
fn a_real_encoder_adds_the_noise_it_says() {
    let model = TinyModel::random(5).e5s1();
    let mut encoder = ArmEncoder::new(Encoder::from_e5s1(&model, None).unwrap());
    let texts = ["ab ca b c a b ca ab ab ca", "ca ca c b ab ab c"].map(str::to_owned);
    let shift = |sigma: f64, protected: Vec<Range<usize>>| Shift {
        document: "d".to_owned(),
        seed: 1,
        sigma,
        protected,
    };
    let both = |sigma: f64| vec![shift(sigma, Vec::new()), shift(sigma, Vec::new())];
    let cosine = |a: &[f32], b: &[f32]| -> f32 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    for arm in ["dense", "window:0.5", "chunked:0.6", "truncated:0.5"] {
        let clean = encoder.embed_documents(&texts, arm).unwrap();
        let still = encoder.embed_shifted(&texts, &both(0.0), arm).unwrap();
        assert_eq!(still, clean, "{arm}: no noise is no change");
        let mut before = 1.0;
        for sigma in [0.05, 0.5, 5.0] {
            let shaken = encoder.embed_shifted(&texts, &both(sigma), arm).unwrap();
            assert_eq!(
                shaken,
                encoder.embed_shifted(&texts, &both(sigma), arm).unwrap()
            );
            assert_eq!(shaken.densities, clean.densities, "{arm}: no token moves");
            let near = cosine(&clean.vectors[0], &shaken.vectors[0]);
            assert!(near < before, "{arm} {sigma}: {near} after {before}");
            before = near;
        }
    }
    let rms = encoder
        .shift_rms(&texts[0], &shift(0.5, Vec::new()))
        .unwrap();
    assert!((rms - 0.5).abs() < 0.1, "{rms}");
    let all = encoder.shift_rms(
        &texts[0],
        &shift(0.5, std::iter::once(0..texts[0].len()).collect()),
    );
    let part = encoder.shift_rms(&texts[0], &shift(0.5, std::iter::once(0..2).collect()));
    let (all, part) = (all.unwrap(), part.unwrap());
    assert!(
        all < part && part < rms,
        "answers are left out: {all} {part} {rms}"
    );
    let uneven = encoder
        .embed_shifted(&texts, &both(0.5)[..1], "dense")
        .unwrap_err();
    assert_eq!(uneven, "1 shifts for 2 texts");
    let wrong = encoder.encoder.embed_shifted(
        &[vec![1, 2, 3]],
        &[vec![0.0; 5]],
        &flashproof::encoder::ArmPlan::uniform(flashproof::encoder::Arm::Dense),
    );
    let message = wrong.unwrap_err().to_string();
    assert!(
        message.contains("shift of sequence 0 has 5 components"),
        "{message}"
    );
}

#[test]
fn an_encoder_serves_a_study() {
    let model = TinyModel::random(5).e5s1();
    let mut encoder = ArmEncoder::new(Encoder::from_e5s1(&model, None).unwrap());
    let embedder: &mut dyn Embedder = &mut encoder;
    assert_eq!(
        embedder.count_tokens(""),
        Ok(0),
        "special tokens are not counted"
    );
    let (one, two) = (
        embedder.count_tokens("ab").unwrap(),
        embedder.count_tokens("ab ca ab").unwrap(),
    );
    assert!(0 < one && one < two);
    assert_eq!(embedder.check_arm("window:0.5"), Ok(()));
    assert!(embedder.check_arm("magic").unwrap_err().contains("magic"));

    let texts = ["ab ca b c a", "ca ca c b ab ab c"].map(str::to_owned);
    let dense = embedder.embed_documents(&texts, "dense").unwrap();
    let window = embedder.embed_documents(&texts, "window:0.5").unwrap();
    let queries = embedder.embed_queries(&texts).unwrap();
    assert_eq!(dense.densities, [1.0; 2]);
    assert!(
        window.densities.iter().all(|&density| density < 0.9),
        "{window:?}"
    );
    assert_ne!(dense.vectors, window.vectors);
    assert_ne!(dense.vectors, queries, "a question has another prefix");
    for vector in dense.vectors.iter().chain(&window.vectors).chain(&queries) {
        let squared: f32 = vector.iter().map(|x| x * x).sum();
        assert!((squared - 1.0).abs() < 1e-4, "{squared}");
    }
    let long = vec!["ab ".repeat(500)];
    assert_eq!(
        embedder
            .embed_documents(&long, "dense")
            .unwrap()
            .vectors
            .len(),
        1,
        "cut, not refused"
    );
}
