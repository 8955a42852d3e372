//! Matrix product in f32 and f64, by the `gemm` crate behind a safe function.
//!
//! The crate picks the widest vector unit of the machine at run time. Every output element is accumulated over the
//! inner extent in ascending order with fused multiply-adds, so that it does not depend on the other rows or columns of
//! the product; its last bits may differ between machines.
#![expect(
    unsafe_code,
    reason = "gemm::gemm takes raw pointers; every extent is checked against its slice here"
)]

use std::ops::Range;

/// A number that matrices are made of: f32 or f64.
pub trait Number: Copy + 'static + sealed::Known {
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
}

mod sealed {
    /// What `gemm` knows: nothing else may be a [`super::Number`].
    pub trait Known {}
    impl Known for f32 {}
    impl Known for f64 {}
}

impl Number for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
}

impl Number for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
}

/// A matrix seen in a slice: element (r, c) is `data[r * row_stride + c * column_stride]`.
#[derive(Clone, Copy, Debug)]
pub struct View<'a, N = f32> {
    data: &'a [N],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a, N: Number> View<'a, N> {
    /// A row-major matrix of `rows` x `columns`.
    ///
    /// # Panics
    /// If the slice is shorter than the matrix.
    pub fn row_major(data: &'a [N], rows: usize, columns: usize) -> Self {
        let elements = rows
            .checked_mul(columns)
            .expect("extents of a matrix in memory");
        assert!(
            data.len() >= elements,
            "{rows} x {columns} needs {elements} elements, found {}",
            data.len()
        );
        Self {
            data,
            rows,
            columns,
            row_stride: columns,
            column_stride: 1,
        }
    }

    /// The same elements with rows and columns exchanged.
    pub fn transposed(self) -> Self {
        Self {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }

    /// Some of its columns.
    ///
    /// # Panics
    /// If it has fewer.
    pub fn columns(self, range: Range<usize>) -> Self {
        assert!(
            range.start <= range.end && range.end <= self.columns,
            "columns {range:?} of {}",
            self.columns
        );
        let first = (range.start * self.column_stride).min(self.data.len());
        Self {
            data: &self.data[first..],
            columns: range.len(),
            ..self
        }
    }
}

/// `out = lhs * rhs`, row-major (`lhs.rows` x `rhs.columns`), on the calling thread.
///
/// # Panics
/// If the inner extents differ or `out` is not exactly as long as the product.
pub fn matmul<N: Number>(lhs: View<'_, N>, rhs: View<'_, N>, out: &mut [N]) {
    product(lhs, rhs, out, false);
}

/// `out += lhs * rhs`, as [`matmul`].
///
/// # Panics
/// As [`matmul`].
pub fn matmul_add<N: Number>(lhs: View<'_, N>, rhs: View<'_, N>, out: &mut [N]) {
    product(lhs, rhs, out, true);
}

fn product<N: Number>(lhs: View<'_, N>, rhs: View<'_, N>, out: &mut [N], add: bool) {
    assert_eq!(lhs.columns, rhs.rows, "inner extents of a matrix product");
    assert_eq!(
        Some(out.len()),
        lhs.rows.checked_mul(rhs.columns),
        "elements of a matrix product"
    );
    if out.is_empty() {
        return;
    }
    let stride =
        |stride: usize| isize::try_from(stride).expect("a stride is below the length of a slice");
    // SAFETY: a `View` is only made by `row_major`, which checks that rows * columns elements lie in its slice, by
    // `transposed`, which keeps the set of elements, and by `columns`, which keeps a part of it; `out` holds exactly
    // rows * columns elements and, being a unique borrow, overlaps neither input. `N` is f32 or f64, which gemm knows.
    unsafe {
        gemm::gemm(
            lhs.rows,
            rhs.columns,
            lhs.columns,
            out.as_mut_ptr(),
            1,
            stride(rhs.columns),
            add,
            lhs.data.as_ptr(),
            stride(lhs.column_stride),
            stride(lhs.row_stride),
            rhs.data.as_ptr(),
            stride(rhs.column_stride),
            stride(rhs.row_stride),
            if add { N::ONE } else { N::ZERO },
            N::ONE,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Integers below 8 in magnitude: products and sums below 2^24 are exact, so any order gives the same bits.
    fn integers(seed: u32, count: usize) -> Vec<f32> {
        let mut state = seed;
        (0..count)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                f32::from(u8::try_from(state >> 28).unwrap()) - 8.0
            })
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn product_is_exact_on_integers(m in 0_usize..40, n in 0_usize..40, k in 0_usize..70, seed: u32, transposed: (bool, bool)) {
            let (a, b) = (integers(seed, m * k), integers(!seed, k * n));
            let lhs = if transposed.0 { View::row_major(&a, k, m).transposed() } else { View::row_major(&a, m, k) };
            let rhs = if transposed.1 { View::row_major(&b, n, k).transposed() } else { View::row_major(&b, k, n) };
            let mut out = vec![f32::NAN; m * n];
            matmul(lhs, rhs, &mut out);
            for i in 0..m {
                for j in 0..n {
                    let expected: f32 = (0..k)
                        .map(|t| {
                            let left = if transposed.0 { a[t * m + i] } else { a[i * k + t] };
                            let right = if transposed.1 { b[j * k + t] } else { b[t * n + j] };
                            left * right
                        })
                        .sum();
                    // Adding 0.0 makes -0.0 into 0.0: a product of one term may keep the sign of a zero.
                    prop_assert_eq!((out[i * n + j] + 0.0).to_bits(), (expected + 0.0).to_bits());
                }
            }
        }
    }

    #[test]
    fn a_product_of_some_columns_is_added() {
        let (a, b) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [10.0, 100.0]);
        let lhs = View::row_major(&a, 2, 3).columns(1..3);
        let rhs = View::row_major(&b, 2, 1);
        let mut out = [1.0_f64, 2.0];
        matmul_add(lhs, rhs, &mut out);
        assert_eq!(out.map(f64::to_bits), [321.0_f64, 652.0].map(f64::to_bits));
        let mut row = [0.0_f64; 1];
        matmul(
            View::row_major(&b, 1, 2),
            lhs.transposed().columns(0..1),
            &mut row,
        );
        assert_eq!(row.map(f64::to_bits), [320.0_f64].map(f64::to_bits));
    }

    #[test]
    #[should_panic(expected = "inner extents")]
    fn inner_extents_must_agree() {
        matmul(
            View::row_major(&[1.0; 6], 2, 3),
            View::row_major(&[1.0; 4], 2, 2),
            &mut [0.0; 4],
        );
    }
}
