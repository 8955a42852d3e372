//! BM25 over a fixed collection: which texts share the most telling words with a query.
//!
//! `score(q, d) = sum over terms t of q of idf(t) tf (k1 + 1) / (tf + k1 (1 - b + b |d| / mean |d|))` with
//! `idf(t) = ln(1 + (N - n + 0.5) / (n + 0.5))`, k1 = 1.2 and b = 0.75 (Robertson and Zaragoza 2009, with Lucene's idf).
//! A term is a word in lower case by Unicode's word boundaries; scripts without spaces give the pairs of neighbouring
//! characters, as Lucene's CJK analyser does.

use std::collections::{BTreeMap, HashMap};

use unicode_segmentation::UnicodeSegmentation;

use crate::convert::usize_to_f64;

const K1: f64 = 1.2;
const B: f64 = 0.75;

/// An inverted index.
#[derive(Clone, Debug, Default)]
pub struct Bm25 {
    /// Terms of each text.
    lengths: Vec<usize>,
    mean_length: f64,
    /// (text, occurrences) of each term, ascending by text.
    postings: HashMap<String, Vec<(usize, usize)>>,
}

impl Bm25 {
    /// The index of these texts.
    #[must_use]
    pub fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut index = Self::default();
        for (text, content) in texts.into_iter().enumerate() {
            let terms = terms(content);
            index.lengths.push(terms.len());
            let mut counts: BTreeMap<String, usize> = BTreeMap::new();
            for term in terms {
                *counts.entry(term).or_default() += 1;
            }
            for (term, count) in counts {
                index.postings.entry(term).or_default().push((text, count));
            }
        }
        let total: usize = index.lengths.iter().sum();
        index.mean_length = usize_to_f64(total) / usize_to_f64(index.lengths.len().max(1));
        index
    }

    /// Score of every text; 0 for one that shares no term. A term that the query repeats counts as often.
    #[must_use]
    pub fn scores(&self, query: &str) -> Vec<f64> {
        let mut scores = vec![0.0; self.lengths.len()];
        let texts = usize_to_f64(self.lengths.len());
        // In the order of the query, so that sums round alike everywhere.
        for term in terms(query) {
            let Some(postings) = self.postings.get(&term) else {
                continue;
            };
            let holding = usize_to_f64(postings.len());
            let idf = (1.0 + (texts - holding + 0.5) / (holding + 0.5)).ln();
            for &(text, count) in postings {
                let length = usize_to_f64(self.lengths[text]) / self.mean_length;
                let count = usize_to_f64(count);
                scores[text] += idf * count * (K1 + 1.0) / (count + K1 * (1.0 - B + B * length));
            }
        }
        scores
    }

    /// All texts, best first, equal ones in their order.
    #[must_use]
    pub fn ranking(&self, query: &str) -> Vec<usize> {
        let scores = self.scores(query);
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        order
    }
}

/// Terms of a text, in order.
fn terms(text: &str) -> Vec<String> {
    let lowered = text.to_lowercase();
    let mut terms = Vec::new();
    let mut run: Vec<&str> = Vec::new();
    let mut run_end = 0;
    let words = lowered.unicode_word_indices().map(Some).chain([None]);
    for word in words {
        let character = word.filter(|(_, word)| word.chars().all(is_unspaced));
        if character.is_none_or(|(at, _)| at != run_end) {
            match run.as_slice() {
                [alone] => terms.push((*alone).to_owned()),
                several => terms.extend(several.windows(2).map(<[&str]>::concat)),
            }
            run.clear();
        }
        if let Some((at, character)) = character {
            run.push(character);
            run_end = at + character.len();
        } else if let Some((_, word)) = word {
            terms.push(word.to_owned());
        }
    }
    terms
}

/// Scripts that Unicode's rules cut into single characters: CJK ideographs, kana, Thai.
fn is_unspaced(character: char) -> bool {
    matches!(character, '\u{0e00}'..='\u{0e7f}' | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_the_formula() {
        let index = Bm25::new(["red red fox", "red whale", "a tree"]);
        let mean = 7.0 / 3.0;
        let idf = |n: f64| (1.0 + (3.0 - n + 0.5) / (n + 0.5)).ln();
        let part = |n: f64, tf: f64, length: f64| {
            idf(n) * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * length / mean))
        };
        let scores = index.scores("Red FOX!");
        let want = [
            part(2.0, 2.0, 3.0) + part(1.0, 1.0, 3.0),
            part(2.0, 1.0, 2.0),
            0.0,
        ];
        for (score, want) in scores.iter().zip(want) {
            assert!((score - want).abs() < 1e-12, "{score} {want}");
        }
        assert_eq!(index.ranking("fox red"), [0, 1, 2]);
        assert_eq!(
            index.ranking("nothing of it"),
            [0, 1, 2],
            "ties keep their order"
        );
        assert!(Bm25::new([]).scores("x").is_empty());
    }

    #[test]
    fn every_script_has_terms() {
        assert_eq!(terms("Don't STOP, 1969."), ["don't", "stop", "1969"]);
        assert_eq!(terms("他是国王。对"), ["他是", "是国", "国王", "对"]);
        assert_eq!(terms("वह घर गया।"), ["वह", "घर", "गया"]);
        assert_eq!(terms("ولد في القاهرة"), ["ولد", "في", "القاهرة"]);
    }
}
