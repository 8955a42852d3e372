//! Attention arms: which pairs of a text attend, at a density that is the same for every arm.
//!
//! Density is the share of the (query, key) pairs of a text that attend, averaged over heads. Every arm is matched to its
//! target text by text, so that a comparison of arms compares where they look and not how much.

use std::fmt;
use std::str::FromStr;

use flashproof_reference::random::{self, Draws};
use flashproof_reference::{BlockPattern, Layout, LayoutError, Window};

use crate::backend::native::NativeInputs;
use crate::convert::usize_to_f64;
use crate::simd::matmul::{View, matmul};

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

/// What an arm chose for one layer of one text.
#[derive(Clone, Debug)]
pub struct Selection {
    /// The pairs that attend.
    pub layout: Layout,
    /// Their share of all pairs, averaged over heads.
    pub density: f64,
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

    /// The pairs that attend in one layer of one text (`shape.batch` = 1, as many keys as queries). A pure function: only
    /// `BlockTopK` looks at the values.
    ///
    /// A window arm is within one key a query of its target, a block arm within half a block a query on average, unless
    /// the target is below the least that the arm can do: a query sees itself, and at least one block.
    pub fn select(&self, layer: usize, inputs: &NativeInputs<'_>) -> Result<Selection, ArmError> {
        let (n, heads) = (inputs.shape.seqlen_q, inputs.shape.num_q_heads);
        match *self {
            Self::Dense => Ok(Selection {
                layout: Layout::dense(n, n),
                density: 1.0,
            }),
            Self::Window { density } => windowed(n, density, Extra::None),
            Self::WindowSink { density } => windowed(n, density, Extra::Sink),
            Self::WindowGlobal { density } => windowed(n, density, Extra::Global),
            Self::BlockTopK { density, block } => {
                let grid = Grid { n, block };
                let patterns = (0..heads)
                    .map(|head| {
                        let mut scores = BlockScores::new(inputs, head, grid);
                        grid.pattern(density, |row| scores.ranked(row))
                    })
                    .collect();
                grid.selection(patterns)
            }
            Self::RandomBlocks {
                density,
                block,
                seed,
            } => {
                let grid = Grid { n, block };
                let patterns = (0..heads)
                    .map(|head| {
                        grid.pattern(density, |row| {
                            shuffled(seed, [layer, head, row], grid.blocks())
                        })
                    })
                    .collect();
                grid.selection(patterns)
            }
        }
    }
}

/// What a window arm shows besides the window.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extra {
    None,
    Sink,
    Global,
}

/// The window of `n` tokens with the density nearest to the target, the narrower one of two that are equally near.
fn windowed(n: usize, density: f64, extra: Extra) -> Result<Selection, ArmError> {
    let all = usize_to_f64(n) * usize_to_f64(n);
    let share = |reach: usize| {
        // n (2 reach + 1) less the two corners that stick out of the square.
        let window = n * (2 * reach + 1) - reach * (reach + 1);
        // Queries after the window's reach that do not see token 0 by themselves.
        let outside = n.saturating_sub(reach + 1);
        let shown = match extra {
            Extra::None => 0,
            Extra::Sink => outside,
            Extra::Global => 2 * outside,
        };
        usize_to_f64(window + shown) / all
    };
    // The share grows with the reach, so the nearest is found at the first one that reaches the target, or before it.
    let above = (0..n)
        .find(|reach| share(*reach) >= density)
        .unwrap_or(n.saturating_sub(1));
    let below = above.saturating_sub(1);
    let reach = if density - share(below) <= share(above) - density {
        below
    } else {
        above
    };
    let window = Window {
        left: Some(reach),
        right: Some(reach),
    };
    let layout = match extra {
        Extra::None => Layout::sliding_window(n, n, window),
        Extra::Sink => Layout::window_with_sinks(n, n, window, 1),
        Extra::Global => Layout::longformer(n, n, reach, [0])?,
    };
    Ok(Selection {
        layout,
        density: share(reach),
    })
}

