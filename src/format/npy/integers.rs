//! Arrays of whole numbers and of truth values.

use super::{NpyError, Preamble, length, preamble, to_c_order};

/// An array of whole numbers, in C order whatever the file's; `false` is 0 and `true` is 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Integers {
    /// Extents.
    pub shape: Vec<usize>,
    /// Elements, the last axis contiguous.
    pub values: Vec<i64>,
}

/// Sizes of the kinds of whole numbers: boolean, signed, unsigned.
fn width(descr: &str) -> Option<(bool, char, usize)> {
    let mut letters = descr.chars();
    let big_endian = match letters.next()? {
        '<' | '|' => false,
        '>' => true,
        _ => return None,
    };
    let kind = letters.next()?;
    let bytes = letters.as_str().parse().ok()?;
    match (kind, bytes) {
        ('b', 1) | ('i' | 'u', 1 | 2 | 4 | 8) => Some((big_endian, kind, bytes)),
        _ => None,
    }
}

/// Reads a file's bytes where its elements are b1, i1 to i8 or u1 to u8.
///
/// # Errors
/// [`NpyError`]: as for floats; [`NpyError::Dtype`] for every other kind of element and for a number past 2^63.
pub fn read_integers(bytes: &[u8]) -> Result<Integers, NpyError> {
    let Preamble {
        descr,
        fortran_order,
        shape,
        data_offset,
    } = Preamble::parse(bytes)?;
    let Some((big_endian, kind, size)) = width(&descr) else {
        return Err(NpyError::Dtype { found: descr });
    };
    let count = if shape.contains(&0) {
        Some(0)
    } else {
        shape.iter().copied().try_fold(1, usize::checked_mul)
    };
    let end = count
        .and_then(|count| count.checked_mul(size))
        .and_then(|bytes| bytes.checked_add(data_offset));
    let Some(end) = end else {
        return Err(NpyError::TooLarge { shape });
    };
    let (expected, found) = (length(end), length(bytes.len()));
    match found.cmp(&expected) {
        std::cmp::Ordering::Less => return Err(NpyError::Truncated { expected, found }),
        std::cmp::Ordering::Equal => {}
        std::cmp::Ordering::Greater => return Err(NpyError::Trailing { expected, found }),
    }
    let number = |word: &[u8]| {
        let mut wide = [0_u8; 8];
        for (to, from) in wide.iter_mut().enumerate().take(size) {
            *from = word[if big_endian { size - 1 - to } else { to }];
        }
        let negative = kind == 'i' && wide[size - 1] & 0x80 != 0;
        if negative {
            wide[size..].fill(0xff);
        }
        let value = i64::from_le_bytes(wide);
        (kind == 'i' || value >= 0).then_some(value)
    };
    let values: Option<Vec<i64>> = bytes[data_offset..]
        .chunks_exact(size)
        .map(number)
        .collect();
    let Some(values) = values else {
        return Err(NpyError::Dtype {
            found: format!("{descr} with a number of 2^63 or more"),
        });
    };
    Ok(Integers {
        values: if fortran_order {
            to_c_order(&values, &shape)
        } else {
            values
        },
        shape,
    })
}

/// The bytes of a file, version 1.0: truth values in C order.
///
/// # Panics
/// Where the extents do not multiply to the number of values: a bug of the caller.
pub fn write_bools(shape: &[usize], values: &[bool]) -> Vec<u8> {
    assert_eq!(
        shape.iter().product::<usize>(),
        values.len(),
        "shape {shape:?}"
    );
    let mut bytes = preamble("|b1", shape, values.len());
    bytes.extend(values.iter().map(|value| u8::from(*value)));
    bytes
}

/// The bytes of a file, version 1.0: little-endian i32 in C order.
///
/// # Panics
/// Where the extents do not multiply to the number of values: a bug of the caller.
pub fn write_i32(shape: &[usize], values: &[i32]) -> Vec<u8> {
    assert_eq!(
        shape.iter().product::<usize>(),
        values.len(),
        "shape {shape:?}"
    );
    let mut bytes = preamble("<i4", shape, 4 * values.len());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let numbers = read_integers(&write_i32(&[2, 2], &[1, -2, 3, i32::MIN])).unwrap();
        assert_eq!(numbers.values, [1, -2, 3, i64::from(i32::MIN)]);
        let truths = read_integers(&write_bools(&[3], &[true, false, true])).unwrap();
        assert_eq!((truths.shape, truths.values), (vec![3], vec![1, 0, 1]));
    }

    #[test]
    fn every_width_and_order() {
        let file = |descr: &str, data: &[u8]| {
            let mut bytes = preamble(descr, &[1], data.len());
            bytes.extend_from_slice(data);
            read_integers(&bytes)
        };
        for (descr, data, value) in [
            ("|i1", &[0xfe][..], -2),
            ("|u1", &[0xfe], 254),
            (">i2", &[0xff, 0xfe], -2),
            (">u4", &[0, 0, 1, 2], 258),
            ("<u8", &[1, 0, 0, 0, 0, 0, 0, 0], 1),
        ] {
            assert_eq!(file(descr, data).unwrap().values, [value], "{descr}");
        }
        let high = [0, 0, 0, 0, 0, 0, 0, 0x80];
        assert!(matches!(file("<u8", &high), Err(NpyError::Dtype { .. })));
        assert!(matches!(file("<f4", &[0; 4]), Err(NpyError::Dtype { .. })));
        assert!(matches!(
            file("<i4", &[0; 3]),
            Err(NpyError::Truncated { .. })
        ));
        assert!(matches!(
            file("<i4", &[0; 5]),
            Err(NpyError::Trailing { .. })
        ));
    }
}
