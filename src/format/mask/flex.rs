//! `FlexAttention`'s `BlockMask` as tensors of a safetensors file.
//!
//! `kv_num_blocks` (batch, heads, block rows) and `kv_indices` (batch, heads, block rows, block columns) list the blocks
//! that need the token rule, `full_kv_num_blocks` and `full_kv_indices` those that do not (both may be missing). The rule
//! itself (`mask_mod`) is a Python function and is not in the tensors; what this tool writes has it as metadata
//! `flashproof_layout`, and a stranger's file needs it as flags. (`torch.nn.attention.flex_attention.BlockMask`.)

use super::{Imported, MaskError, index};
use flashproof_reference::{BlockKind, BlockPattern, Layout, Window};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::collections::HashMap;

/// Key of the metadata that holds the layout without its blocks.
const METADATA: &str = "flashproof_layout";

/// What a file of tensors does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlexRules {
    /// Queries and keys of a block; 128 and 128 if not given, as `FlexAttention`'s own default.
    pub block: Option<(usize, usize)>,
    /// Lengths; whole blocks if not given.
    pub seqlen: Option<(usize, usize)>,
    /// Whether keys after the diagonal are hidden.
    pub causal: bool,
    /// The window.
    pub window: Window,
}

/// A tensor of i32 or i64 with its extents.
struct Numbers {
    shape: Vec<usize>,
    values: Vec<i64>,
}

fn numbers(file: &SafeTensors<'_>, name: &str) -> Result<Numbers, MaskError> {
    let tensor = file
        .tensor(name)
        .map_err(|_| MaskError::Missing(format!("tensor {name} is missing: a BlockMask has it")))?;
    let data = tensor.data();
    let dtype = tensor.dtype();
    let values = if dtype == Dtype::I32 {
        let words = data.as_chunks::<4>().0.iter();
        words
            .map(|word| i64::from(i32::from_le_bytes(*word)))
            .collect()
    } else if dtype == Dtype::I64 {
        let words = data.as_chunks::<8>().0.iter();
        words.map(|word| i64::from_le_bytes(*word)).collect()
    } else {
        return Err(MaskError::Missing(format!(
            "tensor {name} has dtype {dtype:?}, but must be I32 or I64"
        )));
    };
    Ok(Numbers {
        shape: tensor.shape().to_vec(),
        values,
    })
}

/// Block columns of every row of every head of one pair of tensors, checked, with the extents they state.
struct Lists {
    heads: usize,
    rows: usize,
    columns: usize,
    lists: Vec<Vec<usize>>,
}

fn lists(file: &SafeTensors<'_>, prefix: &str) -> Result<Lists, MaskError> {
    let (count_name, index_name) = (
        format!("{prefix}kv_num_blocks"),
        format!("{prefix}kv_indices"),
    );
    let counts = numbers(file, &count_name)?;
    let entries = numbers(file, &index_name)?;
    let wrong = |array: &str, found: &[usize], expected| MaskError::Shape {
        array: array.to_owned(),
        found: found.to_vec(),
        expected,
    };
    let (batch, heads, rows, columns) = match *entries.shape.as_slice() {
        [batch, heads, rows, columns] if batch > 0 && heads > 0 => (batch, heads, rows, columns),
        _ => {
            return Err(wrong(
                &index_name,
                &entries.shape,
                "it must be (batch, heads, block rows, block columns)",
            ));
        }
    };
    if counts.shape != [batch, heads, rows] {
        return Err(wrong(
            &count_name,
            &counts.shape,
            "it must have the first three extents of the indices",
        ));
    }
    let mut all = Vec::with_capacity(batch * heads * rows);
    for (at, count) in counts.values.iter().enumerate() {
        let count = index(&count_name, at, *count, "it must not be negative")?;
        if count > columns {
            return Err(MaskError::Value {
                array: count_name,
                index: at,
                value: count.to_string(),
                expected: format!("a row has {columns} block columns"),
            });
        }
        let mut row = Vec::with_capacity(count);
        for entry in at * columns..at * columns + count {
            let column = index(
                &index_name,
                entry,
                entries.values[entry],
                "it must not be negative",
            )?;
            if column >= columns {
                return Err(MaskError::Value {
                    array: index_name,
                    index: entry,
                    value: column.to_string(),
                    expected: format!("there are {columns} block columns"),
                });
            }
            row.push(column);
        }
        row.sort_unstable();
        all.push(row);
    }
    let one = heads * rows;
    if (1..batch).any(|entry| all[entry * one..(entry + 1) * one] != all[..one]) {
        return Err(MaskError::NotExpressible(format!(
            "the {batch} batch entries differ, and a layout is that of one sequence: save them one by one"
        )));
    }
    all.truncate(one);
    Ok(Lists {
        heads,
        rows,
        columns,
        lists: all,
    })
}

