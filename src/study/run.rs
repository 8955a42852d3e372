//! Running a study: compose, embed, rank, store, cell by cell.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::mlqa::Language;
use crate::noise::DistractorPool;
use crate::retrieval::{document_id, in_share, ranks, trec_ranks};

use super::StudyError;
use super::cell::{Cell, Shard};
use super::data::{PairData, Source, StudyData, gather};
use super::embedder::Embedder;
use super::noisy::{Document, Prepared, mean, noise_error};
use super::plan::{Plan, Task};
use super::progress::{Event, Progress};
use super::rankings;
use super::results::{CellLine, Judgements, Writer, sha256_of_lines, six_decimals};
use super::vectors::{Vectors, Wanted};

/// Documents timed before a run, under each arm.
const RATE_TEXTS: usize = 4;

/// How a plan is run.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// The part of the cells to make; all if absent.
    pub shard: Option<Shard>,
    /// File that keeps vectors between runs; none are kept if absent.
    pub vectors: Option<PathBuf>,
    /// Folder for the rankings of every cell made, and the judgements of every pair, in TREC's formats.
    pub rankings: Option<PathBuf>,
}

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Cells of the plan, or of the shard.
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
/// A context that serves several pairs is embedded once. While cells are missing, two runs' files can differ in
/// `seconds` and in the order of lines; a file that has all cells is a function of the plan and the data.
///
/// # Errors
/// [`StudyError`]; results stored before it stay, and the same call goes on from them.
pub fn run(
    plan: &Plan,
    source: &dyn Source,
    embedder: &mut dyn Embedder,
    results: &Path,
    options: &RunOptions,
    progress: &mut dyn Progress,
) -> Result<Summary, StudyError> {
    plan.check()?;
    let check = |arm: &str| {
        embedder
            .check_arm(arm)
            .map_err(|cause| StudyError::Embedder {
                doing: format!("arm {arm}"),
                cause,
            })
    };
    // An arm with a `*` is one a language, which the data says.
    let (own, common): (Vec<&String>, Vec<&String>) =
        plan.arms.iter().partition(|arm| arm.contains('*'));
    for arm in common {
        check(arm)?;
    }
    let data = gather(plan, source)?;
    for arm in own {
        for set in data.sets.values() {
            check(&arm_of(arm, set.language())?)?;
        }
    }
    let mut writer = Writer::open(results, plan)?;
    if writer.cut_bytes > 0 {
        progress.event(&Event::Cut {
            bytes: writer.cut_bytes,
        });
    }
    for pair in &data.pairs {
        if let Some(folder) = &options.rankings {
            rankings::write_qrels(folder, pair)?;
        }
        writer.judgements(judgements(pair, plan.task))?;
    }
    let cells = plan.cells_of(options.shard.unwrap_or(Shard::WHOLE));
    let mut pending = cells.clone();
    pending.retain(|cell| !writer.results.cells.contains_key(&cell.to_string()));
    progress.event(&Event::Planned {
        cells: cells.len(),
        done: cells.len() - pending.len(),
        distractors_left_out: data.distractors_left_out,
    });
    let mut run = Run {
        plan,
        embedder,
        progress,
        vectors: Vectors::open(&plan.encoder(), options.vectors.as_deref())?,
        summary: Summary {
            cells: cells.len(),
            cut_bytes: writer.cut_bytes,
            ..Summary::default()
        },
        is_measured: false,
        rankings: options.rankings.clone(),
        data: &data,
        texts_of: BTreeMap::new(),
    };
    run.count_texts(&pending);
    run.cells(&pending, &mut writer)?;
    let summary = run.summary;
    if writer.results.cells.len() == plan.cells().len() {
        writer.finish()?;
    }
    Ok(summary)
}

/// The arm for documents of a language: `*` stands for its code.
fn arm_of(arm: &str, language: Option<Language>) -> Result<String, StudyError> {
    match language {
        _ if !arm.contains('*') => Ok(arm.to_owned()),
        Some(language) => Ok(arm.replace('*', language.code())),
        None => Err(StudyError::Embedder {
            doing: format!("arm {arm}"),
            cause: "its * stands for the language of the documents, which here are of several or of none that is known"
                .to_owned(),
        }),
    }
}

fn judgements(pair: &PairData, task: Task) -> Judgements {
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
        pair: pair.name.clone(),
        share: pair.share,
        documents: collection.documents.len(),
        document_ids_sha256: match task {
            Task::MlqaRetrieval | Task::MlqaR | Task::XquadR => {
                let documents = collection.documents.iter();
                sha256_of_lines(documents.map(|document| document.id.as_str()))
            }
            // A folder's ids are its own and say nothing of its texts.
            Task::Beir => {
                let documents = collection.documents.iter();
                let lines: Vec<String> = documents
                    .map(|document| format!("{} {}", document.id, document_id(&document.text)))
                    .collect();
                sha256_of_lines(lines.iter().map(String::as_str))
            }
        },
        query_ids_sha256: sha256_of_lines(query_ids.iter().map(String::as_str)),
        questions_sha256: Some(sha256_of_lines(
            of(&|query| {
                let question = &collection.queries[query];
                format!("{} {}", question.id, document_id(&question.text))
            })
            .iter()
            .map(String::as_str),
        )),
        query_ids,
        clusters: of(&|query| pair.clusters[query].clone()),
        grades: pair.grades.clone(),
    }
}

