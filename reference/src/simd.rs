//! Eight f64 side by side, in the registers of each instruction set, behind safe functions.
//!
//! Loops are written once over [`Vector`] and compiled once for each [`Level`]. Levels differ in one thing that shows in
//! bits: whether `a * b + c` is rounded once or twice. Every caller bounds its error for both, and accepts a result only
//! where the bound leaves one rounding: so accepted results are the same at every level.
//!
//! The one file of this crate with `unsafe`: calling instructions that not every machine has needs the knowledge that
//! this one has them, which [`Level`] is.

/// Numbers in a vector.
pub(crate) const LANES: usize = 8;
/// One vector in memory.
pub(crate) type Lanes = [f64; LANES];
/// Numbers that are looked up by the low bits of another.
pub(crate) const TABLE_LEN: usize = 256;
/// A lookup table.
pub(crate) type Table = [f64; TABLE_LEN];

/// An instruction set that this machine was seen to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// A loop to be compiled for each level. The numbers of rows and of vectors are what the registers of a level hold.
pub(crate) trait Task {
    /// What the loop gives.
    type Output;
    /// Runs it; must be `#[inline(always)]`, and so must everything it calls with `V`.
    fn run<V: Vector, const SCORE_ROWS: usize, const VALUE_ROWS: usize, const WIDTH: usize>(
        self,
    ) -> Self::Output;
}

impl Level {
    /// Every level of this machine, the best last.
    pub(crate) fn available() -> Vec<Self> {
        #[cfg_attr(
            not(target_arch = "x86_64"),
            expect(unused_mut, reason = "one level only")
        )]
        let mut levels = vec![Self(Kind::Portable)];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            levels.push(Self(Kind::Avx2));
            if is_x86_feature_detected!("avx512f") {
                levels.push(Self(Kind::Avx512));
            }
        }
        levels
    }

    /// The best level of this machine.
    pub(crate) fn best() -> Self {
        Self::available().pop().unwrap_or(Self(Kind::Portable))
    }

    /// Runs a loop as compiled for this level.
    pub(crate) fn run<T: Task>(self, task: T) -> T::Output {
        match self.0 {
            Kind::Portable => task.run::<Portable, 2, 1, 1>(),
            #[cfg(target_arch = "x86_64")]
            #[expect(unsafe_code, reason = "the instruction set is known to be there")]
            // SAFETY: a `Level` of this kind is only made by `available`, after it saw the instructions.
            Kind::Avx2 => unsafe { x86::avx2(task) },
            #[cfg(target_arch = "x86_64")]
            #[expect(unsafe_code, reason = "the instruction set is known to be there")]
            // SAFETY: as above.
            Kind::Avx512 => unsafe { x86::avx512(task) },
        }
    }
}

/// Eight numbers. Each operation is one IEEE 754 operation in every lane by itself.
pub(crate) trait Vector: Copy {
    /// Whether [`Vector::mul_add`] rounds once.
    const FUSED: bool;
    /// `value` in every lane.
    fn splat(value: f64) -> Self;
    /// The lanes of an array.
    fn load(lanes: &Lanes) -> Self;
    /// The array of the lanes.
    fn store(self) -> Lanes;
    /// `self + other`.
    fn add(self, other: Self) -> Self;
    /// `self - other`.
    fn sub(self, other: Self) -> Self;
    /// `self * other`.
    fn mul(self, other: Self) -> Self;
    /// `self * factor + addend`, rounded once where [`Vector::FUSED`], else twice.
    fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// `self` where `test > limit`; 0 elsewhere, also where `test` is NaN.
    fn where_above(self, test: Self, limit: Self) -> Self;
    /// The smaller of both; `other` where one is NaN.
    fn min(self, other: Self) -> Self;
    /// `table[n mod 256]`, `n` the integer in the low bits of each lane.
    fn look_up(self, table: &Table) -> Self;
    /// `2^floor(n / 256)`, `n` the integer in the low bits of each lane, for normal results.
    fn power_of_quotient(self) -> Self;

