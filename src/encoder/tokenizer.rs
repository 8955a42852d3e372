//! Texts to token ids: a `tokenizer.json`, or a `SentencePiece` Unigram vocabulary as the E5S1 file carries it.

use std::collections::HashMap;
use std::ops::Range;

use tokenizers::models::unigram::Unigram;
use tokenizers::pre_tokenizers::metaspace::Metaspace;
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::{AddedToken, NormalizedString, TokenizerImpl};

use crate::encoder::error::{EncoderError, LoadError};

/// A Unigram vocabulary with its special tokens.
#[derive(Clone, Debug)]
pub(crate) struct Pieces {
    /// Text and log-probability; the place is the token id.
    pub(crate) pieces: Vec<(String, f64)>,
    pub(crate) bos: u32,
    pub(crate) eos: u32,
    pub(crate) pad: u32,
    pub(crate) unk: u32,
    pub(crate) normaliser: Normaliser,
}

/// Replaces single characters, then runs of spaces by one: `nmt_nfkc` without its rules for sequences of characters,
/// which the E5S1 file does not carry.
#[derive(Clone, Debug, Default)]
pub(crate) struct Normaliser {
    pub(crate) replacements: HashMap<char, String>,
}

/// A window of two texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairTokens {
    /// Ids.
    pub tokens: Vec<u32>,
    /// Token types.
    pub types: Vec<u32>,
    /// Bytes of the second text that each token stands for; `None` for the others.
    pub bytes: Vec<Option<Range<usize>>>,
}

/// Texts to token ids.
#[derive(Debug)]
pub struct Tokenizer {
    kind: Kind,
    pad: Option<u32>,
}

type PieceTokenizer = TokenizerImpl<Unigram, Normaliser, Metaspace, RobertaProcessing, Metaspace>;

#[derive(Debug)]
enum Kind {
    Json(Box<tokenizers::Tokenizer>),
    Pieces {
        tokenizer: Box<PieceTokenizer>,
        bos: u32,
        eos: u32,
    },
}

impl Tokenizer {
    /// Reads a `tokenizer.json`. Truncation and padding that the file asks for are switched off: they are the caller's.
    pub fn from_json(bytes: &[u8]) -> Result<Self, LoadError> {
        let refused = |error: tokenizers::Error| LoadError::Tokenizer {
            reason: format!("tokenizer.json: {error}"),
        };
        let mut tokenizer = tokenizers::Tokenizer::from_bytes(bytes).map_err(refused)?;
        tokenizer.with_truncation(None).map_err(refused)?;
        tokenizer.with_padding(None);
        let pad = ["<pad>", "[PAD]"]
            .iter()
            .find_map(|name| tokenizer.token_to_id(name));
        Ok(Self {
            kind: Kind::Json(Box::new(tokenizer)),
            pad,
        })
    }

    /// Builds the tokenizer of a Unigram vocabulary: normalise, put U+2581 for spaces and before the text, split before
    /// each U+2581, take the most probable pieces, and enclose in `<s>` and `</s>`.
    pub(crate) fn from_pieces(pieces: Pieces) -> Result<Self, LoadError> {
        let refused = |error: tokenizers::Error| LoadError::Tokenizer {
            reason: error.to_string(),
        };
        let Pieces {
            pieces,
            bos,
            eos,
            pad,
            unk,
            normaliser,
        } = pieces;
        let unk_place = usize::try_from(unk).ok();
        let special: Vec<AddedToken> = [bos, pad, eos, unk]
            .into_iter()
            .filter_map(|id| pieces.get(usize::try_from(id).ok()?))
            .chain(pieces.last().filter(|(text, _)| text == "<mask>"))
            .map(|(text, _)| AddedToken::from(text.as_str(), true).normalized(false))
            .collect();
        let model = Unigram::from(pieces, unk_place, false).map_err(refused)?;
        let mut tokenizer = PieceTokenizer::new(model);
        tokenizer
            .with_normalizer(Some(normaliser))
            .map_err(refused)?;
        tokenizer.with_pre_tokenizer(Some(Metaspace::default()));
        tokenizer.add_special_tokens(special).map_err(refused)?;
        Ok(Self {
            kind: Kind::Pieces {
                tokenizer: Box::new(tokenizer),
                bos,
                eos,
            },
            pad: Some(pad),
        })
    }

