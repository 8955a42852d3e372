//! Integer expressions of a manifest: `+ - * /`, parentheses, `ceil_div(a, b)`, `min(a, b)`, `max(a, b)` over integer
//! literals and [`Name`]s, in checked `i64`. `/` truncates towards zero; `ceil_div` rounds up.

use super::extents::{Extents, Name, nearest};
use std::fmt;

/// Longest text of an expression, in bytes.
pub const TEXT_BYTES_MAX: usize = 1000;
/// Deepest nesting of parentheses and signs, so that no text can exhaust the stack.
pub const DEPTH_MAX: usize = 64;

/// A parsed expression; equal when spelt alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    text: String,
    tree: Node,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Number(i64),
    Name(Name),
    Apply(Operation, Box<Node>, Box<Node>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
    CeilDiv,
    Min,
    Max,
}

/// Why a text is not an expression. Columns count characters from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExpressionError {
    /// Something stands where it cannot.
    #[error("column {column} of `{text}` has {found}, but {wanted} belongs there")]
    Unexpected {
        /// The whole expression.
        text: String,
        /// Where.
        column: usize,
        /// What stands there.
        found: String,
        /// What would be right.
        wanted: &'static str,
    },
    /// A name that expressions do not know.
    #[error("`{name}` at column {column} of `{text}` is no name of an expression{}; the names are {}", suggestion(.nearest), names())]
    UnknownName {
        /// The whole expression.
        text: String,
        /// Where.
        column: usize,
        /// The name.
        name: String,
        /// A known name that may have been meant.
        nearest: Option<String>,
    },
    /// A literal beyond `i64`.
    #[error("{digits} at column {column} of `{text}` is above {}", i64::MAX)]
    NumberTooLarge {
        /// The whole expression.
        text: String,
        /// Where.
        column: usize,
        /// The literal.
        digits: String,
    },
    /// More nesting than [`DEPTH_MAX`].
    #[error("column {column} of an expression is nested deeper than {DEPTH_MAX}")]
    TooDeep {
        /// Where.
        column: usize,
    },
    /// More text than [`TEXT_BYTES_MAX`].
    #[error("an expression of {bytes} bytes is longer than {TEXT_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
}

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluationError {
    /// A result beyond `i64`.
    #[error("{left} {operation} {right} in `{text}` overflows 64 bits")]
    Overflow {
        /// The whole expression.
        text: String,
        /// Left operand.
        left: i64,
        /// The operation.
        operation: &'static str,
        /// Right operand.
        right: i64,
    },
    /// A division by zero.
    #[error("{left} {operation} 0 in `{text}` divides by zero")]
    DivisionByZero {
        /// The whole expression.
        text: String,
        /// The dividend.
        left: i64,
        /// `/` or `ceil_div`.
        operation: &'static str,
    },
}

fn suggestion(nearest: &Option<String>) -> String {
    nearest
        .as_ref()
        .map_or_else(String::new, |name| format!(" (did you mean `{name}`?)"))
}

fn names() -> String {
    Name::ALL.map(|(_, spelling)| spelling).join(", ")
}

impl Expression {
    /// Parses `text`.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(ExpressionError::TooLong { bytes: text.len() });
        }
        let mut parser = Parser {
            text,
            rest: text.chars().collect(),
            at: 0,
        };
        let tree = parser.sum(0)?;
        match parser.peek() {
            None => Ok(Self {
                text: text.to_owned(),
                tree,
            }),
            Some(_) => Err(parser.unexpected("an operator or the end")),
        }
    }

    /// Its value over `extents`.
    pub fn evaluate(&self, extents: &Extents) -> Result<i64, EvaluationError> {
        self.value(&self.tree, extents)
    }

    fn value(&self, node: &Node, extents: &Extents) -> Result<i64, EvaluationError> {
        let (operation, left, right) = match node {
            Node::Number(number) => return Ok(*number),
            Node::Name(name) => return Ok(extents.value(*name)),
            Node::Apply(operation, left, right) => (
                *operation,
                self.value(left, extents)?,
                self.value(right, extents)?,
            ),
        };
        if right == 0 && matches!(operation, Operation::Divide | Operation::CeilDiv) {
            return Err(EvaluationError::DivisionByZero {
                text: self.text.clone(),
                left,
                operation: operation.text(),
            });
        }
        let value = match operation {
            Operation::Add => left.checked_add(right),
            Operation::Subtract => left.checked_sub(right),
            Operation::Multiply => left.checked_mul(right),
            Operation::Divide => left.checked_div(right),
            Operation::CeilDiv => ceil_div(left, right),
            Operation::Min => Some(left.min(right)),
            Operation::Max => Some(left.max(right)),
        };
        value.ok_or_else(|| EvaluationError::Overflow {
            text: self.text.clone(),
            left,
            operation: operation.text(),
            right,
        })
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The quotient rounded towards positive infinity.
fn ceil_div(left: i64, right: i64) -> Option<i64> {
    let quotient = left.checked_div(right)?;
    let inexact = left % right != 0;
    let positive = (left < 0) == (right < 0);
    quotient.checked_add(i64::from(inexact && positive))
}

impl Operation {
    fn text(self) -> &'static str {
        match self {
            Operation::Add => "+",
            Operation::Subtract => "-",
            Operation::Multiply => "*",
            Operation::Divide => "/",
            Operation::CeilDiv => "ceil_div",
            Operation::Min => "min",
            Operation::Max => "max",
        }
    }

    fn function(name: &str) -> Option<Self> {
        match name {
            "ceil_div" => Some(Operation::CeilDiv),
            "min" => Some(Operation::Min),
            "max" => Some(Operation::Max),
            _ => None,
        }
    }
}

