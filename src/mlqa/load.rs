//! The strict loader of SQuAD-format corpora: MLQA, XQuAD, and XQuAD-R with its sentence breaks.
//!
//! Reads what is there and nothing else: an absent field, an answer that is not where the file says, an id twice, a
//! corpus of nothing are errors that carry the file, the place in it and the value. Unknown fields are ignored
//! (corpora carry extras); the format's `version` is not needed.

use std::collections::BTreeSet;
use std::ops::Range;

use serde_json::Value;

/// A file of articles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corpus {
    /// Name it was loaded under, for messages.
    pub name: String,
    /// Articles in file order.
    pub articles: Vec<Article>,
}

/// A Wikipedia article, or what a corpus took from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Article {
    /// Title, in the language of the contexts, as the file has it.
    pub title: String,
    /// Its paragraphs in file order.
    pub paragraphs: Vec<Paragraph>,
}

/// A context and the questions asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paragraph {
    /// The text.
    pub context: String,
    /// Byte ranges of its sentences, where the file gives them (XQuAD-R's `sentence_breaks`); ordered, disjoint, not
    /// necessarily covering.
    pub sentences: Option<Vec<Range<usize>>>,
    /// Questions in file order.
    pub questions: Vec<Question>,
}

/// A question with its answers in the paragraph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Id, the same in every language a question was translated into.
    pub id: String,
    /// Text of the question.
    pub text: String,
    /// At least one answer.
    pub answers: Vec<Answer>,
}

/// A span of the context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The span's text, equal to `context[bytes]`.
    pub text: String,
    /// Byte range in the context (the file's `answer_start` counts code points).
    pub bytes: Range<usize>,
}

impl Corpus {
    /// Questions of all articles.
    #[must_use]
    pub fn question_count(&self) -> usize {
        self.paragraphs()
            .map(|(_, paragraph)| paragraph.questions.len())
            .sum()
    }

    /// Every paragraph with its article.
    pub fn paragraphs(&self) -> impl Iterator<Item = (&Article, &Paragraph)> {
        self.articles.iter().flat_map(|article| {
            article
                .paragraphs
                .iter()
                .map(move |paragraph| (article, paragraph))
        })
    }
}

/// Why a corpus was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {kind}")]
pub struct LoadError {
    /// Name the text was loaded under.
    pub file: String,
    /// What is wrong, and where in the file.
    pub kind: Box<LoadErrorKind>,
}

/// What is wrong with a corpus. Places are JSON paths such as `data[3].paragraphs[0].qas[2].id`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadErrorKind {
    /// The text is no JSON.
    #[error("not JSON: {0}")]
    Json(String),
    /// A field the format needs is absent.
    #[error("{place} is missing")]
    Missing {
        /// Path of the absent field.
        place: String,
    },
    /// A field holds a value of another kind.
    #[error("{place} is {found}, want {want}")]
    Kind {
        /// Path of the field.
        place: String,
        /// What it should hold.
        want: &'static str,
        /// What it holds.
        found: String,
    },
    /// The context does not read as the answer at the answer's place.
    #[error(
        "{place} = {answer_start} (code points, of {context_length}): the context reads '{found}' there, the answer \
         (question {id}) is '{want}'"
    )]
    AnswerNotInContext {
        /// Path of the `answer_start`.
        place: String,
        /// Question's id.
        id: String,
        /// The offset as the file has it.
        answer_start: u64,
        /// Code points of the context.
        context_length: usize,
        /// The answer's text.
        want: String,
        /// What the context has there, cut at its end.
        found: String,
    },
    /// A sentence break outside the context, empty, or before the one in front of it.
    #[error("{place} = [{start}, {end}]: want {floor} <= start < end <= {length} (code points)")]
    SentenceBreak {
        /// Path of the break.
        place: String,
        /// First code point.
        start: u64,
        /// One past the last.
        end: u64,
        /// End of the sentence before.
        floor: u64,
        /// Code points of the context.
        length: usize,
    },
    /// Two questions with one id.
    #[error("{place} = '{id}' is the id of an earlier question of this file")]
    DuplicateId {
        /// Path of the second.
        place: String,
        /// The id.
        id: String,
    },
    /// A text that must say something is empty.
    #[error("{place} is an empty text")]
    EmptyText {
        /// Path of the text.
        place: String,
    },
    /// No article, no paragraph or no question at all.
    #[error("holds no {what}")]
    Empty {
        /// What there is none of.
        what: &'static str,
    },
}

