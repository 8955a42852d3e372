//! Thresholds of block-sparse `FlashAttention` (arXiv 2512.07011), calibrated on texts under dense attention.
//!
//! For each layer, head and block of queries: with the maxima of a text's key blocks in descending order, the threshold
//! that keeps `k` of them is `(m_k + m_(k+1)) / 2`, averaged over texts. The published rule fixes `k`; here `k` is a share
//! of the blocks (linear between whole numbers), because texts differ in length. An encoder has no diagonal: every block
//! is a candidate, and the best one is always kept (the published kernel keeps the last instead). Block rows beyond the
//! longest text have the last one's threshold.
//!
//! A share of `.25` in dense attention need not attend a quarter of the pairs: means of thresholds keep another number of
//! blocks than each text's own, and layers see what the layers before them left. [`Calibration::fitted`] finds the share
//! that does, by bisection over sparse forward passes of the same texts.

use std::sync::Arc;

use flashproof_reference::Layout;
use serde::{Deserialize, Serialize};

use crate::backend::native::{NativeInputs, block_maxima};
use crate::convert::{f64_to_f32, usize_to_f64};
use crate::encoder::Encoder;
use crate::encoder::arm::{Arm, ArmPlan};
use crate::encoder::attention::{AttentionBackend, AttentionFailure, Native, Site};
use crate::encoder::error::EncoderError;

/// Thresholds on the greatest scaled score of a block, in natural-logarithm units.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    /// Queries, and keys, of a block.
    pub block: usize,
    /// Share of pairs attended on the calibration texts.
    pub density: f64,
    /// Share of the blocks that each threshold keeps under dense attention.
    pub share: f64,
    /// Texts calibrated on.
    pub texts: usize,
    /// (layers, heads, block rows).
    pub values: Vec<Vec<Vec<f32>>>,
}

/// Why thresholds do not serve.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ThresholdError {
    /// Another block size.
    #[error(
        "thresholds of blocks of {found} tokens, but the arm has blocks of {block}; calibrate anew"
    )]
    Block {
        /// Of the thresholds.
        found: usize,
        /// Of the arm.
        block: usize,
    },
    /// Another encoder.
    #[error("thresholds of {found} layers, but the encoder has {layers}; calibrate anew")]
    Layers {
        /// Of the thresholds.
        found: usize,
        /// Of the encoder.
        layers: usize,
    },
    /// A layer or head without any.
    #[error("layer {layer} of the thresholds has no head or a head without thresholds")]
    Empty {
        /// Which layer.
        layer: usize,
    },
    /// Nothing to calibrate on.
    #[error("no text to calibrate on")]
    NoText,
    /// A share that keeps nothing or more than all.
    #[error("density {0} is not above 0 and below 1")]
    Density(f64),
}

impl Thresholds {
    /// Refuses thresholds that do not fit the encoder or the arm.
    ///
    /// # Errors
    /// [`ThresholdError`]
    pub fn check(&self, layers: usize, block: usize) -> Result<(), ThresholdError> {
        if self.block != block {
            let found = self.block;
            return Err(ThresholdError::Block { found, block });
        }
        if self.values.len() != layers {
            let found = self.values.len();
            return Err(ThresholdError::Layers { found, layers });
        }
        let is_empty = |heads: &Vec<Vec<f32>>| heads.is_empty() || heads.iter().any(Vec::is_empty);
        match self.values.iter().position(is_empty) {
            Some(layer) => Err(ThresholdError::Empty { layer }),
            None => Ok(()),
        }
    }

    /// The threshold of a block row; past the last one the last one's, and past the last head the last head's.
    pub(crate) fn of(&self, layer: usize, head: usize, row: usize) -> f32 {
        let of_layer = &self.values[layer];
        let of_head = &of_layer[head.min(of_layer.len() - 1)];
        of_head[row.min(of_head.len() - 1)]
    }
}

/// Block maxima of texts under dense attention.
#[derive(Clone, Debug)]
pub struct Calibration {
    block: usize,
    sequences: Vec<Vec<u32>>,
    /// (layers, texts, heads, block rows), each row's maxima in descending order.
    maxima: Vec<Vec<Vec<Vec<Vec<f32>>>>>,
}

/// Watches the dense forward pass.
struct Watch {
    block: usize,
    maxima: Vec<Vec<Vec<Vec<Vec<f32>>>>>,
}

impl AttentionBackend for Watch {
    fn attention(
        &mut self,
        site: Site,
        inputs: &NativeInputs<'_>,
        layout: &Layout,
        o: &mut [f32],
    ) -> Result<(), AttentionFailure> {
        let n = inputs.shape.seqlen_q;
        let blocks = Layout::dense(n, n).with_blocks(self.block, self.block)?;
        let columns = n.div_ceil(self.block);
        let of_head = |of_head: &[f32]| -> Vec<Vec<f32>> {
            let descending = |row: &[f32]| {
                let mut row = row.to_vec();
                row.sort_by(|a, b| b.total_cmp(a));
                row
            };
            of_head.chunks_exact(columns).map(descending).collect()
        };
        let heads = block_maxima(inputs, &blocks)?
            .chunks_exact(columns * columns)
            .map(of_head)
            .collect();
        self.maxima[site.layer].push(heads);
        Native.attention(site, inputs, layout, o)
    }
}

