//! The encoder from the data tree.

use super::{Failure, note};
use crate::encoder::{Encoder, Precision};
use crate::fetch::{Tree, Weights};
use crate::simd::bf16::Weights16;
use crate::study::ArmEncoder;
use std::path::Path;

/// An encoder and the name of its weights.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) arms: ArmEncoder,
    /// Model and weights, as a study's plan records them.
    pub(super) name: &'static str,
}

impl Model {
    /// Loads the weights that the tree holds, for products in f32.
    pub(super) fn load(tree: &Tree) -> Result<Self, Failure> {
        Self::load_for(tree, Precision::F32)
    }

    /// Loads the weights that the tree holds, for products of this precision.
    pub(super) fn load_for(tree: &Tree, precision: Precision) -> Result<Self, Failure> {
        let weights = tree.model().map_err(Failure::input)?;
        let (encoder, name) = match &weights {
            Weights::Float {
                safetensors,
                config,
                tokenizer,
            } => (
                Encoder::from_hugging_face(&read(config)?, &read(safetensors)?, &read(tokenizer)?)
                    .map_err(|error| malformed(safetensors, &error))?,
                "multilingual-e5-small, f32 weights",
            ),
            Weights::FourBit { e5s1, tokenizer } => {
                let json = tokenizer.as_deref().map(read).transpose()?;
                (
                    Encoder::from_e5s1(&read(e5s1)?, json.as_deref())
                        .map_err(|error| malformed(e5s1, &error))?,
                    "multilingual-e5-small, 4-bit weights",
                )
            }
        };
        if precision == Precision::Bf16 && !Weights16::is_native() {
            note("this machine has no bf16 products (AVX-512 BF16): f32 is faster here");
        }
        Ok(Self {
            arms: ArmEncoder::new(encoder.with_precision(precision)),
            name,
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path)
        .map_err(|error| Failure::Input(format!("cannot read {}: {error}", path.display())))
}

fn malformed(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::Input(format!(
        "{}: {error}; if the file is damaged, remove it and run `flashproof fetch model`",
        path.display()
    ))
}
