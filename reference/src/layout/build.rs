//! Constructors of layouts, and the methods that add a rule to one.

use super::{BlockPattern, Extents, Layout, LayoutError, Window};
use crate::random::Draws;

/// Lengths above are refused where a list of blocks is built or read: kernels index tokens with 32-bit integers.
const MAX_SEQLEN: usize = 0x7fff_ffff;
/// Block grids above are refused: 2 GiB of column indices.
const MAX_BLOCKS: usize = 1 << 28;
/// No model is near; a list of more is a mistake.
const MAX_HEADS: usize = 1 << 16;
/// Blocks of a layout that was not asked for any.
const DEFAULT_BLOCK: usize = 64;

/// Parameters of [`Layout::strided`], in blocks.
///
/// ```
/// use flashproof_reference::{Extents, Layout, Strided};
/// let extents = Extents { seqlen_q: 2, seqlen_kv: 2, block_q: 1, block_kv: 1 };
/// let layout = Layout::strided(extents, Strided { local: 0, stride: 2 })?;
/// assert!(layout.is_visible(0, 1, 1) && !layout.is_visible(0, 1, 0));
/// # Ok::<(), flashproof_reference::LayoutError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Strided {
    /// Block columns either side of the diagonal that are present.
    pub local: usize,
    /// Distance between the further block columns that are present.
    pub stride: usize,
}

/// Parameters of [`Layout::bigbird`], in blocks.
///
/// ```
/// use flashproof_reference::{BigBird, Extents, Layout};
/// let extents = Extents { seqlen_q: 2, seqlen_kv: 2, block_q: 1, block_kv: 1 };
/// let parameters = BigBird { local: 0, global: 0, random: 1 };
/// // The diagonal and one random block of the one that is left: everything.
/// assert_eq!(Layout::bigbird(extents, parameters, 1)?.visible_pairs(0), 4);
/// # Ok::<(), flashproof_reference::LayoutError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BigBird {
    /// Block columns either side of the diagonal that are present.
    pub local: usize,
    /// Leading block rows and block columns that are present throughout.
    pub global: usize,
    /// Further random blocks in each block row.
    pub random: usize,
}

impl Layout {
    /// Every pair visible. Blocks are 64 x 64 until [`Layout::with_blocks`].
    ///
    /// ```
    /// # use flashproof_reference::Layout;
    /// assert!(Layout::dense(1, 2).is_visible(0, 0, 1));
    /// ```
    pub fn dense(seqlen_q: usize, seqlen_kv: usize) -> Self {
        Self {
            extents: Extents {
                seqlen_q,
                seqlen_kv,
                block_q: DEFAULT_BLOCK,
                block_kv: DEFAULT_BLOCK,
            },
            heads: None,
            causal: false,
            window: Window::default(),
            sinks: 0,
            global: Vec::new(),
        }
    }

    /// Every key up to the diagonal.
    ///
    /// ```
    /// # use flashproof_reference::Layout;
    /// let layout = Layout::dense_causal(2, 2);
    /// assert!(!layout.is_visible(0, 0, 1) && layout.is_visible(0, 1, 0));
    /// ```
    pub fn dense_causal(seqlen_q: usize, seqlen_kv: usize) -> Self {
        Self::dense(seqlen_q, seqlen_kv).with_causal(true)
    }

    /// The keys near the diagonal.
    ///
    /// ```
    /// # use flashproof_reference::{Layout, Window};
    /// let layout = Layout::sliding_window(2, 2, Window { left: Some(0), right: Some(0) });
    /// assert!(layout.is_visible(0, 1, 1) && !layout.is_visible(0, 1, 0));
    /// ```
    pub fn sliding_window(seqlen_q: usize, seqlen_kv: usize, window: Window) -> Self {
        Self::dense(seqlen_q, seqlen_kv).with_window(window)
    }

