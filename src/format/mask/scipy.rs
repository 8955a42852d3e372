//! `.npz` archives: a dense mask, or a matrix as `scipy.sparse.save_npz` writes it.
//!
//! A sparse matrix has `format` (bytes `csr` or `bsr`), `shape`, `indptr`, `indices` and `data`. A CSR entry is a visible
//! pair; a BSR entry is a block of `data`'s extents whose elements say which pairs are visible. Explicit zeros are hidden,
//! as scipy counts them.

use super::{Imported, MaskError, from_array, from_visible, index, single, truths};
use crate::format::npy;
use flashproof_reference::{BlockPattern, Extents, Layout};
use std::collections::BTreeMap;
use std::io::{Cursor, Read, Write};

/// Bytes of all arrays of an archive together.
const UNPACKED_MAX: u64 = 1 << 31;

/// Arrays of an archive by name.
fn unpack(bytes: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, MaskError> {
    let malformed = |error: String| MaskError::Archive(error);
    let mut archive =
        zip::ZipArchive::new(Cursor::new(bytes)).map_err(|error| malformed(error.to_string()))?;
    let mut arrays = BTreeMap::new();
    let mut left = UNPACKED_MAX;
    for at in 0..archive.len() {
        let file = archive
            .by_index(at)
            .map_err(|error| malformed(error.to_string()))?;
        let name = file
            .name()
            .map_err(|error| malformed(error.to_string()))?
            .trim_end_matches(".npy")
            .to_owned();
        let mut content = Vec::new();
        file.take(left + 1)
            .read_to_end(&mut content)
            .map_err(|error| malformed(error.to_string()))?;
        let size = u64::try_from(content.len()).expect("addresses have at most 64 bits");
        left = left
            .checked_sub(size)
            .ok_or_else(|| malformed(format!("its arrays have more than {UNPACKED_MAX} bytes")))?;
        arrays.insert(name, content);
    }
    Ok(arrays)
}

/// Packs arrays as `numpy.savez` does, without compression.
fn pack(arrays: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Stored)
        .last_modified_time(zip::DateTime::default());
    for (name, bytes) in arrays {
        writer
            .start_file(format!("{name}.npy"), options)
            .and_then(|()| writer.write_all(bytes).map_err(Into::into))
            .expect("a few short names, bytes to memory");
    }
    writer
        .finish()
        .expect("bytes to memory cannot fail")
        .into_inner()
}

/// Reads a dense mask (the only array, or the one named `mask`) or a scipy matrix.
///
/// # Errors
/// [`MaskError`].
pub fn from_npz(bytes: &[u8]) -> Result<Imported, MaskError> {
    let arrays = unpack(bytes)?;
    if let Some(format) = arrays.get("format") {
        // Four letters at the end of an array of no axes: b'csr' or 'csr' in UCS-4.
        let letters: String = format
            .iter()
            .rev()
            .filter(|byte| **byte != 0)
            .take(3)
            .map(|byte| char::from(*byte))
            .collect();
        let name: String = letters.chars().rev().collect();
        return match name.as_str() {
            "csr" => from_csr(&arrays),
            "bsr" => from_bsr(&arrays),
            _ => Err(MaskError::NotExpressible(format!(
                "a scipy matrix of format {name:?}: convert it with .tocsr() or .tobsr()"
            ))),
        };
    }
    if let Some(mask) = arrays.get("mask") {
        return from_array("mask", mask);
    }
    match arrays.iter().next() {
        Some((name, mask)) if arrays.len() == 1 => from_array(name, mask),
        _ => Err(MaskError::Missing(format!(
            "the archive has {} arrays and none is named mask or format: name the mask so",
            arrays.len()
        ))),
    }
}

fn array<'a>(arrays: &'a BTreeMap<String, Vec<u8>>, name: &str) -> Result<&'a [u8], MaskError> {
    arrays.get(name).map(Vec::as_slice).ok_or_else(|| {
        MaskError::Missing(format!(
            "the archive has no array {name}, which scipy.sparse.save_npz writes"
        ))
    })
}

