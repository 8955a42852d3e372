//! A study: a plan, its cells, their results on disk, and the curves they give.
//!
//! ```text
//! Plan --> cells (pair x seed x level x arm) --> Embedder --> ranks --> results.jsonl --> curves --> CSV
//! ```
//!
//! A run can be killed at any moment and started again: every cell is one line, appended and synced when it is done, a
//! line cut off in the middle is dropped, and cells that are there are not made again. A results file belongs to the
//! plan in its first line; another plan is refused with what differs. Nothing here prints: [`Progress`] is told.

mod against;
mod cell;
mod contrast;
mod curve;
mod data;
mod embedder;
mod encoder;
mod first_places;
mod folder;
mod lareqa;
mod mechanism;
mod merge;
mod noisy;
mod plan;
mod progress;
mod rankings;
mod registered;
mod results;
mod run;
mod store;
mod vectors;

pub use against::{Against, against};
pub use cell::{Cell, Shard};
pub use contrast::{
    Estimate, Term, area, combination, context_language, estimate, is_cross_lingual,
    question_language,
};
pub use curve::{
    Curve, Curves, Metric, PairScore, Point, between, csv, curves, differences, mean_density,
    pair_scores,
};
pub use data::{DataFolder, Source, calibration_texts};
pub use embedder::{Embedded, Embedder, Shift};
pub use encoder::{ArmEncoder, attention_flops};
pub use first_places::{FirstPlaces, first_places};
pub use mechanism::{Mechanism, mechanism};
pub use merge::merge;
pub use plan::{Family, Plan, PlanError, Registration, Split, Task, ThresholdFile};
pub use progress::{Event, Progress, Silent};
pub use rankings::{qrels_file, run_file};
pub use registered::{Answer, ArmAnswer, answer};
pub use results::{CellLine, Judgements, Results, ResultsError};
pub use run::{RunOptions, Summary, run};

use crate::mlqa::LoadError;
use crate::noise::NoiseError;
use crate::retrieval::{BeirError, RetrievalError};
use crate::stats::SampleError;

/// Why a study stopped.
#[derive(Debug, thiserror::Error)]
pub enum StudyError {
    /// The plan cannot be carried out.
    #[error("plan: {0}")]
    Plan(#[from] PlanError),
    /// A file could not be read.
    #[error(
        "cannot read {path}: {cause}; `flashproof fetch mlqa` and `flashproof fetch xquad` bring the data"
    )]
    Read {
        /// The file.
        path: String,
        /// What the system says.
        cause: String,
    },
    /// A file of a folder in a plan could not be read.
    #[error(
        "cannot read {path}: {cause}; a folder of BEIR's shape has corpus.jsonl, queries.jsonl and qrels/test.tsv (the plan's \
         `qrels` names another than test)"
    )]
    ReadFolder {
        /// The file.
        path: String,
        /// What the system says.
        cause: String,
    },
    /// A file of such a folder is not as it must be.
    #[error(transparent)]
    Beir(#[from] BeirError),
    /// A ranking that its file cannot hold.
    #[error("rankings of {key}: {cause}")]
    Ranking {
        /// The cell.
        key: String,
        /// Why.
        cause: String,
    },
    /// A data file is not as it must be.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A question that the English file, hence no article, knows.
    #[error("{pair}: question {id} is not in the English file, so its article is unknown")]
    NoArticle {
        /// The pair.
        pair: String,
        /// The question's id.
        id: String,
    },
    /// Nothing to ask or nothing to find.
    #[error(
        "{pair}: {documents} contexts and {queries} questions of the {split} part; a study needs 2 and 1"
    )]
    TooSmall {
        /// The pair.
        pair: String,
        /// Contexts in the corpus.
        documents: usize,
        /// Questions left.
        queries: usize,
        /// The plan's split.
        split: &'static str,
    },
    /// More contexts than a stored rank can count.
    #[error(
        "{pair}: {documents} contexts, but stored ranks hold at most 65535; set contexts_per_pair"
    )]
    TooLarge {
        /// The pair.
        pair: String,
        /// Contexts in the corpus.
        documents: usize,
    },
    /// The noise cannot be made.
    #[error("noise in {documents}: {error}")]
    Noise {
        /// Language of the documents.
        documents: String,
        /// Why.
        error: NoiseError,
    },
    /// What an arm sees of the gold crop, of documents without one.
    #[error(
        "the mechanism is of gold crops among distractors: want noise = \"distractor\" or \"hard-distractor\""
    )]
    NoCrop,
    /// The encoder failed or refused.
    #[error("{doing}: {cause}")]
    Embedder {
        /// What it was asked.
        doing: String,
        /// What it said.
        cause: String,
    },
    /// Its vectors cannot be ranked.
    #[error("cell {key}: {error}")]
    Retrieval {
        /// The cell.
        key: String,
        /// Why.
        error: RetrievalError,
    },
    /// The results file cannot be used.
    #[error(transparent)]
    Results(#[from] ResultsError),
    /// Results that give no mean.
    #[error("curve of {arm} at level {level}: {error}")]
    Sample {
        /// The arm.
        arm: String,
        /// The level.
        level: f64,
        /// Why.
        error: SampleError,
    },
}
