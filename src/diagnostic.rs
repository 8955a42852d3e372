//! Findings as data: what is wrong, whose fault it is, and where. Rendering belongs to `report`.

use std::fmt;

/// A place in a source text, 1-based.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// File name as the text or the user gave it; base name only for `.file` entries of PTX.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1; 0 where unknown.
    pub column: u32,
}

/// Whose fault a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blame {
    /// The kernel under test is wrong.
    Kernel,
    /// The kernel under test is right, but slower or larger than it need be.
    Advice,
    /// Not supported by this tool: says nothing about the kernel.
    Unsupported,
    /// The input is malformed.
    Input,
    /// This tool is wrong: please report it.
    Toolkit,
}

/// Stable name of a kind of finding, kebab-case, e.g. `shared-race`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(pub &'static str);

/// One numbered place of a finding: what happened there, and which thread did it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Site {
    /// What happened there, lower case, e.g. `written here by thread (33,0,0) of cta (0,2,0)`.
    pub label: String,
    /// Line of the PTX text.
    pub ptx: Option<Place>,
    /// Line of the CUDA source, from `.loc`; the innermost one where calls were inlined.
    pub cuda: Option<Place>,
    /// The calls through which `cuda` was inlined, innermost first.
    pub inlined: Vec<Place>,
    /// The PTX statement, as text.
    pub statement: Option<String>,
}

/// A finding.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Diagnostic {
    /// Which kind.
    pub code: Code,
    /// Whose fault.
    pub blame: Blame,
    /// One sentence with the values, lower case, no full stop.
    pub message: String,
    /// Numbered places, the culprit first.
    pub sites: Vec<Site>,
    /// What to do now.
    pub help: Option<String>,
    /// How often it happened in the run (the sites show the first).
    pub count: u64,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}
