//! MLQA's own parallelism: a question is in English and in one to three other languages.

use std::collections::{BTreeMap, BTreeSet};

use super::language::Language;
use super::load::Corpus;

/// In which languages every question is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parallelism {
    languages_of: BTreeMap<String, BTreeSet<Language>>,
}

impl Parallelism {
    /// From the diagonal file of each language.
    #[must_use]
    pub fn of<'a>(corpora: impl IntoIterator<Item = (Language, &'a Corpus)>) -> Self {
        let mut found = Self::default();
        for (language, corpus) in corpora {
            let paragraphs = corpus.paragraphs();
            for question in paragraphs.flat_map(|(_, paragraph)| &paragraph.questions) {
                let languages = found.languages_of.entry(question.id.clone()).or_default();
                languages.insert(language);
            }
        }
        found
    }

    /// Questions by the number of languages they are in.
    #[must_use]
    pub fn ways(&self) -> BTreeMap<usize, usize> {
        let mut ways = BTreeMap::new();
        for languages in self.languages_of.values() {
            *ways.entry(languages.len()).or_default() += 1;
        }
        ways
    }

    /// Questions that are in both languages.
    #[must_use]
    pub fn shared(&self, a: Language, b: Language) -> usize {
        let both =
            |languages: &&BTreeSet<Language>| languages.contains(&a) && languages.contains(&b);
        self.languages_of.values().filter(both).count()
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::load;
    use super::*;

    #[test]
    fn ways_are_counted() {
        let corpus = |ids: &[&str]| {
            let qas: Vec<_> = ids
                .iter()
                .map(|id| serde_json::json!({"id": id, "question": "?", "answers": [{"text": "a", "answer_start": 0}]}))
                .collect();
            let data = serde_json::json!({"data": [{"title": "T", "paragraphs": [{"context": "a", "qas": qas}]}]});
            load("made", &data.to_string()).unwrap()
        };
        let (english, german, arabic) = (
            corpus(&["1", "2", "3"]),
            corpus(&["1", "2"]),
            corpus(&["1"]),
        );
        let found = Parallelism::of([
            (Language::English, &english),
            (Language::German, &german),
            (Language::Arabic, &arabic),
        ]);
        assert_eq!(found.ways(), BTreeMap::from([(1, 1), (2, 1), (3, 1)]));
        assert_eq!(found.shared(Language::English, Language::German), 2);
        assert_eq!(found.shared(Language::German, Language::Arabic), 1);
        assert_eq!(found.shared(Language::English, Language::English), 3);
    }
}
