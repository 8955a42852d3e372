//! `trec_eval`'s two files, judgements (qrels) and a run, and its evaluation of one against the other.
//!
//! Both files are lines of fields with white space between: `query iteration document grade` and
//! `query Q0 document rank score tag`. As in `trec_eval`, the iteration, the `Q0` and the rank are not looked at, empty
//! lines and lines that begin with `#` are skipped, and scores are held in f32, so that scores which differ by less
//! tie. Stricter than `trec_eval`: the number of fields is exact (an id with a space in it would shift the score), and a
//! grade or score that is no number is an error, not 0.

use std::collections::BTreeMap;
use std::fmt;

use super::measure::Measure;
use super::rank::order;
use crate::convert::{f64_to_f32, usize_to_f64};

/// Judgements: grade of a document for a query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Qrels {
    queries: BTreeMap<String, BTreeMap<String, i32>>,
}

/// Scores of the documents retrieved for each query.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    tag: String,
    queries: BTreeMap<String, BTreeMap<String, f32>>,
}

/// Why a file was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {kind}")]
pub struct TrecError {
    /// Name the text was read under.
    pub file: String,
    /// Line, from 1; the last one where the file as a whole is wrong.
    pub line: usize,
    /// What is wrong.
    pub kind: TrecErrorKind,
}

/// What is wrong with a line or an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrecErrorKind {
    /// Too few or too many fields.
    #[error("{found} fields, want {want}: {form}")]
    Fields {
        /// Fields of the line.
        found: usize,
        /// Fields of the format.
        want: usize,
        /// The format.
        form: &'static str,
    },
    /// A grade that is no whole number.
    #[error("grade '{0}' is no whole number of 32 bits")]
    Grade(String),
    /// A score that is no number, or too large for f32.
    #[error("score '{0}' is no finite number in f32")]
    Score(String),
    /// A document twice for one query.
    #[error("document '{document}' is there twice for query '{query}'")]
    Duplicate {
        /// The query.
        query: String,
        /// The document.
        document: String,
    },
    /// An id that the format cannot hold.
    #[error(
        "id '{0}' cannot stand in the file: empty, with white space, or a query's that begins with '#'"
    )]
    Id(String),
    /// No line of content.
    #[error("no {0} in the file")]
    Empty(&'static str),
}

/// What the average over queries is divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Denominator {
    /// Queries that are both judged and in the run: `trec_eval` without options.
    #[default]
    Retrieved,
    /// All judged queries, those that the run lacks counting 0: `trec_eval -c`, and `ir_measures`.
    Judged,
}

/// Values of measures, by query and averaged.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Query and its values in the order of the measures; queries ascending in byte order.
    pub queries: Vec<(String, Vec<f64>)>,
    /// Mean of each measure over `queries`; of none if there are none.
    pub means: Option<Vec<f64>>,
    /// Judged queries that the run lacks, whether they are counted or not.
    pub missing: Vec<String>,
    /// Queries of the run that are not judged: never counted.
    pub unjudged: Vec<String>,
}

impl Qrels {
    /// From the text of a qrels file; `name` is for messages.
    ///
    /// # Errors
    /// [`TrecError`] at the first line that is not as the format demands, or for a file without judgements.
    pub fn parse(name: &str, text: &str) -> Result<Self, TrecError> {
        const FORM: &str = "query iteration document grade";
        let mut qrels = Self::default();
        each_line(name, text, |line| {
            let [query, _, document, grade] = fields(line, FORM)?;
            let grade = grade
                .parse()
                .map_err(|_| TrecErrorKind::Grade(grade.to_owned()))?;
            qrels.insert(query, document, grade)
        })?;
        not_empty(name, text, qrels.queries.is_empty(), "judgement")?;
        Ok(qrels)
    }

    /// Adds a judgement; relevant from grade 1, and a grade below 0 says that it was not judged.
    ///
    /// # Errors
    /// [`TrecErrorKind::Duplicate`], or [`TrecErrorKind::Id`] for an id that the file could not hold.
    pub fn insert(&mut self, query: &str, document: &str, grade: i32) -> Result<(), TrecErrorKind> {
        insert(&mut self.queries, query, document, grade)
    }
}

