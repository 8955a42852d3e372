//! The encoder as a study's embedder: documents under an arm, questions dense, texts with the model's prefixes and cut as
//! the published models cut them.
//!
//! Besides the arms of [`Arm`], which choose pairs inside a text, there are three that cut the text itself and are dense in
//! what is left: `chunked:F` (equal pieces, positions restart in each, mean of their vectors), `chunked-best:F` (the same
//! pieces, the one nearest to the question) and `truncated:F` (the first tokens). All take the share `F` of dense
//! attention's FLOPs, so they need no mask and no special kernel.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::convert::{f64_to_f32, usize_to_f64};
use crate::encoder::{Arm, ArmPlan, Encoder, Role, Thresholds};
use crate::noise::Normals;

use super::embedder::{Embedded, Embedder, Shift};

/// An encoder with the thresholds that its `bsfa:D:BLOCK:NAME` arms decide by.
#[derive(Debug)]
pub struct ArmEncoder {
    /// The encoder.
    pub encoder: Encoder,
    /// Thresholds and the SHA-256 of their file, by name.
    pub thresholds: BTreeMap<String, (Arc<Thresholds>, String)>,
    /// The encoder's, once it was asked for.
    word_rms: Option<f64>,
}

/// How a study embeds a document.
enum StudyArm {
    /// The whole text, pairs chosen in every layer.
    Attention(ArmPlan),
    /// Pieces of the text, dense, with this share of the pairs of all; their mean, or every piece for itself.
    Chunked { share: f64, is_best: bool },
    /// The first tokens, dense, with this share of the pairs of all.
    Truncated(f64),
}

impl ArmEncoder {
    /// An encoder without thresholds.
    #[must_use]
    pub fn new(encoder: Encoder) -> Self {
        Self {
            encoder,
            thresholds: BTreeMap::new(),
            word_rms: None,
        }
    }

    /// The arm in every layer, with its thresholds; refuses arms that cut the text.
    ///
    /// # Errors
    /// Why there is no such arm.
    pub fn plan(&self, arm: &str) -> Result<ArmPlan, String> {
        match self.parse(arm)? {
            StudyArm::Attention(plan) => Ok(plan),
            StudyArm::Chunked { .. } | StudyArm::Truncated(_) => {
                Err(format!("arm {arm} cuts the text; it is no choice of pairs"))
            }
        }
    }

    /// Places in a text of the tokens of each of its pieces, under an arm whose vector is the mean of theirs; `None` under
    /// any other.
    ///
    /// # Errors
    /// Why there is no such arm.
    pub(super) fn pieces(&self, arm: &str, tokens: usize) -> Result<Option<Vec<Vec<u32>>>, String> {
        match self.parse(arm)? {
            StudyArm::Chunked {
                share,
                is_best: false,
            } => {
                let prefix = self.prefix_length(Role::Passage)?;
                Ok(Some(chunks(&places(tokens), prefix, share)))
            }
            StudyArm::Attention(_) | StudyArm::Chunked { .. } | StudyArm::Truncated(_) => Ok(None),
        }
    }

    /// Tokens of texts with their prefix, cut to what the encoder reads.
    ///
    /// # Errors
    /// What the tokenizer says.
    pub fn tokens(&self, texts: &[String], role: Role) -> Result<Vec<Vec<u32>>, String> {
        let of_text = |text: &String| {
            let tokens = self.encoder.tokens(&role.prefixed(text));
            tokens.map(|tokens| self.encoder.cut(tokens))
        };
        let all: Result<_, _> = texts.iter().map(of_text).collect();
        all.map_err(|error| error.to_string())
    }

