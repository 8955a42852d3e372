//! Attention arms: the ways to choose which pairs of a text attend, and their text forms.
//!
//! Density is the share of the (query, key) pairs of a text that attend, averaged over heads. Every arm is matched to its
//! target text by text, so that a comparison of arms compares where they look and not how much.

use std::fmt;
use std::str::FromStr;

use flashproof_reference::{LayoutError, ProblemError};

/// One way to choose the pairs that attend.
///
/// The text form is the name, the density, and what else the arm needs, with colons between: `dense`, `window:0.25`,
/// `window-sink:0.25`, `window-global:0.25`, `block-topk:0.25:16`, `random-blocks:0.25:16` (seed 0),
/// `random-blocks:0.25:16:7`. Densities are above 0 and at most 1.
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
    /// For each head and each block of queries the blocks of keys with the greatest score of any of their pairs. An
    /// oracle: it computes every score first. (What BSFA's calibrated thresholds on the block maximum approximate.)
    BlockTopK {
        /// Target share of pairs.
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
}

/// Why an arm or a plan is not one.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ArmError {
    /// The text is no arm.
    #[error(
        "arm {text:?}: {reason}; write dense, window:D, window-sink:D, window-global:D, block-topk:D:BLOCK or random-blocks:D:BLOCK[:SEED]"
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
        Self { arms: vec![arm] }
    }

    /// An arm for each layer, first layer first.
    pub fn per_layer(arms: Vec<Arm>) -> Self {
        Self { arms }
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
        self.arms.iter().try_for_each(Arm::check)
    }
}

impl Arm {
    /// The target share of pairs.
    pub fn target_density(&self) -> f64 {
        match *self {
            Self::Dense => 1.0,
            Self::Window { density }
            | Self::WindowSink { density }
            | Self::WindowGlobal { density }
            | Self::BlockTopK { density, .. }
            | Self::RandomBlocks { density, .. } => density,
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
        match *self {
            Self::BlockTopK { block: 0, .. } | Self::RandomBlocks { block: 0, .. } => {
                Err(ArmError::Block {
                    arm: self.to_string(),
                })
            }
            Self::Dense
            | Self::Window { .. }
            | Self::WindowSink { .. }
            | Self::WindowGlobal { .. }
            | Self::BlockTopK { .. }
            | Self::RandomBlocks { .. } => Ok(()),
        }
    }
}

impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Dense => write!(f, "dense"),
            Self::Window { density } => write!(f, "window:{density}"),
            Self::WindowSink { density } => write!(f, "window-sink:{density}"),
            Self::WindowGlobal { density } => write!(f, "window-global:{density}"),
            Self::BlockTopK { density, block } => write!(f, "block-topk:{density}:{block}"),
            Self::RandomBlocks {
                density,
                block,
                seed: 0,
            } => write!(f, "random-blocks:{density}:{block}"),
            Self::RandomBlocks {
                density,
                block,
                seed,
            } => write!(f, "random-blocks:{density}:{block}:{seed}"),
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
            ["block-topk", d, b] => Self::BlockTopK {
                density: density(d)?,
                block: block(b)?,
            },
            ["random-blocks", d, b] => Self::RandomBlocks {
                density: density(d)?,
                block: block(b)?,
                seed: 0,
            },
            ["random-blocks", d, b, s] => Self::RandomBlocks {
                density: density(d)?,
                block: block(b)?,
                seed: s
                    .parse()
                    .map_err(|error| refused(format!("seed {s:?} is not a number ({error})")))?,
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
pub(crate) fn every_arm(density: f64, block: usize, seed: u64) -> [Arm; 6] {
    [
        Arm::Dense,
        Arm::Window { density },
        Arm::WindowSink { density },
        Arm::WindowGlobal { density },
        Arm::BlockTopK { density, block },
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
