//! What is wrong with a case.

use std::fmt;

/// Why a line of text, or a case, is not a case.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CaseError {
    /// A key that no case has.
    #[error("unknown key {key:?} in the case{}; keys are {keys}", Nearest(nearest))]
    UnknownKey {
        /// The key found.
        key: String,
        /// The known key closest to it.
        nearest: Option<&'static str>,
        /// Every key.
        keys: String,
    },
    /// A key given twice.
    #[error("key {key} is given twice, as {first:?} and as {second:?}; give it once")]
    Duplicate {
        /// The key.
        key: &'static str,
        /// Its first value.
        first: String,
        /// Its second value.
        second: String,
    },
    /// A word without `=`.
    #[error(
        "word {index} of the case is {word:?}, but every word is key=value with one space between"
    )]
    Word {
        /// Which word, from 1.
        index: usize,
        /// The word.
        word: String,
    },
    /// No kernel is named.
    #[error("the case names no kernel; begin with kernel=NAME")]
    NoKernel,
    /// A value that its key does not take.
    #[error("{key}={value}: {limit}")]
    Value {
        /// The key.
        key: &'static str,
        /// The value found.
        value: String,
        /// What it must be.
        limit: String,
    },
    /// A part of `layout=` that is not one.
    #[error("layout term {term:?}: {limit}")]
    Layout {
        /// The term found.
        term: String,
        /// What it must be.
        limit: String,
    },
    /// The layout's parts do not make a layout.
    #[error(transparent)]
    Build(#[from] flashproof_reference::LayoutError),
    /// A bug of this crate: inputs on which a wrong kernel could look right.
    #[error(
        "flashproof bug: the {values} values of {tensor} are degenerate ({what}); please report the case"
    )]
    Degenerate {
        /// The family.
        values: String,
        /// Which tensor.
        tensor: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl CaseError {
    /// A value its key does not take.
    pub(super) fn value(key: &'static str, value: &impl fmt::Display, limit: String) -> Self {
        Self::Value {
            key,
            value: value.to_string(),
            limit,
        }
    }
}

/// `, did you mean NAME` where there is a name.
struct Nearest<'a>(&'a Option<&'static str>);

impl fmt::Display for Nearest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, ", did you mean {name}"),
            None => Ok(()),
        }
    }
}

/// The candidate closest to `word` in single-letter edits, if it is close at all.
pub(super) fn nearest(word: &str, candidates: &[&'static str]) -> Option<&'static str> {
    let word: Vec<char> = word.chars().take(64).collect();
    candidates
        .iter()
        .map(|&candidate| {
            (
                edits(&word, &candidate.chars().collect::<Vec<_>>()),
                candidate,
            )
        })
        .min()
        .filter(|&(count, candidate)| count <= 2.max(candidate.len() / 3))
        .map(|(_, candidate)| candidate)
}

/// Fewest insertions, deletions and replacements that turn `a` into `b` (Levenshtein).
fn edits(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replace = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
