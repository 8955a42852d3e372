//! What the lanes of a warp do together: shuffles, votes, reductions, matches, `bar.warp.sync`.
//!
//! A `.sync` instruction waits for all lanes that its member mask names. They need not come to it at one address: from
//! `sm_70` on, lanes meet that execute an instruction with the same qualifiers and the same mask, wherever it stands (PTX
//! ISA 9.7.9.6 and the others of the family). So values are collected first, from each lane by its own instruction, then
//! exchanged, then written, to each lane by its own instruction.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "dispatch matches every instruction; only those of this class come here"
)]

use super::super::event::Step;
use super::cta::Machine;
use super::dispatch::Site;
use super::registers::mask_of;
use super::warp::{State, Warp};
use super::{Halt, Lanes, Next, lanes, lanes_of};
use crate::convert::{index, low_u32};
use crate::ptx::{
    MatchMode, Op, Operand, ReduxOp, RegisterId, ScalarType, ShuffleMode, Sm90, TypeKind, VoteMode,
};

/// What lanes bring to an exchange, and who takes part.
struct Exchange {
    members: u32,
    /// The value; bit 0 for a vote.
    a: Lanes<u64>,
    /// Source lane, and clamp with segment, of a shuffle.
    b: Lanes<u32>,
    c: Lanes<u32>,
}

/// What they get: a value, and a bit a lane for a predicate.
type Results = (Lanes<u64>, u32);

/// The member mask of an instruction that exchanges values.
fn member_mask(op: &Op) -> Option<Operand> {
    match op {
        Op::Shfl { mask, .. }
        | Op::Vote { mask, .. }
        | Op::Redux { mask, .. }
        | Op::Match { mask, .. }
        | Op::WarpSync { mask } => Some(*mask),
        Op::Sm90(op) => match **op {
            Sm90::Elect { mask, .. } => Some(mask),
            _ => None,
        },
        _ => None,
    }
}

