//! The attended set: which (query, key) pairs influence the output, compared with the pairs of the layout; and which
//! keys were read, compared with those that the work needs.
//!
//! **Weights.** The kernel runs with one-hot values: in run `r`, key `r head_dim + c` has a value in channel `c` alone, so
//! `o[q, c]` is the weight of that key for query `q`, times a number of its head. Keys are coded: query and key `j` have the
//! score `-e(j) ln 2` with `e` of 0 to 3 drawn by head and key, so a weight also says whose score made it. Every pair
//! is seen once in `ceil(seqlen_kv / head_dim)` runs: a weight that must be zero must be exactly zero, any other within a
//! quarter of its value. So a pair that is missing, extra, counted twice, of another head, or weighted by
//! another key's score (three times in four) is found, and named.
//!
//! **Poison.** For some queries all keys that they do not see get a large score and a large value: what the
//! query (and every other one that sees none of those keys) gets must not change by a bit.
//!
//! **Work.** A CTA needs the keys that the queries it writes see. Rows of k that it reads and that lie a tile or more from
//! every key it needs are too much work: the answer is right and the sparsity is wasted.
//!
//! **Can miss.** Poison is tried on 6 queries, not on all. A weight by another key's score whose codes agree. Work
//! of a CTA that writes no output, and of tiles that are read once and computed with twice.

use super::CheckError;
use crate::backend::Settings;
use crate::backend::vm::{Touched, VmOptions, run_watched};
use crate::case::Case;
use crate::convert::f64_to_f32;
use crate::kernel::Kernel;
use crate::kernel::manifest::{EmptyRow, TensorOrder};
use crate::outcome::{Outcome, Output};
use crate::vm::Detectors;
use flashproof_reference::{Problem, Shape, Tensor, random};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Queries whose hidden keys are poisoned.
const POISONED: usize = 6;
/// Most keys of a problem: beyond, a weight is too small for a number of 16 bits to tell it from another.
const SEQLEN_KV_MAX: usize = 4096;

/// What the runs showed.
#[derive(Clone, Debug, PartialEq)]
pub struct Attended {
    /// Pairs that the layout has, all heads and batch entries together.
    pub pairs: usize,
    /// Runs made.
    pub runs: usize,
    /// The first pair that is wrong.
    pub wrong: Option<Pair>,
    /// Tiles read and needed; `None` where no CTA writes what it computes.
    pub work: Option<Work>,
}

/// A pair that influences the output though it must not, or the other way round.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// Batch entry.
    pub batch: usize,
    /// Query head.
    pub head: usize,
    /// Query.
    pub query: usize,
    /// Key; of several that were poisoned together, the first.
    pub key: usize,
    /// What is wrong.
    pub fault: PairFault,
}

/// What is wrong with a pair.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PairFault {
    /// The layout has it, and its weight is zero.
    Missing,
    /// The layout has it not, and it has this weight.
    Extra(f64),
    /// It has another weight.
    Weight {
        /// What it must be, about.
        expected: f64,
        /// What it is.
        got: f64,
    },
    /// The layout has it not, and a large score or value of the key changes the output.
    Poisoned,
}

/// Tiles of keys, summed over CTAs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// Tiles of which a CTA read some row of k.
    pub visited: usize,
    /// Tiles in which a query that the CTA writes sees a key.
    pub needed: usize,
    /// The first row of k that was read for nothing: CTA, batch entry, key head, key.
    pub extra: Option<([u32; 3], [usize; 3])>,
}

impl Attended {
    /// Whether the pairs are those of the layout and no work was wasted.
    pub fn is_clean(&self) -> bool {
        self.wrong.is_none() && self.work.as_ref().is_none_or(|work| work.extra.is_none())
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            batch,
            head,
            query,
            key,
            fault,
        } = self;
        write!(
            f,
            "query {query} and key {key} (batch {batch}, head {head}): "
        )?;
        match fault {
            PairFault::Missing => f.write_str("the layout has the pair, but its weight is 0"),
            PairFault::Extra(weight) => {
                write!(f, "the layout does not have the pair, but its weight is {weight:.3e}")
            }
            PairFault::Weight { expected, got } => {
                write!(f, "its weight is {got:.3e}, but must be about {expected:.3e}")
            }
            PairFault::Poisoned => f.write_str(
                "the layout does not have the pair, but a large score or value of this or a later hidden key changes the output",
            ),
        }
    }
}

