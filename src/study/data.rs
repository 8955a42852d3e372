//! Data of a study: corpora from files, sampled collections with their clusters, pools of distractors.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;

use crate::mlqa::{Article, Articles, Corpus, Half, Language, Pair, half_of, load};
use crate::noise::{Alphabet, Distractor};
use crate::retrieval::{Collection, Document, Graded, NamedText, document_id};

use super::StudyError;
use super::embedder::Embedder;
use super::noisy::noise_error;
use super::plan::{Family, Plan, PlanError, Split, Task};
use super::{folder, lareqa};

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

    /// Paragraphs and questions of a LAReQA task in one language.
    ///
    /// # Errors
    /// [`StudyError::Read`], [`StudyError::Load`].
    fn sentences(&self, task: Task, language: Language) -> Result<Corpus, StudyError> {
        let _ = task;
        Err(StudyError::Read {
            path: format!("sentences in {language}"),
            cause: "this source has none".to_owned(),
        })
    }

    /// A folder of BEIR's shape, judged by `qrels/NAME.tsv`.
    ///
    /// # Errors
    /// [`StudyError::ReadFolder`], [`StudyError::Beir`].
    fn beir(&self, folder: &str, qrels: &str) -> Result<Graded, StudyError> {
        let _ = qrels;
        Err(StudyError::ReadFolder {
            path: folder.to_owned(),
            cause: "this source reads no folders".to_owned(),
        })
    }
}

/// The data tree: `mlqa/dev/`, `mlqa-r/`, `xquad-r/` and `xquad/` under one folder.
#[derive(Clone, Debug)]
pub struct DataFolder {
    /// The folder.
    pub root: PathBuf,
    /// The folder that a plan's own folders are looked for from.
    pub beside: PathBuf,
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

    /// XQuAD-R as it is; LAReQA's own MLQA-R where `mlqa-r/` has it, else MLQA's contexts, whose sentences are then found
    /// by rule.
    fn sentences(&self, task: Task, language: Language) -> Result<Corpus, StudyError> {
        if task == Task::XquadR {
            return self.read(&format!("xquad-r/{language}.json"));
        }
        let with_breaks = format!("mlqa-r/{language}.json");
        if self.root.join(&with_breaks).is_file() {
            return self.read(&with_breaks);
        }
        let own = Pair::new(language, language).map_err(|error| {
            StudyError::Plan(PlanError::Value {
                field: "pairs",
                reason: error.to_string(),
            })
        })?;
        self.pair(own)
    }

    fn beir(&self, folder: &str, qrels: &str) -> Result<Graded, StudyError> {
        let folder = self.beside.join(folder);
        let read = |name: String| {
            let path = folder.join(name);
            let name = path.display().to_string();
            match std::fs::read_to_string(&path) {
                Ok(text) => Ok((name, text)),
                Err(error) => Err(StudyError::ReadFolder {
                    path: name,
                    cause: error.to_string(),
                }),
            }
        };
        let corpus = read("corpus.jsonl".to_owned())?;
        let queries = read("queries.jsonl".to_owned())?;
        let qrels = read(format!("qrels/{qrels}.tsv"))?;
        Ok(Graded::parse(
            named(&corpus),
            named(&queries),
            named(&qrels),
        )?)
    }
}

fn named((name, text): &(String, String)) -> NamedText<'_> {
    NamedText { name, text }
}

/// A pair's corpus, its questions, and what goes with them.
#[derive(Clone, Debug)]
pub(super) struct PairData {
    /// The pair's name in the plan.
    pub(super) name: String,
    /// Share of its contexts that is its corpus, in a plan that has shares.
    pub(super) share: Option<f64>,
    /// Documents, queries, judgements.
    pub(super) collection: Collection,
    /// Cluster of each query: [`document_id`] of its English article's title, so that stored results name no text.
    pub(super) clusters: Vec<String>,
    /// Grade of each judgement; empty where all are 1.
    pub(super) grades: Vec<i32>,
}

impl PairData {
    /// Refuses a corpus or a set of questions that is too small, or too large for stored ranks.
    pub(super) fn check(&self, plan: &Plan) -> Result<(), StudyError> {
        let (documents, queries) = (
            self.collection.documents.len(),
            self.collection.queries.len(),
        );
        let pair = self.name.clone();
        if documents < 2 || queries == 0 {
            let split = plan.split.name();
            return Err(StudyError::TooSmall {
                pair,
                documents,
                queries,
                split,
            });
        }
        if u16::try_from(documents).is_err() {
            return Err(StudyError::TooLarge { pair, documents });
        }
        Ok(())
    }

