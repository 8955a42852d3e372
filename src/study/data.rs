//! Data of a study: corpora from files, sampled collections with their clusters, pools of distractors.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;

use crate::mlqa::{Article, Articles, Corpus, Half, Language, Pair, half_of, load};
use crate::noise::Distractor;
use crate::retrieval::{Collection, Document, document_id};

use super::StudyError;
use super::embedder::Embedder;
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

/// A pair's corpus, its questions, and what goes with them.
#[derive(Clone, Debug)]
pub(super) struct PairData {
    /// The pair.
    pub(super) pair: Pair,
    /// Share of its contexts that is its corpus, in a plan that has shares.
    pub(super) share: Option<f64>,
    /// Documents, queries, judgements.
    pub(super) collection: Collection,
    /// Cluster of each query: [`document_id`] of its English article's title, so that stored results name no text.
    pub(super) clusters: Vec<String>,
}

/// Documents that are composed together: those of a pair, or of a context language.
#[derive(Clone, Debug)]
pub(super) struct DocumentSet {
    pub(super) language: Language,
    pub(super) documents: Vec<Document>,
    /// Byte ranges of the answers in each: those of every question that the pair, or any pair of the language, asks of
    /// it, whether or not the question is in the split.
    pub(super) answers: Vec<Vec<Range<usize>>>,
}

/// All that a plan needs of a source.
#[derive(Debug)]
pub(super) struct StudyData {
    /// In the order of the plan; with shares, one a (share, pair).
    pub(super) pairs: Vec<PairData>,
    /// By [`Plan::set_of`].
    pub(super) sets: BTreeMap<String, DocumentSet>,
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
        sets: BTreeMap::new(),
        distractors: BTreeMap::new(),
        distractors_left_out: 0,
    };
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
    if plan.noise == Family::Distractor {
        let known = known_titles(&articles);
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
        language,
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
        share,
        clusters: collection
            .queries
            .iter()
            .map(|query| document_id(title(&query.id)))
            .collect(),
        collection,
    })
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
