//! The real model, where `$FLASHPROOF_DATA` holds it: pinned values, tokenizers on MLQA, and the speed.
#![expect(
    clippy::print_stdout,
    reason = "a skipped test says so, and a measurement is its output"
)]

use std::path::PathBuf;

use flashproof::backend::native::NativeInputs;
use flashproof::encoder::{
    ArmPlan, AttentionBackend, AttentionFailure, Embedded, Encoder, Role, Site, Tokenizer,
};
use flashproof_reference::Layout;

use super::{bits, dense};

const LANGUAGES: [&str; 7] = ["ar", "de", "en", "es", "hi", "vi", "zh"];

fn real_file(name: &str) -> Option<Vec<u8>> {
    let file = std::env::var_os("FLASHPROOF_DATA")
        .and_then(|data| std::fs::read(PathBuf::from(data).join(name)).ok());
    if file.is_none() {
        println!("skipped: no {name} under $FLASHPROOF_DATA");
    }
    file
}

fn real_encoder() -> Option<Encoder> {
    Some(Encoder::from_e5s1(&real_file("model-e5/e5-small-q4.bin")?, None).unwrap())
}

/// The contexts of MLQA's dev split in a language, in the order of the file.
fn contexts(language: &str) -> Option<Vec<String>> {
    let file = real_file(&format!(
        "mlqa/dev/dev-context-{language}-question-{language}.json"
    ))?;
    let file: serde_json::Value = serde_json::from_slice(&file).unwrap();
    let articles = file["data"].as_array().unwrap();
    let paragraphs = articles
        .iter()
        .flat_map(|article| article["paragraphs"].as_array().unwrap());
    Some(
        paragraphs
            .map(|paragraph| paragraph["context"].as_str().unwrap().to_owned())
            .collect(),
    )
}

/// First four elements of the vectors of three texts, from a plain forward pass in f64 on the same 4-bit weights, written
/// apart from this crate (numpy). Over 13 texts of 12 to 512 tokens the largest difference of an element was 2.5e-7;
/// the limit leaves a factor of four for other machines' order of multiplication. The 4 bits are in both.
#[test]
fn real_model_gives_the_pinned_values() {
    let Some(encoder) = real_encoder() else {
        return;
    };
    let pinned: [(&str, usize, [f64; 4]); 3] = [
        (
            "query: how much protein should a female eat",
            12,
            [0.032059624, -0.044488441, -0.060243683, -0.044656050],
        ),
        (
            "passage: 北京是中华人民共和国的首都，也是一座历史悠久的城市。",
            17,
            [0.008389351, 0.000659132, 0.004902719, -0.038437373],
        ),
        (
            "passage: الكتاب على الطاولة، والقلم بجانبه في الغرفة الصغيرة.",
            17,
            [0.015925463, 0.015402089, -0.034204109, -0.061835839],
        ),
    ];
    let tokens: Vec<Vec<u32>> = pinned
        .iter()
        .map(|(text, _, _)| encoder.tokens(text).unwrap())
        .collect();
    let embedded = encoder.embed(&tokens, &dense()).unwrap();
    for ((text, length, expected), (tokens, vector)) in
        pinned.iter().zip(tokens.iter().zip(&embedded.vectors))
    {
        assert_eq!(tokens.len(), *length, "{text}");
        for (expected, found) in expected.iter().zip(vector) {
            assert!(
                (f64::from(*found) - expected).abs() <= 1e-6,
                "{text}: {found}, expected {expected}"
            );
        }
        let length: f64 = vector.iter().map(|value| f64::from(*value).powi(2)).sum();
        assert!((length - 1.0).abs() < 1e-6, "{text}: {length}");
    }
}

/// The E5S1 file keeps the normaliser's rules for single characters only; on MLQA that makes no difference.
#[test]
fn real_tokenizers_of_both_files_agree_on_mlqa() {
    let Some(encoder) = real_encoder() else {
        return;
    };
    let Some(json) = real_file("model-e5/tokenizer.json") else {
        return;
    };
    let json = Tokenizer::from_json(&json).unwrap();
    let mut compared = 0;
    for language in LANGUAGES {
        let Some(contexts) = contexts(language) else {
            return;
        };
        for context in &contexts {
            assert_eq!(
                encoder.tokens(context).unwrap(),
                json.tokens(context).unwrap(),
                "{language}: {context}"
            );
            compared += 1;
        }
    }
    assert!(compared > 3_000, "{compared} contexts");
    assert_eq!((encoder.tokenizer().pad(), json.pad()), (Some(1), Some(1)));
}