impl Run {
    /// A run of nothing yet.
    ///
    /// # Errors
    /// [`TrecErrorKind::Id`] for a tag that the file could not hold.
    pub fn new(tag: &str) -> Result<Self, TrecErrorKind> {
        check_id(tag)?;
        Ok(Self {
            tag: tag.to_owned(),
            ..Self::default()
        })
    }

    /// From the text of a run file; `name` is for messages. The tag is the last line's.
    ///
    /// # Errors
    /// [`TrecError`] at the first line that is not as the format demands, or for a file without retrieved documents.
    pub fn parse(name: &str, text: &str) -> Result<Self, TrecError> {
        const FORM: &str = "query Q0 document rank score tag";
        let mut run = Self::default();
        each_line(name, text, |line| {
            let [query, _, document, _, score, tag] = fields(line, FORM)?;
            let number: f64 = score
                .parse()
                .map_err(|_| TrecErrorKind::Score(score.to_owned()))?;
            tag.clone_into(&mut run.tag);
            run.insert(query, document, number)
        })?;
        not_empty(name, text, run.queries.is_empty(), "retrieved document")?;
        Ok(run)
    }

    /// Adds a retrieved document; its score is rounded to f32.
    ///
    /// # Errors
    /// [`TrecErrorKind::Score`] where that is not finite, [`TrecErrorKind::Duplicate`], or [`TrecErrorKind::Id`] for an
    /// id that the file could not hold.
    pub fn insert(&mut self, query: &str, document: &str, score: f64) -> Result<(), TrecErrorKind> {
        let held = f64_to_f32(score);
        if !held.is_finite() {
            return Err(TrecErrorKind::Score(score.to_string()));
        }
        insert(&mut self.queries, query, document, held)
    }

    /// The queries, ascending.
    pub fn queries(&self) -> impl Iterator<Item = &str> {
        self.queries.keys().map(String::as_str)
    }

    /// Documents of a query with their scores, best first: descending score, then descending byte order of ids.
    #[must_use]
    pub fn ranking(&self, query: &str) -> Vec<(&str, f32)> {
        let mut ranking: Vec<(&str, f32)> = self
            .queries
            .get(query)
            .into_iter()
            .flatten()
            .map(|(document, &score)| (document.as_str(), score))
            .collect();
        ranking.sort_unstable_by(|a, b| order((f64::from(a.1), a.0), (f64::from(b.1), b.0)));
        ranking
    }
}

/// The qrels file: queries and documents ascending, iteration 0.
impl fmt::Display for Qrels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (query, documents) in &self.queries {
            for (document, grade) in documents {
                writeln!(f, "{query} 0 {document} {grade}")?;
            }
        }
        Ok(())
    }
}

/// The run file: queries ascending, documents in the order of their ranks, scores in as many digits as give the same
/// f32 when read.
impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for query in self.queries.keys() {
            for (at, (document, score)) in self.ranking(query).into_iter().enumerate() {
                let rank = at + 1;
                writeln!(f, "{query} Q0 {document} {rank} {score} {}", self.tag)?;
            }
        }
        Ok(())
    }
}

/// Measures of a run under judgements.
#[must_use]
pub fn evaluate(
    qrels: &Qrels,
    run: &Run,
    measures: &[Measure],
    denominator: Denominator,
) -> Evaluation {
    let mut queries = Vec::new();
    let mut missing = Vec::new();
    for (query, judged) in &qrels.queries {
        if !run.queries.contains_key(query) {
            missing.push(query.clone());
            if denominator == Denominator::Retrieved {
                continue;
            }
        }
        let grades: Vec<i32> = judged.values().copied().collect();
        let ranking: Vec<i32> = run
            .ranking(query)
            .into_iter()
            .map(|(document, _)| judged.get(document).copied().unwrap_or(0))
            .collect();
        let values: Vec<f64> = measures
            .iter()
            .map(|measure| measure.value(&ranking, &grades))
            .collect();
        queries.push((query.clone(), values));
    }
    let mean = |index: usize| {
        let sum: f64 = queries.iter().map(|(_, values)| values[index]).sum();
        sum / usize_to_f64(queries.len())
    };
    let means = (!queries.is_empty()).then(|| (0..measures.len()).map(mean).collect());
    let unjudged = run
        .queries
        .keys()
        .filter(|query| !qrels.queries.contains_key(*query))
        .cloned()
        .collect();
    Evaluation {
        queries,
        means,
        missing,
        unjudged,
    }
}

