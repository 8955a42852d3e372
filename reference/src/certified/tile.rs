//! One tile: a few query rows of one head against the keys that any of them sees.

mod finish;

#[cfg(test)]
pub(super) use finish::observe;

use super::exponential::EXPONENTIAL;
use super::head::{GROUP, Head, PANEL, Size, all_finite};
use super::loops::{ROW_GROUP, Scores, Values, Weights};
use super::row::Sums;
use super::{Options, Place};
use crate::attention::{AttentionError, Stats};
use crate::definition::{NAN, Score, score};
use crate::problem::Problem;
use crate::random::Draws;
use std::ops::Range;

/// Keys that are worked on together: they start at a multiple of [`GROUP`], are as many, and lie in one panel.
#[derive(Clone, Debug)]
struct Segment {
    keys: Range<usize>,
    /// Where their scores begin in a row of scores.
    column: usize,
}

/// The memory of a tile, kept from one to the next.
#[derive(Default)]
pub(super) struct Scratch {
    /// Queries (rows, `head_dim`).
    q: Vec<f64>,
    q_size: Vec<Size>,
    q_is_finite: Vec<bool>,
    ranges: Vec<Vec<Range<usize>>>,
    segments: Vec<Segment>,
    columns: usize,
    /// Scores (rows, columns), and their second parts where there are any.
    high: Vec<f64>,
    low: Vec<f64>,
    /// By row: largest product of norms among scores that were not exact.
    magnitude: Vec<f64>,
    /// By row: `o` and `lse` of a row of finite numbers that a key that is not finite decides.
    special: Vec<Option<(f64, f64)>>,
    /// By row: keys seen whose values are not all finite.
    special_values: Vec<Vec<usize>>,
    max: Vec<(f64, f64)>,
    /// Slices of the weights of a segment (rows, [`PANEL`]).
    p: [Vec<f64>; 3],
    sum: Vec<Sums>,
    /// Weighted sums (rows, channels).
    o_high: Vec<f64>,
    o_low: Vec<f64>,
    v_max: Vec<f64>,
}

/// A buffer of that many zeros.
fn zeros(buffer: &mut Vec<f64>, len: usize) {
    buffer.clear();
    buffer.resize(len, 0.0);
}

/// A buffer of that many numbers, whatever they are.
fn some(buffer: &mut Vec<f64>, len: usize) {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
}

impl Scratch {
    /// Answers the rows of `place` into `o` and `lse`.
    pub(super) fn answer(
        &mut self,
        problem: &Problem,
        q: &[f64],
        head: &Head,
        place: &Place,
        options: &Options,
        (o, lse): (&mut [f64], &mut [f64]),
    ) -> Result<Stats, AttentionError> {
        let head_dim = problem.shape.head_dim;
        self.take_queries(problem, q, head_dim);
        self.find_segments(problem, head, place);
        self.score(head, head_dim, options);
        self.hide(problem, head, place);
        self.find_max(lse.len());
        self.weigh(problem, head, head_dim, options, lse.len());
        self.round(problem, head, place, options, (o, lse))
    }

    /// Queries, negated where the scale is negative, so that the largest product has the largest score.
    fn take_queries(&mut self, problem: &Problem, q: &[f64], head_dim: usize) {
        let rows = q.len() / head_dim;
        let padded = rows.next_multiple_of(ROW_GROUP);
        zeros(&mut self.q, padded * head_dim);
        self.special.clear();
        self.special.resize(rows, None);
        self.special_values.resize(rows, Vec::new());
        self.q_size.clear();
        self.q_size.resize(padded / ROW_GROUP, Size::default());
        self.q_is_finite.clear();
        for (row, (from, to)) in q
            .chunks_exact(head_dim)
            .zip(self.q.chunks_exact_mut(head_dim))
            .enumerate()
        {
            let is_finite = all_finite(from);
            self.q_is_finite.push(is_finite);
            if is_finite {
                to.copy_from_slice(from);
                let size = &mut self.q_size[row / ROW_GROUP];
                *size = size.max(Size::of(from));
            }
        }
        if problem.scale < 0.0 {
            for q in &mut self.q {
                *q = -*q;
            }
        }
    }