    fn parse(&self, arm: &str) -> Result<StudyArm, String> {
        let parts: Vec<&str> = arm.split(':').collect();
        let share = |text: &str| match text.parse::<f64>() {
            Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
            _ => Err(format!(
                "arm {arm}: {text:?} is no share above 0 and at most 1"
            )),
        };
        match parts[..] {
            [name @ ("chunked" | "chunked-best"), text] => Ok(StudyArm::Chunked {
                share: share(text)?,
                is_best: name == "chunked-best",
            }),
            ["truncated", text] => Ok(StudyArm::Truncated(share(text)?)),
            ["bsfa", density, block, name] => {
                let parsed: Arm = format!("bsfa:{density}:{block}")
                    .parse()
                    .map_err(|error| format!("{error}"))?;
                let Some((thresholds, _)) = self.thresholds.get(name) else {
                    let known: Vec<&str> = self.thresholds.keys().map(String::as_str).collect();
                    return Err(format!(
                        "no thresholds '{name}'; the plan's [thresholds] has {}",
                        if known.is_empty() {
                            "none".to_owned()
                        } else {
                            known.join(", ")
                        }
                    ));
                };
                thresholds
                    .check(
                        self.encoder.architecture().layers,
                        parsed.block().unwrap_or(0),
                    )
                    .map_err(|error| error.to_string())?;
                Ok(StudyArm::Attention(ArmPlan::calibrated(
                    parsed,
                    Arc::clone(thresholds),
                )))
            }
            // Any other text is one of the encoder's own arms, or it says why not.
            _ => {
                let parsed: Arm = arm.parse().map_err(|error| {
                    format!("{error}; or bsfa:D:BLOCK:THRESHOLDS, chunked:F, chunked-best:F, truncated:F")
                })?;
                let plan = ArmPlan::uniform(parsed);
                if matches!(parsed, Arm::Bsfa { .. }) {
                    return Err(format!(
                        "arm {arm}: name its thresholds, bsfa:D:BLOCK:THRESHOLDS"
                    ));
                }
                Ok(StudyArm::Attention(plan))
            }
        }
    }
}

/// Share of dense attention's FLOPs that an arm takes at a realised density, as [`Arm::attention_flops`]; `None` for
/// words that name no arm.
#[must_use]
pub fn attention_flops(arm: &str, density: f64) -> Option<f64> {
    let parts: Vec<&str> = arm.split(':').collect();
    match parts[..] {
        ["chunked" | "chunked-best" | "truncated", _] => Some(density),
        ["bsfa", share, block, _] => format!("bsfa:{share}:{block}")
            .parse::<Arm>()
            .ok()
            .map(|arm| arm.attention_flops(density)),
        // Any other text is one of the encoder's own arms, or none.
        _ => Some(arm.parse::<Arm>().ok()?.attention_flops(density)),
    }
}

impl Embedder for ArmEncoder {
    fn check_arm(&self, arm: &str) -> Result<(), String> {
        self.parse(arm).map(drop)
    }

    fn identity(&self, arm: &str) -> String {
        let name = arm.rsplit(':').next().unwrap_or_default();
        match self.thresholds.get(name) {
            Some((_, sha256)) if arm.starts_with("bsfa:") => format!("{arm} {sha256}"),
            _ => arm.to_owned(),
        }
    }

    fn has_parts(&self, arm: &str) -> bool {
        matches!(self.parse(arm), Ok(StudyArm::Chunked { is_best: true, .. }))
    }

    fn embed_documents(&mut self, texts: &[String], arm: &str) -> Result<Embedded, String> {
        self.embed_all(texts, &[], arm)
    }

    fn embed_shifted(
        &mut self,
        texts: &[String],
        shifts: &[Shift],
        arm: &str,
    ) -> Result<Embedded, String> {
        if shifts.len() != texts.len() {
            let (found, want) = (shifts.len(), texts.len());
            return Err(format!("{found} shifts for {want} texts"));
        }
        self.embed_all(texts, shifts, arm)
    }

    fn shift_rms(&mut self, text: &str, shift: &Shift) -> Result<f64, String> {
        let tokens = self
            .tokens(&[text.to_owned()], Role::Passage)?
            .swap_remove(0);
        let components = self.components(text, tokens.len(), shift)?;
        let squares: f64 = components.iter().map(|z| z * z).sum();
        Ok(shift.sigma * (squares / usize_to_f64(components.len().max(1))).sqrt())
    }

    fn embed_queries(&mut self, texts: &[String]) -> Result<Vec<Vec<f32>>, String> {
        let sequences = self.tokens(texts, Role::Query)?;
        let dense = ArmPlan::uniform(Arm::Dense);
        Ok(embed(&self.encoder, &sequences, &[], &dense)?.vectors)
    }