/// Runs the kernel on coded problems of the case's shape and layout. `Err` holds why it cannot.
///
/// # Errors
/// As [`super::check`]; a kernel that does not run on the case is the inner error, in words.
pub fn attended(kernel: &Kernel, case: &Case) -> Result<Result<Attended, String>, CheckError> {
    let problem = case.problem()?;
    Ok(examine(kernel, &problem, &Settings::of(case)))
}

fn examine(kernel: &Kernel, problem: &Problem, settings: &Settings) -> Result<Attended, String> {
    let shape = problem.shape;
    if shape.seqlen_kv > SEQLEN_KV_MAX {
        return Err(format!(
            "seqlen_kv = {}: up to {SEQLEN_KV_MAX} keys can be told apart",
            shape.seqlen_kv
        ));
    }
    let code = Code { problem, kernel };
    let mut attended = Attended {
        pairs: code.pairs(),
        runs: 0,
        wrong: None,
        work: None,
    };
    let mut baseline = None;
    for first in (0..shape.seqlen_kv.max(1)).step_by(shape.head_dim) {
        let (output, touched) = code.run(settings, &code.problem(first, None), first == 0)?;
        attended.runs += 1;
        if attended.wrong.is_none() {
            attended.wrong = code.wrong(first, &output);
        }
        if first == 0 {
            attended.work = work(kernel, problem, &touched);
            baseline = Some(output);
        }
    }
    if let Some(baseline) = baseline {
        for query in code.poisoned_queries() {
            let (output, _) = code.run(settings, &code.problem(0, Some(query)), false)?;
            attended.runs += 1;
            if attended.wrong.is_none() {
                attended.wrong = code.poisoned(query, &baseline, &output);
            }
        }
    }
    Ok(attended)
}

/// A problem's shape and layout with coded numbers.
struct Code<'a> {
    problem: &'a Problem,
    kernel: &'a Kernel,
}

