//! The encoder from the data tree, and as a study asks for it.

use super::Failure;
use crate::encoder::{Arm, ArmPlan, Encoder, Role};
use crate::fetch::{Tree, Weights};
use crate::study;
use std::path::Path;

/// An encoder and the name of its weights.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) encoder: Encoder,
    /// Model and weights, as a study's plan records them.
    pub(super) name: &'static str,
}

impl Model {
    /// Loads the weights that the tree holds.
    pub(super) fn load(tree: &Tree) -> Result<Self, Failure> {
        let weights = tree.model().map_err(Failure::input)?;
        Ok(match &weights {
            Weights::Float {
                safetensors,
                config,
                tokenizer,
            } => Self {
                encoder: Encoder::from_hugging_face(
                    &read(config)?,
                    &read(safetensors)?,
                    &read(tokenizer)?,
                )
                .map_err(|error| malformed(safetensors, &error))?,
                name: "multilingual-e5-small, f32 weights",
            },
            Weights::FourBit { e5s1, tokenizer } => {
                let json = tokenizer.as_deref().map(read).transpose()?;
                Self {
                    encoder: Encoder::from_e5s1(&read(e5s1)?, json.as_deref())
                        .map_err(|error| malformed(e5s1, &error))?,
                    name: "multilingual-e5-small, 4-bit weights",
                }
            }
        })
    }

    /// Tokens of texts with their prefix, cut to what the encoder reads.
    pub(super) fn tokens(&self, texts: &[String], role: Role) -> Result<Vec<Vec<u32>>, String> {
        texts
            .iter()
            .map(|text| {
                let tokens = self.encoder.tokens(&role.prefixed(text));
                tokens.map(|tokens| self.encoder.cut(tokens))
            })
            .collect::<Result<_, _>>()
            .map_err(|error| error.to_string())
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

/// The same arm in every layer, from its text.
pub(super) fn arm_plan(arm: &str) -> Result<ArmPlan, String> {
    let arm: Arm = arm
        .parse()
        .map_err(|error: crate::encoder::ArmError| error.to_string())?;
    Ok(ArmPlan::uniform(arm))
}

impl study::Embedder for Model {
    fn check_arm(&self, arm: &str) -> Result<(), String> {
        arm_plan(arm).map(|_| ())
    }

    fn embed_documents(&mut self, texts: &[String], arm: &str) -> Result<study::Embedded, String> {
        let tokens = self.tokens(texts, Role::Passage)?;
        let embedded = self
            .encoder
            .embed(&tokens, &arm_plan(arm)?)
            .map_err(|error| error.to_string())?;
        Ok(study::Embedded {
            vectors: embedded.vectors,
            densities: embedded.realised_density,
        })
    }

    fn embed_queries(&mut self, texts: &[String]) -> Result<Vec<Vec<f32>>, String> {
        let tokens = self.tokens(texts, Role::Query)?;
        self.encoder
            .embed(&tokens, &ArmPlan::uniform(Arm::Dense))
            .map(|embedded| embedded.vectors)
            .map_err(|error| error.to_string())
    }

    fn count_tokens(&mut self, text: &str) -> Result<usize, String> {
        // Without the opening and the closing special token.
        self.encoder
            .tokens(text)
            .map(|tokens| tokens.len().saturating_sub(2))
            .map_err(|error| error.to_string())
    }
}