    fn count_tokens(&mut self, text: &str) -> Result<usize, String> {
        let tokens = |text: &str| {
            let tokens = self.encoder.tokens(text);
            tokens.map_err(|error| error.to_string())
        };
        // What the tokenizer puts around the empty text it puts around any.
        Ok(tokens(text)?.len().saturating_sub(tokens("")?.len()))
    }
}

impl ArmEncoder {
    /// Embeds texts, with a shift each or without any.
    fn embed_all(
        &mut self,
        texts: &[String],
        shifts: &[Shift],
        arm: &str,
    ) -> Result<Embedded, String> {
        let sequences = self.tokens(texts, Role::Passage)?;
        let parsed = self.parse(arm)?;
        let matrices = self.matrices(texts, &sequences, shifts)?;
        let hidden = self.encoder.architecture().hidden;
        let whole = |index: usize| places(sequences[index].len());
        // Tokens at these places of a text, and what is added to them.
        let pick = |index: usize, places: &[u32]| -> (Vec<u32>, Vec<f32>) {
            let at = |place: &u32| usize::try_from(*place).expect("a place in a text");
            let rows = matrices.get(index).map(|matrix| {
                let row = |place| &matrix[at(place) * hidden..(at(place) + 1) * hidden];
                places.iter().flat_map(row).copied().collect()
            });
            let tokens = places.iter().map(|place| sequences[index][at(place)]);
            (tokens.collect(), rows.unwrap_or_default())
        };
        let dense = ArmPlan::uniform(Arm::Dense);
        match parsed {
            StudyArm::Attention(plan) => embed(&self.encoder, &sequences, &matrices, &plan),
            StudyArm::Truncated(share) => {
                let of_text = |index: usize| pick(index, &truncated(&whole(index), share));
                let (kept, rows): (Vec<_>, Vec<_>) = (0..sequences.len()).map(of_text).unzip();
                let rows = if matrices.is_empty() {
                    Vec::new()
                } else {
                    rows
                };
                let densities = kept
                    .iter()
                    .zip(&sequences)
                    .map(|(kept, whole)| pairs(kept) / pairs(whole))
                    .collect();
                let embedded = embed(&self.encoder, &kept, &rows, &dense)?;
                Ok(Embedded {
                    densities,
                    ..embedded
                })
            }
            StudyArm::Chunked { share, is_best } => {
                let prefix = self.prefix_length(Role::Passage)?;
                let mut counts = Vec::with_capacity(sequences.len());
                let (mut flat, mut rows) = (Vec::new(), Vec::new());
                for index in 0..sequences.len() {
                    let pieces = chunks(&whole(index), prefix, share);
                    counts.push(pieces.len());
                    for places in pieces {
                        let (tokens, of_piece) = pick(index, &places);
                        flat.push(tokens);
                        rows.push(of_piece);
                    }
                }
                if matrices.is_empty() {
                    rows.clear();
                }
                let vectors = embed(&self.encoder, &flat, &rows, &dense)?.vectors;
                let (mut rest, mut lengths) = (vectors.as_slice(), flat.as_slice());
                let mut embedded = Embedded::default();
                for (count, whole) in counts.into_iter().zip(&sequences) {
                    let (of_text, after) = rest.split_at(count);
                    rest = after;
                    embedded.vectors.push(if is_best {
                        of_text.concat()
                    } else {
                        mean(of_text)
                    });
                    let (pieces, after) = lengths.split_at(count);
                    lengths = after;
                    let attended: f64 = pieces.iter().map(|piece| pairs(piece)).sum();
                    embedded.densities.push(attended / pairs(whole));
                }
                Ok(embedded)
            }
        }
    }

