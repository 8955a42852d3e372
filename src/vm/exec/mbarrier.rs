//! `mbarrier`: arrivals and transactions of a phase, phases, waits (PTX ISA 9.7.13.15).
//!
//! The object is kept beside shared memory, by address: its 64 bits are opaque to a program. A phase completes when no
//! arrival is pending and the bytes expected and the bytes arrived agree.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "dispatch matches every instruction; only those of this class come here"
)]

use super::super::async_event::AsyncEvent;
use super::super::event::AccessKind;
use super::cta::Machine;
use super::dispatch::Site;
use super::memory::Place;
use super::program::thread_of;
use super::warp::{Path, Warp};
use super::{Halt, Lanes, Next, lanes_of};
use crate::convert::{index, low_u32};
use crate::ptx::{ArriveKind, MbarrierArrive, MbarrierWait, Op, Sm90, Space};

/// Largest count of arrivals, and largest magnitude of the count of transactions.
const COUNT_MAX: i64 = (1 << 20) - 1;

/// What PTX does not allow and this machine stops at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misuse {
    /// No mbarrier lives there.
    NotInitialised,
    /// One lives there already.
    InitialisedTwice,
    /// A count outside 1 to 2^20 - 1.
    Count,
    /// More arrivals than the phase waits for.
    OverArrival,
    /// Transactions beyond 2^20 - 1 bytes.
    Transactions,
    /// 128 bytes that are no tensor map, or one the copy cannot use.
    TensorMap,
    /// `setmaxnreg` beyond the registers there are.
    RegisterPool,
}

/// One mbarrier.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mbarrier {
    /// Arrivals each phase waits for.
    pub(super) expected: i64,
    /// Arrivals this one still waits for.
    pub(super) pending: i64,
    /// Bytes expected less bytes arrived.
    pub(super) transactions: i64,
    /// Phases complete.
    pub(super) complete: u64,
}

/// `state` of `mbarrier.arrive`: the phase, and the arrivals that were pending before.
fn state_of(mbarrier: &Mbarrier) -> u64 {
    mbarrier.complete << 20 | mbarrier.pending.cast_unsigned() & 0xf_ffff
}

