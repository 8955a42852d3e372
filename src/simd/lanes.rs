//! Loops over the 32 lanes of a warp, compiled for the instruction set of the machine.
//!
//! The function of one lane is any Rust function without side effects; the compiler puts it into the loop and the loop
//! on vectors. No level fuses a multiplication with an addition that Rust does not fuse, so all levels give the same bits.

use super::products::Products;
use super::{Level, Task};

/// Lanes of a warp.
const WARP: usize = 32;

impl Level {
    /// `f` of each lane.
    #[inline]
    pub fn map<A: Copy, R: Copy + Default>(self, a: &[A; WARP], f: impl Fn(A) -> R) -> [R; WARP] {
        self.zip(a, a, |a, _| f(a))
    }

    /// `f` of each lane of two registers.
    #[inline]
    pub fn zip<A: Copy, B: Copy, R: Copy + Default>(
        self,
        a: &[A; WARP],
        b: &[B; WARP],
        f: impl Fn(A, B) -> R,
    ) -> [R; WARP] {
        self.zip3(a, b, a, |a, b, _| f(a, b))
    }

    /// `f` of each lane of three registers.
    #[inline]
    pub fn zip3<A: Copy, B: Copy, C: Copy, R: Copy + Default>(
        self,
        a: &[A; WARP],
        b: &[B; WARP],
        c: &[C; WARP],
        f: impl Fn(A, B, C) -> R,
    ) -> [R; WARP] {
        let mut d = [R::default(); WARP];
        self.run(LaneTask {
            a,
            b,
            c,
            d: &mut d,
            f,
        });
        d
    }

    /// A bit a lane: where `f` holds.
    #[inline]
    pub fn mask<A: Copy>(self, a: &[A; WARP], b: &[A; WARP], f: impl Fn(A, A) -> bool) -> u32 {
        let mut mask = 0;
        self.run(MaskTask {
            a,
            b,
            mask: &mut mask,
            f,
        });
        mask
    }

    /// `a * b + c` of f32 bits, rounded once: by the machine where it can, else by `portable`, which has to give the same numbers.
    #[inline]
    pub fn multiply_add(
        self,
        a: &[u32; WARP],
        b: &[u32; WARP],
        c: &[u32; WARP],
        portable: impl Fn(f32, f32, f32) -> f32,
    ) -> [u32; WARP] {
        let f = f32::from_bits;
        if self.fuses() {
            self.zip3(a, b, c, |a, b, c| f(a).mul_add(f(b), f(c)).to_bits())
        } else {
            self.zip3(a, b, c, |a, b, c| portable(f(a), f(b), f(c)).to_bits())
        }
    }
}

struct LaneTask<'a, A, B, C, R, F> {
    a: &'a [A; WARP],
    b: &'a [B; WARP],
    c: &'a [C; WARP],
    d: &'a mut [R; WARP],
    f: F,
}

impl<A: Copy, B: Copy, C: Copy, R: Copy + Default, F: Fn(A, B, C) -> R> Task
    for LaneTask<'_, A, B, C, R, F>
{
    #[inline(always)]
    fn run<V: Products, const ROWS: usize, const CHUNKS: usize>(self) {
        // Into an array that nothing else can be a part of: else the order of loads and stores binds the compiler.
        let mut d = [R::default(); WARP];
        for (lane, d) in d.iter_mut().enumerate() {
            *d = (self.f)(self.a[lane], self.b[lane], self.c[lane]);
        }
        *self.d = d;
    }
}

struct MaskTask<'a, A, F> {
    a: &'a [A; WARP],
    b: &'a [A; WARP],
    mask: &'a mut u32,
    f: F,
}

impl<A: Copy, F: Fn(A, A) -> bool> Task for MaskTask<'_, A, F> {
    #[inline(always)]
    fn run<V: Products, const ROWS: usize, const CHUNKS: usize>(self) {
        let mut bits = [0_u32; WARP];
        for (lane, bit) in bits.iter_mut().enumerate() {
            *bit = u32::from((self.f)(self.a[lane], self.b[lane])) << lane;
        }
        *self.mask = bits.into_iter().fold(0, |mask, bit| mask | bit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_visits_every_lane() {
        let a: [u32; WARP] = std::array::from_fn(|lane| 7 * u32::try_from(lane).unwrap());
        let b = a.map(|x| x ^ 0x55);
        for level in Level::available() {
            assert_eq!(level.map(&a, |x| x + 1), a.map(|x| x + 1));
            let sums = level.zip3(&a, &b, &a, |x, y, z| x * y + z);
            for lane in 0..WARP {
                assert_eq!(sums[lane], a[lane] * b[lane] + a[lane]);
                let less = level.mask(&a, &b, |x, y| x < y);
                assert_eq!(less >> lane & 1 == 1, a[lane] < b[lane]);
            }
            let x = a.map(|bits| 0x3f80_0000 + bits);
            let exact = |bits: u32| {
                let x = f32::from_bits(bits);
                x.mul_add(x, x).to_bits()
            };
            assert_eq!(level.multiply_add(&x, &x, &x, f32::mul_add), x.map(exact));
        }
    }
}
