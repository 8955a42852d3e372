//! N4, character errors: graphemes substituted, inserted, deleted or exchanged at a stated rate, with letters of the
//! document's own language.
//!
//! Grapheme i of a document has an error at level c where draw 4 i, as a fraction of 2^64, lies below c; draw 4 i + 1
//! says which of the four, 4 i + 2 which letter, 4 i + 3 whether an insertion stands before or after it. None of these
//! knows the level, so a higher level has every error of a lower one. Letters are drawn as often as the corpus has them
//! (white space and signs too), never the one that stands there. Exchanges with the next grapheme are made last, from
//! left to right; the last grapheme has no next one and stays.
//!
//! With protection no error touches a grapheme of an answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation;

use super::NoiseError;
use super::compose::{Passage, check_ranges};
use super::draws::Draws;
use crate::convert::{u64_to_f64, usize_to_f64};

/// Name of the family in seeds.
const FAMILY: &str = "characters";

/// How often a corpus has each grapheme.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alphabet {
    /// Grapheme and how many occurrences stand before it, ascending by grapheme.
    starts: Vec<(String, usize)>,
    total: usize,
}

impl Alphabet {
    /// That of these texts.
    ///
    /// # Errors
    /// [`NoiseError::Alphabet`] where they have fewer than two different graphemes: nothing could be substituted.
    pub fn of<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, NoiseError> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for grapheme in texts.into_iter().flat_map(|text| text.graphemes(true)) {
            *counts.entry(grapheme).or_default() += 1;
        }
        if counts.len() < 2 {
            return Err(NoiseError::Alphabet {
                found: counts.len(),
            });
        }
        let mut alphabet = Self::default();
        for (grapheme, count) in counts {
            alphabet.starts.push((grapheme.to_owned(), alphabet.total));
            alphabet.total += count;
        }
        Ok(alphabet)
    }

    /// Different graphemes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether it has none, as only [`Alphabet::default`] does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// A grapheme other than `present`, each as often as the corpus has it.
    fn draw(&self, present: &str, draws: &Draws, counter: u64) -> &str {
        let place = self
            .starts
            .binary_search_by(|(grapheme, _)| grapheme.as_str().cmp(present));
        let (start, count) = place.map_or((self.total, 0), |place| {
            let start = self.starts[place].1;
            let end = self.starts.get(place + 1).map_or(self.total, |next| next.1);
            (start, end - start)
        });
        let mut at = draws.below(counter, self.total - count);
        if at >= start {
            at += count;
        }
        let after = self.starts.partition_point(|(_, start)| *start <= at);
        &self.starts[after - 1].0
    }
}

/// The family with its parameters.
#[derive(Clone, Copy, Debug)]
pub struct CharacterNoise<'a> {
    /// Global seed.
    pub seed: u64,
    /// Whether answers stay as they are.
    pub is_protecting: bool,
    /// Letters of the documents' language.
    pub alphabet: &'a Alphabet,
}

/// A document with errors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Garbled {
    /// The text to embed.
    pub text: String,
    /// What was done.
    pub report: CharacterReport,
}

/// Errors made, of one document or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CharacterReport {
    /// Graphemes of the clean texts.
    pub graphemes: usize,
    /// Those that no error may touch.
    pub protected: usize,
    /// Graphemes replaced by another.
    pub substitutions: usize,
    /// Graphemes put in.
    pub insertions: usize,
    /// Graphemes taken out.
    pub deletions: usize,
    /// Neighbours exchanged.
    pub exchanges: usize,
    /// Levenshtein distance from the clean texts, in graphemes.
    pub distance: usize,
}

impl CharacterReport {
    /// Errors of all four kinds.
    #[must_use]
    pub fn edits(&self) -> usize {
        self.substitutions + self.insertions + self.deletions + self.exchanges
    }

    /// Achieved character error rate: distance over the clean length. An exchange costs two, unless the two are alike.
    #[must_use]
    pub fn achieved(&self) -> f64 {
        usize_to_f64(self.distance) / usize_to_f64(self.graphemes.max(1))
    }

