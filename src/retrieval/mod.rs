//! Retrieval over MLQA as MTEB's `MLQARetrieval` does it: the distinct contexts of a pair are the corpus, its distinct
//! questions the queries, and a context is relevant to a question that was asked of it.
//!
//! Also `trec_eval`: its two files and its measures over them; folders of BEIR's shape; BM25.
//!
//! Knows texts, ids and vectors; not where they come from.

mod beir;
mod bitext;
mod bm25;
mod collection;
mod measure;
mod mteb;
mod published;
mod rank;
mod trec;

pub use beir::{BeirError, BeirErrorKind, Graded, NamedText};
pub use bitext::{Direction, Margin, Mined, Neighbours, UnknownChoice, error_rate};
pub use bm25::Bm25;
pub use collection::{Collection, Document, Judgement, Query, document_id, in_share, sample_key};
pub use measure::{Measure, UnknownMeasure};
pub use mteb::{MtebError, MtebPredictions, MtebResult, MtebScores};
pub use published::{PublishedCell, published_dev_scores};
pub use rank::{Ranking, RetrievalError, Scores, graded_scores, rank, ranks, scores, trec_ranks};
pub use trec::{Denominator, Evaluation, Qrels, Run, TrecError, TrecErrorKind, evaluate};