/// A corpus from the text of a SQuAD-format file; `name` is for messages.
///
/// # Errors
/// [`LoadError`] at the first thing in the file that is not as the format demands.
pub fn load(name: &str, text: &str) -> Result<Corpus, LoadError> {
    corpus(name, text).map_err(|kind| LoadError {
        file: name.to_owned(),
        kind: Box::new(kind),
    })
}

fn corpus(name: &str, text: &str) -> Result<Corpus, LoadErrorKind> {
    let value: Value =
        serde_json::from_str(text).map_err(|error| LoadErrorKind::Json(error.to_string()))?;
    let root = Node {
        value: &value,
        place: String::new(),
    };
    let mut ids = BTreeSet::new();
    let articles: Vec<Article> = root
        .field("data")?
        .items()?
        .iter()
        .map(|node| article(node, &mut ids))
        .collect::<Result<_, _>>()?;
    if articles.is_empty() {
        return Err(LoadErrorKind::Empty { what: "article" });
    }
    if articles.iter().all(|article| article.paragraphs.is_empty()) {
        return Err(LoadErrorKind::Empty { what: "paragraph" });
    }
    if ids.is_empty() {
        return Err(LoadErrorKind::Empty { what: "question" });
    }
    Ok(Corpus {
        name: name.to_owned(),
        articles,
    })
}

fn article(node: &Node<'_>, ids: &mut BTreeSet<String>) -> Result<Article, LoadErrorKind> {
    let title = node.field("title")?.text()?;
    let paragraphs = node
        .field("paragraphs")?
        .items()?
        .iter()
        .map(|node| paragraph(node, ids))
        .collect::<Result<_, _>>()?;
    Ok(Article { title, paragraphs })
}

fn paragraph(node: &Node<'_>, ids: &mut BTreeSet<String>) -> Result<Paragraph, LoadErrorKind> {
    let context = node.field("context")?.filled_text()?;
    let byte_of = code_point_bytes(&context);
    let sentences = match node.optional("sentence_breaks") {
        Some(breaks) => Some(sentence_ranges(&breaks, &byte_of)?),
        None => None,
    };
    let mut questions = Vec::new();
    for qa in node.field("qas")?.items()? {
        let id_node = qa.field("id")?;
        let id = id_node.filled_text()?;
        if !ids.insert(id.clone()) {
            return Err(LoadErrorKind::DuplicateId {
                place: id_node.place,
                id,
            });
        }
        let text = qa.field("question")?.filled_text()?;
        let answers_node = qa.field("answers")?;
        let answers: Vec<Answer> = answers_node
            .items()?
            .iter()
            .map(|node| answer(node, &id, &context, &byte_of))
            .collect::<Result<_, _>>()?;
        if answers.is_empty() {
            return Err(LoadErrorKind::Missing {
                place: format!("{}[0]", answers_node.place),
            });
        }
        questions.push(Question { id, text, answers });
    }
    Ok(Paragraph {
        context,
        sentences,
        questions,
    })
}

fn answer(
    node: &Node<'_>,
    id: &str,
    context: &str,
    byte_of: &[usize],
) -> Result<Answer, LoadErrorKind> {
    let text = node.field("text")?.filled_text()?;
    let start_node = node.field("answer_start")?;
    let answer_start = start_node.count()?;
    let at = |code_point: usize| byte_of.get(code_point).copied();
    let start = usize::try_from(answer_start).ok().and_then(at);
    if let Some(start) = start
        && context[start..].starts_with(&text)
    {
        return Ok(Answer {
            bytes: start..start + text.len(),
            text,
        });
    }
    let found = start.map_or_else(String::new, |start| {
        context[start..]
            .chars()
            .take(text.chars().count())
            .collect()
    });
    Err(LoadErrorKind::AnswerNotInContext {
        place: start_node.place,
        id: id.to_owned(),
        answer_start,
        context_length: byte_of.len() - 1,
        want: text,
        found,
    })
}