    /// Sum and its rounding error: `self + other` exactly (Knuth's `TwoSum`).
    #[inline(always)]
    fn two_sum(self, other: Self) -> (Self, Self) {
        let sum = self.add(other);
        let part = sum.sub(self);
        (sum, self.sub(sum.sub(part)).add(other.sub(part)))
    }

    /// The same for `|self| >= |other|` or `self = 0` (Dekker's `FastTwoSum`).
    #[inline(always)]
    fn fast_two_sum(self, other: Self) -> (Self, Self) {
        let sum = self.add(other);
        (sum, other.sub(sum.sub(self)))
    }

    /// Product and its rounding error: `self * other` exactly, where neither over- nor underflows (Dekker, Veltkamp).
    #[inline(always)]
    fn two_product(self, other: Self) -> (Self, Self) {
        let product = self.mul(other);
        if Self::FUSED {
            let negative = Self::splat(0.0).sub(product);
            return (product, self.mul_add(other, negative));
        }
        let (a, b) = (self.halves(), other.halves());
        let error = a.0.mul(b.0).sub(product);
        let error = error.add(a.0.mul(b.1)).add(a.1.mul(b.0));
        (product, error.add(a.1.mul(b.1)))
    }

    /// `self` as a sum of two numbers of 26 bits.
    #[inline(always)]
    fn halves(self) -> (Self, Self) {
        let shifted = self.mul(Self::splat(134_217_729.0)); // 2^27 + 1
        let high = shifted.sub(shifted.sub(self));
        (high, self.sub(high))
    }
}

/// Plain Rust, with what the compiler was told that every machine has.
#[derive(Clone, Copy)]
pub(crate) struct Portable(Lanes);

/// The low bits of a number as a place in a table.
#[inline(always)]
fn table_index(value: f64) -> usize {
    usize::try_from(value.to_bits() & 0xff).expect("eight bits fit")
}

impl Portable {
    #[inline(always)]
    fn zip(self, other: Self, operation: impl Fn(f64, f64) -> f64) -> Self {
        let mut lanes = self.0;
        for (a, b) in lanes.iter_mut().zip(other.0) {
            *a = operation(*a, b);
        }
        Self(lanes)
    }
}

impl Vector for Portable {
    // A fused operation that the target lacks would be a call of a slow function.
    const FUSED: bool = cfg!(any(target_feature = "fma", target_arch = "aarch64"));

    #[inline(always)]
    fn splat(value: f64) -> Self {
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
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }
    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        let mut lanes = self.0;
        for ((a, b), c) in lanes.iter_mut().zip(factor.0).zip(addend.0) {
            *a = if Self::FUSED {
                a.mul_add(b, c)
            } else {
                *a * b + c
            };
        }
        Self(lanes)
    }
    #[inline(always)]
    fn where_above(self, test: Self, limit: Self) -> Self {
        let mut lanes = self.0;
        for ((a, test), limit) in lanes.iter_mut().zip(test.0).zip(limit.0) {
            *a = if test > limit { *a } else { 0.0 };
        }
        Self(lanes)
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn look_up(self, table: &Table) -> Self {
        Self(self.0.map(|value| table[table_index(value)]))
    }
    #[inline(always)]
    fn power_of_quotient(self) -> Self {
        Self(
            self.0
                .map(|value| f64::from_bits((value.to_bits() >> 8).wrapping_add(1023) << 52)),
        )
    }
}

/// Runs `task` with these bits of the control register (MXCSR) set, and then as before: for tests of what notices.
#[cfg(all(test, target_arch = "x86_64"))]
#[expect(unsafe_code, reason = "the control register has no safe interface")]
pub(crate) fn with_control<R>(bits: u32, task: impl FnOnce() -> R) -> R {
    struct Restore(u32);
    fn load(control: u32) {
        // SAFETY: reads four bytes of the stack, whose reserved bits are as they were stored; every exception stays
        // masked. Code that is compiled for another mode may give other bits, which is what tests ask for.
        unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &control, options(nostack, readonly)) };
    }
    impl Drop for Restore {
        fn drop(&mut self) {
            load(self.0);
        }
    }
    let mut control = 0_u32;
    // SAFETY: writes four bytes of the stack.
    unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &mut control, options(nostack)) };
    let _restore = Restore(control);
    load(control | bits);
    task()
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "instructions that not every machine has")]
mod x86 {
    use super::{Lanes, Table, Task, Vector};
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn avx2<T: Task>(task: T) -> T::Output {
        task.run::<Avx2, 4, 2, 1>()
    }

