//! Whether this thread's arithmetic is IEEE 754's: every certificate rests on it.
//!
//! A library that was built with `-ffast-math` may switch a thread to flushing subnormal numbers (FTZ, DAZ), and any
//! foreign code may leave another rounding mode behind. Then error-free transforms are not, and a bound holds no more.

use std::hint::black_box;

#[cfg(all(target_arch = "x86", not(target_feature = "sse2")))]
compile_error!(
    "x87 arithmetic rounds twice: build with SSE2, or the reference is not the same on every machine"
);

/// What a thread's arithmetic does wrong.
///
/// ```
/// use flashproof_reference::arithmetic::ArithmeticError;
/// let error = ArithmeticError { broken: "round to nearest", found: 1.5_f64.to_bits(), expected: 1_f64.to_bits() };
/// assert!(error.to_string().starts_with("this thread does not round to nearest: got 1.5e0 for 1e0;"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this thread does not {broken}: got {:e} for {:e}; a library changed its control register (-ffast-math sets FTZ and \
     DAZ, fesetround the rounding mode): restore it on every thread before asking for attention",
    f64::from_bits(*found),
    f64::from_bits(*expected)
)]
pub struct ArithmeticError {
    /// What must be and is not.
    pub broken: &'static str,
    /// Bits of what came out.
    pub found: u64,
    /// Bits of what IEEE 754 asks for.
    pub expected: u64,
}

/// Checks the arithmetic of the thread that calls it: five operations. [`crate::attention()`] does, on each of its threads.
///
/// # Errors
/// [`ArithmeticError`] for a rounding mode other than to nearest, and for flushed subnormal numbers.
///
/// ```
/// assert_eq!(flashproof_reference::arithmetic::check(), Ok(()));
/// ```
pub fn check() -> Result<(), ArithmeticError> {
    const HALF_ULP: f64 = f64::EPSILON / 2.0;
    // Upward gives another float in the first case, downward and towards zero in the second, downward for the third.
    let sums = [
        (1.0, HALF_ULP, 1.0),
        (1.0, HALF_ULP * 1.5, 1.0 + f64::EPSILON),
        (-1.0, -HALF_ULP * 1.5, -1.0 - f64::EPSILON),
    ];
    let sums =
        sums.map(|(a, b, expected)| ("round to nearest", black_box(a) + black_box(b), expected));
    // By bits below: with DAZ a subnormal number equals zero.
    let subnormal = f64::from_bits(1 << 51);
    let product = |a: f64, b: f64| black_box(a) * black_box(b);
    let products = [
        (
            "keep subnormal results",
            product(f64::MIN_POSITIVE, 0.5),
            subnormal,
        ),
        (
            "read subnormal operands",
            product(subnormal, 2.0),
            f64::MIN_POSITIVE,
        ),
    ];
    for (broken, found, expected) in sums.into_iter().chain(products) {
        let (found, expected) = (found.to_bits(), expected.to_bits());
        if found != expected {
            return Err(ArithmeticError {
                broken,
                found,
                expected,
            });
        }
    }
    Ok(())
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::simd::with_control;
    use crate::{AttentionError, Layout, Problem, Shape, Tensor, attention};

    const DAZ: u32 = 1 << 6;
    const FTZ: u32 = 1 << 15;
    const ROUNDING: [u32; 3] = [1 << 13, 2 << 13, 3 << 13]; // down, up, towards zero

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(check(), Ok(()));
        let broken = |bits| with_control(bits, check).unwrap_err().broken;
        assert_eq!(broken(FTZ), "keep subnormal results");
        assert_eq!(broken(DAZ), "read subnormal operands");
        assert_eq!(ROUNDING.map(broken), ["round to nearest"; 3]);
        assert_eq!(check(), Ok(()), "restored");
    }

    #[test]
    fn attention_refuses() {
        let shape = Shape {
            batch: 1,
            num_q_heads: 1,
            num_kv_heads: 1,
            seqlen_q: 1,
            seqlen_kv: 1,
            head_dim: 1,
        };
        let one = || Tensor::F32(vec![1.0]);
        let problem = Problem::new(shape, one(), one(), one(), 1.0, Layout::dense(1, 1)).unwrap();
        assert!(attention(&problem).is_ok());
        for bits in ROUNDING.into_iter().chain([FTZ, DAZ]) {
            let error = with_control(bits, || attention(&problem)).unwrap_err();
            assert!(matches!(error, AttentionError::Arithmetic(_)), "{error}");
        }
        assert!(attention(&problem).is_ok());
        // On a worker of rayon's, too.
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap();
        let found = pool.install(|| with_control(FTZ, || attention(&problem)));
        assert!(matches!(found, Err(AttentionError::Arithmetic(_))));
    }
}
