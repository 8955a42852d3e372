//! Layouts in the formats of other tools: dense masks (`.npy`, `.npz`), scipy's CSR and BSR matrices (`.npz`) and
//! `FlexAttention`'s `BlockMask` tensors (`.safetensors`).
//!
//! A dense mask is a layout without rules of its own: it becomes a list of blocks of the largest power-of-two size, in
//! either direction, in which every block is visible as a whole or not at all. Nothing is rounded on the way.

mod flex;
mod scipy;

pub use flex::{FlexRules, from_block_mask, to_block_mask};
pub use scipy::{from_npz, to_bsr, to_csr, to_dense_npz};

use super::npy::{self, NpyError};
use flashproof_reference::{BlockPattern, Extents, Layout, LayoutError};

/// Visible pairs of a dense mask that is read or written: a byte each.
const PAIRS_MAX: usize = 1 << 30;

/// Largest block that is looked for in a dense mask.
const BLOCK_MAX: usize = 128;

/// A layout read from a file, and what the reader should know about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The layout.
    pub layout: Layout,
    /// Sentences: what the file left open or had in disorder.
    pub notes: Vec<String>,
}

/// Why a file is no layout, or a layout cannot be written to it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MaskError {
    /// An array that is no `.npy`.
    #[error("{array}: {error}")]
    Npy {
        /// Its name.
        array: String,
        /// What is wrong.
        error: NpyError,
    },
    /// A `.npz` that is no zip archive.
    #[error("not an .npz file: {0}")]
    Archive(String),
    /// An array is not there.
    #[error("{0}")]
    Missing(String),
    /// A safetensors file that does not parse.
    #[error("not a safetensors file: {0}")]
    Tensors(String),
    /// Extents that no layout has.
    #[error("{array} has shape {found:?}, but {expected}")]
    Shape {
        /// The array.
        array: String,
        /// Its extents.
        found: Vec<usize>,
        /// What they must be.
        expected: &'static str,
    },
    /// A number that is none of those allowed.
    #[error("{array}[{index}] = {value}, but {expected}")]
    Value {
        /// The array.
        array: String,
        /// Index of the element, in C order.
        index: usize,
        /// The number.
        value: String,
        /// What it must be.
        expected: String,
    },
    /// The layout itself is not valid.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// What the format cannot say.
    #[error("{0}")]
    NotExpressible(String),
}

/// A number as an index.
fn index(array: &str, at: usize, value: i64, expected: &str) -> Result<usize, MaskError> {
    usize::try_from(value).map_err(|_| MaskError::Value {
        array: array.to_owned(),
        index: at,
        value: value.to_string(),
        expected: expected.to_owned(),
    })
}

/// Elements of any kind as truth values: whole numbers count as visible where they are not 0; floats likewise, but where
/// one of them is -inf the mask is one that is added to scores, and 0 is what is visible.
fn truths(array: &str, bytes: &[u8]) -> Result<(Vec<usize>, Vec<bool>), MaskError> {
    let wrap = |error| MaskError::Npy {
        array: array.to_owned(),
        error,
    };
    match npy::read_integers(bytes) {
        Ok(integers) => Ok((
            integers.shape,
            integers.values.iter().map(|value| *value != 0).collect(),
        )),
        Err(NpyError::Dtype { .. }) => {
            let floats = npy::read(bytes).map_err(wrap)?;
            let added = floats.values.contains(&f64::NEG_INFINITY);
            let wrong = |value: &f64| {
                value.is_nan() || (added && *value != 0.0 && *value != f64::NEG_INFINITY)
            };
            if let Some(at) = floats.values.iter().position(wrong) {
                return Err(MaskError::Value {
                    array: array.to_owned(),
                    index: at,
                    value: floats.values[at].to_string(),
                    expected: "a mask that is added to scores holds 0 and -inf only".to_owned(),
                });
            }
            let visible = floats.values.iter().map(|value| (*value == 0.0) == added);
            Ok((floats.shape, visible.collect()))
        }
        Err(error) => Err(wrap(error)),
    }
}

/// The layout of a dense mask of shape (`seqlen_q`, `seqlen_kv`) or (heads, `seqlen_q`, `seqlen_kv`).
///
/// # Errors
/// [`MaskError`].
pub fn from_npy(bytes: &[u8]) -> Result<Imported, MaskError> {
    from_array("mask", bytes)
}

fn from_array(array: &str, bytes: &[u8]) -> Result<Imported, MaskError> {
    let (shape, visible) = truths(array, bytes)?;
    let (heads, seqlen_q, seqlen_kv) = match *shape.as_slice() {
        [q, kv] => (1, q, kv),
        [heads, q, kv] if heads > 0 => (heads, q, kv),
        [1, heads, q, kv] if heads > 0 => (heads, q, kv),
        _ => {
            return Err(MaskError::Shape {
                array: array.to_owned(),
                found: shape,
                expected: "a dense mask is (seqlen_q, seqlen_kv), with heads before them or not",
            });
        }
    };
    Ok(Imported {
        layout: from_visible(heads, seqlen_q, seqlen_kv, &visible)?,
        notes: Vec::new(),
    })
}

