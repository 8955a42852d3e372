//! Noise put into documents at a stated level: N1 and N2, the share of distractor text; N4, character errors; N6,
//! Gaussian noise on embeddings.
//!
//! All draws are functions of (seed, family, document), none of the level: a higher level holds what a lower one did, and
//! no document's noise depends on which others there are. Knows texts and a token counter that the caller gives; neither
//! data sets nor encoders.

mod characters;
mod compose;
mod draws;
mod embedding;
mod gold;
mod pool;
mod sentences;

pub use characters::{Alphabet, CharacterNoise, CharacterReport, Garbled, check_rate};
pub use compose::{
    Choice, Composed, Composition, DistractorShare, HARD_COUNT, Length, Level, Noisy, Passage,
    Report, SLOT_COUNT,
};
pub use embedding::{Normals, check_sigma};
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
    /// A rate that is none.
    #[error("noise level {0} is no error rate from 0 to 1")]
    Rate(f64),
    /// A standard deviation that is none.
    #[error("noise level {0} is no relative standard deviation: want a finite number from 0")]
    Sigma(f64),
    /// A corpus whose letters cannot be exchanged for others.
    #[error("the documents have {found} different graphemes; character errors need at least 2")]
    Alphabet {
        /// Different graphemes.
        found: usize,
    },
    /// No distractor is free of the answers.
    #[error(
        "document {document}: every sentence of every distractor holds one of its {answers} answers"
    )]
    AnswerEverywhere {
        /// Its id.
        document: String,
        /// Answers asked of it.
        answers: usize,
    },
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