    /// As many of its queries as the plan asks at most.
    pub(super) fn with_queries_of(mut self, plan: &Plan) -> Result<Self, StudyError> {
        if let Some(count) = plan.queries_per_pair {
            let fewer = self.collection.with_queries(count, plan.sample_seed);
            let cluster_of: BTreeMap<&str, &String> = self
                .collection
                .queries
                .iter()
                .map(|query| query.id.as_str())
                .zip(&self.clusters)
                .collect();
            let clusters = fewer.queries.iter();
            let clusters = clusters.map(|query| cluster_of[query.id.as_str()].clone());
            (self.clusters, self.collection) = (clusters.collect(), fewer);
        }
        self.check(plan)?;
        Ok(self)
    }
}

/// Documents that are composed together: those of a pair, or of a context language.
#[derive(Clone, Debug, Default)]
pub(super) struct DocumentSet {
    pub(super) documents: Vec<Document>,
    /// Language of each; `None` where that is not known.
    pub(super) languages: Vec<Option<Language>>,
    /// Byte ranges of the answers in each: those of every question that the pair, or any pair of the language, asks of
    /// it, whether or not the question is in the split.
    pub(super) answers: Vec<Vec<Range<usize>>>,
}

impl DocumentSet {
    /// The language of all its documents, where they have one.
    pub(super) fn language(&self) -> Option<Language> {
        let first = *self.languages.first()?;
        first.filter(|_| self.languages.iter().all(|language| *language == first))
    }
}

/// All that a plan needs of a source.
#[derive(Debug, Default)]
pub(super) struct StudyData {
    /// In the order of the plan; with shares, one a (share, pair).
    pub(super) pairs: Vec<PairData>,
    /// By [`Plan::set_of`].
    pub(super) sets: BTreeMap<String, DocumentSet>,
    /// Distractors by context language; empty in families without them.
    pub(super) distractors: BTreeMap<Language, Vec<Distractor>>,
    /// Letters by language, of all its contexts whatever the plan samples; empty without character errors.
    pub(super) alphabets: BTreeMap<Option<Language>, Alphabet>,
    pub(super) distractors_left_out: usize,
}

