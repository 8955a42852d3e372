//! How far a right kernel may be from the answer: a bound for every output element, from its roundings and these inputs.
//!
//! The bound is deterministic: no rounding is assumed to be random, no sum to have an order, no tile to come first. It
//! is evaluated on the inputs of one problem, so it knows the real weights, and it is a bound on a *method* (tiles,
//! formats, exponential), not on a kernel's name.
//!
//! # The method
//!
//! Online softmax (Dao, FlashAttention-2, arXiv 2307.08691, algorithm 1), base 2. Notation for one row: keys `j` it
//! sees, `n` of them, in `T` tiles; exact scores `x_j = scale * q . k_j`; `M = max x_j`; `w_j = e^(x_j - M)`;
//! `D = sum w_j`; `p_j = w_j / D`; `u = 2^-24`.
//!
//! # Derivation
//!
//! **Scores.** With `A_j` the sum of the magnitudes `|q_l k_jl|` (subnormal operands raised to the smallest normal
//! number, because tensor cores do not normalise them), the computed score is off by at most `e_j = s A_j`, where `s`
//! is `Arithmetic::sum_error` of `head_dim` products.
//!
//! **Weights.** Softmax does not change when all scores are shifted, so the maximum that is subtracted need not be
//! right: only errors that differ from key to key count. Key `j` of a tile enters with the tile's running maximum and is
//! rescaled `R <= T - 1` times (a tile that does not raise the maximum rescales by `2^0 = 1`, exactly). The differences
//! in the arguments of its exponential and of its rescalings telescope to `M - x_j`. So the weight it ends with, up to a
//! factor common to all keys, is `w_j e^(theta_j)` with `|theta_j| <= eta_j`:
//!
//! ```text
//! eta_j = |scale| e_j                                               the score
//!       + difference (M - x_j + |scale| (e_j + e_max))              argument: per unit of difference
//!       + magnitude max(|x_j|, |M|) (1, or 1 + R)                   argument: rounding of row_max * scale_log2
//!       + exponential (1 + R)                                       its own and R rescalings' exponentials
//! ```
//!
//! **Output.** Let `d_j = e^(eta_j) - 1` and `ebar = sum p_j d_j`. Exactly evaluated, those weights give a quotient off
//! by `sum (w~_j - w_j)(v_j - o) / sum w~_j`, because `sum w_j (v_j - o) = 0`: at most
//!
//! ```text
//! B1 = sum p_j d_j |v_j - o| / (1 - ebar)
//! ```
//!
//! The numerator is not exactly evaluated. With `S = sum p_j (1 + d_j) |v_j|`:
//!
//! ```text
//! B2 = [ weight S                                                   rounding of a weight to the format of P
//!      + tiny / D sum_{w_j e^(-eta_j) < normal} |v_j|               the same, for weights that become subnormal
//!      + (sums + R u) (S + .. )                                     second product, and R rescalings of o
//!      + underflow ] / (1 - ebar)
//! ```
//!
//! The largest weight is 1, a number of every format, whenever its tile comes, for the maximum of its tile is its own
//! score: computed, it is within `eta_1 = 2 |scale| e_max + magnitude |M| + exponential` of 1 and rounded by no more. So
//! its part of `weight S` is `min(weight, e^eta_1 - 1) p_max |v_max|` (where the method subtracts the running maximum
//! itself; `Elsewhere` does not assume it).
//!
//! Here `sums` is `Arithmetic::sum_error` of `T` chained tiles, whose alignment also sees `min (1 + max |v_j|) / D`,
//! the smallest normal number in place of subnormal weights and values. The row sum passes through at most
//! `depth = min(n, T ceil(tile / lanes)) + 2 T + log2(lanes)` roundings and all its terms are positive: relative error
//! `gamma = (1 + u)^depth - 1`. With the division, `h = (division + gamma) / (1 - gamma)` and
//!
//! ```text
//! B = B1 + (|o| + B1) h + B2 (1 + h)
//! ```
//!
//! **Log-sum-exp.** `ln` of the computed row sum is off by `ebar / (1 - ebar) + gamma / (1 - gamma)`; the logarithm adds
//! `logarithm ln 2 max(1, log2 D) + 2 u ln D`, the products and the sum with the maximum `lse_max |M| + lse_result |L|`.
//!
//! **Rows without rounding.** Where the inputs are whole numbers so small that no sum of them is rounded, and every
//! score is the row's largest or so far below it that its weight is 0 in f32, the weights are 1 and 0 and their sums
//! exact: all that is left of `B` is `|o| division`, and of the bound of the log-sum-exp what the logarithm and the
//! products after it add. (The scores may be any whole numbers if the argument of the exponential is exactly 0 at the
//! maximum: a subtraction, or a maximum of 0.) An output whose visible values are all 0 is 0.
//!
//! # The likely bound
//!
//! `Bound::likely` takes roundings of weights for independent: by Azuma's inequality (Ipsen and Zhou, arXiv 1906.10465,
//! use it so) their sum stays within `weight (|o| + 6.5 sqrt(sum p_j^2 (v_j - o)^2))` but for 1.3e-9 of outputs, and
//! the row sum within `6.5 u sqrt(depth)`; keys come in ascending order, so that the accumulator's real size replaces
//! its largest, and only tiles that raise the maximum rescale. **Structured inputs break the independence**: two levels
//! of scores can make every rounding push the same way, 3.4 times this bound on a right kernel. So what exceeds it is
//! *suspicious*, which is said and counted, and never makes a kernel wrong. `Bound::deviation` is the same with single
//! standard deviations, for the root mean square over a tensor.
//!
//! # The replay
//!
//! Where a kernel's tiles and their order are known, and weights are rounded to 16 bits, most rounded weights are known
//! too. Let `m_T` be the exact running maximum once tile `T` is seen, `w_j = e^(x_j - m_T)`, `P_j` its rounding, and
//! `c_T = e^(m_T - M) / D`. The centre is `o* = sum_T c_T sum_j P_j v_j`. A right kernel's weight before its rounding
//! is within `eta'_j = |scale| (e_j + e_max) + difference (m_T - x_j + ..) + magnitude max(|x_j|, |m_T|) + exponential`
//! of `w_j` (here the maximum's error counts, for it decides what is rounded), so its rounding lies between those of
//! `w_j e^(-eta'_j)` and `w_j e^(eta'_j)`, nearly always one number; `a_j` is how far they are from `P_j`. What the
//! kernel subtracts, `m_T` with its error of at most `|scale| e_max`, and the `R_T` rescalings that follow, multiply all of a
//! tile by `e^(+-eta_T)`, `eta_T = |scale| e_max + difference (M - m_T + ..) + R_T (exponential + ..)`; what is common
//! to all tiles cancels with the row sum, in which the shift of a weight by its maximum cancels too, so that its error
//! is `ebar` as above. Keys and channels come in a known order, so three things are smaller than for A:
//!
//! * `e_j` follows the accumulator from block to block. For the scores that decide (those that may be the maximum, and
//!   those whose weight's rounding is not certain) it is counted addend by addend: an addend is cut only if its lowest
//!   bit lies below `2^(E - F)`, the accumulator likewise, and the sum loses bits only if it has more than 24;
//! * `ebar` has these `e_j`, and only the tiles that may raise the maximum rescale;
//! * an addition of the row sum is off by `u` of the sum so far, `s_T` after tile `T` in units of the whole, so `gamma`
//!   comes from `sum_T (min(n_T, ceil(tile / lanes)) + 2) u s_T + log2(lanes) u`, times `1 + 2 (ebar + gamma)` because
//!   sums so far are off themselves.
//!
//! With `|acc|` the accumulator when the tile begins,
//!
//! ```text
//! B_C = [ sum_T c_T |sum_j P_j v_j| (e^eta_T - 1)                   maxima and rescalings
//!       + sum_T c_T e^eta_T sum_j a_j |v_j|                         weights whose rounding is not certain
//!       + sum_T sums (|acc| + c_T sum_j P_j |v_j|) + u |acc|        second product, rescalings of o
//!       + |o*| (ebar + gamma + division) ] / ((1 - ebar)(1 - gamma))
//! ```
//!
//! and a right result lies within `o* +- B_C` before its last rounding, as well as within the schedule-free bound.
//!
//! # The reference
//!
//! It is the real answer rounded once to f64 (`flashproof_reference::attention`): half an ulp is added to
//! both. The weights that this bound itself computes in plain f64 are off by some `2^-53 (head_dim |x| + n)`, which its
//! slack of a thousandth pays for.
//!
//! A result `r` is accepted when `RN(answer - B) <= r <= RN(answer + B)`, with `RN` the rounding to the output's format:
//! rounding is monotone, so this needs no further allowance for the last rounding.
//!
//! # What it can miss
//!
//! A deterministic bound grows with every rounding, while real errors cancel: it is some 5 to 100 times the usual error
//! (`reports/verification/bounds.md` has the ratios), so a fault smaller than that passes. Families of values with exact
//! answers (see `case::values`) and the replay close most of the gap.