fn sentence_ranges(
    breaks: &Node<'_>,
    byte_of: &[usize],
) -> Result<Vec<Range<usize>>, LoadErrorKind> {
    let mut floor = 0;
    let mut ranges = Vec::new();
    for node in breaks.items()? {
        let ends = node.items()?;
        let [start_node, end_node] = ends.as_slice() else {
            return Err(node.kind("[start, end]"));
        };
        let (start, end) = (start_node.count()?, end_node.count()?);
        let byte = |code_point: u64| {
            usize::try_from(code_point)
                .ok()
                .and_then(|at| byte_of.get(at).copied())
        };
        match (byte(start), byte(end)) {
            (Some(first), Some(last)) if floor <= start && start < end => ranges.push(first..last),
            (_, _) => {
                let length = byte_of.len() - 1;
                return Err(LoadErrorKind::SentenceBreak {
                    place: node.place.clone(),
                    start,
                    end,
                    floor,
                    length,
                });
            }
        }
        floor = end;
    }
    Ok(ranges)
}

/// Byte offset of every code point of `text`, and of its end: length = code points + 1.
fn code_point_bytes(text: &str) -> Vec<usize> {
    text.char_indices()
        .map(|(byte, _)| byte)
        .chain([text.len()])
        .collect()
}

/// A JSON value and its path, so that no error forgets where it happened.
pub(super) struct Node<'a> {
    pub(super) value: &'a Value,
    pub(super) place: String,
}

impl<'a> Node<'a> {
    fn optional(&self, name: &str) -> Option<Self> {
        let value: &'a Value = self.value.get(name)?;
        let dot = if self.place.is_empty() { "" } else { "." };
        Some(Node {
            value,
            place: format!("{}{dot}{name}", self.place),
        })
    }

    fn field(&self, name: &str) -> Result<Self, LoadErrorKind> {
        if !self.value.is_object() {
            return Err(self.kind("an object"));
        }
        let dot = if self.place.is_empty() { "" } else { "." };
        self.optional(name).ok_or_else(|| LoadErrorKind::Missing {
            place: format!("{}{dot}{name}", self.place),
        })
    }

    fn items(&self) -> Result<Vec<Self>, LoadErrorKind> {
        let items = self.value.as_array().ok_or_else(|| self.kind("an array"))?;
        let place = |index: usize| format!("{}[{index}]", self.place);
        Ok(items
            .iter()
            .enumerate()
            .map(|(index, value)| Node {
                value,
                place: place(index),
            })
            .collect())
    }

    /// The fields of an object, in ascending order of their names.
    pub(super) fn fields(&self) -> Result<Vec<(&'a String, Self)>, LoadErrorKind> {
        let fields = self
            .value
            .as_object()
            .ok_or_else(|| self.kind("an object"))?;
        Ok(fields
            .iter()
            .map(|(name, value)| {
                let place = format!("{}[{name:?}]", self.place);
                (name, Node { value, place })
            })
            .collect())
    }

