//! Tiny checkpoints in Hugging Face's layout against what transformers computes with them (`tests/checkpoints/make.py`).

use std::fs;
use std::path::PathBuf;

use flashproof::encoder::{
    Arm, ArmPlan, Encoder, LoadError, Pooling, Positions, Reader, ReaderOptions,
};
use serde_json::Value;

fn file(checkpoint: &str, name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints");
    let path = folder.join(checkpoint).join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn expected(checkpoint: &str) -> Value {
    serde_json::from_slice(&file(checkpoint, "expected.json")).unwrap()
}

fn reader(checkpoint: &str) -> Reader {
    let of = |name: &str| file(checkpoint, name);
    Reader::from_hugging_face(
        &of("config.json"),
        &of("model.safetensors"),
        &of("tokenizer.json"),
    )
    .unwrap()
}

fn floats(value: &Value) -> Vec<f64> {
    let all = value.as_array().unwrap().iter();
    all.map(|value| value.as_f64().unwrap()).collect()
}

fn number(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

#[track_caller]
fn near(found: &[f32], want: &Value, bound: f64) {
    let want = floats(want);
    assert_eq!(found.len(), want.len());
    for (found, want) in found.iter().zip(want) {
        let distance = (f64::from(*found) - want).abs();
        assert!(distance <= bound, "{found} {want}");
    }
}

/// Sums of a hundred products of numbers near 1 in f32, through two layers.
const LOGIT_BOUND: f64 = 1e-4;

#[test]
fn span_heads_are_transformers() {
    let dense = ArmPlan::uniform(Arm::Dense);
    for checkpoint in ["bert-qa", "xlmr-qa"] {
        let (reader, expected) = (reader(checkpoint), expected(checkpoint));
        let options = &expected["options"];
        let options = ReaderOptions {
            max_tokens: number(&options["max_tokens"]),
            doc_stride: number(&options["doc_stride"]),
            best: number(&options["best"]),
            answer_tokens: number(&options["answer_tokens"]),
        };
        let context = expected["context"].as_str().unwrap();
        let mut windows = 0;
        for asked in expected["questions"].as_array().unwrap() {
            let question = asked["question"].as_str().unwrap();
            let found = reader.logits(question, context, &options, &dense).unwrap();
            let want = asked["windows"].as_array().unwrap();
            assert_eq!(found.len(), want.len());
            windows += found.len();
            for (found, want) in found.iter().zip(want) {
                let ids: Vec<Value> = found.window.tokens.iter().map(|id| (*id).into()).collect();
                assert_eq!(Value::Array(ids), want["ids"]);
                near(&found.starts, &want["starts"], LOGIT_BOUND);
                near(&found.ends, &want["ends"], LOGIT_BOUND);
            }
            let spans = reader.answers(question, context, &options, &dense).unwrap();
            let answers = asked["answers"].as_array().unwrap();
            assert_eq!(spans.len(), answers.len());
            for (span, answer) in spans.iter().zip(answers) {
                let score = answer["score"].as_f64().unwrap();
                assert!((f64::from(span.score) - score).abs() <= 2.0 * LOGIT_BOUND);
            }
            assert_eq!(&context[spans[0].bytes.clone()], answers[0]["text"]);
        }
        assert!(windows > 6, "contexts are longer than a window");
        let other = reader
            .logits(
                "Who?",
                context,
                &options,
                &ArmPlan::uniform("window:0.3".parse().unwrap()),
            )
            .unwrap();
        assert_ne!(
            other,
            reader.logits("Who?", context, &options, &dense).unwrap()
        );
    }
}

#[test]
fn readers_refuse_what_they_cannot_read() {
    let dense = ArmPlan::uniform(Arm::Dense);
    let reader = reader("bert-qa");
    let usual = ReaderOptions {
        max_tokens: 32,
        doc_stride: 8,
        best: 5,
        answer_tokens: 5,
    };
    for (options, want) in [
        (
            ReaderOptions {
                max_tokens: 500,
                ..usual
            },
            "max_tokens = 500, expected 1 to 48",
        ),
        (
            ReaderOptions {
                doc_stride: 32,
                ..usual
            },
            "doc_stride = 32, expected less than",
        ),
        (
            ReaderOptions { best: 0, ..usual },
            "best = 0, expected at least 1",
        ),
    ] {
        let error = reader
            .answers("who?", "the fox", &options, &dense)
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(want), "{error}");
    }
    let long = "who ".repeat(40);
    assert!(
        reader.answers(&long, "the fox", &usual, &dense).is_err(),
        "no room for the context"
    );
    let (config, tokenizer) = (
        file("xlmr-long", "config.json"),
        file("xlmr-long", "tokenizer.json"),
    );
    let headless =
        Reader::from_hugging_face(&config, &file("xlmr-long", "model.safetensors"), &tokenizer);
    let error = headless.unwrap_err();
    assert!(
        matches!(error, LoadError::Tensor(_)) && error.to_string().contains("qa_outputs.weight"),
        "{error}"
    );
}

#[test]
fn long_xlm_r_models_reach_their_last_position() {
    let of = |name: &str| file("xlmr-long", name);
    let encoder = Encoder::from_hugging_face(
        &of("config.json"),
        &of("model.safetensors"),
        &of("tokenizer.json"),
    )
    .unwrap();
    let architecture = encoder.architecture();
    assert_eq!(architecture.positions, Positions::AfterPad { pad: 1 });
    assert_eq!(
        (architecture.max_positions, architecture.max_tokens()),
        (8194, 8192)
    );
    let expected = expected("xlmr-long");
    let words: Vec<&str> = expected["words"]
        .as_array()
        .unwrap()
        .iter()
        .map(|word| word.as_str().unwrap())
        .collect();
    let mut sequences = Vec::new();
    for text in expected["texts"].as_array().unwrap() {
        let ids = text["word_ids"].as_array().unwrap().iter();
        let text_words: Vec<&str> = ids.map(|id| words[number(id)]).collect();
        let tokens = encoder.tokens(&text_words.join(" ")).unwrap();
        assert_eq!(tokens.len(), number(&text["length"]));
        sequences.push(tokens);
    }
    let dense = ArmPlan::uniform(Arm::Dense);
    let mean = encoder.embed(&sequences, &dense).unwrap().vectors;
    let first = encoder.with_pooling(Pooling::First);
    // The longest takes seconds: once is enough.
    let of_first = first.embed(&sequences[..2], &dense).unwrap().vectors;
    let texts = expected["texts"].as_array().unwrap();
    for (text, mean) in texts.iter().zip(&mean) {
        near(mean, &text["mean"], 2e-5);
    }
    for (text, first) in texts.iter().zip(&of_first) {
        near(first, &text["first"], 2e-5);
    }
    let mut longer = sequences.pop().unwrap();
    longer.insert(1, 5);
    let error = first.embed(&[longer], &dense).unwrap_err().to_string();
    assert!(
        error.contains("8193 tokens, but the encoder reads 8192 at most"),
        "{error}"
    );
}