mod arithmetic;
mod elsewhere;
mod replay;
#[cfg(test)]
mod replay_tests;
mod row;
mod score;
#[cfg(test)]
mod simulation_tests;
#[cfg(test)]
mod soak_tests;
mod source;
#[cfg(test)]
mod tests;
mod tile;

pub use arithmetic::{Arithmetic, Generation, Sums, TileOrder};
pub use elsewhere::{Elsewhere, NoBound};
pub use replay::Replayed;
pub use source::{Source, half_ulp, sources};

use flashproof_reference::{Answer, Problem};
use rayon::prelude::*;
use tile::{Head, Place, ROWS, Tile, TileBounds};

/// How far from an [`Answer`] a right result may be, element by element. Infinite (or NaN) where nothing is promised:
/// inputs that are not finite, or so large that a score's error exceeds its meaning.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bound {
    /// For the outputs before their last rounding (batch, `num_q_heads`, `seqlen_q`, `head_dim`).
    pub o: Vec<f64>,
    /// For the log-sum-exp before its last rounding (batch, `num_q_heads`, `seqlen_q`).
    pub lse: Vec<f64>,
    /// As `o`, if roundings of weights are independent of each other; at most `o`. Says *suspicious*, never wrong.
    /// Empty where nobody worked it out.
    pub likely: Vec<f64>,
    /// Standard deviations of the outputs on the same assumption. Empty likewise.
    pub deviation: Vec<f64>,
    /// Rows in which nothing is rounded before the division (batch, `num_q_heads`, `seqlen_q`). Empty likewise.
    pub exact: Vec<bool>,
    /// Of a known schedule.
    pub replayed: Option<Replayed>,
    /// The roundings it rests on.
    pub arithmetic: Option<Arithmetic>,
}

