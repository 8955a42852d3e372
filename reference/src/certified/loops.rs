//! The loops: scores, weights and weighted sums of a tile, with the error of each.
//!
//! `u = 2^-53`; a sum of 128 terms up to `a`, one after the other, is off by at most `u a (1 + .. + 128) 1.01`, and by
//! `128 u a` more if the terms are products that are not fused: for `a = 2^-37`, below `1.15 * 2^-77`. Every statement holds whether or not products and sums are fused.

use super::exponential::Exponential;
use super::head::{GROUP, PANEL};
use crate::simd::{LANES, Lanes, Task, Vector};

/// Rows of a tile come in multiples of this.
pub(super) const ROW_GROUP: usize = 8;

/// Vector number `index` of a slice.
#[inline(always)]
fn lanes(numbers: &[f64], index: usize) -> &Lanes {
    numbers[index..index + LANES]
        .try_into()
        .expect("a slice of that length")
}

#[inline(always)]
fn set<V: Vector>(numbers: &mut [f64], index: usize, value: V) {
    numbers[index..index + LANES].copy_from_slice(&value.store());
}

/// Dot products of eight queries and one group of keys.
///
/// Where `exact` ([`super::head::Size`]), every sum is exact and `low` is untouched. Else products are exact (two numbers
/// of 24 bits) and sums compensated: with `s_l` the partial sums and `e_l` their exact errors, the dot product is
/// `s + sum e_l`; `sum e_l` is formed with an error below `1.01 d u sum |e_l| <= 1.01 d^2 u^2 A`, `A` the product of the
/// norms (T. Ogita, S. Rump, S. Oishi, "Accurate sum and dot product", SIAM J. Sci. Comput. 26, 2005). The result is
/// normalised: `|low| <= u |high|`.
pub(super) struct Scores<'a> {
    /// Queries ([`ROW_GROUP`], `head_dim`).
    pub(super) q: &'a [f64],
    /// Keys (`head_dim`, [`GROUP`]).
    pub(super) k: &'a [f64],
    /// Whether plain sums are exact.
    pub(super) exact: bool,
    /// First row's place for the group, and from row to row.
    pub(super) high: &'a mut [f64],
    /// The same for the second parts; empty if `exact`.
    pub(super) low: &'a mut [f64],
    /// Distance of rows in `high` and `low`.
    pub(super) stride: usize,
}

impl Task for Scores<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector, const ROWS: usize, const P: usize, const WIDTH: usize>(self) {
        let head_dim = self.k.len() / GROUP;
        for first in (0..ROW_GROUP).step_by(ROWS) {
            let q: [&[f64]; ROWS] =
                std::array::from_fn(|r| &self.q[(first + r) * head_dim..][..head_dim]);
            for lane in (0..GROUP).step_by(WIDTH * LANES) {
                let mut sums = [[V::splat(0.0); WIDTH]; ROWS];
                if self.exact {
                    for (l, k) in self.k.chunks_exact(GROUP).enumerate() {
                        let k: [V; WIDTH] =
                            std::array::from_fn(|w| V::load(lanes(k, lane + w * LANES)));
                        for (sums, q) in sums.iter_mut().zip(q) {
                            let q = V::splat(q[l]);
                            for (sum, k) in sums.iter_mut().zip(k) {
                                *sum = q.mul_add(k, *sum);
                            }
                        }
                    }
                    for (r, sums) in sums.into_iter().enumerate() {
                        for (w, sum) in sums.into_iter().enumerate() {
                            set(self.high, (first + r) * self.stride + lane + w * LANES, sum);
                        }
                    }
                    continue;
                }
                let mut errors = sums;
                for (l, k) in self.k.chunks_exact(GROUP).enumerate() {
                    let k: [V; WIDTH] =
                        std::array::from_fn(|w| V::load(lanes(k, lane + w * LANES)));
                    for ((sums, errors), q) in sums.iter_mut().zip(&mut errors).zip(q) {
                        let q = V::splat(q[l]);
                        for ((sum, total), k) in sums.iter_mut().zip(errors).zip(k) {
                            let error;
                            (*sum, error) = sum.two_sum(q.mul(k));
                            *total = total.add(error);
                        }
                    }
                }
                for (r, (sums, errors)) in sums.into_iter().zip(errors).enumerate() {
                    for (w, (sum, error)) in sums.into_iter().zip(errors).enumerate() {
                        let place = (first + r) * self.stride + lane + w * LANES;
                        let (high, low) = sum.two_sum(error);
                        set(self.high, place, high);
                        set(self.low, place, low);
                    }
                }
            }
        }
    }
}

