//! MLQA's official answer metric, exact match and F1 of normal forms, reproduced with what is odd about it.
//!
//! A normal form is made by four steps in this order: lower case; punctuation *deleted*; articles of the language
//! replaced by a space; tokens joined by one space. The order matters: `state-of-the-art` becomes `stateoftheart`,
//! whose article no longer is one. The arithmetic is the script's in the script's order. (Lewis et al. 2020, `mlqa_evaluation_v1.py`.)
//!
//! Nothing is put into a Unicode normalisation form: `là` written with a combining grave is no article.

use std::collections::BTreeMap;

use super::language::Language;
use super::load::Corpus;
use super::predictions::Predictions;
use super::unicode::{is_punctuation, is_word};
use crate::convert::usize_to_f64;

/// The metric for answers in one language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerMetric {
    language: Language,
}

/// A language that the official metric does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("MLQA's answer metric does not know {0}; it knows en ar de es hi vi zh")]
pub struct NoAnswerMetric(pub Language);

/// Scores over a corpus, in per cent of all its questions.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerScores {
    /// Mean exact match times 100.
    pub exact_match: f64,
    /// Mean F1 times 100.
    pub f1: f64,
    /// Questions of the corpus: the denominator of both.
    pub question_count: usize,
    /// Ids of the questions without a prediction, in file order; each counts 0.
    pub unanswered: Vec<String>,
}

impl AnswerMetric {
    /// The metric for answers in `language`, that is the language of the *contexts*.
    ///
    /// # Errors
    /// [`NoAnswerMetric`] for a language that MLQA does not have.
    pub fn new(language: Language) -> Result<Self, NoAnswerMetric> {
        if language.is_in_mlqa() {
            Ok(Self { language })
        } else {
            Err(NoAnswerMetric(language))
        }
    }

    /// Scores of `predictions` over every question of `corpus`, the best over a question's gold answers.
    #[must_use]
    pub fn score(self, corpus: &Corpus, predictions: &Predictions) -> AnswerScores {
        let (mut exact_count, mut f1_sum, mut question_count) = (0, 0.0, 0);
        let mut unanswered = Vec::new();
        let questions = corpus
            .paragraphs()
            .flat_map(|(_, paragraph)| &paragraph.questions);
        for question in questions {
            question_count += 1;
            let Some(prediction) = predictions.answers.get(&question.id) else {
                unanswered.push(question.id.clone());
                continue;
            };
            let golds = || question.answers.iter().map(|gold| gold.text.as_str());
            exact_count += usize::from(golds().any(|gold| self.is_exact_match(prediction, gold)));
            f1_sum += golds()
                .map(|gold| self.f1(prediction, gold))
                .fold(0.0, f64::max);
        }
        let per_cent = |sum: f64| match question_count {
            0 => 0.0,
            count => 100.0 * sum / usize_to_f64(count),
        };
        AnswerScores {
            exact_match: per_cent(usize_to_f64(exact_count)),
            f1: per_cent(f1_sum),
            question_count,
            unanswered,
        }
    }

    /// Whether the normal forms are equal; two empty ones are (and their [`Self::f1`] is 0 all the same).
    #[must_use]
    pub fn is_exact_match(self, prediction: &str, gold: &str) -> bool {
        self.normal_form(prediction) == self.normal_form(gold)
    }

    /// Harmonic mean of precision and recall of the multisets of tokens; 0 where they share none.
    #[must_use]
    pub fn f1(self, prediction: &str, gold: &str) -> f64 {
        let (prediction, gold) = (self.normal_form(prediction), self.normal_form(gold));
        let (predicted, wanted) = (words(&prediction), words(&gold));
        let mut left: BTreeMap<&str, usize> = BTreeMap::new();
        for token in &wanted {
            *left.entry(token).or_default() += 1;
        }
        let mut shared = 0;
        for token in &predicted {
            if let Some(count) = left.get_mut(token).filter(|count| **count > 0) {
                *count -= 1;
                shared += 1;
            }
        }
        if shared == 0 {
            return 0.0;
        }
        let precision = usize_to_f64(shared) / usize_to_f64(predicted.len());
        let recall = usize_to_f64(shared) / usize_to_f64(wanted.len());
        (2.0 * precision * recall) / (precision + recall)
    }