    /// The padding token's id, where the tokenizer has one.
    pub fn pad(&self) -> Option<u32> {
        self.pad
    }

    /// The ids of a text as [`Tokenizer::tokens`] gives them, each with the bytes of the text it stands for; the special
    /// tokens stand for none.
    pub fn tokens_with_bytes(&self, text: &str) -> Result<Vec<(u32, Range<usize>)>, EncoderError> {
        let refused = |error: tokenizers::Error| EncoderError::Tokenizer {
            reason: error.to_string(),
        };
        let pairs = |encoding: &tokenizers::Encoding| -> Vec<(u32, Range<usize>)> {
            let ids = encoding.get_ids().iter().zip(encoding.get_offsets());
            let all = ids.zip(encoding.get_special_tokens_mask());
            let bytes = |&(start, end): &(usize, usize), special: u32| match special {
                0 => start..end,
                // A special token is put there, whatever its offsets say.
                _ => 0..0,
            };
            all.map(|((id, offsets), special)| (*id, bytes(offsets, *special)))
                .collect()
        };
        match &self.kind {
            Kind::Json(tokenizer) => Ok(pairs(&tokenizer.encode(text, true).map_err(refused)?)),
            Kind::Pieces {
                tokenizer,
                bos,
                eos,
            } => {
                let inner = pairs(&tokenizer.encode(text, false).map_err(refused)?);
                let around = |id: u32| std::iter::once((id, 0..0));
                Ok(around(*bos).chain(inner).chain(around(*eos)).collect())
            }
        }
    }

    /// Windows of a pair of texts with the special tokens around both: the first text whole in each, the second cut where
    /// a window has `max_tokens`, `overlap` of its tokens again in the next.
    pub fn windows(
        &self,
        (first, second): (&str, &str),
        max_tokens: usize,
        overlap: usize,
    ) -> Result<Vec<PairTokens>, EncoderError> {
        let refused = |reason: String| EncoderError::Tokenizer { reason };
        let Kind::Json(tokenizer) = &self.kind else {
            return Err(refused("pairs of texts need a tokenizer.json".to_owned()));
        };
        let encoding = tokenizer
            .encode((first, second), true)
            .map_err(|error| refused(error.to_string()))?;
        let sequences = encoding.get_sequence_ids();
        let count = sequences.len();
        let start = sequences.iter().position(|sequence| *sequence == Some(1));
        let start = start.unwrap_or(count);
        let length = sequences[start..]
            .iter()
            .take_while(|sequence| **sequence == Some(1))
            .count();
        let around = count - length;
        let room = max_tokens.saturating_sub(around);
        if room == 0 || (length > room && overlap >= room) {
            return Err(refused(format!(
                "the first text and the special tokens are {around} tokens, which leaves {room} of {max_tokens} a window; \
                 want more than the {overlap} that two windows share"
            )));
        }
        let (ids, types, offsets) = (
            encoding.get_ids(),
            encoding.get_type_ids(),
            encoding.get_offsets(),
        );
        let mut windows = Vec::new();
        let mut from = 0;
        loop {
            let to = (from + room).min(length);
            let places: Vec<usize> = (0..start)
                .chain(start + from..start + to)
                .chain(start + length..count)
                .collect();
            let of_second = |place: &usize| {
                let (start, end) = offsets[*place];
                (sequences[*place] == Some(1)).then_some(start..end)
            };
            windows.push(PairTokens {
                tokens: places.iter().map(|place| ids[*place]).collect(),
                types: places.iter().map(|place| types[*place]).collect(),
                bytes: places.iter().map(of_second).collect(),
            });
            if to == length {
                return Ok(windows);
            }
            from += room - overlap;
        }
    }