/// Weights of one row and one segment of at most [`PANEL`] keys, `e^(scale (score - max))`, each in three slices:
/// `p1` a multiple of `2^-18`, `p2` a multiple of `2^-36` and at most `2^-19`, `p3` at most `2^-37` (`1 + 2^-40`),
/// rounded once. The argument is off by less than `2^-104 |t|` from the exact one for the scores given; it is never
/// positive.
pub(super) struct Weights<'a> {
    pub(super) exponential: &'a Exponential,
    /// Scores; `-inf` for hidden keys.
    pub(super) high: &'a [f64],
    /// Second parts; empty if all are 0.
    pub(super) low: &'a [f64],
    pub(super) max: (f64, f64),
    /// Positive, or 0.
    pub(super) scale: f64,
    /// Slices, as long as `high`.
    pub(super) p: [&'a mut [f64]; 3],
}

/// 1.5 * 2^52 * 2^-18 and 1.5 * 2^52 * 2^-36: adding and subtracting rounds to multiples of `2^-18` and `2^-36`.
const TO_FIRST: f64 = 25_769_803_776.0;
const TO_SECOND: f64 = 98_304.0;

impl Task for Weights<'_> {
    /// Sums of the slices: the first two exact, the third off by less than `1.15 * 2^-77` for 128 keys.
    type Output = [f64; 3];

    #[inline(always)]
    fn run<V: Vector, const S: usize, const P: usize, const W: usize>(self) -> [f64; 3] {
        let [p1, p2, p3] = self.p;
        let scale = V::splat(self.scale);
        let minus_max = V::splat(-self.max.0);
        let (to_first, to_second, zero) = (V::splat(TO_FIRST), V::splat(TO_SECOND), V::splat(0.0));
        let mut sums = [zero; 3];
        for index in (0..self.high.len()).step_by(LANES) {
            let (mut high, mut low) = V::load(lanes(self.high, index)).two_sum(minus_max);
            if !self.low.is_empty() {
                let second = V::load(lanes(self.low, index)).sub(V::splat(self.max.1));
                (high, low) = high.two_sum(low.add(second));
            }
            let (t, error) = scale.two_product(high);
            let t_low = scale.mul_add(low, error);
            // A sum that rounds up could pass 0. (NaN, of a hidden key, stays NaN and gives 0.)
            let (p_high, p_low) = self.exponential.of(zero.min(t), t_low);
            let first = p_high.add(to_first).sub(to_first);
            let rest = p_high.sub(first);
            let second = rest.add(to_second).sub(to_second);
            let third = rest.sub(second).add(p_low);
            set(p1, index, first);
            set(p2, index, second);
            set(p3, index, third);
            for (sum, slice) in sums.iter_mut().zip([first, second, third]) {
                *sum = sum.add(slice);
            }
        }
        sums.map(|sum| sum.store().iter().sum())
    }
}

/// Weighted sums of the values of one segment for eight rows and one group of channels, added to the sums so far.
///
/// Narrow values ([`super::head::Head::v_is_narrow`]): `p1 v` and `p2 v` are whole multiples of `2^-18` and `2^-36` units of
/// the channel and sum to at most `2^53` of them, exactly; `sum p3 v` is off by less than `1.15 * 2^-77 v_max`.
///
/// Wide values: `(p1 + p2) v` exactly as two numbers, summed exactly as a number and errors; the errors, each at most
/// `u M` with `M` the largest partial sum, are summed with an error below `2^15 2 u^2 M`; `sum p3 v` as before.
///
/// Either way three sums come out, and are added to the sums so far with two exact sums and three rounded ones.
pub(super) struct Values<'a> {
    /// Slices, first row's segment, from row to row at distance [`PANEL`].
    pub(super) p: [&'a [f64]; 3],
    /// Values (keys, [`GROUP`]).
    pub(super) v: &'a [f64],
    pub(super) narrow: bool,
    /// Sums so far, first row's group, from row to row at distance `stride`.
    pub(super) high: &'a mut [f64],
    pub(super) low: &'a mut [f64],
    pub(super) stride: usize,
}

