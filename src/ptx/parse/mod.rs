//! Text to program.
//!
//! Reads what it knows and says where the rest begins: an opcode, modifier or directive outside the part that is read
//! is [`ErrorKind::Unsupported`]; anything that breaks PTX's grammar, names nothing that was declared, or has operands
//! of the wrong width is [`ErrorKind::Malformed`]. Modifiers are accepted in any order, a superset of what the
//! assembler accepts. No recursion: the depth of the text does not reach the stack.

mod arithmetic;
mod bulk;
mod control;
mod conversion;
mod declaration;
mod function;
mod mbarrier;
mod memory;
mod modifiers;
mod operand;
mod product;
mod scope;
#[cfg(test)]
mod tests;
mod wgmma;
mod wmma;

use super::error::{Error, ErrorKind};
use super::lex::{Token, TokenKind, lex};
use super::module::{Linkage, Module, Section, SourceFile};

/// Reads a program. `name` is what diagnostics call the text.
///
/// # Errors
///
/// Where the text is malformed or uses PTX outside the part that is read: the first such place.
pub fn parse(name: &str, text: &str) -> Result<Module, Error> {
    let mut parser = Parser {
        source: Source { name, text },
        tokens: lex(text),
        at: 0,
    };
    parser.module()
}

/// The text and its name: what an error needs to point into it.
#[derive(Clone, Copy)]
struct Source<'t> {
    name: &'t str,
    text: &'t str,
}

impl<'t> Source<'t> {
    fn error(self, token: Token<'t>, kind: ErrorKind) -> Error {
        let before = self.text[..token.start]
            .rfind('\n')
            .map_or(0, |newline| newline + 1);
        let after = self.text[token.start..]
            .find('\n')
            .map_or(self.text.len(), |newline| token.start + newline);
        // One long line must not become one long message.
        let source = self.text[before..after].trim().chars().take(200).collect();
        Error {
            name: self.name.to_owned(),
            span: token.span,
            kind,
            source,
        }
    }

    fn malformed(self, token: Token<'t>, expected: impl Into<String>) -> Error {
        let found = match token.kind {
            TokenKind::End => "the end of the text".to_owned(),
            TokenKind::Text => token.text.chars().take(80).collect(),
            TokenKind::Word
            | TokenKind::Dot
            | TokenKind::Number
            | TokenKind::Punctuation
            | TokenKind::Stray => {
                format!("`{}`", token.text.chars().take(80).collect::<String>())
            }
        };
        self.error(
            token,
            ErrorKind::Malformed {
                found,
                expected: expected.into(),
            },
        )
    }

    /// A text that ends in what is not read is cut off, whatever that would have become.
    fn unsupported(self, token: Token<'t>, what: impl Into<String>) -> Error {
        let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '%' | '$');
        let rest = self.text[token.end()..].trim_start_matches(part);
        if rest.trim().is_empty() {
            return self.malformed(token, "more text");
        }
        self.error(token, ErrorKind::Unsupported { what: what.into() })
    }
}

/// Tokens, read from the front.
struct Parser<'t> {
    source: Source<'t>,
    tokens: Vec<Token<'t>>,
    at: usize,
}