impl Bound {
    /// The bound of a method on a problem whose answer is known. 0 for rows that see no key.
    ///
    /// ```
    /// use flashproof::bound::{Arithmetic, Bound};
    /// use flashproof_reference::{Layout, Problem, Shape, Tensor, attention};
    /// let shape = Shape { batch: 1, num_q_heads: 1, num_kv_heads: 1, seqlen_q: 1, seqlen_kv: 2, head_dim: 1 };
    /// let [q, k, v] = [vec![1.0], vec![0.0, 0.5], vec![1.0, 2.0]].map(Tensor::F32);
    /// let problem = Problem::new(shape, q, k, v, 1.0, Layout::dense(1, 2))?;
    /// let bound = Bound::of(&problem, &attention(&problem)?, &Arithmetic::native(2));
    /// assert!(bound.o[0] > 1e-8 && bound.o[0] < 1e-5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn of(problem: &Problem, answer: &Answer, arithmetic: &Arithmetic) -> Self {
        Self::with_terms(problem, answer, arithmetic, replay::Terms::ALL)
    }

    /// The same with some terms of the replay larger or smaller.
    fn with_terms(
        problem: &Problem,
        answer: &Answer,
        arithmetic: &Arithmetic,
        terms: replay::Terms,
    ) -> Self {
        let shape = problem.shape;
        let d = shape.head_dim;
        let [q, k, v] = [&problem.q, &problem.k, &problem.v].map(|tensor| tensor.to_f64());
        let head_len = (shape.seqlen_kv * d).max(1);
        let heads: Vec<Head<'_>> = k
            .par_chunks(head_len)
            .zip(v.par_chunks(head_len))
            .map(|(k, v)| Head::new(k, v, d, arithmetic))
            .collect();
        if heads.is_empty() || d == 0 {
            // Without keys there is nothing to bound.
            return Self {
                o: vec![0.0; answer.o.len()],
                lse: vec![0.0; answer.lse.len()],
                arithmetic: Some(*arithmetic),
                ..Self::default()
            };
        }
        let tiles = shape.seqlen_q.div_ceil(ROWS);
        let tiles: Vec<TileBounds> = (0..shape.batch * shape.num_q_heads * tiles)
            .into_par_iter()
            .map_init(Tile::default, |tile, index| {
                let (head, first) = (index / tiles, index % tiles * ROWS);
                let (batch, q_head) = (head / shape.num_q_heads, head % shape.num_q_heads);
                let queries = first..(first + ROWS).min(shape.seqlen_q);
                let rows =
                    head * shape.seqlen_q + queries.start..head * shape.seqlen_q + queries.end;
                let elements = rows.start * d..rows.end * d;
                tile.bounds(&Place {
                    problem,
                    arithmetic,
                    terms,
                    head: &heads[batch * shape.num_kv_heads + shape.kv_head(q_head)],
                    q_head,
                    queries,
                    q: &q[elements.clone()],
                    o: &answer.o[elements],
                    lse: &answer.lse[rows],
                })
            })
            .collect();
        let mut bound = Self {
            replayed: arithmetic.replays().then(Replayed::default),
            arithmetic: Some(*arithmetic),
            ..Self::default()
        };
        for tile in tiles {
            bound.o.extend(tile.o);
            bound.lse.extend(tile.lse);
            bound.likely.extend(tile.likely);
            bound.deviation.extend(tile.deviation);
            bound.exact.extend(tile.exact);
            if let (Some(all), Some(one)) = (&mut bound.replayed, tile.replayed) {
                all.centre.extend(one.centre);
                all.bound.extend(one.bound);
            }
        }
        bound
    }
}
