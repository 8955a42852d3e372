//! Attention arms: the ways to choose which pairs of a text attend, and their text forms.
//!
//! Density is the share of the (query, key) pairs of a text that attend, averaged over heads. Every arm is matched to its
//! target text by text, so that a comparison of arms compares where they look and not how much.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use flashproof_reference::{LayoutError, ProblemError};

use crate::encoder::calibration::{ThresholdError, Thresholds};

/// One way to choose the pairs that attend.
///
/// The text form is the name, the density, and what else the arm needs, with colons between: `dense`, `window:0.25`,
/// `block-topk:0.25:16`, `random-blocks:0.25:16` (seed 0), `random-blocks:0.25:16:7`. Densities are above 0 and at most
/// 1.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Arm {
    /// Every pair.
    Dense,
    /// Keys at most so far from the query; the distance whose density is nearest to the target.
    Window {
        /// Target share of pairs.
        density: f64,
    },
    /// A window, and the first token as a key of every query.
    WindowSink {
        /// Target share of pairs.
        density: f64,
    },
    /// A window, and the first token as a key of every query and with every key of its own.
    WindowGlobal {
        /// Target share of pairs.
        density: f64,
    },
    /// A window, and every s-th key of every query, half of the pairs each (Sparse Transformer's fixed pattern).
    Strided {
        /// Target share of pairs.
        density: f64,
    },
    /// Blocks: the neighbours on either side, the first block in both directions, and random ones up to the target
    /// (`BigBird`, with one global block).
    BigBird {
        /// Target share of pairs.
        density: f64,
        /// Queries, and keys, of a block.
        block: usize,
        /// With layer, head and block row, fixes the draw.
        seed: u64,
    },
    /// For each head and each block of queries the blocks of keys with the greatest score of any of their pairs. An
    /// oracle: it computes every score first. (What BSFA's calibrated thresholds on the block maximum approximate.)
    BlockTopK {
        /// Target share of pairs.
        density: f64,
        /// Queries, and keys, of a block.
        block: usize,
    },
    /// The blocks that hold the most of the softmax weight of the block's queries: the upper bound of what a choice of
    /// blocks can keep.
    BlockMass {
        /// Target share of pairs.
        density: f64,
        /// Queries, and keys, of a block.
        block: usize,
    },
    /// The blocks whose mean key has the greatest score with the mean query: an estimate that skips the scores
    /// (`MInference`'s block-sparse head).
    BlockPooled {
        /// Target share of pairs.
        density: f64,
        /// Queries, and keys, of a block.
        block: usize,
    },
    /// The fewest blocks that hold this share of the softmax weight of the block's queries.
    BlockTopP {
        /// Share of the weight.
        mass: f64,
        /// Queries, and keys, of a block.
        block: usize,
    },
    /// Block-sparse `FlashAttention`: the blocks whose greatest score reaches a calibrated threshold of the layer, the head
    /// and the block of queries, and the best block where none does. Needs the thresholds of
    /// [`ArmPlan::calibrated`]; how much it attends depends on the text.
    Bsfa {
        /// Share of pairs that the thresholds were calibrated to.
        density: f64,
        /// Queries, and keys, of a block.
        block: usize,
    },
    /// For each head and each block of queries as many blocks of keys drawn without looking: the control of `BlockTopK`.
    RandomBlocks {
        /// Target share of pairs.
        density: f64,
        /// Queries, and keys, of a block.
        block: usize,
        /// With layer, head and block row, fixes the draw.
        seed: u64,
    },
}

/// An arm for every layer.
#[derive(Clone, Debug, PartialEq)]
pub struct ArmPlan {
    arms: Vec<Arm>,
    pub(crate) thresholds: Option<Arc<Thresholds>>,
}

