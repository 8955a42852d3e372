//! [`LANES`] numbers in the registers of each instruction set.
//!
//! Written with the instructions themselves: left to find them, the compiler vectorised the inner loops for AVX2 in
//! release builds (1.6 ms for the scores of 12 heads of 480 x 480 x 32), not in development builds (16 ms) and not for
//! AVX-512 (42 ms).

#![expect(unsafe_code, reason = "instructions that not every machine has")]

use super::{LANES, Lanes};

/// Numbers side by side. Each operation is done in every lane by itself.
pub(super) trait Vector: Copy {
    /// Whether `multiply_add` rounds once.
    const FUSED: bool;
    /// `value` in every lane.
    fn splat(value: f32) -> Self;
    /// The lanes of an array.
    fn load(lanes: &Lanes) -> Self;
    /// The array of the lanes.
    fn store(self) -> Lanes;
    /// `self * factor + addend`.
    fn multiply_add(self, factor: Self, addend: Self) -> Self;
}

/// Plain Rust. Fuses where every machine of the target does.
#[derive(Clone, Copy)]
pub(super) struct Portable(Lanes);

impl Vector for Portable {
    const FUSED: bool = cfg!(any(target_feature = "fma", target_arch = "aarch64"));

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self([value; LANES])
    }
    #[inline(always)]
    fn load(lanes: &Lanes) -> Self {
        Self(*lanes)
    }
    #[inline(always)]
    fn store(self) -> Lanes {
        self.0
    }
    #[inline(always)]
    fn multiply_add(mut self, factor: Self, addend: Self) -> Self {
        for ((value, factor), addend) in self.0.iter_mut().zip(factor.0).zip(addend.0) {
            *value = if Self::FUSED {
                value.mul_add(factor, addend)
            } else {
                *value * factor + addend
            };
        }
        self
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

// SAFETY (of every block below): the types are private to `simd`, which uses each only inside the function compiled for
// its instruction set, and calls that function only at a `Level` that was seen to have it.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Lanes, Vector};
    use std::arch::x86_64::{
        __m256, __m512, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_storeu_ps,
        _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_storeu_ps,
    };

    /// Two registers of AVX2; needs FMA as well.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx2(pub(in super::super) __m256, pub(in super::super) __m256);

    impl Vector for Avx2 {
        const FUSED: bool = true;

        #[inline(always)]
        fn splat(value: f32) -> Self {
            // SAFETY: inside a function compiled for AVX2, see above.
            let register = unsafe { _mm256_set1_ps(value) };
            Self(register, register)
        }
        #[inline(always)]
        fn load(lanes: &Lanes) -> Self {
            let (low, high) = lanes.split_at(8);
            // SAFETY: inside a function compiled for AVX2, see above; both halves have 8 numbers.
            unsafe {
                Self(
                    _mm256_loadu_ps(low.as_ptr()),
                    _mm256_loadu_ps(high.as_ptr()),
                )
            }
        }
        #[inline(always)]
        fn store(self) -> Lanes {
            let mut lanes = [0.0; 16];
            let (low, high) = lanes.split_at_mut(8);
            // SAFETY: inside a function compiled for AVX2, see above; both halves have 8 numbers.
            unsafe {
                _mm256_storeu_ps(low.as_mut_ptr(), self.0);
                _mm256_storeu_ps(high.as_mut_ptr(), self.1);
            }
            lanes
        }
        #[inline(always)]
        fn multiply_add(self, factor: Self, addend: Self) -> Self {
            // SAFETY: inside a function compiled for AVX2 and FMA, see above.
            unsafe {
                Self(
                    _mm256_fmadd_ps(self.0, factor.0, addend.0),
                    _mm256_fmadd_ps(self.1, factor.1, addend.1),
                )
            }
        }
    }

    /// One register of AVX-512.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx512(pub(in super::super) __m512);

    impl Vector for Avx512 {
        const FUSED: bool = true;

        #[inline(always)]
        fn splat(value: f32) -> Self {
            // SAFETY: inside a function compiled for AVX-512, see above.
            Self(unsafe { _mm512_set1_ps(value) })
        }
        #[inline(always)]
        fn load(lanes: &Lanes) -> Self {
            // SAFETY: inside a function compiled for AVX-512, see above; there are 16 numbers.
            Self(unsafe { _mm512_loadu_ps(lanes.as_ptr()) })
        }
        #[inline(always)]
        fn store(self) -> Lanes {
            let mut lanes = [0.0; 16];
            // SAFETY: inside a function compiled for AVX-512, see above; there are 16 numbers.
            unsafe { _mm512_storeu_ps(lanes.as_mut_ptr(), self.0) };
            lanes
        }
        #[inline(always)]
        fn multiply_add(self, factor: Self, addend: Self) -> Self {
            // SAFETY: inside a function compiled for AVX-512, see above.
            Self(unsafe { _mm512_fmadd_ps(self.0, factor.0, addend.0) })
        }
    }
}
