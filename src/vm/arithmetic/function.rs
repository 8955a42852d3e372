//! `ex2`, `lg2`, `rcp`, `sqrt`, `rsqrt`, `sin`, `cos`, `tanh` in f64, without the platform's mathematical library.
//!
//! PTX gives `.approx` functions an error bound, not bits. Here they are the exact value rounded to nearest, as near as
//! an f64 evaluation with relative error below `2^-50` makes it (one result in about `2^26` may be the other neighbour):
//! well within every bound of the ISA, the same bits on every machine. A kernel is judged by the ISA's bound, not by
//! these bits.
//!
//! Corner cases as PTX ISA 9.7.3 has them: `ex2(+-0) = 1`, `ex2(-inf) = +0`, `lg2(+-0) = -inf`, `lg2(x < 0) = NaN`,
//! `rcp(+-0) = +-inf`, `rsqrt(+-0) = +-inf`, `sin(+-inf) = NaN`.

use crate::convert::truncate_f64_to_i32;

/// `ln 2`.
const LN_2: f64 = std::f64::consts::LN_2;

/// `1.5 * 2^52`: adding it leaves a whole number, rounded to nearest even, in the low bits of the sum.
const TO_WHOLE: f64 = 6_755_399_441_055_744.0;

/// `2^x`.
#[inline]
pub(crate) fn ex2(x: f64) -> f64 {
    // Beyond these every f32 and every f16 result is infinite or rounds to zero.
    let near = if x > 600.0 { 600.0 } else { x };
    let near = if near < -600.0 { -600.0 } else { near };
    // No branches: many lanes are computed side by side.
    let shifted = near + TO_WHOLE;
    let whole = shifted - TO_WHOLE;
    // |t| <= ln 2 / 2; the series' first dropped term is below 2^-60.
    let t = (near - whole) * LN_2;
    let mut sum = 1.0;
    for n in [
        15.0, 14.0, 13.0, 12.0, 11.0, 10.0, 9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0,
    ] {
        sum = 1.0 + t / n * sum;
    }
    // The low bits of `shifted` are the whole part: with the bias, the exponent field of its power.
    let value = sum * f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52);
    let value = if x > 600.0 { f64::INFINITY } else { value };
    if x < -600.0 { 0.0 } else { value }
}

/// `log2 x`.
pub(crate) fn lg2(x: f64) -> f64 {
    if x.is_nan() || x < 0.0 {
        return f64::NAN;
    }
    if x == 0.0 {
        return f64::NEG_INFINITY;
    }
    if x.is_infinite() {
        return x;
    }
    // Operands are f32 or f16 values, so normal in f64.
    let bits = x.to_bits();
    let field = crate::convert::low_u32(bits >> 52).cast_signed();
    let mut exponent = field - 1023;
    let mut m = f64::from_bits(bits & ((1 << 52) - 1) | 1023 << 52);
    if m > std::f64::consts::SQRT_2 {
        m *= 0.5;
        exponent += 1;
    }
    // ln m = 2 atanh(s), |s| <= 0.1716: the first dropped term is below 2^-60 of the sum.
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    let mut sum = 0.0;
    for n in (0_u32..=11).rev() {
        sum = sum * square + 1.0 / f64::from(2 * n + 1);
    }
    f64::from(exponent) + 2.0 * s * sum / LN_2
}

/// `1 / sqrt x`.
pub(crate) fn rsqrt(x: f64) -> f64 {
    if x == 0.0 {
        f64::INFINITY.copysign(x)
    } else {
        1.0 / x.sqrt()
    }
}

