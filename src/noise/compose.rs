//! N1 and N2, distractor share: a document of about `total_tokens` tokens whose four equal slots hold copies of the gold
//! crop or text about something else: any text (N1), or text as near to the document as there is (N2).
//!
//! A document is its gold crop and four slots, joined by single spaces. At level nu, `4 nu` of the slots hold
//! distractors, the rest copies of the crop cut to the same length: length does not change with the level, only what
//! fills it. A slot that is a distractor at one level is the same distractor at every higher one. The crop with the
//! answers is there at every level, at one of five places (before, between or after the slots), each place equally
//! often among the documents.
//!
//! Slot k aims at its share of what room is left, so that a slot a few tokens short makes the next a little longer.
//! Draws of a document: 0 to 2 the order in which slots turn (Fisher-Yates from the back), 8 + 2 k and 9 + 2 k the
//! distractor of slot k. Its place is the one draw that knows the other documents: documents sorted by draw 32 get the
//! places 0, 1, 2, 3, 4, 0, ... in turn.
//!
//! N2 draws among the [`HARD_COUNT`] paragraphs that BM25 puts first with the document as the query, and from those only
//! sentences that hold none of the document's answers.
//!
//! With [`Length::Growing`] a slot that is no distractor yet is empty instead of a copy: a text then grows with its
//! level, so level and length cannot be told apart.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::draws::Draws;
use super::gold::{copies, crop, prefix};
use super::pool::{DistractorPool, Open};
use super::{NoiseError, TokenCounter};

/// Slots of a document beside its gold crop.
pub const SLOT_COUNT: usize = 4;

/// Paragraphs that are nearest to a document, among which hard distractors are drawn.
pub const HARD_COUNT: usize = 16;

/// Which paragraphs a slot may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// Any (N1).
    #[default]
    Any,
    /// The nearest, without the answers (N2).
    Hard,
}

impl Choice {
    /// Name of the family in seeds.
    fn family(self) -> &'static str {
        match self {
            Self::Any => "distractor",
            Self::Hard => "hard-distractor",
        }
    }
}

/// What fills a slot that is no distractor yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Length {
    /// Copies of the gold crop: the length is the same at every level.
    #[default]
    Fixed,
    /// Nothing: texts grow with the level.
    Growing,
}

/// Share of distractor slots: 0, 1/4, 1/2, 3/4 or 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(u8);

impl Level {
    /// No distractor.
    pub const CLEAN: Self = Self(0);

    /// The level of this share.
    ///
    /// # Errors
    /// [`NoiseError::Level`] for any other number.
    pub fn new(share: f64) -> Result<Self, NoiseError> {
        // Multiples of a quarter are exact in binary: no tolerance is needed.
        let quarters =
            (0..=4_u8).find(|&quarters| (f64::from(quarters) * 0.25 - share).abs() <= 0.0);
        quarters.map(Self).ok_or(NoiseError::Level(share))
    }

    /// All five, ascending.
    #[must_use]
    pub fn all() -> [Self; 5] {
        [0, 1, 2, 3, 4].map(Self)
    }

    /// The share, nu.
    #[must_use]
    pub fn share(self) -> f64 {
        f64::from(self.0) * 0.25
    }
}

/// A document to put noise around.
#[derive(Clone, Copy, Debug)]
pub struct Passage<'a> {
    /// Id, part of the seed.
    pub id: &'a str,
    /// The whole context.
    pub text: &'a str,
    /// Byte range of every answer asked of it.
    pub answers: &'a [Range<usize>],
}

/// The family with its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DistractorShare {
    /// Tokens a document aims at.
    pub total_tokens: usize,
    /// Tokens the gold crop keeps to unless its answers need more.
    pub gold_tokens: usize,
    /// Global seed.
    pub seed: u64,
    /// Which distractors.
    pub choice: Choice,
    /// Whether length depends on the level.
    pub length: Length,
}

/// Documents composed, and what it took.
#[derive(Clone, Debug)]
pub struct Composed {
    /// One a passage, in their order.
    pub compositions: Vec<Composition>,
    /// Counts over all of them.
    pub report: Report,
}

/// One document at all levels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Composition {
    gold: String,
    gold_tokens: usize,
    /// Slots in front of the gold crop.
    gold_position: usize,
    /// In the order of the text.
    slots: Vec<Slot>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Slot {
    /// Distractor from this level on: 1 to 4 quarters.
    turns_at: u8,
    distractor: Filling,
    copy: Filling,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Filling {
    text: String,
    tokens: usize,
}

/// A document at one level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noisy {
    /// The text to embed.
    pub text: String,
    /// Bytes of `text` that are the gold crop with the answers.
    pub gold: Range<usize>,
    /// Tokens of all parts, each counted alone.
    pub tokens: usize,
    /// Tokens of the distractors among them.
    pub distractor_tokens: usize,
}

