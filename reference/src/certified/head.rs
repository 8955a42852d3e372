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
        // Four sums and four minima at once: neither waits for the one before. Positive floats are ordered as their bits.
        let (mut squares, mut least) = ([0.0; 4], [f64::INFINITY.to_bits(); 4]);
        for numbers in numbers.chunks(4) {
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

/// The lowest set bit of a number of the f32 range; infinite for 0.
fn unit(x: f64) -> f64 {
    const FRACTION: u64 = (1 << 52) - 1;
    let bits = x.abs().to_bits();
    if bits & FRACTION == 0 {
        return if bits == 0 { f64::INFINITY } else { x.abs() };
    }
    // The number less itself without its lowest bit: exact.
    f64::from_bits(bits) - f64::from_bits(bits & (bits - 1))
}

impl Head {
    /// `k` and `v` are (key, `head_dim`).
    pub(super) fn new(k: &[f64], v: &[f64], head_dim: usize) -> Self {
        let len = k.len() / head_dim;
        let keys = len.next_multiple_of(GROUP);
        let channel_groups = head_dim.div_ceil(GROUP);
        let panels = keys.div_ceil(PANEL);
        let mut head = Self {
            k: vec![0.0; keys * head_dim],
            v: vec![0.0; channel_groups * keys * GROUP],
            k_size: vec![Size::default(); keys / GROUP],
            v_max: vec![0.0; panels * head_dim],
            v_is_narrow: Vec::new(),
            special: Vec::new(),
            keys,
        };
        let mut v_unit = vec![f64::INFINITY; panels * head_dim];
        for (key, (k, v)) in k
            .chunks_exact(head_dim)
            .zip(v.chunks_exact(head_dim))
            .enumerate()
        {
            let (group, lane) = (key / GROUP, key % GROUP);
            let is_finite = |numbers: &[f64]| numbers.iter().all(|x| x.is_finite());
            let k_is_finite = is_finite(k);
            if !(k_is_finite && is_finite(v)) {
                head.special.push(key);
            }
            if k_is_finite {
                head.k_size[group] = head.k_size[group].max(Size::of(k));
                for (channel, &k) in k.iter().enumerate() {
                    head.k[(group * head_dim + channel) * GROUP + lane] = k;
                }
            }
            for (channel, &v) in v.iter().enumerate().filter(|(_, v)| v.is_finite()) {
                head.v[(channel / GROUP * keys + key) * GROUP + channel % GROUP] = v;
                let place = key / PANEL * head_dim + channel;
                head.v_max[place] = head.v_max[place].max(v.abs());
                v_unit[place] = v_unit[place].min(unit(v));
            }
        }
        head.v_is_narrow = head
            .v_max
            .chunks_exact(head_dim)
            .zip(v_unit.chunks_exact(head_dim))
            .map(|(max, unit)| {
                max.iter()
                    .zip(unit)
                    .all(|(max, unit)| *max <= VALUE_UNITS * unit)
            })
            .collect();
        head
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
        assert_eq!(head(&[1.0, f64::NAN, 0.5]).special, [1]);
    }
}
