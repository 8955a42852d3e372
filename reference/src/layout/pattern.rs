//! Which sparsity blocks of a head are present, and the algebra on them.

use super::error::LayoutError;
use crate::convert::{count_from_f64, f64_from_count};
use crate::random::Draws;

/// Which sparsity blocks of one head are present: compressed rows of block columns, ascending and without repetition.
///
/// ```
/// use flashproof_reference::BlockPattern;
/// // One block row that holds block column 1 of two.
/// let pattern = BlockPattern { row_ptr: vec![0, 1], col_idx: vec![1] };
/// assert_eq!(pattern.row(0), [1]);
/// assert!(!pattern.contains(0, 0) && pattern.contains(0, 1));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BlockPattern {
    /// Start of each block row in `col_idx`; one more entry than block rows.
    pub row_ptr: Vec<usize>,
    /// Block columns present, ascending within a block row.
    pub col_idx: Vec<usize>,
}

impl BlockPattern {
    /// The blocks for which `is_present(block_row, block_column)`.
    ///
    /// ```
    /// # use flashproof_reference::BlockPattern;
    /// let pattern = BlockPattern::from_fn(1, 2, |_, column| column == 1);
    /// assert_eq!((pattern.row_ptr, pattern.col_idx), (vec![0, 1], vec![1]));
    /// ```
    pub fn from_fn(
        block_rows: usize,
        block_columns: usize,
        mut is_present: impl FnMut(usize, usize) -> bool,
    ) -> Self {
        Self::from_rows((0..block_rows).map(|row| {
            (0..block_columns)
                .filter(|&column| is_present(row, column))
                .collect::<Vec<_>>()
        }))
    }

    /// The pattern with these block columns in each block row.
    ///
    /// ```
    /// # use flashproof_reference::BlockPattern;
    /// let pattern = BlockPattern::from_rows([vec![0, 1], vec![]]);
    /// assert_eq!((pattern.row_ptr, pattern.col_idx), (vec![0, 2, 2], vec![0, 1]));
    /// ```
    pub fn from_rows<R: AsRef<[usize]>>(rows: impl IntoIterator<Item = R>) -> Self {
        let mut row_ptr = vec![0];
        let mut col_idx = Vec::new();
        for row in rows {
            col_idx.extend_from_slice(row.as_ref());
            row_ptr.push(col_idx.len());
        }
        Self { row_ptr, col_idx }
    }

    /// Random blocks, a share `density` of them, chosen without replacement within a block row.
    ///
    /// Block row `i` gets `round((i + 1) t) - round(i t)` of them with `t = density * block_columns`, so that the whole
    /// pattern is within half a block of the density and every block row within one. Draws are those of
    /// [`crate::random`], in ascending block row.
    ///
    /// ```
    /// # use flashproof_reference::BlockPattern;
    /// assert_eq!(BlockPattern::random(1, 2, 0.5, 1)?.block_count(), 1);
    /// assert!(BlockPattern::random(1, 2, f64::NAN, 1).is_err());
    /// # Ok::<(), flashproof_reference::LayoutError>(())
    /// ```
    pub fn random(
        block_rows: usize,
        block_columns: usize,
        density: f64,
        seed: u64,
    ) -> Result<Self, LayoutError> {
        if !(0.0..=1.0).contains(&density) {
            return Err(LayoutError::Density {
                density: density.to_string(),
            });
        }
        let row_target = density * f64_from_count(block_columns);
        let target_until = |rows: usize| count_from_f64(row_target * f64_from_count(rows));
        let columns: Vec<usize> = (0..block_columns).collect();
        let mut draws = Draws::from_seed(seed);
        Ok(Self::from_rows((0..block_rows).map(|row| {
            draws.choose(&columns, target_until(row + 1) - target_until(row))
        })))
    }

    /// Number of block rows.
    ///
    /// ```
    /// # use flashproof_reference::BlockPattern;
    /// assert_eq!(BlockPattern::from_fn(1, 2, |_, _| true).block_rows(), 1);
    /// ```
    pub fn block_rows(&self) -> usize {
        self.row_ptr.len().saturating_sub(1)
    }

    /// Number of blocks present.
    ///
    /// ```
    /// # use flashproof_reference::BlockPattern;
    /// assert_eq!(BlockPattern::from_fn(1, 2, |_, _| true).block_count(), 2);
    /// ```
    pub fn block_count(&self) -> usize {
        self.col_idx.len()
    }

    /// Block columns present in a block row, ascending; none for a block row outside the pattern.
    ///
    /// ```
    /// # use flashproof_reference::BlockPattern;
    /// assert_eq!(BlockPattern::from_fn(1, 2, |_, column| column == 0).row(0), [0]);
    /// ```
    pub fn row(&self, block_row: usize) -> &[usize] {
        match self.row_ptr.get(block_row..).unwrap_or_default() {
            &[start, end, ..] => self.col_idx.get(start..end).unwrap_or_default(),
            _ => &[], // past the last block row
        }
    }

    /// Whether a block is present.
    ///
    /// ```
    /// # use flashproof_reference::BlockPattern;
    /// assert!(BlockPattern::from_fn(1, 2, |_, column| column == 1).contains(0, 1));
    /// ```
    pub fn contains(&self, block_row: usize, block_column: usize) -> bool {
        self.row(block_row).binary_search(&block_column).is_ok()
    }

    /// Blocks present in either pattern.
    ///
    /// ```
    /// # use flashproof_reference::BlockPattern;
    /// let (a, b) = (BlockPattern::from_rows([[0]]), BlockPattern::from_rows([[1]]));
    /// assert_eq!(a.union(&b), BlockPattern::from_rows([[0, 1]]));
    /// ```
    pub fn union(&self, other: &Self) -> Self {
        self.merge(other, |row, other_row| {
            let mut columns = [row, other_row].concat();
            columns.sort_unstable();
            columns.dedup();
            columns
        })
    }

