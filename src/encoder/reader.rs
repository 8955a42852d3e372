//! Extractive question answering: an encoder with a span head, `BertForQuestionAnswering` or
//! `XLMRobertaForQuestionAnswering` in Hugging Face's layout.
//!
//! Question and context go through the encoder together, in windows of `max_tokens` where they are longer, `doc_stride`
//! context tokens again in the next window. The head gives every token a start and an end logit. A candidate is a span of
//! context tokens between one of the `best` highest starts of a window and one of its `best` highest ends, of at most
//! `answer_tokens` tokens; its score is the sum of both logits, and its text what the context has there. Candidates of all
//! windows compete. (As transformers' question-answering example puts spans together, without its "no answer".)

use std::ops::Range;

use crate::encoder::arm::ArmPlan;
use crate::encoder::error::{EncoderError, LoadError};
use crate::encoder::forward::{Inputs, states};
use crate::encoder::hugging_face::Checkpoint;
use crate::encoder::tokenizer::PairTokens;
use crate::encoder::{Encoder, Positions};

/// An encoder with a span head.
#[derive(Debug)]
pub struct Reader {
    encoder: Encoder,
    /// (2, hidden): start, end.
    weight: Vec<f32>,
    bias: Vec<f32>,
}

/// How contexts are cut and spans chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReaderOptions {
    /// Tokens of a window, question and special tokens included.
    pub max_tokens: usize,
    /// Context tokens that two windows share.
    pub doc_stride: usize,
    /// Starts, ends, and candidates kept.
    pub best: usize,
    /// Tokens of an answer at most.
    pub answer_tokens: usize,
}

impl Default for ReaderOptions {
    /// Those of transformers' example.
    fn default() -> Self {
        Self {
            max_tokens: 384,
            doc_stride: 128,
            best: 20,
            answer_tokens: 30,
        }
    }
}

/// Start and end logits of a window's tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Logits {
    /// The window.
    pub window: PairTokens,
    /// One a token.
    pub starts: Vec<f32>,
    /// One a token.
    pub ends: Vec<f32>,
}

/// A span that may be the answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Bytes of the context.
    pub bytes: Range<usize>,
    /// Sum of its logits.
    pub score: f32,
}

/// Why a question cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReaderError {
    /// Options that leave no room.
    #[error("{field} = {value}, expected {limit}")]
    Option {
        /// Which.
        field: &'static str,
        /// Its value.
        value: usize,
        /// Its domain.
        limit: String,
    },
    /// The encoder or its tokenizer refused, such as a question that fills its window.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
}

impl Reader {
    /// Loads the `config.json`, `model.safetensors` and `tokenizer.json` of a question-answering model.
    ///
    /// # Errors
    /// [`LoadError`], where `qa_outputs` is absent or of another shape too.
    pub fn from_hugging_face(
        config: &[u8],
        model: &[u8],
        tokenizer: &[u8],
    ) -> Result<Self, LoadError> {
        let encoder = Encoder::from_hugging_face(config, model, tokenizer)?;
        let checkpoint = Checkpoint::parse(model)?;
        let hidden = encoder.architecture().hidden;
        let finite = |name: &str, shape: &[usize]| {
            let values = checkpoint.head(name, shape)?;
            match values.iter().position(|value| !value.is_finite()) {
                None => Ok(values),
                Some(element) => Err(LoadError::NotFinite {
                    tensor: name.to_owned(),
                    element,
                    value: values[element].to_string(),
                }),
            }
        };
        Ok(Self {
            weight: finite("qa_outputs.weight", &[2, hidden])?,
            bias: finite("qa_outputs.bias", &[2])?,
            encoder,
        })
    }