impl Task for Values<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector, const S: usize, const ROWS: usize, const WIDTH: usize>(self) {
        let keys = self.v.len() / GROUP;
        for first in (0..ROW_GROUP).step_by(ROWS) {
            let p: [[&[f64]; ROWS]; 3] = self
                .p
                .map(|p| std::array::from_fn(|r| &p[(first + r) * PANEL..][..keys]));
            for lane in (0..GROUP).step_by(WIDTH * LANES) {
                let mut sums = [[[V::splat(0.0); WIDTH]; ROWS]; 3];
                if self.narrow {
                    for (j, v) in self.v.chunks_exact(GROUP).enumerate() {
                        let v: [V; WIDTH] =
                            std::array::from_fn(|w| V::load(lanes(v, lane + w * LANES)));
                        for (sums, p) in sums.iter_mut().zip(p) {
                            for (sums, p) in sums.iter_mut().zip(p) {
                                let p = V::splat(p[j]);
                                for (sum, v) in sums.iter_mut().zip(v) {
                                    *sum = p.mul_add(v, *sum);
                                }
                            }
                        }
                    }
                } else {
                    for (j, v) in self.v.chunks_exact(GROUP).enumerate() {
                        let v: [V; WIDTH] =
                            std::array::from_fn(|w| V::load(lanes(v, lane + w * LANES)));
                        let [main, errors, thirds] = &mut sums;
                        for r in 0..ROWS {
                            let weight = V::splat(p[0][r][j] + p[1][r][j]); // exact: 37 bits
                            let third = V::splat(p[2][r][j]);
                            for w in 0..WIDTH {
                                let (product, product_error) = weight.two_product(v[w]);
                                let (sum, sum_error) = main[r][w].two_sum(product);
                                main[r][w] = sum;
                                errors[r][w] = errors[r][w].add(sum_error.add(product_error));
                                thirds[r][w] = third.mul_add(v[w], thirds[r][w]);
                            }
                        }
                    }
                }
                let [first_sums, second_sums, third_sums] = sums;
                for r in 0..ROWS {
                    for w in 0..WIDTH {
                        let place = (first + r) * self.stride + lane + w * LANES;
                        let (sum, error) = first_sums[r][w].two_sum(second_sums[r][w]);
                        let so_far = V::load(lanes(self.high, place));
                        let (total, total_error) = so_far.two_sum(sum);
                        let rest = total_error.add(error.add(third_sums[r][w]));
                        set(self.high, place, total);
                        set(self.low, place, V::load(lanes(self.low, place)).add(rest));
                    }
                }
            }
        }
    }
}

/// Weighted sums of eight rows and one group of channels in plain f64, added to the sums so far.
pub(super) struct Single<'a> {
    /// Weights, first row's first key, from row to row at distance `p_stride`.
    pub(super) p: &'a [f64],
    pub(super) p_stride: usize,
    /// Values (keys, [`GROUP`]).
    pub(super) v: &'a [f64],
    /// Sums, first row's group, from row to row at distance `stride`.
    pub(super) o: &'a mut [f64],
    pub(super) stride: usize,
}

impl Task for Single<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector, const ROWS: usize, const P: usize, const WIDTH: usize>(self) {
        let keys = self.v.len() / GROUP;
        for first in (0..ROW_GROUP).step_by(ROWS) {
            let p: [&[f64]; ROWS] =
                std::array::from_fn(|r| &self.p[(first + r) * self.p_stride..][..keys]);
            for lane in (0..GROUP).step_by(WIDTH * LANES) {
                let mut sums = [[V::splat(0.0); WIDTH]; ROWS];
                for (j, v) in self.v.chunks_exact(GROUP).enumerate() {
                    let v: [V; WIDTH] =
                        std::array::from_fn(|w| V::load(lanes(v, lane + w * LANES)));
                    for (sums, p) in sums.iter_mut().zip(p) {
                        let p = V::splat(p[j]);
                        for (sum, v) in sums.iter_mut().zip(v) {
                            *sum = p.mul_add(v, *sum);
                        }
                    }
                }
                for (r, sums) in sums.into_iter().enumerate() {
                    for (w, sum) in sums.into_iter().enumerate() {
                        let place = (first + r) * self.stride + lane + w * LANES;
                        let so_far = V::load(lanes(self.o, place));
                        set(self.o, place, so_far.add(sum));
                    }
                }
            }
        }
    }
}

/// Weights of one row in plain f64: scores become `e^(score - max)`, and the sum of them comes out.
pub(super) struct SingleWeights<'a> {
    pub(super) exponential: &'a Exponential,
    /// Scores, whole groups.
    pub(super) p: &'a mut [f64],
    pub(super) max: f64,
}

impl Task for SingleWeights<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<V: Vector, const S: usize, const P: usize, const W: usize>(self) -> f64 {
        let max = V::splat(self.max);
        let mut sum = V::splat(0.0);
        for index in (0..self.p.len()).step_by(LANES) {
            let weight = self
                .exponential
                .single(V::load(lanes(self.p, index)).sub(max));
            set(self.p, index, weight);
            sum = sum.add(weight);
        }
        sum.store().iter().sum()
    }
}