/// Reads the tensors of a `BlockMask`.
///
/// # Errors
/// [`MaskError`]; also where a block that the file calls full is not full under the rules given.
pub fn from_block_mask(bytes: &[u8], rules: FlexRules) -> Result<Imported, MaskError> {
    let malformed = |error: safetensors::SafeTensorError| MaskError::Tensors(error.to_string());
    let file = SafeTensors::deserialize(bytes).map_err(malformed)?;
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(malformed)?;
    let written = header
        .metadata()
        .as_ref()
        .and_then(|metadata| metadata.get(METADATA))
        .map(|text| Layout::from_json(text))
        .transpose()?;
    let partial = lists(&file, "")?;
    let full = if file.tensor("full_kv_num_blocks").is_ok() {
        Some(lists(&file, "full_")?)
    } else {
        None
    };
    if let Some(full) = &full
        && (full.heads, full.rows, full.columns) != (partial.heads, partial.rows, partial.columns)
    {
        return Err(MaskError::NotExpressible(
            "full_kv_indices and kv_indices have different extents".to_owned(),
        ));
    }
    let mut repeated = 0;
    let joined: Vec<Vec<usize>> = partial
        .lists
        .iter()
        .enumerate()
        .map(|(at, row)| {
            let mut row = row.clone();
            row.extend(full.iter().flat_map(|full| &full.lists[at]));
            row.sort_unstable();
            let before = row.len();
            row.dedup();
            repeated += before - row.len();
            row
        })
        .collect();
    let has_rule = written.is_some() || rules.causal || rules.window != Window::default();
    let frame = match written {
        Some(frame) => frame,
        None => {
            let (block_q, block_kv) = rules.block.unwrap_or((128, 128));
            let (q, kv) = rules
                .seqlen
                .unwrap_or((partial.rows * block_q, partial.columns * block_kv));
            Layout::dense(q, kv)
                .with_blocks(block_q, block_kv)?
                .with_causal(rules.causal)
                .with_window(rules.window)
        }
    };
    let patterns = joined
        .chunks(partial.rows.max(1))
        .map(BlockPattern::from_rows)
        .collect();
    let layout = frame.with_heads(patterns)?;
    let mut notes = Vec::new();
    if repeated > 0 {
        notes.push(format!(
            "{repeated} blocks were listed twice and have been joined"
        ));
    }
    let open: usize = partial.lists.iter().map(Vec::len).sum();
    if open > 0 && !has_rule {
        notes.push(format!(
            "{open} partial blocks are taken whole: their mask_mod is not in the file; give --causal or --window if that is the rule"
        ));
    }
    if let Some(full) = &full {
        check_full(&layout, full)?;
    }
    Ok(Imported { layout, notes })
}

/// Every block that is called full is full.
fn check_full(layout: &Layout, full: &Lists) -> Result<(), MaskError> {
    for head in 0..full.heads {
        for row in 0..full.rows {
            let kinds = layout.block_kinds(head, row);
            let list = &full.lists[head * full.rows + row];
            if let Some(column) = list
                .iter()
                .find(|column| kinds[**column] != BlockKind::Full)
            {
                return Err(MaskError::NotExpressible(format!(
                    "the file calls block ({row}, {column}) of head {head} full, but under the rules given it is not"
                )));
            }
        }
    }
    Ok(())
}