/// The layout whose visible pairs are given, (heads, `seqlen_q`, `seqlen_kv`).
fn from_visible(
    heads: usize,
    seqlen_q: usize,
    seqlen_kv: usize,
    visible: &[bool],
) -> Result<Layout, MaskError> {
    let rows = || (0..heads * seqlen_q).map(|row| &visible[row * seqlen_kv..(row + 1) * seqlen_kv]);
    let block_kv = largest(|size| {
        rows().all(|row| {
            row.chunks(size)
                .all(|chunk| chunk.iter().all(|one| *one == chunk[0]))
        })
    });
    let all: Vec<&[bool]> = rows().collect();
    let block_q = largest(|size| {
        (0..heads).all(|head| {
            all[head * seqlen_q..(head + 1) * seqlen_q]
                .chunks(size)
                .all(|chunk| chunk.iter().all(|row| *row == chunk[0]))
        })
    });
    let extents = Extents {
        seqlen_q,
        seqlen_kv,
        block_q,
        block_kv,
    };
    let pattern = |head: usize| {
        BlockPattern::from_fn(
            extents.block_rows(),
            extents.block_columns(),
            |row, column| all[head * seqlen_q + row * block_q][column * block_kv],
        )
    };
    let mut patterns: Vec<BlockPattern> = (0..heads).map(pattern).collect();
    if patterns.iter().all(|pattern| *pattern == patterns[0]) {
        patterns.truncate(1);
    }
    Ok(Layout::from_extents(extents)?.with_heads(patterns)?)
}

/// The largest power of two up to [`BLOCK_MAX`] that fits.
fn largest(fits: impl Fn(usize) -> bool) -> usize {
    let mut size = BLOCK_MAX;
    while size > 1 && !fits(size) {
        size /= 2;
    }
    size
}

/// Every pair of every pattern: its shape, (`seqlen_q`, `seqlen_kv`) where all heads share one, and its elements.
fn visible(layout: &Layout) -> Result<(Vec<usize>, Vec<bool>), MaskError> {
    let heads = layout.pattern_count().max(1);
    let pairs = heads
        .checked_mul(layout.seqlen_q())
        .and_then(|rows| rows.checked_mul(layout.seqlen_kv()))
        .filter(|pairs| *pairs <= PAIRS_MAX);
    let Some(pairs) = pairs else {
        return Err(MaskError::NotExpressible(format!(
            "a dense mask of {heads} x {} x {} would have more than {PAIRS_MAX} bytes; write CSR or BSR instead",
            layout.seqlen_q(),
            layout.seqlen_kv()
        )));
    };
    let mut mask = vec![false; pairs];
    for head in 0..heads {
        for q in 0..layout.seqlen_q() {
            let row = (head * layout.seqlen_q() + q) * layout.seqlen_kv();
            for keys in layout.visible_keys(head, q) {
                mask[row + keys.start..row + keys.end].fill(true);
            }
        }
    }
    let mut shape = vec![layout.seqlen_q(), layout.seqlen_kv()];
    if heads > 1 {
        shape.insert(0, heads);
    }
    Ok((shape, mask))
}

/// A dense mask of booleans: `true` where a pair is visible.
///
/// # Errors
/// [`MaskError::NotExpressible`] for masks of more than a GiB.
pub fn to_npy(layout: &Layout) -> Result<Vec<u8>, MaskError> {
    let (shape, mask) = visible(layout)?;
    Ok(npy::write_bools(&shape, &mask))
}

/// The one pattern that a format for a single matrix can hold.
fn single(layout: &Layout, head: Option<usize>) -> Result<usize, MaskError> {
    match head {
        None if layout.pattern_count() <= 1 => Ok(0),
        Some(head) if layout.has_head(head) => Ok(head),
        None => Err(MaskError::NotExpressible(format!(
            "the file holds one matrix, but the layout has {} heads; pick one with --head",
            layout.pattern_count()
        ))),
        Some(head) => Err(MaskError::NotExpressible(format!(
            "head {head} is not one of the layout's {}",
            layout.pattern_count()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flashproof_reference::Window;

    #[test]
    fn a_dense_mask_becomes_the_largest_blocks_that_say_it() {
        let layout = Layout::dense(8, 12)
            .with_blocks(4, 2)
            .unwrap()
            .with_heads(vec![BlockPattern::from_rows([vec![0, 3], vec![1, 2, 5]])])
            .unwrap();
        let back = from_npy(&to_npy(&layout).unwrap()).unwrap().layout;
        assert_eq!(back, layout);
        let window = Layout::sliding_window(
            9,
            9,
            Window {
                left: Some(2),
                right: Some(0),
            },
        );
        let back = from_npy(&to_npy(&window).unwrap()).unwrap().layout;
        assert_eq!((back.block_q(), back.block_kv()), (1, 1));
        for q in 0..9 {
            for k in 0..9 {
                assert_eq!(back.is_visible(0, q, k), window.is_visible(0, q, k));
            }
        }
    }

    #[test]
    fn a_mask_that_is_added_to_scores() {
        let bytes = npy::write(&[1, 3], &[0.0, f64::NEG_INFINITY, 0.0]);
        let layout = from_npy(&bytes).unwrap().layout;
        assert!(layout.is_visible(0, 0, 0) && !layout.is_visible(0, 0, 1));
        let bytes = npy::write(&[1, 3], &[0.0, f64::NEG_INFINITY, -1.0]);
        assert_eq!(
            from_npy(&bytes).unwrap_err().to_string(),
            "mask[2] = -1, but a mask that is added to scores holds 0 and -inf only"
        );
        let bytes = npy::write(&[3], &[0.0, 1.0, 0.0]);
        assert!(matches!(from_npy(&bytes), Err(MaskError::Shape { .. })));
    }
}
