//! The documents of a set as they are embedded: clean, or with the plan's noise at a level.

use std::collections::BTreeMap;

use crate::convert::usize_to_f64;
use crate::mlqa::Language;
use crate::noise::{
    CharacterNoise, CharacterReport, Choice, Composed, DistractorPool, DistractorShare, Level,
    NoiseError, Passage, Report,
};

use super::StudyError;
use super::data::{DocumentSet, StudyData};
use super::embedder::{Embedder, Shift};
use super::plan::{Family, Plan};

/// A document as it is embedded.
#[derive(Clone, Debug)]
pub(super) struct Document {
    pub(super) text: String,
    pub(super) tokens: usize,
    /// Share of distractor tokens, character error rate, or relative deviation of the embeddings.
    pub(super) achieved: f64,
    /// What is added to its embeddings.
    pub(super) shift: Option<Shift>,
}

/// The wanted documents of a set, ready for every level of a seed.
#[derive(Debug)]
pub(super) struct Prepared<'a> {
    plan: &'a Plan,
    data: &'a StudyData,
    set: &'a DocumentSet,
    is_wanted: Vec<bool>,
    seed: u64,
    composed: Option<Composed>,
}

/// Documents by id, and what their noise took.
#[derive(Debug)]
pub(super) struct AtLevel<'a> {
    pub(super) documents: BTreeMap<&'a str, Document>,
    pub(super) characters: Option<CharacterReport>,
}

/// The distractor family of a plan.
pub(super) fn distractor_share(plan: &Plan, seed: u64) -> DistractorShare {
    DistractorShare {
        total_tokens: plan.total_tokens,
        gold_tokens: plan.gold_tokens,
        seed,
        choice: match plan.noise {
            Family::HardDistractor => Choice::Hard,
            Family::None | Family::Distractor | Family::Characters | Family::Embedding => {
                Choice::Any
            }
        },
        length: plan.length,
    }
}

/// How an error names documents of a language, or of none that is known.
pub(super) fn noise_error(language: Option<Language>) -> impl Fn(NoiseError) -> StudyError {
    move |error| StudyError::Noise {
        documents: language.map_or("the folder".to_owned(), |language| language.to_string()),
        error,
    }
}

impl DocumentSet {
    /// Its documents with their answers.
    pub(super) fn passages(&self) -> Vec<Passage<'_>> {
        let documents = self.documents.iter().zip(&self.answers);
        documents
            .map(|(document, answers)| Passage {
                id: &document.id,
                text: &document.text,
                answers,
            })
            .collect()
    }
}

impl<'a> Prepared<'a> {
    pub(super) fn new(
        (plan, data): (&'a Plan, &'a StudyData),
        set: &'a DocumentSet,
        is_wanted: Vec<bool>,
        seed: u64,
        pool: Option<&DistractorPool>,
        embedder: &mut dyn Embedder,
    ) -> Result<Self, StudyError> {
        let composed = match pool {
            Some(pool) if plan.noise.is_of_distractors() => {
                let mut count = |text: &str| embedder.count_tokens(text);
                let composed = distractor_share(plan, seed)
                    .compose_some(&set.passages(), &is_wanted, pool, &mut count)
                    .map_err(noise_error(set.language()))?;
                Some(composed)
            }
            Some(_) | None => None,
        };
        Ok(Self {
            plan,
            data,
            set,
            is_wanted,
            seed,
            composed,
        })
    }

    /// What composing took; nothing was composed without distractors.
    pub(super) fn report(&self) -> Option<Report> {
        self.composed.as_ref().map(|composed| composed.report)
    }

    pub(super) fn at(
        &self,
        level: f64,
        embedder: &mut dyn Embedder,
    ) -> Result<AtLevel<'a>, StudyError> {
        let mut found = AtLevel {
            documents: BTreeMap::new(),
            characters: None,
        };
        if let Some(composed) = &self.composed {
            let level = Level::new(level).map_err(noise_error(self.set.language()))?;
            let wanted = self.wanted().map(|(id, _)| id);
            for (id, composition) in wanted.zip(&composed.compositions) {
                let noisy = composition.at(level);
                let made = Document {
                    achieved: noisy.achieved(),
                    tokens: noisy.tokens,
                    text: noisy.text,
                    shift: None,
                };
                found.documents.insert(id, made);
            }
            return Ok(found);
        }
        let mut characters = CharacterReport::default();
        for (id, index) in self.wanted() {
            let made = self.whole(index, level, embedder, &mut characters)?;
            found.documents.insert(id, made);
        }
        found.characters = (self.plan.noise == Family::Characters).then_some(characters);
        Ok(found)
    }

    /// Ids and places of the wanted documents.
    fn wanted(&self) -> impl Iterator<Item = (&'a str, usize)> {
        let all = self.set.documents.iter().enumerate().zip(&self.is_wanted);
        all.filter(|(_, is_wanted)| **is_wanted)
            .map(|((index, document), _)| (document.id.as_str(), index))
    }

    /// A whole context, with errors in its characters or noise on its embeddings.
    fn whole(
        &self,
        index: usize,
        level: f64,
        embedder: &mut dyn Embedder,
        characters: &mut CharacterReport,
    ) -> Result<Document, StudyError> {
        let (document, language) = (&self.set.documents[index], self.set.languages[index]);
        let answers = &self.set.answers[index];
        let fail = |doing: &'static str| {
            move |cause: String| StudyError::Embedder {
                doing: doing.to_owned(),
                cause,
            }
        };
        let mut text = document.text.clone();
        let mut achieved = 0.0;
        let mut shift = None;
        match self.plan.noise {
            Family::None | Family::Distractor | Family::HardDistractor => {}
            Family::Characters => {
                let family = CharacterNoise {
                    seed: self.seed,
                    is_protecting: self.plan.protect_answers,
                    alphabet: &self.data.alphabets[&language],
                };
                let passage = Passage {
                    id: &document.id,
                    text: &document.text,
                    answers,
                };
                let garbled = family
                    .apply(&passage, level)
                    .map_err(noise_error(language))?;
                achieved = garbled.report.achieved();
                characters.add(&garbled.report);
                // A text that lost everything has nothing to embed but its prefix.
                text = garbled.text;
            }
            Family::Embedding if level > 0.0 => {
                let of_document = Shift {
                    document: document.id.clone(),
                    seed: self.seed,
                    sigma: level,
                    protected: if self.plan.protect_answers {
                        answers.clone()
                    } else {
                        Vec::new()
                    },
                };
                achieved = embedder
                    .shift_rms(&text, &of_document)
                    .map_err(fail("noise on embeddings"))?;
                shift = Some(of_document);
            }
            // At level 0 nothing is added, and the vectors are those of the clean text.
            Family::Embedding => {}
        }
        let tokens = embedder
            .count_tokens(&text)
            .map_err(fail("counting tokens"))?;
        Ok(Document {
            text,
            tokens,
            achieved,
            shift,
        })
    }
}

/// Mean over documents of what was achieved.
pub(super) fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = usize_to_f64(values.len());
    values.sum::<f64>() / count
}
