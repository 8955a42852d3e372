//! Order between CTAs: what fences and strong operations on global memory put after what.
//!
//! **Definition.** A release is a strong write or atomic with `.release` or `.acq_rel`, or any after a fence of the CTA; an
//! acquire is a strong read or atomic with `.acquire` or `.acq_rel`, or any before a fence of the CTA. What a CTA did before
//! a release happens before what another does after an acquire that reads the location later, and so on through chains.
//! Scopes are those of the device and above; a fence or operation at `.cta` or `.cluster` orders no CTAs.
//!
//! **Source.** PTX ISA 8.8 to 8.10 (fence patterns, synchronizes-with, causality order).
//!
//! **Can miss.** The CTA counts as one thread: that the thread which fences was ordered after the threads whose writes it
//! publishes, by a barrier, is not checked here. CTAs of such modules run one after another, so an acquire always reads the
//! latest release.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "whatever neither fences nor touches memory orders nothing"
)]

use crate::ptx::{AtomicOrdering, Instruction, MembarLevel, Op, Ordering, Scope, Space};
use std::collections::BTreeMap;

/// What a CTA did that can order it with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sync {
    /// A fence at the scope of the device or the system.
    Fence,
    /// An operation of one lane that other CTAs may observe.
    Strong {
        address: u64,
        acquires: bool,
        releases: bool,
    },
}

fn is_wide(scope: Scope) -> bool {
    matches!(scope, Scope::Gpu | Scope::Sys)
}

/// Whether an instruction fences across CTAs.
pub(super) fn is_fence(op: &Op) -> bool {
    match op {
        Op::Membar { level } => *level != MembarLevel::Cta,
        Op::Fence { scope, .. } => is_wide(*scope),
        _ => false,
    }
}

/// `[acquires, releases]` of a strong operation that other CTAs may observe; `None` for ordinary ones.
pub(super) fn strength(instruction: &Instruction) -> Option<[bool; 2]> {
    let plain = |ordering: Ordering| match ordering {
        Ordering::Weak => None,
        Ordering::Volatile => Some([false; 2]),
        Ordering::Relaxed(scope) => is_wide(scope).then_some([false; 2]),
        Ordering::Acquire(scope) => is_wide(scope).then_some([true, false]),
        Ordering::Release(scope) => is_wide(scope).then_some([false, true]),
    };
    match &instruction.op {
        Op::Atomic {
            ordering, scope, ..
        } if is_wide(*scope) => Some(match ordering {
            AtomicOrdering::Relaxed => [false, false],
            AtomicOrdering::Acquire => [true, false],
            AtomicOrdering::Release => [false, true],
            AtomicOrdering::AcquireRelease => [true, true],
        }),
        Op::Ld { ordering, .. } | Op::St { ordering, .. } => plain(*ordering),
        _ => None,
    }
}

/// Whether CTAs may talk to each other through an instruction: they then run one after another.
pub(crate) fn talks(instruction: &Instruction) -> bool {
    let of_grid = |space: Space| matches!(space, Space::Global | Space::Generic);
    match &instruction.op {
        Op::Atomic { space, .. } => of_grid(*space),
        Op::Ld { space, .. } | Op::St { space, .. } => {
            of_grid(*space) && strength(instruction).is_some()
        }
        _ => false,
    }
}

/// For each other CTA, how many of its synchronizing operations are known to have happened.
type Known = BTreeMap<usize, usize>;

/// What each CTA knows of the others, as it goes on.
#[derive(Debug)]
pub(super) struct Order {
    /// By CTA: from this many operations of its own on, it knows that.
    known: Vec<Vec<(usize, Known)>>,
}

impl Order {
    /// `logs` of the CTAs, in the order in which they ran.
    pub(super) fn new<'a>(logs: impl Iterator<Item = &'a [Sync]>) -> Self {
        let mut published: BTreeMap<u64, Known> = BTreeMap::new();
        let known = logs
            .enumerate()
            .map(|(cta, log)| {
                let mut steps = Vec::new();
                let (mut now, mut pending) = (Known::new(), Known::new());
                // Operations before the last fence, which any strong write publishes.
                let mut fenced = 0;
                for (position, sync) in log.iter().enumerate() {
                    let done = position + 1;
                    match sync {
                        Sync::Fence => {
                            fenced = done;
                            if join(&mut now, &pending) {
                                steps.push((done, now.clone()));
                            }
                        }
                        Sync::Strong {
                            address,
                            acquires,
                            releases,
                        } => {
                            if let Some(others) = published.get(address) {
                                join(&mut pending, others);
                                if *acquires && join(&mut now, others) {
                                    steps.push((done, now.clone()));
                                }
                            }
                            let upto = if *releases { done } else { fenced };
                            if upto > 0 {
                                let all = published.entry(*address).or_default();
                                join(all, &now);
                                join(all, &Known::from([(cta, upto)]));
                            }
                        }
                    }
                }
                steps
            })
            .collect();
        Self { known }
    }

    /// Whether what a CTA did after `before.1` of its operations happens before what another did after `after.1`.
    pub(super) fn holds(&self, before: (usize, usize), after: (usize, usize)) -> bool {
        let steps = &self.known[after.0];
        let at = steps.partition_point(|(from, _)| *from <= after.1);
        at.checked_sub(1)
            .and_then(|last| steps[last].1.get(&before.0))
            .is_some_and(|known| *known > before.1)
    }
}

fn join(to: &mut Known, from: &Known) -> bool {
    let mut grew = false;
    for (&cta, &count) in from {
        let known = to.entry(cta).or_insert(0);
        grew |= *known < count;
        *known = (*known).max(count);
    }
    grew
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strong(address: u64) -> Sync {
        Sync::Strong {
            address,
            acquires: false,
            releases: false,
        }
    }

    #[test]
    fn fences_around_a_counter_order_and_relaxed_ones_do_not() {
        let fenced = [Sync::Fence, strong(8), Sync::Fence];
        let order = Order::new([&fenced[..], &fenced].into_iter());
        // Before the first fence of cta 0, after the last of cta 1.
        assert!(order.holds((0, 0), (1, 3)));
        assert!(!order.holds((0, 0), (1, 2)), "no fence after the counter");
        assert!(
            !order.holds((0, 1), (1, 3)),
            "after the fence, before the counter"
        );
        assert!(!order.holds((1, 0), (0, 3)), "the other way round");
        let bare = [strong(8)];
        let order = Order::new([&bare[..], &fenced].into_iter());
        assert!(!order.holds((0, 0), (1, 3)), "nothing was published");
        let elsewhere = [Sync::Fence, strong(16), Sync::Fence];
        let order = Order::new([&fenced[..], &elsewhere].into_iter());
        assert!(!order.holds((0, 0), (1, 3)), "another location");
    }

    #[test]
    fn releases_and_acquires_chain() {
        let operation = |address, acquires, releases| Sync::Strong {
            address,
            acquires,
            releases,
        };
        let first = [operation(8, false, true)];
        let second = [operation(8, true, false), operation(16, false, true)];
        let third = [operation(16, true, false)];
        let order = Order::new([&first[..], &second, &third].into_iter());
        assert!(order.holds((0, 0), (1, 1)) && order.holds((0, 0), (2, 1)));
        assert!(!order.holds((0, 0), (2, 0)));
    }
}
