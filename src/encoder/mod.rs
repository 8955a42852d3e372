//! A multilingual text encoder whose attention can be exchanged, layer by layer.
//!
//! Loads BERT and XLM-RoBERTa encoders from the files of the Hugging Face hub and from the 4-bit E5S1 file, and computes
//! in f32 or bf16 ([`Precision`]) with any [`Arm`] in each layer and any [`AttentionBackend`] behind them.

mod activation;
mod architecture;
mod arm;
mod attention;
mod calibration;
mod e5s1;
mod error;
mod forward;
mod hugging_face;
mod reader;
mod scoring;
mod select;
mod tokenizer;
mod weights;

pub use architecture::{Architecture, Pooling, Positions};
pub use arm::{Arm, ArmError, ArmPlan};
pub use attention::{AttentionBackend, AttentionFailure, Native, Site};
pub use calibration::{Calibration, ThresholdError, Thresholds};
pub use error::{EncoderError, LoadError};
pub use forward::Embedded;
pub use reader::{Candidate, Logits, Reader, ReaderError, ReaderOptions};
pub use select::Selection;
pub use tokenizer::{PairTokens, Tokenizer};
pub use weights::Precision;

use std::fmt;

use crate::convert::usize_to_f64;
use forward::Inputs;
use weights::Weights;

/// What a text is to retrieval: the e5 models are trained with a prefix for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// What is looked for.
    Query,
    /// What is looked through.
    Passage,
}

impl Role {
    /// What stands before a text of this role.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Query => "query: ",
            Self::Passage => "passage: ",
        }
    }

    /// The text with its prefix.
    pub fn prefixed(self, text: &str) -> String {
        format!("{}{text}", self.prefix())
    }
}

/// A loaded encoder.
pub struct Encoder {
    architecture: Architecture,
    weights: Weights,
    tokenizer: Tokenizer,
}

impl fmt::Debug for Encoder {
    /// The architecture alone: the weights would fill a book.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder")
            .field("architecture", &self.architecture)
            .finish_non_exhaustive()
    }
}

impl Encoder {
    /// Loads an E5S1 file, with the tokenizer of a `tokenizer.json` if given, else with the file's own pieces.
    pub fn from_e5s1(model: &[u8], tokenizer: Option<&[u8]>) -> Result<Self, LoadError> {
        let file = e5s1::E5s1::parse(model)?;
        let weights = Weights::read(&file.architecture, &file)?;
        let architecture = file.architecture;
        let tokenizer = match tokenizer {
            Some(json) => Tokenizer::from_json(json)?,
            None => Tokenizer::from_pieces(file.pieces)?,
        };
        Ok(Self {
            architecture,
            weights,
            tokenizer,
        })
    }

    /// Loads the `config.json`, `model.safetensors` and `tokenizer.json` of a `BertModel` or `XLMRobertaModel`.
    pub fn from_hugging_face(
        config: &[u8],
        model: &[u8],
        tokenizer: &[u8],
    ) -> Result<Self, LoadError> {
        let tokenizer = Tokenizer::from_json(tokenizer)?;
        let architecture = hugging_face::architecture(config, &tokenizer)?;
        let weights = Weights::read(&architecture, &hugging_face::Checkpoint::parse(model)?)?;
        Ok(Self {
            architecture,
            weights,
            tokenizer,
        })
    }

    /// The same encoder with another pooling: BGE-M3 takes the first token's state, which its `config.json` does not say.
    #[must_use]
    pub fn with_pooling(mut self, pooling: Pooling) -> Self {
        self.architecture.pooling = pooling;
        self
    }

    /// The same encoder with the factors of its affine maps rounded. What has been rounded stays so: [`Precision::F32`]
    /// changes nothing.
    #[must_use]
    pub fn with_precision(mut self, precision: Precision) -> Self {
        if precision == Precision::Bf16 {
            self.weights.round();
        }
        self
    }

