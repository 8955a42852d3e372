//! The encoder against a plain forward pass, over every file form it reads, and against pinned values of the real model.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail as the test does")]

mod checkpoints;
mod plain;
mod real;

use flashproof::backend::native::NativeInputs;
use flashproof::encoder::{
    Arm, ArmPlan, AttentionBackend, AttentionFailure, Embedded, Encoder, EncoderError, LoadError,
    Native, Pooling, Precision, Role, Site,
};
use flashproof::format::TensorError;
use flashproof_reference::Layout;
use proptest::prelude::*;
use safetensors::Dtype;

use crate::tiny_model::TinyModel;
use plain::Plain;

fn dense() -> ArmPlan {
    ArmPlan::uniform(Arm::Dense)
}

fn bits(embedded: &Embedded) -> Vec<Vec<u32>> {
    embedded
        .vectors
        .iter()
        .map(|vector| vector.iter().map(|value| value.to_bits()).collect())
        .collect()
}

fn hugging_face(model: &TinyModel, model_type: &str, prefix: &str, dtype: Dtype) -> Encoder {
    let (config, tokenizer) = (TinyModel::config(model_type), TinyModel::tokenizer());
    Encoder::from_hugging_face(
        config.as_bytes(),
        &model.safetensors(prefix, dtype),
        tokenizer.as_bytes(),
    )
    .unwrap()
}

/// Sequences of several lengths, one with a padding token inside, together longer than a chunk of the forward pass.
fn sequences() -> Vec<Vec<u32>> {
    let sequence = |length: u32| {
        (0..length)
            .map(|place| (place * place + 3 * length) % 15)
            .collect()
    };
    vec![
        vec![0, 5, 2],
        sequence(41),
        vec![0, 6, 1, 7, 2],
        sequence(88),
        vec![4],
        sequence(17),
    ]
}

/// Largest difference of an element, over all vectors.
fn worst(found: &Embedded, expected: &[Vec<f64>]) -> f64 {
    found
        .vectors
        .iter()
        .zip(expected)
        .flat_map(|(found, expected)| found.iter().zip(expected))
        .map(|(found, expected)| (f64::from(*found) - expected).abs())
        .fold(0.0, f64::max)
}

/// Elements of a unit vector of 64 are about 1/8. Each of the two layers sums at most 96 products of numbers near 1 in f32,
/// with a relative error of at most 96 * 2^-24 = 6e-6 of the sum of magnitudes, ten such steps follow each other, and the
/// norms keep the scale: 6e-5 * 1/8 = 8e-6. GELU's 4e-7 drowns in it.
const AGAINST_F64: f64 = 8e-6;

#[test]
fn forward_pass_agrees_with_a_plain_one_in_f64() {
    let model = TinyModel::random(1);
    let texts: Vec<Vec<u32>> = sequences()
        .into_iter()
        .filter(|tokens| !tokens.contains(&1))
        .collect();
    assert!(texts.len() >= 2);
    for (model_type, first_position) in [("bert", 0), ("xlm-roberta", 2)] {
        let plain = Plain {
            model: &model,
            first_position,
        };
        let expected: Vec<Vec<f64>> = texts.iter().map(|tokens| plain.embed(tokens)).collect();
        let found = hugging_face(&model, model_type, "", Dtype::F32)
            .embed(&texts, &dense())
            .unwrap();
        let error = worst(&found, &expected);
        assert!(error <= AGAINST_F64, "{model_type}: {error:e}");
        assert!(
            error > 1e-9,
            "{model_type}: an f32 pass cannot be this near: {error:e}"
        );
        // The test can fail: the other position scheme is far away.
        let other = Plain {
            model: &model,
            first_position: 2 - first_position,
        };
        let other: Vec<Vec<f64>> = texts.iter().map(|tokens| other.embed(tokens)).collect();
        assert!(worst(&found, &other) > 100.0 * AGAINST_F64);
    }
}

/// As [`AGAINST_F64`], with factors that are rounded to 8 bits, each with an error of at most 2^-9 of it: `2 * 2^-9` of the
/// sum of magnitudes, ten steps, elements of 1/8.
const BF16_AGAINST_F64: f64 = 10.0 * 2.0 / 512.0 / 8.0;

