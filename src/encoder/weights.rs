//! The encoder's weights, in the order in which the forward pass uses them.

use serde::{Deserialize, Serialize};

use crate::convert;
use crate::encoder::architecture::Architecture;
use crate::encoder::error::LoadError;
use crate::simd::bf16::Weights16;

/// What the factors of an encoder's affine maps are rounded to; sums, norms and attention are in f32 either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Nothing: f32.
    #[default]
    F32,
    /// bf16, to nearest even: about twice the products a second where the machine multiplies it
    /// ([`Weights16::is_native`]), slower elsewhere.
    Bf16,
}

/// The weights of an affine map.
#[derive(Debug)]
pub(crate) enum Matrix {
    /// Row-major (inputs, outputs): the order in which the matrix product reads it without packing.
    F32(Vec<f32>),
    Bf16(Weights16),
}

/// An affine map `y = x W + b`.
#[derive(Debug)]
pub(crate) struct Linear {
    pub(crate) weight: Matrix,
    /// (outputs)
    pub(crate) bias: Vec<f32>,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
}

/// Scale and shift after a normalisation to mean 0 and variance 1.
#[derive(Debug)]
pub(crate) struct LayerNorm {
    pub(crate) weight: Vec<f32>,
    pub(crate) bias: Vec<f32>,
    pub(crate) eps: f32,
    pub(crate) reciprocal_length: f32,
}

impl LayerNorm {
    pub(crate) fn new(weight: Vec<f32>, bias: Vec<f32>, eps: f32) -> Self {
        let reciprocal_length = convert::f64_to_f32(convert::usize_to_f64(weight.len()).recip());
        Self {
            weight,
            bias,
            eps,
            reciprocal_length,
        }
    }
}

/// One transformer layer.
#[derive(Debug)]
pub(crate) struct Layer {
    /// Queries, keys and values side by side (hidden, 3 hidden).
    pub(crate) qkv: Linear,
    pub(crate) attention_output: Linear,
    pub(crate) attention_norm: LayerNorm,
    pub(crate) ffn_in: Linear,
    pub(crate) ffn_out: Linear,
    pub(crate) output_norm: LayerNorm,
}

/// Every weight of an encoder.
#[derive(Debug)]
pub(crate) struct Weights {
    /// (vocab, hidden)
    pub(crate) word: Vec<f32>,
    /// (`max_positions`, hidden)
    pub(crate) position: Vec<f32>,
    /// (`type_vocab`, hidden): a text on its own is all of type 0.
    pub(crate) token_type: Vec<f32>,
    pub(crate) embedding_norm: LayerNorm,
    pub(crate) layers: Vec<Layer>,
}

/// Which weight of the model, whatever its name in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Word,
    Position,
    TokenType,
    EmbeddingNorm(Field),
    Layer(usize, LayerPart, Field),
}

/// Which affine map or normalisation of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LayerPart {
    Query,
    Key,
    Value,
    AttentionOutput,
    AttentionNorm,
    FfnIn,
    FfnOut,
    OutputNorm,
}

/// Factor or addend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Weight,
    Bias,
}

/// A file that holds weights. `shape` is row-major; affine maps are (outputs, inputs), as `PyTorch` stores them.
pub(crate) trait Source {
    fn values(&self, part: Part, shape: &[usize]) -> Result<Vec<f32>, LoadError>;

    /// The part's name in this file.
    fn name(&self, part: Part) -> String;

    /// The values, refused if one is NaN or infinite: it would spread to every embedding.
    fn finite(&self, part: Part, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        let values = self.values(part, shape)?;
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(values),
            Some(element) => Err(LoadError::NotFinite {
                tensor: self.name(part),
                element,
                value: values[element].to_string(),
            }),
        }
    }
}

impl Linear {
    /// Rounds the weights, unless they are already.
    fn round(&mut self) {
        if let Matrix::F32(weight) = &self.weight {
            self.weight = Matrix::Bf16(Weights16::new(weight, self.inputs, self.outputs));
        }
    }
}