    /// The keys near the diagonal and the first `sinks` keys (Xiao et al., "Efficient streaming language models with
    /// attention sinks", 2023).
    ///
    /// ```
    /// # use flashproof_reference::{Layout, Window};
    /// let layout = Layout::window_with_sinks(2, 2, Window { left: Some(0), right: Some(0) }, 1);
    /// assert!(layout.is_visible(0, 1, 0) && !layout.is_visible(0, 0, 1));
    /// ```
    pub fn window_with_sinks(
        seqlen_q: usize,
        seqlen_kv: usize,
        window: Window,
        sinks: usize,
    ) -> Self {
        Self::sliding_window(seqlen_q, seqlen_kv, window).with_sinks(sinks)
    }

    /// A window of `each_side` keys and tokens that see, and are seen by, everything (Beltagy, Peters, Cohan,
    /// "Longformer", 2020).
    ///
    /// ```
    /// # use flashproof_reference::Layout;
    /// let layout = Layout::longformer(3, 3, 0, [0])?;
    /// assert!(layout.is_visible(0, 0, 2) && layout.is_visible(0, 2, 0) && !layout.is_visible(0, 1, 2));
    /// # Ok::<(), flashproof_reference::LayoutError>(())
    /// ```
    pub fn longformer(
        seqlen_q: usize,
        seqlen_kv: usize,
        each_side: usize,
        global: impl IntoIterator<Item = usize>,
    ) -> Result<Self, LayoutError> {
        let window = Window {
            left: Some(each_side),
            right: Some(each_side),
        };
        Self::sliding_window(seqlen_q, seqlen_kv, window).with_global(global)
    }

    /// The listed blocks, shared by all heads.
    ///
    /// ```
    /// # use flashproof_reference::{Extents, Layout};
    /// let extents = Extents { seqlen_q: 1, seqlen_kv: 2, block_q: 1, block_kv: 1 };
    /// let layout = Layout::block_sparse(extents, vec![0, 1], vec![1])?;
    /// assert!(!layout.is_visible(0, 0, 0) && layout.is_visible(0, 0, 1));
    /// # Ok::<(), flashproof_reference::LayoutError>(())
    /// ```
    pub fn block_sparse(
        extents: Extents,
        row_ptr: Vec<usize>,
        col_idx: Vec<usize>,
    ) -> Result<Self, LayoutError> {
        Self::from_extents(extents)?.with_heads(vec![BlockPattern { row_ptr, col_idx }])
    }

    /// The blocks within `local` of the diagonal, and every `stride`-th from the diagonal on, either way (Child et al.,
    /// "Generating long sequences with sparse transformers", 2019, their strided pattern, on blocks).
    ///
    /// The diagonal of a block row runs from the block column of its first query's diagonal to that of its last's;
    /// strides count from the former.
    ///
    /// ```
    /// # use flashproof_reference::{Extents, Layout, Strided};
    /// let extents = Extents { seqlen_q: 2, seqlen_kv: 2, block_q: 1, block_kv: 1 };
    /// assert_eq!(Layout::strided(extents, Strided { local: 1, stride: 2 })?.visible_pairs(0), 4);
    /// # Ok::<(), flashproof_reference::LayoutError>(())
    /// ```
    pub fn strided(extents: Extents, parameters: Strided) -> Result<Self, LayoutError> {
        if parameters.stride == 0 {
            return Err(LayoutError::ZeroStride);
        }
        let layout = Self::from_extents(extents)?;
        let (rows, columns) = checked_grid(extents)?;
        let stride = signed(parameters.stride);
        let pattern = BlockPattern::from_fn(rows, columns, |row, column| {
            let diagonal = Diagonal::of(extents, row);
            diagonal.distance(column) <= signed(parameters.local)
                || (signed(column) - diagonal.first) % stride == 0
        });
        layout.with_heads(vec![pattern])
    }

