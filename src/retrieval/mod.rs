//! Retrieval over MLQA as MTEB's `MLQARetrieval` does it: the distinct contexts of a pair are the corpus, its distinct
//! questions the queries, and a context is relevant to a question that was asked of it.
//!
//! Also `trec_eval`: its two files and its measures over them.
//!
//! Knows texts, ids and vectors; not where they come from.

mod collection;
mod measure;
mod published;
mod rank;
mod trec;

pub use collection::{Collection, Document, Judgement, Query, document_id, in_share};
pub use measure::{Measure, UnknownMeasure};
pub use published::{PublishedCell, published_dev_scores};
pub use rank::{RetrievalError, Scores, rank, ranks, scores};
pub use trec::{Denominator, Evaluation, Qrels, Run, TrecError, TrecErrorKind, evaluate};