    #[target_feature(enable = "avx512f,avx2,fma")]
    pub(super) fn avx512<T: Task>(task: T) -> T::Output {
        task.run::<Avx512, 8, 4, 2>()
    }

    #[derive(Clone, Copy)]
    pub(super) struct Avx512(__m512d);

    #[derive(Clone, Copy)]
    pub(super) struct Avx2(__m256d, __m256d);

    // SAFETY (of every block below): the types are private to this module, whose two functions alone use them, each
    // compiled for the instructions of its type. Pointers are to arrays that are borrowed, and indices of a lookup have
    // eight bits, so they lie inside a table of 256.
    impl Vector for Avx512 {
        const FUSED: bool = true;

        #[inline(always)]
        fn splat(value: f64) -> Self {
            // SAFETY: see the top of the impl.
            Self(unsafe { _mm512_set1_pd(value) })
        }
        #[inline(always)]
        fn load(lanes: &Lanes) -> Self {
            // SAFETY: see the top of the impl.
            Self(unsafe { _mm512_loadu_pd(lanes.as_ptr()) })
        }
        #[inline(always)]
        fn store(self) -> Lanes {
            let mut lanes = [0.0; 8];
            // SAFETY: see the top of the impl.
            unsafe { _mm512_storeu_pd(lanes.as_mut_ptr(), self.0) };
            lanes
        }
        #[inline(always)]
        fn add(self, other: Self) -> Self {
            // SAFETY: see the top of the impl.
            Self(unsafe { _mm512_add_pd(self.0, other.0) })
        }
        #[inline(always)]
        fn sub(self, other: Self) -> Self {
            // SAFETY: see the top of the impl.
            Self(unsafe { _mm512_sub_pd(self.0, other.0) })
        }
        #[inline(always)]
        fn mul(self, other: Self) -> Self {
            // SAFETY: see the top of the impl.
            Self(unsafe { _mm512_mul_pd(self.0, other.0) })
        }
        #[inline(always)]
        fn mul_add(self, factor: Self, addend: Self) -> Self {
            // SAFETY: see the top of the impl.
            Self(unsafe { _mm512_fmadd_pd(self.0, factor.0, addend.0) })
        }
        #[inline(always)]
        fn where_above(self, test: Self, limit: Self) -> Self {
            // SAFETY: see the top of the impl.
            unsafe {
                let mask = _mm512_cmp_pd_mask::<_CMP_GT_OQ>(test.0, limit.0);
                Self(_mm512_maskz_mov_pd(mask, self.0))
            }
        }
        #[inline(always)]
        fn min(self, other: Self) -> Self {
            // SAFETY: see the top of the impl.
            Self(unsafe { _mm512_min_pd(self.0, other.0) })
        }
        #[inline(always)]
        fn look_up(self, table: &Table) -> Self {
            // SAFETY: see the top of the impl.
            unsafe {
                let index = _mm512_and_si512(_mm512_castpd_si512(self.0), _mm512_set1_epi64(0xff));
                Self(_mm512_i64gather_pd::<8>(index, table.as_ptr()))
            }
        }
        #[inline(always)]
        fn power_of_quotient(self) -> Self {
            // SAFETY: see the top of the impl.
            unsafe {
                let quotient = _mm512_srli_epi64::<8>(_mm512_castpd_si512(self.0));
                let biased = _mm512_add_epi64(quotient, _mm512_set1_epi64(1023));
                Self(_mm512_castsi512_pd(_mm512_slli_epi64::<52>(biased)))
            }
        }
    }