    /// Extents and schemes.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The ids of a text with the special tokens around it, however long. The caller puts the prefix
    /// ([`Role::prefixed`]).
    pub fn tokens(&self, text: &str) -> Result<Vec<u32>, EncoderError> {
        self.tokenizer.tokens(text)
    }

    /// At most as many tokens as the encoder reads: the first ones and the closing special token, as the published models
    /// cut long texts.
    pub fn cut(&self, mut tokens: Vec<u32>) -> Vec<u32> {
        let limit = self.architecture.max_tokens();
        if let (true, Some(last)) = (tokens.len() > limit, tokens.last().copied()) {
            tokens.truncate(limit - 1);
            tokens.push(last);
        }
        tokens
    }

    /// Embeds a batch with an arm in each layer. The vector of a sequence does not depend on the others.
    pub fn embed(&self, sequences: &[Vec<u32>], plan: &ArmPlan) -> Result<Embedded, EncoderError> {
        self.check(sequences, plan)?;
        let inputs = Inputs {
            sequences,
            ..Inputs::default()
        };
        self.forward(inputs, plan, None)
    }

    /// Embeds a batch with every attention computed by `backend`.
    pub fn embed_through(
        &self,
        sequences: &[Vec<u32>],
        plan: &ArmPlan,
        backend: &mut dyn AttentionBackend,
    ) -> Result<Embedded, EncoderError> {
        self.check(sequences, plan)?;
        let inputs = Inputs {
            sequences,
            ..Inputs::default()
        };
        self.forward(inputs, plan, Some(backend))
    }

    /// [`Encoder::embed`] with `shifts` (tokens, hidden), one a sequence, added to the embeddings of its tokens before
    /// their layer norm.
    pub fn embed_shifted(
        &self,
        sequences: &[Vec<u32>],
        shifts: &[Vec<f32>],
        plan: &ArmPlan,
    ) -> Result<Embedded, EncoderError> {
        self.check(sequences, plan)?;
        let hidden = self.architecture.hidden;
        for (sequence, tokens) in sequences.iter().enumerate() {
            let found = shifts.get(sequence).map_or(0, Vec::len);
            let expected = tokens.len() * hidden;
            if found != expected || shifts.len() != sequences.len() {
                return Err(EncoderError::Shift {
                    sequence,
                    found,
                    expected,
                });
            }
        }
        let inputs = Inputs {
            sequences,
            shifts,
            ..Inputs::default()
        };
        self.forward(inputs, plan, None)
    }

    /// Root mean square of the components of the token embedding.
    pub fn word_rms(&self) -> f64 {
        let word = &self.weights.word;
        let squares: f64 = word.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
        (squares / usize_to_f64(word.len())).sqrt()
    }

    fn forward(
        &self,
        inputs: Inputs<'_>,
        plan: &ArmPlan,
        backend: Option<&mut dyn AttentionBackend>,
    ) -> Result<Embedded, EncoderError> {
        forward::forward(&self.architecture, &self.weights, inputs, plan, backend)
    }

    fn check(&self, sequences: &[Vec<u32>], plan: &ArmPlan) -> Result<(), EncoderError> {
        plan.check(self.architecture.layers)?;
        let (limit, vocab) = (self.architecture.max_tokens(), self.architecture.vocab);
        for (sequence, tokens) in sequences.iter().enumerate() {
            if tokens.is_empty() {
                return Err(EncoderError::Empty { sequence });
            }
            if tokens.len() > limit {
                return Err(EncoderError::TooLong {
                    sequence,
                    tokens: tokens.len(),
                    limit,
                });
            }
            let known = |token: &u32| usize::try_from(*token).is_ok_and(|row| row < vocab);
            if let Some(place) = tokens.iter().position(|token| !known(token)) {
                return Err(EncoderError::UnknownToken {
                    sequence,
                    place,
                    token: tokens[place],
                    vocab,
                });
            }
        }
        Ok(())
    }
}
