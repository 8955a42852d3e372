//! How undefined bytes pass through each instruction.
//!
//! Where nothing finer is said, a result is undefined in all its bytes if any byte of any operand is. Finer: moves, packing
//! and byte permutations carry bytes; `and` with a defined zero byte and `or` with a defined all-ones byte are defined;
//! `selp` takes its chosen operand; packed halves stay apart; shifts by whole bytes move bytes; a row or column of an
//! `mma` spoils the results that use it, and no others.

use super::super::super::exec::{Registers, Slot, Slots, lanes_of, shuffle_source};
use super::super::super::tensor_core::Accumulator;
use super::shadow::Planes;
use crate::convert::{index, low_u32};
use crate::ptx::{Mma, Op, Operand, RegisterId, ScalarType, ShiftDirection};

/// Shadow of a warp's registers, by register id.
#[derive(Clone, Debug)]
pub(super) struct RegisterShadow {
    pub(super) planes: Vec<Planes>,
    /// The instruction from which the undefined bytes of a register came; `u32::MAX` where it was never written.
    pub(super) origin: Vec<u32>,
}

/// What the rules read besides shadows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    pub(super) slots: &'a Slots,
    pub(super) registers: &'a Registers,
    /// Lanes that execute.
    pub(super) mask: u32,
}

impl Context<'_> {
    /// Value of an operand in a lane; addresses and special registers are never asked for.
    fn value(&self, operand: Operand, lane: usize) -> u64 {
        match operand {
            Operand::Register(register) => match self.slots.of(register) {
                slot @ Slot::Predicate(_) => u64::from(self.registers.predicate(slot) >> lane & 1),
                slot @ (Slot::Word(_) | Slot::Long(_)) => self.registers.long(slot)[lane],
            },
            Operand::Immediate(bits) => bits,
            Operand::Address(..) | Operand::Special(_) => 0,
        }
    }
}

impl Context<'_> {
    /// Undefined bytes of what lanes get from an exchange to which the lanes of several instructions have `given`: those of
    /// the source lane of a shuffle, any for the others.
    pub(super) fn taken(&self, op: &Op, given: &[(u32, Planes)]) -> Planes {
        if let Op::Shfl { mode, b, c, .. } = op {
            let mut planes = Planes::DEFINED;
            for lane in lanes_of(self.mask) {
                let which = (low_u32(self.value(*b, lane)), low_u32(self.value(*c, lane)));
                let (from, _) = shuffle_source(*mode, lane, which.0, which.1);
                // A lane that does not execute has nothing to give.
                let source = given.iter().find(|(mask, _)| mask >> from & 1 == 1);
                planes.set_lane(lane, source.map_or(0xf, |(_, planes)| planes.lane(from)));
            }
            return planes;
        }
        let some = given.iter().any(|(mask, planes)| planes.any() & mask != 0);
        Planes::undefined(if some { u32::MAX } else { 0 }, 8)
    }
}

/// Bytes of a register of this type; 1 for a predicate.
pub(super) fn bytes_of(ty: ScalarType) -> u32 {
    ty.bytes()
}

impl RegisterShadow {
    pub(super) fn new(slots: &Slots) -> Self {
        let planes = (0..slots.count())
            .map(|id| {
                let id = RegisterId(u32::try_from(id).expect("register ids are 32 bits"));
                Planes::undefined(u32::MAX, bytes_of(slots.type_of(id)))
            })
            .collect();
        Self {
            planes,
            origin: vec![u32::MAX; slots.count()],
        }
    }

    pub(super) fn of(&self, register: RegisterId) -> Planes {
        self.planes[index(register.0)]
    }

    fn operand(&self, operand: Operand) -> Planes {
        match operand {
            Operand::Register(register) => self.of(register),
            Operand::Immediate(_) | Operand::Address(..) | Operand::Special(_) => Planes::DEFINED,
        }
    }

    /// What the lanes of an instruction bring to an exchange.
    pub(super) fn given(&self, op: &Op) -> Planes {
        if let Op::Vote { a, .. } = op {
            return self.of(a.register);
        }
        if let Op::Shfl { a, .. } | Op::Redux { a, .. } | Op::Match { a, .. } = op {
            return self.operand(*a);
        }
        Planes::DEFINED
    }