/// Square blocks over the pairs of a text; the last ones may be ragged.
#[derive(Clone, Copy)]
struct Grid {
    n: usize,
    block: usize,
}

impl Grid {
    fn blocks(self) -> usize {
        self.n.div_ceil(self.block)
    }

    /// Tokens of a block.
    fn width(self, index: usize) -> usize {
        self.block.min(self.n - index * self.block)
    }

    /// Takes blocks in the order of `ranked(row)`, at least one a row, while the pairs taken so far stay nearest to the
    /// share `density` of the pairs of all rows so far: what one row rounds off, the next ones make good.
    fn pattern(self, density: f64, mut ranked: impl FnMut(usize) -> Vec<usize>) -> BlockPattern {
        let mut pattern = BlockPattern {
            row_ptr: vec![0],
            col_idx: Vec::new(),
        };
        let (mut taken, mut queries) = (0.0, 0);
        for row in 0..self.blocks() {
            queries += self.width(row);
            let target = density * usize_to_f64(queries * self.n);
            let mut columns = Vec::new();
            for column in ranked(row) {
                let pairs = usize_to_f64(self.width(row) * self.width(column));
                if !columns.is_empty() && taken + 0.5 * pairs > target {
                    break;
                }
                taken += pairs;
                columns.push(column);
            }
            columns.sort_unstable();
            pattern.col_idx.extend(columns);
            pattern.row_ptr.push(pattern.col_idx.len());
        }
        pattern
    }

    fn selection(self, patterns: Vec<BlockPattern>) -> Result<Selection, ArmError> {
        let pairs: usize = patterns
            .iter()
            .flat_map(|pattern| (0..self.blocks()).map(move |row| (row, pattern.row(row))))
            .map(|(row, columns)| {
                self.width(row)
                    * columns
                        .iter()
                        .map(|column| self.width(*column))
                        .sum::<usize>()
            })
            .sum();
        let density = usize_to_f64(pairs) / usize_to_f64(patterns.len() * self.n * self.n);
        let layout = Layout::dense(self.n, self.n)
            .with_blocks(self.block, self.block)?
            .with_heads(patterns)?;
        Ok(Selection { layout, density })
    }
}

/// Scores of one head, a row of blocks at a time.
struct BlockScores<'a> {
    grid: Grid,
    head_dim: usize,
    /// Queries and keys of the head (n, `head_dim`).
    q: &'a [f32],
    k: &'a [f32],
    /// Scores of a row of blocks (block, n).
    scores: Vec<f32>,
}

impl<'a> BlockScores<'a> {
    fn new(inputs: &NativeInputs<'a>, head: usize, grid: Grid) -> Self {
        let head_dim = inputs.shape.head_dim;
        let of_head = |values: &'a [f32], head: usize| {
            &values[head * grid.n * head_dim..(head + 1) * grid.n * head_dim]
        };
        let kv_head = head / (inputs.shape.num_q_heads / inputs.shape.num_kv_heads);
        Self {
            grid,
            head_dim,
            q: of_head(inputs.q, head),
            k: of_head(inputs.k, kv_head),
            scores: vec![0.0; grid.block.min(grid.n) * grid.n],
        }
    }

    /// Block columns of a block row, greatest maximum first, and of equal ones the first first. The scale is positive and
    /// changes no order, so it is left out.
    fn ranked(&mut self, row: usize) -> Vec<usize> {
        let Grid { n, block } = self.grid;
        let queries = self.grid.width(row);
        let q = &self.q[row * block * self.head_dim..];
        let scores = &mut self.scores[..queries * n];
        let keys = View::row_major(self.k, n, self.head_dim).transposed();
        matmul(View::row_major(q, queries, self.head_dim), keys, scores);
        let mut maxima = vec![f32::NEG_INFINITY; self.grid.blocks()];
        for line in scores.chunks_exact(n) {
            for (maximum, keys) in maxima.iter_mut().zip(line.chunks(block)) {
                *maximum = keys
                    .iter()
                    .fold(*maximum, |maximum, score| maximum.max(*score));
            }
        }
        let mut order: Vec<usize> = (0..maxima.len()).collect();
        order.sort_by(|a, b| maxima[*b].total_cmp(&maxima[*a]));
        order
    }
}