    /// What is added to the embeddings of each text (tokens, hidden); nothing without shifts.
    fn matrices(
        &mut self,
        texts: &[String],
        sequences: &[Vec<u32>],
        shifts: &[Shift],
    ) -> Result<Vec<Vec<f32>>, String> {
        if shifts.is_empty() {
            return Ok(Vec::new());
        }
        let rms = *self.word_rms.get_or_insert_with(|| self.encoder.word_rms());
        let of_text = |((text, tokens), shift): ((&String, &Vec<u32>), &Shift)| {
            let components = self.components(text, tokens.len(), shift)?;
            let scaled = components.into_iter();
            Ok(scaled.map(|z| f64_to_f32(shift.sigma * rms * z)).collect())
        };
        texts
            .iter()
            .zip(sequences)
            .zip(shifts)
            .map(of_text)
            .collect()
    }

    /// Standard normal numbers of a text's tokens (tokens, hidden), 0 for those of protected bytes. The tokens of the
    /// prefix and the special ones have noise like any other.
    fn components(&self, text: &str, tokens: usize, shift: &Shift) -> Result<Vec<f64>, String> {
        let hidden = self.encoder.architecture().hidden;
        let normals = Normals::new(shift.seed, &shift.document);
        let mut is_protected = vec![false; tokens];
        if !shift.protected.is_empty() {
            let (prefixed, start) = (Role::Passage.prefixed(text), Role::Passage.prefix().len());
            let all = self.encoder.tokenizer().tokens_with_bytes(&prefixed);
            let all = all.map_err(|error| error.to_string())?;
            // A text that was cut ends in the closing token instead of the token that was there.
            let kept = all.iter().take(tokens.saturating_sub(1));
            for (is_protected, (_, bytes)) in is_protected.iter_mut().zip(kept) {
                *is_protected = shift.protected.iter().any(|answer| {
                    bytes.start < answer.end + start && answer.start + start < bytes.end
                });
            }
        }
        let index = |place: usize| u64::try_from(place).expect("64 bits hold a place");
        let mut components = Vec::with_capacity(tokens * hidden);
        for (token, is_protected) in is_protected.into_iter().enumerate() {
            let of_token = token * hidden..(token + 1) * hidden;
            components.extend(of_token.map(|place| {
                if is_protected {
                    0.0
                } else {
                    normals.at(index(place))
                }
            }));
        }
        Ok(components)
    }

    /// Tokens of the opening special token and the role's prefix.
    fn prefix_length(&self, role: Role) -> Result<usize, String> {
        let tokens = self.encoder.tokens(role.prefix().trim_end());
        Ok(tokens
            .map_err(|error| error.to_string())?
            .len()
            .saturating_sub(1))
    }
}

/// Embeds sequences, with what is added to their embeddings if anything is.
fn embed(
    encoder: &Encoder,
    sequences: &[Vec<u32>],
    shifts: &[Vec<f32>],
    plan: &ArmPlan,
) -> Result<Embedded, String> {
    let embedded = if shifts.is_empty() {
        encoder.embed(sequences, plan)
    } else {
        encoder.embed_shifted(sequences, shifts, plan)
    };
    let embedded = embedded.map_err(|error| error.to_string())?;
    Ok(Embedded {
        vectors: embedded.vectors,
        densities: embedded.realised_density,
    })
}

/// Places of a text's tokens.
fn places(tokens: usize) -> Vec<u32> {
    (0..u32::try_from(tokens).unwrap_or(u32::MAX)).collect()
}

/// (query, key) pairs of a dense text.
fn pairs(tokens: &[u32]) -> f64 {
    usize_to_f64(tokens.len()) * usize_to_f64(tokens.len())
}

/// The first tokens and the closing special one: those whose pairs are the share of all pairs nearest below it.
fn truncated(tokens: &[u32], share: f64) -> Vec<u32> {
    let length = (2..=tokens.len())
        .take_while(|&length| usize_to_f64(length) * usize_to_f64(length) <= share * pairs(tokens))
        .last()
        .unwrap_or(tokens.len().min(2));
    let mut kept = tokens[..length.saturating_sub(1)].to_vec();
    kept.extend(tokens.last());
    kept
}

