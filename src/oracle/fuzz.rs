//! The oracle of the fuzz target `layout`: any bytes, a layout, and what must hold of it.

use crate::backend::Backend;
use crate::case::Case;
use crate::kernel;
use flashproof_reference::{Layout, Problem};
use std::fmt;

/// Kinds of layout that some bytes reached; a fuzzing run that missed one of them has shown little.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Blocks of which no pair is visible.
    pub empty_blocks: u64,
    /// Blocks of which some pairs are visible.
    pub partial_blocks: u64,
    /// Blocks of which every pair is visible.
    pub full_blocks: u64,
    /// Queries that see no key.
    pub empty_rows: u64,
    /// Layouts whose last block of queries or keys is not whole.
    pub ragged_tails: u64,
}

/// Makes a case of the bytes, small and in f32, and checks the layout against its own definition and the native backend
/// against the reference.
///
/// * [`Layout::visible_keys`], [`Layout::block_counts`] and [`Layout::empty_rows`] say what [`Layout::is_visible`] says.
/// * The layout survives the way through JSON.
/// * The native backend agrees with the reference.
///
/// # Panics
/// When one of them does not hold, with the command that shows it: this is what a fuzzer looks for.
pub fn fuzz_layout(bytes: &[u8]) -> Reached {
    let kernel = &kernel::all()[0];
    let mut case = Case::from_bytes(kernel.name(), bytes);
    // Layouts are what is looked at: keep everything else small, so that there are many.
    case.shape.batch = 1;
    case.shape.head_dim = 32;
    let problem = case.problem().expect("bytes are always a legal case");
    let reached = check_layout(&case, &problem);
    let report = super::check_kernel(kernel, &case, &Backend::Native)
        .expect("the kernel exists and the case is legal");
    assert!(report.verdict.name() != "disagree", "{report}");
    reached
}

fn check_layout(case: &Case, problem: &Problem) -> Reached {
    let (layout, shape) = (&problem.layout, problem.shape);
    let mut reached = Reached::default();
    for head in 0..shape.num_q_heads {
        let mut visible = 0;
        for q in 0..shape.seqlen_q {
            let mut keys = vec![false; shape.seqlen_kv];
            for range in layout.visible_keys(head, q) {
                keys[range].fill(true);
            }
            for (k, &listed) in keys.iter().enumerate() {
                assert_eq!(
                    listed,
                    layout.is_visible(head, q, k),
                    "query {q} of head {head}, key {k}: {case}"
                );
            }
            let count = keys.iter().filter(|&&listed| listed).count();
            visible += count;
            reached.empty_rows += u64::from(count == 0);
        }
        assert_eq!(
            visible,
            layout.visible_pairs(head),
            "visible pairs of head {head}: {case}"
        );
        let counts = layout.block_counts(head);
        let count = |count: usize| u64::try_from(count).expect("usize has at most 64 bits");
        reached.empty_blocks += count(counts.empty);
        reached.partial_blocks += count(counts.partial);
        reached.full_blocks += count(counts.full);
        let blocks = layout.extents().block_rows() * layout.extents().block_columns();
        assert_eq!(
            counts.empty + counts.partial + counts.full,
            blocks,
            "blocks of head {head}: {case}"
        );
    }
    let ragged = shape.seqlen_q % layout.block_q() != 0 || shape.seqlen_kv % layout.block_kv() != 0;
    reached.ragged_tails += u64::from(ragged);
    let json = layout.to_json();
    assert_eq!(
        Layout::from_json(&json).as_ref(),
        Ok(layout),
        "{case}: {json}"
    );
    reached
}

impl std::ops::AddAssign for Reached {
    fn add_assign(&mut self, other: Self) {
        self.empty_blocks += other.empty_blocks;
        self.partial_blocks += other.partial_blocks;
        self.full_blocks += other.full_blocks;
        self.empty_rows += other.empty_rows;
        self.ragged_tails += other.ragged_tails;
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            empty_blocks,
            partial_blocks,
            full_blocks,
            empty_rows,
            ragged_tails,
        } = self;
        write!(
            f,
            "reached: empty_blocks={empty_blocks} partial_blocks={partial_blocks} full_blocks={full_blocks} \
             empty_rows={empty_rows} ragged_tails={ragged_tails}"
        )
    }
}

impl Reached {
    /// Whether every kind was reached.
    pub fn all(&self) -> bool {
        let Self {
            empty_blocks,
            partial_blocks,
            full_blocks,
            empty_rows,
            ragged_tails,
        } = *self;
        [
            empty_blocks,
            partial_blocks,
            full_blocks,
            empty_rows,
            ragged_tails,
        ]
        .iter()
        .all(|&count| count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flashproof_reference::random;

    #[test]
    fn random_bytes_reach_everything() {
        let mut reached = Reached::default();
        assert!(!reached.all());
        for seed in 0..60 {
            let bytes: Vec<u8> = (0..4)
                .flat_map(|word| random::bits(seed, word).to_le_bytes())
                .collect();
            reached += fuzz_layout(&bytes);
        }
        assert!(reached.all(), "{reached}");
    }

    #[test]
    fn few_bytes_are_fine() {
        fuzz_layout(&[]);
        fuzz_layout(&[0xff; 7]);
        fuzz_layout(&[0xff; 200]);
    }
}