fn indices(arrays: &BTreeMap<String, Vec<u8>>, name: &str) -> Result<Vec<usize>, MaskError> {
    let integers = npy::read_integers(array(arrays, name)?).map_err(|error| MaskError::Npy {
        array: name.to_owned(),
        error,
    })?;
    if integers.shape.len() != 1 {
        return Err(MaskError::Shape {
            array: name.to_owned(),
            found: integers.shape,
            expected: "it must have one axis",
        });
    }
    integers
        .values
        .iter()
        .enumerate()
        .map(|(at, value)| index(name, at, *value, "it must not be negative"))
        .collect()
}

/// Rows of compressed indices, checked: every entry with its place in `indices`.
struct Compressed {
    rows: Vec<Vec<(usize, usize)>>,
    notes: Vec<String>,
}

fn compressed(
    arrays: &BTreeMap<String, Vec<u8>>,
    rows: usize,
    columns: usize,
) -> Result<Compressed, MaskError> {
    let indptr = indices(arrays, "indptr")?;
    let entries = indices(arrays, "indices")?;
    if indptr.len() != rows + 1 {
        return Err(MaskError::Shape {
            array: "indptr".to_owned(),
            found: vec![indptr.len()],
            expected: "it must have one entry a row, and one more",
        });
    }
    let wrong = |array: &str, at: usize, value: usize, expected: String| MaskError::Value {
        array: array.to_owned(),
        index: at,
        value: value.to_string(),
        expected,
    };
    if indptr[0] != 0 {
        return Err(wrong("indptr", 0, indptr[0], "it must be 0".to_owned()));
    }
    let (mut unsorted, mut repeated) = (0, 0);
    let mut list = Vec::with_capacity(rows);
    for (at, ends) in indptr.windows(2).enumerate() {
        if ends[1] < ends[0] || ends[1] > entries.len() {
            let expected = format!("it must be from {} to {}", ends[0], entries.len());
            return Err(wrong("indptr", at + 1, ends[1], expected));
        }
        let mut row: Vec<(usize, usize)> = (ends[0]..ends[1]).map(|e| (entries[e], e)).collect();
        if let Some((column, entry)) = row.iter().find(|(column, _)| *column >= columns) {
            let expected = format!("there are {columns} columns");
            return Err(wrong("indices", *entry, *column, expected));
        }
        unsorted += row.windows(2).filter(|pair| pair[1].0 < pair[0].0).count();
        row.sort_unstable();
        repeated += row.windows(2).filter(|pair| pair[0].0 == pair[1].0).count();
        list.push(row);
    }
    let mut notes = Vec::new();
    if unsorted > 0 {
        notes.push(format!(
            "{unsorted} entries were out of order and have been sorted"
        ));
    }
    if repeated > 0 {
        notes.push(format!(
            "{repeated} entries were there twice and have been joined"
        ));
    }
    Ok(Compressed { rows: list, notes })
}

fn shape_of(arrays: &BTreeMap<String, Vec<u8>>) -> Result<(usize, usize), MaskError> {
    let shape = indices(arrays, "shape")?;
    match *shape.as_slice() {
        [q, kv] => Ok((q, kv)),
        _ => Err(MaskError::Shape {
            array: "shape".to_owned(),
            found: vec![shape.len()],
            expected: "a matrix has two extents",
        }),
    }
}

/// A small dense picture of one matrix.
fn picture(q: usize, kv: usize) -> Result<Vec<bool>, MaskError> {
    match q.checked_mul(kv).filter(|pairs| *pairs <= super::PAIRS_MAX) {
        Some(pairs) => Ok(vec![false; pairs]),
        None => Err(MaskError::NotExpressible(format!(
            "a matrix of {q} x {kv} has more than {} pairs",
            super::PAIRS_MAX
        ))),
    }
}

fn from_csr(arrays: &BTreeMap<String, Vec<u8>>) -> Result<Imported, MaskError> {
    let (q, kv) = shape_of(arrays)?;
    let Compressed { rows, notes } = compressed(arrays, q, kv)?;
    let (_, data) = truths("data", array(arrays, "data")?)?;
    let mut mask = picture(q, kv)?;
    for (at, row) in rows.iter().enumerate() {
        for (column, entry) in row {
            mask[at * kv + column] |= data.get(*entry).copied().unwrap_or(false);
        }
    }
    let layout = from_visible(1, q, kv, &mask)?;
    Ok(Imported { layout, notes })
}