fn each_line(
    name: &str,
    text: &str,
    mut read: impl FnMut(&str) -> Result<(), TrecErrorKind>,
) -> Result<(), TrecError> {
    for (index, line) in text.split('\n').enumerate() {
        let line = line.trim_matches(is_space);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        read(line).map_err(|kind| TrecError {
            file: name.to_owned(),
            line: index + 1,
            kind,
        })?;
    }
    Ok(())
}

fn not_empty(name: &str, text: &str, is_empty: bool, what: &'static str) -> Result<(), TrecError> {
    if is_empty {
        return Err(TrecError {
            file: name.to_owned(),
            line: text.lines().count().max(1),
            kind: TrecErrorKind::Empty(what),
        });
    }
    Ok(())
}

fn fields<'a, const N: usize>(
    line: &'a str,
    form: &'static str,
) -> Result<[&'a str; N], TrecErrorKind> {
    let fields: Vec<&str> = line
        .split(is_space)
        .filter(|field| !field.is_empty())
        .collect();
    fields
        .try_into()
        .map_err(|fields: Vec<&str>| TrecErrorKind::Fields {
            found: fields.len(),
            want: N,
            form,
        })
}

/// C's `isspace`, which knows ASCII alone: an id may hold a no-break space.
fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t'..='\r')
}

fn check_id(id: &str) -> Result<(), TrecErrorKind> {
    if id.is_empty() || id.contains(is_space) {
        return Err(TrecErrorKind::Id(id.to_owned()));
    }
    Ok(())
}

