//! What a study asks of an encoder.

use std::ops::Range;

/// Vectors of some texts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Embedded {
    /// One a text, of Euclidean length 1; or several one after the other, of which a question is compared with the nearest.
    pub vectors: Vec<Vec<f32>>,
    /// Share of (query, key) pairs attended, one a text, averaged over layers and heads; 1 for dense.
    pub densities: Vec<f64>,
}

/// Gaussian noise on the embeddings of a document's tokens: `sigma` times the root mean square of the encoder's token
/// embedding times the document's [`Normals`](crate::noise::Normals).
#[derive(Clone, Debug, PartialEq)]
pub struct Shift {
    /// Id of the document, part of the seed.
    pub document: String,
    /// Global seed.
    pub seed: u64,
    /// Relative standard deviation.
    pub sigma: f64,
    /// Bytes of the text whose tokens stay as they are.
    pub protected: Vec<Range<usize>>,
}

impl Shift {
    /// All that a vector depends on besides text and arm.
    pub(super) fn identity(&self) -> String {
        let Self {
            document,
            seed,
            sigma,
            protected,
        } = self;
        format!("{document} seed={seed} sigma={sigma} protected={protected:?}")
    }
}

/// An encoder with its attention arms. Errors are text: a study only passes them on.
pub trait Embedder {
    /// Refuses an arm it does not have, before hours are spent.
    ///
    /// # Errors
    /// Why, and which arms there are.
    fn check_arm(&self, arm: &str) -> Result<(), String>;

    /// Arm with all that its vectors depend on besides the text: a store keeps vectors by it.
    fn identity(&self, arm: &str) -> String {
        arm.to_owned()
    }

    /// Whether an arm gives several vectors a document; they are kept in memory alone.
    fn has_parts(&self, arm: &str) -> bool {
        let _ = arm;
        false
    }

    /// Embeds documents under an arm.
    ///
    /// # Errors
    /// Why it cannot.
    fn embed_documents(&mut self, texts: &[String], arm: &str) -> Result<Embedded, String>;

    /// Embeds documents under an arm, each with its noise on the embeddings.
    ///
    /// # Errors
    /// Why it cannot.
    fn embed_shifted(
        &mut self,
        texts: &[String],
        shifts: &[Shift],
        arm: &str,
    ) -> Result<Embedded, String> {
        let _ = (texts, shifts, arm);
        Err("this encoder puts no noise on embeddings".to_owned())
    }

    /// Root mean square of a document's noise over all its components, in units of the token embedding's.
    ///
    /// # Errors
    /// Why there is none.
    fn shift_rms(&mut self, text: &str, shift: &Shift) -> Result<f64, String> {
        let _ = (text, shift);
        Err("this encoder puts no noise on embeddings".to_owned())
    }

    /// Embeds questions; always dense, since they are short.
    ///
    /// # Errors
    /// Why it cannot.
    fn embed_queries(&mut self, texts: &[String]) -> Result<Vec<Vec<f32>>, String>;

    /// Tokens of a text alone, without prefix and special tokens.
    ///
    /// # Errors
    /// Why they cannot be counted.
    fn count_tokens(&mut self, text: &str) -> Result<usize, String>;
}
