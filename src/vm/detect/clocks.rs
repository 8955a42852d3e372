//! Vector clocks over the warps of a CTA: what happens before what, by barriers and mbarriers.

use super::super::async_event::AsyncEvent;
use super::super::event::Completion;
use std::collections::BTreeMap;

/// `now[w][v]`: the last clock of warp `v` that is ordered before what warp `w` does now; its own is running.
#[derive(Clone, Debug)]
pub(super) struct Clocks {
    pub(super) now: Vec<Vec<u32>>,
    /// By mbarrier: what the arrivals of the running phase bring, and what those of complete phases brought.
    mbarriers: BTreeMap<u32, (Vec<u32>, Vec<u32>)>,
}

fn join(to: &mut [u32], from: &[u32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = (*to).max(*from);
    }
}

impl Clocks {
    pub(super) fn new(warps: usize) -> Self {
        let mut now = vec![vec![0; warps]; warps];
        for (warp, clock) in now.iter_mut().enumerate() {
            clock[warp] = 1;
        }
        Self {
            now,
            mbarriers: BTreeMap::new(),
        }
    }

    /// What warp `warp` does from here on is later than what others have been told of.
    pub(super) fn advance(&mut self, warp: usize) {
        self.now[warp][warp] += 1;
    }

    /// A barrier opens.
    pub(super) fn complete(&mut self, completion: &Completion<'_>) {
        let mut joined = vec![0; self.now.len()];
        for participant in completion.participants {
            join(&mut joined, &self.now[participant.warp]);
        }
        for participant in completion.participants {
            let own = self.now[participant.warp][participant.warp];
            if participant.waits {
                self.now[participant.warp].copy_from_slice(&joined);
            }
            self.now[participant.warp][participant.warp] = own.max(joined[participant.warp]) + 1;
        }
    }

    /// Arrivals at mbarriers and waits for their phases.
    pub(super) fn asynchronous(&mut self, event: &AsyncEvent<'_>) {
        let warps = self.now.len();
        let fresh = || (vec![0; warps], vec![0; warps]);
        match event {
            AsyncEvent::Signal { warp, mbarrier } => {
                let (running, _) = self.mbarriers.entry(*mbarrier).or_insert_with(fresh);
                join(running, &self.now[*warp]);
                self.advance(*warp);
            }
            AsyncEvent::Phase { mbarrier } => {
                let (running, complete) = self.mbarriers.entry(*mbarrier).or_insert_with(fresh);
                join(complete, running);
            }
            AsyncEvent::Observe { warp, mbarrier, .. } => {
                if let Some((_, complete)) = self.mbarriers.get(mbarrier) {
                    let own = self.now[*warp][*warp];
                    join(&mut self.now[*warp], complete);
                    self.now[*warp][*warp] = own;
                }
            }
            AsyncEvent::Mbarrier { address, .. } => {
                self.mbarriers.remove(address);
            }
            AsyncEvent::Issue(..)
            | AsyncEvent::Land { .. }
            | AsyncEvent::StoresRead { .. }
            | AsyncEvent::ProxyFence { .. }
            | AsyncEvent::WgmmaFence { .. }
            | AsyncEvent::Wgmma { .. }
            | AsyncEvent::WgmmaCommit { .. }
            | AsyncEvent::WgmmaWait { .. }
            | AsyncEvent::Unwaited(_) => {}
        }
    }
}
