//! Corpus, queries and judgements of one pair, and samples of them.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::convert::u64_to_f64;

/// A context of the corpus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// [`document_id`] of the text.
    pub id: String,
    /// The context.
    pub text: String,
}

/// A distinct question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Id under which the data set first has this text.
    pub id: String,
    /// The question.
    pub text: String,
}

/// One relevant document of one query; relevance is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Judgement {
    /// Index into [`Collection::queries`].
    pub query: usize,
    /// Index into [`Collection::documents`].
    pub document: usize,
}

/// A corpus with its questions and judgements.
///
/// Two questions with the same text are one query with several relevant documents, and two paragraphs with the same
/// text one document, as MTEB builds them. (MLQA's dev split has neither; its test split has a few of the first.)
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collection {
    /// Distinct contexts, in the order first met.
    pub documents: Vec<Document>,
    /// Distinct questions, in the order first met.
    pub queries: Vec<Query>,
    /// Sorted by query, then document; each once.
    pub judgements: Vec<Judgement>,
}

/// Id of a document: the first 16 hexadecimal digits of its text's SHA-256. A context that serves several pairs has
/// one id in all of them, and the order in which ties are broken (by id) depends on nothing else.
#[must_use]
pub fn document_id(text: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

impl Collection {
    /// The collection of `asked`: (context, question id, question text), one a question.
    #[must_use]
    pub fn new<'a>(asked: impl IntoIterator<Item = (&'a str, &'a str, &'a str)>) -> Self {
        let mut collection = Self::default();
        let mut document_of: BTreeMap<&str, usize> = BTreeMap::new();
        let mut query_of: BTreeMap<&str, usize> = BTreeMap::new();
        for (context, id, question) in asked {
            let document = *document_of.entry(context).or_insert_with(|| {
                let text = context.to_owned();
                collection.documents.push(Document {
                    id: document_id(context),
                    text,
                });
                collection.documents.len() - 1
            });
            let query = *query_of.entry(question).or_insert_with(|| {
                collection.queries.push(Query {
                    id: id.to_owned(),
                    text: question.to_owned(),
                });
                collection.queries.len() - 1
            });
            collection.judgements.push(Judgement { query, document });
        }
        collection.judgements.sort_unstable();
        collection.judgements.dedup();
        collection
    }

    /// At most `count` documents, with the queries that `keep` lets through and whose relevant documents are all in
    /// the sample.
    ///
    /// Documents are taken in ascending order of SHA-256(`seed` as 8 little-endian bytes, document id): without regard
    /// to `keep`, nested in `count`, and the same contexts in every pair that has them. Order within the sample stays
    /// the collection's.
    #[must_use]
    pub fn sample(&self, count: usize, seed: u64, keep: impl Fn(&Query) -> bool) -> Self {
        let mut order: Vec<usize> = (0..self.documents.len()).collect();
        order.sort_by_cached_key(|&index| (draw(seed, &self.documents[index].id), index));
        order.truncate(count);
        order.sort_unstable();
        self.of_documents(&order, keep)
    }

    /// The documents that are [`in_share`], with the queries that `keep` lets through and whose relevant documents are
    /// all among them: nested in `share`, and the same contexts in every pair that has them.
    #[must_use]
    pub fn sample_share(&self, share: f64, seed: u64, keep: impl Fn(&Query) -> bool) -> Self {
        let order: Vec<usize> = (0..self.documents.len())
            .filter(|&index| in_share(&self.documents[index].id, share, seed))
            .collect();
        self.of_documents(&order, keep)
    }

    /// These documents, ascending, with their queries.
    fn of_documents(&self, order: &[usize], keep: impl Fn(&Query) -> bool) -> Self {
        let document_at: BTreeMap<usize, usize> = order
            .iter()
            .enumerate()
            .map(|(new, &old)| (old, new))
            .collect();

        let mut sample = Self {
            documents: order
                .iter()
                .map(|&index| self.documents[index].clone())
                .collect(),
            ..Self::default()
        };
        for of_query in self.judgements.chunk_by(|a, b| a.query == b.query) {
            let query = &self.queries[of_query[0].query];
            let relevant: Option<Vec<usize>> = of_query
                .iter()
                .map(|judgement| document_at.get(&judgement.document).copied())
                .collect();
            if let Some(relevant) = relevant
                && keep(query)
            {
                let query_index = sample.queries.len();
                sample.queries.push(query.clone());
                sample
                    .judgements
                    .extend(relevant.into_iter().map(|document| Judgement {
                        query: query_index,
                        document,
                    }));
            }
        }
        sample
    }

    /// The same corpus with at most `count` queries, taken in ascending order of SHA-256(`seed`, query id): nested in
    /// `count`, and the same questions in every pair that has them.
    #[must_use]
    pub fn with_queries(&self, count: usize, seed: u64) -> Self {
        let mut order: Vec<usize> = (0..self.queries.len()).collect();
        order.sort_by_cached_key(|&index| (draw(seed, &self.queries[index].id), index));
        order.truncate(count);
        order.sort_unstable();
        let query_at: BTreeMap<usize, usize> = order
            .iter()
            .enumerate()
            .map(|(new, &old)| (old, new))
            .collect();
        let moved = |judgement: &Judgement| {
            let query = query_at.get(&judgement.query)?;
            Some(Judgement {
                query: *query,
                ..*judgement
            })
        };
        Self {
            documents: self.documents.clone(),
            queries: order
                .iter()
                .map(|&index| self.queries[index].clone())
                .collect(),
            judgements: self.judgements.iter().filter_map(moved).collect(),
        }
    }
}