/// Loads and samples what `plan` names.
pub(super) fn gather(plan: &Plan, source: &dyn Source) -> Result<StudyData, StudyError> {
    match plan.task {
        Task::MlqaRetrieval => {}
        Task::MlqaR | Task::XquadR => return lareqa::gather(plan, source),
        Task::Beir => return folder::gather(plan, source),
    }
    let pairs = plan.languages()?;
    let english = Pair::new(Language::English, Language::English).expect("MLQA has English");
    let articles = Articles::from_english(&source.pair(english)?);
    let mut data = StudyData::default();
    let mut contexts: BTreeSet<String> = BTreeSet::new();
    let mut corpora = Vec::with_capacity(pairs.len());
    for pair in pairs {
        let corpus = source.pair(pair)?;
        contexts.extend(
            corpus
                .paragraphs()
                .map(|(_, paragraph)| paragraph.context.clone()),
        );
        corpora.push((pair, corpus));
    }
    if plan.corpus_shares.is_empty() {
        for (pair, corpus) in &corpora {
            let of_pair = pair_data(plan, *pair, None, corpus, &articles)?;
            let set = document_set(pair.context(), &of_pair.collection.documents, [corpus]);
            data.sets.insert(pair.to_string(), set);
            data.pairs.push(of_pair);
        }
    } else {
        for &share in &plan.corpus_shares {
            for (pair, corpus) in &corpora {
                data.pairs
                    .push(pair_data(plan, *pair, Some(share), corpus, &articles)?);
            }
        }
        for (pair, _) in &corpora {
            let language = pair.context();
            let of_language = corpora
                .iter()
                .filter(|(pair, _)| pair.context() == language);
            let of_language: Vec<&Corpus> = of_language.map(|(_, corpus)| corpus).collect();
            let all = of_language.iter().flat_map(|corpus| asked(corpus));
            let documents = Collection::new(all.map(|(context, id, text, _)| (context, id, text)));
            let set = document_set(language, &documents.documents, of_language);
            data.sets.insert(language.code().to_owned(), set);
        }
    }
    let languages: BTreeSet<Language> = corpora.iter().map(|(pair, _)| pair.context()).collect();
    if plan.noise == Family::Characters {
        for &language in &languages {
            let own = Pair::new(language, language).expect("contexts of a pair are in MLQA");
            let whole = source.pair(own)?;
            let texts = whole
                .paragraphs()
                .map(|(_, paragraph)| paragraph.context.as_str());
            let alphabet = Alphabet::of(texts).map_err(noise_error(Some(language)))?;
            data.alphabets.insert(Some(language), alphabet);
        }
    }
    if plan.noise.is_of_distractors() {
        let known = known_titles(&articles);
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

/// What a corpus asks: (context, question id, question, byte ranges of its answers).
fn asked(corpus: &Corpus) -> impl Iterator<Item = (&str, &str, &str, Vec<Range<usize>>)> {
    corpus.paragraphs().flat_map(|(_, paragraph)| {
        paragraph.questions.iter().map(move |question| {
            let answers = question.answers.iter();
            (
                paragraph.context.as_str(),
                question.id.as_str(),
                question.text.as_str(),
                answers.map(|answer| answer.bytes.clone()).collect(),
            )
        })
    })
}

/// Documents with the answers that any of the corpora asks of them.
fn document_set<'a>(
    language: Language,
    documents: &[Document],
    corpora: impl IntoIterator<Item = &'a Corpus>,
) -> DocumentSet {
    let mut answers_of: BTreeMap<&str, Vec<Range<usize>>> = BTreeMap::new();
    for (context, _, _, answers) in corpora.into_iter().flat_map(asked) {
        answers_of.entry(context).or_default().extend(answers);
    }
    let of_document = |document: &Document| {
        let answers = answers_of.get(document.text.as_str());
        answers.cloned().unwrap_or_default()
    };
    DocumentSet {
        languages: vec![Some(language); documents.len()],
        answers: documents.iter().map(of_document).collect(),
        documents: documents.to_vec(),
    }
}

fn pair_data(
    plan: &Plan,
    pair: Pair,
    share: Option<f64>,
    corpus: &Corpus,
    articles: &Articles,
) -> Result<PairData, StudyError> {
    for (_, id, _, _) in asked(corpus) {
        if articles.title(id).is_none() {
            return Err(StudyError::NoArticle {
                pair: pair.to_string(),
                id: id.to_owned(),
            });
        }
    }
    let title = |id: &str| articles.title(id).unwrap_or_default();
    let whole = Collection::new(asked(corpus).map(|(context, id, text, _)| (context, id, text)));
    let keep = |id: &str| match plan.split {
        Split::Exploration => half_of(title(id)) == Half::Exploration,
        Split::Confirmation => half_of(title(id)) == Half::Confirmation,
        Split::All => true,
    };
    let mut collection = match share {
        Some(share) => whole.sample_share(share, plan.sample_seed, |query| keep(&query.id)),
        None => {
            let count = plan.contexts_per_pair.unwrap_or(whole.documents.len());
            whole.sample(count, plan.sample_seed, |query| keep(&query.id))
        }
    };
    if let Some(count) = plan.queries_per_pair {
        collection = collection.with_queries(count, plan.sample_seed);
    }
    let of_pair = PairData {
        name: pair.to_string(),
        share,
        clusters: collection
            .queries
            .iter()
            .map(|query| document_id(title(&query.id)))
            .collect(),
        collection,
        grades: Vec::new(),
    };
    of_pair.check(plan)?;
    Ok(of_pair)
}

/// Titles of MLQA's articles, as [`comparable_title`].
fn known_titles(articles: &Articles) -> BTreeSet<String> {
    let titles = articles.titles().into_iter();
    titles.map(comparable_title).collect()
}

/// XQuAD writes `Harvard_University` where MLQA writes `Harvard University`.
fn comparable_title(title: &str) -> String {
    title.replace('_', " ").trim().to_lowercase()
}

/// Clean texts of about `tokens` tokens to calibrate thresholds on: consecutive distractor paragraphs of one article
/// that MLQA does not have, joined by spaces. Languages come in turn, and each next text is of the next article.
///
/// # Errors
/// [`StudyError::Read`], [`StudyError::Load`], and [`StudyError::Embedder`] where tokens cannot be counted.
pub fn calibration_texts(
    source: &dyn Source,
    embedder: &mut dyn Embedder,
    languages: &[Language],
    count: usize,
    tokens: usize,
) -> Result<Vec<String>, StudyError> {
    let english = Pair::new(Language::English, Language::English).expect("MLQA has English");
    let known = known_titles(&Articles::from_english(&source.pair(english)?));
    let mut corpora = BTreeMap::new();
    for &language in languages {
        corpora.insert(language, source.distractors(language)?);
    }
    let mut texts = Vec::with_capacity(count);
    for (index, language) in (0..count).zip(languages.iter().cycle()) {
        let articles: Vec<&Article> = corpora[language]
            .articles
            .iter()
            .filter(|article| !known.contains(&comparable_title(&article.title)))
            .collect();
        let Some(article) = articles.get(index % articles.len().max(1)) else {
            continue;
        };
        let mut text = String::new();
        // The second time an article's turn comes, it starts further on.
        let first = (index / articles.len()) * 2;
        let paragraphs = article.paragraphs.iter();
        for paragraph in paragraphs
            .cycle()
            .skip(first)
            .take(article.paragraphs.len())
        {
            let longer = format!("{text} {}", paragraph.context);
            text = longer.trim().to_owned();
            let counted = embedder.count_tokens(&text);
            let counted = counted.map_err(|cause| StudyError::Embedder {
                doing: "counting tokens".to_owned(),
                cause,
            })?;
            if counted >= tokens {
                break;
            }
        }
        texts.push(text);
    }
    Ok(texts)
}
