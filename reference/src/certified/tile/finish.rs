//! The end of a tile: accepts what is certain, and asks a higher level for the rest.

use super::{Scratch, Segment, zeros};
use crate::attention::{AttentionError, Stats};
use crate::certified::head::{GROUP, Head};
use crate::certified::loops::ROW_GROUP;
use crate::certified::row::{Bounds, Quotients};
use crate::certified::second::{self, Second};
use crate::certified::{Options, Place};
use crate::definition::{Row, Seen, sum_of_non_finite};
use crate::exact::Dyadic;
use crate::problem::Problem;

impl Scratch {
    /// Accepts what is certain, and asks a higher level for the rest.
    pub(super) fn round(
        &self,
        problem: &Problem,
        head: &Head,
        place: &Place,
        options: &Options,
        (o, lse): (&mut [f64], &mut [f64]),
    ) -> Result<Stats, AttentionError> {
        let head_dim = problem.shape.head_dim;
        let channels = head_dim.next_multiple_of(GROUP);
        let mut stats = Stats::default();
        let [mut rounded, mut up, mut down] = [const { Vec::new() }; 3];
        for buffer in [&mut rounded, &mut up, &mut down] {
            zeros(buffer, channels);
        }
        let rows = o
            .chunks_exact_mut(head_dim)
            .zip(lse)
            .zip(place.rows.clone());
        for (index, ((o, lse), row)) in rows.enumerate() {
            let q_row = place.q_row(problem, row);
            let q_is_finite = self.q_is_finite[index];
            if let Some(special) = self.special[index].filter(|_| q_is_finite) {
                o.fill(special.0);
                *lse = special.1;
                stats.count_row(head_dim + 1, [0; 2]);
                continue;
            }
            let mut open = Vec::new();
            let mut lse_is_open = false;
            if self.ranges[index].is_empty()
                || (q_is_finite && self.max[index].0 == f64::NEG_INFINITY)
            {
                o.fill(0.0);
                *lse = f64::NEG_INFINITY;
                stats.count_row(head_dim + 1, [0; 2]);
                continue;
            } else if q_is_finite {
                let bounds = self.bounds(problem, index, options);
                let row = index * channels..(index + 1) * channels;
                options.level.run(Quotients {
                    bounds: &bounds,
                    high: &self.o_high[row.clone()],
                    low: &self.o_low[row],
                    v_max: &self.v_max,
                    rounded: &mut rounded,
                    doubt: [&mut up, &mut down],
                });
                for (channel, o) in o.iter_mut().enumerate() {
                    *o = rounded[channel];
                    if !Quotients::is_certain(*o, [up[channel], down[channel]]) {
                        open.push(channel);
                    }
                }
                match bounds.log_sum_exp() {
                    Some(value) => *lse = value,
                    None => lse_is_open = true,
                }
            } else {
                (open, lse_is_open) = ((0..head_dim).collect(), true);
            }
            self.mark_special_values(problem, place, index, (o, &mut open));
            open.retain(|&channel| {
                // A channel of zeros needs no certificate.
                let at = index * channels + channel;
                let zero = q_is_finite
                    && self.o_high[at].abs() + self.o_low[at].abs() <= 0.0
                    && self.sees_only_zeros(head, index, channel);
                if zero {
                    o[channel] = 0.0;
                }
                !zero
            });
            let left_open = open.len() + usize::from(lse_is_open);
            if left_open > 0 && q_is_finite && options.fixed_point {
                self.ask_second(problem, head, index, &mut open, (o, lse, &mut lse_is_open));
            }
            let last = open.len() + usize::from(lse_is_open);
            stats.count_row(head_dim + 1 - left_open, [left_open - last, last]);
            if last == 0 {
                continue;
            }
            let seen = if q_is_finite && self.magnitude[index / ROW_GROUP] <= 0.0 {
                Seen::Finite(Row::of_scores(
                    problem,
                    self.exact_scores(problem, place, index),
                ))
            } else {
                let keys = self.ranges[index].iter().cloned().flatten();
                let kv_rows: Vec<usize> = keys.map(|key| place.kv_row(problem, key)).collect();
                Row::read(problem, q_row, &kv_rows)
            };
            match seen {
                Seen::Special { o: value, lse: log } => {
                    o.fill(value);
                    *lse = log;
                }
                Seen::Finite(row) => {
                    for channel in open {
                        o[channel] = stats.count_bits(row.output(channel)?);
                    }
                    if lse_is_open {
                        *lse = stats.count_bits(row.log_sum_exp()?);
                    }
                }
            }
        }
        Ok(stats)
    }

