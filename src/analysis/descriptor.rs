//! Matrix descriptors of `wgmma`: which bytes of shared memory an operand takes.
//!
//! PTX ISA 9.7.16.5: bits 0-13 are the start, 16-29 the leading and 32-45 the stride offset, all in units of 16 bytes; bits
//! 62-63 the swizzle. Rows of an operand lie eight by eight in patterns of 16 (no swizzle), 32, 64 or 128 bytes a row.

/// The first byte of an operand's rows and the byte after its last: `rows` rows (M or N) of 32 bytes of K. Whole patterns count,
/// since a swizzle permutes within them. `None` where the base offset is not 0.
pub(super) fn footprint(
    descriptor: u64,
    rows: u32,
    transposed: bool,
    element_bytes: u32,
) -> Option<(u64, u64)> {
    let field = |at: u32| (descriptor >> at & 0x3fff) << 4;
    if descriptor >> 49 & 7 != 0 {
        return None;
    }
    let (start, leading, stride) = (field(0), field(16), field(32));
    let span: u64 = match descriptor >> 62 {
        0 => 16,
        1 => 128,
        2 => 64,
        _ => 32,
    };
    let (rows, element_bytes) = (u64::from(rows), u64::from(element_bytes.max(1)));
    let pattern = 8 * span;
    let swizzled = span > 16;
    let first = if swizzled {
        start & !(pattern - 1)
    } else {
        start
    };
    let last = |count: u64, offset: u64| count.saturating_sub(1) * offset;
    let reach = if transposed {
        // Along K 32 / element_bytes elements, eight to a pattern; along the rows as many as a span holds.
        let over_k = (32 / element_bytes).div_ceil(8);
        let over_rows = (rows * element_bytes).div_ceil(span);
        if swizzled {
            last(over_k, stride) + last(over_rows, leading)
        } else {
            last(over_k, leading) + last(over_rows, stride)
        }
    } else {
        let across = if swizzled { 0 } else { leading };
        last(rows.div_ceil(8), stride) + across
    };
    Some((first, first + reach + pattern))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 128-byte swizzle, eight rows after 1,024 bytes.
    fn swizzled(start: u64, leading: u64) -> u64 {
        start >> 4 | (leading >> 4) << 16 | (1024 >> 4) << 32 | 1 << 62
    }

    #[test]
    fn a_tile_of_64_rows_is_its_box() {
        // Any 32 bytes of K lie in the same patterns.
        for step in 0..4 {
            let found = footprint(swizzled(2048 + 32 * step, 16), 64, false, 2);
            assert_eq!(found, Some((2048, 2048 + 8192)));
        }
    }

    #[test]
    fn sixteen_keys_of_128_columns_are_two_patterns_of_two_boxes() {
        let found = footprint(swizzled(4096, 8192), 128, true, 2);
        assert_eq!(found, Some((4096, 4096 + 8192 + 2048)));
    }

    #[test]
    fn without_a_swizzle_core_matrices_count() {
        let plain = 256 >> 4 | (128 >> 4) << 16 | (256 >> 4) << 32;
        assert_eq!(
            footprint(plain, 64, false, 2),
            Some((256, 256 + 7 * 256 + 128 + 128))
        );
        assert_eq!(footprint(plain | 1 << 49, 64, false, 2), None);
    }
}
