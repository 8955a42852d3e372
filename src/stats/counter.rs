//! Random numbers as a function of (seed, counter): no state, so any resample can be made alone, in any order.

/// `SplitMix64` (Steele, Lea, Flood 2014) read as a counter: its `counter`-th output, from 0, for start state `seed`.
pub(super) fn draw(seed: u64, counter: u64) -> u64 {
    let mut z = seed.wrapping_add(counter.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `bits` scaled to `0..below`: the high word of `bits * below`. The bias is under `below / 2^64`.
pub(super) fn index_below(bits: u64, below: usize) -> usize {
    let wide = u128::from(bits) * u128::try_from(below).expect("128 bits hold a usize");
    usize::try_from(wide >> 64).expect("below a usize")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_splitmix64() {
        // First outputs for state 1234567, from the generator's reference implementation.
        assert_eq!(draw(1_234_567, 0), 6_457_827_717_110_365_317);
        assert_eq!(draw(1_234_567, 1), 3_203_168_211_198_807_973);
    }

    #[test]
    fn indices_cover_their_range() {
        assert_eq!(index_below(u64::MAX, 5), 4);
        assert_eq!(index_below(0, 5), 0);
        assert_eq!(index_below(1 << 63, 5), 2);
    }
}