/// Every block column in an order fixed by the seed and the place.
fn shuffled(seed: u64, place: [usize; 3], columns: usize) -> Vec<usize> {
    let seed = place.into_iter().fold(seed, |seed, part| {
        random::bits(
            seed,
            u64::try_from(part).expect("a usize has at most 64 bits"),
        )
    });
    let mut draws = Draws::from_seed(seed);
    let mut order: Vec<usize> = (0..columns).collect();
    for last in (1..columns).rev() {
        order.swap(last, draws.below(last + 1));
    }
    order
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

#[cfg(test)]
mod tests {
    use super::*;
    use flashproof_reference::Shape;
    use proptest::prelude::*;

    /// Values in [-1, 1), fixed by the seed.
    fn values(seed: u64, count: usize) -> Vec<f32> {
        let mut draws = Draws::from_seed(seed);
        (0..count)
            .map(|_| f32::from(u16::try_from(draws.below(65_536)).unwrap()) / 32_768.0 - 1.0)
            .collect()
    }

    const HEADS: usize = 2;
    const HEAD_DIM: usize = 4;

    fn select(arm: &Arm, n: usize, seed: u64, layer: usize) -> Selection {
        let (q, k) = (
            values(seed, HEADS * n * HEAD_DIM),
            values(!seed, HEADS * n * HEAD_DIM),
        );
        let shape = Shape {
            batch: 1,
            num_q_heads: HEADS,
            num_kv_heads: HEADS,
            seqlen_q: n,
            seqlen_kv: n,
            head_dim: HEAD_DIM,
        };
        arm.select(
            layer,
            &NativeInputs {
                q: &q,
                k: &k,
                v: &k,
                shape,
                scale: 0.5,
            },
        )
        .unwrap()
    }

    /// Density by counting, from the definition of visibility.
    fn counted(layout: &Layout, n: usize) -> f64 {
        let visible = (0..HEADS)
            .flat_map(|head| (0..n).flat_map(move |q| (0..n).map(move |k| (head, q, k))))
            .filter(|(head, q, k)| layout.is_visible(*head, *q, *k))
            .count();
        usize_to_f64(visible) / usize_to_f64(HEADS * n * n)
    }

    fn arms(density: f64, block: usize, seed: u64) -> [Arm; 6] {
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

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn density_is_the_stated_one_and_near_its_target(n in 1_usize..70, percent in 1_u8..=100, block in 1_usize..20, seed: u64) {
            let density = f64::from(percent) / 100.0;
            for arm in arms(density, block, seed) {
                let selection = select(&arm, n, seed, 3);
                let counted = counted(&selection.layout, n);
                prop_assert!((selection.density - counted).abs() < 1e-12, "{arm}: stated {}, counted {counted}", selection.density);
                // Keys of a query that attend, against half a block, or against one key where there are no blocks.
                let (excess, limit) = match arm {
                    Arm::Dense => (0.0, 0.0),
                    Arm::Window { .. } | Arm::WindowSink { .. } | Arm::WindowGlobal { .. } => (usize_to_f64(n) * (counted - density), 1.0),
                    Arm::BlockTopK { .. } | Arm::RandomBlocks { .. } => (usize_to_f64(n) * (counted - density), 0.5 * usize_to_f64(block)),
                };
                // Below the least that an arm can do, it does the least: one block a query, or itself and token 0.
                let least = match arm {
                    Arm::BlockTopK { .. } | Arm::RandomBlocks { .. } => usize_to_f64(block.min(n)),
                    Arm::Dense | Arm::Window { .. } | Arm::WindowSink { .. } | Arm::WindowGlobal { .. } => 3.0,
                };
                let at_least = usize_to_f64(n) * counted <= least + 1e-9;
                prop_assert!(excess.abs() <= limit + 1e-9 || (excess > 0.0 && at_least), "{arm} on {n}: {excess} keys a query off");
            }
        }

        #[test]
        fn full_density_shows_every_pair(n in 1_usize..70, block in 1_usize..20, seed: u64) {
            for arm in arms(1.0, block, seed) {
                prop_assert!((select(&arm, n, seed, 0).density - 1.0).abs() < 1e-12, "{arm}");
            }
        }

        #[test]
        fn text_form_reads_back(percent in 1_u8..=100, block in 1_usize..300, seed: u64) {
            for arm in arms(f64::from(percent) / 100.0, block, seed) {
                prop_assert_eq!(arm.to_string().parse::<Arm>(), Ok(arm));
            }
        }

        #[test]
        fn any_text_is_an_arm_or_an_error(text in "[a-z:0-9.-]{0,24}") {
            if let Ok(arm) = text.parse::<Arm>() {
                prop_assert!(arm.check().is_ok());
            }
        }

        #[test]
        fn top_blocks_beat_the_rest(n in 1_usize..50, block in 1_usize..9, seed: u64) {
            let selection = select(&Arm::BlockTopK { density: 0.4, block }, n, seed, 0);
            let (q, k) = (values(seed, HEADS * n * HEAD_DIM), values(!seed, HEADS * n * HEAD_DIM));
            let blocks = n.div_ceil(block);
            for head in 0..HEADS {
                let score = |i: usize, j: usize| -> f64 {
                    (0..HEAD_DIM).map(|c| f64::from(q[(head * n + i) * HEAD_DIM + c]) * f64::from(k[(head * n + j) * HEAD_DIM + c])).sum()
                };
                let maximum = |row: usize, column: usize| {
                    (row * block..n.min((row + 1) * block))
                        .flat_map(|i| (column * block..n.min((column + 1) * block)).map(move |j| (i, j)))
                        .map(|(i, j)| score(i, j))
                        .fold(f64::NEG_INFINITY, f64::max)
                };
                for row in 0..blocks {
                    let chosen = selection.layout.pattern(head).unwrap().row(row);
                    let least = chosen.iter().map(|column| maximum(row, *column)).fold(f64::INFINITY, f64::min);
                    for column in (0..blocks).filter(|column| !chosen.contains(column)) {
                        // Four products of f32 numbers below 1: at most 4 roundings of 2^-24 each way.
                        prop_assert!(maximum(row, column) <= least + 1e-6, "head {head} row {row} column {column}");
                    }
                }
            }
        }
    }

    #[test]
    fn window_counts_by_hand() {
        // Of 4 x 4 pairs a reach of 1 shows 10; token 0 as sink 2 more, as global token 4 more.
        for (arm, expected) in [
            ("window:0.6", 10.0),
            ("window-sink:0.75", 12.0),
            ("window-global:0.87", 14.0),
        ] {
            let selection = select(&arm.parse().unwrap(), 4, 0, 0);
            assert!(
                (selection.density - expected / 16.0).abs() < 1e-12,
                "{arm}: {}",
                selection.density
            );
        }
    }

    #[test]
    fn random_blocks_differ_by_seed_layer_and_head_and_repeat() {
        let layout = |seed, layer| {
            select(
                &Arm::RandomBlocks {
                    density: 0.3,
                    block: 4,
                    seed,
                },
                64,
                1,
                layer,
            )
            .layout
        };
        assert_eq!(layout(5, 2), layout(5, 2));
        assert_ne!(layout(5, 2), layout(6, 2));
        assert_ne!(layout(5, 2), layout(5, 3));
        let layout = layout(5, 2);
        assert_ne!(layout.pattern(0), layout.pattern(1));
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