/// The tensors of a `BlockMask` of batch 1, with the token rules as metadata.
///
/// # Errors
/// [`MaskError::NotExpressible`] where an index does not fit into 32 bits.
pub fn to_block_mask(layout: &Layout) -> Result<Vec<u8>, MaskError> {
    let heads = layout.pattern_count().max(1);
    let extents = layout.extents();
    let (rows, columns) = (extents.block_rows(), extents.block_columns());
    let mut tensors: [Vec<u8>; 4] = Default::default();
    let word = |value: usize| {
        i32::try_from(value).map(i32::to_le_bytes).map_err(|_| {
            MaskError::NotExpressible(format!("{value} does not fit into an index of 32 bits"))
        })
    };
    for head in 0..heads {
        for row in 0..rows {
            let kinds = layout.block_kinds(head, row);
            for (first, wanted) in [(0, BlockKind::Partial), (2, BlockKind::Full)] {
                let is = |column: &usize| kinds[*column] == wanted;
                // As torch's argsort leaves them: those that count first, then the others, each ascending.
                let order: Vec<usize> = (0..columns)
                    .filter(is)
                    .chain((0..columns).filter(|column| !is(column)))
                    .collect();
                let count = (0..columns).filter(is).count();
                tensors[first].extend(word(count)?);
                for column in order {
                    tensors[first + 1].extend(word(column)?);
                }
            }
        }
    }
    let frame = Layout::from_extents(extents)?
        .with_causal(layout.causal())
        .with_window(layout.window())
        .with_sinks(layout.sinks())
        .with_global(layout.global().iter().copied())?;
    let metadata = HashMap::from([(METADATA.to_owned(), frame.to_json())]);
    let names = [
        "kv_num_blocks",
        "kv_indices",
        "full_kv_num_blocks",
        "full_kv_indices",
    ];
    let views = names.iter().zip(&tensors).map(|(name, data)| {
        let mut shape = vec![1, heads, rows];
        if name.ends_with("indices") {
            shape.push(columns);
        }
        let view = TensorView::new(Dtype::I32, shape, data).expect("extents times four bytes");
        (*name, view)
    });
    safetensors::serialize(views, Some(metadata))
        .map_err(|error| MaskError::Tensors(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let pattern = BlockPattern::from_rows([vec![0], vec![0, 1], vec![2]]);
        let layout = Layout::dense(11, 12)
            .with_blocks(4, 4)
            .unwrap()
            .with_causal(true)
            .with_heads(vec![pattern])
            .unwrap();
        let bytes = to_block_mask(&layout).unwrap();
        let back = from_block_mask(&bytes, FlexRules::default()).unwrap();
        assert_eq!(back.notes, [] as [String; 0]);
        for q in 0..11 {
            for k in 0..12 {
                assert_eq!(back.layout.is_visible(0, q, k), layout.is_visible(0, q, k));
            }
        }
    }

    /// Tensors of one head, two by two blocks of 2 x 2, without metadata.
    fn stranger(partial: &[&[i32]; 2], full: &[&[i32]; 2]) -> Vec<u8> {
        let mut tensors: Vec<(&str, Vec<usize>, Vec<u8>)> = Vec::new();
        for (names, lists) in [
            (["kv_num_blocks", "kv_indices"], partial),
            (["full_kv_num_blocks", "full_kv_indices"], full),
        ] {
            let counts = lists.iter().map(|list| i32::try_from(list.len()).unwrap());
            let counts = counts.flat_map(i32::to_le_bytes).collect();
            let padded = lists.iter().flat_map(|list| {
                let rest = std::iter::repeat_n(&0, 2 - list.len());
                list.iter().chain(rest).copied().collect::<Vec<i32>>()
            });
            let entries = padded.flat_map(i32::to_le_bytes).collect();
            tensors.push((names[0], vec![1, 1, 2], counts));
            tensors.push((names[1], vec![1, 1, 2, 2], entries));
        }
        let views = tensors.iter().map(|(name, shape, data)| {
            (
                *name,
                TensorView::new(Dtype::I32, shape.clone(), data).unwrap(),
            )
        });
        safetensors::serialize(views, None).unwrap()
    }

    #[test]
    fn a_strangers_file_needs_its_rule() {
        let rules = FlexRules {
            block: Some((2, 2)),
            ..FlexRules::default()
        };
        let bytes = stranger(&[&[0], &[1]], &[&[], &[0]]);
        let open = from_block_mask(&bytes, rules).unwrap();
        assert_eq!(open.layout.visible_pairs(0), 12);
        assert!(open.notes[0].starts_with("2 partial blocks are taken whole"));
        let causal = FlexRules {
            causal: true,
            ..rules
        };
        let ruled = from_block_mask(&bytes, causal).unwrap();
        assert_eq!((ruled.layout.visible_pairs(0), ruled.notes.len()), (10, 0));
        let lies = stranger(&[&[], &[1]], &[&[0], &[0]]);
        assert_eq!(
            from_block_mask(&lies, causal).unwrap_err().to_string(),
            "the file calls block (0, 0) of head 0 full, but under the rules given it is not"
        );
        let outside = stranger(&[&[2], &[1]], &[&[], &[0]]);
        assert_eq!(
            from_block_mask(&outside, rules).unwrap_err().to_string(),
            "kv_indices[0] = 2, but there are 2 block columns"
        );
    }
}