    pub(super) fn text(&self) -> Result<String, LoadErrorKind> {
        self.value
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| self.kind("a text"))
    }

    fn filled_text(&self) -> Result<String, LoadErrorKind> {
        let text = self.text()?;
        if text.trim().is_empty() {
            return Err(LoadErrorKind::EmptyText {
                place: self.place.clone(),
            });
        }
        Ok(text)
    }

    fn count(&self) -> Result<u64, LoadErrorKind> {
        self.value
            .as_u64()
            .ok_or_else(|| self.kind("a whole number from 0"))
    }

    fn kind(&self, want: &'static str) -> LoadErrorKind {
        let whole = self.value.to_string();
        let mut found: String = whole.chars().take(60).collect();
        if found.len() < whole.len() {
            found.push_str("..");
        }
        let place = if self.place.is_empty() {
            "the file".to_owned()
        } else {
            self.place.clone()
        };
        LoadErrorKind::Kind { place, want, found }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"version": "1.0", "data": [{"title": "A", "paragraphs": [{"context": "Äpfel 😀 fallen. Zwei.",
        "qas": [{"id": "q1", "question": "Was?", "answers": [{"text": "fallen", "answer_start": 8}]}]}]}]}"#;

    #[test]
    fn offsets_count_code_points() {
        let corpus = load("good.json", GOOD).unwrap();
        let paragraph = &corpus.articles[0].paragraphs[0];
        let answer = &paragraph.questions[0].answers[0];
        assert_eq!(&paragraph.context[answer.bytes.clone()], "fallen");
        assert_eq!(
            answer.bytes.start, 12,
            "two bytes of A umlaut and four of the face"
        );
        assert_eq!(corpus.question_count(), 1);
    }

    #[track_caller]
    fn refused(text: &str, message: &str) {
        let error = load("bad.json", text)
            .expect_err("must be refused")
            .to_string();
        assert_eq!(error, format!("bad.json: {message}"));
    }

    #[test]
    fn every_fault_is_named_with_its_place() {
        refused("{}", "data is missing");
        refused("[1]", "the file is [1], want an object");
        refused(r#"{"data": []}"#, "holds no article");
        refused(
            r#"{"data": [{"title": "A", "paragraphs": []}]}"#,
            "holds no paragraph",
        );
        refused(
            r#"{"data": [{"title": "A", "paragraphs": [{"context": "c", "qas": []}]}]}"#,
            "holds no question",
        );
        refused(
            &GOOD.replace("\"title\"", "\"titel\""),
            "data[0].title is missing",
        );
        refused(
            &GOOD.replace("\"A\"", "7"),
            "data[0].title is 7, want a text",
        );
        refused(
            &GOOD.replace("\"id\"", "\"di\""),
            "data[0].paragraphs[0].qas[0].id is missing",
        );
        refused(
            &GOOD.replace("Was?", " "),
            "data[0].paragraphs[0].qas[0].question is an empty text",
        );
        refused(
            &GOOD.replace(": 8}", ": 9}"),
            "data[0].paragraphs[0].qas[0].answers[0].answer_start = 9 (code points, of 21): the context reads \
             'allen.' there, the answer (question q1) is 'fallen'",
        );
        refused(
            &GOOD.replace(": 8}", ": 800}"),
            "data[0].paragraphs[0].qas[0].answers[0].answer_start = 800 (code points, of 21): the context reads '' \
             there, the answer (question q1) is 'fallen'",
        );
        refused(
            &GOOD.replace("[{\"text\": \"fallen\", \"answer_start\": 8}]", "[]"),
            "data[0].paragraphs[0].qas[0].answers[0] is missing",
        );
        refused(
            &GOOD.replace(
                "}]}]}]}]}",
                "}]}, {\"id\": \"q1\", \"question\": \"?\", \"answers\": [{\"text\": \"Z\", \"answer_start\": 16}]}]}]}]}",
            ),
            "data[0].paragraphs[0].qas[1].id = 'q1' is the id of an earlier question of this file",
        );
        let cut = load("cut.json", &GOOD[..GOOD.len() / 2]).unwrap_err();
        assert!(matches!(*cut.kind, LoadErrorKind::Json(_)), "{cut}");
    }

    #[test]
    fn sentence_breaks_are_read_and_checked() {
        let with = |breaks: &str| {
            GOOD.replace(
                "\"qas\"",
                &format!("\"sentence_breaks\": {breaks}, \"qas\""),
            )
        };
        let corpus = load("r.json", &with("[[0, 15], [16, 21]]")).unwrap();
        let paragraph = &corpus.articles[0].paragraphs[0];
        let texts: Vec<&str> = paragraph
            .sentences
            .as_ref()
            .unwrap()
            .iter()
            .map(|range| &paragraph.context[range.clone()])
            .collect();
        assert_eq!(texts, ["Äpfel 😀 fallen.", "Zwei."]);
        for wrong in ["[[0, 22]]", "[[5, 5]]", "[[0, 9], [8, 12]]"] {
            let error = load("r.json", &with(wrong)).unwrap_err();
            assert!(
                matches!(*error.kind, LoadErrorKind::SentenceBreak { .. }),
                "{error}"
            );
        }
        refused(
            &with("[[0]]"),
            "data[0].paragraphs[0].sentence_breaks[0] is [0], want [start, end]",
        );
    }
}
