//! `flashproof score`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Arguments of `score`.
#[derive(Clone, Debug, Args)]
pub struct Score {
    /// What to score
    #[command(subcommand)]
    pub what: Scored,
}

/// What `score` can score.
#[derive(Clone, Debug, Subcommand)]
pub enum Scored {
    /// Answers by MLQA's metric: exact match and F1 in per cent, as mlqa_evaluation_v1.py prints them
    Mlqa(ScoreMlqa),
    /// Rankings by trec_eval's measures, in its three columns: measure, query or `all`, value
    Trec(ScoreTrec),
    /// Main scores of MTEB's result of a task
    Mteb(ScoreMteb),
}

/// Arguments of `score mteb`.
#[derive(Clone, Debug, Args)]
pub struct ScoreMteb {
    /// MTEB's result of a task
    #[arg(value_name = "RESULT.json")]
    pub result: PathBuf,
}

/// Arguments of `score mlqa`.
#[derive(Clone, Debug, Args)]
pub struct ScoreMlqa {
    /// Questions with gold answers, in SQuAD's format
    #[arg(value_name = "DATASET.json")]
    pub dataset: PathBuf,
    /// One JSON object: question id to answer text; a question it lacks counts 0
    #[arg(value_name = "PREDICTIONS.json")]
    pub predictions: PathBuf,
    /// Language of the answers, that is of the contexts: en ar de es hi vi zh
    #[arg(value_name = "LANG")]
    pub language: String,
}

/// Arguments of `score trec`.
#[derive(Clone, Debug, Args)]
pub struct ScoreTrec {
    /// Judgements: lines of `query iteration document grade`
    pub qrels: PathBuf,
    /// Rankings: lines of `query Q0 document rank score tag`, or MTEB's predictions (.json)
    pub run: PathBuf,
    /// Subset of MTEB's predictions to read, and of what is written; the only one if not given
    #[arg(long, value_name = "NAME")]
    pub subset: Option<String>,
    /// Split, likewise
    #[arg(long, value_name = "NAME")]
    pub split: Option<String>,
    /// Also write the rankings as TREC's lines
    #[arg(long, value_name = "FILE")]
    pub to_run: Option<PathBuf>,
    /// Also write them as MTEB's predictions
    #[arg(long, value_name = "FILE")]
    pub to_predictions: Option<PathBuf>,
    /// Also write the averages as MTEB's result of a task, the first measure its main score
    #[arg(long, value_name = "FILE", requires = "task_name")]
    pub to_result: Option<PathBuf>,
    /// Task of that result
    #[arg(long, value_name = "NAME")]
    pub task_name: Option<String>,
    /// Languages of that result as MTEB writes them, such as deu-Latn
    #[arg(
        long,
        value_name = "L,...",
        value_delimiter = ',',
        requires = "to_result"
    )]
    pub languages: Vec<String>,
    /// map, map_cut_K, ndcg, ndcg_cut_K, recip_rank, P_K, recall_K, success_K
    #[arg(
        long,
        value_name = "M,...",
        value_delimiter = ',',
        default_value = "map,ndcg_cut_10,recip_rank,recall_100"
    )]
    pub measures: Vec<String>,
    /// Also the values of every query, before the averages
    #[arg(long)]
    pub per_query: bool,
    /// Average over all judged queries, those that the run lacks counting 0, instead of over those it has
    #[arg(long)]
    pub complete: bool,
}
