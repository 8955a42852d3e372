//! Why an arm keeps or loses what it does: what it sees of the gold crop, how much of the dense softmax weight it holds,
//! how far its vectors are from the dense ones, and how its density drifts with noise.

use std::ops::Range;

use flashproof_reference::Layout;

use crate::backend::native::NativeInputs;
use crate::convert::usize_to_f64;
use crate::encoder::{AttentionBackend, AttentionFailure, Native, Role, Site};
use crate::noise::{DistractorPool, Level, Passage};
use crate::retrieval::in_share;
use crate::simd::matmul::{View, matmul};

use super::StudyError;
use super::data::{Source, gather};
use super::embedder::Embedder;
use super::encoder::ArmEncoder;
use super::noisy::{distractor_share, noise_error};
use super::plan::Plan;
use super::run::count_f64;

/// Means over documents, layers and heads, of one arm at one level.
#[derive(Clone, Debug, PartialEq)]
pub struct Mechanism {
    /// The arm.
    pub arm: String,
    /// Noise level.
    pub level: f64,
    /// Documents.
    pub documents: usize,
    /// Share of (query, key) pairs attended.
    pub density: f64,
    /// Share of the (query, key) pairs attended whose key is of the gold crop and whose query is not.
    pub gold_recall: f64,
    /// Share of the softmax weight over all keys that lies on attended ones, of the arm's own queries and keys.
    pub mass: f64,
    /// Cosine of the document's vector to the dense one.
    pub cosine: f64,
}

/// Runs up to `count` documents of each context language of a plan, with its first seed, under those of its arms that
/// choose pairs.
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
    let seed = plan.seeds.first().copied().unwrap_or(0);
    let mut documents: Vec<Vec<Gold>> = vec![Vec::new(); plan.levels.len()];
    for set in data.sets.values() {
        let noise = noise_error(set.language());
        let of_language = |language| data.distractors.get(&language);
        let Some(paragraphs) = set.language().and_then(of_language) else {
            continue;
        };
        let mut counter = |text: &str| arms.count_tokens(text);
        let pool = DistractorPool::new(paragraphs.clone(), plan.total_tokens, &mut counter)
            .map_err(&noise)?;
        let passages = set.passages();
        // The first in the order of the shares: without regard to the questions.
        let mut share = 1.0;
        let inside = |share: f64| {
            let is_in = |passage: &Passage<'_>| in_share(passage.id, share, plan.sample_seed);
            passages.iter().map(is_in).collect::<Vec<bool>>()
        };
        while inside(share * 0.8).iter().filter(|is_in| **is_in).count() >= count && share > 1e-6 {
            share *= 0.8;
        }
        let mut left = count;
        let mut wanted = inside(share);
        for is_wanted in &mut wanted {
            *is_wanted = *is_wanted && left > 0;
            left -= usize::from(*is_wanted);
        }
        let family = distractor_share(plan, seed);
        let composed = family
            .compose_some(&passages, &wanted, &pool, &mut counter)
            .map_err(&noise)?;
        for (level, of_level) in plan.levels.iter().zip(&mut documents) {
            let level = Level::new(*level).map_err(&noise)?;
            for composition in &composed.compositions {
                let noisy = composition.at(level);
                of_level.push(gold_of(arms, &noisy.text, &noisy.gold)?);
            }
        }
    }
    let chosen: Vec<&String> = plan
        .arms
        .iter()
        .filter(|arm| arms.plan(arm).is_ok())
        .collect();
    let total = chosen.len() * documents.iter().map(Vec::len).sum::<usize>();
    let mut done = 0;
    let mut found = Vec::new();
    for (&level, documents) in plan.levels.iter().zip(&documents) {
        let mut dense: Vec<Vec<f32>> = Vec::new();
        for document in documents {
            dense.push(embed(arms, document, "dense")?.0);
        }
        for &arm in &chosen {
            let mut sums = [0.0; 4];
            for (document, dense) in documents.iter().zip(&dense) {
                let (vector, seen) = embed(arms, document, arm)?;
                let cosine: f64 = vector
                    .iter()
                    .zip(dense)
                    .map(|(a, b)| f64::from(*a) * f64::from(*b))
                    .sum();
                let all = [
                    seen.density / seen.heads,
                    seen.gold / seen.heads,
                    seen.mass / seen.heads,
                    cosine,
                ];
                for (sum, value) in sums.iter_mut().zip(all) {
                    *sum += value;
                }
                done += 1;
                told(done, total);
            }
            let [density, gold_recall, mass, cosine] =
                sums.map(|sum| sum / count_f64(documents.len().max(1)));
            found.push(Mechanism {
                arm: arm.clone(),
                level,
                documents: documents.len(),
                density,
                gold_recall,
                mass,
                cosine,
            });
        }
    }
    Ok(found)
}

