//! A small random encoder that tests make themselves, in every file form that the loaders read.
//!
//! Its weights are whole multiples of a short scale, at most eight significant bits: f32, f16, bf16 and 4-bit files hold
//! them exactly, so that every loader must give the same bits.

use std::collections::BTreeMap;

use flashproof_reference::random::Draws;
use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

pub(crate) const HIDDEN: usize = 64;
pub(crate) const LAYERS: usize = 2;
pub(crate) const HEADS: usize = 4;
pub(crate) const FFN: usize = 96;
pub(crate) const MAX_POSITIONS: usize = 90;
pub(crate) const TYPE_VOCAB: usize = 2;
pub(crate) const LN_EPS: f32 = 1e-5;
/// Vocabulary: special tokens, U+2581 and letters. One row of the embedding has no piece, as in the real model.
pub(crate) const PIECES: [&str; 14] = [
    "<s>", "<pad>", "</s>", "<unk>", "▁", "a", "b", "c", "▁ab", "ca", "query", ":", "▁ü", "<mask>",
];
pub(crate) const VOCAB: usize = PIECES.len() + 1;
const PAD: usize = 1;

/// Weights by their E5S1 names, each with its shape (affine maps: outputs, inputs).
#[derive(Clone, Debug)]
pub(crate) struct TinyModel {
    pub(crate) tensors: BTreeMap<String, Tensor>,
}

#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    pub(crate) shape: Vec<usize>,
    /// -8 to 7, one a weight.
    units: Vec<i8>,
    /// One for 32 weights.
    scales: Vec<f32>,
    /// Added to every weight: 1 for the factors of a norm.
    offset: f32,
}

impl Tensor {
    pub(crate) fn values(&self) -> Vec<f32> {
        self.units
            .iter()
            .enumerate()
            .map(|(index, unit)| self.offset + f32::from(*unit) * self.scales[index / 32])
            .collect()
    }
}

impl TinyModel {
    pub(crate) fn random(seed: u64) -> Self {
        let mut draws = Draws::from_seed(seed);
        let mut tensor = |shape: &[usize], offset: f32, exponent: i32| {
            let count = shape.iter().product();
            let mut below = |limit| i8::try_from(draws.below(limit)).expect("a small number");
            let units = (0..count).map(|_| below(16) - 8).collect();
            // With 1 added a weight has to stay within eight bits, so its scale is a power of two.
            let finest = if offset > 0.0 { 1 } else { 8 };
            let scales = (0..count.div_ceil(32))
                .map(|_| f32::from(8 + below(finest)) * 2.0_f32.powi(exponent))
                .collect();
            Tensor {
                shape: shape.to_vec(),
                units,
                scales,
                offset,
            }
        };
        let mut tensors = BTreeMap::new();
        for (name, rows) in [
            ("word", VOCAB),
            ("pos", MAX_POSITIONS),
            ("type", TYPE_VOCAB),
        ] {
            tensors.insert(format!("emb.{name}"), tensor(&[rows, HIDDEN], 0.0, -7));
        }
        tensors.insert("emb.ln.w".to_owned(), tensor(&[HIDDEN], 1.0, -9));
        tensors.insert("emb.ln.b".to_owned(), tensor(&[HIDDEN], 0.0, -9));
        for layer in 0..LAYERS {
            for (part, outputs, inputs) in [
                ("q", HIDDEN, HIDDEN),
                ("k", HIDDEN, HIDDEN),
                ("v", HIDDEN, HIDDEN),
                ("ao", HIDDEN, HIDDEN),
                ("fi", FFN, HIDDEN),
                ("fo", HIDDEN, FFN),
            ] {
                tensors.insert(
                    format!("l{layer}.{part}.w"),
                    tensor(&[outputs, inputs], 0.0, -8),
                );
                tensors.insert(format!("l{layer}.{part}.b"), tensor(&[outputs], 0.0, -8));
            }
            for part in ["aln", "oln"] {
                tensors.insert(format!("l{layer}.{part}.w"), tensor(&[HIDDEN], 1.0, -9));
                tensors.insert(format!("l{layer}.{part}.b"), tensor(&[HIDDEN], 0.0, -9));
            }
        }
        Self { tensors }
    }