/// Why an arm or a plan is not one.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ArmError {
    /// The text is no arm.
    #[error(
        "arm {text:?}: {reason}; write dense, window:D, window-sink:D, window-global:D, strided:D, bigbird:D:BLOCK[:SEED], block-topk:D:BLOCK, block-mass:D:BLOCK, block-pooled:D:BLOCK, block-topp:P:BLOCK, bsfa:D:BLOCK or random-blocks:D:BLOCK[:SEED]"
    )]
    Text {
        /// The text.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A density outside its domain.
    #[error("arm {arm}: density {density} is not above 0 and at most 1")]
    Density {
        /// The arm.
        arm: String,
        /// Its density.
        density: f64,
    },
    /// A block without elements.
    #[error("arm {arm}: a block of 0 tokens holds none")]
    Block {
        /// The arm.
        arm: String,
    },
    /// The layout of the chosen pairs is refused.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The scores to choose by cannot be had.
    #[error(transparent)]
    Problem(#[from] ProblemError),
    /// An arm that decides by thresholds, in a plan without them.
    #[error(
        "arm {arm} decides by calibrated thresholds, and this plan has none; `flashproof calibrate` makes them"
    )]
    Uncalibrated {
        /// The arm.
        arm: String,
    },
    /// Thresholds of another arm or another encoder.
    #[error(transparent)]
    Thresholds(#[from] ThresholdError),
    /// A plan of the wrong length.
    #[error("{found} arms for an encoder of {layers} layers; give one, or one a layer")]
    Layers {
        /// Layers of the encoder.
        layers: usize,
        /// Arms of the plan.
        found: usize,
    },
}

impl ArmPlan {
    /// The same arm in every layer.
    pub fn uniform(arm: Arm) -> Self {
        Self {
            arms: vec![arm],
            thresholds: None,
        }
    }

    /// The same arm in every layer, with the thresholds it decides by.
    pub fn calibrated(arm: Arm, thresholds: Arc<Thresholds>) -> Self {
        Self {
            arms: vec![arm],
            thresholds: Some(thresholds),
        }
    }

    /// An arm for each layer, first layer first.
    pub fn per_layer(arms: Vec<Arm>) -> Self {
        Self {
            arms,
            thresholds: None,
        }
    }

    /// The arm of a layer: the only one, or the one at its place.
    pub(crate) fn arm(&self, layer: usize) -> &Arm {
        if self.arms.len() == 1 {
            &self.arms[0]
        } else {
            &self.arms[layer]
        }
    }

    /// Refuses a plan that does not fit an encoder of `layers` layers.
    pub(crate) fn check(&self, layers: usize) -> Result<(), ArmError> {
        if self.arms.len() != 1 && self.arms.len() != layers {
            return Err(ArmError::Layers {
                layers,
                found: self.arms.len(),
            });
        }
        self.arms.iter().try_for_each(Arm::check)?;
        for arm in &self.arms {
            if let Arm::Bsfa { block, .. } = *arm {
                match &self.thresholds {
                    Some(thresholds) => thresholds.check(layers, block)?,
                    None => {
                        return Err(ArmError::Uncalibrated {
                            arm: arm.to_string(),
                        });
                    }
                }
            }
        }
        Ok(())
    }
}

impl Arm {
    /// The target share of pairs; of `BlockTopP` the share of the weight.
    pub fn target_density(&self) -> f64 {
        match *self {
            Self::Dense => 1.0,
            Self::Window { density }
            | Self::WindowSink { density }
            | Self::WindowGlobal { density }
            | Self::Strided { density }
            | Self::BigBird { density, .. }
            | Self::BlockTopK { density, .. }
            | Self::BlockMass { density, .. }
            | Self::BlockPooled { density, .. }
            | Self::Bsfa { density, .. }
            | Self::RandomBlocks { density, .. } => density,
            Self::BlockTopP { mass, .. } => mass,
        }
    }