    /// Local, global and random blocks (Zaheer et al., "Big Bird: transformers for longer sequences", 2020). Random
    /// blocks are drawn in ascending block row from those not present already (see [`crate::random`]).
    ///
    /// ```
    /// # use flashproof_reference::{BigBird, Extents, Layout};
    /// let extents = Extents { seqlen_q: 2, seqlen_kv: 2, block_q: 1, block_kv: 1 };
    /// let diagonal = Layout::bigbird(extents, BigBird { local: 0, global: 0, random: 0 }, 1)?;
    /// assert_eq!(diagonal.visible_pairs(0), 2);
    /// # Ok::<(), flashproof_reference::LayoutError>(())
    /// ```
    pub fn bigbird(extents: Extents, parameters: BigBird, seed: u64) -> Result<Self, LayoutError> {
        let layout = Self::from_extents(extents)?;
        let (rows, columns) = checked_grid(extents)?;
        let mut draws = Draws::from_seed(seed);
        let pattern = BlockPattern::from_rows((0..rows).map(|row| {
            let diagonal = Diagonal::of(extents, row);
            let (mut present, absent): (Vec<usize>, Vec<usize>) =
                (0..columns).partition(|&column| {
                    row < parameters.global
                        || column < parameters.global
                        || diagonal.distance(column) <= signed(parameters.local)
                });
            present.extend(draws.choose(&absent, parameters.random));
            present.sort_unstable();
            present
        }));
        layout.with_heads(vec![pattern])
    }

    /// Random blocks, a share `density` of all: see [`BlockPattern::random`].
    ///
    /// ```
    /// # use flashproof_reference::{Extents, Layout};
    /// let extents = Extents { seqlen_q: 1, seqlen_kv: 2, block_q: 1, block_kv: 1 };
    /// assert_eq!(Layout::random(extents, 0.5, 1)?.visible_pairs(0), 1);
    /// # Ok::<(), flashproof_reference::LayoutError>(())
    /// ```
    pub fn random(extents: Extents, density: f64, seed: u64) -> Result<Self, LayoutError> {
        let layout = Self::from_extents(extents)?;
        let (rows, columns) = checked_grid(extents)?;
        layout.with_heads(vec![BlockPattern::random(rows, columns, density, seed)?])
    }

    /// Every pair visible, with these lengths.
    ///
    /// ```
    /// # use flashproof_reference::{Extents, Layout};
    /// let extents = Extents { seqlen_q: 1, seqlen_kv: 2, block_q: 1, block_kv: 0 };
    /// assert_eq!(
    ///     Layout::from_extents(extents).unwrap_err().to_string(),
    ///     "block_kv is 0, but a sparsity block needs at least one token a side"
    /// );
    /// ```
    pub fn from_extents(extents: Extents) -> Result<Self, LayoutError> {
        for (name, length) in [
            ("seqlen_q", extents.seqlen_q),
            ("seqlen_kv", extents.seqlen_kv),
        ] {
            if length > MAX_SEQLEN {
                return Err(LayoutError::TooLong {
                    name,
                    found: length,
                    limit: MAX_SEQLEN,
                });
            }
        }
        Self::dense(extents.seqlen_q, extents.seqlen_kv)
            .with_blocks(extents.block_q, extents.block_kv)
    }

    /// The same layout with blocks of this size. Patterns, if any, must fit it.
    ///
    /// ```
    /// # use flashproof_reference::Layout;
    /// assert_eq!(Layout::dense(1, 2).with_blocks(1, 1)?.extents().block_columns(), 2);
    /// # Ok::<(), flashproof_reference::LayoutError>(())
    /// ```
    pub fn with_blocks(mut self, block_q: usize, block_kv: usize) -> Result<Self, LayoutError> {
        for (name, length) in [("block_q", block_q), ("block_kv", block_kv)] {
            if length == 0 {
                return Err(LayoutError::ZeroBlock { name });
            }
        }
        self.extents = Extents {
            block_q,
            block_kv,
            ..self.extents
        };
        match self.heads.take() {
            None => Ok(self),
            Some(heads) => self.with_heads(heads),
        }
    }

    /// The same layout with these blocks: one pattern for all heads, or one per query head.
    ///
    /// ```
    /// # use flashproof_reference::{BlockPattern, Layout};
    /// let nothing = BlockPattern::from_rows([[0; 0]]);
    /// assert_eq!(Layout::dense(1, 2).with_heads(vec![nothing])?.visible_pairs(0), 0);
    /// # Ok::<(), flashproof_reference::LayoutError>(())
    /// ```
    pub fn with_heads(mut self, heads: Vec<BlockPattern>) -> Result<Self, LayoutError> {
        if heads.is_empty() {
            return Err(LayoutError::NoHeads);
        }
        if heads.len() > MAX_HEADS {
            return Err(LayoutError::TooManyHeads {
                found: heads.len(),
                limit: MAX_HEADS,
            });
        }
        for (head, pattern) in heads.iter().enumerate() {
            pattern.validate(
                head,
                self.extents.block_rows(),
                self.extents.block_columns(),
            )?;
        }
        self.heads = Some(heads);
        Ok(self)
    }

