//! Seeded bits: the same on every platform, thread count and version.
//!
//! `bits(seed, index)` is output number `index` of `SplitMix64` started at `seed` (G. Steele, D. Lea, C. Flood, "Fast
//! splittable pseudorandom number generators", OOPSLA 2014), computed without the outputs before it.

/// Increment of the generator's state: 2^64 divided by the golden ratio, made odd.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// Output number `index` (from 0) of the generator with this seed.
///
/// ```
/// // The first output for seed 0, as published with the algorithm.
/// assert_eq!(flashproof_reference::random::bits(0, 0), 0xe220_a839_7b1d_cdaf);
/// ```
pub fn bits(seed: u64, index: u64) -> u64 {
    let state = seed.wrapping_add(GAMMA.wrapping_mul(index.wrapping_add(1)));
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// A sequence of draws from one seed.
///
/// ```
/// use flashproof_reference::random::{bits, Draws};
/// let mut draws = Draws::from_seed(7);
/// assert_eq!(draws.bits(), bits(7, 0));
/// assert_eq!(draws.below(1), 0);
/// ```
#[derive(Clone, Debug)]
pub struct Draws {
    seed: u64,
    index: u64,
}

impl Draws {
    /// The sequence that starts at output 0 of `seed`.
    ///
    /// ```
    /// # use flashproof_reference::random::Draws;
    /// assert_eq!(Draws::from_seed(1).bits(), Draws::from_seed(1).bits());
    /// ```
    pub fn from_seed(seed: u64) -> Self {
        Self { seed, index: 0 }
    }

    /// The next 64 bits.
    ///
    /// ```
    /// # use flashproof_reference::random::{bits, Draws};
    /// assert_eq!(Draws::from_seed(1).bits(), bits(1, 0));
    /// ```
    pub fn bits(&mut self) -> u64 {
        let bits = bits(self.seed, self.index);
        self.index = self.index.wrapping_add(1);
        bits
    }

    /// A whole number below `limit` (0 when `limit` is 0): the high word of `bits * limit`. Its chance differs from
    /// `1 / limit` by less than 2^-64, which no test of ours can see.
    ///
    /// ```
    /// # use flashproof_reference::random::Draws;
    /// assert!(Draws::from_seed(1).below(2) < 2);
    /// ```
    pub fn below(&mut self, limit: usize) -> usize {
        let limit =
            u64::try_from(limit).expect("usize has at most 64 bits on every target of rustc");
        let high = (u128::from(self.bits()) * u128::from(limit)) >> 64;
        usize::try_from(high).expect("below limit, which came from a usize")
    }

    /// `count` different entries of `items`, in ascending order of position; all of them when there are fewer.
    ///
    /// ```
    /// # use flashproof_reference::random::Draws;
    /// assert_eq!(Draws::from_seed(1).choose(&[3, 5], 2), [3, 5]);
    /// ```
    pub fn choose(&mut self, items: &[usize], count: usize) -> Vec<usize> {
        // Selection sampling (Knuth, The Art of Computer Programming 2, 3.4.2, algorithm S): every subset is equally likely.
        let mut chosen = Vec::with_capacity(count.min(items.len()));
        for (seen, &item) in items.iter().enumerate() {
            let wanted = count.saturating_sub(chosen.len());
            if self.below(items.len() - seen) < wanted {
                chosen.push(item);
            }
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_the_published_ones() {
        // First outputs for seed 1234567, as in Vigna's splitmix64.c.
        let first: Vec<u64> = (0..5).map(|i| bits(1_234_567, i)).collect();
        let published = [
            6457827717110365317,
            3203168211198807973,
            9817491932198370423,
            4593380528125082431,
            16408922859458223821,
        ];
        assert_eq!(first, published);
    }

    #[test]
    fn choose_takes_the_count_asked_for() {
        let items: Vec<usize> = (0..20).collect();
        let mut draws = Draws::from_seed(3);
        for count in 0..=20 {
            let chosen = draws.choose(&items, count);
            assert_eq!(chosen.len(), count);
            assert!(chosen.windows(2).all(|pair| pair[0] < pair[1]));
        }
        assert_eq!(draws.choose(&items, 30).len(), 20);
    }

    #[test]
    fn choose_is_even() {
        let items: Vec<usize> = (0..8).collect();
        let mut draws = Draws::from_seed(11);
        let mut hits = [0_u32; 8];
        for _ in 0..8000 {
            for item in draws.choose(&items, 3) {
                hits[item] += 1;
            }
        }
        // Mean 3000, standard deviation 43: six of them.
        assert!(hits.iter().all(|&n| (2740..=3260).contains(&n)), "{hits:?}");
    }
}
