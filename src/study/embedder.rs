//! What a study asks of an encoder.

/// Vectors of some texts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Embedded {
    /// One a text, of Euclidean length 1.
    pub vectors: Vec<Vec<f32>>,
    /// Share of (query, key) pairs attended, one a text, averaged over layers and heads; 1 for dense.
    pub densities: Vec<f64>,
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

    /// Embeds documents under an arm.
    ///
    /// # Errors
    /// Why it cannot.
    fn embed_documents(&mut self, texts: &[String], arm: &str) -> Result<Embedded, String>;

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
