//! Row operations of a transformer layer: GELU, layer normalisation, L2 normalisation.
//!
//! Plain loops of additions, products and quotients in a fixed order: the compiler vectorises them, and the bits are the
//! same on every machine.

use crate::encoder::weights::LayerNorm;

// erf(z) = z P(z^2) / Q(z^2) for |z| <= 3.92, fitted for the least absolute error (1.7e-8 in exact arithmetic; 3.5e-7 as
// evaluated here in f32). Beyond, erf is taken as erf(3.92) = 1 - 3e-8, which rounds to 1.
const ERF_LIMIT: f32 = 3.92;
const ERF_P: [u32; 6] = [
    0x3f90_6eb9,
    0x3e45_551a,
    0x3d59_4de9,
    0x3b7d_5909,
    0x3996_ae5f,
    0x3608_900b,
];
const ERF_Q: [u32; 6] = [
    0x3f80_0000,
    0x3f01_0da1,
    0x3deb_a51d,
    0x3c78_8052,
    0x3a9b_a451,
    0x381f_abde,
];

/// `x Phi(x) = x / 2 (1 + erf(x / sqrt 2))` in place, the exact ("erf") GELU of BERT.
///
/// Absolute error at most `4e-7 max(1, |x|)`: half of |x| times the error of erf, and the rounding of the product.
/// (Hendrycks and Gimpel, arXiv 1606.08415.)
pub(crate) fn gelu(values: &mut [f32]) {
    for value in values {
        *value = 0.5 * *value * (1.0 + erf(*value * std::f32::consts::FRAC_1_SQRT_2));
    }
}

/// The error function to 3.5e-7; NaN gives NaN.
#[inline]
fn erf(z: f32) -> f32 {
    // Comparisons, not `clamp`: they become one vector instruction each and let NaN through to the quotient.
    let z = if z > ERF_LIMIT { ERF_LIMIT } else { z };
    let z = if z < -ERF_LIMIT { -ERF_LIMIT } else { z };
    let square = z * z;
    z * horner(ERF_P, square) / horner(ERF_Q, square)
}

#[inline]
fn horner(coefficients: [u32; 6], x: f32) -> f32 {
    let [c0, c1, c2, c3, c4, c5] = coefficients.map(f32::from_bits);
    ((((c5 * x + c4) * x + c3) * x + c2) * x + c1) * x + c0
}

/// Adds `residual` to `row`, then normalises: `(row - mean) / sqrt(variance + eps) * weight + bias`, with the biased
/// variance (BERT's `LayerNorm` after each sublayer).
pub(crate) fn add_and_normalise(row: &mut [f32], residual: &[f32], norm: &LayerNorm) {
    for (value, addend) in row.iter_mut().zip(residual) {
        *value += addend;
    }
    normalise(row, norm);
}

/// Layer normalisation of one row in place.
pub(crate) fn normalise(row: &mut [f32], norm: &LayerNorm) {
    let mean = sum(row, |value| value) * norm.reciprocal_length;
    let variance = sum(row, |value| (value - mean) * (value - mean)) * norm.reciprocal_length;
    let factor = 1.0 / (variance + norm.eps).sqrt();
    for ((value, weight), bias) in row.iter_mut().zip(&norm.weight).zip(&norm.bias) {
        *value = (*value - mean) * factor * weight + bias;
    }
}

/// Divides a vector by its Euclidean length, unless that is zero.
pub(crate) fn normalise_length(vector: &mut [f32]) {
    let length = sum(vector, |value| value * value).sqrt();
    if length > 0.0 {
        for value in vector {
            *value /= length;
        }
    }
}

/// Sum of `term(value)` in eight interleaved partial sums: a short chain for the error, vector units for the speed.
#[inline]
fn sum(values: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let (octets, rest) = values.as_chunks::<8>();
    let mut partial = [0.0_f32; 8];
    for octet in octets {
        for (total, value) in partial.iter_mut().zip(octet) {
            *total += term(*value);
        }
    }
    for (total, value) in partial.iter_mut().zip(rest) {
        *total += term(*value);
    }
    let [a, b, c, d, e, f, g, h] = partial;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// erf by its Taylor series in f64: below 4.5 the largest term is 4.5^{2n+1}/n! < 1e8, so 1e-8 absolute.
    fn erf_series(z: f64) -> f64 {
        if z.abs() > 4.5 {
            return z.signum();
        }
        let (mut term, mut total, mut n) = (z, z, 0.0);
        while term.abs() > 1e-18 {
            n += 1.0;
            term *= -z * z / n;
            total += term / (2.0 * n + 1.0);
        }
        total * std::f64::consts::FRAC_2_SQRT_PI
    }

    #[test]
    fn gelu_is_within_its_stated_error() {
        let mut worst = 0.0_f64;
        for step in -30_000_i16..=30_000 {
            for offset in [0.0_f32, 0.37] {
                let x = (f32::from(step) + offset) / 2_500.0;
                let mut value = [x];
                gelu(&mut value);
                let expected = 0.5
                    * f64::from(x)
                    * (1.0 + erf_series(f64::from(x) / std::f64::consts::SQRT_2));
                worst =
                    worst.max((f64::from(value[0]) - expected).abs() / f64::from(x.abs()).max(1.0));
            }
        }
        assert!(worst <= 4e-7, "error {worst:e}");
        assert!(worst >= 1e-8, "error {worst:e}: the stated one is stale");
    }

    #[test]
    fn gelu_keeps_nan_and_large_values() {
        let mut values = [f32::NAN, 1e30, f32::INFINITY, 0.0];
        gelu(&mut values);
        assert!(values[0].is_nan());
        assert_eq!(
            values[1..].iter().map(|v| v.to_bits()).collect::<Vec<_>>(),
            [1e30_f32, f32::INFINITY, 0.0].map(f32::to_bits)
        );
    }

    #[test]
    fn normalised_row_has_mean_bias_and_unit_variance() {
        let norm = LayerNorm::new(vec![1.0; 6], vec![0.25; 6], 0.0);
        let mut row = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        add_and_normalise(&mut row, &[0.5; 6], &norm);
        let mean = row.iter().sum::<f32>() / 6.0;
        let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / 6.0;
        assert!(
            (mean - 0.25).abs() < 1e-6 && (variance - 1.0).abs() < 1e-6,
            "{row:?}"
        );
    }
}