/// `sin x` and `cos x`. Arguments beyond a period are reduced by the f64 nearest to `2 pi`, exactly: the error grows with
/// `|x|` at `2^-53` a radian, far below what the ISA allows inside `[-100 pi, 100 pi]`, and beyond it bounds nothing.
fn sin_cos(x: f64) -> (f64, f64) {
    if !x.is_finite() {
        return (f64::NAN, f64::NAN);
    }
    if x == 0.0 {
        return (x, 1.0);
    }
    let reduced = x % std::f64::consts::TAU;
    let quarter = (reduced / std::f64::consts::FRAC_PI_2).round_ties_even();
    let t = reduced - quarter * std::f64::consts::FRAC_PI_2;
    let square = t * t;
    // |t| <= pi / 4: first dropped terms below 2^-60.
    let (mut sine, mut cosine) = (1.0, 1.0);
    for n in (1_u32..=10).rev() {
        sine = 1.0 - square / f64::from(2 * n * (2 * n + 1)) * sine;
        cosine = 1.0 - square / f64::from(2 * n * (2 * n - 1)) * cosine;
    }
    sine *= t;
    match truncate_f64_to_i32(quarter).rem_euclid(4) {
        0 => (sine, cosine),
        1 => (cosine, -sine),
        2 => (-sine, -cosine),
        _ => (-cosine, sine),
    }
}

/// `sin x`.
pub(crate) fn sin(x: f64) -> f64 {
    sin_cos(x).0
}

/// `cos x`.
pub(crate) fn cos(x: f64) -> f64 {
    sin_cos(x).1
}

/// `tanh x`.
pub(crate) fn tanh(x: f64) -> f64 {
    if x.abs() < 1.0 / 4096.0 {
        // Next term: 2 x^5 / 15, below 2^-50 of x.
        return x * (1.0 - x * x / 3.0);
    }
    if x.abs() > 40.0 {
        return 1.0_f64.copysign(x);
    }
    let e = ex2(2.0 * x / LN_2);
    (e - 1.0) / (e + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative distance from the host's function over a sweep of arguments.
    fn check(
        name: &str,
        ours: fn(f64) -> f64,
        host: fn(f64) -> f64,
        from: f64,
        to: f64,
        limit: f64,
    ) {
        let mut x = from;
        while x <= to {
            let (got, want) = (ours(x), host(x));
            let error = (got - want).abs() / want.abs().max(1e-300);
            assert!(error <= limit, "{name}({x}): {got:e} for {want:e}");
            x += (to - from) / 9973.0;
        }
    }

    #[test]
    fn near_the_host() {
        check("ex2", ex2, f64::exp2, -150.0, 129.0, 1e-15);
        check("lg2", lg2, f64::log2, 1e-3, 3.0, 1e-13);
        check("lg2", lg2, f64::log2, 1.0, 1e30, 1e-15);
        check("tanh", tanh, f64::tanh, -9.0, 9.0, 1e-11);
        check("sin", sin, f64::sin, 0.01, 3.1, 1e-13);
        check("cos", cos, f64::cos, -1.5, 1.5, 1e-12);
        check("rsqrt", rsqrt, |x| 1.0 / x.sqrt(), 1e-30, 1e30, 1e-15);
    }

    #[test]
    fn corners() {
        assert_eq!(
            (ex2(0.0), ex2(f64::NEG_INFINITY), ex2(f64::INFINITY)),
            (1.0, 0.0, f64::INFINITY)
        );
        assert_eq!(
            (ex2(-3.0), ex2(10.0), lg2(8.0), lg2(1.0)),
            (0.125, 1024.0, 3.0, 0.0)
        );
        assert_eq!(
            (lg2(0.0), lg2(f64::INFINITY)),
            (f64::NEG_INFINITY, f64::INFINITY)
        );
        assert!(lg2(-1.0).is_nan() && sin(f64::INFINITY).is_nan() && ex2(f64::NAN).is_nan());
        assert_eq!(rsqrt(-0.0).to_bits(), f64::NEG_INFINITY.to_bits());
        assert_eq!(sin(-0.0).to_bits(), (-0.0_f64).to_bits());
        assert_eq!(
            (tanh(100.0), tanh(-0.0).to_bits()),
            (1.0, (-0.0_f64).to_bits())
        );
    }
}
