//! What `tensor_tile.rs` needs of [`LANES`] numbers besides [`Vector`]: groups of four, exponents, sums of whole numbers.

#![expect(unsafe_code, reason = "instructions that not every machine has")]

use super::vector::{Portable, Vector};
use super::{LANES, Lanes};
use crate::convert::{f64_to_f32, truncate_to_i32};

/// Operations on the exponents and integer parts of numbers. Numbers are finite; [`Self::exponent`], [`Self::max`] and
/// [`Self::reflected`] are for numbers that are not negative.
pub(super) trait Products: Vector {
    /// A whole number a lane.
    type Whole: Copy;
    /// 0.
    const NONE: Self::Whole;
    /// Numbers from their bits.
    fn from_bits(bits: &[u32; LANES]) -> Self;
    /// Bits of the numbers.
    fn bits(self) -> [u32; LANES];
    /// The same four numbers in every group.
    fn groups(group: &[f32; 4]) -> Self;
    /// Number `t` of each group in all four lanes of the group, for `t` from 0 to 3.
    fn spread(self) -> [Self; 4];
    /// The product, rounded to nearest.
    fn multiply(self, factor: Self) -> Self;
    /// The larger one.
    fn max(self, other: Self) -> Self;
    /// The power of two of a normal number; 0 of 0.
    fn exponent(self) -> Self;
    /// The number whose bits are `sum` less those of this one.
    fn reflected(self, sum: u32) -> Self;
    /// Integer part toward zero, of numbers below `2^31`.
    fn truncate(self) -> Self::Whole;
    /// The sum, without overflow.
    fn add(a: Self::Whole, b: Self::Whole) -> Self::Whole;
    /// The exact sum, rounded toward zero.
    fn toward_zero<const N: usize>(sums: [Self::Whole; N]) -> Self;
}

/// An f64 without the bits that an f32 does not have.
const F32_PART: u64 = !0x1fff_ffff;

impl Products for Portable {
    type Whole = [i32; LANES];
    const NONE: Self::Whole = [0; LANES];

    #[inline(always)]
    fn from_bits(bits: &[u32; LANES]) -> Self {
        Self::load(&bits.map(f32::from_bits))
    }
    #[inline(always)]
    fn bits(self) -> [u32; LANES] {
        self.store().map(f32::to_bits)
    }
    #[inline(always)]
    fn groups(group: &[f32; 4]) -> Self {
        Self::load(&std::array::from_fn(|lane| group[lane % 4]))
    }
    #[inline(always)]
    fn spread(self) -> [Self; 4] {
        let lanes = self.store();
        std::array::from_fn(|t| Self::load(&std::array::from_fn(|lane| lanes[lane / 4 * 4 + t])))
    }
    #[inline(always)]
    fn multiply(self, factor: Self) -> Self {
        let (a, b) = (self.store(), factor.store());
        Self::load(&std::array::from_fn(|lane| a[lane] * b[lane]))
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        let (a, b) = (self.store(), other.store());
        Self::load(&std::array::from_fn(|lane| {
            if b[lane] > a[lane] { b[lane] } else { a[lane] }
        }))
    }
    #[inline(always)]
    fn exponent(self) -> Self {
        Self::from_bits(&self.bits().map(|bits| bits & 0x7f80_0000))
    }
    #[inline(always)]
    fn reflected(self, sum: u32) -> Self {
        Self::from_bits(&self.bits().map(|bits| sum.wrapping_sub(bits)))
    }
    #[inline(always)]
    fn truncate(self) -> Self::Whole {
        self.store().map(truncate_to_i32)
    }
    #[inline(always)]
    fn add(a: Self::Whole, b: Self::Whole) -> Self::Whole {
        std::array::from_fn(|lane| a[lane].wrapping_add(b[lane]))
    }
    #[inline(always)]
    fn toward_zero<const N: usize>(sums: [Self::Whole; N]) -> Self {
        let lanes: Lanes = std::array::from_fn(|lane| {
            let sum = sums
                .iter()
                .fold(0.0, |sum, part| sum + f64::from(part[lane]));
            f64_to_f32(f64::from_bits(sum.to_bits() & F32_PART))
        });
        Self::load(&lanes)
    }
}

