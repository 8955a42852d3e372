//! One tile of query rows against the keys of their head.

use super::log_sum_exp;
use super::packed::PackedHead;
use crate::simd::{self, LANES, Lanes, Level, Scores, TILE_Q};
use flashproof_reference::Layout;

/// Memory and results of a tile; used for one tile after another.
pub(super) struct Tile<'a> {
    level: Level,
    head: &'a PackedHead,
    scale: f32,
    /// Query rows of the tile in hand, at most `TILE_Q`.
    rows: usize,
    /// Queries, channel by channel (`head_dim`, `TILE_Q`).
    q: Vec<[f32; TILE_Q]>,
    /// Keys that each row sees, for every strip of the head.
    masks: Vec<[u16; TILE_Q]>,
    /// Strips that any row sees, with their masks.
    pub(super) visited: Vec<(usize, [u16; TILE_Q])>,
    /// Scores, later weights, of the visited strips.
    pub(super) scores: Vec<[Lanes; TILE_Q]>,
    row_max: [f32; TILE_Q],
    /// Sums of weight times value (`TILE_Q`, chunks).
    sums: Vec<Lanes>,
}

impl<'a> Tile<'a> {
    pub(super) fn new(level: Level, head: &'a PackedHead, scale: f32) -> Self {
        Self {
            level,
            head,
            scale,
            rows: 0,
            q: vec![[0.0; TILE_Q]; head.head_dim],
            masks: vec![[0; TILE_Q]; head.strips()],
            visited: Vec::new(),
            scores: Vec::new(),
            row_max: [0.0; TILE_Q],
            sums: vec![[0.0; LANES]; TILE_Q * head.chunks],
        }
    }

    /// Scores of the queries `q` (rows, `head_dim`), of which the first is query `first_q`.
    pub(super) fn score(&mut self, q: &[f32], layout: &Layout, q_head: usize, first_q: usize) {
        self.rows = q.len() / self.head.head_dim;
        for (channel, column) in self.q.iter_mut().enumerate() {
            *column = [0.0; TILE_Q];
            let channels = q.iter().skip(channel).step_by(self.head.head_dim);
            for (slot, &value) in column.iter_mut().zip(channels) {
                *slot = value;
            }
        }
        self.see(layout, q_head, first_q);
        self.scores
            .resize(self.visited.len(), [[0.0; LANES]; TILE_Q]);
        let input = Scores {
            q: &self.q,
            k: &self.head.k,
            scale: self.scale,
            visited: &self.visited,
        };
        self.row_max = simd::scores(self.level, input, &mut self.scores);
    }

    /// Finds the strips that the rows see, and which keys of them.
    fn see(&mut self, layout: &Layout, q_head: usize, first_q: usize) {
        self.masks.fill([0; TILE_Q]);
        for row in 0..self.rows {
            for keys in layout.visible_keys(q_head, first_q + row) {
                let (first, last) = (keys.start / LANES, (keys.end - 1) / LANES);
                for (strip, masks) in (first..).zip(&mut self.masks[first..=last]) {
                    let mut seen = u16::MAX;
                    if strip == first {
                        seen &= u16::MAX << (keys.start % LANES);
                    }
                    if strip == last {
                        seen &= u16::MAX >> (LANES - 1 - (keys.end - 1) % LANES);
                    }
                    masks[row] |= seen;
                }
            }
        }
        self.visited.clear();
        self.visited.extend(
            self.masks
                .iter()
                .copied()
                .enumerate()
                .filter(|(_, masks)| masks.iter().any(|&mask| mask != 0)),
        );
        for (_, masks) in &mut self.visited {
            // Rows past the last are computed and dropped: without a mask to apply they cost less.
            masks[self.rows..].fill(u16::MAX);
        }
    }

    /// Outputs (rows, `head_dim`) and log-sum-exp (rows) from the scores, which become weights.
    pub(super) fn attend(&mut self, o: &mut [f32], lse: &mut [f32]) {
        let special = self.special_channels();
        let has_nan: Vec<usize> = (0..self.rows)
            .filter(|&row| self.row_max[row] == f32::INFINITY)
            .filter(|&row| {
                self.scores
                    .iter()
                    .any(|strip| strip[row].iter().any(|score| score.is_nan()))
            })
            .collect();
        let row_sum = simd::weights(self.level, &mut self.scores, self.row_max);
        let head = self.head;
        simd::outputs(
            self.level,
            &self.scores,
            &self.visited,
            &head.v,
            head.chunks,
            &mut self.sums,
        );
        let rows = o
            .chunks_exact_mut(head.head_dim)
            .zip(lse.iter_mut())
            .enumerate();
        for (row, (o, lse)) in rows {
            let sums = self.sums[row * head.chunks..][..head.chunks].as_flattened();
            if row_sum[row].is_nan() {
                // A NaN among the scores, or an infinite one.
                o.fill(f32::NAN);
                let only_infinite = self.row_max[row] == f32::INFINITY && !has_nan.contains(&row);
                *lse = if only_infinite {
                    f32::INFINITY
                } else {
                    f32::NAN
                };
            } else if row_sum[row] > 0.0 {
                for (o, sum) in o.iter_mut().zip(sums) {
                    *o = sum / row_sum[row];
                }
                *lse = log_sum_exp(self.row_max[row], row_sum[row]);
                for &(special_row, channel, value) in &special {
                    if special_row == row {
                        o[channel] = value;
                    }
                }
            } else {
                o.fill(0.0);
                *lse = f32::NEG_INFINITY;
            }
        }
    }

    /// Rows and channels that see a value that is not finite, with what they become; needs the scores.
    fn special_channels(&self) -> Vec<(usize, usize, f32)> {
        let mut special: Vec<(usize, usize, f32)> = Vec::new();
        for &(key, channel, value) in &self.head.non_finite {
            let Ok(place) = self
                .visited
                .binary_search_by_key(&(key / LANES), |&(strip, _)| strip)
            else {
                continue;
            };
            for row in 0..self.rows {
                // Hidden, or removed by an infinite score: unread.
                if self.scores[place][row][key % LANES] == f32::NEG_INFINITY {
                    continue;
                }
                special.push((row, channel, value));
            }
        }
        special.sort_by_key(|&(row, channel, _)| (row, channel));
        special.dedup_by(|next, kept| {
            let same = (next.0, next.1) == (kept.0, kept.1);
            if same {
                // Infinities of both signs, or a NaN: NaN. One sign: itself.
                let sum = kept.2 + next.2;
                kept.2 = if sum.is_nan() { f32::NAN } else { sum };
            }
            same
        });
        special
    }
}