impl Calibration {
    /// Runs the texts densely and keeps the maxima of their blocks.
    ///
    /// # Errors
    /// Those of [`Encoder::embed`], and [`ThresholdError::NoText`].
    pub fn new(
        encoder: &Encoder,
        sequences: &[Vec<u32>],
        block: usize,
    ) -> Result<Self, EncoderError> {
        if sequences.is_empty() {
            return Err(EncoderError::Arm(ThresholdError::NoText.into()));
        }
        let mut watch = Watch {
            block,
            maxima: vec![Vec::new(); encoder.architecture().layers],
        };
        Arm::BlockTopK {
            density: 1.0,
            block,
        }
        .check()?;
        encoder.embed_through(sequences, &ArmPlan::uniform(Arm::Dense), &mut watch)?;
        Ok(Self {
            block,
            sequences: sequences.to_vec(),
            maxima: watch.maxima,
        })
    }

    /// Thresholds that keep this share of each text's blocks under dense attention, averaged over texts.
    pub fn thresholds(&self, share: f64) -> Thresholds {
        let values = self.maxima.iter().map(|texts| {
            let heads = texts.iter().map(Vec::len).max().unwrap_or(0);
            let of_head = |head: usize| -> Vec<f32> {
                let longest = texts.iter().map(|text| text[head].len()).max().unwrap_or(0);
                let of_row = |row: usize| {
                    let of_texts: Vec<f64> = texts
                        .iter()
                        .filter_map(|text| text[head].get(row))
                        .map(|maxima| keeping(maxima, share))
                        .collect();
                    f64_to_f32(of_texts.iter().sum::<f64>() / usize_to_f64(of_texts.len()))
                };
                (0..longest).map(of_row).collect()
            };
            (0..heads).map(of_head).collect()
        });
        Thresholds {
            block: self.block,
            density: share,
            share,
            texts: self.sequences.len(),
            values: values.collect(),
        }
    }

    /// Thresholds under which the encoder attends this share of the pairs of the calibration texts, to about a
    /// thousandth.
    ///
    /// # Errors
    /// Those of [`Encoder::embed`], and [`ThresholdError::Density`].
    pub fn fitted(&self, encoder: &Encoder, density: f64) -> Result<Thresholds, EncoderError> {
        if !(density > 0.0 && density < 1.0) {
            return Err(EncoderError::Arm(ThresholdError::Density(density).into()));
        }
        let (mut low, mut high) = (0.0, 1.0);
        let mut share = density;
        let mut best: Option<Thresholds> = None;
        for _ in 0..10 {
            let thresholds = self.thresholds(share);
            let arm = Arm::Bsfa {
                density,
                block: self.block,
            };
            let plan = ArmPlan::calibrated(arm, Arc::new(thresholds.clone()));
            let realised = encoder.embed(&self.sequences, &plan)?.realised_density;
            let realised = realised.iter().sum::<f64>() / usize_to_f64(realised.len());
            let is_nearer = best
                .as_ref()
                .is_none_or(|best| (realised - density).abs() < (best.density - density).abs());
            if is_nearer {
                best = Some(Thresholds {
                    density: realised,
                    ..thresholds
                });
            }
            if (realised - density).abs() < 0.001 {
                break;
            }
            if realised > density {
                high = share;
            } else {
                low = share;
            }
            // First by proportion, which is nearly right, then by halves if that leaves the bracket.
            let next = share * density / realised;
            share = if low < next && next < high {
                next
            } else {
                0.5 * (low + high)
            };
        }
        Ok(best.expect("the loop runs at least once"))
    }
}

/// The threshold that keeps `share` of these maxima (descending): halfway between the last kept and the first left out,
/// linear between whole numbers of blocks; `-inf` for all of them.
fn keeping(maxima: &[f32], share: f64) -> f64 {
    let at = |kept: usize| match (maxima.get(kept - 1), maxima.get(kept)) {
        (Some(last), Some(next)) => 0.5 * (f64::from(*last) + f64::from(*next)),
        _ => f64::NEG_INFINITY,
    };
    let kept = (share * usize_to_f64(maxima.len())).max(1.0);
    let whole = (1..=maxima.len())
        .take_while(|count| usize_to_f64(*count) <= kept)
        .last()
        .unwrap_or(1);
    let rest = kept - usize_to_f64(whole);
    if rest > 0.0 && whole + 1 < maxima.len() {
        at(whole) * (1.0 - rest) + at(whole + 1) * rest
    } else {
        at(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_keeps_its_share() {
        let maxima = [4.0, 3.0, 1.0, 0.0];
        for (share, want) in [
            (0.25, 3.5),
            (0.5, 2.0),
            (0.75, 0.5),
            (0.375, 2.75),
            (0.01, 3.5),
        ] {
            assert!((keeping(&maxima, share) - want).abs() < 1e-12, "{share}");
        }
        assert!(
            keeping(&maxima, 1.0) < -1e30 && keeping(&[2.0], 0.5) < -1e30,
            "all are kept"
        );
    }

    #[test]
    fn thresholds_fit_their_encoder() {
        let thresholds = Thresholds {
            block: 16,
            density: 0.25,
            share: 0.25,
            texts: 1,
            values: vec![vec![vec![1.0, 2.0], vec![3.0]]],
        };
        assert_eq!(thresholds.check(1, 16), Ok(()));
        assert!(thresholds.check(2, 16).is_err() && thresholds.check(1, 8).is_err());
        let found = [(0, 0), (0, 9), (1, 9), (7, 0)].map(|(head, row)| thresholds.of(0, head, row));
        assert_eq!(found, [1.0, 2.0, 3.0, 3.0]);
        let text = serde_json::to_string(&thresholds).unwrap();
        assert_eq!(
            serde_json::from_str::<Thresholds>(&text).unwrap(),
            thresholds
        );
    }
}
