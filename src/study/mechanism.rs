//! Why an arm keeps or loses what it does: what it sees of the gold crop and of the sentence that answers, how much of the
//! dense softmax weight it holds, how far its vectors are from the dense ones, whose questions get another first
//! document, and how its density drifts with noise.

mod seen;

use std::ops::Range;

use crate::encoder::{Arm, ArmPlan, Role};
use crate::noise::{DistractorPool, Level, Passage, sentences};
use crate::retrieval::in_share;

use super::StudyError;
use super::cell::context_of;
use super::data::{DocumentSet, Source, StudyData, gather};
use super::embedder::Embedder;
use super::encoder::{ArmEncoder, mean};
use super::noisy::{distractor_share, noise_error};
use super::plan::Plan;
use super::run::count_f64;
use seen::Seen;

/// Means over documents, layers and heads, of one arm at one level.
#[derive(Clone, Debug, PartialEq)]
pub struct Mechanism {
    /// The arm.
    pub arm: String,
    /// Noise level.
    pub level: f64,
    /// Documents.
    pub documents: usize,
    /// Questions of the plan's split that are asked of them, in all languages.
    pub questions: usize,
    /// Share of (query, key) pairs attended.
    pub density: f64,
    /// That share less the arm's own at the plan's first level: what noise makes of thresholds that stay as they were.
    pub density_drift: f64,
    /// Share of the (query, key) pairs attended whose key is of the gold crop and whose query is not.
    pub gold_recall: f64,
    /// Share of the blocks kept, of 16 queries by 16 keys, whose keys are of a sentence that answers and whose queries are
    /// not; a block of which one pair is attended is kept.
    pub sentence_recall: f64,
    /// Share of the softmax weight over all keys that lies on attended ones, of the arm's own queries and keys; `None` where
    /// the text is attended in pieces, whose positions restart.
    pub mass: Option<f64>,
    /// Cosine of the document's vector to the dense one.
    pub cosine: f64,
    /// Share of the questions whose nearest document, of those run in its set, is another than under dense attention;
    /// `None` where no question is asked of them.
    pub top1_changes: Option<f64>,
}

/// Runs up to `count` documents of each context language of a plan (of each pair, in a plan without shares), with its
/// first seed, under those of its arms that choose pairs or take the mean of pieces.
///
/// # Errors
/// [`StudyError`]
pub fn mechanism(
    plan: &Plan,
    source: &dyn Source,
    arms: &mut ArmEncoder,
    count: usize,
    mut told: impl FnMut(usize, usize),
) -> Result<Vec<Mechanism>, StudyError> {
    if !plan.noise.is_of_distractors() {
        return Err(StudyError::NoCrop);
    }
    let data = gather(plan, source)?;
    let mut samples = Vec::new();
    for (name, set) in &data.sets {
        samples.extend(sample((plan, &data), (name.as_str(), set), arms, count)?);
    }
    let chosen: Vec<&String> = plan
        .arms
        .iter()
        .filter(|arm| arms.plan(arm).is_ok() || matches!(arms.pieces(arm, 1), Ok(Some(_))))
        .collect();
    let documents: usize = samples.iter().map(|sample| sample.ids.len()).sum();
    let sparse = chosen.iter().filter(|arm| arm.as_str() != DENSE).count();
    let total = (1 + sparse) * documents * plan.levels.len();
    let mut done = 0;
    let mut found: Vec<Mechanism> = Vec::new();
    for (place, &level) in plan.levels.iter().enumerate() {
        let mut embed = |arm: &str| {
            let mut all = Vec::with_capacity(samples.len());
            for sample in &samples {
                let mut of_set = Vec::with_capacity(sample.ids.len());
                for document in &sample.levels[place] {
                    of_set.push(embed_one(arms, document, arm)?);
                    done += 1;
                    told(done, total);
                }
                all.push(of_set);
            }
            Ok::<_, StudyError>(all)
        };
        let dense = embed(DENSE)?;
        for &arm in &chosen {
            let own = if arm == DENSE {
                None
            } else {
                Some(embed(arm)?)
            };
            let row = compared(&samples, &dense, own.as_ref().unwrap_or(&dense));
            let first = found.iter().find(|row| row.arm == *arm);
            found.push(Mechanism {
                arm: arm.clone(),
                level,
                density_drift: first.map_or(0.0, |first| row.density - first.density),
                ..row
            });
        }
    }
    Ok(found)
}

