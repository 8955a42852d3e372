//! Declarations of variables and parameters.

use super::Parser;
use super::operand::literal;
use crate::ptx::error::Error;
use crate::ptx::lex::{Token, TokenKind};
use crate::ptx::{Extent, Linkage, Param, Pointer, ScalarType, Space, Variable};

/// Most bytes a variable may have: more than a device holds, and far from overflow.
const BYTES_MAX: u64 = 1 << 40;

impl<'t> Parser<'t> {
    /// `.global .align 4 .b8 a[16] = {1, 2}, b;` from the space on; each with the token of its name.
    pub(super) fn variables(
        &mut self,
        linkage: Linkage,
    ) -> Result<Vec<(Token<'t>, Variable)>, Error> {
        let space = match self.peek().text {
            ".global" => Space::Global,
            ".const" => Space::Const,
            ".shared" => Space::Shared,
            ".local" => Space::Local,
            // Of a function: what a call takes and gives.
            ".param" => Space::Param,
            _ => return Err(self.unsupported()),
        };
        self.next();
        let align = self.align()?;
        let ty = self.data_type()?;
        let mut variables = Vec::new();
        loop {
            let name = self.word("a variable name")?;
            let extent = self.extent(ty)?;
            let initial = if self.accept("=") {
                self.initial(ty, &extent)?
            } else {
                Vec::new()
            };
            let name_text = name.text.to_owned();
            let variable = Variable {
                name: name_text,
                space,
                linkage,
                align,
                ty,
                extent,
                initial,
                span: name.span,
            };
            variables.push((name, variable));
            if !self.accept(",") {
                break;
            }
        }
        self.expect(";")?;
        Ok(variables)
    }

    /// `.param .u64 .ptr .global .align 16 name` or `.param .align 8 .b8 name[48]`, with the token of its name.
    pub(super) fn param(&mut self) -> Result<(Token<'t>, Param), Error> {
        self.expect(".param")?;
        let align = self.align()?;
        let ty = self.data_type()?;
        let pointer = if self.accept(".ptr") {
            let space =
                Space::from_text(self.peek().text.trim_start_matches('.')).filter(|space| {
                    matches!(
                        space,
                        Space::Global | Space::Shared | Space::Const | Space::Local
                    )
                });
            if space.is_some() {
                self.next();
            }
            Some(Pointer {
                space,
                align: self.align()?,
            })
        } else {
            None
        };
        let name = self.word("a parameter name")?;
        let extent = self.extent(ty)?;
        if extent == Extent::Unsized {
            return Err(self
                .source
                .malformed(name, "a parameter whose size is known"));
        }
        Ok((
            name,
            Param {
                name: name.text.to_owned(),
                ty,
                align,
                extent,
                pointer,
            },
        ))
    }

    /// `.align n`, a power of two.
    fn align(&mut self) -> Result<Option<u32>, Error> {
        if !self.accept(".align") {
            return Ok(None);
        }
        let token = self.peek();
        let align: u32 = self.number("an alignment")?;
        if align.is_power_of_two() && align <= 1 << 16 {
            Ok(Some(align))
        } else {
            Err(self.source.malformed(token, "a power of two up to 65536"))
        }
    }

    /// A type that memory can hold.
    fn data_type(&mut self) -> Result<ScalarType, Error> {
        let token = self.peek();
        let ty = token
            .text
            .strip_prefix('.')
            .and_then(ScalarType::from_text)
            .filter(|ty| *ty != ScalarType::Pred);
        match ty {
            Some(ty) => {
                self.next();
                Ok(ty)
            }
            None if token.kind == TokenKind::Dot => Err(self.unsupported()),
            None => Err(self.malformed("a type")),
        }
    }

    /// `[4][8]`, `[]` or nothing.
    fn extent(&mut self, ty: ScalarType) -> Result<Extent, Error> {
        let token = self.peek();
        let mut sizes = Vec::new();
        let mut bytes = u64::from(ty.bytes());
        while self.accept("[") {
            if sizes.is_empty() && self.accept("]") {
                return if self.peek().text == "[" {
                    Err(self.unsupported())
                } else {
                    Ok(Extent::Unsized)
                };
            }
            let size: u64 = self.number("an array size")?;
            self.expect("]")?;
            bytes = bytes
                .checked_mul(size)
                .filter(|bytes| *bytes <= BYTES_MAX)
                .ok_or_else(|| {
                    self.source
                        .malformed(token, format!("an array of at most {BYTES_MAX} bytes"))
                })?;
            sizes.push(size);
        }
        Ok(if sizes.is_empty() {
            Extent::Scalar
        } else {
            Extent::Array(sizes)
        })
    }

    /// `5` or `{1, 2}`: numbers only.
    fn initial(&mut self, ty: ScalarType, extent: &Extent) -> Result<Vec<u64>, Error> {
        let token = self.peek();
        let mut values = Vec::new();
        if self.accept("{") {
            loop {
                values.push(self.initial_value(ty)?);
                if !self.accept(",") {
                    break;
                }
            }
            self.expect("}")?;
        } else {
            values.push(self.initial_value(ty)?);
        }
        let fits = u64::try_from(values.len()).is_ok_and(|count| count <= extent.elements());
        if fits {
            Ok(values)
        } else {
            Err(self.source.malformed(token, "no more values than elements"))
        }
    }

    fn initial_value(&mut self, ty: ScalarType) -> Result<u64, Error> {
        let negative = self.accept("-");
        let token = self.peek();
        match token.kind {
            TokenKind::Number => {
                let bits = literal(token.text, negative, ty)
                    .ok_or_else(|| self.malformed(format!("a {ty}")))?;
                self.next();
                Ok(bits)
            }
            // Addresses, nested braces, `generic(..)`.
            TokenKind::Word => Err(self.unsupported()),
            TokenKind::Punctuation if token.text == "{" => Err(self.unsupported()),
            TokenKind::Punctuation
            | TokenKind::Dot
            | TokenKind::Text
            | TokenKind::End
            | TokenKind::Stray => Err(self.malformed("a number")),
        }
    }
}
