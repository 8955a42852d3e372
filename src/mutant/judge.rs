//! What our checks say of a run, and what the field's criteria say.

use super::criteria::{Criterion, Sample, half_precision};
use super::table::Kind;
use super::trial::{SINK_SCORES, Trial};
use crate::bound::{Arithmetic, Bound, Generation};
use crate::convert::{f64_to_f32, index, usize_to_f64};
use crate::kernel::method::{EmptyRow, LseBase, TileOrder};
use crate::simulation::{Fault, Simulated, Simulator, Thresholds};
use crate::verdict::Fault as Disagreement;
use crate::verdict::{Rule, Verdict, judge};
use crate::vm::Target;
use flashproof_reference::{
    Answer, AttentionError, BlockPattern, Layout, Problem, Tensor, attention,
};
use std::collections::BTreeSet;

/// One of our checks. Each says *disagree*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// An output outside its deterministic bound.
    Output,
    /// A log-sum-exp outside its interval.
    Lse,
    /// A row that sees no key holds something else than `o = 0`, `lse = -inf`.
    EmptyRow,
    /// An output outside the interval of the kernel's own schedule.
    Replay,
    /// An output of a row in which only the division rounds, outside what the division may do.
    Exact,
    /// Tiles visited that nothing in the layout asks for, or too few.
    Tiles,
    /// A tile skipped or kept against the threshold.
    Decision,
    /// A finding of the virtual machine.
    Finding,
}

impl Check {
    /// All, in the order of the report.
    pub const ALL: [Self; 8] = [
        Self::Output,
        Self::Replay,
        Self::Lse,
        Self::EmptyRow,
        Self::Exact,
        Self::Tiles,
        Self::Decision,
        Self::Finding,
    ];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Output => "bound A",
            Self::Lse => "lse",
            Self::EmptyRow => "empty rows",
            Self::Replay => "bound C",
            Self::Exact => "exact",
            Self::Tiles => "tiles",
            Self::Decision => "decisions",
            Self::Finding => "vm",
        }
    }
}

/// What was said of one run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// Our checks that said *disagree*.
    pub checks: BTreeSet<Check>,
    /// The field's criteria that refused.
    pub refused: BTreeSet<Criterion>,
    /// Whether any bit differs from the right kernel's.
    pub is_exposed: bool,
    /// Elements that were compared.
    pub compared: usize,
}

impl Said {
    /// The same without the criteria that refuse the right kernel too.
    pub(super) fn beyond(&self, clean: &Self) -> Self {
        Self {
            refused: &self.refused - &clean.refused,
            ..self.clone()
        }
    }
}

/// A trial with everything that does not depend on the fault.
#[derive(Debug)]
pub struct Bench<'a> {
    trial: &'a Trial,
    simulator: Simulator<'a>,
    clean: Simulated,
    arithmetic: Arithmetic,
    /// What is right.
    right: Right,
    /// What the exact scores say of each tile that is tested, and the thresholds; none where nothing is skipped.
    tested: Option<(Vec<TileMax>, Thresholds)>,
    half: Vec<f64>,
}

/// An answer and how far from it a kernel may be.
#[derive(Debug)]
struct Right {
    answer: Answer,
    bound: Bound,
}

impl<'a> Bench<'a> {
    /// Prepares a trial.
    ///
    /// # Errors
    /// If the reference has no answer.
    pub fn new(trial: &'a Trial) -> Result<Self, AttentionError> {
        let method = &trial.design.method;
        let generation = match trial.design.target {
            Target::Sm80 | Target::Sm86 | Target::Sm89 => Generation::Ampere,
            Target::Sm90 | Target::Sm100 => Generation::Hopper,
        };
        // A sink joins the sum at the end, which no replay knows of.
        let order = (trial.kind != Kind::Sinks).then_some(TileOrder::Ascending);
        let arithmetic = Arithmetic::of(method, LseBase::E, generation).with_tile_order(order);
        let mut design = trial.design.clone();
        let tested = (trial.kind == Kind::Skipping).then(|| {
            let tiles = maxima(trial);
            let thresholds = thresholds(trial, &tiles);
            (tiles, thresholds)
        });
        design.thresholds = tested.as_ref().map(|(_, thresholds)| thresholds.clone());
        let simulator = Simulator::new(&trial.problem, design);
        let clean = simulator.run(Fault::None);
        let specified = match trial.kind {
            Kind::Plain => trial.problem.clone(),
            Kind::Sinks => with_sink_keys(&trial.problem),
            Kind::Skipping => restricted(trial, &clean.kept),
        };
        let right = Right::of(&specified, &arithmetic, trial.problem.shape.head_dim)?;
        let d = trial.problem.shape.head_dim;
        let half = channels(&half_precision(&specified), specified.shape.head_dim, d);
        Ok(Self {
            trial,
            simulator,
            clean,
            arithmetic,
            right,
            tested,
            half,
        })
    }