/// A document's tokens and which of them are its gold crop.
#[derive(Clone, Debug)]
struct Gold {
    tokens: Vec<u32>,
    gold: Range<usize>,
}

fn failed(doing: &str) -> impl Fn(String) -> StudyError + '_ {
    move |cause| StudyError::Embedder {
        doing: doing.to_owned(),
        cause,
    }
}

/// Token places of the gold crop: those of the text up to either end of it, counted alone. (A piece across an end makes
/// them one off.)
fn gold_of(arms: &ArmEncoder, text: &str, gold: &Range<usize>) -> Result<Gold, StudyError> {
    let fail = failed("tokens of a document");
    let texts = [text, &text[..gold.start], &text[..gold.end]].map(str::to_owned);
    let mut tokens = arms.tokens(&texts, Role::Passage).map_err(fail)?;
    let whole = tokens.swap_remove(0);
    // After the swap the text up to the end comes first; the closing token is not counted.
    let place = |tokens: &Vec<u32>| tokens.len().saturating_sub(1).min(whole.len());
    let (end, start) = (place(&tokens[0]), place(&tokens[1]));
    Ok(Gold {
        gold: start.min(end)..end,
        tokens: whole,
    })
}

fn embed(arms: &ArmEncoder, document: &Gold, arm: &str) -> Result<(Vec<f32>, Seen), StudyError> {
    let fail = failed("embedding documents");
    let mut seen = Seen {
        range: document.gold.clone(),
        ..Seen::default()
    };
    let plan = arms.plan(arm).map_err(&fail)?;
    let sequences = [document.tokens.clone()];
    let mut embedded = arms
        .encoder
        .embed_through(&sequences, &plan, &mut seen)
        .map_err(|error| fail(error.to_string()))?;
    Ok((embedded.vectors.swap_remove(0), seen))
}

/// Sums over heads and layers.
#[derive(Debug, Default)]
struct Seen {
    range: Range<usize>,
    heads: f64,
    density: f64,
    gold: f64,
    mass: f64,
}

impl AttentionBackend for Seen {
    fn attention(
        &mut self,
        site: Site,
        inputs: &NativeInputs<'_>,
        layout: &Layout,
        o: &mut [f32],
    ) -> Result<(), AttentionFailure> {
        let (n, head_dim) = (inputs.shape.seqlen_q, inputs.shape.head_dim);
        let mut scores = vec![0.0_f32; n * n];
        let heads = inputs
            .q
            .chunks_exact(n * head_dim)
            .zip(inputs.k.chunks_exact(n * head_dim));
        for (head, (q, k)) in heads.enumerate() {
            let keys = View::row_major(k, n, head_dim).transposed();
            matmul(View::row_major(q, n, head_dim), keys, &mut scores);
            let (mut pairs, mut gold, mut mass) = (0, 0, 0.0);
            for (query, row) in scores.chunks_exact(n).enumerate() {
                let row_max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let weight = |score: &f32| ((score - row_max) * inputs.scale).exp();
                let all: f32 = row.iter().map(weight).sum();
                let mut held = 0.0;
                for keys in layout.visible_keys(head, query) {
                    pairs += keys.len();
                    held += row[keys.clone()].iter().map(weight).sum::<f32>();
                    if !self.range.contains(&query) {
                        let first = keys.start.max(self.range.start);
                        gold += keys.end.min(self.range.end).saturating_sub(first);
                    }
                }
                mass += f64::from(held / all);
            }
            let outside = n - self.range.len();
            self.heads += 1.0;
            self.density += usize_to_f64(pairs) / usize_to_f64(n * n);
            self.gold += usize_to_f64(gold) / usize_to_f64((outside * self.range.len()).max(1));
            self.mass += mass / usize_to_f64(n);
        }
        Native.attention(site, inputs, layout, o)
    }
}