/// What all others are compared with.
const DENSE: &str = "dense";

/// The documents of a set that are run, and the questions that are asked of them.
#[derive(Debug)]
struct Sample {
    ids: Vec<String>,
    questions: Vec<Vec<f32>>,
    /// Every document at each of the plan's levels.
    levels: Vec<Vec<Gold>>,
}

/// A document's tokens, which of them are its gold crop, and which of those a sentence that answers.
#[derive(Clone, Debug)]
struct Gold {
    tokens: Vec<u32>,
    gold: Range<usize>,
    answering: Vec<Range<usize>>,
}

/// A document's vector, and what its arm saw.
type Ran = (Vec<f32>, Seen);

fn failed(doing: &str) -> impl Fn(String) -> StudyError + '_ {
    move |cause| StudyError::Embedder {
        doing: doing.to_owned(),
        cause,
    }
}

/// The sample of a set; `None` where its language has no distractors.
fn sample(
    (plan, data): (&Plan, &StudyData),
    (name, set): (&str, &DocumentSet),
    arms: &mut ArmEncoder,
    count: usize,
) -> Result<Option<Sample>, StudyError> {
    let noise = noise_error(set.language());
    let of_language = |language| data.distractors.get(&language);
    let Some(paragraphs) = set.language().and_then(of_language) else {
        return Ok(None);
    };
    let mut counter = |text: &str| arms.count_tokens(text);
    let pool =
        DistractorPool::new(paragraphs.clone(), plan.total_tokens, &mut counter).map_err(&noise)?;
    let passages = set.passages();
    let wanted = wanted(plan, &passages, count);
    let family = distractor_share(plan, plan.seeds.first().copied().unwrap_or(0));
    let composed = family
        .compose_some(&passages, &wanted, &pool, &mut counter)
        .map_err(&noise)?;
    let of_wanted = || {
        let all = passages.iter().zip(&wanted);
        all.filter(|(_, is_wanted)| **is_wanted)
            .map(|(passage, _)| passage)
    };
    let mut levels = Vec::with_capacity(plan.levels.len());
    for level in &plan.levels {
        let level = Level::new(*level).map_err(&noise)?;
        let mut of_level = Vec::with_capacity(composed.compositions.len());
        for (composition, passage) in composed.compositions.iter().zip(of_wanted()) {
            let noisy = composition.at(level);
            of_level.push(gold_of(arms, &noisy.text, &noisy.gold, passage)?);
        }
        levels.push(of_level);
    }
    let ids: Vec<String> = of_wanted().map(|passage| passage.id.to_owned()).collect();
    let questions = questions((plan, data), name, &ids);
    Ok(Some(Sample {
        questions: arms
            .embed_queries(&questions)
            .map_err(failed("embedding questions"))?,
        ids,
        levels,
    }))
}