    /// The keys that any row sees, in whole groups.
    fn find_segments(&mut self, problem: &Problem, head: &Head, place: &Place) {
        let mut seen = vec![false; head.keys / GROUP];
        let layout = &problem.layout;
        self.ranges.resize(place.rows.len(), Vec::new());
        for (index, row) in place.rows.clone().enumerate() {
            let (known, rest) = self.ranges.split_at_mut(index);
            let ranges = &mut rest[0];
            match known.last() {
                Some(above) if layout.sees_as_above(row) => ranges.clone_from(above),
                _ => {
                    ranges.clear();
                    ranges.extend(layout.visible_keys(place.q_head, row));
                    for range in &*ranges {
                        seen[range.start / GROUP..range.end.div_ceil(GROUP)].fill(true);
                    }
                }
            }
        }
        self.segments.clear();
        self.columns = 0;
        for (group, _) in seen.into_iter().enumerate().filter(|(_, seen)| *seen) {
            let start = group * GROUP;
            match self.segments.last_mut() {
                Some(last) if last.keys.end == start && !start.is_multiple_of(PANEL) => {
                    last.keys.end += GROUP;
                }
                _ => self.segments.push(Segment {
                    keys: start..start + GROUP,
                    column: self.columns,
                }),
            }
            self.columns += GROUP;
        }
    }

    fn score(&mut self, head: &Head, head_dim: usize, options: &Options) {
        /// Up to here whole numbers are exact in f64.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        let rows = self.q_size.len() * ROW_GROUP;
        let groups = |segments: &[Segment]| -> Vec<(usize, usize)> {
            let groups = segments.iter().flat_map(|segment| {
                let first = segment.keys.start / GROUP;
                (first..segment.keys.end / GROUP)
                    .map(move |group| (group, segment.column + (group - first) * GROUP))
            });
            groups.collect()
        };
        let groups = groups(&self.segments);
        some(&mut self.high, rows * self.columns);
        self.low.clear();
        zeros(&mut self.magnitude, self.q_size.len());
        for &(group, column) in &groups {
            let (size, k) = (head.k_size[group], &head.k[group * head_dim * GROUP..]);
            for (block, q_size) in self.q_size.iter().enumerate() {
                let exact = q_size.ratio * size.ratio <= EXACT;
                if !exact {
                    if self.low.is_empty() {
                        self.low.resize(rows * self.columns, 0.0);
                    }
                    let magnitude = q_size.norm * size.norm;
                    self.magnitude[block] = self.magnitude[block].max(magnitude);
                }
                let first = block * ROW_GROUP * self.columns + column;
                options.level.run(Scores {
                    q: &self.q[block * ROW_GROUP * head_dim..],
                    k: &k[..head_dim * GROUP],
                    exact,
                    high: &mut self.high[first..],
                    low: if exact {
                        &mut []
                    } else {
                        &mut self.low[first..]
                    },
                    stride: self.columns,
                });
            }
        }
    }

    /// Puts `-inf` for scores of hidden keys, and settles rows and keys that are not finite.
    fn hide(&mut self, problem: &Problem, head: &Head, place: &Place) {
        for (index, (ranges, row)) in self.ranges.iter().zip(place.rows.clone()).enumerate() {
            let scores = &mut self.high[index * self.columns..][..self.columns];
            let mut ranges = ranges.iter().peekable();
            for Segment { keys, column } in &self.segments {
                let at = |key: usize| key - keys.start + column;
                let mut hidden_from = keys.start;
                while let Some(range) = ranges.peek().filter(|range| range.start < keys.end) {
                    let start = range.start.max(keys.start);
                    scores[at(hidden_from)..at(start)].fill(f64::NEG_INFINITY);
                    hidden_from = range.end.min(keys.end);
                    if range.end > keys.end {
                        break;
                    }
                    ranges.next();
                }
                scores[at(hidden_from)..at(keys.end)].fill(f64::NEG_INFINITY);
            }
            self.special_values[index].clear();
            let q_row = place.q_row(problem, row);
            for &key in &head.special {
                if !problem.layout.is_visible(place.q_head, row, key) {
                    continue;
                }
                let infinite = match score(problem, q_row, place.kv_row(problem, key)) {
                    Score::Finite(_) => {
                        self.special_values[index].push(key);
                        continue;
                    }
                    Score::NegativeInfinity => {
                        let segment = self.segments.partition_point(|s| s.keys.end <= key);
                        let Segment { keys, column } = &self.segments[segment];
                        scores[column + key - keys.start] = f64::NEG_INFINITY;
                        continue;
                    }
                    Score::PositiveInfinity => (NAN, f64::INFINITY),
                    Score::NaN => (NAN, NAN),
                };
                // A NaN outdoes an infinity.
                if self.special[index].is_none_or(|(_, lse)| !lse.is_nan()) {
                    self.special[index] = Some(infinite);
                }
            }
        }
    }