    /// Queries, and keys, of a block; `None` for an arm without blocks.
    pub fn block(&self) -> Option<usize> {
        match *self {
            Self::Dense
            | Self::Window { .. }
            | Self::WindowSink { .. }
            | Self::WindowGlobal { .. }
            | Self::Strided { .. } => None,
            Self::BigBird { block, .. }
            | Self::BlockTopK { block, .. }
            | Self::BlockMass { block, .. }
            | Self::BlockPooled { block, .. }
            | Self::BlockTopP { block, .. }
            | Self::Bsfa { block, .. }
            | Self::RandomBlocks { block, .. } => Some(block),
        }
    }

    /// Share of dense attention's matrix-product FLOPs at a realised density `d`: `(1 + d) / 2` where every score is
    /// computed before blocks are chosen, else `d`. (The estimate of `BlockPooled`, one score a block, is left out.)
    pub fn attention_flops(&self, density: f64) -> f64 {
        match self {
            Self::BlockTopK { .. }
            | Self::BlockMass { .. }
            | Self::BlockTopP { .. }
            | Self::Bsfa { .. } => 0.5 * (1.0 + density),
            Self::Dense
            | Self::Window { .. }
            | Self::WindowSink { .. }
            | Self::WindowGlobal { .. }
            | Self::Strided { .. }
            | Self::BigBird { .. }
            | Self::BlockPooled { .. }
            | Self::RandomBlocks { .. } => density,
        }
    }

    /// Refuses a density or block outside its domain.
    pub fn check(&self) -> Result<(), ArmError> {
        let density = self.target_density();
        if !(density > 0.0 && density <= 1.0) {
            return Err(ArmError::Density {
                arm: self.to_string(),
                density,
            });
        }
        if self.block() == Some(0) {
            return Err(ArmError::Block {
                arm: self.to_string(),
            });
        }
        Ok(())
    }
}

impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seeded =
            |f: &mut fmt::Formatter<'_>, name: &str, density: f64, block: usize, seed: u64| {
                write!(f, "{name}:{density}:{block}")?;
                if seed == 0 {
                    Ok(())
                } else {
                    write!(f, ":{seed}")
                }
            };
        match *self {
            Self::Dense => write!(f, "dense"),
            Self::Window { density } => write!(f, "window:{density}"),
            Self::WindowSink { density } => write!(f, "window-sink:{density}"),
            Self::WindowGlobal { density } => write!(f, "window-global:{density}"),
            Self::Strided { density } => write!(f, "strided:{density}"),
            Self::BlockTopK { density, block } => write!(f, "block-topk:{density}:{block}"),
            Self::BlockMass { density, block } => write!(f, "block-mass:{density}:{block}"),
            Self::BlockPooled { density, block } => write!(f, "block-pooled:{density}:{block}"),
            Self::BlockTopP { mass, block } => write!(f, "block-topp:{mass}:{block}"),
            Self::Bsfa { density, block } => write!(f, "bsfa:{density}:{block}"),
            Self::BigBird {
                density,
                block,
                seed,
            } => seeded(f, "bigbird", density, block, seed),
            Self::RandomBlocks {
                density,
                block,
                seed,
            } => seeded(f, "random-blocks", density, block, seed),
        }
    }
}

impl FromStr for Arm {
    type Err = ArmError;