struct Run<'a> {
    plan: &'a Plan,
    embedder: &'a mut dyn Embedder,
    progress: &'a mut dyn Progress,
    vectors: Vectors,
    summary: Summary,
    is_measured: bool,
    rankings: Option<PathBuf>,
    data: &'a StudyData,
    /// Texts to embed under each arm, at most.
    texts_of: BTreeMap<String, usize>,
}

impl Run<'_> {
    /// Texts of the cells, those of smaller shares and of other pairs of a set not counted again.
    fn count_texts(&mut self, pending: &[Cell]) {
        let plan = self.plan;
        let is_same_unit = |a: &Cell, b: &Cell| {
            (a.seed, &a.arm, plan.set_of(a)) == (b.seed, &b.arm, plan.set_of(b))
                && a.level.total_cmp(&b.level).is_eq()
                && a.share == b.share
        };
        for unit in pending.chunk_by(is_same_unit) {
            let set = &self.data.sets[&plan.set_of(&unit[0])];
            let before = plan
                .corpus_shares
                .iter()
                .rfind(|share| unit[0].share.is_some_and(|this| **share < this));
            let inside = |id: &str, share: Option<f64>| {
                share.is_none_or(|share| in_share(id, share, plan.sample_seed))
            };
            let texts = set
                .documents
                .iter()
                .filter(|document| inside(&document.id, unit[0].share))
                .filter(|document| before.is_none_or(|before| !inside(&document.id, Some(*before))))
                .count();
            *self.texts_of.entry(unit[0].arm.clone()).or_default() += texts;
        }
    }

    fn cells(&mut self, pending: &[Cell], writer: &mut Writer) -> Result<(), StudyError> {
        let (plan, data) = (self.plan, self.data);
        let mut pools: BTreeMap<Language, DistractorPool> = BTreeMap::new();
        let is_composed_together = |a: &Cell, b: &Cell| {
            plan.set_of(a) == plan.set_of(b) && a.seed == b.seed && a.share == b.share
        };
        for group in pending.chunk_by(is_composed_together) {
            let name = plan.set_of(&group[0]);
            let set = &data.sets[&name];
            let language = set.language();
            if let Some(language) = language
                && let Some(paragraphs) = data.distractors.get(&language)
                && !pools.contains_key(&language)
            {
                let mut count = |text: &str| self.embedder.count_tokens(text);
                let pool = DistractorPool::new(paragraphs.clone(), plan.total_tokens, &mut count)
                    .map_err(noise_error(Some(language)))?;
                pools.insert(language, pool);
            }
            let is_wanted: Vec<bool> = set
                .documents
                .iter()
                .map(|document| {
                    group[0]
                        .share
                        .is_none_or(|share| in_share(&document.id, share, plan.sample_seed))
                })
                .collect();
            let pool = language.and_then(|language| pools.get(&language));
            let seed = group[0].seed;
            let prepared = Prepared::new((plan, data), set, is_wanted, seed, pool, self.embedder)?;
            if let Some(report) = prepared.report() {
                self.progress.event(&Event::Composed {
                    set: &name,
                    seed,
                    report,
                });
            }
            for of_level in group.chunk_by(|a, b| a.level.total_cmp(&b.level).is_eq()) {
                let at_level = prepared.at(of_level[0].level, self.embedder)?;
                let documents = &at_level.documents;
                if !self.is_measured {
                    let few: Vec<Document> = documents.values().take(RATE_TEXTS).cloned().collect();
                    self.measure(&few, language, pending.len())?;
                }
                for cell in of_level {
                    let pair = data
                        .pairs
                        .iter()
                        .find(|pair| pair.name == cell.pair && pair.share == cell.share)
                        .expect("cells name pairs of the plan");
                    let is_first = plan.tells_noise(cell);
                    let line = CellLine {
                        noise: prepared.report().filter(|_| is_first),
                        characters: at_level.characters.filter(|_| is_first),
                        ..self.cell(cell, (pair, language), documents)?
                    };
                    let seconds = line.seconds.unwrap_or(0.0);
                    writer.cell(line)?;
                    self.summary.cells_made += 1;
                    let total = self.summary.cells;
                    self.progress.event(&Event::Cell {
                        key: &cell.to_string(),
                        done: total - pending.len() + self.summary.cells_made,
                        total,
                        seconds,
                    });
                }
            }
        }
        Ok(())
    }

    /// Times a few documents under each arm that has cells to make, and says how long those will take. Their vectors
    /// are kept, so nothing is done twice.
    fn measure(
        &mut self,
        few: &[Document],
        language: Option<Language>,
        cells: usize,
    ) -> Result<(), StudyError> {
        self.is_measured = true;
        let mut seconds = 0.0;
        for (arm, texts) in self.texts_of.clone() {
            let (before, start) = (self.summary.documents_embedded, Instant::now());
            let arm = arm_of(&arm, language)?;
            self.embed(&few.iter().collect::<Vec<_>>(), &arm)?;
            let embedded = self.summary.documents_embedded - before;
            // Vectors that an earlier run left take no time: then the rate of the other arms must do.
            if embedded > 0 {
                seconds += start.elapsed().as_secs_f64() / count_f64(embedded) * count_f64(texts);
            }
        }
        let texts = self.texts_total();
        // All vectors may be there already: then there is nothing to time and nothing to wait for.
        let texts_per_second = count_f64(texts) / seconds.max(1e-3);
        self.progress.event(&Event::Estimate {
            cells,
            texts,
            texts_per_second,
            seconds: seconds.max(1e-3),
        });
        Ok(())
    }

    fn texts_total(&self) -> usize {
        self.texts_of.values().sum()
    }

    /// Makes sure that the vectors of these documents are there.
    fn embed(&mut self, documents: &[&Document], arm: &str) -> Result<(), StudyError> {
        let wanted: Vec<Wanted<'_>> = documents
            .iter()
            .map(|document| Wanted {
                text: &document.text,
                tokens: document.tokens,
                shift: document.shift.as_ref(),
            })
            .collect();
        let total = self.texts_total();
        let (summary, progress) = (&mut self.summary, &mut *self.progress);
        self.vectors.documents(self.embedder, &wanted, arm, |made| {
            summary.documents_embedded += made;
            let done = summary.documents_embedded;
            progress.event(&Event::Texts {
                done,
                total: total.max(done),
            });
        })
    }

    fn cell(
        &mut self,
        cell: &Cell,
        (pair, language): (&PairData, Option<Language>),
        documents: &BTreeMap<&str, Document>,
    ) -> Result<CellLine, StudyError> {
        let start = Instant::now();
        let arm = arm_of(&cell.arm, language)?;
        let collection = &pair.collection;
        let questions: Vec<&str> = collection
            .queries
            .iter()
            .map(|query| query.text.as_str())
            .collect();
        self.vectors.questions(self.embedder, &questions)?;
        let ids: Vec<&str> = collection
            .documents
            .iter()
            .map(|document| document.id.as_str())
            .collect();
        let documents: Vec<&Document> = ids.iter().map(|id| &documents[id]).collect();
        self.embed(&documents, &arm)?;
        let embedded: Vec<&(Vec<f32>, f64)> = documents
            .iter()
            .map(|document| {
                let shift = document.shift.as_ref();
                self.vectors.of_document(&document.text, &arm, shift)
            })
            .collect();
        let vectors: Vec<&[f32]> = embedded
            .iter()
            .map(|(vector, _)| vector.as_slice())
            .collect();
        let queries: Vec<&[f32]> = questions
            .iter()
            .map(|question| self.vectors.of_question(question))
            .collect();
        let key = cell.to_string();
        let refuse = |error| StudyError::Retrieval {
            key: key.clone(),
            error,
        };
        let judged = &collection.judgements;
        let is_trec = self.plan.task == Task::Beir;
        let ranked = if is_trec || self.rankings.is_some() {
            let depth = self.rankings.as_ref().map_or(0, |_| rankings::DEPTH);
            let (ranked, first) =
                trec_ranks(&ids, &vectors, &queries, judged, depth).map_err(refuse)?;
            if let Some(folder) = &self.rankings {
                rankings::write_run(folder, cell, pair, &first)?;
            }
            // A folder's scores are trec_eval's; the others' ranks are those of the exact scores.
            if is_trec { Some(ranked) } else { None }
        } else {
            None
        };
        let ranked = match ranked {
            Some(ranked) => ranked,
            None => ranks(&ids, &vectors, &queries, judged).map_err(refuse)?,
        };
        let narrow = |rank: u32| {
            u16::try_from(rank).expect("at most 65535 documents, checked when gathered")
        };
        Ok(CellLine {
            key,
            query_ids_sha256: judgements(pair, self.plan.task).query_ids_sha256,
            ranks: ranked.into_iter().map(narrow).collect(),
            realised_density: six_decimals(mean(embedded.iter().map(|(_, density)| *density))),
            achieved_noise: six_decimals(mean(documents.iter().map(|document| document.achieved))),
            mean_tokens: six_decimals(mean(
                documents.iter().map(|document| count_f64(document.tokens)),
            )),
            noise: None,
            characters: None,
            seconds: Some(start.elapsed().as_secs_f64()),
        })
    }
}

/// A count as a number; counts here are far below 2^32.
pub(super) fn count_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