impl Code<'_> {
    fn shape(&self) -> Shape {
        self.problem.shape
    }

    fn sees(&self, head: usize, query: usize, key: usize) -> bool {
        self.problem.layout.is_visible(head, query, key)
    }

    fn pairs(&self) -> usize {
        let shape = self.shape();
        let rows = (0..shape.num_q_heads)
            .flat_map(|head| (0..shape.seqlen_q).map(move |query| (head, query)));
        let in_batch: usize = rows
            .map(|(head, query)| {
                (0..shape.seqlen_kv)
                    .filter(|&key| self.sees(head, query, key))
                    .count()
            })
            .sum();
        shape.batch * in_batch
    }

    /// The weight of a key before normalisation: a power of two drawn by head and key.
    fn weight(&self, batch: usize, kv_head: usize, key: usize) -> f64 {
        let shape = self.shape();
        let index = (batch * shape.num_kv_heads + kv_head) * shape.seqlen_kv + key;
        let drawn = random::bits(0x0a77, u64::try_from(index).unwrap_or(u64::MAX)) % 4;
        [1.0, 0.5, 0.25, 0.125][usize::try_from(drawn).expect("below 4")]
    }

    /// The number that the values of a head hold.
    fn value(&self, batch: usize, kv_head: usize) -> f64 {
        [1.0, 2.0, 4.0, 8.0][(batch * self.shape().num_kv_heads + kv_head) % 4]
    }

    /// True where no query `query` of the head's group sees the key.
    fn is_hidden(&self, kv_head: usize, query: usize, key: usize) -> bool {
        let shape = self.shape();
        (0..shape.num_q_heads)
            .filter(|&head| shape.kv_head(head) == kv_head)
            .all(|head| !self.sees(head, query, key))
    }

    /// Keys `first ..` have one-hot values; keys that the query `poison` does not see have large scores and values.
    fn problem(&self, first: usize, poison: Option<usize>) -> Problem {
        let shape = self.shape();
        let d = shape.head_dim;
        let (mut k, mut v) = (Vec::new(), Vec::new());
        for batch in 0..shape.batch {
            for kv_head in 0..shape.num_kv_heads {
                for key in 0..shape.seqlen_kv {
                    let poisoned = poison.is_some_and(|query| self.is_hidden(kv_head, query, key));
                    let score = if poisoned {
                        40.0
                    } else {
                        self.weight(batch, kv_head, key).ln()
                    };
                    let mut row = vec![0.0_f32; d];
                    row[0] = f64_to_f32(score / f64::from(self.problem.scale));
                    k.extend_from_slice(&row);
                    row.fill(if poisoned { 1024.0 } else { 0.0 });
                    if !poisoned && (first..first + d).contains(&key) {
                        row[key - first] = f64_to_f32(self.value(batch, kv_head));
                    }
                    v.extend_from_slice(&row);
                }
            }
        }
        let rows = shape.batch * shape.num_q_heads * shape.seqlen_q;
        let mut q = vec![0.0_f32; rows * d];
        q.iter_mut().step_by(d).for_each(|x| *x = 1.0);
        let dtype = self.problem.dtype();
        Problem {
            q: Tensor::from_f32_rounded(dtype, &q),
            k: Tensor::from_f32_rounded(dtype, &k),
            v: Tensor::from_f32_rounded(dtype, &v),
            ..self.problem.clone()
        }
    }

    fn run(
        &self,
        settings: &Settings,
        problem: &Problem,
        watch: bool,
    ) -> Result<(Output, Vec<Touched>), String> {
        let options = VmOptions {
            detectors: Detectors::NONE,
            ..VmOptions::default()
        };
        let (outcome, watched) = run_watched(self.kernel, problem, settings, &options, watch);
        match outcome {
            Outcome::Finished(output) => Ok((output, watched.touched)),
            Outcome::Unsupported(reason) => Err(reason),
            Outcome::Trapped(found) => Err(found.first().map_or_else(
                || "the kernel was stopped".to_owned(),
                |found| found.message.clone(),
            )),
        }
    }

    /// Rows of the output: batch entry, query head, query, index of the row.
    fn rows(&self) -> impl Iterator<Item = [usize; 4]> {
        let shape = self.shape();
        let (heads, queries) = (shape.num_q_heads, shape.seqlen_q);
        (0..shape.batch * heads * queries).map(move |row| {
            [
                row / queries / heads,
                row / queries % heads,
                row % queries,
                row,
            ]
        })
    }

    /// The first pair whose weight is not that of the layout.
    fn wrong(&self, first: usize, output: &Output) -> Option<Pair> {
        let shape = self.shape();
        let zero_rows = self.kernel.manifest().empty_row == EmptyRow::Zero;
        for [batch, head, query, row] in self.rows() {
            let kv_head = shape.kv_head(head);
            let weight = |key: usize| self.weight(batch, kv_head, key);
            let seen = (0..shape.seqlen_kv).filter(|&key| self.sees(head, query, key));
            let sum: f64 = seen.map(weight).sum();
            if sum == 0.0 && !zero_rows {
                continue;
            }
            for key in first..(first + shape.head_dim).min(shape.seqlen_kv) {
                let got = output
                    .o
                    .get(row * shape.head_dim + key - first)
                    .unwrap_or(f64::NAN);
                let got = got / self.value(batch, kv_head);
                let fault = if self.sees(head, query, key) {
                    let expected = weight(key) / sum;
                    if got == 0.0 {
                        Some(PairFault::Missing)
                    } else if (got / expected - 1.0).abs() <= 0.25 {
                        None
                    } else {
                        Some(PairFault::Weight { expected, got })
                    }
                } else if got == 0.0 {
                    None
                } else {
                    Some(PairFault::Extra(got))
                };
                if let Some(fault) = fault {
                    return Some(Pair {
                        batch,
                        head,
                        query,
                        key,
                        fault,
                    });
                }
            }
        }
        None
    }

    /// Queries at the edges of tiles, and drawn ones.
    fn poisoned_queries(&self) -> BTreeSet<usize> {
        let (seqlen, tile) = (
            self.shape().seqlen_q,
            self.kernel.manifest().tile_shape().tile_q,
        );
        let mut queries: BTreeSet<usize> = [0, tile - 1, tile, seqlen - 1]
            .into_iter()
            .filter(|&q| q < seqlen)
            .collect();
        let mut draws = random::Draws::from_seed(0x0a77);
        for _ in 0..4 * POISONED {
            if queries.len() < POISONED.min(seqlen) {
                queries.insert(draws.below(seqlen));
            }
        }
        queries.retain(|&query| {
            let keys = 0..self.shape().seqlen_kv;
            keys.into_iter().any(|key| {
                (0..self.shape().num_kv_heads).any(|head| self.is_hidden(head, query, key))
            })
        });
        queries
    }

    /// The first query that a poisoned key reached though it sees none.
    fn poisoned(&self, poison: usize, baseline: &Output, output: &Output) -> Option<Pair> {
        let shape = self.shape();
        for [batch, head, query, row] in self.rows() {
            let kv_head = shape.kv_head(head);
            let poisoned: Vec<usize> = (0..shape.seqlen_kv)
                .filter(|&key| self.is_hidden(kv_head, poison, key))
                .collect();
            if poisoned.iter().any(|&key| self.sees(head, query, key)) {
                continue;
            }
            // One-hot values of poisoned keys are gone too, but nobody here sees them.
            let same = (row * shape.head_dim..(row + 1) * shape.head_dim).all(|at| {
                output.o.get(at).map(f64::to_bits) == baseline.o.get(at).map(f64::to_bits)
            });
            let same_lse = output.lse.get(row).map(|x| x.to_bits())
                == baseline.lse.get(row).map(|x| x.to_bits());
            if let (false, Some(&key)) = (same && same_lse, poisoned.first()) {
                return Some(Pair {
                    batch,
                    head,
                    query,
                    key,
                    fault: PairFault::Poisoned,
                });
            }
        }
        None
    }
}

