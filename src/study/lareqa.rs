//! LAReQA's tasks, MLQA-R and XQuAD-R: find the sentences that answer a question, among those of one language or of all.
//!
//! A candidate is a sentence with its paragraph around it: the sentence, a line break, the paragraph, so that a text that
//! is cut keeps the sentence. A question's positives are the sentences in which its answers begin, one in every language
//! of the pool that has the question; candidates that repeat a text in another place stay apart. `all-en` searches the
//! pool of all languages, `de-en` the German candidates alone. (Roy et al., arXiv 2004.05484.)

use std::collections::{BTreeMap, BTreeSet};

use crate::mlqa::{Articles, Corpus, Half, Language, Pair, Paragraph, half_of};
use crate::noise::{Alphabet, sentences};
use crate::retrieval::{Collection, Document, Judgement, Query, document_id, sample_key};

use super::StudyError;
use super::data::{DocumentSet, PairData, Source, StudyData};
use super::noisy::noise_error;
use super::plan::{Family, POOL, Plan, Split, Task};

/// Sentences of one language.
#[derive(Debug, Default)]
struct Candidates {
    documents: Vec<Document>,
    /// Candidates that answer a question, by its id; all of them, whether sampled or not.
    answering: BTreeMap<String, Vec<Option<usize>>>,
}

pub(super) fn gather(plan: &Plan, source: &dyn Source) -> Result<StudyData, StudyError> {
    let mut corpora: BTreeMap<Language, Corpus> = BTreeMap::new();
    let pool = plan.pool_languages()?;
    let pairs = plan.pool_pairs()?;
    let named = pairs
        .iter()
        .flat_map(|(context, question)| [*context, Some(*question)]);
    let languages: BTreeSet<Language> = named.flatten().chain(pool.iter().copied()).collect();
    for language in languages {
        corpora.insert(language, source.sentences(plan.task, language)?);
    }
    let mut data = StudyData::default();
    let mut candidates: BTreeMap<Language, Candidates> = BTreeMap::new();
    for (&language, corpus) in &corpora {
        candidates.insert(language, of_language(plan, language, corpus));
        if plan.noise == Family::Characters {
            let texts = corpus.paragraphs();
            let texts = texts.map(|(_, paragraph)| paragraph.context.as_str());
            let alphabet = Alphabet::of(texts).map_err(noise_error(Some(language)))?;
            data.alphabets.insert(Some(language), alphabet);
        }
    }
    let articles = match plan.task {
        Task::MlqaR => {
            let english = Pair::new(Language::English, Language::English);
            let english = source.pair(english.expect("MLQA has English"))?;
            Some(Articles::from_english(&english))
        }
        Task::XquadR | Task::MlqaRetrieval | Task::Beir => None,
    };
    for (name, (context, question)) in plan.pairs.iter().zip(pairs) {
        let searched: Vec<Language> = context.map_or(pool.clone(), |language| vec![language]);
        let set = context.map_or(POOL.to_owned(), |language| language.code().to_owned());
        let starts: Vec<usize> = searched
            .iter()
            .scan(0, |next, language| {
                let start = *next;
                *next += candidates[language].documents.len();
                Some(start)
            })
            .collect();
        let of_set = data.sets.entry(set).or_insert_with(|| {
            let mut of_set = DocumentSet::default();
            for &language in &searched {
                let documents = &candidates[&language].documents;
                of_set.documents.extend(documents.iter().cloned());
                of_set
                    .languages
                    .extend(documents.iter().map(|_| Some(language)));
            }
            of_set.answers = vec![Vec::new(); of_set.documents.len()];
            of_set
        });
        let mut of_pair = PairData {
            name: name.clone(),
            share: None,
            collection: Collection {
                documents: of_set.documents.clone(),
                ..Collection::default()
            },
            clusters: Vec::new(),
            grades: Vec::new(),
        };
        for (article, paragraph) in corpora[&question].paragraphs() {
            for asked in &paragraph.questions {
                let title = match &articles {
                    Some(articles) => {
                        articles
                            .title(&asked.id)
                            .ok_or_else(|| StudyError::NoArticle {
                                pair: name.clone(),
                                id: asked.id.clone(),
                            })?
                    }
                    None => &article.title,
                };
                let is_asked = articles.is_none()
                    || match plan.split {
                        Split::Exploration => half_of(title) == Half::Exploration,
                        Split::Confirmation => half_of(title) == Half::Confirmation,
                        Split::All => true,
                    };
                let found = searched.iter().zip(&starts).flat_map(|(language, start)| {
                    let places = candidates[language].answering.get(&asked.id);
                    let places = places.into_iter().flatten();
                    places.map(move |place| place.map(|place| start + place))
                });
                // A question whose positives are not all in the sample would look harder than it is.
                let Some(positives) = found.collect::<Option<BTreeSet<usize>>>() else {
                    continue;
                };
                if !is_asked || positives.is_empty() {
                    continue;
                }
                let query = of_pair.collection.queries.len();
                of_pair.collection.queries.push(Query {
                    id: asked.id.clone(),
                    text: asked.text.clone(),
                });
                of_pair.clusters.push(document_id(title));
                let judged = positives
                    .into_iter()
                    .map(|document| Judgement { query, document });
                of_pair.collection.judgements.extend(judged);
            }
        }
        data.pairs.push(of_pair.with_queries_of(plan)?);
    }
    Ok(data)
}

fn of_language(plan: &Plan, language: Language, corpus: &Corpus) -> Candidates {
    let kept = sampled(plan, corpus);
    let mut found = Candidates::default();
    for (index, (_, paragraph)) in corpus.paragraphs().enumerate() {
        let first = found.documents.len();
        let spans = paragraph
            .sentences
            .clone()
            .unwrap_or_else(|| sentences(&paragraph.context));
        if kept.contains(&index) {
            found.documents.extend(spans.iter().map(|span| {
                let text = format!(
                    "{}\n{}",
                    &paragraph.context[span.clone()],
                    paragraph.context
                );
                Document {
                    id: document_id(&format!("{language} {span:?} {text}")),
                    text,
                }
            }));
        }
        for question in &paragraph.questions {
            for answer in &question.answers {
                // The sentence the answer begins in, or the next if that is the space between two.
                let place = spans
                    .iter()
                    .position(|span| answer.bytes.start < span.end)
                    .unwrap_or(spans.len().saturating_sub(1));
                let place = kept.contains(&index).then_some(first + place);
                let of_question = found.answering.entry(question.id.clone()).or_default();
                of_question.push(place);
            }
        }
    }
    found
}

/// Places of the paragraphs in the sample: those with the least [`sample_key`] of a question, so that paragraphs which
/// share their questions are in it, or not, in every language.
fn sampled(plan: &Plan, corpus: &Corpus) -> BTreeSet<usize> {
    let key = |paragraph: &Paragraph| {
        let ids = paragraph.questions.iter();
        ids.map(|question| sample_key(plan.sample_seed, &question.id))
            .min()
    };
    let mut order: Vec<(Option<[u8; 32]>, usize)> = corpus
        .paragraphs()
        .enumerate()
        .map(|(index, (_, paragraph))| (key(paragraph), index))
        .collect();
    order.sort_unstable();
    order.truncate(plan.contexts_per_pair.unwrap_or(order.len()));
    order.into_iter().map(|(_, index)| index).collect()
}