fn from_bsr(arrays: &BTreeMap<String, Vec<u8>>) -> Result<Imported, MaskError> {
    let (q, kv) = shape_of(arrays)?;
    let (shape, data) = truths("data", array(arrays, "data")?)?;
    let (block_q, block_kv) = match *shape.as_slice() {
        [_, block_q, block_kv] if block_q > 0 && block_kv > 0 => (block_q, block_kv),
        _ => {
            return Err(MaskError::Shape {
                array: "data".to_owned(),
                found: shape,
                expected: "a BSR matrix has (blocks, block_q, block_kv)",
            });
        }
    };
    let extents = Extents {
        seqlen_q: q,
        seqlen_kv: kv,
        block_q,
        block_kv,
    };
    let Compressed { rows, notes } =
        compressed(arrays, extents.block_rows(), extents.block_columns())?;
    let block = |entry: usize| {
        let first = entry * block_q * block_kv;
        data.get(first..first + block_q * block_kv).unwrap_or(&[])
    };
    let whole = rows.iter().flatten().all(|(_, entry)| {
        let block = block(*entry);
        block.iter().all(|one| *one) || !block.iter().any(|one| *one)
    });
    if whole {
        let lists = rows.iter().map(|row| {
            let mut columns: Vec<usize> = row
                .iter()
                .filter(|(_, entry)| block(*entry).contains(&true))
                .map(|(column, _)| *column)
                .collect();
            columns.dedup();
            columns
        });
        let pattern = BlockPattern::from_rows(lists);
        let layout = Layout::from_extents(extents)?.with_heads(vec![pattern])?;
        return Ok(Imported { layout, notes });
    }
    let mut mask = picture(q, kv)?;
    for (at, row) in rows.iter().enumerate() {
        for (column, entry) in row {
            for (offset, one) in block(*entry).iter().enumerate() {
                let token = at * block_q + offset / block_kv;
                let key = column * block_kv + offset % block_kv;
                if token < q && key < kv {
                    mask[token * kv + key] |= *one;
                }
            }
        }
    }
    let layout = from_visible(1, q, kv, &mask)?;
    Ok(Imported { layout, notes })
}

/// An `.npz` with one boolean array, `mask`.
///
/// # Errors
/// [`MaskError::NotExpressible`] for masks of more than a GiB.
pub fn to_dense_npz(layout: &Layout) -> Result<Vec<u8>, MaskError> {
    Ok(pack(&[("mask", super::to_npy(layout)?)]))
}

fn i32s(values: &[usize]) -> Result<Vec<i32>, MaskError> {
    values
        .iter()
        .map(|value| {
            i32::try_from(*value).map_err(|_| {
                MaskError::NotExpressible(format!("{value} does not fit into an index of 32 bits"))
            })
        })
        .collect()
}

fn scipy(
    format: &[u8; 3],
    layout: &Layout,
    indptr: &[usize],
    columns: &[usize],
    data: Vec<u8>,
) -> Result<Vec<u8>, MaskError> {
    let mut tag = npy::preamble_of_bytes(3);
    tag.extend_from_slice(format);
    let extents = i32s(&[layout.seqlen_q(), layout.seqlen_kv()])?;
    Ok(pack(&[
        ("indices", npy::write_i32(&[columns.len()], &i32s(columns)?)),
        ("indptr", npy::write_i32(&[indptr.len()], &i32s(indptr)?)),
        ("format", tag),
        ("shape", npy::write_i32(&[2], &extents)),
        ("data", data),
    ]))
}

/// The visible pairs of one head as `scipy.sparse.load_npz` reads a CSR matrix.
///
/// # Errors
/// [`MaskError::NotExpressible`] where there are several heads and none is picked.
pub fn to_csr(layout: &Layout, head: Option<usize>) -> Result<Vec<u8>, MaskError> {
    let head = single(layout, head)?;
    let (mut indptr, mut columns) = (vec![0], Vec::new());
    for q in 0..layout.seqlen_q() {
        columns.extend(layout.visible_keys(head, q).flatten());
        indptr.push(columns.len());
    }
    let data = npy::write_bools(&[columns.len()], &vec![true; columns.len()]);
    scipy(b"csr", layout, &indptr, &columns, data)
}

