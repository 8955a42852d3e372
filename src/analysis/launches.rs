//! The walk over CTAs of launches, from which the passes about global memory read their answers.

use super::PassResult;
use super::evaluate::{Context, Launch};
use super::walk::{Plan, walk};
use super::{global_bounds, sectors};
use crate::contract::Contract;

/// CTAs of a launch that are all walked.
const CTAS_MAX: u32 = 8;

/// The CTAs of a grid that are walked: all of a small one, the corners of a large one.
fn ctas(grid: [u32; 3]) -> Vec<[u32; 3]> {
    let all = grid
        .iter()
        .fold(1_u32, |all, extent| all.saturating_mul(*extent));
    let along = |extent: u32| -> Vec<u32> {
        if all <= CTAS_MAX {
            (0..extent).collect()
        } else {
            let mut ends = vec![0, extent.saturating_sub(1)];
            ends.dedup();
            ends
        }
    };
    let mut ctas = Vec::new();
    for z in along(grid[2]) {
        for y in along(grid[1]) {
            ctas.extend(along(grid[0]).into_iter().map(|x| [x, y, z]));
        }
    }
    ctas
}

/// The answers of [`global_bounds`] and [`sectors`] about one CTA after the other of each launch.
pub(super) fn run(context: &Context<'_>, launches: &[&Contract]) -> [PassResult; 2] {
    let mut bounds = global_bounds::Found::default();
    let mut sectors = sectors::Found::default();
    let mut states = 0;
    let plan = Plan::new(context.function, true);
    for contract in launches {
        for cta in ctas(contract.grid) {
            let context = context.of_cta(Launch { contract, cta });
            let walk = walk(&context, &plan);
            states += walk.states;
            bounds.check(&context, &walk);
            sectors.check(&context, &walk);
        }
    }
    [
        bounds.result(context, states),
        sectors.result(context, states),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_grids_are_walked_at_their_corners() {
        assert_eq!(ctas([3, 2, 1]).len(), 6);
        assert_eq!(ctas([9, 1, 1]), [[0, 0, 0], [8, 0, 0]]);
    }
}