impl Noisy {
    /// Achieved level: share of distractor tokens.
    #[must_use]
    pub fn achieved(&self) -> f64 {
        let count = |tokens: usize| f64::from(u32::try_from(tokens).unwrap_or(u32::MAX));
        if self.tokens == 0 {
            0.0
        } else {
            count(self.distractor_tokens) / count(self.tokens)
        }
    }
}

/// What composing took, over all documents of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Documents.
    pub documents: usize,
    /// Gold crops that exceed their limit because their answers lie far apart.
    pub golds_grown: usize,
    /// Tokens of the longest gold crop.
    pub gold_tokens_max: usize,
    /// Documents whose gold crop leaves no token for slots: noise cannot reach them.
    pub documents_without_room: usize,
    /// Distractors cut inside a sentence because no run of whole sentences was short enough.
    pub distractors_cut: usize,
    /// Paragraphs in the pool.
    pub pool_paragraphs: usize,
    /// Different paragraphs used at level 1.
    pub paragraphs_used: usize,
    /// Slots filled with a distractor at level 1.
    pub distractors: usize,
    /// Slots the most used paragraph fills.
    pub paragraph_uses_max: usize,
    /// Hard distractors alone: (document, paragraph) pairs left out because every sentence of the paragraph holds an
    /// answer of the document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paragraphs_with_answer: Option<usize>,
}

