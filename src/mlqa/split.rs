//! Which half of MLQA a question belongs to: exploration, or the confirmation run that is registered beforehand.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::load::Corpus;

/// One of the two halves of MLQA's articles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Half {
    /// Free to look at: every number and plot before the registered run.
    Exploration,
    /// Kept unseen for the registered run.
    Confirmation,
}

/// Half of an English article: exploration where the SHA-256 of the title's UTF-8 bytes, read as one big-endian
/// integer, is even (the lowest bit of its last byte is 0).
#[must_use]
pub fn half_of(english_title: &str) -> Half {
    let digest: [u8; 32] = Sha256::digest(english_title.as_bytes()).into();
    if digest[31] & 1 == 0 {
        Half::Exploration
    } else {
        Half::Confirmation
    }
}

/// English article of every question id, from MLQA's `en-en` file: all other files hold subsets of its ids, so a
/// question asked in seven languages has one article.
#[derive(Clone, Debug, Default)]
pub struct Articles {
    title_of: BTreeMap<String, String>,
}

impl Articles {
    /// Reads the titles off the English corpus.
    #[must_use]
    pub fn from_english(english: &Corpus) -> Self {
        let mut title_of = BTreeMap::new();
        for article in &english.articles {
            for question in article
                .paragraphs
                .iter()
                .flat_map(|paragraph| &paragraph.questions)
            {
                title_of.insert(question.id.clone(), article.title.clone());
            }
        }
        Self { title_of }
    }

    /// English title of the article that question `id` was written on; `None` for an id the English file lacks.
    #[must_use]
    pub fn title(&self, id: &str) -> Option<&str> {
        self.title_of.get(id).map(String::as_str)
    }

    /// Every English title once, sorted.
    #[must_use]
    pub fn titles(&self) -> Vec<&str> {
        let mut titles: Vec<&str> = self.title_of.values().map(String::as_str).collect();
        titles.sort_unstable();
        titles.dedup();
        titles
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bit_of_the_digest_decides() {
        // sha256("abc") = ba7816bf..15ad (FIPS 180-2, B.1); sha256("") = e3b0c442..b855: both odd.
        assert_eq!(half_of("abc"), Half::Confirmation);
        assert_eq!(half_of(""), Half::Confirmation);
        // sha256 of one million 'a' = cdc76e5c..2cd0 (FIPS 180-2, B.3): even.
        assert_eq!(half_of(&"a".repeat(1_000_000)), Half::Exploration);
    }
}