    /// The same layout, hiding the keys after the diagonal or not.
    ///
    /// ```
    /// # use flashproof_reference::Layout;
    /// assert_eq!(Layout::dense(2, 2).with_causal(true), Layout::dense_causal(2, 2));
    /// ```
    #[must_use]
    pub fn with_causal(mut self, causal: bool) -> Self {
        self.causal = causal;
        self
    }

    /// The same layout with this window.
    ///
    /// ```
    /// # use flashproof_reference::{Layout, Window};
    /// let window = Window { left: None, right: Some(0) };
    /// assert!(!Layout::dense(2, 2).with_window(window).is_visible(0, 0, 1));
    /// ```
    #[must_use]
    pub fn with_window(mut self, window: Window) -> Self {
        self.window = window;
        self
    }

    /// The same layout with its first `sinks` keys seen by every query; more than there are means all of them.
    ///
    /// ```
    /// # use flashproof_reference::Layout;
    /// assert_eq!(Layout::dense(1, 2).with_sinks(1).sinks(), 1);
    /// ```
    #[must_use]
    pub fn with_sinks(mut self, sinks: usize) -> Self {
        self.sinks = sinks;
        self
    }

    /// The same layout with these global tokens, given in any order.
    ///
    /// ```
    /// # use flashproof_reference::Layout;
    /// assert_eq!(Layout::dense(2, 2).with_global([1, 0, 1])?.global(), [0, 1]);
    /// assert_eq!(
    ///     Layout::dense(1, 2).with_global([2]).unwrap_err().to_string(),
    ///     "global[0] = 2, but the sequences have 1 queries and 2 keys"
    /// );
    /// # Ok::<(), flashproof_reference::LayoutError>(())
    /// ```
    pub fn with_global(
        mut self,
        global: impl IntoIterator<Item = usize>,
    ) -> Result<Self, LayoutError> {
        let mut global: Vec<usize> = global.into_iter().collect();
        global.sort_unstable();
        global.dedup();
        let (seqlen_q, seqlen_kv) = (self.seqlen_q(), self.seqlen_kv());
        if let Some(index) = global
            .iter()
            .position(|&token| token >= seqlen_q.max(seqlen_kv))
        {
            return Err(LayoutError::GlobalOutOfRange {
                index,
                token: global[index],
                seqlen_q,
                seqlen_kv,
            });
        }
        self.global = global;
        Ok(self)
    }
}

/// Block rows and block columns, when a pattern of them fits in memory.
fn checked_grid(extents: Extents) -> Result<(usize, usize), LayoutError> {
    let (block_rows, block_columns) = (extents.block_rows(), extents.block_columns());
    if block_rows.saturating_mul(block_columns) > MAX_BLOCKS {
        return Err(LayoutError::TooManyBlocks {
            block_rows,
            block_columns,
            limit: MAX_BLOCKS,
        });
    }
    Ok((block_rows, block_columns))
}

/// Block columns that a block row's diagonal runs through; outside the grid where the diagonal is.
#[derive(Clone, Copy)]
struct Diagonal {
    first: i64,
    last: i64,
}

impl Diagonal {
    fn of(extents: Extents, block_row: usize) -> Self {
        let first_q = block_row * extents.block_q;
        let last_q = first_q
            .saturating_add(extents.block_q)
            .min(extents.seqlen_q)
            .saturating_sub(1);
        let shift = signed(extents.seqlen_kv) - signed(extents.seqlen_q);
        let column = |q: usize| (signed(q) + shift).div_euclid(signed(extents.block_kv));
        Self {
            first: column(first_q),
            last: column(last_q),
        }
    }

    /// Block columns between `column` and the diagonal.
    fn distance(self, column: usize) -> i64 {
        let column = signed(column);
        (self.first - column).max(column - self.last).max(0)
    }
}

