//! Data of a study: corpora from files, sampled collections with their clusters, pools of distractors.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;

use crate::mlqa::{Articles, Corpus, Half, Language, Pair, half_of, load};
use crate::noise::Distractor;
use crate::retrieval::{Collection, document_id};

use super::StudyError;
use super::plan::{Family, Plan, Split};

/// Where corpora come from.
pub trait Source {
    /// The file of a pair.
    ///
    /// # Errors
    /// [`StudyError::Read`], [`StudyError::Load`].
    fn pair(&self, pair: Pair) -> Result<Corpus, StudyError>;

    /// Paragraphs in `language` to draw distractors from: another corpus than the pairs'.
    ///
    /// # Errors
    /// [`StudyError::Read`], [`StudyError::Load`].
    fn distractors(&self, language: Language) -> Result<Corpus, StudyError>;
}

/// The data tree: `mlqa/dev/`, `xquad-r/` and `xquad/` under one folder.
#[derive(Clone, Debug)]
pub struct DataFolder {
    /// The folder.
    pub root: PathBuf,
}

impl DataFolder {
    fn read(&self, path: &str) -> Result<Corpus, StudyError> {
        let full = self.root.join(path);
        let name = full.display().to_string();
        let text = std::fs::read_to_string(&full).map_err(|error| StudyError::Read {
            path: name.clone(),
            cause: error.to_string(),
        })?;
        Ok(load(&name, &text)?)
    }
}

impl Source for DataFolder {
    fn pair(&self, pair: Pair) -> Result<Corpus, StudyError> {
        self.read(&format!("mlqa/dev/{}", pair.file_name("dev")))
    }

    /// XQuAD-R, which gives sentence breaks, else XQuAD.
    fn distractors(&self, language: Language) -> Result<Corpus, StudyError> {
        let with_breaks = format!("xquad-r/{language}.json");
        if self.root.join(&with_breaks).is_file() {
            return self.read(&with_breaks);
        }
        self.read(&format!("xquad/xquad.{language}.json"))
    }
}

/// A pair's sampled corpus, its questions, and what goes with them.
#[derive(Clone, Debug)]
pub struct PairData {
    /// The pair.
    pub pair: Pair,
    /// Documents, queries, judgements.
    pub collection: Collection,
    /// Byte ranges of the answers in each document: those of every question the pair asks of it, whether or not the
    /// question is in the split.
    pub answers: Vec<Vec<Range<usize>>>,
    /// Cluster of each query: [`document_id`] of its English article's title, so that stored results name no text.
    pub clusters: Vec<String>,
}

/// All that a plan needs of a source.
#[derive(Debug)]
pub(super) struct StudyData {
    pub(super) pairs: Vec<PairData>,
    /// Distractors by context language; empty without noise.
    pub(super) distractors: BTreeMap<Language, Vec<Distractor>>,
    pub(super) distractors_left_out: usize,
}

/// Loads and samples what `plan` names.
pub(super) fn gather(plan: &Plan, source: &dyn Source) -> Result<StudyData, StudyError> {
    let pairs = plan.languages()?;
    let english = Pair::new(Language::English, Language::English).expect("MLQA has English");
    let articles = Articles::from_english(&source.pair(english)?);
    let mut data = StudyData {
        pairs: Vec::new(),
        distractors: BTreeMap::new(),
        distractors_left_out: 0,
    };
    let mut contexts: BTreeSet<String> = BTreeSet::new();
    for pair in pairs {
        let corpus = source.pair(pair)?;
        contexts.extend(
            corpus
                .paragraphs()
                .map(|(_, paragraph)| paragraph.context.clone()),
        );
        data.pairs.push(pair_data(plan, pair, &corpus, &articles)?);
    }
    if plan.noise == Family::Distractor {
        let known: BTreeSet<String> = articles
            .titles()
            .into_iter()
            .map(comparable_title)
            .collect();
        let languages: BTreeSet<Language> =
            data.pairs.iter().map(|pair| pair.pair.context()).collect();
        for language in languages {
            let corpus = source.distractors(language)?;
            let (kept, left_out): (Vec<_>, Vec<_>) =
                corpus.paragraphs().partition(|(article, paragraph)| {
                    !known.contains(&comparable_title(&article.title))
                        && !contexts.contains(&paragraph.context)
                });
            data.distractors_left_out += left_out.len();
            let distractor = |text: &str, sentences: &Option<Vec<Range<usize>>>| Distractor {
                text: text.to_owned(),
                sentences: sentences.clone(),
            };
            let kept = kept
                .into_iter()
                .map(|(_, paragraph)| distractor(&paragraph.context, &paragraph.sentences));
            data.distractors.insert(language, kept.collect());
        }
    }
    Ok(data)
}

fn pair_data(
    plan: &Plan,
    pair: Pair,
    corpus: &Corpus,
    articles: &Articles,
) -> Result<PairData, StudyError> {
    let asked = || {
        corpus.paragraphs().flat_map(|(_, paragraph)| {
            paragraph
                .questions
                .iter()
                .map(move |question| (paragraph.context.as_str(), question))
        })
    };
    let mut answers_of: BTreeMap<&str, Vec<Range<usize>>> = BTreeMap::new();
    for (context, question) in asked() {
        if articles.title(&question.id).is_none() {
            return Err(StudyError::NoArticle {
                pair: pair.to_string(),
                id: question.id.clone(),
            });
        }
        let bytes = question.answers.iter().map(|answer| answer.bytes.clone());
        answers_of.entry(context).or_default().extend(bytes);
    }
    let title = |id: &str| articles.title(id).unwrap_or_default();
    let whole = Collection::new(
        asked().map(|(context, question)| (context, question.id.as_str(), question.text.as_str())),
    );
    let keep = |id: &str| match plan.split {
        Split::Exploration => half_of(title(id)) == Half::Exploration,
        Split::All => true,
    };
    let count = plan.contexts_per_pair.unwrap_or(whole.documents.len());
    let mut collection = whole.sample(count, plan.sample_seed, |query| keep(&query.id));
    if let Some(count) = plan.queries_per_pair {
        collection = collection.with_queries(count, plan.sample_seed);
    }
    let (documents, queries) = (collection.documents.len(), collection.queries.len());
    if documents < 2 || queries == 0 {
        let split = plan.split.name();
        return Err(StudyError::TooSmall {
            pair: pair.to_string(),
            documents,
            queries,
            split,
        });
    }
    if u16::try_from(documents).is_err() {
        return Err(StudyError::TooLarge {
            pair: pair.to_string(),
            documents,
        });
    }
    Ok(PairData {
        pair,
        answers: collection
            .documents
            .iter()
            .map(|document| answers_of[document.text.as_str()].clone())
            .collect(),
        clusters: collection
            .queries
            .iter()
            .map(|query| document_id(title(&query.id)))
            .collect(),
        collection,
    })
}

/// XQuAD writes `Harvard_University` where MLQA writes `Harvard University`.
fn comparable_title(title: &str) -> String {
    title.replace('_', " ").trim().to_lowercase()
}