// SAFETY (of every block below): the types are private to `simd`, which uses each only inside the function compiled for
// its instruction set, and calls that function only at a `Level` that was seen to have it.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::super::vector::{Avx2, Avx512};
    use super::{F32_PART, LANES, Products};
    use std::arch::x86_64::*;

    impl Products for Avx2 {
        type Whole = [__m256i; 2];
        // SAFETY: all bits zero are eight zeros.
        const NONE: Self::Whole = unsafe { std::mem::zeroed() };

        #[inline(always)]
        fn from_bits(bits: &[u32; LANES]) -> Self {
            let (low, high) = bits.split_at(8);
            // SAFETY: inside a function compiled for AVX2, see above; both halves have 8 numbers.
            unsafe {
                Self(
                    _mm256_loadu_ps(low.as_ptr().cast()),
                    _mm256_loadu_ps(high.as_ptr().cast()),
                )
            }
        }
        #[inline(always)]
        fn bits(self) -> [u32; LANES] {
            let mut bits = [0; LANES];
            let (low, high) = bits.split_at_mut(8);
            // SAFETY: inside a function compiled for AVX2, see above; both halves have 8 numbers.
            unsafe {
                _mm256_storeu_ps(low.as_mut_ptr().cast(), self.0);
                _mm256_storeu_ps(high.as_mut_ptr().cast(), self.1);
            }
            bits
        }
        #[inline(always)]
        fn groups(group: &[f32; 4]) -> Self {
            // SAFETY: inside a function compiled for AVX2, see above; there are four numbers.
            let both = unsafe {
                let group = _mm_loadu_ps(group.as_ptr());
                _mm256_set_m128(group, group)
            };
            Self(both, both)
        }
        #[inline(always)]
        fn spread(self) -> [Self; 4] {
            // SAFETY: inside a function compiled for AVX2, see above.
            unsafe {
                [
                    Self(
                        _mm256_permute_ps::<0x00>(self.0),
                        _mm256_permute_ps::<0x00>(self.1),
                    ),
                    Self(
                        _mm256_permute_ps::<0x55>(self.0),
                        _mm256_permute_ps::<0x55>(self.1),
                    ),
                    Self(
                        _mm256_permute_ps::<0xaa>(self.0),
                        _mm256_permute_ps::<0xaa>(self.1),
                    ),
                    Self(
                        _mm256_permute_ps::<0xff>(self.0),
                        _mm256_permute_ps::<0xff>(self.1),
                    ),
                ]
            }
        }
        #[inline(always)]
        fn multiply(self, factor: Self) -> Self {
            // SAFETY: inside a function compiled for AVX2, see above.
            unsafe {
                Self(
                    _mm256_mul_ps(self.0, factor.0),
                    _mm256_mul_ps(self.1, factor.1),
                )
            }
        }
        #[inline(always)]
        fn max(self, other: Self) -> Self {
            // SAFETY: inside a function compiled for AVX2, see above.
            unsafe {
                Self(
                    _mm256_max_ps(self.0, other.0),
                    _mm256_max_ps(self.1, other.1),
                )
            }
        }
        #[inline(always)]
        fn exponent(self) -> Self {
            // SAFETY: inside a function compiled for AVX2, see above.
            unsafe {
                let mask = _mm256_castsi256_ps(_mm256_set1_epi32(0x7f80_0000));
                Self(_mm256_and_ps(self.0, mask), _mm256_and_ps(self.1, mask))
            }
        }
        #[inline(always)]
        fn reflected(self, sum: u32) -> Self {
            // SAFETY: inside a function compiled for AVX2, see above.
            unsafe {
                let sum = _mm256_set1_epi32(sum.cast_signed());
                let from = |x| _mm256_castsi256_ps(_mm256_sub_epi32(sum, _mm256_castps_si256(x)));
                Self(from(self.0), from(self.1))
            }
        }
        #[inline(always)]
        fn truncate(self) -> Self::Whole {
            // SAFETY: inside a function compiled for AVX2, see above.
            unsafe { [_mm256_cvttps_epi32(self.0), _mm256_cvttps_epi32(self.1)] }
        }
        #[inline(always)]
        fn add(a: Self::Whole, b: Self::Whole) -> Self::Whole {
            // SAFETY: inside a function compiled for AVX2, see above.
            unsafe { [_mm256_add_epi32(a[0], b[0]), _mm256_add_epi32(a[1], b[1])] }
        }
        #[inline(always)]
        fn toward_zero<const N: usize>(sums: [Self::Whole; N]) -> Self {
            // SAFETY: inside a function compiled for AVX2, see above.
            unsafe {
                let four = |parts: [__m128i; N]| {
                    let sum = parts.into_iter().fold(_mm256_setzero_pd(), |sum, part| {
                        _mm256_add_pd(sum, _mm256_cvtepi32_pd(part))
                    });
                    let keep = _mm256_castsi256_pd(_mm256_set1_epi64x(F32_PART.cast_signed()));
                    _mm256_cvtpd_ps(_mm256_and_pd(sum, keep))
                };
                let eight = |which: usize| {
                    let low = four(sums.map(|sum| _mm256_castsi256_si128(sum[which])));
                    let high = four(sums.map(|sum| _mm256_extracti128_si256::<1>(sum[which])));
                    _mm256_set_m128(high, low)
                };
                Self(eight(0), eight(1))
            }
        }
    }

    impl Products for Avx512 {
        type Whole = __m512i;
        // SAFETY: all bits zero are sixteen zeros.
        const NONE: Self::Whole = unsafe { std::mem::zeroed() };

        #[inline(always)]
        fn from_bits(bits: &[u32; LANES]) -> Self {
            // SAFETY: inside a function compiled for AVX-512, see above; there are 16 numbers.
            Self(unsafe { _mm512_loadu_ps(bits.as_ptr().cast()) })
        }
        #[inline(always)]
        fn bits(self) -> [u32; LANES] {
            let mut bits = [0; LANES];
            // SAFETY: inside a function compiled for AVX-512, see above; there are 16 numbers.
            unsafe { _mm512_storeu_ps(bits.as_mut_ptr().cast(), self.0) };
            bits
        }
        #[inline(always)]
        fn groups(group: &[f32; 4]) -> Self {
            // SAFETY: inside a function compiled for AVX-512, see above; there are four numbers.
            Self(unsafe { _mm512_broadcast_f32x4(_mm_loadu_ps(group.as_ptr())) })
        }
        #[inline(always)]
        fn spread(self) -> [Self; 4] {
            // SAFETY: inside a function compiled for AVX-512, see above.
            unsafe {
                [
                    Self(_mm512_permute_ps::<0x00>(self.0)),
                    Self(_mm512_permute_ps::<0x55>(self.0)),
                    Self(_mm512_permute_ps::<0xaa>(self.0)),
                    Self(_mm512_permute_ps::<0xff>(self.0)),
                ]
            }
        }
        #[inline(always)]
        fn multiply(self, factor: Self) -> Self {
            // SAFETY: inside a function compiled for AVX-512, see above.
            Self(unsafe { _mm512_mul_ps(self.0, factor.0) })
        }
        #[inline(always)]
        fn max(self, other: Self) -> Self {
            // SAFETY: inside a function compiled for AVX-512, see above.
            Self(unsafe { _mm512_max_ps(self.0, other.0) })
        }
        #[inline(always)]
        fn exponent(self) -> Self {
            // SAFETY: inside a function compiled for AVX-512, see above.
            unsafe {
                let mask = _mm512_set1_epi32(0x7f80_0000);
                Self(_mm512_castsi512_ps(_mm512_and_si512(
                    _mm512_castps_si512(self.0),
                    mask,
                )))
            }
        }
        #[inline(always)]
        fn reflected(self, sum: u32) -> Self {
            // SAFETY: inside a function compiled for AVX-512, see above.
            unsafe {
                let sum = _mm512_set1_epi32(sum.cast_signed());
                Self(_mm512_castsi512_ps(_mm512_sub_epi32(
                    sum,
                    _mm512_castps_si512(self.0),
                )))
            }
        }
        #[inline(always)]
        fn truncate(self) -> Self::Whole {
            // SAFETY: inside a function compiled for AVX-512, see above.
            unsafe { _mm512_cvttps_epi32(self.0) }
        }
        #[inline(always)]
        fn add(a: Self::Whole, b: Self::Whole) -> Self::Whole {
            // SAFETY: inside a function compiled for AVX-512, see above.
            unsafe { _mm512_add_epi32(a, b) }
        }
        #[inline(always)]
        fn toward_zero<const N: usize>(sums: [Self::Whole; N]) -> Self {
            const DOWN: i32 = _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC;
            // SAFETY: inside a function compiled for AVX-512, see above.
            unsafe {
                if N == 1 {
                    return Self(_mm512_cvt_roundepi32_ps::<DOWN>(sums[0]));
                }
                let eight = |parts: [__m256i; N]| {
                    let sum = parts.into_iter().fold(_mm512_setzero_pd(), |sum, part| {
                        _mm512_add_pd(sum, _mm512_cvtepi32_pd(part))
                    });
                    _mm256_castps_pd(_mm512_cvt_roundpd_ps::<DOWN>(sum))
                };
                let low = eight(sums.map(|sum| _mm512_castsi512_si256(sum)));
                let high = eight(sums.map(|sum| _mm512_extracti64x4_epi64::<1>(sum)));
                let both = _mm512_insertf64x4::<1>(_mm512_castpd256_pd512(low), high);
                Self(_mm512_castpd_ps(both))
            }
        }
    }
}
