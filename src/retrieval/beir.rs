//! A folder of BEIR's shape as a collection: `corpus.jsonl`, `queries.jsonl`, and judgements in `qrels/NAME.tsv`.
//!
//! A document is its title and its text with a space between, as BEIR's own retrievers join them. A judgement file has
//! three columns, `query-id corpus-id score`, after an optional line of headings, or `trec_eval`'s four. Queries without
//! a judgement are left out. Stricter than BEIR: an id that is there twice, or judged and nowhere defined, is an error.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::collection::{Collection, Document, Judgement, Query};

/// A collection with grades.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graded {
    /// Documents, judged queries, and the judgements that `grades` are of: those from grade 1, and one of any grade for
    /// a query that has none such, so that it counts as a failure.
    pub collection: Collection,
    /// Grade of each judgement.
    pub grades: Vec<i32>,
    /// Queries without any judgement, left out.
    pub unjudged: usize,
}

/// Why a folder was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {kind}")]
pub struct BeirError {
    /// The file.
    pub file: String,
    /// Line, from 1; the last where the file as a whole is wrong.
    pub line: usize,
    /// What is wrong.
    pub kind: BeirErrorKind,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BeirErrorKind {
    /// No JSON object with the fields of the format.
    #[error("{0}; want an object with _id and text")]
    Json(String),
    /// An id that TREC's formats cannot hold.
    #[error("id '{0}' is empty or has white space in it")]
    Id(String),
    /// An id for the second time.
    #[error("id '{0}' is that of an earlier line")]
    Duplicate(String),
    /// A query that asks nothing.
    #[error("query '{0}' has an empty text")]
    EmptyQuery(String),
    /// Too few or too many columns.
    #[error("{0} columns; want query-id corpus-id score, or query iteration document grade")]
    Columns(usize),
    /// A grade that is none.
    #[error("score '{0}' is no whole number of 32 bits")]
    Grade(String),
    /// A judgement of what does not exist.
    #[error("{what} '{id}' is judged but not in {file}")]
    Unknown {
        /// `query` or `document`.
        what: &'static str,
        /// The id.
        id: String,
        /// Where it should be.
        file: String,
    },
    /// A pair that is judged twice.
    #[error("document '{document}' is judged for query '{query}' on an earlier line")]
    Twice {
        /// The query.
        query: String,
        /// The document.
        document: String,
    },
    /// Nothing in the file.
    #[error("no {0} in the file")]
    Empty(&'static str),
}

/// A file by name and content.
#[derive(Clone, Copy, Debug)]
pub struct NamedText<'a> {
    /// For messages.
    pub name: &'a str,
    /// Its lines.
    pub text: &'a str,
}

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "_id")]
    id: String,
    #[serde(default)]
    title: Option<String>,
    text: String,
}

impl Graded {
    /// From the three files of a folder.
    ///
    /// # Errors
    /// [`BeirError`] at the first line that is not as the format demands.
    pub fn parse(
        corpus: NamedText<'_>,
        queries: NamedText<'_>,
        qrels: NamedText<'_>,
    ) -> Result<Self, BeirError> {
        let of_corpus = |line: Line| {
            let title = line.title.unwrap_or_default();
            Document {
                id: line.id,
                text: format!("{title} {}", line.text).trim().to_owned(),
            }
        };
        let documents: Vec<Document> = lines(corpus, "document")?
            .into_iter()
            .map(|(_, line)| of_corpus(line))
            .collect();
        let mut all = Vec::new();
        for (number, line) in lines(queries, "query")? {
            if line.text.trim().is_empty() {
                return Err(wrong(queries, number, BeirErrorKind::EmptyQuery(line.id)));
            }
            all.push(Query {
                id: line.id,
                text: line.text,
            });
        }
        let judged = judgements(corpus, queries, qrels, &documents, &all)?;

        let mut found = Self {
            unjudged: all.len() - judged.len(),
            ..Self::default()
        };
        found.collection.documents = documents;
        for (query, grades) in judged {
            let index = found.collection.queries.len();
            found.collection.queries.push(all[query].clone());
            let relevant = grades.iter().filter(|(_, grade)| **grade > 0);
            let one = grades.iter().take(1);
            let kept: Vec<(usize, i32)> = if grades.values().any(|grade| *grade > 0) {
                relevant
                    .map(|(document, grade)| (*document, *grade))
                    .collect()
            } else {
                one.map(|(document, _)| (*document, 0)).collect()
            };
            for (document, grade) in kept {
                found.collection.judgements.push(Judgement {
                    query: index,
                    document,
                });
                found.grades.push(grade);
            }
        }
        Ok(found)
    }