impl<'t> Parser<'t> {
    /// The token `ahead` of the next one; the end of the text repeats.
    fn look(&self, ahead: usize) -> Token<'t> {
        let index = (self.at + ahead).min(self.tokens.len() - 1);
        self.tokens[index]
    }

    fn peek(&self) -> Token<'t> {
        self.look(0)
    }

    fn next(&mut self) -> Token<'t> {
        let token = self.peek();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    /// Takes the next token if it is `text`. Texts in quotes never are: they keep their quotes.
    fn accept(&mut self, text: &str) -> bool {
        let found = self.peek().text == text;
        if found {
            self.next();
        }
        found
    }

    fn expect(&mut self, text: &str) -> Result<Token<'t>, Error> {
        if self.peek().text == text {
            Ok(self.next())
        } else {
            Err(self.malformed(format!("`{text}`")))
        }
    }

    fn expect_kind(&mut self, kind: TokenKind, what: &str) -> Result<Token<'t>, Error> {
        if self.peek().kind == kind {
            Ok(self.next())
        } else {
            Err(self.malformed(what))
        }
    }

    fn word(&mut self, what: &str) -> Result<Token<'t>, Error> {
        self.expect_kind(TokenKind::Word, what)
    }

    /// A plain non-negative number.
    fn number<T: TryFrom<u64>>(&mut self, what: &str) -> Result<T, Error> {
        let token = self.peek();
        let value = (token.kind == TokenKind::Number)
            .then(|| operand::unsigned(token.text))
            .flatten();
        let value = value
            .and_then(|value| T::try_from(value).ok())
            .ok_or_else(|| self.malformed(what))?;
        self.next();
        Ok(value)
    }

    /// Text between quotes, escapes untouched.
    fn quoted(&mut self, what: &str) -> Result<&'t str, Error> {
        let token = self.expect_kind(TokenKind::Text, what)?;
        Ok(token
            .text
            .trim_start_matches('"')
            .strip_suffix('"')
            .unwrap_or_default())
    }

    /// The next token is not what could stand here.
    fn malformed(&self, expected: impl Into<String>) -> Error {
        self.source.malformed(self.peek(), expected)
    }

    /// The next token begins something that is not read.
    fn unsupported(&self) -> Error {
        self.source.unsupported(self.peek(), self.peek().text)
    }

    fn module(&mut self) -> Result<Module, Error> {
        let mut module = Module {
            name: self.source.name.to_owned(),
            version: self.version()?,
            target: self.target()?,
            address_size: self.address_size()?,
            variables: Vec::new(),
            functions: Vec::new(),
            callees: Vec::new(),
            files: Vec::new(),
            sections: Vec::new(),
        };
        let mut names = scope::ModuleNames::default();
        loop {
            let token = self.peek();
            match token.text {
                ".file" => module.files.push(self.file()?),
                ".section" => module.sections.push(self.section()?),
                ".visible" | ".extern" | ".weak" | ".common" | ".entry" | ".func" | ".global"
                | ".const" | ".shared" => {
                    let linkage = self.linkage();
                    if self.accept(".entry") {
                        let function = self.function(linkage, &names)?;
                        names
                            .declare_function(&function.name)
                            .map_err(|()| self.source.malformed(token, "a new name"))?;
                        module.functions.push(function);
                    } else if self.accept(".func") {
                        self.callee(linkage, &mut names, &mut module.callees)?;
                    } else {
                        for (name, variable) in self.variables(linkage)? {
                            names
                                .declare_variable(&variable.name)
                                .map_err(|()| self.source.malformed(name, "a new name"))?;
                            module.variables.push(variable);
                        }
                    }
                }
                _ if token.kind == TokenKind::End => return Ok(module),
                _ if token.kind == TokenKind::Dot => return Err(self.unsupported()),
                _ => return Err(self.malformed("a directive or the end of the text")),
            }
        }
    }

    fn version(&mut self) -> Result<(u32, u32), Error> {
        self.expect(".version")?;
        let token = self.peek();
        let version = token
            .text
            .split_once('.')
            .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        let version = version.ok_or_else(|| self.malformed("a version such as 9.0"))?;
        self.next();
        Ok(version)
    }

    fn target(&mut self) -> Result<Vec<String>, Error> {
        self.expect(".target")?;
        let mut target = vec![self.word("an architecture such as sm_80")?.text.to_owned()];
        while self.accept(",") {
            target.push(self.word("a target option")?.text.to_owned());
        }
        Ok(target)
    }

    fn address_size(&mut self) -> Result<u32, Error> {
        // Without the directive addresses have 32 bits, which is not supported either.
        self.expect(".address_size")?;
        let token = self.peek();
        match self.number("32 or 64")? {
            64_u32 => Ok(64),
            size => Err(self
                .source
                .unsupported(token, format!(".address_size {size}"))),
        }
    }

    fn file(&mut self) -> Result<SourceFile, Error> {
        self.expect(".file")?;
        let index = self.number("a file number")?;
        let path = self.quoted("a path in quotes")?.to_owned();
        if self.accept(",") {
            // Time and size of the file: they identify a build, not a program.
            self.number::<u64>("a time")?;
            self.expect(",")?;
            self.number::<u64>("a size")?;
        }
        Ok(SourceFile { index, path })
    }

    fn section(&mut self) -> Result<Section, Error> {
        self.expect(".section")?;
        let name = self
            .expect_kind(TokenKind::Dot, "a section name")?
            .text
            .to_owned();
        let start = self.expect("{")?.end();
        while self.peek().text != "}" {
            if matches!(self.peek().kind, TokenKind::End | TokenKind::Stray) {
                return Err(self.malformed("`}`"));
            }
            self.next();
        }
        let end = self.next().start;
        Ok(Section {
            name,
            body: self.source.text[start..end].trim().to_owned(),
        })
    }

    fn linkage(&mut self) -> Linkage {
        let linkage = match self.peek().text {
            ".visible" => Linkage::Visible,
            ".extern" => Linkage::Extern,
            ".weak" => Linkage::Weak,
            ".common" => Linkage::Common,
            _ => return Linkage::Internal,
        };
        self.next();
        linkage
    }
}