/// A length or count; lengths are at most 2^31 here, and a larger count means the same as the largest.
fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extents(seqlen_q: usize, seqlen_kv: usize, block_q: usize, block_kv: usize) -> Extents {
        Extents {
            seqlen_q,
            seqlen_kv,
            block_q,
            block_kv,
        }
    }

    fn rows(layout: &Layout) -> Vec<Vec<usize>> {
        let pattern = layout.pattern(0).unwrap();
        (0..pattern.block_rows())
            .map(|row| pattern.row(row).to_vec())
            .collect()
    }

    #[test]
    fn strided_has_its_diagonal_its_neighbours_and_its_strides() {
        let layout = Layout::strided(
            extents(8, 8, 2, 2),
            Strided {
                local: 1,
                stride: 3,
            },
        )
        .unwrap();
        assert_eq!(
            rows(&layout),
            [vec![0, 1, 3], vec![0, 1, 2], vec![1, 2, 3], vec![0, 2, 3]]
        );
        let error = Layout::strided(
            extents(8, 8, 2, 2),
            Strided {
                local: 1,
                stride: 0,
            },
        );
        assert_eq!(error, Err(LayoutError::ZeroStride));
    }

    #[test]
    fn the_block_diagonal_is_bottom_right_aligned() {
        // Two queries at the end of six keys: their diagonals are keys 4 and 5.
        let layout = Layout::strided(
            extents(2, 6, 1, 2),
            Strided {
                local: 0,
                stride: 9,
            },
        )
        .unwrap();
        assert_eq!(rows(&layout), [vec![2], vec![2]]);
        // Six queries over two keys: the first four have no key on their diagonal.
        let layout = Layout::strided(
            extents(6, 2, 2, 1),
            Strided {
                local: 0,
                stride: 9,
            },
        )
        .unwrap();
        assert_eq!(rows(&layout), [vec![], vec![], vec![0, 1]]);
    }

    #[test]
    fn bigbird_has_its_parts_and_is_pinned() {
        let parameters = BigBird {
            local: 1,
            global: 1,
            random: 2,
        };
        let layout = |seed| Layout::bigbird(extents(40, 40, 4, 4), parameters, seed).unwrap();
        let all = rows(&layout(5));
        assert_eq!(all[0], (0..10).collect::<Vec<_>>());
        for (row, columns) in all.iter().enumerate().skip(1) {
            assert!(columns.contains(&0) && columns.contains(&row));
            let fixed = (0..10)
                .filter(|&c: &usize| c == 0 || c.abs_diff(row) <= 1)
                .count();
            assert_eq!(columns.len(), (fixed + 2).min(10), "block row {row}");
        }
        assert_ne!(layout(5), layout(6));
        assert_eq!(layout(5), layout(5));
    }

    #[test]
    fn malformed_requests_are_refused() {
        let check = |result: Result<Layout, LayoutError>, expected: &str| {
            assert_eq!(result.unwrap_err().to_string(), expected);
        };
        check(
            Layout::dense(1, 1).with_heads(vec![]),
            "the list of heads is empty: give one pattern for all heads, one per query head, or no list",
        );
        check(
            Layout::dense(1, 1).with_heads(vec![BlockPattern::from_rows([[0]]); (1 << 16) + 1]),
            "65537 head patterns, above the limit of 65536",
        );
        check(
            Layout::random(extents(1 << 31, 1, 1, 1), 0.5, 0),
            "seqlen_q is 2147483648, above the limit of 2147483647",
        );
        check(
            Layout::random(extents(1 << 20, 1 << 20, 1, 1), 0.5, 0),
            "1048576 x 1048576 blocks are above the limit of 268435456: use larger blocks",
        );
        check(
            Layout::random(extents(4, 4, 2, 2), 1.5, 0),
            "density is 1.5, but must lie in 0..=1",
        );
        check(
            Layout::random(extents(4, 4, 2, 2), 0.5, 0)
                .unwrap()
                .with_blocks(4, 2),
            "row_ptr of head 0 has 3 entries, but 1 block rows need 2",
        );
    }
}