    /// The file of `model.safetensors`, its names starting with `prefix`.
    pub(crate) fn safetensors(&self, prefix: &str, dtype: Dtype) -> Vec<u8> {
        let stored: Vec<(String, Vec<usize>, Vec<u8>)> = self
            .tensors
            .iter()
            .map(|(name, tensor)| {
                let values = tensor.values();
                let bytes = values
                    .iter()
                    .flat_map(|value| number_bytes(*value, dtype))
                    .collect();
                (
                    format!("{prefix}{}", checkpoint_name(name)),
                    tensor.shape.clone(),
                    bytes,
                )
            })
            .collect();
        let views = stored.iter().map(|(name, shape, bytes)| {
            (
                name.as_str(),
                TensorView::new(dtype, shape.clone(), bytes).expect("a tensor of its own shape"),
            )
        });
        safetensors::serialize(views, None).expect("a file in memory")
    }

    /// The E5S1 file: matrices in 4 bits, vectors in f32, as in the published one.
    pub(crate) fn e5s1(&self) -> Vec<u8> {
        let mut out = b"E5S1".to_vec();
        let number = |value: usize| i32::try_from(value).expect("a small number").to_le_bytes();
        out.extend(1_u32.to_le_bytes());
        for extent in [HIDDEN, LAYERS, HEADS, FFN, VOCAB, MAX_POSITIONS, TYPE_VOCAB] {
            out.extend(number(extent));
        }
        out.extend(LN_EPS.to_le_bytes());
        for value in [32, PIECES.len(), 0, 2, PAD, 3] {
            out.extend(number(value));
        }
        let text: String = PIECES.concat();
        out.extend(
            u64::try_from(text.len())
                .expect("a small number")
                .to_le_bytes(),
        );
        let mut end = 0;
        out.extend(number(0));
        for piece in PIECES {
            end += piece.len();
            out.extend(number(end));
        }
        for piece in PIECES {
            out.extend(score(piece).to_le_bytes());
        }
        out.extend(text.as_bytes());
        let entries = [('\t', " "), ('\u{ad}', ""), ('Ａ', "a"), ('㎫', "abc")];
        let mut normaliser: Vec<u8> = Vec::new();
        for (from, to) in entries {
            normaliser.extend(u32::from(from).to_le_bytes());
            normaliser.push(u8::try_from(to.chars().count()).expect("a small number"));
            normaliser.extend(to.chars().flat_map(|c| u32::from(c).to_le_bytes()));
        }
        out.extend(number(entries.len()));
        out.extend(number(normaliser.len()));
        out.extend(normaliser);

        out.extend(number(self.tensors.len()));
        let table: usize = self
            .tensors
            .keys()
            .map(|name| 2 + name.len() + 1 + 4 + 8 + 8)
            .sum();
        let mut offset = out.len() + table;
        let mut data = Vec::new();
        for (name, tensor) in &self.tensors {
            let four_bits = tensor.shape.len() == 2 && name.starts_with('l') || name == "emb.word";
            let bytes = if four_bits {
                four_bit_blocks(tensor)
            } else {
                tensor
                    .values()
                    .iter()
                    .flat_map(|v| v.to_le_bytes())
                    .collect()
            };
            out.extend(
                u16::try_from(name.len())
                    .expect("a short name")
                    .to_le_bytes(),
            );
            out.extend(name.as_bytes());
            out.push(u8::from(four_bits));
            out.extend(number(tensor.units.len()));
            for value in [offset, bytes.len()] {
                out.extend(u64::try_from(value).expect("a small number").to_le_bytes());
            }
            offset += bytes.len();
            data.extend(bytes);
        }
        out.extend(data);
        out
    }

