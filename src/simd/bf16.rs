//! Products of f32 rows with a weight matrix, both rounded to bf16, summed in f32.
//!
//! The machine's own instruction (`vdpbf16ps`, AVX-512 BF16) takes two products of a sum at once. A product of two bf16
//! numbers has 16 significant bits, so it is exact in f32: only the additions round, the one of the odd input before the
//! one of the even input. [`Weights16::apply_portable`] does the same additions in the same order.
//!
//! No crate has these products: `gemm` widens bf16 to f32 first, which is slower than f32 itself.

use super::LANES;
use half::bf16;

/// Outputs that a panel of weights holds: the sums of [`ROWS`] rows by this many fill 24 of 32 registers.
const COLUMNS: usize = 3 * LANES;
/// Rows of the left factor that are worked on at a time.
const ROWS: usize = 8;

/// Weights (inputs, outputs) in bf16, in the order in which the product reads them.
#[derive(Clone, Debug)]
pub struct Weights16 {
    inputs: usize,
    outputs: usize,
    /// Panels of [`COLUMNS`] outputs; in a panel, for two inputs at a time, both weights of each output side by side: the
    /// even input's in the low half. Outputs and inputs that do not exist weigh 0.
    panels: Vec<u32>,
}

impl Weights16 {
    /// Rounds a row-major matrix (`inputs`, `outputs`) to nearest, ties to even.
    ///
    /// # Panics
    /// If there are not `inputs * outputs` weights, or no input or no output.
    pub fn new(weights: &[f32], inputs: usize, outputs: usize) -> Self {
        assert_eq!(weights.len(), inputs * outputs, "weights of a matrix");
        assert!(inputs > 0 && outputs > 0, "a matrix with an extent of 0");
        let weight = |input: usize, output: usize| {
            if input < inputs && output < outputs {
                bf16::from_f32(weights[input * outputs + output])
            } else {
                bf16::ZERO
            }
        };
        let mut panels = Vec::new();
        for first in (0..outputs).step_by(COLUMNS) {
            for input in (0..inputs).step_by(2) {
                panels.extend(
                    (first..first + COLUMNS)
                        .map(|output| pair(weight(input, output), weight(input + 1, output))),
                );
            }
        }
        Self {
            inputs,
            outputs,
            panels,
        }
    }

    /// Whether this machine has the instruction; without it a product costs more than one in f32.
    pub fn is_native() -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512bf16")
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            false
        }
    }

    /// `out = x W`, row-major (rows, outputs), of `x` (rows, inputs) rounded to nearest, ties to even; subnormal numbers
    /// count as 0 where the instruction does the work.
    ///
    /// # Panics
    /// If `x` is no whole number of rows or `out` does not have as many.
    pub fn apply(&self, x: &[f32], out: &mut [f32]) {
        self.check(x, out);
        #[cfg(target_arch = "x86_64")]
        if Self::is_native() {
            #[expect(unsafe_code, reason = "the instruction is known to be there")]
            // SAFETY: `is_native` has just seen every feature that the function is compiled for.
            unsafe {
                x86::product(self, x, out);
            }
            return;
        }
        product::<Portable>(self, x, out);
    }

    /// [`Weights16::apply`] without the instruction.
    ///
    /// # Panics
    /// As [`Weights16::apply`].
    pub fn apply_portable(&self, x: &[f32], out: &mut [f32]) {
        self.check(x, out);
        product::<Portable>(self, x, out);
    }

    fn check(&self, x: &[f32], out: &[f32]) {
        let rows = x.len() / self.inputs;
        assert_eq!(rows * self.inputs, x.len(), "rows of the left factor");
        assert_eq!(rows * self.outputs, out.len(), "rows of the product");
    }
}

/// Two numbers side by side, the first in the low half.
fn pair(low: bf16, high: bf16) -> u32 {
    u32::from(high.to_bits()) << 16 | u32::from(low.to_bits())
}

/// [`LANES`] sums.
trait Sums: Copy {
    const ZERO: Self;
    /// Adds, a lane, the product of the high halves, then the product of the low halves.
    fn add(self, left: u32, right: &[u32; LANES]) -> Self;
    fn store(self) -> [f32; LANES];
}