/// Pieces of equal length with the opening token, the prefix and the closing token around each: as many as `1 / share`
/// rounded up, overlapping where that leaves room, so that the pairs of all pieces are the share of the text's pairs
/// (nearest below it).
fn chunks(tokens: &[u32], prefix: usize, share: f64) -> Vec<Vec<u32>> {
    let frame = prefix + 1;
    let body = match tokens.len().checked_sub(frame) {
        Some(length) if length > 0 => &tokens[prefix..prefix + length],
        _ => return vec![tokens.to_vec()],
    };
    let count = (1..=body.len())
        .find(|&count| usize_to_f64(count) * share >= 1.0 - 1e-9)
        .unwrap_or(body.len());
    if count == 1 {
        return vec![tokens.to_vec()];
    }
    let cost = |length: usize| {
        let piece = usize_to_f64(length + frame);
        usize_to_f64(count) * piece * piece
    };
    // At least what covers the text, even where the frames make that cost more than the share.
    let least = body.len().div_ceil(count);
    let length = (least..=body.len())
        .take_while(|&length| cost(length) <= share * pairs(tokens))
        .last()
        .unwrap_or(least);
    (0..count)
        .map(|index| {
            let start = index * (body.len() - length) / (count - 1);
            let mut piece = tokens[..prefix].to_vec();
            piece.extend(&body[start..start + length]);
            piece.extend(tokens.last());
            piece
        })
        .collect()
}

/// Mean of vectors of length 1, made of length 1 again.
pub(super) fn mean(vectors: &[Vec<f32>]) -> Vec<f32> {
    let mut sums = vec![0.0_f64; vectors.first().map_or(0, Vec::len)];
    for vector in vectors {
        for (sum, x) in sums.iter_mut().zip(vector) {
            *sum += f64::from(*x);
        }
    }
    let length = sums.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-12);
    sums.into_iter().map(|x| f64_to_f32(x / length)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn chunks_cover_the_text_within_their_share(n in 20_u32..500, percent in 20_u8..=100) {
            let tokens: Vec<u32> = (0..n).collect();
            let share = f64::from(percent) / 100.0;
            let pieces = chunks(&tokens, 3, share);
            let mut seen: Vec<u32> = pieces.iter().flatten().copied().collect();
            seen.sort_unstable();
            seen.dedup();
            prop_assert_eq!(&seen, &tokens, "every token is in a piece");
            for piece in &pieces {
                prop_assert_eq!((piece[..3].to_vec(), *piece.last().unwrap()), (vec![0, 1, 2], n - 1));
                prop_assert_eq!(piece.len(), pieces[0].len());
            }
            let spent: f64 = pieces.iter().map(|piece| pairs(piece)).sum::<f64>() / pairs(&tokens);
            // The frame of each further piece costs 4 tokens against all of the piece, and rounding up one more.
            let frames = 11.0 * usize_to_f64(pieces.len()) / f64::from(n);
            prop_assert!(spent <= share + frames, "{spent} of {share}");
            if n > 200 {
                prop_assert!(spent > share - 0.08, "{spent} of {share}");
            }
        }

        #[test]
        fn truncation_keeps_the_start_within_its_share(n in 2_u32..500, percent in 1_u8..=100) {
            let tokens: Vec<u32> = (0..n).collect();
            let share = f64::from(percent) / 100.0;
            let kept = truncated(&tokens, share);
            prop_assert_eq!((kept[0], *kept.last().unwrap()), (0, n - 1));
            prop_assert!(kept.len() == 2 || pairs(&kept) <= share * pairs(&tokens) + 1e-9);
            if percent == 100 {
                prop_assert_eq!(kept, tokens);
            }
        }
    }

    #[test]
    fn arms_cost_what_they_compute() {
        for (arm, want) in [
            ("dense", Some(1.0)),
            ("window:0.625", Some(0.25)),
            ("bsfa:0.25:16:pooled", Some(0.625)),
            ("block-topk:0.25:16", Some(0.625)),
            ("chunked:0.625", Some(0.25)),
            ("chunked-best:0.625", Some(0.25)),
            ("bsfa:0.25:16:own-*", Some(0.625)),
            ("magic", None),
        ] {
            assert_eq!(
                attention_flops(arm, if arm == "dense" { 1.0 } else { 0.25 }),
                want,
                "{arm}"
            );
        }
    }
}
