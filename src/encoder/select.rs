//! What an arm chooses: the layout of one layer of one text, at the density asked for.
//!
//! Density is the share of the (query, key) pairs of a text that attend, averaged over heads. Every arm is matched to its
//! target text by text, so that a comparison of arms compares where they look and not how much.

use flashproof_reference::random::{self, Draws};
use flashproof_reference::{BlockPattern, Layout, Window};

use crate::backend::native::{NativeInputs, block_maxima};
use crate::convert::usize_to_f64;
use crate::encoder::arm::{Arm, ArmError};
use crate::encoder::calibration::Thresholds;
use crate::encoder::scoring::{block_masses, pooled_scores};

/// What an arm chose for one layer of one text.
#[derive(Clone, Debug)]
pub struct Selection {
    /// The pairs that attend.
    pub layout: Layout,
    /// Their share of all pairs, averaged over heads.
    pub density: f64,
}

impl Arm {
    /// The pairs that attend in one layer of one text (`shape.batch` = 1, as many keys as queries, at least one of each). A
    /// pure function of the seed, the layer, the thresholds and the inputs.
    ///
    /// A window arm is within one key a query of its target, a block arm within half a block a query on average, unless
    /// the target is below the least that the arm can do: a query sees itself, and at least one block.
    pub fn select(
        &self,
        layer: usize,
        inputs: &NativeInputs<'_>,
        thresholds: Option<&Thresholds>,
    ) -> Result<Selection, ArmError> {
        let (n, heads) = (inputs.shape.seqlen_q, inputs.shape.num_q_heads);
        let by_maximum = |block: usize| -> Result<Vec<f32>, ArmError> {
            let blocks = Layout::dense(n, n).with_blocks(block, block)?;
            Ok(block_maxima(inputs, &blocks)?)
        };
        match *self {
            Self::Dense => Ok(Selection {
                layout: Layout::dense(n, n),
                density: 1.0,
            }),
            Self::Window { density } => windowed(n, density, Extra::None),
            Self::WindowSink { density } => windowed(n, density, Extra::Sink),
            Self::WindowGlobal { density } => windowed(n, density, Extra::Global),
            Self::Strided { density } => strided(n, density),
            Self::BlockTopK { density, block } => {
                Grid { n, block }.best(density, &by_maximum(block)?)
            }
            Self::BlockMass { density, block } => {
                Grid { n, block }.best(density, &block_masses(inputs, block))
            }
            Self::BlockPooled { density, block } => {
                Grid { n, block }.best(density, &pooled_scores(inputs, block))
            }
            Self::BlockTopP { mass, block } => {
                let grid = Grid { n, block };
                grid.rowwise(&block_masses(inputs, block), |_, _, masses| {
                    fewest(masses, mass)
                })
            }
            Self::Bsfa { block, .. } => {
                let Some(thresholds) = thresholds else {
                    return Err(ArmError::Uncalibrated {
                        arm: self.to_string(),
                    });
                };
                let grid = Grid { n, block };
                grid.rowwise(&by_maximum(block)?, |head, row, maxima| {
                    reaching(maxima, thresholds.of(layer, head, row))
                })
            }
            Self::BigBird {
                density,
                block,
                seed,
            } => {
                let grid = Grid { n, block };
                let patterns = (0..heads)
                    .map(|head| grid.big_bird(density, seed, [layer, head]))
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
                        grid.pattern(0, density, |row| {
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

/// Every `s`-th key for every query, with `s` such that they are half of the target, and the window that fills it up.
fn strided(n: usize, density: f64) -> Result<Selection, ArmError> {
    let stride = (1..=n)
        .find(|stride| usize_to_f64(n.div_ceil(*stride)) <= 0.5 * density * usize_to_f64(n))
        .unwrap_or(n);
    let row = |q: usize, reach: usize| {
        let (first, last) = (q.saturating_sub(reach), (q + reach).min(n - 1));
        let columns = (0..n).filter(move |k| k % stride == 0 || (first..=last).contains(k));
        columns.collect::<Vec<usize>>()
    };
    let pairs = |reach: usize| (0..n).map(|q| row(q, reach).len()).sum::<usize>();
    let share = |reach: usize| usize_to_f64(pairs(reach)) / (usize_to_f64(n) * usize_to_f64(n));
    // The share grows with the reach: bisect for the first that reaches the target.
    let (mut below, mut above) = (0, n - 1);
    while below < above {
        let middle = below.midpoint(above);
        if share(middle) >= density {
            above = middle;
        } else {
            below = middle + 1;
        }
    }
    let narrower = above.saturating_sub(1);
    let reach = if density - share(narrower) <= share(above) - density {
        narrower
    } else {
        above
    };
    let mut pattern = BlockPattern {
        row_ptr: vec![0],
        col_idx: Vec::new(),
    };
    for q in 0..n {
        pattern.col_idx.extend(row(q, reach));
        pattern.row_ptr.push(pattern.col_idx.len());
    }
    Ok(Selection {
        density: share(reach),
        layout: Layout::dense(n, n)
            .with_blocks(1, 1)?
            .with_heads(vec![pattern])?,
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
    /// Rows before `first` have every block and are not counted.
    fn pattern(
        self,
        first: usize,
        density: f64,
        mut ranked: impl FnMut(usize) -> Vec<usize>,
    ) -> BlockPattern {
        let mut pattern = BlockPattern {
            row_ptr: vec![0],
            col_idx: Vec::new(),
        };
        for _ in 0..first {
            pattern.col_idx.extend(0..self.blocks());
            pattern.row_ptr.push(pattern.col_idx.len());
        }
        let (mut taken, mut queries) = (0.0, 0);
        for row in first..self.blocks() {
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

    /// Blocks in descending order of `scores` (heads, block rows, block columns) up to the density.
    fn best(self, density: f64, scores: &[f32]) -> Result<Selection, ArmError> {
        let columns = self.blocks();
        let patterns = scores
            .chunks_exact(columns * columns)
            .map(|of_head| {
                self.pattern(0, density, |row| {
                    ranked(&of_head[row * columns..(row + 1) * columns])
                })
            })
            .collect();
        self.selection(patterns)
    }

    /// The block columns that `chosen` takes of each row of `scores`, by head and block row.
    fn rowwise(
        self,
        scores: &[f32],
        chosen: impl Fn(usize, usize, &[f32]) -> Vec<usize>,
    ) -> Result<Selection, ArmError> {
        let columns = self.blocks();
        let patterns = scores
            .chunks_exact(columns * columns)
            .enumerate()
            .map(|(head, of_head)| {
                let mut pattern = BlockPattern {
                    row_ptr: vec![0],
                    col_idx: Vec::new(),
                };
                for (row, scores) in of_head.chunks_exact(columns).enumerate() {
                    let mut columns = chosen(head, row, scores);
                    columns.sort_unstable();
                    pattern.col_idx.extend(columns);
                    pattern.row_ptr.push(pattern.col_idx.len());
                }
                pattern
            })
            .collect();
        self.selection(patterns)
    }

    /// Block row 0 whole; in the others block 0, the block itself and its neighbours, then drawn ones.
    fn big_bird(self, density: f64, seed: u64, [layer, head]: [usize; 2]) -> BlockPattern {
        let all = usize_to_f64(self.n * self.n);
        let first = usize_to_f64(self.width(0) * self.n);
        let rest = (density * all - first) / (all - first);
        self.pattern(1, rest, |row| {
            let mut order = vec![row, 0, row - 1, row + 1];
            order.retain(|column| *column < self.blocks());
            order.extend(shuffled(seed, [layer, head, row], self.blocks()));
            let mut seen = vec![false; self.blocks()];
            order.retain(|column| !std::mem::replace(&mut seen[*column], true));
            order
        })
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

/// Block columns, greatest maximum first, and of equal ones the first first.
fn ranked(maxima: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..maxima.len()).collect();
    order.sort_by(|a, b| maxima[*b].total_cmp(&maxima[*a]));
    order
}

/// The fewest block columns, greatest first, whose masses reach `share` of the row's; at least one.
fn fewest(masses: &[f32], share: f64) -> Vec<usize> {
    let target = share * masses.iter().map(|mass| f64::from(*mass)).sum::<f64>();
    let mut held = 0.0;
    let mut chosen = ranked(masses);
    let count = chosen.iter().position(|column| {
        held += f64::from(masses[*column]);
        held >= target
    });
    chosen.truncate(count.map_or(masses.len(), |last| last + 1));
    chosen
}

/// Block columns whose maximum reaches the threshold, or the first of the greatest where none does. NaN reaches none.
fn reaching(maxima: &[f32], threshold: f32) -> Vec<usize> {
    let mut chosen: Vec<usize> = (0..maxima.len())
        .filter(|column| maxima[*column] >= threshold)
        .collect();
    if chosen.is_empty() {
        chosen.extend(ranked(maxima).first());
    }
    chosen
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::arm::every_arm;
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
            Some(&thresholds(arm)),
        )
        .unwrap()
    }

    /// Of one layer and head, reached by about half of the blocks.
    fn thresholds(arm: &Arm) -> Thresholds {
        Thresholds {
            block: arm.block().unwrap_or(1),
            density: 0.5,
            share: 0.5,
            texts: 1,
            values: vec![vec![vec![0.7, 0.8, 0.9]]; 4],
        }
    }

    /// Density by counting, from the definition of visibility.
    fn counted(layout: &Layout, n: usize) -> f64 {
        let visible = (0..HEADS)
            .flat_map(|head| (0..n).flat_map(move |q| (0..n).map(move |k| (head, q, k))))
            .filter(|(head, q, k)| layout.is_visible(*head, *q, *k))
            .count();
        usize_to_f64(visible) / usize_to_f64(HEADS * n * n)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn density_is_the_stated_one_and_near_its_target(n in 1_usize..70, percent in 1_u8..=100, block in 1_usize..20, seed: u64) {
            let density = f64::from(percent) / 100.0;
            for arm in every_arm(density, block, seed) {
                let selection = select(&arm, n, seed, 3);
                let counted = counted(&selection.layout, n);
                prop_assert!((selection.density - counted).abs() < 1e-12, "{arm}: stated {}, counted {counted}", selection.density);
                // Keys of a query that attend, against half a block, or against one key where there are no blocks.
                let off = usize_to_f64(n) * (counted - density);
                let (excess, limit) = match (&arm, arm.block()) {
                    // What the thresholds or the weight ask for, whatever share of the pairs that is.
                    (Arm::Dense | Arm::Bsfa { .. } | Arm::BlockTopP { .. }, _) => (0.0, 0.0),
                    // Its first block row is whole, which may be more than the target leaves.
                    (Arm::BigBird { .. }, _) => (off.max(0.0) * f64::from(u8::from(n > 20 * block)), 2.0 * usize_to_f64(block)),
                    (_, None) => (off, 1.0),
                    (_, Some(block)) => (off, 0.5 * usize_to_f64(block)),
                };
                // Below the least that an arm can do, it does the least: one block a query, or itself and token 0.
                let least = arm.block().map_or(3.0, |block| usize_to_f64(block.min(n)));
                let at_least = usize_to_f64(n) * counted <= least + 1e-9;
                prop_assert!(excess.abs() <= limit + 1e-9 || (excess > 0.0 && at_least), "{arm} on {n}: {excess} keys a query off");
            }
        }

        #[test]
        fn full_density_shows_every_pair(n in 1_usize..70, block in 1_usize..20, seed: u64) {
            for arm in every_arm(1.0, block, seed).into_iter().filter(|arm| !matches!(arm, Arm::Bsfa { .. } | Arm::BlockTopP { .. })) {
                prop_assert!((select(&arm, n, seed, 0).density - 1.0).abs() < 1e-12, "{arm}");
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
}
