//! Encoders as the Hugging Face hub keeps them: `config.json`, `model.safetensors`, `tokenizer.json`.

use serde::Deserialize;

use crate::encoder::architecture::{Architecture, Pooling, Positions};
use crate::encoder::error::LoadError;
use crate::encoder::tokenizer::Tokenizer;
use crate::encoder::weights::{Field, LayerPart, Part, Source};
use crate::format::{SafeTensors, TensorError};

/// The fields of `config.json` that shape the encoder; the many others do not.
#[derive(Debug, Deserialize)]
struct Config {
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    max_position_embeddings: usize,
    type_vocab_size: usize,
    layer_norm_eps: f32,
    hidden_act: String,
    #[serde(default = "absolute")]
    position_embedding_type: String,
    #[serde(default)]
    pad_token_id: Option<u32>,
}

fn absolute() -> String {
    "absolute".to_owned()
}

/// The architecture that `config.json` states. The padding token is the tokenizer's where it names one: the
/// configuration of multilingual-e5-small has 0, which is `<s>`.
pub(crate) fn architecture(
    config: &[u8],
    tokenizer: &Tokenizer,
) -> Result<Architecture, LoadError> {
    let config: Config = serde_json::from_slice(config).map_err(|error| LoadError::Config {
        reason: error.to_string(),
    })?;
    let only = |field, value: &str, limit: &str| {
        if value == limit {
            return Ok(());
        }
        Err(LoadError::Field {
            field,
            value: format!("{value:?}"),
            limit: format!("{limit:?}"),
        })
    };
    only("hidden_act", &config.hidden_act, "gelu")?;
    only(
        "position_embedding_type",
        &config.position_embedding_type,
        "absolute",
    )?;
    let positions = match config.model_type.as_str() {
        "bert" => Positions::FromZero,
        "xlm-roberta" | "roberta" => Positions::AfterPad {
            pad: tokenizer.pad().or(config.pad_token_id).ok_or_else(|| LoadError::Config {
                reason: "neither the tokenizer nor pad_token_id names the padding token that positions start after"
                    .to_owned(),
            })?,
        },
        // Any other string names an architecture that is not this one.
        other => {
            return Err(LoadError::Field {
                field: "model_type",
                value: format!("{other:?}"),
                limit: "\"bert\", \"xlm-roberta\" or \"roberta\"".to_owned(),
            });
        }
    };
    Architecture {
        hidden: config.hidden_size,
        layers: config.num_hidden_layers,
        heads: config.num_attention_heads,
        ffn: config.intermediate_size,
        vocab: config.vocab_size,
        max_positions: config.max_position_embeddings,
        type_vocab: config.type_vocab_size,
        ln_eps: config.layer_norm_eps,
        positions,
        pooling: Pooling::Mean,
    }
    .checked()
}

/// A safetensors file with the prefix that its tensor names carry.
#[derive(Debug)]
pub(crate) struct Checkpoint<'a> {
    tensors: SafeTensors<'a>,
    prefix: &'static str,
}

impl<'a> Checkpoint<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, LoadError> {
        let tensors = SafeTensors::parse(bytes)?;
        let word = name("", Part::Word);
        let prefix = ["", "bert.", "roberta."]
            .into_iter()
            .find(|prefix| tensors.contains(&format!("{prefix}{word}")))
            .ok_or_else(|| TensorError::Missing {
                tensor: word,
                count: tensors.count(),
            })?;
        Ok(Self { tensors, prefix })
    }
}

impl Checkpoint<'_> {
    /// A tensor that is no part of the encoder.
    pub(crate) fn head(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        Ok(self.tensors.values(name, shape)?)
    }
}

impl Source for Checkpoint<'_> {
    fn values(&self, part: Part, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        Ok(self.tensors.values(&self.name(part), shape)?)
    }

    fn name(&self, part: Part) -> String {
        name(self.prefix, part)
    }
}

/// The name of a weight in a checkpoint of `transformers`.
fn name(prefix: &str, part: Part) -> String {
    let field = |field| match field {
        Field::Weight => "weight",
        Field::Bias => "bias",
    };
    match part {
        Part::Word => format!("{prefix}embeddings.word_embeddings.weight"),
        Part::Position => format!("{prefix}embeddings.position_embeddings.weight"),
        Part::TokenType => format!("{prefix}embeddings.token_type_embeddings.weight"),
        Part::EmbeddingNorm(of) => format!("{prefix}embeddings.LayerNorm.{}", field(of)),
        Part::Layer(index, part, of) => {
            let part = match part {
                LayerPart::Query => "attention.self.query",
                LayerPart::Key => "attention.self.key",
                LayerPart::Value => "attention.self.value",
                LayerPart::AttentionOutput => "attention.output.dense",
                LayerPart::AttentionNorm => "attention.output.LayerNorm",
                LayerPart::FfnIn => "intermediate.dense",
                LayerPart::FfnOut => "output.dense",
                LayerPart::OutputNorm => "output.LayerNorm",
            };
            format!("{prefix}encoder.layer.{index}.{part}.{}", field(of))
        }
    }
}