    /// A sample of the queries, as [`Collection::with_queries`].
    #[must_use]
    pub fn with_queries(&self, count: usize, seed: u64) -> Self {
        let collection = self.collection.with_queries(count, seed);
        let of = |of: &Collection, judgement: &Judgement| {
            (of.queries[judgement.query].id.clone(), judgement.document)
        };
        let grades: BTreeMap<(String, usize), i32> = self
            .collection
            .judgements
            .iter()
            .zip(&self.grades)
            .map(|(judgement, grade)| (of(&self.collection, judgement), *grade))
            .collect();
        Self {
            grades: collection
                .judgements
                .iter()
                .map(|judgement| grades[&of(&collection, judgement)])
                .collect(),
            collection,
            unjudged: self.unjudged,
        }
    }
}

fn wrong(file: NamedText<'_>, line: usize, kind: BeirErrorKind) -> BeirError {
    BeirError {
        file: file.name.to_owned(),
        line,
        kind,
    }
}

/// Lines of a JSONL file with their numbers.
fn lines(file: NamedText<'_>, what: &'static str) -> Result<Vec<(usize, Line)>, BeirError> {
    let mut found: Vec<(usize, Line)> = Vec::new();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for (index, text) in file.text.lines().enumerate() {
        let fail = |kind| wrong(file, index + 1, kind);
        if text.trim().is_empty() {
            continue;
        }
        let line: Line = serde_json::from_str(text)
            .map_err(|error| fail(BeirErrorKind::Json(error.to_string())))?;
        if line.id.is_empty() || line.id.contains(char::is_whitespace) {
            return Err(fail(BeirErrorKind::Id(line.id)));
        }
        if seen.insert(line.id.clone(), index).is_some() {
            return Err(fail(BeirErrorKind::Duplicate(line.id)));
        }
        found.push((index + 1, line));
    }
    if found.is_empty() {
        let last = file.text.lines().count().max(1);
        return Err(wrong(file, last, BeirErrorKind::Empty(what)));
    }
    Ok(found)
}