#[test]
fn products_in_bf16_are_as_near_as_their_roundings() {
    let model = TinyModel::random(1);
    let texts: Vec<Vec<u32>> = sequences()
        .into_iter()
        .filter(|tokens| !tokens.contains(&1))
        .collect();
    let plain = Plain {
        model: &model,
        first_position: 2,
    };
    let expected: Vec<Vec<f64>> = texts.iter().map(|tokens| plain.embed(tokens)).collect();
    let encoder =
        hugging_face(&model, "xlm-roberta", "", Dtype::F32).with_precision(Precision::Bf16);
    let found = encoder.embed(&texts, &dense()).unwrap();
    let error = worst(&found, &expected);
    assert!(error <= BF16_AGAINST_F64, "{error:e}");
    assert!(error > AGAINST_F64, "nothing was rounded: {error:e}");
    let alone = encoder.embed(&texts[1..2], &dense()).unwrap();
    assert_eq!(
        bits(&alone)[0],
        bits(&found)[1],
        "a vector depends on its batch"
    );
}

#[test]
fn every_file_form_gives_the_same_bits() {
    let model = TinyModel::random(2);
    let e5s1 = Encoder::from_e5s1(&model.e5s1(), None).unwrap();
    let expected = bits(&e5s1.embed(&sequences(), &dense()).unwrap());
    for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
        for prefix in ["", "bert.", "roberta."] {
            let encoder = hugging_face(&model, "bert", prefix, dtype);
            assert_eq!(
                bits(&encoder.embed(&sequences(), &dense()).unwrap()),
                expected,
                "{dtype:?} {prefix:?}"
            );
        }
    }
    let xlm = hugging_face(&model, "xlm-roberta", "roberta.", Dtype::F32);
    assert_ne!(bits(&xlm.embed(&sequences(), &dense()).unwrap()), expected);
    assert_eq!(
        (
            e5s1.architecture().max_tokens(),
            xlm.architecture().max_tokens()
        ),
        (90, 88)
    );
}

#[test]
fn a_vector_does_not_depend_on_its_batch() {
    let encoder = hugging_face(&TinyModel::random(3), "bert", "", Dtype::F32);
    let together = bits(&encoder.embed(&sequences(), &dense()).unwrap());
    for (sequence, expected) in sequences().into_iter().zip(together) {
        let length = sequence.len();
        assert_eq!(
            bits(&encoder.embed(&[sequence], &dense()).unwrap()),
            [expected],
            "{length} tokens"
        );
    }
    assert_eq!(encoder.embed(&[], &dense()).unwrap().vectors.len(), 0);
}

#[test]
fn arms_that_show_everything_give_the_dense_bits_and_others_do_not() {
    let encoder = hugging_face(&TinyModel::random(4), "bert", "", Dtype::F32);
    let expected = encoder.embed(&sequences(), &dense()).unwrap();
    for arm in [
        "window:1",
        "window-sink:1",
        "window-global:1",
        "block-topk:1:16",
        "random-blocks:1:16:9",
        "block-topk:1:5",
    ] {
        let found = encoder
            .embed(&sequences(), &ArmPlan::uniform(arm.parse().unwrap()))
            .unwrap();
        assert_eq!(bits(&found), bits(&expected), "{arm}");
        assert!(
            found
                .realised_density
                .iter()
                .all(|density| (density - 1.0).abs() < 1e-12),
            "{arm}"
        );
    }
    let mut seen = vec![bits(&expected)];
    for arm in [
        "window:0.3",
        "window-sink:0.3",
        "window-global:0.3",
        "block-topk:0.3:8",
        "random-blocks:0.3:8",
        "random-blocks:0.3:8:1",
    ] {
        let found = encoder
            .embed(&sequences(), &ArmPlan::uniform(arm.parse().unwrap()))
            .unwrap();
        assert!(
            !seen.contains(&bits(&found)),
            "{arm} gives what another arm gives"
        );
        seen.push(bits(&found));
        assert!(
            (found.realised_density[3] - 0.3).abs() < 4.0 / 88.0,
            "{arm}: {}",
            found.realised_density[3]
        );
    }
}