/// Whether a document is in a share of all: the first 8 bytes, big-endian, of SHA-256(`seed` as 8 little-endian bytes,
/// id), as a fraction of 2^64, lie below it. All are in the share 1.
#[must_use]
pub fn in_share(id: &str, share: f64, seed: u64) -> bool {
    let digest = draw(seed, id);
    let (first, _) = digest
        .split_first_chunk::<8>()
        .expect("32 bytes start with 8");
    share >= 1.0 || u64_to_f64(u64::from_be_bytes(*first)) < share * 2.0_f64.powi(64)
}

/// What samples are ordered by: SHA-256(`seed` as 8 little-endian bytes, id).
#[must_use]
pub fn sample_key(seed: u64, id: &str) -> [u8; 32] {
    draw(seed, id)
}

fn draw(seed: u64, id: &str) -> [u8; 32] {
    Sha256::new()
        .chain_update(seed.to_le_bytes())
        .chain_update(id)
        .finalize()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn abc() -> Collection {
        Collection::new([
            ("c one", "1", "who"),
            ("c one", "2", "what"),
            ("c two", "3", "who"),
            ("c two", "4", "where"),
            ("c one", "5", "who"),
        ])
    }

    #[test]
    fn contexts_and_questions_are_distinct() {
        let collection = abc();
        assert_eq!(collection.documents.len(), 2);
        let ids: Vec<&str> = collection
            .queries
            .iter()
            .map(|query| query.id.as_str())
            .collect();
        assert_eq!(ids, ["1", "2", "4"]);
        let pairs: Vec<(usize, usize)> = collection
            .judgements
            .iter()
            .map(|j| (j.query, j.document))
            .collect();
        assert_eq!(
            pairs,
            [(0, 0), (0, 1), (1, 0), (2, 1)],
            "'who' has two relevant contexts, each once"
        );
    }

    #[test]
    fn ids_come_from_the_text_alone() {
        // FIPS 180-2, B.1.
        assert_eq!(document_id("abc"), "ba7816bf8f01cfea");
    }

    #[test]
    fn samples_are_nested_and_drop_queries_without_their_documents() {
        let texts: Vec<String> = (0..40).map(|index| format!("context {index}")).collect();
        let collection = Collection::new(
            texts
                .iter()
                .map(|text| (text.as_str(), text.as_str(), text.as_str())),
        );
        let small = collection.sample(10, 7, |_| true);
        let large = collection.sample(25, 7, |_| true);
        assert_eq!(
            (
                small.documents.len(),
                small.queries.len(),
                small.judgements.len()
            ),
            (10, 10, 10)
        );
        assert!(
            small
                .documents
                .iter()
                .all(|document| large.documents.contains(document))
        );
        assert_ne!(
            small,
            collection.sample(10, 8, |_| true),
            "the seed matters"
        );
        for judgement in &small.judgements {
            assert_eq!(
                small.queries[judgement.query].text,
                small.documents[judgement.document].text
            );
        }
        let none = collection.sample(10, 7, |_| false);
        assert_eq!(
            none.documents, small.documents,
            "the corpus does not depend on which questions are asked"
        );
        assert!(none.queries.is_empty());
        assert_eq!(collection.sample(usize::MAX, 7, |_| true), collection);
        let few = collection.with_queries(4, 3);
        assert_eq!((few.documents.len(), few.queries.len()), (40, 4));
        let more = collection.with_queries(9, 3);
        assert!(few.queries.iter().all(|query| more.queries.contains(query)));
        for judgement in &few.judgements {
            let (query, document) = (judgement.query, judgement.document);
            assert_eq!(few.queries[query].text, few.documents[document].text);
        }
        let whole = abc();
        assert_eq!(whole.with_queries(usize::MAX, 0), whole);
        assert!(
            whole
                .sample(1, 0, |_| true)
                .queries
                .iter()
                .all(|query| query.text != "who")
        );
    }
}
