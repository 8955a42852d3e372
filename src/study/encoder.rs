//! The encoder as a study's embedder: one arm in all layers for documents, dense for questions, texts with the model's
//! prefixes and cut as the published models cut them.

use crate::encoder::{Arm, ArmPlan, Encoder, Role};

use super::embedder::{Embedded, Embedder};

impl Embedder for Encoder {
    fn check_arm(&self, arm: &str) -> Result<(), String> {
        plan_of(arm).map(drop)
    }

    fn embed_documents(&mut self, texts: &[String], arm: &str) -> Result<Embedded, String> {
        embed(self, texts, Role::Passage, &plan_of(arm)?)
    }

    fn embed_queries(&mut self, texts: &[String]) -> Result<Vec<Vec<f32>>, String> {
        Ok(embed(self, texts, Role::Query, &ArmPlan::uniform(Arm::Dense))?.vectors)
    }

    fn count_tokens(&mut self, text: &str) -> Result<usize, String> {
        let tokens = |text: &str| self.tokens(text).map_err(|error| error.to_string());
        // What the tokenizer puts around the empty text it puts around any.
        Ok(tokens(text)?.len().saturating_sub(tokens("")?.len()))
    }
}

fn plan_of(arm: &str) -> Result<ArmPlan, String> {
    let arm: Arm = arm.parse().map_err(|error| format!("{error}"))?;
    Ok(ArmPlan::uniform(arm))
}

fn embed(
    encoder: &Encoder,
    texts: &[String],
    role: Role,
    plan: &ArmPlan,
) -> Result<Embedded, String> {
    let tokens = |text: &String| {
        encoder
            .tokens(&role.prefixed(text))
            .map(|tokens| encoder.cut(tokens))
    };
    let sequences: Result<Vec<Vec<u32>>, _> = texts.iter().map(tokens).collect();
    let embedded = sequences.and_then(|sequences| encoder.embed(&sequences, plan));
    let embedded = embedded.map_err(|error| error.to_string())?;
    Ok(Embedded {
        vectors: embedded.vectors,
        densities: embedded.realised_density,
    })
}