    /// Runs the kernel with a fault and asks everybody.
    ///
    /// # Errors
    /// If the reference has no answer for the tiles that the kernel says it kept.
    pub fn ask(&self, fault: Fault) -> Result<Said, AttentionError> {
        let faulty = (fault != Fault::None).then(|| self.simulator.run(fault));
        let run = faulty.as_ref().unwrap_or(&self.clean);
        let is_exposed = faulty.is_some() && !self.is_clean(run);
        if faulty.is_some() && !is_exposed {
            return Ok(Said::default()); // as the right kernel, of which it is asked once
        }
        let problem = &self.trial.problem;
        let outcome = run.outcome(problem.dtype());
        let own = if self.trial.kind == Kind::Skipping && run.kept != self.clean.kept {
            let specified = restricted(self.trial, &run.kept);
            Some(Right::of(
                &specified,
                &self.arithmetic,
                problem.shape.head_dim,
            )?)
        } else {
            None
        };
        let right = own.as_ref().unwrap_or(&self.right);
        let mut said = Said {
            is_exposed,
            ..Said::default()
        };
        let verdict = judge(
            problem,
            &right.answer,
            &right.bound,
            EmptyRow::Zero,
            &outcome,
        );
        said.compared = match &verdict {
            Verdict::Agree(agreement) => agreement.compared,
            Verdict::Disagree(_) | Verdict::Incomparable(_) | Verdict::Unsupported(_) => 0,
        };
        said.checks.extend(rules(&verdict));
        if run.visits != self.simulator.visits_needed() {
            said.checks.insert(Check::Tiles);
        }
        if self.trial.kind == Kind::Skipping && !self.decisions_are_right(run) {
            said.checks.insert(Check::Decision);
        }
        let out: Vec<f64> = match &outcome {
            crate::outcome::Outcome::Finished(output) => output.o.to_f64(),
            crate::outcome::Outcome::Trapped(_) | crate::outcome::Outcome::Unsupported(_) => {
                Vec::new()
            }
        };
        let sample = Sample {
            out: &out,
            gold: &self.right.answer.o,
            half: &self.half,
            dtype: problem.dtype(),
        };
        let refused = Criterion::ALL
            .into_iter()
            .filter(|one| !one.accepts(&sample));
        said.refused.extend(refused);
        Ok(said)
    }

    fn is_clean(&self, run: &Simulated) -> bool {
        let bits = |x: &[f32]| -> Vec<u32> { x.iter().map(|x| x.to_bits()).collect() };
        bits(&run.o) == bits(&self.clean.o)
            && bits(&run.lse) == bits(&self.clean.lse)
            && run.visits == self.clean.visits
            && run.kept == self.clean.kept
    }

    /// Whether every tile was kept or skipped as the exact scores say, wherever they can tell.
    fn decisions_are_right(&self, run: &Simulated) -> bool {
        let Some((tiles, thresholds)) = &self.tested else {
            return true;
        };
        tiles.iter().all(|tile| {
            let threshold = f64::from(thresholds.at(tile.head, tile.position));
            let kept = run.kept[tile.index];
            tile.is_last
                || (tile.max - threshold).abs() <= tile.margin && tile.margin > 0.0
                || kept == (tile.max >= threshold)
        })
    }
}

