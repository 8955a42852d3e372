//! Running a study: compose, embed, rank, store, cell by cell.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::time::Instant;

use sha2::{Digest, Sha256};

use crate::mlqa::Language;
use crate::noise::{Composed, DistractorPool, DistractorShare, Level, Passage};
use crate::retrieval::ranks;

use super::StudyError;
use super::data::{PairData, Source, StudyData, gather};
use super::embedder::Embedder;
use super::plan::{Cell, Family, Plan};
use super::progress::{Event, Progress};
use super::results::{CellLine, Judgements, Writer, sha256_of_lines};

/// Texts given to the embedder at once; neighbours in length, so that padding is small.
const BATCH: usize = 16;
/// Texts the rate of an arm is measured on.
const RATE_TEXTS: usize = 4;
/// Vectors kept for texts that cells share; at 384 components 77 MB.
const CACHE_MAX: usize = 50_000;

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Cells of the plan.
    pub cells: usize,
    /// Cells made by this run.
    pub cells_made: usize,
    /// Documents embedded by this run.
    pub documents_embedded: usize,
    /// Bytes of half a line cut from the results of a killed run.
    pub cut_bytes: u64,
}

/// Runs what is not yet in `results` of `plan`, on the data of `source`.
///
/// Vectors are kept by (text, arm) while it runs, so a context that serves several pairs is embedded once. The only
/// thing in a results file that two runs can differ in is `seconds`.
///
/// # Errors
/// [`StudyError`]; results stored before it stay, and the same call goes on from them.
pub fn run(
    plan: &Plan,
    source: &dyn Source,
    embedder: &mut dyn Embedder,
    results: &Path,
    progress: &mut dyn Progress,
) -> Result<Summary, StudyError> {
    plan.check()?;
    for arm in &plan.arms {
        embedder
            .check_arm(arm)
            .map_err(|cause| StudyError::Embedder {
                doing: format!("arm {arm}"),
                cause,
            })?;
    }
    let StudyData {
        pairs,
        mut distractors,
        distractors_left_out,
    } = gather(plan, source)?;
    let mut writer = Writer::open(results, plan)?;
    if writer.cut_bytes > 0 {
        progress.event(&Event::Cut {
            bytes: writer.cut_bytes,
        });
    }
    for pair in &pairs {
        writer.judgements(judgements(pair))?;
    }
    let cells = plan.cells();
    let summary = Summary {
        cells: cells.len(),
        cut_bytes: writer.cut_bytes,
        ..Summary::default()
    };
    progress.event(&Event::Planned {
        cells: cells.len(),
        done: writer.results.cells.len(),
        distractors_left_out,
    });

    let mut run = Run {
        plan,
        embedder,
        progress,
        vectors: Vectors::default(),
        queries: HashMap::new(),
        summary,
        texts_total: 0,
        is_measured: false,
    };
    let mut pools: BTreeMap<Language, DistractorPool> = BTreeMap::new();
    let pending: Vec<Cell> = cells
        .into_iter()
        .filter(|cell| !writer.results.cells.contains_key(&cell.to_string()))
        .collect();
    let documents: BTreeMap<String, usize> = pairs
        .iter()
        .map(|pair| (pair.pair.to_string(), pair.collection.documents.len()))
        .collect();
    run.texts_total = pending.iter().map(|cell| documents[&cell.pair]).sum();

    for group in pending.chunk_by(|a, b| a.pair == b.pair && a.seed == b.seed) {
        let pair = pairs
            .iter()
            .find(|pair| pair.pair.to_string() == group[0].pair)
            .expect("cells name pairs");
        let language = pair.pair.context();
        if let Some(paragraphs) = distractors.remove(&language) {
            let noise = |error| StudyError::Noise { language, error };
            let mut count = |text: &str| run.embedder.count_tokens(text);
            let pool =
                DistractorPool::new(paragraphs, plan.total_tokens, &mut count).map_err(noise)?;
            pools.insert(language, pool);
        }
        let composed = run.compose(pair, group[0].seed, pools.get(&language))?;
        for of_level in group.chunk_by(|a, b| a.level.total_cmp(&b.level).is_eq()) {
            let texts = run.documents(pair, composed.as_ref(), of_level[0].level)?;
            if !run.is_measured {
                run.measure(&texts, &pending, &documents)?;
            }
            for cell in of_level {
                let noise = composed.as_ref().map(|composed| composed.report);
                let line = CellLine {
                    noise,
                    ..run.cell(cell, pair, &texts)?
                };
                let seconds = line.seconds;
                writer.cell(line)?;
                run.summary.cells_made += 1;
                let (key, done, total) = (
                    cell.to_string(),
                    writer.results.cells.len(),
                    run.summary.cells,
                );
                run.progress.event(&Event::Cell {
                    key: &key,
                    done,
                    total,
                    seconds,
                });
            }
        }
    }
    Ok(run.summary)
}

