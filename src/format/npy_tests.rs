use super::*;
use proptest::prelude::*;

/// A file of any version, header text and elements.
fn file(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend([version, 0]);
    if version == 1 {
        bytes.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
    } else {
        bytes.extend(u32::try_from(header.len()).unwrap().to_le_bytes());
    }
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

/// The header text that NumPy writes.
fn header(descr: &str, fortran_order: bool, shape: &str) -> String {
    let order = if fortran_order { "True" } else { "False" };
    format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}   \n")
}

fn refusal(bytes: &[u8]) -> String {
    read(bytes).map_or_else(
        |error| error.to_string(),
        |array| format!("accepted: {array:?}"),
    )
}

#[test]
fn versions_formats_and_byte_orders_are_read() {
    let values = [1.5, -0.25, 1024.0];
    let narrow = [1.5_f32, -0.25, 1024.0].map(f32::to_le_bytes);
    let mut little: Vec<u8> = narrow.concat();
    for version in [1, 2, 3] {
        let bytes = file(version, &header("<f4", false, "(3,)"), &little);
        let array = read(&bytes).unwrap();
        assert_eq!(
            (array.shape.as_slice(), array.values),
            (&[3][..], values.to_vec())
        );
    }
    little.chunks_mut(4).for_each(<[u8]>::reverse);
    let bytes = file(1, &header(">f4", false, "(3,)"), &little);
    assert_eq!(read(&bytes).unwrap().values, values);
    let halves: Vec<u8> = values
        .iter()
        .flat_map(|&value| f16::from_f64(value).to_le_bytes())
        .collect();
    let bytes = file(1, &header("<f2", false, "(1, 3)"), &halves);
    assert_eq!(read(&bytes).unwrap().values, values);
    // No axis at all is one element.
    let bytes = file(1, &header("<f8", false, "()"), &7.0_f64.to_le_bytes());
    assert_eq!(read(&bytes).unwrap().values, [7.0]);
}

#[test]
fn fortran_order_becomes_c_order() {
    // a[i, j, k] = 100 i + 10 j + k, shape (2, 3, 4): the first axis runs fastest in the file.
    let at = |i: i32, j: i32, k: i32| f64::from(100 * i + 10 * j + k);
    let mut stored = Vec::new();
    for k in 0..4 {
        for j in 0..3 {
            for i in 0..2 {
                stored.extend(at(i, j, k).to_le_bytes());
            }
        }
    }
    let array = read(&file(1, &header("<f8", true, "(2, 3, 4)"), &stored)).unwrap();
    let expected: Vec<f64> = (0..24).map(|n| at(n / 12, n / 4 % 3, n % 4)).collect();
    assert_eq!(array.values, expected);
    let empty = read(&file(1, &header("<f8", true, "(2, 0, 4)"), &[])).unwrap();
    assert_eq!(
        (empty.shape.as_slice(), empty.values.len()),
        (&[2, 0, 4][..], 0)
    );
}

#[test]
fn refusals_say_what_was_found_and_what_is_allowed() {
    let ok = header("<f4", false, "(2,)");
    for (bytes, expected) in [
        (
            b"PK\x03\x04....".to_vec(),
            "not an .npy file: it begins with [50, 4b, 03, 04, 2e, 2e]",
        ),
        (b"\x93NUM".to_vec(), "cut short: 4 bytes, but 10 are needed"),
        (file(4, &ok, &[0; 8]), ".npy version 4.0 is not known"),
        (file(1, &ok, &[0; 7]), "cut short: "),
        (file(1, &ok, &[0; 9]), "bytes, but the array ends after"),
        (
            file(1, &header("<i8", false, "(2,)"), &[0; 16]),
            "elements are <i8, but must be f2, f4 or f8",
        ),
        (
            file(
                1,
                "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }",
                &[0; 8],
            ),
            "elements are structures of several fields",
        ),
        (
            file(1, &header("<f4", false, "(2)"), &[0; 8]),
            "needs a comma after an extent",
        ),
        (
            file(1, &header("<f4", false, "(-2,)"), &[0; 8]),
            "needs an extent",
        ),
        (
            file(1, &header("<f4", false, "(18446744073709551616,)"), &[0; 8]),
            "needs an extent",
        ),
        (
            file(
                1,
                &header("<f4", false, "(4294967296, 4294967296)"),
                &[0; 8],
            ),
            "shape [4294967296, 4294967296] has more bytes than this machine can address",
        ),
        (
            file(1, "{'descr': '<f4', 'shape': (2,), }", &[0; 8]),
            "ends without one of",
        ),
        (
            file(1, "{'descr': '<f4', 'descr': '<f4'}", &[0; 8]),
            "has a key twice",
        ),
        (
            file(1, "{'order': 1}", &[0; 8]),
            "at byte 11 has a key other than",
        ),
        (
            file(2, &" ".repeat(70_000), &[]),
            "the header has 70000 bytes, but at most 65535 are read",
        ),
    ] {
        let found = refusal(&bytes);
        assert!(found.contains(expected), "{found:?} lacks {expected:?}");
        assert!(!found.contains('\n'), "{found:?}");
    }
}

#[test]
fn every_truncation_is_told_as_such() {
    let bytes = write(&[2, 3], &[0.5; 6]);
    for found in 0..bytes.len() {
        assert!(
            matches!(read(&bytes[..found]), Err(NpyError::Truncated { found: said, .. }) if said == length(found)),
            "{found} bytes"
        );
    }
}

#[test]
fn what_is_written_begins_its_elements_at_a_multiple_of_64() {
    for shape in [&[][..], &[1], &[1, 1, 1, 1]] {
        let bytes = write(shape, &[1.0]);
        assert_eq!((bytes.len() - 8) % 64, 0);
        assert_eq!(read(&bytes).unwrap().shape, shape);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn written_arrays_come_back(rows in 0_usize..5, values in prop::collection::vec(any::<u64>(), 0..20)) {
        let columns = values.len() / rows.max(1);
        let values: Vec<f64> = values[..rows * columns].iter().map(|&bits| f64::from_bits(bits)).collect();
        let array = read(&write(&[rows, columns], &values)).unwrap();
        prop_assert_eq!(array.shape, [rows, columns]);
        let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&array.values), bits(&values));
    }

    #[test]
    fn random_bytes_are_refused_or_read(tail in prop::collection::vec(any::<u8>(), 0..200), version in 0_u8..5) {
        let _ = read(&tail);
        let mut bytes = MAGIC.to_vec();
        bytes.extend([version, 0]);
        bytes.extend(&tail);
        let _ = read(&bytes);
    }

    #[test]
    fn mutated_bytes_are_refused_or_read(
        fortran in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = file(1, &header("<f4", fortran, "(2, 3)"), &[1; 24]);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(array) = read(&bytes) {
            prop_assert_eq!(array.values.len(), array.shape.iter().product::<usize>());
        }
    }

    #[test]
    fn mutated_header_text_is_refused_or_read(text in "[{}()',:0-9 a-z_TF<>\\[\\]-]{0,60}") {
        let _ = read(&file(2, &text, &[0; 8]));
        let shaped = header("<f2", true, &format!("({text}"));
        let _ = read(&file(3, &shaped, &[0; 8]));
    }
}
