//! The encoder as a study's embedder.

use crate::encoder::{Arm, ArmPlan, Encoder, Role};

use super::embedder::{Embedded, Embedder};

/// An [`Encoder`] with one arm in all its layers; questions are dense.
#[derive(Debug)]
pub struct EncoderEmbedder {
    encoder: Encoder,
    /// Tokens that the tokenizer puts around any text.
    special_tokens: usize,
    texts_cut: usize,
}

impl EncoderEmbedder {
    /// An embedder around `encoder`.
    ///
    /// # Errors
    /// What the tokenizer says of the empty text, if it refuses even that.
    pub fn new(encoder: Encoder) -> Result<Self, String> {
        let special_tokens = encoder.tokens("").map_err(|error| error.to_string())?.len();
        Ok(Self { encoder, special_tokens, texts_cut: 0 })
    }

    /// Texts so far that were longer than the encoder reads and lost their end.
    #[must_use]
    pub fn texts_cut(&self) -> usize {
        self.texts_cut
    }

    fn embed(&mut self, texts: &[String], role: Role, arm: Arm) -> Result<Embedded, String> {
        let mut sequences = Vec::with_capacity(texts.len());
        for text in texts {
            let whole = self.encoder.tokens(&role.prefixed(text)).map_err(|error| error.to_string())?;
            let length = whole.len();
            let cut = self.encoder.cut(whole);
            self.texts_cut += usize::from(cut.len() < length);
            sequences.push(cut);
        }
        let embedded =
            self.encoder.embed(&sequences, &ArmPlan::uniform(arm)).map_err(|error| error.to_string())?;
        Ok(Embedded { vectors: embedded.vectors, densities: embedded.realised_density })
    }
}

impl Embedder for EncoderEmbedder {
    fn check_arm(&self, arm: &str) -> Result<(), String> {
        arm.parse::<Arm>().map(drop).map_err(|error| error.to_string())
    }

    fn embed_documents(&mut self, texts: &[String], arm: &str) -> Result<Embedded, String> {
        let arm: Arm = arm.parse().map_err(|error| format!("{error}"))?;
        self.embed(texts, Role::Passage, arm)
    }

    fn embed_queries(&mut self, texts: &[String]) -> Result<Vec<Vec<f32>>, String> {
        Ok(self.embed(texts, Role::Query, Arm::Dense)?.vectors)
    }

    fn count_tokens(&mut self, text: &str) -> Result<usize, String> {
        let tokens = self.encoder.tokens(text).map_err(|error| error.to_string())?;
        Ok(tokens.len().saturating_sub(self.special_tokens))
    }
}
