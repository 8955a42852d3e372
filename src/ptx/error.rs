//! Why a text is not a program this tool can read.

use super::module::Span;
use crate::diagnostic::{Blame, Code, Diagnostic, Place, Site};
use std::fmt;

/// A text that cannot be read as a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Name of the text.
    pub name: String,
    /// Line and column.
    pub span: Span,
    /// What is wrong.
    pub kind: ErrorKind,
    /// The line of the text, trimmed.
    pub source: String,
}

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Not PTX.
    Malformed {
        /// What stands there, as written.
        found: String,
        /// What could have stood there.
        expected: String,
    },
    /// PTX, perhaps, but not the part that is read here: says nothing about the kernel.
    Unsupported {
        /// The opcode or directive, as written.
        what: String,
    },
}

impl Error {
    /// True where the text may be right and this tool cannot read it.
    pub fn is_unsupported(&self) -> bool {
        matches!(self.kind, ErrorKind::Unsupported { .. })
    }

    /// The error as a finding, with its place.
    pub fn diagnostic(&self) -> Diagnostic {
        let (code, blame, message, label, help) = match &self.kind {
            ErrorKind::Malformed { found, expected } => (
                Code("ptx-syntax"),
                Blame::Input,
                format!("malformed PTX: found {found}, expected {expected}"),
                "here",
                "check that the file is complete and was written by a PTX compiler",
            ),
            ErrorKind::Unsupported { what } => (
                Code("ptx-unsupported"),
                Blame::Unsupported,
                format!("`{what}` is not among the instructions and directives that are read"),
                "needed here",
                "compile for sm_80, or report the opcode",
            ),
        };
        let place = Place {
            file: self.name.clone(),
            line: self.span.line,
            column: self.span.column,
        };
        Diagnostic {
            code,
            blame,
            message,
            sites: vec![Site {
                label: label.to_owned(),
                ptx: Some(place),
                cuda: None,
                inlined: Vec::new(),
                statement: Some(self.source.clone()),
            }],
            help: Some(help.to_owned()),
            count: 1,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.name, self.span.line, self.span.column)?;
        match &self.kind {
            ErrorKind::Malformed { found, expected } => {
                write!(f, "found {found}, expected {expected}")
            }
            ErrorKind::Unsupported { what } => write!(f, "`{what}` is not supported"),
        }
    }
}

impl std::error::Error for Error {}