    /// Shadow of a data operand: the bytes a store of `bytes` bytes takes.
    pub(super) fn data(&self, operand: Operand, bytes: u32) -> Planes {
        self.operand(operand).cut(bytes)
    }

    pub(super) fn set(&mut self, register: RegisterId, mask: u32, planes: Planes, origin: u32) {
        let at = index(register.0);
        self.planes[at].replace(mask, planes);
        if planes.any() & mask != 0 {
            self.origin[at] = origin;
        }
    }

    /// Origin of the first operand that is undefined in some lane of the mask.
    pub(super) fn origin_of(&self, reads: &[RegisterId], mask: u32) -> u32 {
        reads
            .iter()
            .find(|register| self.of(**register).any() & mask != 0)
            .map_or(u32::MAX, |register| self.origin[index(register.0)])
    }

    /// The results of an instruction some of whose operands are undefined. Memory instructions are not handled here.
    pub(super) fn propagate(
        &mut self,
        context: Context<'_>,
        op: &Op,
        reads: &[RegisterId],
        writes: &[RegisterId],
    ) {
        let mask = context.mask;
        let origin = self.origin_of(reads, mask);
        match self.precise(context, op) {
            Some(results) => {
                for (register, planes) in results {
                    let bytes = bytes_of(context.slots.type_of(register));
                    self.set(register, mask, planes.cut(bytes), origin);
                }
            }
            None => {
                let any = reads
                    .iter()
                    .fold(0, |any, register| any | self.of(*register).any());
                for register in writes {
                    let bytes = bytes_of(context.slots.type_of(*register));
                    self.set(*register, mask, Planes::undefined(any, bytes), origin);
                }
            }
        }
    }

