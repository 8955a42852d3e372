//! Extents and schemes of an encoder, as its file states them.

use crate::encoder::error::LoadError;

/// A BERT-style encoder: token, position and type embeddings, layer norm, then layers of attention and a GELU
/// feed-forward network, each followed by residual and layer norm.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Architecture {
    /// Channels of a token.
    pub hidden: usize,
    /// Transformer layers.
    pub layers: usize,
    /// Attention heads; divides `hidden`.
    pub heads: usize,
    /// Channels inside the feed-forward network.
    pub ffn: usize,
    /// Rows of the token embedding.
    pub vocab: usize,
    /// Rows of the position embedding.
    pub max_positions: usize,
    /// Rows of the token-type embedding.
    pub type_vocab: usize,
    /// Added to the variance in every layer norm.
    pub ln_eps: f32,
    /// How a token's place becomes a row of the position embedding.
    pub positions: Positions,
    /// How token vectors become one.
    pub pooling: Pooling,
}

/// How a token's place in the text becomes a row of the position embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Positions {
    /// 0, 1, 2, ... (BERT; multilingual-e5-small).
    FromZero,
    /// `pad + 1`, `pad + 2`, ... for the tokens that are not `pad`, and `pad` for those that are (XLM-RoBERTa;
    /// multilingual-e5-base and -large, BGE-M3).
    AfterPad {
        /// The padding token's id, which is also the position row it uses.
        pad: u32,
    },
}

/// How token vectors become one vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Pooling {
    /// Their mean (the e5 family).
    #[default]
    Mean,
    /// The first one (BGE-M3's dense vector).
    First,
}

impl Architecture {
    /// Channels of a head.
    pub fn head_dim(&self) -> usize {
        self.hidden / self.heads
    }

    /// Longest sequence that has a position for each token.
    pub fn max_tokens(&self) -> usize {
        match self.positions {
            Positions::FromZero => self.max_positions,
            Positions::AfterPad { pad } => {
                let first = usize::try_from(pad).unwrap_or(usize::MAX).saturating_add(1);
                self.max_positions.saturating_sub(first)
            }
        }
    }

    /// Rows of the position embedding for a sequence.
    pub(crate) fn position_rows(&self, tokens: &[u32]) -> Vec<usize> {
        match self.positions {
            Positions::FromZero => (0..tokens.len()).collect(),
            Positions::AfterPad { pad } => {
                let mut row = usize::try_from(pad).unwrap_or(usize::MAX);
                let pad_row = row;
                tokens
                    .iter()
                    .map(|token| {
                        if *token == pad {
                            return pad_row;
                        }
                        row += 1;
                        row
                    })
                    .collect()
            }
        }
    }

    /// Refuses extents that no model has.
    pub(crate) fn checked(self) -> Result<Self, LoadError> {
        for (field, value) in [
            ("hidden", self.hidden),
            ("layers", self.layers),
            ("heads", self.heads),
            ("ffn", self.ffn),
            ("vocab", self.vocab),
            ("max_positions", self.max_positions),
            ("type_vocab", self.type_vocab),
        ] {
            if value == 0 {
                return Err(LoadError::Field {
                    field,
                    value: "0".to_owned(),
                    limit: "at least 1".to_owned(),
                });
            }
        }
        if !self.hidden.is_multiple_of(self.heads) {
            return Err(LoadError::Field {
                field: "heads",
                value: self.heads.to_string(),
                limit: format!("a divisor of hidden = {}", self.hidden),
            });
        }
        if !(self.ln_eps >= 0.0 && self.ln_eps.is_finite()) {
            return Err(LoadError::Field {
                field: "ln_eps",
                value: self.ln_eps.to_string(),
                limit: "a finite number, 0 or more".to_owned(),
            });
        }
        if self.max_tokens() == 0 {
            return Err(LoadError::Field {
                field: "max_positions",
                value: self.max_positions.to_string(),
                limit: format!("more than the rows that {:?} leaves unused", self.positions),
            });
        }
        Ok(self)
    }
}

#[cfg(test)]
pub(crate) fn small(positions: Positions) -> Architecture {
    Architecture {
        hidden: 8,
        layers: 1,
        heads: 2,
        ffn: 16,
        vocab: 10,
        max_positions: 12,
        type_vocab: 1,
        ln_eps: 1e-5,
        positions,
        pooling: Pooling::Mean,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_schemes() {
        assert_eq!(
            small(Positions::FromZero).position_rows(&[0, 5, 1, 2]),
            [0, 1, 2, 3]
        );
        assert_eq!(
            small(Positions::AfterPad { pad: 1 }).position_rows(&[0, 5, 1, 2]),
            [2, 3, 1, 4]
        );
        assert_eq!(small(Positions::FromZero).max_tokens(), 12);
        assert_eq!(small(Positions::AfterPad { pad: 1 }).max_tokens(), 10);
        assert_eq!(small(Positions::AfterPad { pad: u32::MAX }).max_tokens(), 0);
    }

    #[test]
    fn wrong_extents_are_named() {
        let wrong = Architecture {
            heads: 3,
            ..small(Positions::FromZero)
        };
        assert_eq!(
            wrong.checked().unwrap_err().to_string(),
            "heads = 3, expected a divisor of hidden = 8"
        );
        let wrong = Architecture {
            ffn: 0,
            ..small(Positions::FromZero)
        };
        assert_eq!(
            wrong.checked().unwrap_err().to_string(),
            "ffn = 0, expected at least 1"
        );
        assert!(
            Architecture {
                ln_eps: f32::NAN,
                ..small(Positions::FromZero)
            }
            .checked()
            .is_err()
        );
        assert!(small(Positions::AfterPad { pad: 11 }).checked().is_err());
    }
}