    /// The text as the metric compares it.
    #[must_use]
    pub fn normal_form(self, text: &str) -> String {
        let mut text = lower_case(text);
        text.retain(|character| !is_punctuation(character));
        let text = self.without_articles(&text);
        if self.language == Language::Chinese {
            words(&apart(&text)).join(" ")
        } else {
            words(&text).join(" ")
        }
    }

    fn without_articles(self, text: &str) -> String {
        if self.language == Language::Arabic {
            // The script's pattern is `\sال^|ال`. Its first half asks for the start of the text after two letters, so
            // every occurrence is replaced, in the middle of words too.
            text.replace("ال", " ")
        } else {
            without_words(text, articles(self.language))
        }
    }
}

/// What stands between word boundaries in the script's pattern of the language.
fn articles(language: Language) -> &'static [&'static str] {
    match language {
        Language::English => &["a", "an", "the"],
        Language::Spanish => &["un", "una", "unos", "unas", "el", "la", "los", "las"],
        Language::Vietnamese => &["của", "là", "cái", "chiếc", "những"],
        Language::German => &[
            "ein", "eine", "einen", "einem", "eines", "einer", "der", "die", "das", "den", "dem",
            "des",
        ],
        Language::Arabic
        | Language::Hindi
        | Language::Chinese
        | Language::Greek
        | Language::Romanian
        | Language::Russian
        | Language::Thai
        | Language::Turkish => &[],
    }
}

/// The text with every maximal run of word characters that is one of `dropped` replaced by a space. That is what
/// `\b(..|..)\b` finds, since the alternatives are of word characters alone.
fn without_words(text: &str, dropped: &[&str]) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        kept += if dropped.contains(&run) { " " } else { run };
        let next = after.find(is_word).unwrap_or(after.len());
        kept += &after[..next];
        rest = &after[next..];
    }
    kept
}

/// The text in lower case by Unicode 15.1, final sigma and dotted I included.
///
/// `str::to_lowercase` knows capitals that 15.1 does not; they are left as they are, and a sigma next to one is next
/// to no letter.
fn lower_case(text: &str) -> String {
    let mut lower = String::with_capacity(text.len());
    for piece in text.split_inclusive(is_later_capital) {
        let last = piece.chars().next_back().filter(|&c| is_later_capital(c));
        let known = last.map_or(piece.len(), |capital| piece.len() - capital.len_utf8());
        lower += &piece[..known].to_lowercase();
        lower.extend(last);
    }
    lower
}

/// Whether the character has a lower case and came after Unicode 15.1: all older ones are letters or numbers, but for
/// the circled capitals.
fn is_later_capital(character: char) -> bool {
    let circled = ('\u{24b6}'..='\u{24cf}').contains(&character);
    !character.to_lowercase().eq([character]) && !is_word(character) && !circled
}

/// The text with a space at both sides of every character of U+4E00 to U+9FA5, the only ones the script sets apart:
/// those of the later extensions stay joined, as do Latin letters and digits.
fn apart(text: &str) -> String {
    let mut spaced = String::with_capacity(2 * text.len());
    for character in text.chars() {
        if ('\u{4e00}'..='\u{9fa5}').contains(&character) {
            spaced.extend([' ', character, ' ']);
        } else {
            spaced.push(character);
        }
    }
    spaced
}

/// Python's `str.split()`: at white space and at the four information separators, empty pieces dropped.
fn words(text: &str) -> Vec<&str> {
    text.split(|c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c))
        .filter(|word| !word.is_empty())
        .collect()
}

#[cfg(test)]
#[path = "metric_tests.rs"]
mod tests;