    // SAFETY (of every block below): as above.
    impl Vector for Avx2 {
        const FUSED: bool = true;

        #[inline(always)]
        fn splat(value: f64) -> Self {
            // SAFETY: see the top of the impl.
            let half = unsafe { _mm256_set1_pd(value) };
            Self(half, half)
        }
        #[inline(always)]
        fn load(lanes: &Lanes) -> Self {
            let (low, high) = lanes.split_at(4);
            // SAFETY: see the top of the impl; both halves have four numbers.
            unsafe {
                Self(
                    _mm256_loadu_pd(low.as_ptr()),
                    _mm256_loadu_pd(high.as_ptr()),
                )
            }
        }
        #[inline(always)]
        fn store(self) -> Lanes {
            let mut lanes = [0.0; 8];
            let (low, high) = lanes.split_at_mut(4);
            // SAFETY: see the top of the impl; both halves have four numbers.
            unsafe {
                _mm256_storeu_pd(low.as_mut_ptr(), self.0);
                _mm256_storeu_pd(high.as_mut_ptr(), self.1);
            }
            lanes
        }
        #[inline(always)]
        fn add(self, other: Self) -> Self {
            // SAFETY: see the top of the impl.
            unsafe {
                Self(
                    _mm256_add_pd(self.0, other.0),
                    _mm256_add_pd(self.1, other.1),
                )
            }
        }
        #[inline(always)]
        fn sub(self, other: Self) -> Self {
            // SAFETY: see the top of the impl.
            unsafe {
                Self(
                    _mm256_sub_pd(self.0, other.0),
                    _mm256_sub_pd(self.1, other.1),
                )
            }
        }
        #[inline(always)]
        fn mul(self, other: Self) -> Self {
            // SAFETY: see the top of the impl.
            unsafe {
                Self(
                    _mm256_mul_pd(self.0, other.0),
                    _mm256_mul_pd(self.1, other.1),
                )
            }
        }
        #[inline(always)]
        fn mul_add(self, factor: Self, addend: Self) -> Self {
            // SAFETY: see the top of the impl.
            unsafe {
                Self(
                    _mm256_fmadd_pd(self.0, factor.0, addend.0),
                    _mm256_fmadd_pd(self.1, factor.1, addend.1),
                )
            }
        }
        #[inline(always)]
        fn where_above(self, test: Self, limit: Self) -> Self {
            // SAFETY: see the top of the impl.
            unsafe {
                let low = _mm256_cmp_pd::<_CMP_GT_OQ>(test.0, limit.0);
                let high = _mm256_cmp_pd::<_CMP_GT_OQ>(test.1, limit.1);
                Self(_mm256_and_pd(low, self.0), _mm256_and_pd(high, self.1))
            }
        }
        #[inline(always)]
        fn min(self, other: Self) -> Self {
            // SAFETY: see the top of the impl.
            unsafe {
                Self(
                    _mm256_min_pd(self.0, other.0),
                    _mm256_min_pd(self.1, other.1),
                )
            }
        }
        #[inline(always)]
        fn look_up(self, table: &Table) -> Self {
            // SAFETY: see the top of the impl.
            let half = |bits: __m256d| unsafe {
                let index = _mm256_and_si256(_mm256_castpd_si256(bits), _mm256_set1_epi64x(0xff));
                _mm256_i64gather_pd::<8>(table.as_ptr(), index)
            };
            Self(half(self.0), half(self.1))
        }
        #[inline(always)]
        fn power_of_quotient(self) -> Self {
            // SAFETY: see the top of the impl.
            let half = |bits: __m256d| unsafe {
                let quotient = _mm256_srli_epi64::<8>(_mm256_castpd_si256(bits));
                let biased = _mm256_add_epi64(quotient, _mm256_set1_epi64x(1023));
                _mm256_castsi256_pd(_mm256_slli_epi64::<52>(biased))
            };
            Self(half(self.0), half(self.1))
        }
    }
}
