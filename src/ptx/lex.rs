//! Text to tokens.

use super::module::Span;

/// Kind of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// Identifier: `mov`, `%r1`, `$L__BB0_1`, `_`.
    Word,
    /// A dot and what follows it: `.u32`, `.L2::128B`.
    Dot,
    /// Starts with a digit.
    Number,
    /// Text in double quotes, quotes included.
    Text,
    /// One character of punctuation.
    Punctuation,
    /// End of the text.
    End,
    /// A character or an open quote or comment that PTX does not have.
    Stray,
}

/// A piece of the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'t> {
    /// Kind.
    pub(super) kind: TokenKind,
    /// The piece; empty at the end.
    pub(super) text: &'t str,
    /// Its first byte.
    pub(super) start: usize,
    /// Line and column, counted in characters.
    pub(super) span: Span,
}

impl Token<'_> {
    /// Byte after its last.
    pub(super) fn end(&self) -> usize {
        self.start + self.text.len()
    }
}

/// The tokens of a text; the last is always [`TokenKind::End`].
pub(super) fn lex(text: &str) -> Vec<Token<'_>> {
    let mut lexer = Lexer {
        text,
        at: 0,
        line: 1,
        column: 1,
    };
    let mut tokens = Vec::new();
    loop {
        let token = lexer.next();
        tokens.push(token);
        if token.kind == TokenKind::End {
            return tokens;
        }
    }
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    line: u32,
    column: u32,
}

fn is_word_start(c: char) -> bool {
    c.is_ascii_alphabetic() || matches!(c, '_' | '$' | '%')
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '$')
}

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn advance(&mut self, bytes: usize) {
        for c in self.rest()[..bytes].chars() {
            if c == '\n' {
                self.line = self.line.saturating_add(1);
                self.column = 1;
            } else {
                self.column = self.column.saturating_add(1);
            }
        }
        self.at += bytes;
    }

    /// Skips blanks and comments. A block comment that does not end is left standing.
    fn skip(&mut self) {
        loop {
            let rest = self.rest();
            let blank = rest.len() - rest.trim_start().len();
            let comment = if rest[blank..].starts_with("//") {
                rest[blank..].find('\n').unwrap_or(rest.len() - blank)
            } else if rest[blank..].starts_with("/*") {
                rest[blank..].find("*/").map_or(0, |end| end + 2)
            } else {
                0
            };
            self.advance(blank + comment);
            if comment == 0 {
                return;
            }
        }
    }

    fn next(&mut self) -> Token<'t> {
        self.skip();
        let rest = self.rest();
        let (kind, length) = classify(rest);
        let span = Span {
            line: self.line,
            column: self.column,
        };
        let token = Token {
            kind,
            text: &rest[..length],
            start: self.at,
            span,
        };
        self.advance(length);
        token
    }
}

/// Length of the longest prefix whose characters satisfy `is`.
fn run(text: &str, is: impl Fn(char) -> bool) -> usize {
    text.find(|c| !is(c)).unwrap_or(text.len())
}

/// Kind and byte length of the token that `rest` starts with.
fn classify(rest: &str) -> (TokenKind, usize) {
    let Some(first) = rest.chars().next() else {
        return (TokenKind::End, 0);
    };
    if is_word_start(first) {
        (TokenKind::Word, 1 + run(&rest[1..], is_word))
    } else if first == '.' {
        let mut length = 1 + run(&rest[1..], is_word);
        // `.L2::128B`, `.shared::cta`
        while rest[length..].starts_with("::") {
            length += 2 + run(&rest[length + 2..], is_word);
        }
        (TokenKind::Dot, length)
    } else if first.is_ascii_digit() {
        // A decimal point and an exponent's sign belong to the number: `1.5`, `1e-3`.
        let whole = run(rest, is_word);
        let fraction = if rest[whole..].starts_with('.') {
            1 + run(&rest[whole + 1..], is_word)
        } else {
            0
        };
        let mut length = whole + fraction;
        let hexadecimal = rest.starts_with("0x") || rest.starts_with("0X");
        if !hexadecimal
            && rest[..length].ends_with(['e', 'E'])
            && rest[length..].starts_with(['+', '-'])
        {
            length += 1 + run(&rest[length + 1..], |c| c.is_ascii_digit());
        }
        (TokenKind::Number, length)
    } else if first == '"' {
        let mut escaped = false;
        for (offset, c) in rest.char_indices().skip(1) {
            match c {
                '\n' => break,
                '"' if !escaped => return (TokenKind::Text, offset + 1),
                _ => escaped = c == '\\' && !escaped,
            }
        }
        (TokenKind::Stray, 1)
    } else if "{}()[]<>,;:+-*!@|=".contains(first) {
        (TokenKind::Punctuation, 1)
    } else {
        (TokenKind::Stray, first.len_utf8())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(text: &str) -> Vec<&str> {
        lex(text)
            .iter()
            .filter(|token| token.kind != TokenKind::End)
            .map(|token| token.text)
            .collect()
    }

    #[test]
    fn tokens_of_an_instruction() {
        assert_eq!(
            texts("@!%p1 ld.global.nc.L2::128B.v2.u32 {%r1,_}, [%rd2+-8]; // note"),
            [
                "@",
                "!",
                "%p1",
                "ld",
                ".global",
                ".nc",
                ".L2::128B",
                ".v2",
                ".u32",
                "{",
                "%r1",
                ",",
                "_",
                "}",
                ",",
                "[",
                "%rd2",
                "+",
                "-",
                "8",
                "]",
                ";"
            ]
        );
        assert_eq!(
            texts("0f3F800000 1.5e-3 0x1e -2 /* a\n b */ \"x\\\"y\""),
            ["0f3F800000", "1.5e-3", "0x1e", "-", "2", "\"x\\\"y\""]
        );
    }

    #[test]
    fn places_count_lines_and_characters() {
        let tokens = lex("a /* é\n é */ b\n\tc");
        let places: Vec<_> = tokens
            .iter()
            .map(|token| (token.span.line, token.span.column))
            .collect();
        assert_eq!(places, [(1, 1), (2, 7), (3, 2), (3, 3)]);
    }

    #[test]
    fn unfinished_quotes_and_comments_are_stray() {
        assert_eq!(
            lex("\"abc").first().map(|token| token.kind),
            Some(TokenKind::Stray)
        );
        assert_eq!(
            lex("/* abc").first().map(|token| token.kind),
            Some(TokenKind::Stray)
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn tokens_lie_in_order_inside_the_text(text in any::<String>()) {
            let mut at = 0;
            for token in lex(&text) {
                prop_assert!(token.start >= at && token.end() <= text.len());
                prop_assert_eq!(&text[token.start..token.end()], token.text);
                at = token.end();
            }
        }
    }
}
