//! Keys and values of one head, laid out for the loops, with what the bounds need to know of them.

use crate::simd::LANES;

/// Keys, and channels, that lie side by side.
pub(super) const GROUP: usize = 2 * LANES;
/// Keys whose products with one slice of the weights may be summed exactly.
pub(super) const PANEL: usize = 128;
/// Most units, `2^28`, of a value in a panel whose sums are exact: `2^18` weights times `2^28` times 128 keys is `2^53`.
const VALUE_UNITS: f64 = 268_435_456.0;

/// One head.
pub(super) struct Head {
    /// Keys (group, `head_dim`, [`GROUP`]); 0 past the end, and for keys that are not finite.
    pub(super) k: Vec<f64>,
    /// Values (channel group, keys rounded up to [`GROUP`], [`GROUP`]); 0 likewise.
    pub(super) v: Vec<f64>,
    /// By group of keys: the largest norm of a key, and the largest quotient of norm and unit.
    pub(super) k_size: Vec<Size>,
    /// By panel and channel: the largest magnitude.
    pub(super) v_max: Vec<f64>,
    /// By panel: whether sums of values times slices are exact.
    pub(super) v_is_narrow: Vec<bool>,
    /// Keys with a number that is not finite in `k` or `v`.
    pub(super) special: Vec<usize>,
    /// Keys, rounded up to [`GROUP`].
    pub(super) keys: usize,
}

/// Size of a vector, or the largest of several: all products of two vectors, and their sums in any order, are exact in
/// f64 if the product of their `ratio`s is at most `2^53`. (They are whole multiples of the product of both units, and
/// by Cauchy and Schwarz at most the product of both norms.)
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Size {
    /// Euclidean norm, from above.
    pub(super) norm: f64,
    /// The norm over the largest power of two of which every number is a multiple.
    pub(super) ratio: f64,
}

impl Size {
    /// Of finite numbers of the f32 range.
    pub(super) fn of(numbers: &[f64]) -> Self {
        // Many sums and minima at once: none waits for the one before. Positive floats are ordered as their bits.
        let (mut squares, mut least) = ([0.0; LANES], [f64::INFINITY.to_bits(); LANES]);
        for numbers in numbers.chunks(LANES) {
            for ((x, square), least) in numbers.iter().zip(&mut squares).zip(&mut least) {
                *square += x * x;
                *least = (*least).min(unit(*x).to_bits());
            }
        }
        // 2^20 roundings of 2^-53 each, and that of the root.
        let norm = squares.iter().sum::<f64>().sqrt() * (1.0 + 1e-9);
        let unit = f64::from_bits(least.into_iter().fold(u64::MAX, u64::min));
        Self {
            norm,
            ratio: norm / unit,
        }
    }

    pub(super) fn max(self, other: Self) -> Self {
        Self {
            norm: self.norm.max(other.norm),
            ratio: self.ratio.max(other.ratio),
        }
    }
}

/// The lowest set bit of a number of the f32 range; infinite for 0. Without branches.
#[inline(always)]
fn unit(x: f64) -> f64 {
    const FRACTION: u64 = (1 << 52) - 1;
    let bits = x.abs().to_bits();
    // The number less itself without its lowest bit: exact.
    let rest = if bits & FRACTION == 0 {
        0
    } else {
        bits & (bits - 1)
    };
    let unit = f64::from_bits(bits) - f64::from_bits(rest);
    if bits == 0 { f64::INFINITY } else { unit }
}

/// The least power of two that is not below a magnitude of the f32 range; 0 for 0.
fn power_above(magnitude: f64) -> f64 {
    const FRACTION: u64 = (1 << 52) - 1;
    f64::from_bits((magnitude.to_bits() + FRACTION) & !FRACTION)
}

/// Whether none of the numbers is infinite or NaN.
pub(super) fn all_finite(numbers: &[f64]) -> bool {
    let mut lanes = [0.0; LANES];
    for numbers in numbers.chunks(LANES) {
        for (lane, x) in lanes.iter_mut().zip(numbers) {
            *lane += x * 0.0; // NaN, and stays it, where x is not finite
        }
    }
    lanes.iter().all(|lane| *lane == 0.0)
}