    /// Adds another document's.
    pub fn add(&mut self, other: &Self) {
        self.graphemes += other.graphemes;
        self.protected += other.protected;
        self.substitutions += other.substitutions;
        self.insertions += other.insertions;
        self.deletions += other.deletions;
        self.exchanges += other.exchanges;
        self.distance += other.distance;
    }
}

/// Refuses a rate that is no probability.
///
/// # Errors
/// [`NoiseError::Rate`].
pub fn check_rate(level: f64) -> Result<(), NoiseError> {
    if (0.0..=1.0).contains(&level) {
        Ok(())
    } else {
        Err(NoiseError::Rate(level))
    }
}

impl CharacterNoise<'_> {
    /// The document with errors at the rate `level`.
    ///
    /// # Errors
    /// [`NoiseError::Rate`]; [`NoiseError::AnswerOutside`].
    pub fn apply(&self, passage: &Passage<'_>, level: f64) -> Result<Garbled, NoiseError> {
        check_rate(level)?;
        check_ranges(passage)?;
        let draws = Draws::new(self.seed, FAMILY, passage.id);
        let clean: Vec<(usize, &str)> = passage.text.grapheme_indices(true).collect();
        let is_protected: Vec<bool> = clean
            .iter()
            .map(|&(start, grapheme)| {
                let end = start + grapheme.len();
                self.is_protecting
                    && passage
                        .answers
                        .iter()
                        .any(|answer| start < answer.end && answer.start < end)
            })
            .collect();
        let mut report = CharacterReport {
            graphemes: clean.len(),
            protected: is_protected
                .iter()
                .filter(|is_protected| **is_protected)
                .count(),
            ..CharacterReport::default()
        };
        // What each grapheme has become; then which change places with the next.
        let mut units: Vec<Vec<&str>> = clean.iter().map(|(_, grapheme)| vec![*grapheme]).collect();
        let mut exchanged = Vec::new();
        for (index, &(_, grapheme)) in clean.iter().enumerate() {
            let counter = 4 * u64::try_from(index).expect("64 bits hold an index");
            if is_protected[index] || u64_to_f64(draws.bits(counter)) >= level * 2.0_f64.powi(64) {
                continue;
            }
            let letter = || self.alphabet.draw(grapheme, &draws, counter + 2);
            match draws.below(counter + 1, 4) {
                0 => {
                    units[index] = vec![letter()];
                    report.substitutions += 1;
                }
                1 => {
                    let is_before = draws.below(counter + 3, 2) == 0;
                    units[index].insert(usize::from(!is_before), letter());
                    report.insertions += 1;
                }
                2 => {
                    units[index].clear();
                    report.deletions += 1;
                }
                // Below 4 only 3 is left.
                _ => {
                    if is_protected.get(index + 1) == Some(&false) {
                        exchanged.push(index);
                        report.exchanges += 1;
                    }
                }
            }
        }
        for index in exchanged {
            units.swap(index, index + 1);
        }
        let noisy = units.concat();
        // An exchange of two that each had a letter put in costs four.
        let bound = report.edits() + 3 * report.exchanges;
        let before: Vec<&str> = clean.into_iter().map(|(_, grapheme)| grapheme).collect();
        report.distance = distance(&before, &noisy, bound);
        Ok(Garbled {
            text: noisy.concat(),
            report,
        })
    }
}

/// Levenshtein distance, known to be at most `bound`: only cells so near the diagonal are computed (Ukkonen 1985).
fn distance(a: &[&str], b: &[&str], bound: usize) -> usize {
    let far = a.len() + b.len() + 1;
    // Row i holds the distances of the first i of `a` to the first j of `b`.
    let mut row: Vec<usize> = (0..=b.len())
        .map(|j| if j <= bound { j } else { far })
        .collect();
    for (i, x) in (1_usize..).zip(a) {
        let (low, high) = (i.saturating_sub(bound), (i + bound).min(b.len()));
        // The cell left of the band is never the way.
        let (mut diagonal, first) = if low == 0 {
            (std::mem::replace(&mut row[0], i), 1)
        } else {
            (std::mem::replace(&mut row[low - 1], far), low)
        };
        for j in first..=high {
            let above = row[j];
            let replaced = diagonal + usize::from(*x != b[j - 1]);
            row[j] = replaced.min(above + 1).min(row[j - 1] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
#[path = "characters_tests.rs"]
mod tests;