#[inline(always)]
fn product<S: Sums>(weights: &Weights16, x: &[f32], out: &mut [f32]) {
    let pairs = weights.inputs.div_ceil(2);
    let mut rounded = Vec::with_capacity(x.len() / weights.inputs * pairs);
    for row in x.chunks_exact(weights.inputs) {
        let (even, last) = row.as_chunks::<2>();
        rounded.extend(
            even.iter()
                .map(|[low, high]| round(*low) >> 16 | round(*high) & 0xffff_0000),
        );
        rounded.extend(last.iter().map(|low| round(*low) >> 16));
    }
    // Blocks of rows with the rows' pairs side by side.
    let mut blocks = vec![[0; ROWS]; rounded.len() / (ROWS * pairs) * pairs];
    let (whole, rest) = rounded.split_at(blocks.len() * ROWS);
    for (block, rows) in blocks
        .chunks_exact_mut(pairs)
        .zip(whole.chunks_exact(ROWS * pairs))
    {
        for (row, of_row) in rows.chunks_exact(pairs).enumerate() {
            for (pair, value) in block.iter_mut().zip(of_row) {
                pair[row] = *value;
            }
        }
    }
    let (groups, _) = weights.panels.as_chunks::<LANES>();
    let (groups, _) = groups.as_chunks::<{ COLUMNS / LANES }>();
    let panels = groups.chunks_exact(pairs);
    for (panel, first) in panels.zip((0..weights.outputs).step_by(COLUMNS)) {
        let mut place = Place {
            out: &mut *out,
            outputs: weights.outputs,
            first,
        };
        for (index, left) in blocks.chunks_exact(pairs).enumerate() {
            block::<S, ROWS>(left, panel, &mut place, index * ROWS);
        }
        let first_row = blocks.len() / pairs * ROWS;
        for (row, left) in rest.chunks_exact(pairs).enumerate() {
            block::<S, 1>(left.as_chunks::<1>().0, panel, &mut place, first_row + row);
        }
    }
}

/// Bits whose upper half is the number in bf16, to nearest, ties to even; NaN stays one.
#[inline(always)]
fn round(x: f32) -> u32 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    if x.is_nan() {
        bits | 0x0040_0000
    } else {
        rounded
    }
}

/// Where the sums of a panel go.
struct Place<'a> {
    /// Some rows of the product.
    out: &'a mut [f32],
    outputs: usize,
    /// First output of the panel.
    first: usize,
}

/// Sums of `R` rows by one panel.
#[inline(always)]
fn block<S: Sums, const R: usize>(
    left: &[[u32; R]],
    panel: &[[[u32; LANES]; COLUMNS / LANES]],
    place: &mut Place<'_>,
    row: usize,
) {
    let mut sums = [[S::ZERO; COLUMNS / LANES]; R];
    for (left, right) in left.iter().zip(panel) {
        for (sums, left) in sums.iter_mut().zip(left) {
            for (sum, right) in sums.iter_mut().zip(right) {
                *sum = sum.add(*left, right);
            }
        }
    }
    let width = COLUMNS.min(place.outputs - place.first);
    for (offset, sums) in sums.iter().enumerate() {
        let start = (row + offset) * place.outputs + place.first;
        let out = &mut place.out[start..start + width];
        for (out, sum) in out.chunks_mut(LANES).zip(sums) {
            out.copy_from_slice(&sum.store()[..out.len()]);
        }
    }
}

/// What every machine has.
#[derive(Clone, Copy)]
struct Portable([f32; LANES]);

impl Sums for Portable {
    const ZERO: Self = Self([0.0; LANES]);

    #[inline(always)]
    fn add(self, left: u32, right: &[u32; LANES]) -> Self {
        let (low, high) = (f32::from_bits(left << 16), f32::from_bits(left & !0xffff));
        Self(std::array::from_fn(|lane| {
            let sum = self.0[lane] + high * f32::from_bits(right[lane] & !0xffff);
            sum + low * f32::from_bits(right[lane] << 16)
        }))
    }

    #[inline(always)]
    fn store(self) -> [f32; LANES] {
        self.0
    }
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "an instruction that not every machine has")]
mod x86 {
    use super::{LANES, Sums, Weights16};
    use std::arch::x86_64::{
        __m512, __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_loadu_si512, _mm512_set1_epi32,
        _mm512_storeu_ps,
    };

    /// The product, compiled for the instruction and for what [`Weights16::is_native`] sees beside it.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")]
    pub(super) fn product(weights: &Weights16, x: &[f32], out: &mut [f32]) {
        super::product::<Native>(weights, x, out);
    }

    /// One register.
    #[derive(Clone, Copy)]
    struct Native(__m512);

    // SAFETY (of every block below): `Native` is private to this module, which uses it only inside `product`.
    impl Sums for Native {
        // SAFETY: all bits zero are 16 zeros.
        const ZERO: Self = Self(unsafe { std::mem::zeroed() });

        #[inline(always)]
        fn add(self, left: u32, right: &[u32; LANES]) -> Self {
            // SAFETY: inside a function compiled for the instruction, see above; there are 16 pairs, and registers of 512
            // bits have no invalid values.
            unsafe {
                let left = _mm512_set1_epi32(left.cast_signed());
                let right = _mm512_loadu_si512(right.as_ptr().cast());
                Self(_mm512_dpbf16_ps(
                    self.0,
                    std::mem::transmute::<__m512i, __m512bh>(left),
                    std::mem::transmute::<__m512i, __m512bh>(right),
                ))
            }
        }