impl Right {
    fn of(
        problem: &Problem,
        arithmetic: &Arithmetic,
        head_dim: usize,
    ) -> Result<Self, AttentionError> {
        let mut answer = attention(problem)?;
        let mut bound = Bound::of(problem, &answer, arithmetic);
        answer.o = channels(&answer.o, problem.shape.head_dim, head_dim);
        bound.o = channels(&bound.o, problem.shape.head_dim, head_dim);
        // Suspicion is no verdict, and its numbers have every channel.
        bound.likely.clear();
        bound.deviation.clear();
        Ok(Self { answer, bound })
    }
}

/// The first `d` of every `all` channels.
fn channels(o: &[f64], all: usize, d: usize) -> Vec<f64> {
    o.chunks(all)
        .flat_map(|row| row[..d].iter().copied())
        .collect()
}

/// Our checks that a verdict speaks for.
pub(super) fn rules(verdict: &Verdict) -> BTreeSet<Check> {
    let Verdict::Disagree(faults) = verdict else {
        return BTreeSet::new();
    };
    faults
        .iter()
        .map(|fault| match fault {
            Disagreement::Elements(elements) => match elements.rule {
                Rule::Output => Check::Output,
                Rule::Exact => Check::Exact,
                Rule::Replay => Check::Replay,
                Rule::Lse => Check::Lse,
                Rule::EmptyRow => Check::EmptyRow,
            },
            Disagreement::Finding(_) | Disagreement::Trap(_) => Check::Finding,
        })
        .collect()
}

/// The same problem with the sink as one more key in front, whose v is 0 and whose score is the sink's: one more channel
/// carries it. Softmax with a sink logit is softmax over those keys.
fn with_sink_keys(problem: &Problem) -> Problem {
    let mut shape = problem.shape;
    let d = shape.head_dim;
    let (n, dtype) = (shape.seqlen_kv, problem.dtype());
    let [q, k, v] = [&problem.q, &problem.k, &problem.v].map(|tensor| tensor.to_f32());
    let q: Vec<f32> = q
        .chunks(d)
        .enumerate()
        .flat_map(|(row, q)| {
            let head = row / shape.seqlen_q % shape.num_q_heads;
            let score = SINK_SCORES[head % SINK_SCORES.len()];
            q.iter().copied().chain([score])
        })
        .collect();
    let with_key = |x: &[f32], last: f32| -> Vec<f32> {
        x.chunks(n * d)
            .flat_map(|head| {
                let key = (0..d).map(|_| 0.0).chain([last]);
                let rest = head
                    .chunks(d)
                    .flat_map(|row| row.iter().copied().chain([0.0]));
                key.chain(rest).collect::<Vec<f32>>()
            })
            .collect()
    };
    let (k, v) = (with_key(&k, 1.0), with_key(&v, 0.0));
    shape.head_dim += 1;
    shape.seqlen_kv += 1;
    let layout = Layout::dense(shape.seqlen_q, shape.seqlen_kv)
        .with_causal(problem.layout.causal())
        .with_window(problem.layout.window())
        .with_sinks(1);
    let tensor = |x: &[f32]| Tensor::from_f32_rounded(dtype, x); // exact: they were of this format
    Problem {
        shape,
        q: tensor(&q),
        k: tensor(&k),
        v: tensor(&v),
        scale: problem.scale,
        layout,
    }
}

/// The problem with the tiles that a kernel says it kept for blocks.
fn restricted(trial: &Trial, kept: &[bool]) -> Problem {
    let mut problem = trial.problem.clone();
    let shape = problem.shape;
    let method = &trial.design.method;
    let (tile_q, tile_kv) = (index(method.tile_q), index(method.tile_kv));
    let (rows, columns) = (
        shape.seqlen_q.div_ceil(tile_q),
        shape.seqlen_kv.div_ceil(tile_kv),
    );
    let heads = (0..shape.num_q_heads)
        .map(|head| {
            BlockPattern::from_fn(rows, columns, |row, column| {
                kept[(head * rows + row) * columns + column]
            })
        })
        .collect();
    problem.layout = problem
        .layout
        .with_blocks(tile_q, tile_kv)
        .and_then(|layout| layout.with_heads(heads))
        .expect("a pattern of the layout's own tiles");
    problem
}