#[test]
fn real_model_keeps_its_bits_across_batches_and_full_arms() {
    let Some(encoder) = real_encoder() else {
        return;
    };
    let Some(contexts) = contexts("hi") else {
        return;
    };
    let tokens: Vec<Vec<u32>> = contexts[..3]
        .iter()
        .map(|context| encoder.cut(encoder.tokens(&Role::Passage.prefixed(context)).unwrap()))
        .collect();
    assert_eq!(tokens[0].len(), 512, "the first one is cut");
    let together = bits(&encoder.embed(&tokens, &dense()).unwrap());
    for arm in [
        "dense",
        "window:1",
        "window-sink:1",
        "block-topk:1:16",
        "random-blocks:1:32",
    ] {
        let alone = encoder
            .embed(&tokens[1..2], &ArmPlan::uniform(arm.parse().unwrap()))
            .unwrap();
        assert_eq!(bits(&alone)[0], together[1], "{arm}");
    }
}

/// Passages a second at 480 tokens, by arm. Run it alone and in release:
/// `cargo test --release --test suite encoder::real::speed -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement: minutes in a debug build, and meaningless on a busy machine"]
fn speed() {
    /// No attention at all: what is left is everything else.
    struct Values;
    impl AttentionBackend for Values {
        fn attention(
            &mut self,
            _: Site,
            inputs: &NativeInputs<'_>,
            _: &Layout,
            o: &mut [f32],
        ) -> Result<(), AttentionFailure> {
            o.copy_from_slice(inputs.v);
            Ok(())
        }
    }
    let Some(encoder) = real_encoder() else {
        return;
    };
    let Some(contexts) = contexts("en") else {
        return;
    };
    let mut stream = contexts.iter().flat_map(|context| {
        let tokens = encoder.tokens(context).unwrap();
        tokens[1..tokens.len() - 1].to_vec()
    });
    let texts: Vec<Vec<u32>> = (0..8)
        .map(|_| [vec![0], stream.by_ref().take(478).collect(), vec![2]].concat())
        .collect();
    assert!(texts.iter().all(|tokens| tokens.len() == 480));
    let dense_vectors = encoder.embed(&texts, &dense()).unwrap().vectors;
    let measure = |name: &str, batch: usize, run: &mut dyn FnMut(&[Vec<u32>]) -> Embedded| {
        let mut best = f64::INFINITY;
        let mut embedded = run(&texts[..batch]);
        for _ in 0..5 {
            let start = std::time::Instant::now();
            embedded = run(&texts[..batch]);
            best = best.min(start.elapsed().as_secs_f64());
        }
        let cosine = embedded.vectors[0]
            .iter()
            .zip(&dense_vectors[0])
            .map(|(a, b)| f64::from(a * b))
            .sum::<f64>();
        let rate = f64::from(u32::try_from(batch).unwrap()) / best;
        println!(
            "{name}, batch {batch}: {rate:.2} passages/s, density {:.3}, cosine to dense {cosine:.4}",
            embedded.realised_density[0]
        );
    };
    for batch in [8, 1] {
        measure("no attention", batch, &mut |texts| {
            encoder.embed_through(texts, &dense(), &mut Values).unwrap()
        });
        for arm in [
            "dense",
            "window:0.25",
            "window-sink:0.25",
            "window-global:0.25",
            "block-topk:0.25:16",
            "random-blocks:0.25:16",
        ] {
            let plan = ArmPlan::uniform(arm.parse().unwrap());
            measure(arm, batch, &mut |texts| {
                encoder.embed(texts, &plan).unwrap()
            });
        }
    }
    let query = encoder
        .tokens("query: how much protein should a female eat")
        .unwrap();
    let start = std::time::Instant::now();
    for _ in 0..20 {
        encoder.embed(&vec![query.clone(); 32], &dense()).unwrap();
    }
    println!(
        "{} token queries, batch 32: {:.0} queries/s",
        query.len(),
        640.0 / start.elapsed().as_secs_f64()
    );
}