    /// The largest score of each row, by both parts; `-inf` where nothing is seen.
    fn find_max(&mut self, rows: usize) {
        self.max.clear();
        for row in 0..rows {
            let high = &self.high[row * self.columns..][..self.columns];
            let mut lanes = [f64::NEG_INFINITY; GROUP];
            for scores in high.chunks_exact(GROUP) {
                for (max, &score) in lanes.iter_mut().zip(scores) {
                    *max = if score > *max { score } else { *max };
                }
            }
            let max = lanes.into_iter().fold(f64::NEG_INFINITY, f64::max);
            let mut max_low = 0.0;
            if !self.low.is_empty() && max.is_finite() {
                let low = &self.low[row * self.columns..][..self.columns];
                max_low = high
                    .iter()
                    .zip(low)
                    .filter(|(high, _)| **high >= max)
                    .fold(f64::NEG_INFINITY, |max, (_, &low)| max.max(low));
            }
            self.max.push((max, max_low));
        }
    }

    fn weigh(
        &mut self,
        problem: &Problem,
        head: &Head,
        head_dim: usize,
        options: &Options,
        rows: usize,
    ) {
        let padded = self.q_size.len() * ROW_GROUP;
        let channels = head_dim.next_multiple_of(GROUP);
        let scale = f64::from(problem.scale).abs();
        for p in &mut self.p {
            some(p, padded * PANEL);
        }
        zeros(&mut self.o_high, padded * channels);
        zeros(&mut self.o_low, padded * channels);
        zeros(&mut self.v_max, channels);
        self.sum.clear();
        self.sum.resize(rows, Sums::default());
        let mut order: Vec<&Segment> = self.segments.iter().collect();
        if options.order > 0 {
            let draws = &mut Draws::from_seed(options.order);
            for last in (1..order.len()).rev() {
                order.swap(last, draws.below(last + 1));
            }
        }
        for Segment { keys, column } in order {
            let panel = keys.start / PANEL;
            let v_max = &head.v_max[panel * head_dim..][..head_dim];
            for (max, &v) in self.v_max.iter_mut().zip(v_max) {
                *max = max.max(v);
            }
            let [p1, p2, p3] = &mut self.p;
            for row in 0..rows {
                let scores = row * self.columns + column;
                let place = row * PANEL..row * PANEL + keys.len();
                let sums = options.level.run(Weights {
                    exponential: &EXPONENTIAL,
                    high: &self.high[scores..scores + keys.len()],
                    low: self.low.get(scores..scores + keys.len()).unwrap_or(&[]),
                    max: self.max[row],
                    scale,
                    p: [
                        &mut p1[place.clone()],
                        &mut p2[place.clone()],
                        &mut p3[place],
                    ],
                });
                self.sum[row].add(sums);
            }
            for group in 0..channels / GROUP {
                let v = (group * head.keys + keys.start) * GROUP;
                for block in 0..padded / ROW_GROUP {
                    let first = block * ROW_GROUP * channels + group * GROUP;
                    options.level.run(Values {
                        p: [&*p1, &*p2, &*p3].map(|p| &p[block * ROW_GROUP * PANEL..]),
                        v: &head.v[v..v + keys.len() * GROUP],
                        narrow: head.v_is_narrow[panel],
                        high: &mut self.o_high[first..],
                        low: &mut self.o_low[first..],
                        stride: channels,
                    });
                }
            }
        }
    }
}