impl Machine<'_> {
    fn misuse(warp: &Warp, site: &Site<'_>, lane: usize, misuse: Misuse, what: String) -> Halt {
        Halt::Misuse {
            at: site.at,
            thread: thread_of(warp.index, lane),
            misuse,
            what,
        }
    }

    pub(super) fn mbarrier(
        &mut self,
        warp: &mut Warp,
        site: &Site<'_>,
        op: &Sm90,
    ) -> Result<Next, Halt> {
        let (address, kind) = match op {
            Sm90::MbarrierInit { address, .. } | Sm90::MbarrierInvalidate { address } => {
                (address, AccessKind::Write)
            }
            Sm90::MbarrierTx { address, .. } | Sm90::CpAsyncArrive { address, .. } => {
                (address, AccessKind::Atomic)
            }
            Sm90::MbarrierArrive(arrive) => (&arrive.address, AccessKind::Atomic),
            Sm90::MbarrierWait(wait) => (&wait.address, AccessKind::Atomic),
            Sm90::MbarrierPending { d, state } => {
                let state = self.read::<u64>(warp, *state);
                let count = state.map(|state| low_u32(state & 0xf_ffff));
                self.write(warp, *d, site.mask, &count);
                return Ok(Next::Continue);
            }
            _ => unreachable!("dispatch sends mbarrier operations only"),
        };
        let addresses = self.shared_addresses(warp, address);
        let place = Place {
            space: Space::Shared,
            mask: site.mask,
            addresses,
        };
        self.check(warp, site, &place, 8, kind)?;
        match op {
            Sm90::MbarrierInit { count, .. } => {
                let counts = self.read::<u32>(warp, *count);
                for lane in lanes_of(site.mask) {
                    self.init(warp, site, lane, addresses[lane], counts[lane])?;
                }
            }
            Sm90::MbarrierInvalidate { .. } => {
                for lane in lanes_of(site.mask) {
                    let key = self.live(warp, site, lane, addresses[lane])?;
                    self.sm90.mbarriers.remove(&key);
                    self.tell(&AsyncEvent::Mbarrier {
                        address: key,
                        live: false,
                    });
                }
            }
            Sm90::MbarrierTx {
                complete, bytes, ..
            } => {
                let bytes = self.read::<u32>(warp, *bytes);
                for lane in lanes_of(site.mask) {
                    let key = self.live(warp, site, lane, addresses[lane])?;
                    let bytes = i64::from(bytes[lane]);
                    let by = if *complete { -bytes } else { bytes };
                    self.transact(warp, site, lane, key, by)?;
                    self.settle(key);
                }
            }
            Sm90::CpAsyncArrive { no_increment, .. } => {
                self.land(warp, site, &[u32::MAX; 32]);
                for lane in lanes_of(site.mask) {
                    let key = self.live(warp, site, lane, addresses[lane])?;
                    self.signal(warp, key, false);
                    if *no_increment {
                        self.arrive_count(warp, site, lane, key, 1)?;
                    }
                    self.settle(key);
                }
            }
            Sm90::MbarrierArrive(arrive) => self.arrive(warp, site, arrive, &addresses)?,
            Sm90::MbarrierWait(wait) => return self.wait(warp, site, wait, &addresses),
            _ => unreachable!("handled above"),
        }
        Ok(Next::Continue)
    }

    fn init(
        &mut self,
        warp: &Warp,
        site: &Site<'_>,
        lane: usize,
        address: u64,
        count: u32,
    ) -> Result<(), Halt> {
        let key = low_u32(address);
        let count = i64::from(count);
        if !(1..=COUNT_MAX).contains(&count) {
            let what = format!(
                "mbarrier at shared {key:#x} is made for {count} arrivals; allowed are 1 to {COUNT_MAX}"
            );
            return Err(Self::misuse(warp, site, lane, Misuse::Count, what));
        }
        if let Some(known) = self.sm90.mbarriers.get(&key) {
            let what = format!(
                "mbarrier at shared {key:#x} is made again in its phase {}, {} of {} arrivals pending",
                known.complete, known.pending, known.expected
            );
            let misuse = Misuse::InitialisedTwice;
            return Err(Self::misuse(warp, site, lane, misuse, what));
        }
        self.sm90.mbarriers.insert(
            key,
            Mbarrier {
                expected: count,
                pending: count,
                transactions: 0,
                complete: 0,
            },
        );
        self.tell(&AsyncEvent::Mbarrier {
            address: key,
            live: true,
        });
        Ok(())
    }

    /// Key of the mbarrier at an address.
    pub(super) fn live(
        &self,
        warp: &Warp,
        site: &Site<'_>,
        lane: usize,
        address: u64,
    ) -> Result<u32, Halt> {
        let key = low_u32(address);
        if self.sm90.mbarriers.contains_key(&key) {
            return Ok(key);
        }
        let what = format!("no mbarrier has been made at shared {key:#x}");
        Err(Self::misuse(warp, site, lane, Misuse::NotInitialised, what))
    }

    fn entry(&mut self, key: u32) -> &mut Mbarrier {
        self.sm90
            .mbarriers
            .get_mut(&key)
            .expect("`live` found it in this instruction, or the copy checked it")
    }

    fn signal(&mut self, warp: &Warp, key: u32, relaxed: bool) {
        if !relaxed {
            self.tell(&AsyncEvent::Signal {
                warp: warp.index,
                mbarrier: key,
            });
        }
    }

    fn transact(
        &mut self,
        warp: &Warp,
        site: &Site<'_>,
        lane: usize,
        key: u32,
        by: i64,
    ) -> Result<(), Halt> {
        let mbarrier = self.entry(key);
        mbarrier.transactions += by;
        let now = mbarrier.transactions;
        if now.abs() > COUNT_MAX {
            let what = format!(
                "mbarrier at shared {key:#x} waits for {now} bytes; its count holds at most {COUNT_MAX}"
            );
            return Err(Self::misuse(warp, site, lane, Misuse::Transactions, what));
        }
        Ok(())
    }

    fn arrive_count(
        &mut self,
        warp: &Warp,
        site: &Site<'_>,
        lane: usize,
        key: u32,
        count: i64,
    ) -> Result<(), Halt> {
        let mbarrier = self.entry(key);
        if count < 1 || count > mbarrier.pending {
            let (pending, phase) = (mbarrier.pending, mbarrier.complete);
            let what = format!(
                "{count} arrivals at the mbarrier at shared {key:#x}, whose phase {phase} waits for {pending}"
            );
            return Err(Self::misuse(warp, site, lane, Misuse::OverArrival, what));
        }
        mbarrier.pending -= count;
        self.sm90.progress();
        Ok(())
    }

    /// Completes the phase if nothing is pending.
    fn settle(&mut self, key: u32) {
        let mbarrier = self.entry(key);
        if mbarrier.pending == 0 && mbarrier.transactions == 0 {
            mbarrier.complete += 1;
            mbarrier.pending = mbarrier.expected;
            self.sm90.progress();
            self.tell(&AsyncEvent::Phase { mbarrier: key });
        }
    }

    /// Bytes of a bulk load arrive. Gives the phase they count towards.
    pub(super) fn complete_bytes(&mut self, key: u32, bytes: i64) -> Option<u64> {
        let mbarrier = self.sm90.mbarriers.get_mut(&key)?;
        mbarrier.transactions -= bytes;
        Some(mbarrier.complete)
    }

    /// After [`complete_bytes`](Self::complete_bytes), and after observers know of the load.
    pub(super) fn settle_bytes(&mut self, key: u32) {
        if self.sm90.mbarriers.contains_key(&key) {
            self.settle(key);
        }
        self.sm90.progress();
    }

    fn arrive(
        &mut self,
        warp: &mut Warp,
        site: &Site<'_>,
        arrive: &MbarrierArrive,
        addresses: &Lanes<u64>,
    ) -> Result<(), Halt> {
        let operand = match arrive.kind {
            ArriveKind::Count(None) => [1; 32],
            ArriveKind::Count(Some(operand))
            | ArriveKind::ExpectTx(operand)
            | ArriveKind::NoComplete(operand) => self.read::<u32>(warp, operand),
        };
        let mut states = [0_u64; 32];
        for lane in lanes_of(site.mask) {
            let key = self.live(warp, site, lane, addresses[lane])?;
            states[lane] = state_of(self.entry(key));
            self.signal(warp, key, arrive.order.relaxed);
            let count = if matches!(arrive.kind, ArriveKind::ExpectTx(_)) {
                self.transact(warp, site, lane, key, i64::from(operand[lane]))?;
                1
            } else {
                i64::from(operand[lane])
            };
            self.arrive_count(warp, site, lane, key, count)?;
            if arrive.drop {
                self.entry(key).expected -= count;
            }
            if matches!(arrive.kind, ArriveKind::NoComplete(_)) && self.entry(key).pending == 0 {
                let what = format!(
                    "`.noComplete` arrivals complete the phase of the mbarrier at shared {key:#x}"
                );
                return Err(Self::misuse(warp, site, lane, Misuse::OverArrival, what));
            }
            self.settle(key);
        }
        if let Some(state) = arrive.state {
            self.write(warp, state, site.mask, &states);
        }
        Ok(())
    }

    fn wait(
        &mut self,
        warp: &mut Warp,
        site: &Site<'_>,
        wait: &MbarrierWait,
        addresses: &Lanes<u64>,
    ) -> Result<Next, Halt> {
        let phases = self.read::<u64>(warp, wait.phase);
        let mut done = 0;
        for lane in lanes_of(site.mask) {
            let key = self.live(warp, site, lane, addresses[lane])?;
            let complete = self.entry(key).complete;
            let is_done = if wait.parity {
                complete & 1 != phases[lane] & 1
            } else {
                complete > phases[lane] >> 20
            };
            if is_done {
                done |= 1 << lane;
                if !wait.order.relaxed {
                    self.tell(&AsyncEvent::Observe {
                        warp: warp.index,
                        mbarrier: key,
                        complete,
                    });
                }
            }
        }
        let timed_out = self.sm90.timed_out[warp.index] & site.mask;
        self.sm90.timed_out[warp.index] &= !site.mask;
        if wait.blocking && done == 0 && timed_out == 0 {
            return Ok(Next::Park);
        }
        self.write_predicate(warp, wait.d, site.mask, done);
        Ok(if done == site.mask || wait.blocking {
            Next::Continue
        } else {
            self.sm90.give_way()
        })
    }

    /// What a parked path waits for.
    pub(super) fn parked_for(&self, warp: &Warp, path: &Path) -> String {
        let Some(Op::Sm90(op)) = self.program.instructions().get(path.at).map(|i| &i.op) else {
            return "an mbarrier".to_owned();
        };
        let wait = match &**op {
            Sm90::MbarrierWait(wait) => wait,
            Sm90::WgmmaWait { groups } => {
                return match self.sm90.behind(warp.index, *groups) {
                    Some(other) => {
                        format!("wgmmas of its warpgroup that warp {other} has not committed")
                    }
                    None => "wgmmas of its warpgroup".to_owned(),
                };
            }
            _ => return "an mbarrier".to_owned(),
        };
        let lane = index(path.mask.trailing_zeros().min(31));
        let key = low_u32(self.shared_addresses(warp, &wait.address)[lane]);
        let phase = self.read::<u64>(warp, wait.phase)[lane];
        let asked = if wait.parity {
            format!("the phase of parity {}", phase & 1)
        } else {
            format!("phase {}", phase >> 20)
        };
        match self.sm90.mbarriers.get(&key) {
            None => format!("{asked} of an mbarrier at shared {key:#x}, which is gone"),
            Some(mbarrier) => {
                let bytes = match mbarrier.transactions {
                    0 => "no bytes are outstanding".to_owned(),
                    more @ 1.. => format!("{more} bytes are outstanding"),
                    less => format!("{} bytes more have arrived than were expected", -less),
                };
                format!(
                    "{asked} of the mbarrier at shared {key:#x}, which is in phase {}: {} of {} arrivals are pending, {bytes}",
                    mbarrier.complete, mbarrier.pending, mbarrier.expected
                )
            }
        }
    }
}
