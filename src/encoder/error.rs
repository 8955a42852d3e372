//! Why an encoder cannot be loaded or run.

use crate::encoder::arm::ArmError;
use crate::format::TensorError;

/// Why a model file is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file does not start as a model file does.
    #[error(
        "not an E5S1 model file: it starts with {found:02x?}, expected {expected:02x?} (\"E5S1\")"
    )]
    Magic {
        /// Its first bytes.
        found: Vec<u8>,
        /// The bytes of a model file.
        expected: [u8; 4],
    },
    /// The file ends before what its own header announces.
    #[error(
        "model file cut short: {what} needs {need} bytes at offset {offset}, but the file has {length} bytes; download it again"
    )]
    Truncated {
        /// What was being read.
        what: String,
        /// Where.
        offset: u64,
        /// Bytes needed there.
        need: u64,
        /// Length of the file.
        length: usize,
    },
    /// A number of a header or configuration is outside its domain.
    #[error("{field} = {value}, expected {limit}")]
    Field {
        /// Which one.
        field: &'static str,
        /// The value found.
        value: String,
        /// Its domain.
        limit: String,
    },
    /// A tensor is missing or of the wrong shape or format.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// A tensor holds a number that is not finite.
    #[error("tensor {tensor} has {value} at element {element}, expected a finite number")]
    NotFinite {
        /// Its name.
        tensor: String,
        /// Which element.
        element: usize,
        /// The value found.
        value: String,
    },
    /// `config.json` does not parse or lacks a field.
    #[error("config.json: {reason}")]
    Config {
        /// What the parser met.
        reason: String,
    },
    /// The tokenizer does not parse or lacks a token.
    #[error("tokenizer: {reason}")]
    Tokenizer {
        /// What was met.
        reason: String,
    },
}

/// Why texts cannot be embedded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncoderError {
    /// The tokenizer refused a text.
    #[error("tokenizer: {reason}")]
    Tokenizer {
        /// What it said.
        reason: String,
    },
    /// A sequence without tokens has no mean.
    #[error("sequence {sequence} has no token")]
    Empty {
        /// Its place in the batch.
        sequence: usize,
    },
    /// A sequence is longer than the position embedding reaches.
    #[error(
        "sequence {sequence} has {tokens} tokens, but the encoder reads {limit} at most; cut it with Encoder::cut"
    )]
    TooLong {
        /// Its place in the batch.
        sequence: usize,
        /// Its length.
        tokens: usize,
        /// The encoder's limit.
        limit: usize,
    },
    /// A token id has no row in the token embedding.
    #[error(
        "token {token} at place {place} of sequence {sequence} is not below the vocabulary's {vocab}"
    )]
    UnknownToken {
        /// The sequence's place in the batch.
        sequence: usize,
        /// The token's place in the sequence.
        place: usize,
        /// The id.
        token: u32,
        /// Rows of the token embedding.
        vocab: usize,
    },
    /// What is to be added to the embeddings has not their shape.
    #[error(
        "shift of sequence {sequence} has {found} components, expected {expected} (tokens x hidden)"
    )]
    Shift {
        /// The sequence's place in the batch.
        sequence: usize,
        /// Components given.
        found: usize,
        /// Components of the embeddings.
        expected: usize,
    },
    /// The attention arms do not fit the encoder.
    #[error(transparent)]
    Arm(#[from] ArmError),
    /// Attention failed, in the native backend or in the caller's.
    #[error("attention of layer {layer} of sequence {sequence}: {source}")]
    Attention {
        /// The sequence's place in the batch.
        sequence: usize,
        /// Which layer.
        layer: usize,
        /// What happened.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
