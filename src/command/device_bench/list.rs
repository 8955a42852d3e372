//! What is timed, the most telling first: a run that is short of time leaves out the end of the list.

use crate::report::device_timing::{Measurement, Pattern};

/// Tokens of a measurement, over all sequences: as many as FlashAttention-3's benchmark has.
const TOKENS: usize = 16_384;
/// Channels of all heads together, likewise.
const CHANNELS: usize = 2048;
/// The length of the sweeps over density and windows.
const LENGTH: usize = 16_384;

fn measurement(
    bf16: bool,
    head_dim: usize,
    seqlen: usize,
    causal: bool,
    pattern: Pattern,
) -> Measurement {
    Measurement {
        bf16,
        head_dim,
        batch: (TOKENS / seqlen).max(1),
        heads: CHANNELS / head_dim,
        seqlen,
        causal,
        pattern,
    }
}

fn blocks([block_q, block_kv]: [usize; 2], permille: u64) -> Pattern {
    Pattern::Blocks {
        block_q,
        block_kv,
        permille,
    }
}

/// Every measurement up to a length.
pub(super) fn measurements(seqlen_max: usize) -> Vec<Measurement> {
    let mut list = Vec::new();
    // The numbers that are asked for by name come first.
    for causal in [false, true] {
        list.push(measurement(true, 128, LENGTH, causal, Pattern::Dense));
    }
    let large = [128, 64];
    for permille in [500, 950, 250] {
        list.push(measurement(
            true,
            128,
            LENGTH,
            false,
            blocks(large, permille),
        ));
    }
    for permille in [250, 500, 1000] {
        for (bf16, head_dim) in [(true, 128), (true, 64), (false, 128)] {
            let kept = Pattern::Kept { permille };
            list.push(measurement(bf16, head_dim, LENGTH, false, kept));
        }
    }
    for bf16 in [true, false] {
        for head_dim in [128, 64] {
            for causal in [false, true] {
                for seqlen in [16_384, 8192, 4096, 2048, 1024, 32_768] {
                    list.push(measurement(bf16, head_dim, seqlen, causal, Pattern::Dense));
                }
            }
        }
    }
    for (bf16, head_dim, causal) in [
        (true, 128, false),
        (true, 128, true),
        (true, 64, false),
        (false, 128, false),
        (true, 64, true),
    ] {
        for permille in [50, 100, 250, 500, 750, 900, 950, 1000] {
            list.push(measurement(
                bf16,
                head_dim,
                LENGTH,
                causal,
                blocks(large, permille),
            ));
        }
    }
    for side in [16, 32, 64, 128] {
        for permille in [250, 500] {
            list.push(measurement(
                true,
                128,
                LENGTH,
                false,
                blocks([side, side], permille),
            ));
        }
    }
    for (bf16, head_dim) in [(true, 128), (true, 64), (false, 128), (false, 64)] {
        for left in [256, 512, 1024, 2048, 4096] {
            list.push(measurement(
                bf16,
                head_dim,
                LENGTH,
                true,
                Pattern::Window { left },
            ));
        }
    }
    for seqlen in [4096, 32_768] {
        for permille in [250, 500] {
            list.push(measurement(
                true,
                128,
                seqlen,
                false,
                blocks(large, permille),
            ));
        }
    }
    list.retain(|measurement| measurement.seqlen <= seqlen_max);
    let mut seen = std::collections::HashSet::new();
    list.retain(|measurement| seen.insert(*measurement));
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_covers_what_is_asked() {
        let list = measurements(usize::MAX);
        let has = |wanted: &dyn Fn(&Measurement) -> bool| list.iter().any(wanted);
        for bf16 in [true, false] {
            for head_dim in [64, 128] {
                for seqlen in [1024, 2048, 4096, 8192, 16_384, 32_768] {
                    for causal in [true, false] {
                        assert!(has(&|m| m.pattern == Pattern::Dense
                            && (m.bf16, m.head_dim, m.seqlen, m.causal)
                                == (bf16, head_dim, seqlen, causal)));
                    }
                }
                for left in [256, 4096] {
                    assert!(has(&|m| m.pattern == Pattern::Window { left }
                        && (m.bf16, m.head_dim) == (bf16, head_dim)));
                }
            }
        }
        for permille in [50, 1000] {
            assert!(has(
                &|m| matches!(m.pattern, Pattern::Blocks { permille: p, .. } if p == permille)
            ));
        }
        let mut distinct = list.clone();
        distinct.dedup();
        assert_eq!(distinct.len(), list.len());
        assert!(measurements(1024).iter().all(|m| m.seqlen == 1024));
        assert!(measurements(1024).len() >= 8);
    }
}