#[test]
fn a_plan_holds_an_arm_for_each_layer() {
    let encoder = hugging_face(&TinyModel::random(5), "bert", "", Dtype::F32);
    let window: Arm = "window:0.3".parse().unwrap();
    let embed = |arms: &[Arm]| {
        bits(
            &encoder
                .embed(&sequences(), &ArmPlan::per_layer(arms.to_vec()))
                .unwrap(),
        )
    };
    let first = embed(&[window, Arm::Dense]);
    let last = embed(&[Arm::Dense, window]);
    assert_ne!(first, last);
    assert_eq!(embed(&[window, window]), embed(&[window]));
    let densities = encoder
        .embed(&sequences(), &ArmPlan::per_layer(vec![window, Arm::Dense]))
        .unwrap()
        .realised_density;
    assert!((densities[3] - 0.65).abs() < 1.0 / 88.0, "{densities:?}");
    let wrong = encoder
        .embed(&sequences(), &ArmPlan::per_layer(vec![Arm::Dense; 3]))
        .unwrap_err();
    assert_eq!(
        wrong.to_string(),
        "3 arms for an encoder of 2 layers; give one, or one a layer"
    );
}

/// Watches the native backend, or spoils one head of it, or fails.
#[derive(Default)]
struct Watcher {
    sites: Vec<Site>,
    spoil: bool,
    fail_at: Option<Site>,
}

impl AttentionBackend for Watcher {
    fn attention(
        &mut self,
        site: Site,
        inputs: &NativeInputs<'_>,
        layout: &Layout,
        o: &mut [f32],
    ) -> Result<(), AttentionFailure> {
        self.sites.push(site);
        assert_eq!(
            (
                inputs.shape.num_q_heads,
                inputs.shape.head_dim,
                inputs.scale.to_bits()
            ),
            (4, 16, 0.25_f32.to_bits())
        );
        assert_eq!(inputs.q.len(), inputs.shape.seqlen_q * 64);
        if self.fail_at == Some(site) {
            return Err("no such machine".into());
        }
        Native.attention(site, inputs, layout, o)?;
        if self.spoil {
            o[0] += 1.0;
        }
        Ok(())
    }
}

#[test]
fn every_attention_goes_through_the_callers_backend() {
    let encoder = hugging_face(&TinyModel::random(6), "bert", "", Dtype::F32);
    let native = bits(&encoder.embed(&sequences(), &dense()).unwrap());
    let mut watcher = Watcher::default();
    assert_eq!(
        bits(
            &encoder
                .embed_through(&sequences(), &dense(), &mut watcher)
                .unwrap()
        ),
        native
    );
    let expected: Vec<Site> = (0..2)
        .flat_map(|layer| (0..6).map(move |sequence| Site { sequence, layer }))
        .collect();
    assert_eq!(watcher.sites, expected);
    let mut spoiler = Watcher {
        spoil: true,
        ..Watcher::default()
    };
    let spoiled = bits(
        &encoder
            .embed_through(&sequences(), &dense(), &mut spoiler)
            .unwrap(),
    );
    assert!(
        spoiled
            .iter()
            .zip(&native)
            .all(|(spoiled, native)| spoiled != native)
    );
    let fail_at = Some(Site {
        sequence: 3,
        layer: 1,
    });
    let mut failing = Watcher {
        fail_at,
        ..Watcher::default()
    };
    let error = encoder
        .embed_through(&sequences(), &dense(), &mut failing)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "attention of layer 1 of sequence 3: no such machine"
    );
}

#[test]
fn pooling_of_the_first_token_is_another_vector() {
    let encoder = hugging_face(&TinyModel::random(7), "xlm-roberta", "", Dtype::F32);
    let mean = bits(&encoder.embed(&sequences(), &dense()).unwrap());
    let first = bits(
        &encoder
            .with_pooling(Pooling::First)
            .embed(&sequences(), &dense())
            .unwrap(),
    );
    assert!(mean[1] != first[1]);
    assert_eq!(mean[4], first[4], "the mean of one token is that token");
}