impl DistractorShare {
    /// Composes every passage with distractors of `pool`.
    ///
    /// # Errors
    /// [`NoiseError`] for answers that are absent or outside their text, a total no greater than the gold crop's
    /// limit, or a token counter that fails.
    pub fn compose(
        &self,
        passages: &[Passage<'_>],
        pool: &DistractorPool,
        count: &mut TokenCounter<'_>,
    ) -> Result<Composed, NoiseError> {
        self.compose_some(passages, &vec![true; passages.len()], pool, count)
    }

    /// [`Self::compose`] of the wanted passages alone, in their order: each comes out as it would among all of them.
    ///
    /// # Errors
    /// Those of [`Self::compose`].
    pub fn compose_some(
        &self,
        passages: &[Passage<'_>],
        is_wanted: &[bool],
        pool: &DistractorPool,
        count: &mut TokenCounter<'_>,
    ) -> Result<Composed, NoiseError> {
        if self.total_tokens <= self.gold_tokens {
            return Err(NoiseError::Total {
                total: self.total_tokens,
                gold: self.gold_tokens,
            });
        }
        let positions = self.positions(passages);
        let mut uses: BTreeMap<usize, usize> = BTreeMap::new();
        let wanted = || is_wanted.iter().filter(|is_wanted| **is_wanted);
        let mut report = Report {
            documents: wanted().count(),
            pool_paragraphs: pool.paragraph_count(),
            paragraphs_with_answer: (self.choice == Choice::Hard).then_some(0),
            ..Report::default()
        };
        let mut compositions = Vec::with_capacity(report.documents);
        for ((passage, gold_position), &is_wanted) in passages.iter().zip(positions).zip(is_wanted)
        {
            if !is_wanted {
                continue;
            }
            compositions.push(self.compose_one(
                passage,
                gold_position,
                pool,
                count,
                &mut report,
                &mut uses,
            )?);
        }
        report.paragraphs_used = uses.len();
        report.distractors = uses.values().sum();
        report.paragraph_uses_max = uses.values().copied().max().unwrap_or(0);
        Ok(Composed {
            compositions,
            report,
        })
    }

    fn positions(&self, passages: &[Passage<'_>]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..passages.len()).collect();
        order.sort_by_cached_key(|&index| {
            (
                Draws::new(self.seed, self.choice.family(), passages[index].id).bits(32),
                index,
            )
        });
        let mut positions = vec![0; passages.len()];
        for (place, index) in order.into_iter().enumerate() {
            positions[index] = place % (SLOT_COUNT + 1);
        }
        positions
    }

    fn compose_one(
        &self,
        passage: &Passage<'_>,
        gold_position: usize,
        pool: &DistractorPool,
        count: &mut TokenCounter<'_>,
        report: &mut Report,
        uses: &mut BTreeMap<usize, usize>,
    ) -> Result<Composition, NoiseError> {
        check_answers(passage)?;
        let gold = crop(passage.text, passage.answers, self.gold_tokens, count)?;
        report.golds_grown += usize::from(gold.is_grown);
        report.gold_tokens_max = report.gold_tokens_max.max(gold.tokens);
        let gold_text = &passage.text[gold.bytes.clone()];
        let room = self.total_tokens.saturating_sub(gold.tokens);
        report.documents_without_room += usize::from(room == 0);

        let draws = Draws::new(self.seed, self.choice.family(), passage.id);
        let turns = turns(&draws);
        let answers: Vec<String> = passage
            .answers
            .iter()
            .map(|answer| passage.text[answer.clone()].to_lowercase())
            .collect();
        let nearest = match self.choice {
            Choice::Any => None,
            Choice::Hard => {
                let (nearest, left_out) = pool.nearest(passage.text, &answers, HARD_COUNT);
                *report.paragraphs_with_answer.get_or_insert(0) += left_out;
                if nearest.is_empty() {
                    return Err(NoiseError::AnswerEverywhere {
                        document: passage.id.to_owned(),
                        answers: answers.len(),
                    });
                }
                Some(nearest)
            }
        };
        let candidate_count = nearest.as_ref().map_or(pool.paragraph_count(), Vec::len);
        let mut taken: Vec<usize> = Vec::new();
        let mut filled = 0;
        let mut slots = Vec::with_capacity(SLOT_COUNT);
        for (slot, turns_at) in turns.into_iter().enumerate() {
            let target = room.saturating_sub(filled) / (SLOT_COUNT - slot);
            let counter = 8 + 2 * u64::try_from(slot).expect("four slots");
            // Every paragraph may serve once a document; a pool of fewer than four starts again.
            if taken.len() >= candidate_count {
                taken.clear();
            }
            let open = Open {
                taken: &taken,
                nearest: nearest.as_deref(),
                answers: &answers,
            };
            let distractor = match pool.draw(target, &open, &draws, counter) {
                Some(run) if target > 0 => {
                    let mut filling = Filling {
                        text: pool.text(run).to_owned(),
                        tokens: run.tokens,
                    };
                    if run.tokens > target {
                        report.distractors_cut += 1;
                        filling.text = prefix(pool.text(run), target, count)?.to_owned();
                        filling.tokens = count(&filling.text).map_err(NoiseError::Count)?;
                    }
                    taken.push(run.paragraph);
                    *uses.entry(run.paragraph).or_default() += 1;
                    filling
                }
                Some(_) | None => Filling {
                    text: String::new(),
                    tokens: 0,
                },
            };
            let text = match self.length {
                Length::Fixed => copies(gold_text, distractor.tokens, count)?,
                Length::Growing => String::new(),
            };
            let copy = Filling {
                tokens: count(&text).map_err(NoiseError::Count)?,
                text,
            };
            filled += distractor.tokens;
            slots.push(Slot {
                turns_at,
                distractor,
                copy,
            });
        }
        Ok(Composition {
            gold: gold_text.to_owned(),
            gold_tokens: gold.tokens,
            gold_position,
            slots,
        })
    }
}

fn check_answers(passage: &Passage<'_>) -> Result<(), NoiseError> {
    if passage.answers.is_empty() {
        return Err(NoiseError::NoAnswer {
            document: passage.id.to_owned(),
        });
    }
    check_ranges(passage)
}

/// Refuses answers outside their document.
pub(super) fn check_ranges(passage: &Passage<'_>) -> Result<(), NoiseError> {
    match passage
        .answers
        .iter()
        .find(|answer| answer.is_empty() || passage.text.get((*answer).clone()).is_none())
    {
        None => Ok(()),
        Some(answer) => Err(NoiseError::AnswerOutside {
            document: passage.id.to_owned(),
            start: answer.start,
            end: answer.end,
            length: passage.text.len(),
        }),
    }
}

/// Level in quarters from which each slot is a distractor: a permutation of 1, 2, 3, 4.
fn turns(draws: &Draws) -> [u8; SLOT_COUNT] {
    let mut turns = [1, 2, 3, 4];
    for (counter, last) in (0_u64..).zip((1..SLOT_COUNT).rev()) {
        turns.swap(last, draws.below(counter, last + 1));
    }
    turns
}

impl Composition {
    /// The document at `level`.
    #[must_use]
    pub fn at(&self, level: Level) -> Noisy {
        let mut noisy = Noisy {
            text: String::new(),
            gold: 0..0,
            tokens: self.gold_tokens,
            distractor_tokens: 0,
        };
        for place in 0..=self.slots.len() {
            if place == self.gold_position {
                join(&mut noisy.text, &self.gold);
                noisy.gold = noisy.text.len() - self.gold.len()..noisy.text.len();
            }
            let Some(slot) = self.slots.get(place) else {
                continue;
            };
            let is_distractor = slot.turns_at <= level.0;
            let filling = if is_distractor {
                &slot.distractor
            } else {
                &slot.copy
            };
            join(&mut noisy.text, &filling.text);
            noisy.tokens += filling.tokens;
            noisy.distractor_tokens += if is_distractor { filling.tokens } else { 0 };
        }
        noisy
    }

    /// Slots in front of the gold crop, 0 to 4.
    #[must_use]
    pub fn gold_position(&self) -> usize {
        self.gold_position
    }
}

fn join(text: &mut String, part: &str) {
    if !text.is_empty() && !part.is_empty() {
        text.push(' ');
    }
    text.push_str(part);
}

#[cfg(test)]
#[path = "compose_tests.rs"]
mod tests;
