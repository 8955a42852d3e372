//! Noise put into documents at a stated level: N1, the share of distractor text at fixed length.
//!
//! Knows texts and a token counter that the caller gives; neither data sets nor encoders.

mod compose;
mod draws;
mod gold;
mod pool;
mod sentences;

pub use compose::{
    Composed, Composition, DistractorShare, Level, Noisy, Passage, Report, SLOT_COUNT,
};
pub use pool::{Distractor, DistractorPool};
pub use sentences::sentences;

/// Number of tokens of a text on its own, without the encoder's prefix and special tokens; an error of the tokenizer
/// as text.
pub type TokenCounter<'a> = dyn FnMut(&str) -> Result<usize, String> + 'a;

/// Why noise cannot be made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NoiseError {
    /// No distractor to draw from.
    #[error(
        "the pool of distractors is empty: give paragraphs of another corpus in the documents' language"
    )]
    EmptyPool,
    /// A share that four equal slots cannot give.
    #[error(
        "noise level {0} is none of 0, 0.25, 0.5, 0.75, 1 (the share of distractor slots among four)"
    )]
    Level(f64),
    /// A document no question is asked of: it has nothing to protect.
    #[error("document {document} has no answer to protect")]
    NoAnswer {
        /// Its id.
        document: String,
    },
    /// An answer outside its document, or not at character boundaries.
    #[error("document {document}: answer at bytes {start}..{end} of {length}")]
    AnswerOutside {
        /// The document's id.
        document: String,
        /// First byte.
        start: usize,
        /// One past the last.
        end: usize,
        /// Bytes of the document.
        length: usize,
    },
    /// A total that leaves nothing for the slots.
    #[error(
        "total of {total} tokens with up to {gold} for the gold passage: want more than {gold} in all"
    )]
    Total {
        /// Tokens in all.
        total: usize,
        /// Tokens the gold crop may take.
        gold: usize,
    },
    /// The token counter failed.
    #[error("cannot count tokens: {0}")]
    Count(String),
}
