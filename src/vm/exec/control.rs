//! What threads do together: shuffles, votes, warp and CTA barriers.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "dispatch matches every instruction; only those of this class come here"
)]

use super::super::event::{Arrival, Participant};
use super::cta::{BARRIERS, Machine, Reduction};
use super::dispatch::Site;
use super::registers::mask_of;
use super::warp::Warp;
use super::{Halt, Lanes, Next, lanes, lanes_of};
use crate::convert::index;
use crate::ptx::{MatchMode, Op, Operand, ReduxOp, ScalarType, ShuffleMode, TypeKind, VoteMode};

impl Machine<'_> {
    /// Lanes a `.sync` instruction names; `None` while some of them are on other paths.
    pub(super) fn members(
        &self,
        warp: &Warp,
        site: &Site<'_>,
        mask: Operand,
    ) -> Result<Option<u32>, Halt> {
        let masks = self.read::<u32>(warp, mask);
        let first = index(site.mask.trailing_zeros());
        let members = masks[first];
        let fail = |what: String| {
            Err(Halt::Members {
                at: site.at,
                warp: warp.index,
                what,
            })
        };
        for lane in lanes_of(site.mask) {
            if masks[lane] >> lane & 1 == 0 {
                return fail(format!(
                    "lane {lane} executes with member mask {:#010x}, which leaves it out",
                    masks[lane]
                ));
            }
        }
        if members & warp.live & !site.path != 0 {
            return Ok(None);
        }
        if members & site.path & !site.mask != 0 {
            return fail(format!(
                "member mask {members:#010x} names lanes {:#010x}, whose guard is false",
                members & site.path & !site.mask
            ));
        }
        if members & !warp.live != 0 {
            return fail(format!(
                "member mask {members:#010x} names lanes {:#010x}, which do not exist or have exited",
                members & !warp.live
            ));
        }
        Ok(Some(members))
    }

    /// `shfl`, `vote`, `redux`, `activemask`, `bar.warp.sync`.
    pub(super) fn across_lanes(&mut self, warp: &mut Warp, site: &Site<'_>) -> Result<Next, Halt> {
        match &site.instruction.op {
            Op::ActiveMask { d } => {
                self.write(warp, *d, site.mask, &[site.mask; 32]);
            }
            Op::WarpSync { mask } => {
                // Lanes of the mask that have exited are not waited for.
                let masks = self.read::<u32>(warp, *mask);
                let members = masks[index(site.mask.trailing_zeros())];
                if members & warp.live & !site.path != 0 {
                    return Ok(Next::Gather);
                }
                let step = warp.step(site.at, site.instruction, site.path, site.mask);
                self.observers
                    .each(|observer| observer.warp_sync(&step, members));
            }
            Op::Shfl {
                mode,
                d,
                p,
                a,
                b,
                c,
                mask,
            } => {
                let Some(_) = self.members(warp, site, *mask)? else {
                    return Ok(Next::Gather);
                };
                let a = self.read::<u32>(warp, *a);
                let sources = self.shuffle_sources(warp, *mode, *b, *c);
                let value = lanes(|lane| a[sources[lane].0]);
                self.write(warp, *d, site.mask, &value);
                if let Some(p) = p {
                    self.write_predicate(
                        warp,
                        *p,
                        site.mask,
                        mask_of(&sources, |(_, inside)| inside),
                    );
                }
            }
            Op::Vote { mode, d, a, mask } => {
                let Some(members) = self.members(warp, site, *mask)? else {
                    return Ok(Next::Gather);
                };
                let value = self.predicate(warp, *a) & members;
                let everywhere = |holds: bool| if holds { u32::MAX } else { 0 };
                match mode {
                    VoteMode::Ballot => self.write(warp, *d, site.mask, &[value; 32]),
                    VoteMode::All => {
                        self.write_predicate(warp, *d, site.mask, everywhere(value == members))
                    }
                    VoteMode::Any => {
                        self.write_predicate(warp, *d, site.mask, everywhere(value != 0))
                    }
                    VoteMode::Uni => {
                        let uniform = value == 0 || value == members;
                        self.write_predicate(warp, *d, site.mask, everywhere(uniform));
                    }
                }
            }
            Op::Redux {
                operation,
                ty,
                d,
                a,
                mask,
            } => {
                let Some(members) = self.members(warp, site, *mask)? else {
                    return Ok(Next::Gather);
                };
                let a = self.read::<u32>(warp, *a);
                let value = lanes_of(members)
                    .map(|lane| a[lane])
                    .reduce(|x, y| reduce(*operation, *ty, x, y))
                    .unwrap_or(0);
                self.write(warp, *d, site.mask, &[value; 32]);
            }
            Op::Match {
                mode,
                d,
                p,
                a,
                mask,
                ..
            } => {
                let Some(members) = self.members(warp, site, *mask)? else {
                    return Ok(Next::Gather);
                };
                let a = self.read::<u64>(warp, *a);
                let alike = lanes(|lane| {
                    lanes_of(members).fold(0_u32, |mask, other| {
                        mask | u32::from(a[other] == a[lane]) << other
                    })
                });
                let value = match mode {
                    MatchMode::Any => alike,
                    MatchMode::All => alike.map(|mask| if mask == members { mask } else { 0 }),
                };
                self.write(warp, *d, site.mask, &value);
                if let Some(p) = p {
                    let all = mask_of(&value, |mask| mask == members);
                    self.write_predicate(warp, *p, site.mask, all);
                }
            }
            _ => unreachable!("dispatch sends these only"),
        }
        Ok(Next::Continue)
    }

    /// Source lane of each lane of a `shfl`, and whether it was in range (PTX ISA 9.7.9.6).
    pub(super) fn shuffle_sources(
        &self,
        warp: &Warp,
        mode: ShuffleMode,
        b: Operand,
        c: Operand,
    ) -> Lanes<(usize, bool)> {
        let (b, c) = (self.read::<u32>(warp, b), self.read::<u32>(warp, c));
        lanes(|lane| shuffle_source(mode, lane, b[lane], c[lane]))
    }

    /// `bar.sync`, `bar.arrive`, `bar.red`.
    pub(super) fn barrier(&mut self, warp: &mut Warp, site: &Site<'_>) -> Result<Next, Halt> {
        let (aligned, id, threads, waits) = match &site.instruction.op {
            Op::BarrierSync {
                aligned,
                barrier,
                threads,
            }
            | Op::BarrierRed {
                aligned,
                barrier,
                threads,
                ..
            } => (*aligned, *barrier, *threads, true),
            Op::BarrierArrive {
                aligned,
                barrier,
                threads,
            } => (*aligned, *barrier, Some(*threads), false),
            _ => unreachable!("dispatch sends barriers only"),
        };
        let first = index(site.mask.trailing_zeros());
        let id = index(self.read::<u32>(warp, id)[first]);
        let threads = threads.map(|threads| self.read::<u32>(warp, threads)[first]);
        let fail = |what: String| {
            Err(Halt::Barrier {
                at: site.at,
                warp: warp.index,
                what,
            })
        };
        if id >= BARRIERS {
            return fail(format!("barrier {id}; a cta has barriers 0 to 15"));
        }
        if let Some(threads) = threads
            && (threads == 0 || !threads.is_multiple_of(32))
        {
            return fail(format!(
                "{threads} threads for barrier {id}; the count is a positive multiple of 32"
            ));
        }
        // Aligned barriers promise that the whole warp comes together: wait for lanes that are merely behind.
        let together = site.path == warp.live;
        if aligned && !together && site.mask == site.path && self.could_join(warp, site) {
            return Ok(Next::Gather);
        }
        let fresh = self.barriers[id].participants.is_empty();
        let again = self.barriers[id].arrived[warp.index] & site.mask != 0;
        if fresh {
            self.barriers[id].threads = threads;
        } else if self.barriers[id].threads != threads {
            let known = self.barriers[id].threads;
            let name = |threads: Option<u32>| threads.map_or("all".to_owned(), |n| n.to_string());
            return fail(format!(
                "barrier {id} is waited for by {} threads here, by {} at an earlier arrival of the same turn",
                name(threads),
                name(known)
            ));
        }
        self.barriers[id].arrived[warp.index] |= site.mask;
        let arrived: u32 = self.barriers[id]
            .arrived
            .iter()
            .map(|mask| mask.count_ones())
            .sum();
        let arrival = Arrival {
            barrier: id,
            aligned,
            live: warp.live,
            arrived,
            expected: threads.unwrap_or(self.program.threads()),
            again,
        };
        let step = warp.step(site.at, site.instruction, site.path, site.mask);
        self.observers
            .each(|observer| observer.arrive(&step, &arrival));
        let participant = Participant {
            warp: warp.index,
            lanes: site.mask,
            at: site.at,
            waits,
        };
        if let Op::BarrierRed {
            reduction, d, a, ..
        } = &site.instruction.op
        {
            let holds = self.predicate(warp, *a) & site.mask;
            let barrier = &mut self.barriers[id];
            barrier.holds += holds.count_ones();
            barrier.asked += site.mask.count_ones();
            barrier.reductions.push((
                warp.index,
                site.mask,
                Reduction {
                    operation: *reduction,
                    d: *d,
                },
            ));
        }
        self.barriers[id].participants.push(participant);
        Ok(if waits {
            Next::Wait(id)
        } else {
            Next::Continue
        })
    }

    /// True if lanes of the warp on other paths may still come to this instruction.
    fn could_join(&self, warp: &Warp, site: &Site<'_>) -> bool {
        warp.paths.iter().any(|path| {
            path.mask & site.path == 0
                && path.state == super::warp::State::Ready
                && path.at <= site.at
        })
    }
}