    fn from_str(text: &str) -> Result<Self, ArmError> {
        let refused = |reason: String| ArmError::Text {
            text: text.to_owned(),
            reason,
        };
        let parts: Vec<&str> = text.split(':').collect();
        let density = |part: &str| {
            part.parse()
                .map_err(|error| refused(format!("density {part:?} is not a number ({error})")))
        };
        let block = |part: &str| {
            part.parse().map_err(|error| {
                refused(format!(
                    "block {part:?} is not a number of tokens ({error})"
                ))
            })
        };
        let seed = |part: Option<&&str>| {
            part.map_or(Ok(0), |part| {
                part.parse()
                    .map_err(|error| refused(format!("seed {part:?} is not a number ({error})")))
            })
        };
        let arm = match parts[..] {
            ["dense"] => Self::Dense,
            ["window", d] => Self::Window {
                density: density(d)?,
            },
            ["window-sink", d] => Self::WindowSink {
                density: density(d)?,
            },
            ["window-global", d] => Self::WindowGlobal {
                density: density(d)?,
            },
            ["strided", d] => Self::Strided {
                density: density(d)?,
            },
            ["block-topk", d, b] => Self::BlockTopK {
                density: density(d)?,
                block: block(b)?,
            },
            ["block-mass", d, b] => Self::BlockMass {
                density: density(d)?,
                block: block(b)?,
            },
            ["block-pooled", d, b] => Self::BlockPooled {
                density: density(d)?,
                block: block(b)?,
            },
            ["block-topp", p, b] => Self::BlockTopP {
                mass: density(p)?,
                block: block(b)?,
            },
            ["bsfa", d, b] => Self::Bsfa {
                density: density(d)?,
                block: block(b)?,
            },
            ["bigbird", d, b, ref s @ ..] if s.len() < 2 => Self::BigBird {
                density: density(d)?,
                block: block(b)?,
                seed: seed(s.first())?,
            },
            ["random-blocks", d, b, ref s @ ..] if s.len() < 2 => Self::RandomBlocks {
                density: density(d)?,
                block: block(b)?,
                seed: seed(s.first())?,
            },
            // Any other split is a name that no arm has, or too many or too few numbers after one.
            _ => {
                return Err(refused(
                    "no arm has this name with this many numbers".to_owned(),
                ));
            }
        };
        arm.check()?;
        Ok(arm)
    }
}

/// One arm of every kind.
#[cfg(test)]
pub(crate) fn every_arm(density: f64, block: usize, seed: u64) -> [Arm; 12] {
    [
        Arm::Dense,
        Arm::Window { density },
        Arm::WindowSink { density },
        Arm::WindowGlobal { density },
        Arm::Strided { density },
        Arm::BigBird {
            density,
            block,
            seed,
        },
        Arm::BlockTopK { density, block },
        Arm::BlockMass { density, block },
        Arm::BlockPooled { density, block },
        Arm::BlockTopP {
            mass: density,
            block,
        },
        Arm::Bsfa { density, block },
        Arm::RandomBlocks {
            density,
            block,
            seed,
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn text_form_reads_back(percent in 1_u8..=100, block in 1_usize..300, seed: u64) {
            for arm in every_arm(f64::from(percent) / 100.0, block, seed) {
                prop_assert_eq!(arm.to_string().parse::<Arm>(), Ok(arm));
            }
        }

        #[test]
        fn any_text_is_an_arm_or_an_error(text in "[a-z:0-9.-]{0,24}") {
            if let Ok(arm) = text.parse::<Arm>() {
                prop_assert!(arm.check().is_ok());
            }
        }
    }

    #[test]
    fn wrong_arms_say_why() {
        for (text, part) in [
            ("window", "no arm has this name with this many numbers"),
            ("window:x", "density \"x\" is not a number"),
            ("window:0", "density 0 is not above 0 and at most 1"),
            ("window:NaN", "density NaN is not above 0 and at most 1"),
            ("window:1.5", "density 1.5 is not above 0 and at most 1"),
            ("block-topk:0.5:0", "a block of 0 tokens holds none"),
            ("random-blocks:0.5:16:-1", "seed \"-1\" is not a number"),
        ] {
            let error = text.parse::<Arm>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        let plan = ArmPlan::per_layer(vec![Arm::Dense; 3]);
        assert_eq!(
            plan.check(12).unwrap_err().to_string(),
            "3 arms for an encoder of 12 layers; give one, or one a layer"
        );
        assert!(plan.check(3).is_ok() && ArmPlan::uniform(Arm::Dense).check(12).is_ok());
    }
}