#[test]
fn tokenizers_of_both_files_agree() {
    let model = TinyModel::random(8);
    let pieces = Encoder::from_e5s1(&model.e5s1(), None).unwrap();
    let json = Encoder::from_e5s1(&model.e5s1(), Some(TinyModel::tokenizer().as_bytes())).unwrap();
    for text in [
        "",
        "a",
        "ab ca",
        "  abc   cab ",
        "query: abcabc",
        "über ü",
        "<s>a</s><pad>b<mask>",
        "zzz a z",
    ] {
        assert_eq!(
            pieces.tokens(text).unwrap(),
            json.tokens(text).unwrap(),
            "{text:?}"
        );
    }
    assert_eq!(pieces.tokens("ab").unwrap(), [0, 8, 2]);
    // Beyond the letters: only the E5S1 file has the normaliser.
    assert_eq!(
        pieces.tokens("Ａb\u{ad}").unwrap(),
        pieces.tokens("ab").unwrap()
    );
    assert_eq!(pieces.tokenizer().pad(), Some(1));
    assert_eq!(Role::Query.prefixed("ab"), "query: ab");
    assert_eq!(Role::Passage.prefixed("ab"), "passage: ab");
}

#[test]
fn long_texts_are_refused_or_cut() {
    let encoder = hugging_face(&TinyModel::random(9), "xlm-roberta", "", Dtype::F32);
    let long = encoder.tokens(&"a ".repeat(200)).unwrap();
    assert!(long.len() > 200);
    let error = encoder
        .embed(std::slice::from_ref(&long), &dense())
        .unwrap_err();
    assert!(
        matches!(
            error,
            EncoderError::TooLong {
                sequence: 0,
                limit: 88,
                ..
            }
        ),
        "{error}"
    );
    let cut = encoder.cut(long.clone());
    assert_eq!((cut.len(), &cut[..87], cut[87]), (88, &long[..87], 2));
    assert!(encoder.embed(&[cut], &dense()).is_ok());
    assert_eq!(encoder.cut(vec![0, 2]), [0, 2]);
    let error = encoder
        .embed(&[vec![0], vec![0, 15]], &dense())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "token 15 at place 1 of sequence 1 is not below the vocabulary's 15"
    );
    assert!(matches!(
        encoder.embed(&[vec![0], vec![]], &dense()),
        Err(EncoderError::Empty { sequence: 1 })
    ));
}

// ---- bad files ----

#[test]
fn wrong_weights_are_named_with_expected_and_found() {
    let load = |model: &TinyModel| {
        let (config, tokenizer) = (TinyModel::config("bert"), TinyModel::tokenizer());
        let file = model.safetensors("bert.", Dtype::F32);
        [
            Encoder::from_e5s1(&model.e5s1(), None).map(|_| ()),
            Encoder::from_hugging_face(config.as_bytes(), &file, tokenizer.as_bytes()).map(|_| ()),
        ]
        .map(|loaded| loaded.unwrap_err().to_string())
    };
    let mut model = TinyModel::random(10);
    let narrow = model.tensors["l1.aln.b"].clone();
    model.tensors.insert("l1.fi.b".to_owned(), narrow);
    assert_eq!(
        load(&model),
        [
            "tensor l1.fi.b has shape [64], expected [96]",
            "tensor bert.encoder.layer.1.intermediate.dense.bias has shape [64], expected [96]"
        ]
    );
    model.tensors.remove("l0.oln.w");
    assert_eq!(
        load(&model),
        [
            "tensor l0.oln.w is missing from the 36 tensors of the file",
            "tensor bert.encoder.layer.0.output.LayerNorm.weight is missing from the 36 tensors of the file"
        ]
    );
}

