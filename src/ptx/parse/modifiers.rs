//! The dotted words after an opcode.

use super::{Parser, Source};
use crate::ptx::error::Error;
use crate::ptx::lex::{Token, TokenKind};
use crate::ptx::{Opcode, ScalarType};

/// Modifiers of one instruction, taken one by one; what is left over at the end is not supported.
pub(super) struct Modifiers<'t> {
    source: Source<'t>,
    token: Token<'t>,
    /// The whole spelling.
    text: &'t str,
    left: Vec<&'t str>,
}

impl<'t> Parser<'t> {
    /// An opcode with its modifiers, which follow it without blanks.
    pub(super) fn opcode(&mut self) -> Result<(Opcode, Modifiers<'t>), Error> {
        let token = self.word("an instruction")?;
        let mut end = token.end();
        let mut left = Vec::new();
        while self.peek().kind == TokenKind::Dot && self.peek().start == end {
            let part = self.next();
            end = part.end();
            left.push(&part.text[1..]);
        }
        let modifiers = Modifiers {
            source: self.source,
            token,
            text: &self.source.text[token.start..end],
            left,
        };
        match Opcode::from_text(token.text) {
            Some(opcode) => Ok((opcode, modifiers)),
            None => Err(modifiers.unsupported()),
        }
    }
}

impl Modifiers<'_> {
    /// This spelling is not among those that are read.
    pub(super) fn unsupported(&self) -> Error {
        self.source.unsupported(self.token, self.text)
    }

    /// Takes `text` if it is there.
    pub(super) fn flag(&mut self, text: &str) -> bool {
        self.take(|part| (part == text).then_some(())).is_some()
    }

    /// Whether `text` is there.
    pub(super) fn has(&self, text: &str) -> bool {
        self.left.contains(&text)
    }

    /// Takes `text`, which must be there.
    pub(super) fn need_flag(&mut self, text: &str) -> Result<(), Error> {
        if self.flag(text) {
            Ok(())
        } else {
            Err(self.unsupported())
        }
    }

    /// Takes the first modifier that `read` understands.
    pub(super) fn take<T>(&mut self, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let (index, value) = self
            .left
            .iter()
            .enumerate()
            .find_map(|(index, part)| Some((index, read(part)?)))?;
        self.left.remove(index);
        Some(value)
    }

    /// Takes the first modifier that `read` understands, which must be there.
    pub(super) fn need<T>(&mut self, read: impl Fn(&str) -> Option<T>) -> Result<T, Error> {
        self.take(read).ok_or_else(|| self.unsupported())
    }

    /// Takes the first type, which must be one of `allowed`.
    pub(super) fn ty(&mut self, allowed: &[ScalarType]) -> Result<ScalarType, Error> {
        let ty = self.need(ScalarType::from_text)?;
        if allowed.contains(&ty) {
            Ok(ty)
        } else {
            Err(self.unsupported())
        }
    }

    /// The last type, without taking it.
    pub(super) fn last_type(&self) -> Option<ScalarType> {
        self.left
            .iter()
            .rev()
            .find_map(|part| ScalarType::from_text(part))
    }

    /// Takes all that is left, joined by dots.
    pub(super) fn rest(&mut self) -> String {
        std::mem::take(&mut self.left).join(".")
    }

    /// Fails if `condition` does not hold of this spelling.
    pub(super) fn check(&self, condition: bool) -> Result<(), Error> {
        if condition {
            Ok(())
        } else {
            Err(self.unsupported())
        }
    }

    /// Nothing may be left over.
    pub(super) fn finish(&self) -> Result<(), Error> {
        self.check(self.left.is_empty())
    }
}