/// Whether lanes at two instructions meet, their masks being equal.
fn same_qualifiers(one: &Op, other: &Op) -> bool {
    match (one, other) {
        (Op::Shfl { mode: x, .. }, Op::Shfl { mode: y, .. }) => x == y,
        (Op::Vote { mode: x, .. }, Op::Vote { mode: y, .. }) => x == y,
        (
            Op::Redux {
                operation: x,
                ty: s,
                ..
            },
            Op::Redux {
                operation: y,
                ty: t,
                ..
            },
        ) => (x, s) == (y, t),
        (Op::Match { mode: x, ty: s, .. }, Op::Match { mode: y, ty: t, .. }) => (x, s) == (y, t),
        (Op::WarpSync { .. }, Op::WarpSync { .. }) => true,
        (Op::Sm90(one), Op::Sm90(other)) => {
            matches!(**one, Sm90::Elect { .. }) && matches!(**other, Sm90::Elect { .. })
        }
        _ => false,
    }
}

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
        Self::all_live(warp, site, members)?;
        Ok(Some(members))
    }

    fn all_live(warp: &Warp, site: &Site<'_>, members: u32) -> Result<(), Halt> {
        if members & !warp.live == 0 {
            return Ok(());
        }
        Err(Halt::Members {
            at: site.at,
            warp: warp.index,
            what: format!(
                "member mask {members:#010x} names lanes {:#010x}, which do not exist or have exited",
                members & !warp.live
            ),
        })
    }

    /// True while an instruction waits for lanes that are on other paths: it is not executed yet.
    pub(super) fn waits_for_lanes(&self, warp: &Warp, op: &Op, path: u32, mask: u32) -> bool {
        if mask == 0 || path == warp.live {
            return false;
        }
        member_mask(op).is_some_and(|members| {
            let masks = self.read::<u32>(warp, members);
            masks[index(mask.trailing_zeros())] & warp.live & !path != 0
        })
    }

    /// `shfl`, `vote`, `redux`, `match`, `elect`, `activemask`, `bar.warp.sync`.
    pub(super) fn across_lanes(&mut self, warp: &mut Warp, site: &Site<'_>) -> Result<Next, Halt> {
        match &site.instruction.op {
            Op::ActiveMask { d } => {
                self.write(warp, *d, site.mask, &[site.mask; 32]);
            }
            // Lanes of the mask that have exited are not waited for.
            Op::WarpSync { mask } => self.meet(warp, site, *mask),
            op => {
                let mask = member_mask(op).expect("dispatch sends this family only");
                let Some(members) = self.members(warp, site, mask)? else {
                    return Ok(Next::Gather);
                };
                if let Op::Shfl {
                    mode,
                    d,
                    p,
                    a,
                    b,
                    c,
                    ..
                } = op
                    && site.mask == u32::MAX
                {
                    // Every lane is at this instruction: words go straight to words.
                    self.shuffle_all(warp, *mode, (*d, *p), (*a, *b, *c));
                    return Ok(Next::Continue);
                }
                let mut exchange = Exchange::new(members);
                self.bring(warp, site, &mut exchange);
                let results = exchange.results(op);
                self.take(warp, site, &results);
            }
        }
        Ok(Next::Continue)
    }

    /// `shfl` by all 32 lanes of a warp.
    fn shuffle_all(
        &self,
        warp: &mut Warp,
        mode: ShuffleMode,
        (d, p): (RegisterId, Option<RegisterId>),
        (a, b, c): (Operand, Operand, Operand),
    ) {
        let (mut spare_a, mut spare_b, mut spare_c) = (None, None, None);
        let value = self.hold::<u32>(warp, a, &mut spare_a);
        let distance = self.hold::<u32>(warp, b, &mut spare_b);
        let limits = self.hold::<u32>(warp, c, &mut spare_c);
        let mut holds = 0;
        let result: Lanes<u32> = lanes(|lane| {
            let (source, inside) = shuffle_source(mode, lane, distance[lane], limits[lane]);
            holds |= u32::from(inside) << lane;
            value[source]
        });
        self.write(warp, d, u32::MAX, &result);
        if let Some(p) = p {
            self.write_predicate(warp, p, u32::MAX, holds);
        }
    }

    fn meet(&mut self, warp: &Warp, site: &Site<'_>, mask: Operand) {
        let members = self.read::<u32>(warp, mask)[index(site.mask.trailing_zeros())];
        let step = warp.step(site.at, site.instruction, site.path, site.mask);
        self.observers
            .each(|observer| observer.warp_sync(&step, members));
    }

    /// Lets lanes meet that wait at different instructions for each other. True if some did.
    pub(super) fn rendezvous(&mut self, warp: &mut Warp) -> Result<bool, Halt> {
        let instructions = self.program.instructions();
        let waiting: Vec<(usize, Site<'_>, u32)> = warp
            .paths
            .iter()
            .enumerate()
            .filter(|(_, path)| path.state == State::Gathering)
            .filter_map(|(number, path)| {
                let instruction = instructions.get(path.at)?;
                // Guards have to hold for the whole path: else its mask names lanes that do not execute it.
                let holds = instruction
                    .guard
                    .is_none_or(|guard| path.mask & !self.predicate(warp, guard) == 0);
                let masks = self.read::<u32>(warp, member_mask(&instruction.op)?);
                let site = Site {
                    at: path.at,
                    path: path.mask,
                    mask: path.mask,
                    instruction,
                };
                holds.then(|| (number, site, masks[index(path.mask.trailing_zeros())]))
            })
            .collect();
        for (_, first, members) in &waiting {
            let together: Vec<&(usize, Site<'_>, u32)> = waiting
                .iter()
                .filter(|(_, site, mask)| {
                    mask == members && same_qualifiers(&site.instruction.op, &first.instruction.op)
                })
                .collect();
            let present = together.iter().fold(0, |all, (_, site, _)| all | site.path);
            if together.len() < 2 || members & warp.live & !present != 0 {
                continue;
            }
            let numbers: Vec<usize> = together.iter().map(|(number, _, _)| *number).collect();
            let sites: Vec<Site<'_>> = together.iter().map(|(_, site, _)| *site).collect();
            self.exchange(warp, &sites, *members)?;
            for (number, site) in numbers.into_iter().zip(&sites) {
                warp.paths[number].at = site.at + 1;
                warp.paths[number].state = State::Ready;
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// One exchange between lanes at several instructions.
    fn exchange(&mut self, warp: &mut Warp, sites: &[Site<'_>], members: u32) -> Result<(), Halt> {
        let steps: Vec<Step<'_>> = sites
            .iter()
            .map(|site| warp.step(site.at, site.instruction, site.path, site.mask))
            .collect();
        self.observers.each(|observer| observer.exchange(&steps));
        for step in &steps {
            self.observers.step(step);
        }
        drop(steps);
        let mut exchange = Exchange::new(members);
        for site in sites {
            self.executed += 1;
            self.counts.warp_instructions[self.program.classes[site.at]] += 1;
            self.counts.thread_instructions += u64::from(site.mask.count_ones());
            if let Op::WarpSync { mask } = &site.instruction.op {
                self.meet(warp, site, *mask);
                continue;
            }
            Self::all_live(warp, site, members)?;
            self.bring(warp, site, &mut exchange);
        }
        for site in sites {
            if !matches!(site.instruction.op, Op::WarpSync { .. }) {
                let results = exchange.results(&site.instruction.op);
                self.take(warp, site, &results);
            }
        }
        Ok(())
    }

    /// Puts what the lanes of an instruction give into an exchange.
    fn bring(&self, warp: &Warp, site: &Site<'_>, exchange: &mut Exchange) {
        let mut put = |a: &Lanes<u64>| {
            for lane in lanes_of(site.mask) {
                exchange.a[lane] = a[lane];
            }
        };
        match &site.instruction.op {
            Op::Shfl { a, b, c, .. } => {
                put(&self.read::<u32>(warp, *a).map(u64::from));
                let (b, c) = (self.read::<u32>(warp, *b), self.read::<u32>(warp, *c));
                for lane in lanes_of(site.mask) {
                    (exchange.b[lane], exchange.c[lane]) = (b[lane], c[lane]);
                }
            }
            Op::Vote { a, .. } => {
                let bits = self.predicate(warp, *a);
                put(&lanes(|lane| u64::from(bits >> lane & 1)));
            }
            Op::Redux { a, .. } => put(&self.read::<u32>(warp, *a).map(u64::from)),
            Op::Match { a, .. } => put(&self.read::<u64>(warp, *a)),
            _ => {}
        }
    }

    /// Writes what the lanes of an instruction get.
    fn take(&self, warp: &mut Warp, site: &Site<'_>, (value, holds): &Results) {
        let word = value.map(low_u32);
        let (d, p) = match &site.instruction.op {
            Op::Shfl { d, p, .. } | Op::Match { d, p, .. } => (Some(*d), *p),
            Op::Redux { d, .. } => (Some(*d), None),
            Op::Vote { mode, d, .. } if *mode == VoteMode::Ballot => (Some(*d), None),
            Op::Vote { d, .. } => (None, Some(*d)),
            Op::Sm90(op) => match **op {
                Sm90::Elect { d, p, .. } => (d, Some(p)),
                _ => (None, None),
            },
            _ => (None, None),
        };
        if let Some(d) = d {
            self.write(warp, d, site.mask, &word);
        }
        if let Some(p) = p {
            self.write_predicate(warp, p, site.mask, *holds);
        }
    }
}

impl Exchange {
    fn new(members: u32) -> Self {
        Self {
            members,
            a: [0; 32],
            b: [0; 32],
            c: [0; 32],
        }
    }

    /// What each lane gets by this instruction.
    fn results(&self, op: &Op) -> Results {
        let members = self.members;
        let everywhere = |holds: bool| if holds { u32::MAX } else { 0 };
        match op {
            Op::Shfl { mode, .. } => {
                let sources = lanes(|lane| shuffle_source(*mode, lane, self.b[lane], self.c[lane]));
                let value = lanes(|lane| self.a[sources[lane].0]);
                (value, mask_of(&sources, |(_, inside)| inside))
            }
            Op::Vote { mode, .. } => {
                let value = mask_of(&self.a, |bit| bit == 1) & members;
                match mode {
                    VoteMode::Ballot => ([u64::from(value); 32], 0),
                    VoteMode::All => ([0; 32], everywhere(value == members)),
                    VoteMode::Any => ([0; 32], everywhere(value != 0)),
                    VoteMode::Uni => ([0; 32], everywhere(value == 0 || value == members)),
                }
            }
            Op::Redux { operation, ty, .. } => {
                let value = lanes_of(members)
                    .map(|lane| low_u32(self.a[lane]))
                    .reduce(|x, y| reduce(*operation, *ty, x, y))
                    .unwrap_or(0);
                ([u64::from(value); 32], 0)
            }
            Op::Match { mode, .. } => {
                let alike = lanes(|lane| {
                    lanes_of(members).fold(0_u32, |mask, other| {
                        mask | u32::from(self.a[other] == self.a[lane]) << other
                    })
                });
                let value = match mode {
                    MatchMode::Any => alike,
                    MatchMode::All => alike.map(|mask| if mask == members { mask } else { 0 }),
                };
                (
                    value.map(u64::from),
                    mask_of(&value, |mask| mask == members),
                )
            }
            // Any lane of the mask may be elected; this machine takes the lowest.
            Op::Sm90(_) => {
                let leader = members.trailing_zeros();
                ([u64::from(leader); 32], 1 << (leader & 31))
            }
            _ => ([0; 32], 0),
        }
    }
}

#[inline]
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