pub(crate) fn shuffle_source(mode: ShuffleMode, lane: usize, b: u32, c: u32) -> (usize, bool) {
    let lane = u32::try_from(lane).expect("below 32");
    let (b, clamp, segment) = (b & 31, c & 31, c >> 8 & 31);
    let lowest = lane & segment;
    let highest = lowest | clamp & !segment;
    let (source, inside) = match mode {
        // For `up` the clamp is the lowest lane that may be read.
        ShuffleMode::Up => (lane.wrapping_sub(b), lane >= b && lane - b >= highest),
        ShuffleMode::Down => (lane + b, lane + b <= highest),
        ShuffleMode::Bfly => (lane ^ b, lane ^ b <= highest),
        ShuffleMode::Idx => {
            let source = lowest | b & !segment;
            (source, source <= highest)
        }
    };
    (index(if inside { source & 31 } else { lane }), inside)
}

fn reduce(operation: ReduxOp, ty: ScalarType, x: u32, y: u32) -> u32 {
    let signed = ty.kind() == TypeKind::Signed;
    let less = if signed {
        x.cast_signed() < y.cast_signed()
    } else {
        x < y
    };
    match operation {
        ReduxOp::Add => x.wrapping_add(y),
        ReduxOp::Min => {
            if less {
                x
            } else {
                y
            }
        }
        ReduxOp::Max => {
            if less {
                y
            } else {
                x
            }
        }
        ReduxOp::And => x & y,
        ReduxOp::Or => x | y,
        ReduxOp::Xor => x ^ y,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffles() {
        let all = 0x1f;
        assert_eq!(shuffle_source(ShuffleMode::Bfly, 5, 1, all), (4, true));
        assert_eq!(shuffle_source(ShuffleMode::Down, 30, 2, all), (30, false));
        assert_eq!(shuffle_source(ShuffleMode::Up, 1, 2, 0), (1, false));
        assert_eq!(shuffle_source(ShuffleMode::Up, 3, 2, 0), (1, true));
        assert_eq!(shuffle_source(ShuffleMode::Idx, 9, 3, all), (3, true));
        // Segments of 8 lanes: c = 0x1807.
        let eight = 0x18 << 8 | 7;
        assert_eq!(
            shuffle_source(ShuffleMode::Idx, 9, 3, 0x18 << 8 | 0x1f),
            (11, true)
        );
        assert_eq!(shuffle_source(ShuffleMode::Down, 14, 3, eight), (14, false));
    }

    #[test]
    fn reductions() {
        assert_eq!(reduce(ReduxOp::Min, ScalarType::S32, 1, u32::MAX), u32::MAX);
        assert_eq!(reduce(ReduxOp::Min, ScalarType::U32, 1, u32::MAX), 1);
    }
}