/// The visible pairs of one head as `scipy.sparse.load_npz` reads a BSR matrix, in blocks of the layout's size.
///
/// # Errors
/// [`MaskError::NotExpressible`] where there are several heads and none is picked, or a block is ragged.
pub fn to_bsr(layout: &Layout, head: Option<usize>) -> Result<Vec<u8>, MaskError> {
    let head = single(layout, head)?;
    let extents = layout.extents();
    let (block_q, block_kv) = (extents.block_q, extents.block_kv);
    if !extents.seqlen_q.is_multiple_of(block_q) || !extents.seqlen_kv.is_multiple_of(block_kv) {
        return Err(MaskError::NotExpressible(format!(
            "a BSR matrix of {} x {} cannot have blocks of {block_q} x {block_kv}: scipy wants whole blocks; write CSR instead",
            extents.seqlen_q, extents.seqlen_kv
        )));
    }
    let (mut indptr, mut columns, mut data) = (vec![0], Vec::new(), Vec::new());
    for row in 0..extents.block_rows() {
        let mut blocks: BTreeMap<usize, Vec<bool>> = BTreeMap::new();
        for offset in 0..block_q {
            for key in layout.visible_keys(head, row * block_q + offset).flatten() {
                let block = blocks
                    .entry(key / block_kv)
                    .or_insert_with(|| vec![false; block_q * block_kv]);
                block[offset * block_kv + key % block_kv] = true;
            }
        }
        for (column, block) in blocks {
            columns.push(column);
            data.extend(block);
        }
        indptr.push(columns.len());
    }
    let data = npy::write_bools(&[columns.len(), block_q, block_kv], &data);
    scipy(b"bsr", layout, &indptr, &columns, data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flashproof_reference::Window;

    fn same(a: &Layout, b: &Layout) {
        for q in 0..a.seqlen_q() {
            for k in 0..a.seqlen_kv() {
                assert_eq!(a.is_visible(0, q, k), b.is_visible(0, q, k), "({q}, {k})");
            }
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let window = Window {
            left: Some(3),
            right: Some(1),
        };
        let blocks = BlockPattern::from_rows([vec![0], vec![], vec![0, 2]]);
        for layout in [
            Layout::sliding_window(12, 12, window),
            Layout::dense(12, 12)
                .with_blocks(4, 4)
                .unwrap()
                .with_heads(vec![blocks])
                .unwrap(),
        ] {
            let blocked = layout.clone().with_blocks(4, 4).unwrap();
            same(
                &layout,
                &from_npz(&to_csr(&layout, None).unwrap()).unwrap().layout,
            );
            same(
                &layout,
                &from_npz(&to_bsr(&blocked, None).unwrap()).unwrap().layout,
            );
            same(
                &layout,
                &from_npz(&to_dense_npz(&layout).unwrap()).unwrap().layout,
            );
        }
    }

    #[test]
    fn disorder_is_mended_and_said_and_nonsense_refused() {
        let file = |indptr: &[i32], indices: &[i32]| {
            let mut tag = npy::preamble_of_bytes(3);
            tag.extend_from_slice(b"csr");
            from_npz(&pack(&[
                ("indices", npy::write_i32(&[indices.len()], indices)),
                ("indptr", npy::write_i32(&[indptr.len()], indptr)),
                ("format", tag),
                ("shape", npy::write_i32(&[2], &[1, 4])),
                ("data", npy::write_bools(&[3], &[true; 3])),
            ]))
        };
        let imported = file(&[0, 3], &[2, 0, 2]).unwrap();
        assert_eq!(imported.layout.visible_pairs(0), 2);
        assert_eq!(
            imported.notes,
            [
                "1 entries were out of order and have been sorted",
                "1 entries were there twice and have been joined"
            ]
        );
        assert_eq!(
            file(&[0, 3], &[2, 0, 4]).unwrap_err().to_string(),
            "indices[2] = 4, but there are 4 columns"
        );
        assert_eq!(
            file(&[0, 4], &[2, 0, 1]).unwrap_err().to_string(),
            "indptr[1] = 4, but it must be from 0 to 3"
        );
        assert!(matches!(from_npz(b"PK"), Err(MaskError::Archive(_))));
    }
}