#[test]
fn a_weight_that_is_not_finite_is_refused() {
    let file = TinyModel::random(11).e5s1();
    // The last tensor is l1.v.w: 128 blocks of 18 bytes. Before it lies l1.v.b: 64 numbers of 4 bytes.
    let end = file.len();
    let load = |place: usize, bytes: &[u8]| {
        let mut file = file.clone();
        file[place..place + bytes.len()].copy_from_slice(bytes);
        Encoder::from_e5s1(&file, None).unwrap_err().to_string()
    };
    assert_eq!(
        load(end - 128 * 18 - 4, &f32::NAN.to_le_bytes()),
        "tensor l1.v.b has NaN at element 63, expected a finite number"
    );
    let error = load(end - 18, &half::f16::INFINITY.to_le_bytes());
    assert!(
        error.starts_with("tensor l1.v.w has ") && error.contains(" at element 40"),
        "{error}"
    );
}

#[test]
fn configurations_that_are_not_ours_are_named() {
    let model = TinyModel::random(12).safetensors("", Dtype::F32);
    let load = |from: &str, to: &str| {
        let config = TinyModel::config("bert");
        assert!(config.contains(from));
        let config = config.replace(from, to);
        Encoder::from_hugging_face(config.as_bytes(), &model, TinyModel::tokenizer().as_bytes())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        load("\"bert\"", "\"gpt2\""),
        "model_type = \"gpt2\", expected \"bert\", \"xlm-roberta\" or \"roberta\""
    );
    assert_eq!(
        load("\"gelu\"", "\"relu\""),
        "hidden_act = \"relu\", expected \"gelu\""
    );
    assert_eq!(
        load("_heads\":4", "_heads\":5"),
        "heads = 5, expected a divisor of hidden = 64"
    );
    assert!(load("\"vocab_size\":15,", "").contains("config.json: missing field `vocab_size`"));
    assert_eq!(
        load("\"vocab_size\":15", "\"vocab_size\":16"),
        "tensor embeddings.word_embeddings.weight has shape [15, 64], expected [16, 64]"
    );
    let (config, tokenizer) = (TinyModel::config("bert"), TinyModel::tokenizer());
    let error = Encoder::from_hugging_face(
        config.as_bytes(),
        &model[..model.len() - 1],
        tokenizer.as_bytes(),
    )
    .unwrap_err();
    assert!(
        matches!(error, LoadError::Tensor(TensorError::Malformed { .. })),
        "{error}"
    );
}

#[test]
fn every_cut_of_an_e5s1_file_is_one_error() {
    let file = TinyModel::random(13).e5s1();
    // Every byte of the header, then every 97th of the tensors.
    let header = file.len() - file.len() / 2;
    for length in (0..2_200.min(header))
        .chain((2_200..file.len()).step_by(97))
        .chain([file.len() - 1])
    {
        let error = Encoder::from_e5s1(&file[..length], None).unwrap_err();
        if length < 4 {
            assert!(matches!(error, LoadError::Magic { .. }), "{error}");
            continue;
        }
        let LoadError::Truncated {
            offset,
            need,
            length: found,
            ..
        } = error
        else {
            panic!("{length} bytes: {error}");
        };
        assert_eq!(found, length);
        assert!(offset + need > u64::try_from(length).unwrap());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// No bytes make the loader panic: bytes changed anywhere, most of them in the header.
    #[test]
    fn changed_e5s1_files_load_or_are_refused(changes in prop::collection::vec((0_usize..2_600, any::<u8>()), 1..6), cut in 0_usize..3_000) {
        let mut file = TinyModel::random(14).e5s1();
        for (place, byte) in changes {
            file[place] = byte;
        }
        if cut % 4 == 0 {
            file.truncate(cut);
        }
        if let Ok(encoder) = Encoder::from_e5s1(&file, None) {
            let tokens = encoder.cut(encoder.tokens("ab  ca").unwrap());
            let _ = encoder.embed(&[tokens], &dense());
        }
    }

    #[test]
    fn any_bytes_load_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut file = b"E5S1\x01\0\0\0".to_vec();
        file.extend(&bytes);
        prop_assert!(Encoder::from_e5s1(&file, None).is_err());
        prop_assert!(Encoder::from_hugging_face(&bytes, &bytes, TinyModel::tokenizer().as_bytes()).is_err());
    }
}