    /// Results with a finer rule; `None` for the default one.
    fn precise(&self, context: Context<'_>, op: &Op) -> Option<Vec<(RegisterId, Planes)>> {
        let one = |d: RegisterId, planes: Planes| Some(vec![(d, planes)]);
        match op {
            Op::Mov { d, a, .. } | Op::Not { d, a, .. } | Op::Cvta { d, a, .. } => {
                one(*d, self.operand(*a))
            }
            Op::Selp { d, a, b, c, .. } => {
                let chosen = match context.slots.of(*c) {
                    slot @ Slot::Predicate(_) => context.registers.predicate(slot),
                    Slot::Word(_) | Slot::Long(_) => return None,
                };
                let mut planes = self.operand(*b);
                planes.replace(chosen, self.operand(*a));
                one(*d, planes.union(Planes::undefined(self.of(*c).any(), 8)))
            }
            Op::Pack { ty, d, a } => {
                let bytes = ty.bytes() / u32::try_from(a.len()).ok()?;
                let mut planes = Planes::DEFINED;
                for (element, operand) in (0_u32..).zip(a) {
                    let by = isize::try_from(element * bytes).ok()?;
                    planes = planes.union(self.operand(*operand).cut(bytes).moved(by));
                }
                one(*d, planes)
            }
            Op::Unpack { ty, d, a } => {
                let bytes = ty.bytes() / u32::try_from(d.len()).ok()?;
                let source = self.operand(*a);
                let mut results = Vec::new();
                for (element, register) in (0_u32..).zip(d) {
                    if let Some(register) = register {
                        let by = isize::try_from(element * bytes).ok()?;
                        results.push((*register, source.moved(-by).cut(bytes)));
                    }
                }
                Some(results)
            }
            Op::CvtPair { to, d, a, b, .. } => {
                let bytes = to.bytes() / 2;
                let by = isize::try_from(bytes).ok()?;
                let high = Planes::undefined(self.operand(*a).any(), bytes).moved(by);
                one(
                    *d,
                    high.union(Planes::undefined(self.operand(*b).any(), bytes)),
                )
            }
            Op::Logic {
                operation, d, a, b, ..
            } => {
                let (x, y) = (self.operand(*a), self.operand(*b));
                let absorbing: Option<u64> = match operation {
                    crate::ptx::LogicOp::And => Some(0),
                    crate::ptx::LogicOp::Or => Some(u64::MAX),
                    crate::ptx::LogicOp::Xor => None,
                };
                let mut planes = x.union(y);
                let Some(absorbing) = absorbing else {
                    return one(*d, planes);
                };
                let is_predicate = matches!(context.slots.of(*d), Slot::Predicate(_));
                for lane in lanes_of(planes.any() & context.mask) {
                    let (p, q) = (context.value(*a, lane), context.value(*b, lane));
                    let mut bits = planes.lane(lane);
                    let absorbs = |value: u64, undefined: u32, byte: u32| {
                        let mask = if is_predicate { 1 } else { 0xff };
                        undefined >> byte & 1 == 0 && (value ^ absorbing) >> (8 * byte) & mask == 0
                    };
                    for byte in 0..8 {
                        if absorbs(p, x.lane(lane), byte) || absorbs(q, y.lane(lane), byte) {
                            bits &= !(1 << byte);
                        }
                    }
                    planes.set_lane(lane, bits);
                }
                one(*d, planes)
            }
            Op::Shift {
                direction,
                ty,
                d,
                a,
                b: Operand::Immediate(by),
            } if by % 8 == 0 && *by < 64 && ty.kind() != crate::ptx::TypeKind::Signed => {
                let by = isize::try_from(by / 8).ok()?;
                let signed = if *direction == ShiftDirection::Left {
                    by
                } else {
                    -by
                };
                one(
                    *d,
                    self.operand(*a)
                        .cut(ty.bytes())
                        .moved(signed)
                        .cut(ty.bytes()),
                )
            }
            Op::Prmt {
                mode: None,
                d,
                a,
                b,
                c: Operand::Immediate(selector),
            } => {
                let both = self
                    .operand(*a)
                    .cut(4)
                    .union(self.operand(*b).cut(4).moved(4));
                let pick = |byte: usize| both.0[index(low_u32(selector >> (4 * byte) & 7))];
                one(
                    *d,
                    Planes(std::array::from_fn(
                        |byte| if byte < 4 { pick(byte) } else { 0 },
                    )),
                )
            }
            Op::FloatBinary {
                ty: ScalarType::F16x2 | ScalarType::Bf16x2,
                d,
                a,
                b,
                ..
            } => one(*d, halves(self.operand(*a).union(self.operand(*b)))),
            Op::Fma {
                ty: ScalarType::F16x2 | ScalarType::Bf16x2,
                d,
                a,
                b,
                c,
                ..
            } => {
                let all = self
                    .operand(*a)
                    .union(self.operand(*b))
                    .union(self.operand(*c));
                one(*d, halves(all))
            }
            Op::Shfl { d, p, b, c, .. } => {
                let selects = self.operand(*b).any() | self.operand(*c).any();
                let planes = context.taken(op, &[(context.mask, self.given(op))]);
                let mut results = vec![(*d, planes.union(Planes::undefined(selects, 4)))];
                results.extend(p.map(|p| (p, Planes::undefined(selects, 1))));
                Some(results)
            }
            Op::Vote { d, a, .. } => {
                let some = self.of(a.register).any() & context.mask != 0;
                one(*d, Planes::undefined(if some { u32::MAX } else { 0 }, 8))
            }
            Op::Redux { d, a, .. } => {
                let some = self.operand(*a).any() & context.mask != 0;
                one(*d, Planes::undefined(if some { u32::MAX } else { 0 }, 8))
            }
            Op::Mma(mma) => Some(self.mma(mma)),
            Op::Match { d, p, a, .. } => {
                let some = self.operand(*a).any() & context.mask != 0;
                let planes = Planes::undefined(if some { u32::MAX } else { 0 }, 8);
                let mut results = vec![(*d, planes)];
                results.extend(p.map(|p| (p, planes)));
                Some(results)
            }
            // Every element of the matrix may move to any lane.
            Op::MovMatrix { d, a } => {
                let some = self.operand(*a).any() & context.mask != 0;
                one(*d, Planes::undefined(if some { u32::MAX } else { 0 }, 8))
            }
            // The default rule; a carry is taken as defined.
            Op::AddCarry { .. }
            | Op::MadCarry { .. }
            | Op::Product24 { .. }
            | Op::AbsoluteDifference { .. }
            | Op::Dot { .. }
            | Op::Lop3Predicate { .. }
            | Op::Set { .. }
            | Op::Slct { .. }
            | Op::TestProperty { .. }
            | Op::CopySign { .. }
            | Op::IsSpace { .. }
            | Op::CvtPacked { .. }
            | Op::Nanosleep { .. }
            | Op::CreatePolicy { .. }
            | Op::BranchIndexed { .. }
            | Op::Call(_)
            | Op::Wmma(_) => None,
            Op::IntegerBinary { .. }
            | Op::IntegerUnary { .. }
            | Op::Mad { .. }
            | Op::Shift { .. }
            | Op::FunnelShift { .. }
            | Op::Lop3 { .. }
            | Op::Prmt { .. }
            | Op::BitFieldExtract { .. }
            | Op::BitFieldInsert { .. }
            | Op::Bits { .. }
            | Op::BitFind { .. }
            | Op::Setp { .. }
            | Op::Cvt { .. }
            | Op::FloatBinary { .. }
            | Op::Fma { .. }
            | Op::FloatUnary { .. }
            | Op::Math { .. }
            | Op::FloatDiv { .. }
            | Op::ActiveMask { .. }
            | Op::BarrierSync { .. }
            | Op::BarrierArrive { .. }
            | Op::BarrierRed { .. }
            | Op::WarpSync { .. }
            | Op::Membar { .. }
            | Op::Fence { .. }
            | Op::Bra { .. }
            | Op::Ret
            | Op::Exit
            | Op::Trap
            // `wgmma` comes with what it reads of shared memory.
            | Op::Sm90(_) => None,
            // Handled where their addresses are known.
            Op::Ld { .. }
            | Op::St { .. }
            | Op::PrefetchLine { .. }
            | Op::Atomic { .. }
            | Op::CpAsync { .. }
            | Op::CpAsyncCommit
            | Op::CpAsyncWait { .. }
            | Op::CpAsyncWaitAll
            | Op::LdMatrix { .. }
            | Op::StMatrix { .. } => Some(Vec::new()),
        }
    }

