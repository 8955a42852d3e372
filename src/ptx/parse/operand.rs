//! Operands: registers, immediates, special registers, symbols, addresses, vectors.

use super::function::Body;
use super::scope::Entity;
use crate::ptx::error::Error;
use crate::ptx::lex::TokenKind;
use crate::ptx::{
    Address, AddressBase, Operand, Predicate, RegisterId, ScalarType, SpecialRegister,
};

/// Which registers an operand may be.
#[derive(Clone, Copy)]
pub(super) enum Width {
    /// Of exactly this many bits.
    Exactly(u32),
    /// Of at least this many bits, no predicate.
    AtLeast(u32),
}

impl Width {
    fn admits(self, ty: ScalarType) -> bool {
        match self {
            Self::Exactly(bits) => ty.bits() == bits,
            Self::AtLeast(bits) => ty != ScalarType::Pred && ty.bits() >= bits,
        }
    }

    fn describe(self) -> String {
        match self {
            Self::Exactly(1) => "a predicate register".to_owned(),
            Self::Exactly(bits) => format!("a register of {bits} bits"),
            Self::AtLeast(bits) => format!("a register of at least {bits} bits"),
        }
    }
}

/// Value of a number without sign: decimal, hexadecimal, octal or binary, perhaps with a `U`.
pub(super) fn unsigned(text: &str) -> Option<u64> {
    let text = text.strip_suffix(['U', 'u']).unwrap_or(text);
    let (digits, radix) =
        if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            (digits, 16)
        } else if let Some(digits) = text.strip_prefix("0b").or_else(|| text.strip_prefix("0B")) {
            (digits, 2)
        } else if text.len() > 1 && text.starts_with('0') {
            (&text[1..], 8)
        } else {
            (text, 10)
        };
    // `from_str_radix` takes a sign, PTX does not.
    if digits.starts_with(['+', '-']) {
        None
    } else {
        u64::from_str_radix(digits, radix).ok()
    }
}

/// Bits of a literal as an operand of type `ty`; `None` if it is no literal of that type.
pub(super) fn literal(text: &str, negative: bool, ty: ScalarType) -> Option<u64> {
    let exact = |prefixes: [&str; 2], digits: usize| {
        let hex = prefixes
            .iter()
            .find_map(|prefix| text.strip_prefix(prefix))?;
        (!negative && hex.len() == digits && !hex.starts_with('+'))
            .then(|| u64::from_str_radix(hex, 16).ok())
            .flatten()
    };
    if let Some(bits) = exact(["0f", "0F"], 8) {
        return (ty.bits() == 32).then_some(bits);
    }
    if let Some(bits) = exact(["0d", "0D"], 16) {
        return (ty.bits() == 64).then_some(bits);
    }
    match ty {
        ScalarType::F32 if text.contains('.') => decimal::<f32>(text)
            .map(|value| u64::from((if negative { -value } else { value }).to_bits())),
        ScalarType::F64 if text.contains('.') => {
            decimal::<f64>(text).map(|value| (if negative { -value } else { value }).to_bits())
        }
        ScalarType::F32 | ScalarType::F64 => None,
        ScalarType::F16
        | ScalarType::F16x2
        | ScalarType::Bf16
        | ScalarType::Bf16x2
        | ScalarType::Tf32
        | ScalarType::E4m3
        | ScalarType::E5m2
        | ScalarType::E4m3x2
        | ScalarType::E5m2x2
        | ScalarType::U4
        | ScalarType::S4
        | ScalarType::Pred
        | ScalarType::B8
        | ScalarType::B16
        | ScalarType::B32
        | ScalarType::B64
        | ScalarType::U8
        | ScalarType::U16
        | ScalarType::U32
        | ScalarType::U64
        | ScalarType::S8
        | ScalarType::S16
        | ScalarType::S32
        | ScalarType::S64 => {
            let magnitude = unsigned(text)?;
            let most = ty.mask();
            if negative {
                // Down to -2^(bits-1); a predicate takes -1 for true.
                let least = if ty == ScalarType::Pred {
                    1
                } else {
                    most / 2 + 1
                };
                (magnitude <= least).then(|| magnitude.wrapping_neg() & most)
            } else {
                (magnitude <= most).then_some(magnitude)
            }
        }
    }
}

/// A decimal float; Rust's words for infinity and NaN are no PTX.
fn decimal<T: std::str::FromStr>(text: &str) -> Option<T> {
    if text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'))
    {
        text.parse().ok()
    } else {
        None
    }
}