    /// Blocks present in both patterns.
    ///
    /// ```
    /// # use flashproof_reference::BlockPattern;
    /// let (a, b) = (BlockPattern::from_rows([[0, 1]]), BlockPattern::from_rows([[1]]));
    /// assert_eq!(a.intersection(&b), b);
    /// ```
    pub fn intersection(&self, other: &Self) -> Self {
        self.merge(other, |row, other_row| {
            row.iter()
                .copied()
                .filter(|column| other_row.binary_search(column).is_ok())
                .collect()
        })
    }

    fn merge(&self, other: &Self, rule: impl Fn(&[usize], &[usize]) -> Vec<usize>) -> Self {
        let block_rows = self.block_rows().max(other.block_rows());
        Self::from_rows((0..block_rows).map(|row| rule(self.row(row), other.row(row))))
    }

    /// Checks the pattern of head `head` against the block grid it belongs to.
    pub(super) fn validate(
        &self,
        head: usize,
        block_rows: usize,
        block_columns: usize,
    ) -> Result<(), LayoutError> {
        if self.row_ptr.len() != block_rows + 1 {
            return Err(LayoutError::RowPtrLength {
                head,
                found: self.row_ptr.len(),
                block_rows,
            });
        }
        if self.row_ptr[0] != 0 {
            return Err(LayoutError::RowPtrStart {
                head,
                found: self.row_ptr[0],
            });
        }
        for (index, pair) in self.row_ptr.windows(2).enumerate() {
            if pair[1] < pair[0] {
                return Err(LayoutError::RowPtrDescends {
                    head,
                    index: index + 1,
                    previous: pair[0],
                    found: pair[1],
                });
            }
        }
        let end = self.row_ptr[block_rows];
        if end != self.col_idx.len() {
            return Err(LayoutError::RowPtrEnd {
                head,
                found: end,
                entries: self.col_idx.len(),
            });
        }
        for block_row in 0..block_rows {
            let start = self.row_ptr[block_row];
            let mut previous = None;
            for (offset, &column) in self.row(block_row).iter().enumerate() {
                let entry = start + offset;
                if column >= block_columns {
                    return Err(LayoutError::ColumnOutOfRange {
                        head,
                        block_row,
                        entry,
                        column,
                        columns: block_columns,
                    });
                }
                if let Some(previous) = previous.filter(|&previous| previous >= column) {
                    return Err(LayoutError::ColumnOrder {
                        head,
                        block_row,
                        entry,
                        previous,
                        column,
                    });
                }
                previous = Some(column);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_malformed_pattern_is_refused_with_its_values() {
        let check = |row_ptr: &[usize], col_idx: &[usize], expected: &str| {
            let pattern = BlockPattern {
                row_ptr: row_ptr.to_vec(),
                col_idx: col_idx.to_vec(),
            };
            assert_eq!(pattern.validate(3, 2, 4).unwrap_err().to_string(), expected);
        };
        check(
            &[0, 1],
            &[0],
            "row_ptr of head 3 has 2 entries, but 2 block rows need 3",
        );
        check(
            &[],
            &[],
            "row_ptr of head 3 has 0 entries, but 2 block rows need 3",
        );
        check(&[1, 1, 1], &[0], "row_ptr[0] of head 3 is 1, but must be 0");
        check(
            &[0, 2, 1],
            &[0],
            "row_ptr[2] = 1 of head 3 is below row_ptr[1] = 2",
        );
        check(
            &[0, 1, 2],
            &[0],
            "row_ptr of head 3 ends at 2, but col_idx has 1 entries",
        );
        check(
            &[0, 0, 1],
            &[4],
            "col_idx[0] = 4 in block row 1 of head 3, but the layout has 4 block columns",
        );
        check(
            &[0, 1, 3],
            &[3, 2, 2],
            "col_idx[2] = 2 in block row 1 of head 3 follows 2: columns must ascend without repetition",
        );
        let good = BlockPattern {
            row_ptr: vec![0, 1, 3],
            col_idx: vec![3, 0, 2],
        };
        assert_eq!(good.validate(3, 2, 4), Ok(()));
    }

    #[test]
    fn random_meets_its_density_within_half_a_block() {
        for percent in 0..=100_u8 {
            let density = f64::from(percent) / 100.0;
            let pattern = BlockPattern::random(7, 9, density, u64::from(percent)).unwrap();
            assert_eq!(pattern.validate(0, 7, 9), Ok(()));
            let off = f64_from_count(pattern.block_count()) - density * 63.0;
            assert!(off.abs() <= 0.5 + 1e-9, "{percent} %: off by {off} blocks");
        }
    }

    #[test]
    fn random_depends_on_the_seed_and_is_pinned() {
        let pattern = |seed| BlockPattern::random(4, 8, 0.25, seed).unwrap();
        assert_ne!(pattern(1), pattern(2));
        assert_eq!(pattern(1).row_ptr, [0, 2, 4, 6, 8]);
        assert_eq!(pattern(1), pattern(1));
    }

    #[test]
    fn rows_outside_the_pattern_are_empty() {
        let malformed = BlockPattern {
            row_ptr: vec![0, 9],
            col_idx: vec![1],
        };
        assert_eq!(malformed.row(0), [0_usize; 0]);
        assert_eq!(malformed.row(1), [0_usize; 0]);
        assert_eq!(malformed.row(usize::MAX), [0_usize; 0]);
    }
}
