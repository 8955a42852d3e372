//! Any bytes are a legal case, and all zeros (or none) are the smallest one.
//!
//! Fields are read at fixed offsets, so a change of one byte changes one thing; smaller bytes mean smaller extents, so
//! whoever shrinks the bytes shrinks the case. Bytes past the end read as zero, bytes not needed are ignored.

use super::layout::{Blocks, LayoutSpec};
use super::{Case, Contract, Values};
use crate::vm::{Approx, AsyncOrder, Target};
use flashproof_reference::{DType, Shape, Window};

/// Longest sequence that bits can ask for: keeps a run in the virtual machine well under a second.
const SEQLEN_MAX: usize = 320;
/// Most (batch, query head) pairs that bits can ask for.
const HEADS_MAX: usize = 4;

struct Bits<'a> {
    bytes: &'a [u8],
}

impl Bits<'_> {
    fn byte(&self, offset: usize) -> usize {
        self.bytes.get(offset).map_or(0, |&byte| usize::from(byte))
    }

    /// A number of 0 ..= `count - 1`, growing with the byte.
    fn below(&self, offset: usize, count: usize) -> usize {
        (self.byte(offset) * count) >> 8
    }

    fn word(&self, offset: usize) -> u64 {
        (0..4).fold(0, |word, i| {
            word << 8 | u64::from(self.bytes.get(offset + i).copied().unwrap_or(0))
        })
    }

    /// A length: small, near a multiple of 16 or 64, or anything up to the largest.
    fn seqlen(&self, offset: usize) -> usize {
        let kind = self.byte(offset);
        let low = offset + 1;
        let length = match kind {
            0..64 => 1 + self.below(low, 16),
            64..128 => 16 * (1 + self.below(low, SEQLEN_MAX / 16)) + kind % 3 - 1,
            128..192 => 64 * (1 + self.below(low, SEQLEN_MAX / 64)) + kind % 3 - 1,
            _ => 1 + (self.byte(low) * 256 + kind) * SEQLEN_MAX / 65536,
        };
        length.min(SEQLEN_MAX)
    }

    /// A side of a sparsity block: mostly a multiple of 16, as tensor cores ask.
    fn side(&self, offset: usize) -> usize {
        match self.byte(offset) {
            byte @ 0..232 => [16, 32, 64, 128][byte / 58],
            byte => 1 + byte % 24,
        }
    }

    /// A reach of a window: unbounded, short, or anything up to the longest sequence.
    fn reach(&self, offset: usize) -> Option<usize> {
        match self.byte(offset) {
            0..48 => None,
            byte @ 48..128 => Some((byte - 48) / 4),
            byte => Some((byte - 128) * 5 / 2),
        }
    }
}

impl Case {
    /// Bytes that [`Case::from_bytes`] reads.
    pub const BYTES: usize = 32;

    /// The case that these bytes stand for. Every byte string stands for one that is legal.
    ///
    /// Sequences are at most 320 tokens, with at most 4 pairs of batch entry and query head: small enough for the
    /// virtual machine. Text reaches further.
    ///
    /// ```
    /// # use flashproof::case::Case;
    /// assert_eq!(Case::from_bytes("k", &[]), Case::smallest("k"));
    /// ```
    pub fn from_bytes(kernel: &str, bytes: &[u8]) -> Self {
        let bits = Bits { bytes };
        let num_q_heads = [1_usize, 2, 4, 3][bits.below(4, 4)];
        let divisors: Vec<usize> = (1..=num_q_heads)
            .filter(|&count| num_q_heads.is_multiple_of(count))
            .collect();
        let shape = Shape {
            batch: 1 + bits.below(6, 2).min(HEADS_MAX / num_q_heads - 1),
            num_q_heads,
            num_kv_heads: divisors[bits.below(5, divisors.len())],
            seqlen_q: bits.seqlen(0),
            seqlen_kv: bits.seqlen(2),
            head_dim: match bits.byte(7) {
                0..128 => 32,
                128..224 => 64,
                _ => 128,
            },
        };
        Self {
            kernel: kernel.to_owned(),
            dtype: match bits.byte(8) {
                0..192 => DType::F16,
                192..240 => DType::Bf16,
                _ => DType::F32,
            },
            layout: bits.layout(&shape),
            values: bits.values(),
            seed: bits.word(10),
            schedule: u64::try_from(bits.byte(14)).expect("a byte"),
            target: if bits.byte(15) < 128 {
                Target::Sm80
            } else {
                Target::Sm90
            },
            contract: Contract::None,
            async_order: AsyncOrder::Late,
            approx: Approx::Nearest,
            shape,
        }
    }
}

impl Bits<'_> {
    /// One of the first nine families, or, for a quarter of the low halves of a byte, of those that came later: what
    /// stored bytes meant before, most of them mean still.
    fn values(&self) -> Values {
        let (first, later) = Values::ALL.split_at(9);
        let families = if self.byte(7) % 128 < 96 {
            first
        } else {
            later
        };
        families[self.below(9, families.len())].1
    }

    fn layout(&self, shape: &Shape) -> LayoutSpec {
        let (block_q, block_kv) = (self.side(17), self.side(18));
        let blocks = match self.byte(16) {
            0..96 => Blocks::All,
            kind @ 96..216 => Blocks::Random {
                per_mille: (self.byte(19) * 1001) >> 8,
                block_q,
                block_kv,
                seed: self.word(20) >> 16,
                per_head: kind % 2 == 1,
            },
            216..236 => Blocks::Strided {
                block_q,
                block_kv,
                local: self.below(20, 4),
                stride: 1 + self.below(21, 6),
            },
            _ => Blocks::BigBird {
                block_q,
                block_kv,
                local: self.below(20, 3),
                random: self.below(21, 3),
                global: self.below(22, 2),
                seed: self.word(23) >> 24,
            },
        };
        let window = match self.byte(25) {
            0..128 => Window::default(),
            _ => Window {
                left: self.reach(26),
                right: self.reach(27),
            },
        };
        let tokens = shape.seqlen_q.max(shape.seqlen_kv);
        let mut global: Vec<usize> = (0..self.byte(29).saturating_sub(240) / 4)
            .map(|i| self.below(30 + i % 2, tokens) / (1 + i))
            .collect();
        global.sort_unstable();
        global.dedup();
        LayoutSpec {
            blocks,
            causal: self.byte(24) >= 128,
            window,
            sinks: (self.byte(28).saturating_sub(160) / 6).min(shape.seqlen_kv),
            global,
        }
    }
}
