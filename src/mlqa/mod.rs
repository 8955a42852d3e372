//! MLQA and the corpora shaped like it: languages, pairs, the strict loader, the official answer metric, the
//! exploration and confirmation halves.
//!
//! A pair is CONTEXT-QUESTION, as in MLQA's file names (`dev-context-de-question-en.json` is `de-en`). Offsets in the
//! files count Unicode code points; everything here that slices text holds byte offsets made from them.

mod language;
mod load;
mod metric;
mod parallel;
mod predictions;
mod split;
mod unicode;

pub use language::{Language, Pair, PairError, UnknownLanguage};
pub use load::{Answer, Article, Corpus, LoadError, LoadErrorKind, Paragraph, Question, load};
pub use metric::{AnswerMetric, AnswerScores, NoAnswerMetric};
pub use parallel::Parallelism;
pub use predictions::Predictions;
pub use split::{Articles, Half, half_of};

/// Questions in the diagonal files of MLQA's dev split, by language (MLQA, table 2).
pub const DEV_QUESTION_COUNTS: [(Language, usize); 7] = [
    (Language::English, 1148),
    (Language::German, 512),
    (Language::Spanish, 500),
    (Language::Arabic, 517),
    (Language::Chinese, 504),
    (Language::Vietnamese, 511),
    (Language::Hindi, 507),
];