/// The largest exact scaled score of a tile that a kernel tests.
#[derive(Debug)]
struct TileMax {
    /// Place in the list of kept tiles.
    index: usize,
    head: usize,
    position: usize,
    max: f64,
    /// How far from it a kernel's may be; 0 where scores are exact.
    margin: f64,
    /// Always kept.
    is_last: bool,
}

fn maxima(trial: &Trial) -> Vec<TileMax> {
    let problem = &trial.problem;
    let (shape, layout) = (problem.shape, &problem.layout);
    let method = &trial.design.method;
    let (tile_q, tile_kv) = (index(method.tile_q), index(method.tile_kv));
    let (rows, columns) = (
        shape.seqlen_q.div_ceil(tile_q),
        shape.seqlen_kv.div_ceil(tile_kv),
    );
    let d = shape.head_dim;
    let scale = f64::from(problem.scale);
    let [q, k] = [&problem.q, &problem.k].map(|tensor| tensor.to_f64());
    // Cut sums of products (see `bound`), blocks of 8 as the worse case, and the product with the scale.
    let error = 1.01 * usize_to_f64(d.div_ceil(8)) * 11.0 / 16_777_216.0;
    let mut tiles: Vec<TileMax> = Vec::new();
    for head in 0..shape.num_q_heads {
        for row in 0..rows {
            let first = tiles.len();
            for column in 0..columns {
                let (mut max, mut magnitude) = (f64::NEG_INFINITY, 0.0_f64);
                for query in row * tile_q..((row + 1) * tile_q).min(shape.seqlen_q) {
                    let keys = column * tile_kv..((column + 1) * tile_kv).min(shape.seqlen_kv);
                    for key in keys.filter(|&key| layout.is_visible(head, query, key)) {
                        let q = &q[(head * shape.seqlen_q + query) * d..][..d];
                        let k = &k[(shape.kv_head(head) * shape.seqlen_kv + key) * d..][..d];
                        let products = q.iter().zip(k).map(|(q, k)| q * k);
                        max = max.max(products.clone().sum::<f64>() * scale);
                        magnitude = magnitude.max(products.map(f64::abs).sum::<f64>() * scale);
                    }
                }
                if max > f64::NEG_INFINITY {
                    let offset = shape.seqlen_kv.saturating_sub(shape.seqlen_q);
                    tiles.push(TileMax {
                        index: (head * rows + row) * columns + column,
                        head,
                        position: (row * tile_q + offset) / tile_q,
                        max,
                        margin: if trial.has_whole_scores {
                            0.0
                        } else {
                            error * magnitude
                        },
                        is_last: false,
                    });
                }
            }
            if let Some(last) = tiles[first..].last_mut() {
                last.is_last = true;
            }
        }
    }
    tiles
}

/// Thresholds that some tiles reach exactly (whole scores), or miss or pass by little more than scores can be off.
fn thresholds(trial: &Trial, tiles: &[TileMax]) -> Thresholds {
    let shape = trial.problem.shape;
    let tile_q = index(trial.design.method.tile_q);
    let positions = shape.seqlen_kv.max(shape.seqlen_q).div_ceil(tile_q);
    let mut values = vec![f32::NEG_INFINITY; shape.num_q_heads * positions];
    for head in 0..shape.num_q_heads {
        for position in 0..positions {
            let mut tested: Vec<&TileMax> = tiles
                .iter()
                .filter(|tile| tile.head == head && tile.position == position && !tile.is_last)
                .collect();
            tested.sort_by(|a, b| a.max.total_cmp(&b.max));
            // Different ranks by head and position, so that thresholds differ from each other.
            let Some(tile) = tested.get((tested.len() / 2 + head + position) % tested.len().max(1))
            else {
                continue;
            };
            values[head * positions + position] = if trial.has_whole_scores {
                f64_to_f32(tile.max)
            } else {
                f64_to_f32(tile.max - 8.0 * tile.margin)
            };
        }
    }
    Thresholds { values, positions }
}