impl Head {
    /// `k` and `v` are (key, `head_dim`).
    pub(super) fn new(k: &[f64], v: &[f64], head_dim: usize) -> Self {
        let len = k.len() / head_dim;
        let keys = len.next_multiple_of(GROUP);
        let panels = keys.div_ceil(PANEL);
        let mut head = Self {
            k: vec![0.0; keys * head_dim],
            v: vec![0.0; head_dim.div_ceil(GROUP) * keys * GROUP],
            k_size: vec![Size::default(); keys / GROUP],
            v_max: vec![0.0; panels * head_dim],
            v_is_narrow: Vec::with_capacity(panels),
            special: Vec::new(),
            keys,
        };
        head.take_keys(k, head_dim);
        head.take_values(v, head_dim);
        head.special.sort_unstable();
        head.special.dedup();
        head
    }

    fn take_keys(&mut self, k: &[f64], head_dim: usize) {
        let zeros = vec![0.0; head_dim];
        let groups = self.k.chunks_exact_mut(head_dim * GROUP);
        for (group, (to, from)) in groups.zip(k.chunks(GROUP * head_dim)).enumerate() {
            let mut rows = [&zeros[..]; GROUP];
            for (lane, (row, k)) in rows.iter_mut().zip(from.chunks_exact(head_dim)).enumerate() {
                if all_finite(k) {
                    *row = k;
                    self.k_size[group] = self.k_size[group].max(Size::of(k));
                } else {
                    self.special.push(group * GROUP + lane);
                }
            }
            for (channel, to) in to.chunks_exact_mut(GROUP).enumerate() {
                for (to, row) in to.iter_mut().zip(rows) {
                    *to = row[channel];
                }
            }
        }
    }

    fn take_values(&mut self, v: &[f64], head_dim: usize) {
        let keys = self.keys;
        let finite = |v: f64| if v.abs() < f64::INFINITY { v } else { 0.0 };
        let (mut round, mut rest) = (vec![0.0; head_dim], vec![0.0; head_dim]);
        let panels = v.chunks(PANEL * head_dim);
        for (panel, (v, max)) in panels
            .zip(self.v_max.chunks_exact_mut(head_dim))
            .enumerate()
        {
            for v in v.chunks_exact(head_dim) {
                for (max, &v) in max.iter_mut().zip(v) {
                    let v = finite(v).abs();
                    *max = if v > *max { v } else { *max };
                }
            }
            // Adding and subtracting 1.5 * 2^52 units rounds to whole units, of which the maximum is 2^28 or fewer.
            for (round, max) in round.iter_mut().zip(&*max) {
                *round = 1.5 * 4_503_599_627_370_496.0 / VALUE_UNITS * power_above(*max);
            }
            rest.fill(0.0);
            for (key, v) in (panel * PANEL..).zip(v.chunks_exact(head_dim)) {
                if !all_finite(v) {
                    self.special.push(key);
                }
                let groups = v.chunks(GROUP).zip(round.chunks(GROUP));
                for (group, ((v, round), rest)) in groups.zip(rest.chunks_mut(GROUP)).enumerate() {
                    let to = &mut self.v[(group * keys + key) * GROUP..][..GROUP];
                    for (((to, v), round), rest) in to.iter_mut().zip(v).zip(round).zip(rest) {
                        *to = finite(*v);
                        *rest += (*to - ((*to + round) - round)).abs();
                    }
                }
            }
            self.v_is_narrow.push(rest.iter().all(|rest| *rest == 0.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_lowest_bits() {
        let least = f64::from(f32::from_bits(1));
        for (x, expected) in [
            (1.0, 1.0),
            (-1.5, 0.5),
            (12.0, 4.0),
            (least, least),
            (3.0 * least, least),
        ] {
            assert_eq!(unit(x).to_bits(), expected.to_bits());
        }
        assert!(unit(0.0).is_infinite());
        assert_eq!(Size::of(&[0.0, -0.0]).ratio.to_bits(), 0);
    }

    #[test]
    fn wide_values_are_seen() {
        let head = |v: &[f64]| Head::new(&vec![0.0; v.len()], v, 1);
        assert_eq!(head(&[1.0, 2f64.powi(-28)]).v_is_narrow, [true]);
        assert_eq!(head(&[1.0, 2f64.powi(-29)]).v_is_narrow, [false]);
        assert_eq!(head(&[1.5, 2f64.powi(-27)]).v_is_narrow, [true]);
        assert_eq!(head(&[1.5, 2f64.powi(-28)]).v_is_narrow, [false]);
        assert_eq!(head(&[1.0, f64::NAN, 0.5]).special, [1]);
    }
}