        #[inline(always)]
        fn store(self) -> [f32; LANES] {
            let mut lanes = [0.0; LANES];
            // SAFETY: inside a function compiled for the instruction, see above; there is room for 16 numbers.
            unsafe { _mm512_storeu_ps(lanes.as_mut_ptr(), self.0) };
            lanes
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::{f64_to_f32, usize_to_f64};

    /// Numbers in [-1, 1) from a counter, by splitmix64.
    fn numbers(count: usize, seed: u64) -> Vec<f32> {
        let number = |index: u64| {
            let mut z = index.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(seed);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let high = u32::try_from((z ^ (z >> 31)) >> 32).expect("32 bits");
            f64_to_f32(f64::from(high) / 2_f64.powi(31) - 1.0)
        };
        (1..=count)
            .map(|index| number(u64::try_from(index).expect("a count")))
            .collect()
    }

    /// Extents that fill panels and rows, and that do not.
    const EXTENTS: [(usize, usize, usize); 6] = [
        (8, 384, 48),
        (64, 96, 384),
        (1, 1, 1),
        (9, 7, 49),
        (19, 33, 100),
        (3, 384, 17),
    ];

    #[test]
    fn sums_of_exact_products_are_exact() {
        // Whole numbers below 128 are bf16 numbers; sums of their products stay below 2^24.
        for (rows, inputs, outputs) in EXTENTS {
            let whole = |x: &f32| (x * 127.0).trunc();
            let x: Vec<f32> = numbers(rows * inputs, 1).iter().map(whole).collect();
            let weights: Vec<f32> = numbers(inputs * outputs, 2).iter().map(whole).collect();
            let matrix = Weights16::new(&weights, inputs, outputs);
            let mut out = vec![f32::NAN; rows * outputs];
            matrix.apply(&x, &mut out);
            for (row, out) in out.chunks_exact(outputs).enumerate() {
                for (output, found) in out.iter().enumerate() {
                    let terms =
                        (0..inputs).map(|i| x[row * inputs + i] * weights[i * outputs + output]);
                    let expected: f32 = terms.sum();
                    assert_eq!(
                        found.to_bits(),
                        (expected + 0.0).to_bits(),
                        "{rows} x {inputs} x {outputs} at ({row}, {output})"
                    );
                }
            }
        }
    }

    #[test]
    fn every_sum_is_within_the_error_of_its_roundings() {
        // Each factor is rounded with relative error 2^-9 at most (8 significant bits), and each of the inputs' additions
        // with 2^-24 of a partial sum: |error| <= ((1 + 2^-9)^2 (1 + 2^-24)^(inputs + 1) - 1) sum |x w|.
        for (rows, inputs, outputs) in EXTENTS {
            let (x, weights) = (numbers(rows * inputs, 3), numbers(inputs * outputs, 4));
            let matrix = Weights16::new(&weights, inputs, outputs);
            let mut out = vec![f32::NAN; rows * outputs];
            matrix.apply(&x, &mut out);
            let growth = (1.0 + 2_f64.powi(-9)).powi(2)
                * ((usize_to_f64(inputs) + 1.0) * (2_f64.powi(-24)).ln_1p()).exp()
                - 1.0;
            for (row, out) in out.chunks_exact(outputs).enumerate() {
                for (output, found) in out.iter().enumerate() {
                    let terms: Vec<f64> = (0..inputs)
                        .map(|i| {
                            f64::from(x[row * inputs + i])
                                * f64::from(weights[i * outputs + output])
                        })
                        .collect();
                    let magnitude: f64 = terms.iter().map(|term| term.abs()).sum();
                    let error = (f64::from(*found) - terms.iter().sum::<f64>()).abs();
                    assert!(
                        error <= growth * magnitude,
                        "{rows} x {inputs} x {outputs} at ({row}, {output}): {error:e} of {magnitude:e}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_instruction_gives_the_bits_of_the_portable_loop() {
        if !Weights16::is_native() {
            return; // The two are then the same loop.
        }
        for (rows, inputs, outputs) in EXTENTS {
            let (x, weights) = (numbers(rows * inputs, 5), numbers(inputs * outputs, 6));
            let matrix = Weights16::new(&weights, inputs, outputs);
            let [mut native, mut portable] = [(); 2].map(|()| vec![f32::NAN; rows * outputs]);
            matrix.apply(&x, &mut native);
            matrix.apply_portable(&x, &mut portable);
            let bits = |out: Vec<f32>| out.into_iter().map(f32::to_bits).collect::<Vec<_>>();
            assert_eq!(
                bits(native),
                bits(portable),
                "{rows} x {inputs} x {outputs}"
            );
        }
    }

    #[test]
    fn rounding_is_to_nearest_even_and_keeps_nan() {
        for x in numbers(1_000, 7) {
            assert_eq!(
                round(x) >> 16,
                u32::from(bf16::from_f32(x).to_bits()),
                "{x}"
            );
        }
        for bits in [
            0x3f80_8000,
            0x3f81_8000,
            0x3f80_8001,
            0x7f7f_ffff,
            0x7f80_0000_u32,
        ] {
            let x = f32::from_bits(bits);
            assert_eq!(
                round(x) >> 16,
                u32::from(bf16::from_f32(x).to_bits()),
                "{bits:#x}"
            );
        }
        assert!(f32::from_bits(round(f32::from_bits(0x7fff_ffff)) & !0xffff).is_nan());
    }

    #[test]
    #[should_panic(expected = "rows of the product")]
    fn a_product_of_other_extents_is_refused() {
        Weights16::new(&[1.0; 6], 2, 3).apply(&[1.0; 4], &mut [0.0; 5]);
    }
}