    /// `config.json` of a `BertModel` or `XLMRobertaModel`. Its padding token is wrong, as it is in the real one.
    pub(crate) fn config(model_type: &str) -> String {
        format!(
            r#"{{"model_type":"{model_type}","vocab_size":{VOCAB},"hidden_size":{HIDDEN},"num_hidden_layers":{LAYERS},
            "num_attention_heads":{HEADS},"intermediate_size":{FFN},"hidden_act":"gelu","max_position_embeddings":{MAX_POSITIONS},
            "type_vocab_size":{TYPE_VOCAB},"layer_norm_eps":{LN_EPS},"pad_token_id":0,"further":[1]}}"#
        )
    }

    /// `tokenizer.json` of the same pieces, asking for truncation and padding as published files do.
    pub(crate) fn tokenizer() -> String {
        let special = |id: usize| {
            format!(
                r#"{{"id":{id},"content":"{}","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}}"#,
                PIECES[id]
            )
        };
        let special: Vec<String> = [0, 1, 2, 3, PIECES.len() - 1].map(special).into();
        let pieces: Vec<String> = PIECES
            .iter()
            .map(|piece| format!(r#"["{piece}",{}]"#, score(piece)))
            .collect();
        format!(
            r#"{{"version":"1.0",
            "truncation":{{"direction":"Right","max_length":4,"strategy":"LongestFirst","stride":0}},
            "padding":{{"strategy":{{"Fixed":9}},"direction":"Right","pad_to_multiple_of":null,"pad_id":1,"pad_type_id":0,"pad_token":"<pad>"}},
            "added_tokens":[{}],"normalizer":{{"type":"Replace","pattern":{{"Regex":" {{2,}}"}},"content":" "}},
            "pre_tokenizer":{{"type":"Metaspace","replacement":"▁","add_prefix_space":true}},
            "post_processor":{{"type":"RobertaProcessing","sep":["</s>",2],"cls":["<s>",0],"trim_offsets":false,"add_prefix_space":false}},
            "decoder":null,"model":{{"type":"Unigram","unk_id":3,"vocab":[{}]}}}}"#,
            special.join(","),
            pieces.join(",")
        )
    }
}

/// A number in a format of the weights.
fn number_bytes(value: f32, dtype: Dtype) -> Vec<u8> {
    if dtype == Dtype::F16 {
        f16::from_f32(value).to_le_bytes().to_vec()
    } else if dtype == Dtype::BF16 {
        bf16::from_f32(value).to_le_bytes().to_vec()
    } else {
        assert_eq!(dtype, Dtype::F32, "no fourth format is asked for");
        value.to_le_bytes().to_vec()
    }
}

/// Log-probability of a piece: the same for each, 0 for the special ones.
fn score(piece: &str) -> f32 {
    if piece.starts_with('<') { 0.0 } else { -2.5 }
}

/// Blocks of an f16 scale and 32 weights of 4 bits: the first sixteen in the low halves of the bytes.
fn four_bit_blocks(tensor: &Tensor) -> Vec<u8> {
    let mut out = Vec::new();
    for (units, scale) in tensor.units.chunks(32).zip(&tensor.scales) {
        out.extend(f16::from_f32(*scale).to_le_bytes());
        let nibble = |place: usize| {
            u8::try_from(units.get(place).map_or(8, |unit| unit + 8)).expect("0 to 15")
        };
        out.extend((0..16).map(|place| nibble(place) | (nibble(place + 16) << 4)));
    }
    out
}

/// The name of a weight in a checkpoint of `transformers`.
pub(crate) fn checkpoint_name(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    let field = |short| if short == "w" { "weight" } else { "bias" };
    match parts[..] {
        ["emb", "ln", of] => format!("embeddings.LayerNorm.{}", field(of)),
        ["emb", table] => {
            let table = match table {
                "word" => "word",
                "pos" => "position",
                "type" => "token_type",
                other => panic!("no table {other}"),
            };
            format!("embeddings.{table}_embeddings.weight")
        }
        [layer, part, of] => {
            let part = match part {
                "q" => "attention.self.query",
                "k" => "attention.self.key",
                "v" => "attention.self.value",
                "ao" => "attention.output.dense",
                "aln" => "attention.output.LayerNorm",
                "fi" => "intermediate.dense",
                "fo" => "output.dense",
                "oln" => "output.LayerNorm",
                other => panic!("no part {other}"),
            };
            format!("encoder.layer.{}.{part}.{}", &layer[1..], field(of))
        }
        ref other => panic!("no weight {other:?}"),
    }
}