/// The first `count` documents in the order of the shares: without regard to the questions.
fn wanted(plan: &Plan, passages: &[Passage<'_>], count: usize) -> Vec<bool> {
    let inside = |share: f64| {
        let is_in = |passage: &Passage<'_>| in_share(passage.id, share, plan.sample_seed);
        passages.iter().map(is_in).collect::<Vec<bool>>()
    };
    let mut share = 1.0;
    while inside(share * 0.8).iter().filter(|is_in| **is_in).count() >= count && share > 1e-6 {
        share *= 0.8;
    }
    let mut left = count;
    let mut wanted = inside(share);
    for is_wanted in &mut wanted {
        *is_wanted = *is_wanted && left > 0;
        left -= usize::from(*is_wanted);
    }
    wanted
}

/// Questions of the set's pairs that one of these documents answers, each once.
fn questions((plan, data): (&Plan, &StudyData), set: &str, ids: &[String]) -> Vec<String> {
    let name = |pair: &str| {
        if plan.corpus_shares.is_empty() {
            pair.to_owned()
        } else {
            context_of(pair).to_owned()
        }
    };
    let mut found = Vec::new();
    for pair in data.pairs.iter().filter(|pair| name(&pair.name) == set) {
        let collection = &pair.collection;
        let asked = collection
            .judgements
            .iter()
            .filter(|judgement| ids.contains(&collection.documents[judgement.document].id));
        found.extend(asked.map(|judgement| collection.queries[judgement.query].text.clone()));
    }
    // Every share asks the questions of the shares before it.
    found.sort_unstable();
    found.dedup();
    found
}

/// Token places of the gold crop, and of its sentences that hold an answer: those of the text up to either end, counted
/// alone. (A piece across an end makes them one off.) Where an answer is in no one sentence, the whole crop.
fn gold_of(
    arms: &ArmEncoder,
    text: &str,
    gold: &Range<usize>,
    passage: &Passage<'_>,
) -> Result<Gold, StudyError> {
    let crop = &text[gold.clone()];
    let is_answering = |span: &Range<usize>| {
        let holds =
            |answer: &Range<usize>| crop[span.clone()].contains(&passage.text[answer.clone()]);
        passage.answers.iter().any(holds)
    };
    let mut spans: Vec<Range<usize>> = sentences(crop)
        .into_iter()
        .filter(is_answering)
        .map(|span| gold.start + span.start..gold.start + span.end)
        .collect();
    if spans.is_empty() {
        spans.push(gold.clone());
    }
    spans.insert(0, gold.clone());
    let mut texts = vec![text.to_owned()];
    for span in &spans {
        texts.extend([text[..span.start].to_owned(), text[..span.end].to_owned()]);
    }
    let tokens = arms
        .tokens(&texts, Role::Passage)
        .map_err(failed("tokens of a document"))?;
    let (whole, prefixes) = tokens.split_first().expect("the text itself is there");
    // The closing token is not counted.
    let place = |tokens: &Vec<u32>| tokens.len().saturating_sub(1).min(whole.len());
    let mut ranges = prefixes.chunks_exact(2).map(|ends| {
        let (start, end) = (place(&ends[0]), place(&ends[1]));
        start.min(end)..end
    });
    Ok(Gold {
        gold: ranges.next().expect("the crop itself is there"),
        answering: ranges.collect(),
        tokens: whole.clone(),
    })
}

fn embed_one(arms: &ArmEncoder, document: &Gold, arm: &str) -> Result<Ran, StudyError> {
    let fail = failed("embedding documents");
    let mut seen = Seen::of(document.gold.clone(), document.answering.clone());
    let tokens = &document.tokens;
    if let Some(pieces) = arms.pieces(arm, tokens.len()).map_err(&fail)? {
        seen.count_pieces(tokens.len(), &pieces);
        let at = |place: &u32| tokens[usize::try_from(*place).expect("a place in a text")];
        let of_piece = |piece: &Vec<u32>| piece.iter().map(at).collect();
        let sequences: Vec<Vec<u32>> = pieces.iter().map(of_piece).collect();
        let dense = ArmPlan::uniform(Arm::Dense);
        let embedded = arms.encoder.embed(&sequences, &dense);
        let vectors = embedded.map_err(|error| fail(error.to_string()))?.vectors;
        return Ok((mean(&vectors), seen));
    }
    let plan = arms.plan(arm).map_err(&fail)?;
    let sequences = [tokens.clone()];
    let mut embedded = arms
        .encoder
        .embed_through(&sequences, &plan, &mut seen)
        .map_err(|error| fail(error.to_string()))?;
    Ok((embedded.vectors.swap_remove(0), seen))
}

/// A row without its name: an arm's runs, set by set, beside those of dense attention.
fn compared(samples: &[Sample], dense: &[Vec<Ran>], own: &[Vec<Ran>]) -> Mechanism {
    let documents: usize = samples.iter().map(|sample| sample.ids.len()).sum();
    let questions: usize = samples.iter().map(|sample| sample.questions.len()).sum();
    let all = || own.iter().flatten();
    let mean = |value: &dyn Fn(&Seen) -> f64| {
        all().map(|(_, seen)| value(seen)).sum::<f64>() / count_f64(documents.max(1))
    };
    let cosines = all().zip(dense.iter().flatten());
    let cosines = cosines.map(|((vector, _), (dense, _))| dot(vector, dense));
    let blocks = |count: &dyn Fn(&Seen) -> f64| all().map(|(_, seen)| count(seen)).sum::<f64>();
    let mut changes = 0;
    for ((sample, dense), own) in samples.iter().zip(dense).zip(own) {
        let is_changed = |question: &&Vec<f32>| nearest(question, own) != nearest(question, dense);
        changes += sample.questions.iter().filter(is_changed).count();
    }
    Mechanism {
        arm: String::new(),
        level: 0.0,
        documents,
        questions,
        density: mean(&Seen::density),
        density_drift: 0.0,
        gold_recall: mean(&Seen::gold_recall),
        // Blocks of all documents together, as a short one may have none outside its sentences.
        sentence_recall: blocks(&Seen::blocks_kept) / blocks(&Seen::blocks).max(1.0),
        mass: all()
            .map(|(_, seen)| seen.mass())
            .sum::<Option<f64>>()
            .map(|sum| sum / count_f64(documents.max(1))),
        cosine: cosines.sum::<f64>() / count_f64(documents.max(1)),
        top1_changes: (questions > 0).then(|| count_f64(changes) / count_f64(questions)),
    }
}

/// Place of the vector that is nearest to a question, the first of equal ones.
fn nearest(question: &[f32], ran: &[Ran]) -> Option<usize> {
    let scored = ran.iter().map(|(vector, _)| dot(question, vector));
    let best = scored
        .enumerate()
        .reduce(|best, next| if next.1 > best.1 { next } else { best });
    best.map(|(place, _)| place)
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(a, b)| f64::from(*a) * f64::from(*b))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_documents_are_compared_set_by_set() {
        let sample = |questions: &[[f32; 2]]| Sample {
            ids: vec!["a".to_owned(), "b".to_owned()],
            questions: questions.iter().map(|question| question.to_vec()).collect(),
            levels: Vec::new(),
        };
        let ran = |vectors: &[[f32; 2]]| -> Vec<Ran> {
            let one = |vector: &[f32; 2]| (vector.to_vec(), Seen::default());
            vectors.iter().map(one).collect()
        };
        let samples = [sample(&[[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]), sample(&[])];
        let dense = [
            ran(&[[1.0, 0.0], [0.0, 1.0]]),
            ran(&[[1.0, 0.0], [0.0, 1.0]]),
        ];
        // The first document moves away: the question between the two finds the second one nearer.
        let own = [
            ran(&[[0.6, -0.8], [0.0, 1.0]]),
            ran(&[[0.0, 1.0], [0.0, 1.0]]),
        ];
        let row = compared(&samples, &dense, &own);
        assert_eq!((row.documents, row.questions), (4, 3));
        let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
        assert!(near(row.top1_changes.unwrap(), 1.0 / 3.0), "{row:?}");
        assert!(near(row.cosine, (0.6 + 1.0 + 0.0 + 1.0) / 4.0), "{row:?}");
        let same = compared(&samples, &dense, &dense);
        assert_eq!(same.top1_changes, Some(0.0));
        let none = compared(&samples[1..], &dense[1..], &own[1..]);
        assert_eq!(none.top1_changes, None, "nobody asked");
    }
}