    /// The encoder.
    #[must_use]
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// Logits of every window of a question and its context.
    ///
    /// # Errors
    /// [`ReaderError`].
    pub fn logits(
        &self,
        question: &str,
        context: &str,
        options: &ReaderOptions,
        plan: &ArmPlan,
    ) -> Result<Vec<Logits>, ReaderError> {
        self.check(options)?;
        let tokenizer = self.encoder.tokenizer();
        let texts = (question.trim_start(), context);
        let windows = tokenizer.windows(texts, options.max_tokens, options.doc_stride)?;
        let sequences: Vec<Vec<u32>> = windows.iter().map(|window| window.tokens.clone()).collect();
        self.encoder.check(&sequences, plan)?;
        let architecture = self.encoder.architecture();
        // XLM-R's tokenizers say type 1 of the second text, its models have one type.
        let last_type = match architecture.positions {
            Positions::FromZero => architecture.type_vocab - 1,
            Positions::AfterPad { .. } => 0,
        };
        let type_of = |kind: &u32| usize::try_from(*kind).unwrap_or(0).min(last_type);
        let types: Vec<Vec<usize>> = windows
            .iter()
            .map(|window| window.types.iter().map(type_of).collect())
            .collect();
        let inputs = Inputs {
            sequences: &sequences,
            types: &types,
            ..Inputs::default()
        };
        let (states, _) = states(architecture, &self.encoder.weights, inputs, plan, None)?;
        let hidden = architecture.hidden;
        let mut rest = states.chunks_exact(hidden);
        let (start, end) = self.weight.split_at(hidden);
        let logit = |state: &[f32], weight: &[f32], bias: f32| {
            state.iter().zip(weight).map(|(a, b)| a * b).sum::<f32>() + bias
        };
        let of_window = |window: PairTokens| {
            let of_window: Vec<&[f32]> = rest.by_ref().take(window.tokens.len()).collect();
            let all = |weight: &[f32], bias: f32| {
                let logits = of_window.iter().map(|state| logit(state, weight, bias));
                logits.collect()
            };
            Logits {
                starts: all(start, self.bias[0]),
                ends: all(end, self.bias[1]),
                window,
            }
        };
        Ok(windows.into_iter().map(of_window).collect())
    }

    /// The best spans of a context for a question, best first.
    ///
    /// # Errors
    /// [`ReaderError`].
    pub fn answers(
        &self,
        question: &str,
        context: &str,
        options: &ReaderOptions,
        plan: &ArmPlan,
    ) -> Result<Vec<Candidate>, ReaderError> {
        let logits = self.logits(question, context, options, plan)?;
        Ok(candidates(&logits, options))
    }

    fn check(&self, options: &ReaderOptions) -> Result<(), ReaderError> {
        let refuse = |field, value, limit: &str| {
            let limit = limit.to_owned();
            Err(ReaderError::Option {
                field,
                value,
                limit,
            })
        };
        let ReaderOptions {
            max_tokens,
            doc_stride,
            best,
            answer_tokens,
        } = *options;
        let most = self.encoder.architecture().max_tokens();
        if max_tokens == 0 || max_tokens > most {
            let limit = format!("1 to {most}, what the encoder reads");
            return refuse("max_tokens", max_tokens, &limit);
        }
        if doc_stride >= max_tokens {
            let limit = format!("less than max_tokens = {max_tokens}");
            return refuse("doc_stride", doc_stride, &limit);
        }
        for (field, value) in [("best", best), ("answer_tokens", answer_tokens)] {
            if value == 0 {
                return refuse(field, value, "at least 1");
            }
        }
        Ok(())
    }
}

/// Spans of all windows, best first, equal ones in the order of windows, starts and ends.
fn candidates(all: &[Logits], options: &ReaderOptions) -> Vec<Candidate> {
    let highest = |logits: &[f32]| -> Vec<usize> {
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        order.truncate(options.best);
        order
    };
    let mut found = Vec::new();
    for logits in all {
        let (starts, ends) = (highest(&logits.starts), highest(&logits.ends));
        for &start in &starts {
            for &end in &ends {
                let (Some(first), Some(last)) =
                    (&logits.window.bytes[start], &logits.window.bytes[end])
                else {
                    continue;
                };
                if end < start || end - start + 1 > options.answer_tokens {
                    continue;
                }
                found.push(Candidate {
                    bytes: first.start..last.end,
                    score: logits.starts[start] + logits.ends[end],
                });
            }
        }
    }
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    found.truncate(options.best);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_all_windows_compete() {
        let window = |bytes: Vec<Option<Range<usize>>>, starts: &[f32], ends: &[f32]| Logits {
            window: PairTokens {
                tokens: vec![0; bytes.len()],
                types: vec![0; bytes.len()],
                bytes,
            },
            starts: starts.to_vec(),
            ends: ends.to_vec(),
        };
        let all = [
            window(
                vec![None, Some(0..2), Some(3..5), Some(6..9)],
                &[9.0, 1.0, 3.0, 0.0],
                &[9.0, 2.0, 1.0, 4.0],
            ),
            window(
                vec![None, Some(6..9), Some(10..11)],
                &[9.0, 5.0, 0.0],
                &[9.0, 0.0, 1.5],
            ),
        ];
        let options = ReaderOptions {
            max_tokens: 8,
            doc_stride: 1,
            best: 4,
            answer_tokens: 2,
        };
        let found = candidates(&all, &options);
        let spans: Vec<(Range<usize>, f32)> = found
            .into_iter()
            .map(|one| (one.bytes, one.score))
            .collect();
        // The second token to the fourth of the first window would be three tokens; what is no context is no answer.
        assert_eq!(spans, [(3..9, 7.0), (6..11, 6.5), (6..9, 5.0), (3..5, 4.0)]);
    }
}