fn judgements(pair: &PairData) -> Judgements {
    let collection = &pair.collection;
    let of = |text: &dyn Fn(usize) -> String| -> Vec<String> {
        collection
            .judgements
            .iter()
            .map(|judgement| text(judgement.query))
            .collect()
    };
    let query_ids = of(&|query| collection.queries[query].id.clone());
    Judgements {
        pair: pair.pair.to_string(),
        documents: collection.documents.len(),
        document_ids_sha256: sha256_of_lines(
            collection
                .documents
                .iter()
                .map(|document| document.id.as_str()),
        ),
        query_ids_sha256: sha256_of_lines(query_ids.iter().map(String::as_str)),
        query_ids,
        clusters: of(&|query| pair.clusters[query].clone()),
    }
}

/// A document as it is embedded.
struct Document {
    text: String,
    tokens: usize,
    achieved: f64,
}

/// Vectors by (arm, SHA-256 of the text).
#[derive(Default)]
struct Vectors {
    by_text: HashMap<(String, [u8; 32]), (Vec<f32>, f64)>,
}

struct Run<'a> {
    plan: &'a Plan,
    embedder: &'a mut dyn Embedder,
    progress: &'a mut dyn Progress,
    vectors: Vectors,
    /// Vectors of questions by text.
    queries: HashMap<String, Vec<f32>>,
    summary: Summary,
    texts_total: usize,
    is_measured: bool,
}

fn vector_key(arm: &str, text: &str) -> (String, [u8; 32]) {
    (arm.to_owned(), Sha256::digest(text.as_bytes()).into())
}

