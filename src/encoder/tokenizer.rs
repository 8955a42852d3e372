//! Texts to token ids: a `tokenizer.json`, or a `SentencePiece` Unigram vocabulary as the E5S1 file carries it.

use std::collections::HashMap;

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