impl Weights {
    /// Rounds the weights of every affine map to bf16.
    pub(crate) fn round(&mut self) {
        for layer in &mut self.layers {
            layer.qkv.round();
            layer.attention_output.round();
            layer.ffn_in.round();
            layer.ffn_out.round();
        }
    }

    /// Reads every weight of `architecture` from `source`, checking its shape.
    pub(crate) fn read(
        architecture: &Architecture,
        source: &impl Source,
    ) -> Result<Self, LoadError> {
        let Architecture {
            hidden,
            layers,
            ffn,
            vocab,
            max_positions,
            type_vocab,
            ..
        } = *architecture;
        let token_type = source.finite(Part::TokenType, &[type_vocab, hidden])?;
        let eps = architecture.ln_eps;
        Ok(Self {
            word: source.finite(Part::Word, &[vocab, hidden])?,
            position: source.finite(Part::Position, &[max_positions, hidden])?,
            token_type,
            embedding_norm: LayerNorm::new(
                source.finite(Part::EmbeddingNorm(Field::Weight), &[hidden])?,
                source.finite(Part::EmbeddingNorm(Field::Bias), &[hidden])?,
                eps,
            ),
            layers: (0..layers)
                .map(|index| Layer::read(&LayerReader { source, index, eps }, hidden, ffn))
                .collect::<Result<_, _>>()?,
        })
    }
}

/// Reads the parts of one layer.
struct LayerReader<'a, S> {
    source: &'a S,
    index: usize,
    eps: f32,
}

impl<S: Source> LayerReader<'_, S> {
    /// Affine maps with the same inputs side by side.
    fn linear(
        &self,
        parts: &[LayerPart],
        inputs: usize,
        outputs_each: usize,
    ) -> Result<Linear, LoadError> {
        let outputs = parts.len() * outputs_each;
        let mut weight = vec![0.0; inputs * outputs];
        let mut bias = Vec::with_capacity(outputs);
        for (place, part) in parts.iter().enumerate() {
            let stored = self.source.finite(
                Part::Layer(self.index, *part, Field::Weight),
                &[outputs_each, inputs],
            )?;
            for (row, values) in stored.chunks_exact(inputs).enumerate() {
                let column = place * outputs_each + row;
                for (input, value) in values.iter().enumerate() {
                    weight[input * outputs + column] = *value;
                }
            }
            bias.extend(
                self.source
                    .finite(Part::Layer(self.index, *part, Field::Bias), &[outputs_each])?,
            );
        }
        Ok(Linear {
            weight: Matrix::F32(weight),
            bias,
            inputs,
            outputs,
        })
    }

    fn norm(&self, part: LayerPart, hidden: usize) -> Result<LayerNorm, LoadError> {
        Ok(LayerNorm::new(
            self.source
                .finite(Part::Layer(self.index, part, Field::Weight), &[hidden])?,
            self.source
                .finite(Part::Layer(self.index, part, Field::Bias), &[hidden])?,
            self.eps,
        ))
    }
}

impl Layer {
    fn read(
        reader: &LayerReader<'_, impl Source>,
        hidden: usize,
        ffn: usize,
    ) -> Result<Self, LoadError> {
        use LayerPart::{
            AttentionNorm, AttentionOutput, FfnIn, FfnOut, Key, OutputNorm, Query, Value,
        };
        Ok(Self {
            qkv: reader.linear(&[Query, Key, Value], hidden, hidden)?,
            attention_output: reader.linear(&[AttentionOutput], hidden, hidden)?,
            attention_norm: reader.norm(AttentionNorm, hidden)?,
            ffn_in: reader.linear(&[FfnIn], hidden, ffn)?,
            ffn_out: reader.linear(&[FfnOut], ffn, hidden)?,
            output_norm: reader.norm(OutputNorm, hidden)?,
        })
    }
}