    /// Settles what 192 bits settle, and takes it off the list of what is open.
    fn ask_second(
        &self,
        problem: &Problem,
        head: &Head,
        index: usize,
        open: &mut Vec<usize>,
        (o, lse, lse_is_open): (&mut [f64], &mut f64, &mut bool),
    ) {
        let head_dim = problem.shape.head_dim;
        let exact = self.magnitude[index / ROW_GROUP] <= 0.0;
        let q = &self.q[index * head_dim..][..head_dim];
        let scores: Vec<(usize, second::Score)> = self
            .seen(index)
            .map(|(key, score)| {
                let score = if exact {
                    second::Score::of(score)
                } else {
                    let k = &head.k[key / GROUP * head_dim * GROUP..][key % GROUP..];
                    second::Score::dot(q.iter().copied().zip(k.iter().step_by(GROUP).copied()))
                };
                (key, score)
            })
            .collect();
        let Some(row) = Second::new(&scores, f64::from(problem.scale).abs()) else {
            return;
        };
        open.retain(|&channel| {
            let group = channel / GROUP * head.keys;
            let value = |key: usize| head.v[(group + key) * GROUP + channel % GROUP];
            let found = row.output(value);
            o[channel] = found.unwrap_or(o[channel]);
            found.is_none()
        });
        if let Some(value) = row.log_sum_exp().filter(|_| *lse_is_open) {
            (*lse, *lse_is_open) = (value, false);
        }
    }

    /// Keys that a row sees, and the scores that f64 has for them.
    fn seen(&self, index: usize) -> impl Iterator<Item = (usize, f64)> {
        let scores = &self.high[index * self.columns..][..self.columns];
        let all = self.segments.iter().flat_map(|Segment { keys, column }| {
            keys.clone().zip(scores[*column..].iter().copied())
        });
        all.filter(|(_, score)| *score != f64::NEG_INFINITY)
    }

    /// Keys that a row sees and their scores, which were exact in f64 before the scale.
    fn exact_scores(&self, problem: &Problem, place: &Place, index: usize) -> Vec<(usize, Dyadic)> {
        let scale = Dyadic::from_f64(f64::from(problem.scale).abs());
        let scale = scale.expect("the scale of a valid problem is finite");
        self.seen(index)
            .filter_map(|(key, score)| {
                let score = &scale * &Dyadic::from_f64(score)?;
                Some((place.kv_row(problem, key), score))
            })
            .collect()
    }

    fn bounds(&self, problem: &Problem, index: usize, options: &Options) -> Bounds {
        Bounds::new(
            &self.sum[index],
            self.max[index],
            f64::from(problem.scale).abs(),
            self.magnitude[index / ROW_GROUP],
            (problem.shape.head_dim, self.columns, self.segments.len()),
            options.error_factor,
        )
    }

    /// Channels with a seen value that is not finite: nothing else matters there, for no weight is 0.
    fn mark_special_values(
        &self,
        problem: &Problem,
        place: &Place,
        index: usize,
        (o, open): (&mut [f64], &mut Vec<usize>),
    ) {
        let keys = &self.special_values[index];
        if keys.is_empty() {
            return;
        }
        for (channel, o) in o.iter_mut().enumerate() {
            let v: Vec<f64> = keys
                .iter()
                .filter_map(|&key| {
                    let row = place.kv_row(problem, key);
                    problem.v.get(row * problem.shape.head_dim + channel)
                })
                .collect();
            if v.iter().any(|v| !v.is_finite()) {
                *o = sum_of_non_finite(&v);
                open.retain(|&other| other != channel);
            }
        }
    }

    fn sees_only_zeros(&self, head: &Head, index: usize, channel: usize) -> bool {
        let group = channel / GROUP * head.keys;
        let value = |key: usize| head.v[(group + key) * GROUP + channel % GROUP];
        let mut seen = self.ranges[index].iter().cloned().flatten();
        // Keys with score -inf hold nothing that is seen; they only make this refuse more.
        seen.all(|key| value(key) == 0.0)
    }
}

/// Every quotient of a dense problem of one head, before acceptance: (row, channel, value).
#[cfg(test)]
pub(in crate::certified) fn observe(
    problem: &Problem,
    mut see: impl FnMut(usize, usize, crate::certified::row::Certified),
) {
    let head_dim = problem.shape.head_dim;
    let [q, k, v] = [&problem.q, &problem.k, &problem.v].map(|tensor| tensor.to_f64());
    let head = Head::new(&k, &v, head_dim);
    let rows = problem.shape.seqlen_q;
    let place = Place {
        batch: 0,
        q_head: 0,
        rows: 0..rows,
    };
    let mut scratch = Scratch::default();
    let (mut o, mut lse) = (vec![0.0; rows * head_dim], vec![0.0; rows]);
    let options = Options::default();
    scratch
        .answer(problem, &q, &head, &place, &options, (&mut o, &mut lse))
        .expect("plain numbers");
    let channels = head_dim.next_multiple_of(GROUP);
    for row in 0..rows {
        let bounds = scratch.bounds(problem, row, &options);
        for channel in 0..head_dim {
            let at = row * channels + channel;
            let sums = (scratch.o_high[at], scratch.o_low[at]);
            see(row, channel, bounds.certified(sums, scratch.v_max[channel]));
        }
    }
}