    /// Every element of a row of A, or of a column of B, enters every result of that row or column: `0 * undefined` is
    /// undefined, as it may be `0 * NaN`.
    fn mma(&self, mma: &Mma) -> Vec<(RegisterId, Planes)> {
        // Lanes 4 g .. 4 g + 3 hold row g (and g + 8) of A and column g of B.
        let groups = |registers: &mut dyn Iterator<Item = &RegisterId>| -> u32 {
            let lanes = registers.fold(0, |any, register| any | self.of(*register).any());
            (0..8).fold(0, |groups, g| {
                groups | u32::from(lanes >> (4 * g) & 15 != 0) << g
            })
        };
        let rows = [
            groups(&mut mma.a.iter().step_by(2)),
            groups(&mut mma.a.iter().skip(1).step_by(2)),
        ];
        let columns = groups(&mut mma.b.iter());
        let format = if mma.d_type == ScalarType::F16 {
            Accumulator::F16
        } else {
            Accumulator::F32
        };
        let mut results = Vec::with_capacity(mma.d.len());
        for (which, (d, c)) in mma.d.iter().zip(&mma.c).enumerate() {
            let own = self.operand(*c).any();
            let mut any = 0;
            for lane in 0..32 {
                let (rows, own_columns) = match format {
                    Accumulator::F32 => (rows[which >> 1], 1 << (2 * (lane % 4) + which % 2)),
                    Accumulator::F16 => (rows[which], 3 << (2 * (lane % 4))),
                };
                let spoiled = rows >> (lane / 4) & 1 == 1 || columns & own_columns != 0;
                any |= (u32::from(spoiled) | own >> lane & 1) << lane;
            }
            results.push((*d, Planes::undefined(any, 4)));
        }
        results
    }
}

/// Undefined bytes spread over their half.
fn halves(planes: Planes) -> Planes {
    let p = planes.0;
    let (low, high) = (p[0] | p[1], p[2] | p[3]);
    Planes([low, low, high, high, 0, 0, 0, 0])
}