    /// The ids of a text, with the special tokens around it, however long.
    pub fn tokens(&self, text: &str) -> Result<Vec<u32>, EncoderError> {
        let refused = |error: tokenizers::Error| EncoderError::Tokenizer {
            reason: error.to_string(),
        };
        match &self.kind {
            Kind::Json(tokenizer) => Ok(tokenizer
                .encode_fast(text, true)
                .map_err(refused)?
                .get_ids()
                .to_vec()),
            Kind::Pieces {
                tokenizer,
                bos,
                eos,
            } => {
                let encoding = tokenizer.encode_fast(text, false).map_err(refused)?;
                Ok([&[*bos], encoding.get_ids(), &[*eos]].concat())
            }
        }
    }
}

impl tokenizers::Normalizer for Normaliser {
    fn normalize(&self, normalized: &mut NormalizedString) -> tokenizers::Result<()> {
        // What the crate wants of each character: 1 for one put in, -n before n taken out, 0 otherwise.
        let mut characters: Vec<(char, isize)> = Vec::with_capacity(normalized.get().len());
        let mut removed_first = 0;
        for character in normalized.get().chars() {
            let mut itself = [0; 4];
            let replacement = match self.replacements.get(&character) {
                Some(replacement) => replacement.as_str(),
                None => character.encode_utf8(&mut itself),
            };
            let mut change = 0;
            for to in replacement.chars() {
                if to == ' ' && characters.last().is_some_and(|(last, _)| *last == ' ') {
                    continue;
                }
                characters.push((to, change));
                change = 1;
            }
            if change == 0 {
                match characters.last_mut() {
                    Some((_, change)) => *change -= 1,
                    None => removed_first += 1,
                }
            }
        }
        normalized.transform(characters, removed_first);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalised(text: &str) -> String {
        let normaliser = Normaliser {
            replacements: [
                ('\t', " "),
                ('\u{ad}', ""),
                ('½', "1⁄2"),
                ('A', "A"),
                ('\u{3000}', " "),
            ]
            .map(|(from, to)| (from, to.to_owned()))
            .into(),
        };
        let mut string = NormalizedString::from(text);
        tokenizers::Normalizer::normalize(&normaliser, &mut string).unwrap();
        string.get().to_owned()
    }

    #[test]
    fn normaliser_replaces_removes_and_joins_spaces() {
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("a\t b", "a b"),
            ("\u{ad}\u{ad}ab\u{ad}", "ab"),
            ("½ A", "1⁄2 A"),
            ("\u{ad}", ""),
            ("  \u{3000}x  ", " x "),
        ] {
            assert_eq!(normalised(text), expected, "{text:?}");
        }
    }

    #[test]
    fn pieces_make_the_most_probable_split() {
        let pieces = [
            "<s>", "<pad>", "</s>", "<unk>", "▁a", "b", "▁ab", "c", "<mask>",
        ];
        let tokenizer = Tokenizer::from_pieces(Pieces {
            pieces: pieces
                .iter()
                .enumerate()
                .map(|(id, text)| ((*text).to_owned(), if id < 4 { 0.0 } else { -2.0 }))
                .collect(),
            bos: 0,
            eos: 2,
            pad: 1,
            unk: 3,
            normaliser: Normaliser::default(),
        })
        .unwrap();
        assert_eq!(tokenizer.pad(), Some(1));
        // One piece of -2 beats two of -2; an unknown character is one <unk>; special tokens are found in the text.
        assert_eq!(tokenizer.tokens("abc").unwrap(), [0, 6, 7, 2]);
        assert_eq!(tokenizer.tokens("a z").unwrap()[..2], [0, 4]);
        assert!(tokenizer.tokens("abz").unwrap().contains(&3));
        assert!(tokenizer.tokens("ab<mask>").unwrap().contains(&8));
        assert_eq!(tokenizer.tokens("").unwrap(), [0, 2]);
    }

    #[test]
    fn a_broken_file_is_an_error() {
        assert!(matches!(
            Tokenizer::from_json(b"{\"version\": "),
            Err(LoadError::Tokenizer { .. })
        ));
    }
}