impl Run<'_> {
    /// The pair's documents at all levels; `None` where the plan has no noise.
    fn compose(
        &mut self,
        pair: &PairData,
        seed: u64,
        pool: Option<&DistractorPool>,
    ) -> Result<Option<Composed>, StudyError> {
        let pool = match (self.plan.noise, pool) {
            (Family::None, _) | (Family::Distractor, None) => return Ok(None),
            (Family::Distractor, Some(pool)) => pool,
        };
        let passages: Vec<Passage<'_>> = pair
            .collection
            .documents
            .iter()
            .zip(&pair.answers)
            .map(|(document, answers)| Passage {
                id: &document.id,
                text: &document.text,
                answers,
            })
            .collect();
        let Plan {
            total_tokens,
            gold_tokens,
            ..
        } = *self.plan;
        let family = DistractorShare {
            total_tokens,
            gold_tokens,
            seed,
        };
        let mut count = |text: &str| self.embedder.count_tokens(text);
        let composed = family
            .compose(&passages, pool, &mut count)
            .map_err(|error| StudyError::Noise {
                language: pair.pair.context(),
                error,
            })?;
        self.progress.event(&Event::Composed {
            pair: &pair.pair.to_string(),
            seed,
            report: composed.report,
        });
        Ok(Some(composed))
    }

    fn documents(
        &mut self,
        pair: &PairData,
        composed: Option<&Composed>,
        level: f64,
    ) -> Result<Vec<Document>, StudyError> {
        let fail = |cause: String| StudyError::Embedder {
            doing: "counting tokens".to_owned(),
            cause,
        };
        let Some(Composed { compositions, .. }) = composed else {
            return pair
                .collection
                .documents
                .iter()
                .map(|document| {
                    let tokens = self.embedder.count_tokens(&document.text).map_err(fail)?;
                    Ok(Document {
                        text: document.text.clone(),
                        tokens,
                        achieved: 0.0,
                    })
                })
                .collect();
        };
        let level = Level::new(level).map_err(|error| StudyError::Noise {
            language: pair.pair.context(),
            error,
        })?;
        let noisy = compositions.iter().map(|composition| composition.at(level));
        Ok(noisy
            .map(|noisy| Document {
                achieved: noisy.achieved(),
                tokens: noisy.tokens,
                text: noisy.text,
            })
            .collect())
    }

    /// Times a few documents under each arm that has cells to make, and says how long those will take. Their vectors
    /// are kept, so nothing is done twice.
    fn measure(
        &mut self,
        documents: &[Document],
        pending: &[Cell],
        documents_of: &BTreeMap<String, usize>,
    ) -> Result<(), StudyError> {
        self.is_measured = true;
        let mut texts_of: BTreeMap<&str, usize> = BTreeMap::new();
        for cell in pending {
            *texts_of.entry(&cell.arm).or_default() += documents_of[&cell.pair];
        }
        let mut seconds = 0.0;
        for (&arm, &texts) in &texts_of {
            let few = &documents[..documents.len().min(RATE_TEXTS)];
            let start = Instant::now();
            self.embed(few, arm)?;
            seconds += start.elapsed().as_secs_f64() / count_f64(few.len()) * count_f64(texts);
        }
        let texts = self.texts_total;
        let texts_per_second = count_f64(texts) / seconds.max(1e-9);
        self.progress.event(&Event::Estimate {
            cells: pending.len(),
            texts,
            texts_per_second,
            seconds,
        });
        Ok(())
    }

    /// Makes sure that the vectors of these documents are there.
    fn embed(&mut self, documents: &[Document], arm: &str) -> Result<(), StudyError> {
        if self.vectors.by_text.len() + documents.len() > CACHE_MAX {
            self.vectors.by_text.clear();
        }
        let mut seen = BTreeSet::new();
        let mut missing: Vec<&Document> = documents
            .iter()
            .filter(|document| {
                !self
                    .vectors
                    .by_text
                    .contains_key(&vector_key(arm, &document.text))
                    && seen.insert(&document.text)
            })
            .collect();
        missing.sort_by_key(|document| std::cmp::Reverse(document.tokens));
        let fail = |cause: String| StudyError::Embedder {
            doing: format!("embedding documents under {arm}"),
            cause,
        };
        for batch in missing.chunks(BATCH) {
            let texts: Vec<String> = batch.iter().map(|document| document.text.clone()).collect();
            let embedded = self.embedder.embed_documents(&texts, arm).map_err(fail)?;
            let (vectors, densities) = (embedded.vectors.len(), embedded.densities.len());
            if vectors != texts.len() || densities != texts.len() {
                let want = texts.len();
                return Err(fail(format!(
                    "{vectors} vectors and {densities} densities for {want} texts"
                )));
            }
            for ((text, vector), density) in
                texts.iter().zip(embedded.vectors).zip(embedded.densities)
            {
                self.vectors
                    .by_text
                    .insert(vector_key(arm, text), (vector, density));
            }
            self.summary.documents_embedded += texts.len();
            let (done, total) = (self.summary.documents_embedded, self.texts_total);
            self.progress.event(&Event::Texts { done, total });
        }
        Ok(())
    }

    fn embed_queries(&mut self, pair: &PairData) -> Result<(), StudyError> {
        let texts: Vec<String> = pair
            .collection
            .queries
            .iter()
            .filter(|query| !self.queries.contains_key(&query.text))
            .map(|query| query.text.clone())
            .collect();
        let fail = |cause: String| StudyError::Embedder {
            doing: "embedding questions".to_owned(),
            cause,
        };
        for batch in texts.chunks(BATCH) {
            let vectors = self.embedder.embed_queries(batch).map_err(fail)?;
            if vectors.len() != batch.len() {
                return Err(fail(format!(
                    "{} vectors for {} texts",
                    vectors.len(),
                    batch.len()
                )));
            }
            self.queries.extend(batch.iter().cloned().zip(vectors));
        }
        Ok(())
    }

    fn cell(
        &mut self,
        cell: &Cell,
        pair: &PairData,
        documents: &[Document],
    ) -> Result<CellLine, StudyError> {
        let start = Instant::now();
        self.embed_queries(pair)?;
        self.embed(documents, &cell.arm)?;
        let embedded: Vec<&(Vec<f32>, f64)> = documents
            .iter()
            .map(|document| &self.vectors.by_text[&vector_key(&cell.arm, &document.text)])
            .collect();
        let vectors: Vec<&[f32]> = embedded
            .iter()
            .map(|(vector, _)| vector.as_slice())
            .collect();
        let queries: Vec<&[f32]> = pair
            .collection
            .queries
            .iter()
            .map(|query| self.queries[&query.text].as_slice())
            .collect();
        let ids: Vec<&str> = pair
            .collection
            .documents
            .iter()
            .map(|document| document.id.as_str())
            .collect();
        let key = cell.to_string();
        let ranked =
            ranks(&ids, &vectors, &queries, &pair.collection.judgements).map_err(|error| {
                StudyError::Retrieval {
                    key: key.clone(),
                    error,
                }
            })?;
        let narrow = |rank: u32| {
            u16::try_from(rank).expect("at most 65535 documents, checked when gathered")
        };
        Ok(CellLine {
            key,
            query_ids_sha256: judgements(pair).query_ids_sha256,
            ranks: ranked.into_iter().map(narrow).collect(),
            realised_density: mean(embedded.iter().map(|(_, density)| *density)),
            achieved_noise: mean(documents.iter().map(|document| document.achieved)),
            mean_tokens: mean(documents.iter().map(|document| count_f64(document.tokens))),
            noise: None,
            seconds: start.elapsed().as_secs_f64(),
        })
    }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = count_f64(values.len());
    values.sum::<f64>() / count
}

/// A count as a number; counts here are far below 2^32.
pub(super) fn count_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
