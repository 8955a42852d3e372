//! Where shared variables lie.

use crate::ptx::{Space, Variable};

/// Addresses of shared variables: one after the other, dynamic shared memory last. Any other layout that keeps the
/// alignments would do.
pub(super) fn lay_out(module: &[Variable], function: &[Variable]) -> [Vec<Option<u64>>; 2] {
    let mut end = 0_u64;
    let mut place = |variable: &Variable| {
        (variable.space == Space::Shared && variable.bytes() > 0).then(|| {
            let start = end.next_multiple_of(u64::from(variable.alignment()));
            end = start + variable.bytes();
            start
        })
    };
    let mut lists = [module, function].map(|list| list.iter().map(&mut place).collect::<Vec<_>>());
    for (list, variables) in lists.iter_mut().zip([module, function]) {
        for (address, variable) in list.iter_mut().zip(variables) {
            if variable.space == Space::Shared && variable.bytes() == 0 {
                // All unsized arrays start at the same place; 128 bytes is what any access may need.
                *address = Some(end.next_multiple_of(u64::from(variable.alignment().max(128))));
            }
        }
    }
    lists
}