impl<'t> Body<'_, 't> {
    pub(super) fn comma(&mut self) -> Result<(), Error> {
        self.parser.expect(",").map(drop)
    }

    /// A register to write or read.
    pub(super) fn register(&mut self, width: Width) -> Result<RegisterId, Error> {
        let token = self.parser.peek();
        if token.kind == TokenKind::Word
            && let Some(Entity::Register(register, ty)) = self.names.find(token.text)
            && width.admits(ty)
        {
            self.parser.next();
            return Ok(register);
        }
        Err(self.parser.malformed(width.describe()))
    }

    /// A register as wide as `ty`.
    pub(super) fn destination(&mut self, ty: ScalarType) -> Result<RegisterId, Error> {
        self.register(Width::Exactly(ty.bits()))
    }

    /// A register, or `_` for a result nobody wants.
    pub(super) fn destination_or_sink(
        &mut self,
        width: Width,
    ) -> Result<Option<RegisterId>, Error> {
        if self.parser.accept("_") {
            Ok(None)
        } else {
            self.register(width).map(Some)
        }
    }

    /// `{!}p`
    pub(super) fn predicate(&mut self) -> Result<Predicate, Error> {
        let negated = self.parser.accept("!");
        Ok(Predicate {
            register: self.register(Width::Exactly(1))?,
            negated,
        })
    }

    /// A source operand of `mov` and `cvt`, which alone may read special registers.
    pub(super) fn source_or_special(
        &mut self,
        ty: ScalarType,
        width: Width,
    ) -> Result<Operand, Error> {
        let token = self.parser.peek();
        if token.kind == TokenKind::Word && self.names.find(token.text).is_none() {
            return self.special(ty).map(Operand::Special);
        }
        self.source_of(ty, width)
    }

    /// A source operand of type `ty` in a register as wide.
    pub(super) fn source(&mut self, ty: ScalarType) -> Result<Operand, Error> {
        self.source_of(ty, Width::Exactly(ty.bits()))
    }

    /// A comma and a source operand.
    pub(super) fn then_source(&mut self, ty: ScalarType) -> Result<Operand, Error> {
        self.comma()?;
        self.source(ty)
    }

    /// A source operand of type `ty` in a register of the given width.
    pub(super) fn source_of(&mut self, ty: ScalarType, width: Width) -> Result<Operand, Error> {
        let token = self.parser.peek();
        match token.kind {
            TokenKind::Number | TokenKind::Punctuation => {
                self.immediate(ty).map(Operand::Immediate)
            }
            TokenKind::Word => match self.names.find(token.text) {
                Some(Entity::Register(_, _)) => self.register(width).map(Operand::Register),
                Some(Entity::Symbol(symbol)) if ty.bits() >= 32 => {
                    self.parser.next();
                    Ok(Operand::Address(symbol, self.offset()?))
                }
                Some(Entity::Symbol(_)) => Err(self.parser.malformed(width.describe())),
                None => Err(self
                    .parser
                    .malformed("the name of a register or variable declared before")),
            },
            TokenKind::Dot | TokenKind::Text | TokenKind::End | TokenKind::Stray => {
                Err(self.parser.malformed("an operand"))
            }
        }
    }

    /// An immediate of type `ty`.
    pub(super) fn immediate(&mut self, ty: ScalarType) -> Result<u64, Error> {
        let ahead = usize::from(self.parser.peek().text == "-");
        let token = self.parser.look(ahead);
        let bits = if token.kind == TokenKind::Number {
            literal(token.text, ahead == 1, ty)
        } else {
            None
        };
        let bits = bits.ok_or_else(|| self.parser.malformed(format!("an operand of type {ty}")))?;
        self.parser.next();
        if ahead == 1 {
            self.parser.next();
        }
        Ok(bits)
    }

    /// `%tid.x`: a word and perhaps a dotted word.
    fn special(&mut self, ty: ScalarType) -> Result<SpecialRegister, Error> {
        let (token, member) = (self.parser.peek(), self.parser.look(1));
        let joined = member.kind == TokenKind::Dot && member.start == token.end();
        let end = if joined { member.end() } else { token.end() };
        let text = &self.parser.source.text[token.start..end];
        if let Some(special) = SpecialRegister::from_text(text)
            && ty != ScalarType::Pred
        {
            self.parser.next();
            if joined {
                self.parser.next();
            }
            return Ok(special);
        }
        if token.text.starts_with('%') && joined {
            return Err(self.parser.source.unsupported(token, text));
        }
        Err(self
            .parser
            .malformed("the name of a register or variable declared before"))
    }

    /// `+n`, `+-n`, `-n` or nothing.
    fn offset(&mut self) -> Result<i64, Error> {
        let plus = self.parser.accept("+");
        if plus || self.parser.peek().text == "-" {
            // An offset is a 64-bit two's complement number.
            self.immediate(ScalarType::S64).map(u64::cast_signed)
        } else {
            Ok(0)
        }
    }

    /// `[register+n]`, `[symbol+n]` or `[n]`.
    pub(super) fn address(&mut self) -> Result<Address, Error> {
        self.parser.expect("[")?;
        let address = self.address_inside()?;
        self.parser.expect("]")?;
        Ok(address)
    }

    /// What stands between the brackets of an address.
    pub(super) fn address_inside(&mut self) -> Result<Address, Error> {
        let token = self.parser.peek();
        let base = match (token.kind, self.names.find(token.text)) {
            (TokenKind::Word, Some(Entity::Register(register, ty))) if ty.bits() >= 32 => {
                self.parser.next();
                AddressBase::Register(register)
            }
            (TokenKind::Word, Some(Entity::Symbol(symbol))) => {
                self.parser.next();
                AddressBase::Symbol(symbol)
            }
            (TokenKind::Number, _) => AddressBase::Absolute,
            _ => {
                return Err(self
                    .parser
                    .malformed("a register of 32 or 64 bits, a variable or a number"));
            }
        };
        let offset = match base {
            AddressBase::Absolute => self.immediate(ScalarType::S64)?.cast_signed(),
            AddressBase::Register(_) | AddressBase::Symbol(_) => self.offset()?,
        };
        Ok(Address { base, offset })
    }

    /// `{x, y, ..}`, or one `x` without braces, each read by `element`.
    pub(super) fn vector<T>(
        &mut self,
        element: impl Fn(&mut Self) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        if !self.parser.accept("{") {
            return Ok(vec![element(self)?]);
        }
        let mut elements = vec![element(self)?];
        while self.parser.accept(",") {
            elements.push(element(self)?);
        }
        self.parser.expect("}")?;
        Ok(elements)
    }

    /// A vector of `count` elements.
    pub(super) fn vector_of<T>(
        &mut self,
        count: usize,
        element: impl Fn(&mut Self) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let token = self.parser.peek();
        let elements = self.vector(element)?;
        if elements.len() == count {
            Ok(elements)
        } else {
            Err(self
                .parser
                .source
                .malformed(token, format!("{count} elements, not {}", elements.len())))
        }
    }
}