/// Grades by query and document, both by place.
fn judgements(
    corpus: NamedText<'_>,
    queries: NamedText<'_>,
    qrels: NamedText<'_>,
    documents: &[Document],
    all: &[Query],
) -> Result<BTreeMap<usize, BTreeMap<usize, i32>>, BeirError> {
    let place_of_document: BTreeMap<&str, usize> = documents
        .iter()
        .enumerate()
        .map(|(place, document)| (document.id.as_str(), place))
        .collect();
    let place_of_query: BTreeMap<&str, usize> = all
        .iter()
        .enumerate()
        .map(|(place, query)| (query.id.as_str(), place))
        .collect();
    let mut judged: BTreeMap<usize, BTreeMap<usize, i32>> = BTreeMap::new();
    for (index, line) in qrels.text.lines().enumerate() {
        let fail = |kind| wrong(qrels, index + 1, kind);
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (query, document, grade) = match columns[..] {
            [] => continue,
            [query, document, grade] | [query, _, document, grade] => (query, document, grade),
            // Any other number of columns is neither format.
            _ => return Err(fail(BeirErrorKind::Columns(columns.len()))),
        };
        let grade: i32 = match grade.parse() {
            Ok(grade) => grade,
            Err(_) if index == 0 => continue,
            Err(_) => return Err(fail(BeirErrorKind::Grade(grade.to_owned()))),
        };
        let unknown = |what, id: &str, file: NamedText<'_>| {
            fail(BeirErrorKind::Unknown {
                what,
                id: id.to_owned(),
                file: file.name.to_owned(),
            })
        };
        let query_at = *place_of_query
            .get(query)
            .ok_or_else(|| unknown("query", query, queries))?;
        let document_at = *place_of_document
            .get(document)
            .ok_or_else(|| unknown("document", document, corpus))?;
        let of_query = judged.entry(query_at).or_default();
        if of_query.insert(document_at, grade).is_some() {
            return Err(fail(BeirErrorKind::Twice {
                query: query.to_owned(),
                document: document.to_owned(),
            }));
        }
    }
    if judged.is_empty() {
        let last = qrels.text.lines().count().max(1);
        return Err(wrong(qrels, last, BeirErrorKind::Empty("judgement")));
    }
    Ok(judged)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CORPUS: &str = "{\"_id\": \"d1\", \"title\": \"Foxes\", \"text\": \"They run.\"}\n\n\
                          {\"_id\": \"d2\", \"text\": \"Whales swim.\", \"metadata\": {}}\n{\"_id\": \"d3\", \"text\": \"\"}\n";
    const QUERIES: &str = "{\"_id\": \"q1\", \"text\": \"fox\"}\n{\"_id\": \"q2\", \"text\": \"sea\"}\n\
                           {\"_id\": \"q3\", \"text\": \"sky\"}\n{\"_id\": \"q4\", \"text\": \"moon\"}\n";
    const QRELS: &str = "query-id\tcorpus-id\tscore\nq2\td2\t2\nq1\td1\t1\nq2\td1\t0\nq3\td2\t0\n";

    fn parse(corpus: &str, queries: &str, qrels: &str) -> Result<Graded, BeirError> {
        let named = |name, text| NamedText { name, text };
        Graded::parse(
            named("corpus.jsonl", corpus),
            named("queries.jsonl", queries),
            named("qrels/test.tsv", qrels),
        )
    }

    #[test]
    fn a_folder_is_read() {
        let found = parse(CORPUS, QUERIES, QRELS).unwrap();
        let texts: Vec<&str> = found
            .collection
            .documents
            .iter()
            .map(|d| d.text.as_str())
            .collect();
        assert_eq!(texts, ["Foxes They run.", "Whales swim.", ""]);
        let judged: Vec<(usize, usize)> = found
            .collection
            .judgements
            .iter()
            .map(|j| (j.query, j.document))
            .collect();
        assert_eq!(
            (judged, found.grades.clone()),
            (vec![(0, 0), (1, 1), (2, 1)], vec![1, 2, 0])
        );
        assert_eq!(found.unjudged, 1, "q4");
        assert_eq!(found.with_queries(9, 0), found);
        let one = found.with_queries(1, 0);
        assert_eq!((one.collection.queries.len(), one.grades.len()), (1, 1));
        let trec = parse(
            CORPUS,
            QUERIES,
            "q2 0 d2 2\nq1 0 d1 1\nq2 0 d1 0\nq3 0 d2 0\n",
        );
        assert_eq!(trec.unwrap(), found, "trec_eval's four columns");
    }

    #[test]
    fn what_is_no_folder_is_named() {
        #[track_caller]
        fn refused(found: Result<Graded, BeirError>, want: &str) {
            let error = found.expect_err("must be refused").to_string();
            assert!(error.starts_with(want), "{error}");
        }
        refused(parse("", QUERIES, QRELS), "corpus.jsonl:1: no document");
        refused(
            parse("{\"id\": 1}", QUERIES, QRELS),
            "corpus.jsonl:1: missing field `_id`",
        );
        refused(
            parse(&CORPUS.replace("d2", "d1"), QUERIES, QRELS),
            "corpus.jsonl:3: id 'd1'",
        );
        refused(
            parse(&CORPUS.replace("d2", "d 2"), QUERIES, QRELS),
            "corpus.jsonl:3: id 'd 2' is empty",
        );
        refused(
            parse(CORPUS, &QUERIES.replace("sea", " "), QRELS),
            "queries.jsonl:2: query 'q2'",
        );
        refused(
            parse(CORPUS, QUERIES, "h h h\n"),
            "qrels/test.tsv:1: no judgement",
        );
        refused(
            parse(CORPUS, QUERIES, "q1 d1\n"),
            "qrels/test.tsv:1: 2 columns",
        );
        refused(
            parse(CORPUS, QUERIES, "a b c\nq1 d1 x"),
            "qrels/test.tsv:2: score 'x'",
        );
        refused(
            parse(CORPUS, QUERIES, "q9 d1 1"),
            "qrels/test.tsv:1: query 'q9' is judged but not in queries.jsonl",
        );
        refused(
            parse(CORPUS, QUERIES, "q1 d9 1"),
            "qrels/test.tsv:1: document 'd9' is judged but not in corpus",
        );
        refused(
            parse(CORPUS, QUERIES, "q1 d1 1\nq1 d1 1"),
            "qrels/test.tsv:2: document 'd1' is judged",
        );
    }
}
