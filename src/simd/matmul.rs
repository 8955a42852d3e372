//! Matrix product in f32, by the `gemm` crate behind a safe function.
//!
//! The crate picks the widest vector unit of the machine at run time. Every output element is accumulated over the
//! inner extent in ascending order with fused multiply-adds, so that it does not depend on the other rows or columns of
//! the product; its last bits may differ between machines.
#![expect(
    unsafe_code,
    reason = "gemm::gemm takes raw pointers; every extent is checked against its slice here"
)]

/// A matrix seen in a slice: element (r, c) is `data[r * row_stride + c * column_stride]`.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> View<'a> {
    /// A row-major matrix of `rows` x `columns`.
    ///
    /// # Panics
    /// If the slice is shorter than the matrix.
    pub fn row_major(data: &'a [f32], rows: usize, columns: usize) -> Self {
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
}

/// `out = lhs * rhs`, row-major (`lhs.rows` x `rhs.columns`), on the calling thread.
///
/// # Panics
/// If the inner extents differ or `out` is not exactly as long as the product.
pub fn matmul(lhs: View<'_>, rhs: View<'_>, out: &mut [f32]) {
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
    // SAFETY: a `View` is only made by `row_major`, which checks that rows * columns elements lie in its slice, and by
    // `transposed`, which keeps the set of elements; `out` holds exactly rows * columns elements and, being a unique
    // borrow, overlaps neither input.
    unsafe {
        gemm::gemm(
            lhs.rows,
            rhs.columns,
            lhs.columns,
            out.as_mut_ptr(),
            1,
            stride(rhs.columns),
            false,
            lhs.data.as_ptr(),
            stride(lhs.column_stride),
            stride(lhs.row_stride),
            rhs.data.as_ptr(),
            stride(rhs.column_stride),
            stride(rhs.row_stride),
            0.0,
            1.0,
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
    #[should_panic(expected = "inner extents")]
    fn inner_extents_must_agree() {
        matmul(
            View::row_major(&[1.0; 6], 2, 3),
            View::row_major(&[1.0; 4], 2, 2),
            &mut [0.0; 4],
        );
    }
}