fn insert<T>(
    queries: &mut BTreeMap<String, BTreeMap<String, T>>,
    query: &str,
    document: &str,
    value: T,
) -> Result<(), TrecErrorKind> {
    check_id(query)?;
    check_id(document)?;
    if query.starts_with('#') {
        return Err(TrecErrorKind::Id(query.to_owned()));
    }
    let documents = queries.entry(query.to_owned()).or_default();
    if documents.contains_key(document) {
        return Err(TrecErrorKind::Duplicate {
            query: query.to_owned(),
            document: document.to_owned(),
        });
    }
    documents.insert(document.to_owned(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const QRELS: &str = "\
# query iteration document grade
q1 0 d9 1
q1 0 d10\t0

q2\t0 d1 2
q2 0 d2 -1
q3 0 d1 1
q4 0 d1 0
";
    const RUN: &str = "\
q1 Q0 d10 1 0.5 first
q1 Q0 d9 7 0.500000001 first
q2 Q0 d2 1 9 first\r
q2 Q0 d1 1 8e0 first
q4 Q0 d1 1 1 first
q9 Q0 d1 1 1 last";

    fn both() -> (Qrels, Run) {
        (
            Qrels::parse("q", QRELS).unwrap(),
            Run::parse("r", RUN).unwrap(),
        )
    }

    #[test]
    fn scores_tie_in_f32_and_ties_go_to_the_greater_id() {
        let run = Run::parse(
            "r",
            "q Q0 d9 1 0.5 t\nq Q0 d10 2 0.500000001 t\nq Q0 d1 3 0.50001 t\nq Q0 d2 4 -0 t\nq Q0 d0 5 0 t\n",
        )
        .unwrap();
        let ids: Vec<&str> = run.ranking("q").into_iter().map(|(id, _)| id).collect();
        assert_eq!(ids, ["d1", "d9", "d10", "d2", "d0"]);
        assert!(run.ranking("other").is_empty());
    }

    #[test]
    fn queries_that_are_missing_count_as_asked() {
        let (qrels, run) = both();
        let measures = ["recip_rank", "ndcg_cut_1"].map(|name| name.parse().unwrap());
        // q1: d9 wins the tie: 1. q2: d2 is unjudged, d1 second: 1/2. q4: nothing relevant: 0. q3 is not in the run.
        let ours = evaluate(&qrels, &run, &measures, Denominator::Retrieved);
        assert_eq!(
            ours.queries,
            [
                ("q1".to_owned(), vec![1.0, 1.0]),
                ("q2".to_owned(), vec![0.5, 0.0]),
                ("q4".to_owned(), vec![0.0, 0.0])
            ]
        );
        assert_eq!(ours.means, Some(vec![0.5, 1.0 / 3.0]));
        assert_eq!(
            (ours.missing.as_slice(), ours.unjudged.as_slice()),
            (&["q3".to_owned()][..], &["q9".to_owned()][..])
        );
        let all = evaluate(&qrels, &run, &measures, Denominator::Judged);
        assert_eq!(all.means, Some(vec![0.375, 0.25]));
        assert_eq!(all.queries.len(), 4);

        let strangers = Run::parse("r", "x Q0 d 1 1 t").unwrap();
        let none = evaluate(&qrels, &strangers, &measures, Denominator::Retrieved);
        assert_eq!((none.means, none.queries.len()), (None, 0));
    }

    #[test]
    fn files_read_back() {
        let (qrels, run) = both();
        assert_eq!(Qrels::parse("again", &qrels.to_string()), Ok(qrels));
        let text = run.to_string();
        assert!(
            text.starts_with("q1 Q0 d9 1 0.5 last\nq1 Q0 d10 2 0.5 last\n"),
            "{text}"
        );
        assert_eq!(Run::parse("again", &text), Ok(run));
        let mut made = Run::new("made").unwrap();
        for (at, score) in [1.0 / 3.0, 1e-30, -2.5e7, 16_777_217.0]
            .into_iter()
            .enumerate()
        {
            made.insert("q", &format!("d{at}"), score).unwrap();
        }
        assert_eq!(Run::parse("made", &made.to_string()), Ok(made));
    }

    #[test]
    fn bad_lines_are_named() {
        for (text, want) in [
            (
                "q1 0 d1",
                "f:1: 3 fields, want 4: query iteration document grade",
            ),
            (
                "\nq1 0 d1 1 1",
                "f:2: 5 fields, want 4: query iteration document grade",
            ),
            ("q1 0 d1 x", "f:1: grade 'x' is no whole number of 32 bits"),
            (
                "q1 0 d1 1\n#\nq1 0 d1 0",
                "f:3: document 'd1' is there twice for query 'q1'",
            ),
            ("# nothing\n", "f:1: no judgement in the file"),
            ("", "f:1: no judgement in the file"),
        ] {
            assert_eq!(Qrels::parse("f", text).unwrap_err().to_string(), want);
        }
        for (text, want) in [
            (
                "q1 Q0 my doc 1 0.5 t",
                "f:1: 7 fields, want 6: query Q0 document rank score tag",
            ),
            (
                "q1 Q0 d1 1 0.5",
                "f:1: 5 fields, want 6: query Q0 document rank score tag",
            ),
            (
                "q1 Q0 d1 1 half t",
                "f:1: score 'half' is no finite number in f32",
            ),
            (
                "q1 Q0 d1 1 nan t",
                "f:1: score 'NaN' is no finite number in f32",
            ),
            (
                "q1 Q0 d1 1 1e39 t",
                "f:1: score '1000000000000000000000000000000000000000' is no finite number in f32",
            ),
            (
                "q1 Q0 d1 1 1 t\nq1 Q0 d1 2 2 t",
                "f:2: document 'd1' is there twice for query 'q1'",
            ),
            (" \n", "f:1: no retrieved document in the file"),
        ] {
            assert_eq!(Run::parse("f", text).unwrap_err().to_string(), want);
        }
        for id in ["", "my id", "#1"] {
            let refused = Err(TrecErrorKind::Id(id.to_owned()));
            assert_eq!(Qrels::default().insert(id, "d", 1), refused);
        }
        assert!(Run::new("my run").is_err() && Run::new("").is_err());
        assert_eq!(Qrels::default().insert("q", "#1", 1), Ok(()));
    }
}