/// Rows (batch entry, head, token) of a tensor that a run of bytes touches.
fn rows_of(
    touched: &Touched,
    order: TensorOrder,
    [batch, heads, seqlen]: [usize; 3],
    row_bytes: usize,
) -> Vec<[usize; 3]> {
    let first = touched.first / row_bytes;
    let end = (touched.first + touched.bytes)
        .div_ceil(row_bytes)
        .min(batch * heads * seqlen);
    (first..end)
        .map(|row| match order {
            TensorOrder::Bhsd => [row / seqlen / heads, row / seqlen % heads, row % seqlen],
            TensorOrder::Bshd | TensorOrder::Varlen => {
                [row / heads / seqlen, row % heads, row / heads % seqlen]
            }
        })
        .collect()
}

fn work(kernel: &Kernel, problem: &Problem, touched: &[Touched]) -> Option<Work> {
    /// Tokens by (batch entry, head).
    type Tokens = BTreeMap<[usize; 2], BTreeSet<usize>>;
    let shape = problem.shape;
    let manifest = kernel.manifest();
    let tile = manifest.tile_shape().tile_kv;
    let row_bytes = shape.head_dim * problem.dtype().size_bytes();
    // By CTA: keys read, queries written.
    let mut ctas: BTreeMap<[u32; 3], [Tokens; 2]> = BTreeMap::new();
    for run in touched {
        let (which, extents) = match (run.buffer.as_str(), run.write) {
            ("k", false) => (0, [shape.batch, shape.num_kv_heads, shape.seqlen_kv]),
            ("o", true) => (1, [shape.batch, shape.num_q_heads, shape.seqlen_q]),
            _ => continue,
        };
        let tokens = &mut ctas.entry(run.cta).or_default()[which];
        for [batch, head, token] in rows_of(run, manifest.tensor_order, extents, row_bytes) {
            tokens.entry([batch, head]).or_default().insert(token);
        }
    }
    if ctas.values().all(|[_, written]| written.is_empty()) {
        return None;
    }
    let mut work = Work {
        visited: 0,
        needed: 0,
        extra: None,
    };
    for (cta, [read, written]) in &ctas {
        let mut needed: Tokens = BTreeMap::new();
        for (&[batch, head], queries) in written {
            let keys = needed.entry([batch, shape.kv_head(head)]).or_default();
            for &query in queries {
                keys.extend(
                    (0..shape.seqlen_kv).filter(|&key| problem.layout.is_visible(head, query, key)),
                );
            }
        }
        let tiles = |tokens: &Tokens| -> usize {
            tokens
                .values()
                .map(|tokens| {
                    tokens
                        .iter()
                        .map(|token| token / tile)
                        .collect::<BTreeSet<_>>()
                        .len()
                })
                .sum()
        };
        work.visited += tiles(read);
        work.needed += tiles(&needed);
        if written.is_empty() || work.extra.is_some() {
            continue;
        }
        for (&[batch, head], keys) in read {
            let near = |key: usize| {
                let range = (key + 1).saturating_sub(tile)..key.saturating_add(tile);
                needed
                    .get(&[batch, head])
                    .is_some_and(|needed| needed.range(range).next().is_some())
            };
            if let Some(&key) = keys.iter().find(|&&key| !near(key)) {
                work.extra = Some((*cta, [batch, head, key]));
                break;
            }
        }
    }
    Some(work)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel;

    fn of(line: &str) -> Attended {
        let case: Case = line.parse().unwrap();
        attended(kernel::by_name(&case.kernel).unwrap(), &case)
            .unwrap()
            .unwrap()
    }

    #[test]
    fn a_right_kernel_attends_to_the_layout_and_reads_no_more() {
        for line in [
            "kernel=block_sparse_sm80 seqlen_q=17 seqlen_kv=65",
            "kernel=block_sparse_sm80 num_q_heads=4 num_kv_heads=2 seqlen_q=130 seqlen_kv=200 layout=causal+window(70,-)+sinks(3)",
            "kernel=block_sparse_sm80 num_q_heads=2 seqlen_q=100 seqlen_kv=190 layout=head_blocks(400,16,32,7)",
        ] {
            let found = of(line);
            assert!(found.is_clean(), "{line}: {found:?}");
            assert!(found.pairs > 0 && found.runs > 1, "{line}");
            let work = found.work.unwrap();
            assert_eq!(work.visited, work.needed, "{line}");
        }
    }

    #[test]
    fn layout_defects_are_named_by_their_first_pair() {
        let wrong = |line: &str| {
            let found = of(line);
            found.wrong.unwrap_or_else(|| panic!("{line}"))
        };
        let pair = wrong("kernel=window_off_by_one seqlen_q=64 seqlen_kv=64 layout=window(4,-)");
        assert_eq!((pair.query, pair.key), (5, 0), "{pair}");
        assert!(matches!(pair.fault, PairFault::Extra(_)), "{pair}");
        let pair =
            wrong("kernel=wrong_kv_head num_q_heads=4 num_kv_heads=2 seqlen_q=16 seqlen_kv=64");
        assert_eq!(pair.head, 1, "{pair}");
        assert!(matches!(pair.fault, PairFault::Weight { .. }), "{pair}");
        let pair = wrong("kernel=ragged_tail_scores_zero seqlen_q=16 seqlen_kv=17");
        assert!(matches!(pair.fault, PairFault::Weight { .. }), "{pair}");
    }
}
