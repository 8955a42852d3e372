//! Inputs of a timing: functions of their place alone, so that another program makes the same ones.

use crate::convert::{f64_to_bf16, f64_to_f16, index, low_u16, low_u32};
use crate::report::device_timing::{Measurement, Pattern};
use flashproof_reference::random::bits;
use flashproof_reference::{BlockPattern, DType, Layout, Shape, Tensor, Window};

/// First words of every stream.
const SEED: u64 = 0x666c_6173_6870_7266;

/// A tensor of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Q,
    K,
    V,
}

/// Element number `place` of a tensor: the sum of four uniform numbers of 16 bits, less its mean, times 2^-15; standard
/// deviation 1.15, exact before it is rounded to its format.
pub(super) fn value(role: Role, place: u64) -> f64 {
    let stream = match role {
        Role::Q => 1,
        Role::K => 2,
        Role::V => 3,
    };
    let draw = bits(SEED + stream, place);
    let (low, high) = (low_u32(draw), low_u32(draw >> 32));
    let sum: i32 = [low, low >> 16, high, high >> 16]
        .into_iter()
        .map(|word| i32::from(low_u16(word)))
        .sum();
    f64::from(sum - 2 * 65535) / 32768.0
}

/// Elements `first..first + count` of a tensor.
pub(super) fn values(role: Role, dtype: DType, first: usize, count: usize) -> Tensor {
    let place = |i: usize| u64::try_from(first + i).expect("64 bits");
    let numbers = (0..count).map(|i| value(role, place(i)));
    match dtype {
        DType::F16 => Tensor::F16(numbers.map(f64_to_f16).collect()),
        DType::Bf16 => Tensor::Bf16(numbers.map(f64_to_bf16).collect()),
        DType::F64 => Tensor::F64(numbers.collect()),
        DType::F32 => Tensor::from_f32_rounded(
            DType::F32,
            &numbers.map(crate::convert::f64_to_f32).collect::<Vec<_>>(),
        ),
    }
}

/// Whether a block is there: the same draw for every density, so that a denser pattern holds a sparser one; and the block
/// of each row that holds its first query's own key always is.
pub(super) fn is_present(row: usize, column: usize, own: usize, permille: u64) -> bool {
    let place =
        u64::try_from(row).expect("64 bits") << 32 | u64::try_from(column).expect("64 bits");
    let draw = (u64::from(low_u32(bits(SEED, place) >> 32)) * 1000) >> 32;
    column == own || draw < permille
}

pub(super) fn shape(of: &Measurement) -> Shape {
    Shape {
        batch: of.batch,
        num_q_heads: of.heads,
        num_kv_heads: of.heads,
        seqlen_q: of.seqlen,
        seqlen_kv: of.seqlen,
        head_dim: of.head_dim,
    }
}

pub(super) fn dtype(of: &Measurement) -> DType {
    if of.bf16 { DType::Bf16 } else { DType::F16 }
}

/// What is visible; of a kernel that chooses its tiles, what it chooses from.
pub(super) fn layout(of: &Measurement) -> Layout {
    let base = if of.causal {
        Layout::dense_causal(of.seqlen, of.seqlen)
    } else {
        Layout::dense(of.seqlen, of.seqlen)
    };
    match of.pattern {
        Pattern::Dense | Pattern::Kept { .. } => base,
        Pattern::Window { left } => base.with_window(Window {
            left: Some(left),
            right: None,
        }),
        Pattern::Blocks {
            block_q,
            block_kv,
            permille,
        } => {
            let (rows, columns) = (of.seqlen.div_ceil(block_q), of.seqlen.div_ceil(block_kv));
            let pattern = BlockPattern::from_fn(rows, columns, |row, column| {
                is_present(row, column, row * block_q / block_kv, permille)
            });
            base.with_blocks(block_q, block_kv)
                .and_then(|layout| layout.with_heads(vec![pattern]))
                .expect("blocks of the list, and one pattern made for them")
        }
    }
}

/// Sum of the bits of the first elements: two programs that agree on it have the same inputs.
pub(super) fn fingerprint(role: Role, dtype: DType, count: usize) -> u64 {
    let word = |bits: u16| u64::from(bits);
    match values(role, dtype, 0, count) {
        Tensor::F16(x) => x.iter().map(|x| word(x.to_bits())).sum(),
        Tensor::Bf16(x) => x.iter().map(|x| word(x.to_bits())).sum(),
        Tensor::F32(x) => x.iter().map(|x| u64::from(x.to_bits())).sum(),
        // No measurement is of this format.
        Tensor::F64(x) => x.iter().fold(0, |sum, x| x.to_bits().wrapping_add(sum)),
    }
}

/// Queries to look at, of one head: the first, the last, and some between.
pub(super) fn sampled_rows(seqlen: usize, count: usize) -> Vec<usize> {
    let mut rows = vec![0, seqlen - 1];
    for i in 0..count.saturating_sub(2) {
        let draw = low_u32(bits(SEED, u64::try_from(i).expect("64 bits") + (1 << 60)));
        rows.push(index(draw) % seqlen);
    }
    rows.sort_unstable();
    rows.dedup();
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_not_degenerate_and_pinned() {
        let x = values(Role::Q, DType::Bf16, 0, 4096).to_f64();
        let mean = x.iter().sum::<f64>() / 4096.0;
        let square = x.iter().map(|x| x * x).sum::<f64>() / 4096.0;
        assert!(
            mean.abs() < 0.1 && (square - 4.0 / 3.0).abs() < 0.15,
            "{mean} {square}"
        );
        assert_eq!(
            values(Role::K, DType::F16, 5, 3).to_f64(),
            values(Role::K, DType::F16, 0, 8).to_f64()[5..]
        );
        // cuda/bench/peers.py computes the same sums.
        assert_eq!(
            [Role::Q, Role::K, Role::V].map(|role| fingerprint(role, DType::Bf16, 1000)),
            PINNED
        );
    }

    const PINNED: [u64; 3] = [32_604_977, 31_500_085, 31_666_499];

    #[test]
    fn a_denser_pattern_holds_a_sparser_one() {
        let count = |permille| {
            (0..100 * 100)
                .filter(|i| is_present(i / 100, i % 100, i / 100, permille))
                .count()
        };
        assert!((4600..5600).contains(&count(500)), "{}", count(500));
        assert_eq!(count(1000), 10_000);
        assert!((0..10_000).all(|i| {
            let at = |permille| is_present(i / 100, i % 100, 0, permille);
            !at(100) || at(250)
        }));
    }
}