/// Recursive descent: sum of products of atoms, left-associative.
struct Parser<'a> {
    text: &'a str,
    rest: Vec<char>,
    at: usize,
}

impl Parser<'_> {
    fn peek(&mut self) -> Option<char> {
        while self.rest.get(self.at).is_some_and(|c| c.is_whitespace()) {
            self.at += 1;
        }
        self.rest.get(self.at).copied()
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn word(&mut self, belongs: fn(char) -> bool) -> String {
        let word: String = self.rest[self.at..]
            .iter()
            .take_while(|c| belongs(**c))
            .collect();
        self.at += word.chars().count();
        word
    }

    fn unexpected(&mut self, wanted: &'static str) -> ExpressionError {
        let found = self
            .peek()
            .map_or_else(|| "the end".to_owned(), |c| format!("`{c}`"));
        ExpressionError::Unexpected {
            text: self.text.to_owned(),
            column: self.at + 1,
            found,
            wanted,
        }
    }

    fn sum(&mut self, depth: usize) -> Result<Node, ExpressionError> {
        let mut left = self.product(depth)?;
        loop {
            let operation = match self.peek() {
                Some('+') => Operation::Add,
                Some('-') => Operation::Subtract,
                Some(_) | None => return Ok(left),
            };
            self.at += 1;
            left = Node::Apply(operation, Box::new(left), Box::new(self.product(depth)?));
        }
    }

    fn product(&mut self, depth: usize) -> Result<Node, ExpressionError> {
        let mut left = self.atom(depth)?;
        loop {
            let operation = match self.peek() {
                Some('*') => Operation::Multiply,
                Some('/') => Operation::Divide,
                Some(_) | None => return Ok(left),
            };
            self.at += 1;
            left = Node::Apply(operation, Box::new(left), Box::new(self.atom(depth)?));
        }
    }

    fn atom(&mut self, depth: usize) -> Result<Node, ExpressionError> {
        if depth >= DEPTH_MAX {
            return Err(ExpressionError::TooDeep {
                column: self.at + 1,
            });
        }
        match self.peek() {
            Some('(') => {
                self.at += 1;
                let inner = self.sum(depth + 1)?;
                self.expect(')', "`)`")?;
                Ok(inner)
            }
            Some('-') => {
                self.at += 1;
                let inner = self.atom(depth + 1)?;
                Ok(Node::Apply(
                    Operation::Subtract,
                    Box::new(Node::Number(0)),
                    Box::new(inner),
                ))
            }
            Some(c) if c.is_ascii_digit() => self.number(),
            Some(c) if c.is_ascii_alphabetic() => self.name_or_function(depth),
            Some(_) | None => Err(self.unexpected("a number, a name, `(` or `-`")),
        }
    }

    fn expect(&mut self, wanted: char, description: &'static str) -> Result<(), ExpressionError> {
        if self.take(wanted) {
            Ok(())
        } else {
            Err(self.unexpected(description))
        }
    }

    fn number(&mut self) -> Result<Node, ExpressionError> {
        let column = self.at + 1;
        let digits = self.word(|c| c.is_ascii_digit());
        digits
            .parse()
            .map(Node::Number)
            .map_err(|_| ExpressionError::NumberTooLarge {
                text: self.text.to_owned(),
                column,
                digits,
            })
    }

    fn name_or_function(&mut self, depth: usize) -> Result<Node, ExpressionError> {
        let column = self.at + 1;
        let word = self.word(|c| c.is_ascii_alphanumeric() || c == '_');
        if let Some(operation) = Operation::function(&word) {
            self.expect('(', "`(` after a function")?;
            let left = self.sum(depth + 1)?;
            self.expect(',', "`,` between two arguments")?;
            let right = self.sum(depth + 1)?;
            self.expect(')', "`)` after two arguments")?;
            return Ok(Node::Apply(operation, Box::new(left), Box::new(right)));
        }
        Name::parse(&word)
            .map(Node::Name)
            .ok_or_else(|| ExpressionError::UnknownName {
                text: self.text.to_owned(),
                column,
                nearest: nearest(&word, Name::ALL.map(|(_, spelling)| spelling)),
                name: word,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn extents() -> Extents {
        Extents {
            seqlen_q: 130,
            head_dim: 32,
            tile_q: 64,
            tile_kv: 64,
            ..Extents::default()
        }
    }

    #[track_caller]
    fn check(text: &str, expected: i64) {
        let expression = Expression::parse(text).unwrap();
        assert_eq!(expression.evaluate(&extents()), Ok(expected), "{text}");
        assert_eq!(expression.to_string(), text);
    }

    #[test]
    fn expressions_have_the_value_of_arithmetic() {
        check("7", 7);
        check(" 1 + 2 * 3 - 4 / 3 ", 6);
        check("10 - 3 - 2", 5);
        check("100 / 10 / 2", 5);
        check("-2 * -(3 + 1)", 8);
        check("ceil_div(seqlen_q, tile_q)", 3);
        check("ceil_div(-7, 2) + ceil_div(7, -2)", -6);
        check("ceil_div(7, 2)", 4);
        check("min(3, max(1, 2))", 2);
        check("(tile_q + 4 * tile_kv) * head_dim * 2", 20480);
        check("batch", 0);
    }

    #[test]
    fn errors_say_where_and_what() {
        let error = |text: &str| Expression::parse(text).unwrap_err().to_string();
        assert_eq!(
            error("1 +"),
            "column 4 of `1 +` has the end, but a number, a name, `(` or `-` belongs there"
        );
        assert_eq!(
            error("2 $ 3"),
            "column 3 of `2 $ 3` has `$`, but an operator or the end belongs there"
        );
        assert_eq!(
            error("min(1)"),
            "column 6 of `min(1)` has `)`, but `,` between two arguments belongs there"
        );
        assert!(error("seqlen_k + 1").starts_with(
            "`seqlen_k` at column 1 of `seqlen_k + 1` is no name of an expression (did you mean `seqlen_kv`?); the names are batch,"
        ));
        assert_eq!(
            error("9223372036854775808"),
            "9223372036854775808 at column 1 of `9223372036854775808` is above 9223372036854775807"
        );
        assert_eq!(
            error(&"(".repeat(500)),
            "column 65 of an expression is nested deeper than 64"
        );
        assert_eq!(
            error(&" ".repeat(1001)),
            "an expression of 1001 bytes is longer than 1000"
        );
    }

    #[test]
    fn overflow_and_division_by_zero_are_errors() {
        let error = |text: &str| {
            Expression::parse(text)
                .unwrap()
                .evaluate(&extents())
                .unwrap_err()
                .to_string()
        };
        assert_eq!(error("1 / batch"), "1 / 0 in `1 / batch` divides by zero");
        assert_eq!(
            error("ceil_div(3, 0)"),
            "3 ceil_div 0 in `ceil_div(3, 0)` divides by zero"
        );
        assert_eq!(
            error("9223372036854775807 * 2"),
            "9223372036854775807 * 2 in `9223372036854775807 * 2` overflows 64 bits"
        );
        assert!(error("(-9223372036854775807 - 1) / -1").ends_with("overflows 64 bits"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_text_parses_or_is_an_error(text in "[-+*/(), 0-9a-z_]{0,40}|\\PC{0,20}") {
            if let Ok(expression) = Expression::parse(&text) {
                let _ = expression.evaluate(&extents());
            }
        }

        #[test]
        fn ceil_div_is_the_least_integer_not_below_the_quotient(a in -1000_i64..1000, b in -50_i64..50) {
            prop_assume!(b != 0);
            let c = ceil_div(a, b).unwrap();
            let reaches = |c: i64| if b > 0 { c * b >= a } else { c * b <= a };
            prop_assert!(reaches(c) && !reaches(c - 1));
        }
    }
}
