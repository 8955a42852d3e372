//! The one match on instructions, and how operands are read.

use super::super::arithmetic::integer::Word;
use super::cta::Machine;
use super::program::Program;
use super::warp::Warp;
use super::{Halt, Lanes, Next, Registers, Slot, lanes};
use crate::convert::{index, low_u32};
use crate::ptx::{
    Address, AddressBase, Instruction, Op, Operand, Predicate, RegisterId, ScalarType,
    SpecialRegister, TypeKind,
};

/// A word that registers hold.
pub(super) trait RegisterWord: Word {
    /// The register itself, if it has words of this width.
    fn borrow(registers: &Registers, slot: Slot) -> Option<&Lanes<Self>>;
    fn read(registers: &Registers, slot: Slot) -> Lanes<Self>;
    fn write(registers: &mut Registers, slot: Slot, mask: u32, value: &Lanes<Self>);
}

impl RegisterWord for u32 {
    #[inline]
    fn borrow(registers: &Registers, slot: Slot) -> Option<&Lanes<Self>> {
        registers.as_word(slot)
    }
    #[inline]
    fn read(registers: &Registers, slot: Slot) -> Lanes<Self> {
        registers.word(slot)
    }
    #[inline]
    fn write(registers: &mut Registers, slot: Slot, mask: u32, value: &Lanes<Self>) {
        registers.set_word(slot, mask, value);
    }
}

impl RegisterWord for u64 {
    #[inline]
    fn borrow(registers: &Registers, slot: Slot) -> Option<&Lanes<Self>> {
        registers.as_long(slot)
    }
    #[inline]
    fn read(registers: &Registers, slot: Slot) -> Lanes<Self> {
        registers.long(slot)
    }
    #[inline]
    fn write(registers: &mut Registers, slot: Slot, mask: u32, value: &Lanes<Self>) {
        registers.set_long(slot, mask, value);
    }
}

/// Room for the values of an operand that is no register of that width.
pub(super) type Spare<W> = Option<Lanes<W>>;

/// Where an instruction stands and for which lanes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Site<'a> {
    pub(super) at: usize,
    pub(super) path: u32,
    pub(super) mask: u32,
    pub(super) instruction: &'a Instruction,
}

impl Site<'_> {
    pub(super) fn unsupported(&self, what: impl Into<String>) -> Halt {
        Halt::Unsupported {
            at: self.at,
            what: what.into(),
        }
    }
}

impl Machine<'_> {
    /// Executes one instruction for the lanes of `active`.
    pub(super) fn execute(
        &mut self,
        warp: &mut Warp,
        at: usize,
        path: u32,
        active: u32,
        instruction: &Instruction,
    ) -> Result<Next, Halt> {
        let site = Site {
            at,
            path,
            mask: active,
            instruction,
        };
        match &instruction.op {
            Op::IntegerBinary { .. }
            | Op::IntegerUnary { .. }
            | Op::Mad { .. }
            | Op::Logic { .. }
            | Op::Not { .. }
            | Op::Shift { .. }
            | Op::FunnelShift { .. }
            | Op::Lop3 { .. }
            | Op::Prmt { .. }
            | Op::BitFieldExtract { .. }
            | Op::BitFieldInsert { .. }
            | Op::Bits { .. }
            | Op::BitFind { .. } => self.integer(warp, &site).map(|()| Next::Continue),
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
            | Op::IsSpace { .. } => self.product(warp, &site).map(|()| Next::Continue),
            Op::Setp { ty, .. } => {
                if ty.kind() == TypeKind::Float {
                    self.compare_floats(warp, &site);
                } else {
                    self.compare_integers(warp, &site);
                }
                Ok(Next::Continue)
            }
            Op::Selp { .. }
            | Op::Mov { .. }
            | Op::Pack { .. }
            | Op::Unpack { .. }
            | Op::Cvta { .. } => self.move_bits(warp, &site).map(|()| Next::Continue),
            Op::Cvt { .. } | Op::CvtPair { .. } | Op::CvtPacked { .. } => {
                self.convert(warp, &site).map(|()| Next::Continue)
            }
            Op::FloatBinary { .. }
            | Op::Fma { .. }
            | Op::FloatUnary { .. }
            | Op::Math { .. }
            | Op::FloatDiv { .. } => self.float(warp, &site).map(|()| Next::Continue),
            Op::Ld { .. } => self.load(warp, &site).map(|()| Next::Continue),
            Op::St { .. } => self.store(warp, &site).map(|()| Next::Continue),
            Op::Atomic { .. } => self.atomic(warp, &site).map(|()| Next::Continue),
            // Hints and orders: every access here is complete, and ordered, when its instruction is.
            Op::PrefetchLine { .. }
            | Op::Membar { .. }
            | Op::Fence { .. }
            | Op::Nanosleep { .. } => Ok(Next::Continue),
            // A policy is a hint and opaque: any value will do, and zero is the same everywhere.
            Op::CreatePolicy { d, .. } => {
                self.write(warp, *d, active, &[0_u64; 32]);
                Ok(Next::Continue)
            }
            Op::Wmma(_) => unreachable!("`ptx::inline` has made plain code of it"),
            // `ptx::inline` has put every function that the module defines in place of its calls.
            Op::Call(call) => Err(site.unsupported(format!(
                "a call of `{}`, which the module does not define",
                self.program
                    .module
                    .callees
                    .get(index(call.function))
                    .map_or("?", |callee| &callee.function.name)
            ))),
            Op::BranchIndexed { .. } => Err(site.unsupported("a branch by a list of labels")),
            Op::Shfl { .. }
            | Op::Vote { .. }
            | Op::Redux { .. }
            | Op::ActiveMask { .. }
            | Op::Match { .. }
            | Op::WarpSync { .. } => self.across_lanes(warp, &site),
            Op::BarrierSync { .. } | Op::BarrierArrive { .. } | Op::BarrierRed { .. } => {
                self.barrier(warp, &site)
            }
            Op::CpAsync { .. }
            | Op::CpAsyncCommit
            | Op::CpAsyncWait { .. }
            | Op::CpAsyncWaitAll => self.asynchronous(warp, &site).map(|()| Next::Continue),
            Op::LdMatrix { .. } | Op::StMatrix { .. } | Op::MovMatrix { .. } | Op::Mma(_) => {
                self.matrix(warp, &site)
            }
            Op::Sm90(op) => self.sm90(warp, &site, op),
            Op::Bra { target, .. } => Ok(Next::Jump(index(target.0))),
            Op::Ret | Op::Exit => Ok(Next::Exit),
            Op::Trap => {
                let lane = index(active.trailing_zeros());
                Err(Halt::Trap {
                    at,
                    thread: super::program::thread_of(warp.index, lane),
                })
            }
        }
    }

    /// Values of an operand in all lanes: the register itself if that is possible, else made in `spare`.
    #[inline]
    pub(super) fn hold<'w, W: RegisterWord>(
        &self,
        warp: &'w Warp,
        operand: Operand,
        spare: &'w mut Spare<W>,
    ) -> &'w Lanes<W> {
        if let Operand::Register(register) = operand
            && let Some(lanes) = W::borrow(&warp.registers, self.program.slots.of(register))
        {
            return lanes;
        }
        spare.insert(self.read(warp, operand))
    }

    /// Values of an operand in all lanes.
    #[inline]
    pub(super) fn read<W: RegisterWord>(&self, warp: &Warp, operand: Operand) -> Lanes<W> {
        match operand {
            Operand::Register(register) => {
                W::read(&warp.registers, self.program.slots.of(register))
            }
            Operand::Immediate(bits) => [W::from_u64(bits); 32],
            Operand::Address(symbol, offset) => {
                [W::from_u64(self.program.address(symbol).wrapping_add_signed(offset)); 32]
            }
            Operand::Special(register) => self.special(warp, register).map(W::from_u64),
        }
    }

    #[inline]
    pub(super) fn write<W: RegisterWord>(
        &self,
        warp: &mut Warp,
        register: RegisterId,
        mask: u32,
        value: &Lanes<W>,
    ) {
        W::write(
            &mut warp.registers,
            self.program.slots.of(register),
            mask,
            value,
        );
    }

    /// Writes values of type `ty` to a register that may be wider: extended by their sign for signed types.
    pub(super) fn write_extended(
        &self,
        warp: &mut Warp,
        register: RegisterId,
        mask: u32,
        value: &Lanes<u64>,
        ty: ScalarType,
    ) {
        let keep = Program::register_mask(self.program.slots.type_of(register));
        let signed = ty.kind() == TypeKind::Signed;
        let bits = ty.bits();
        let extended = value.map(|x| {
            let x = x & ty.mask();
            (if signed {
                super::super::arithmetic::integer::sign_extend(x, bits)
            } else {
                x
            }) & keep
        });
        self.write(warp, register, mask, &extended);
    }

    pub(super) fn predicate(&self, warp: &Warp, predicate: Predicate) -> u32 {
        warp.predicate(&self.program.slots, predicate)
    }

    /// A bit a lane of an operand of type `pred`.
    pub(super) fn read_predicate(&self, warp: &Warp, operand: Operand) -> u32 {
        match operand {
            Operand::Register(register) => {
                warp.registers.predicate(self.program.slots.of(register))
            }
            Operand::Immediate(bits) => {
                if bits & 1 == 1 {
                    u32::MAX
                } else {
                    0
                }
            }
            // No symbol and no special register is a predicate.
            Operand::Address(..) | Operand::Special(_) => 0,
        }
    }

    pub(super) fn write_predicate(
        &self,
        warp: &mut Warp,
        register: RegisterId,
        mask: u32,
        value: u32,
    ) {
        warp.registers
            .set_predicate(self.program.slots.of(register), mask, value);
    }

    /// Addresses of an access in the space it names.
    pub(super) fn addresses(&self, warp: &Warp, address: &Address) -> Lanes<u64> {
        let offset = address.offset;
        match address.base {
            AddressBase::Register(register) => {
                let slot = self.program.slots.of(register);
                // A 32-bit address wraps at 32 bits.
                match slot {
                    Slot::Word(_) => u32::read(&warp.registers, slot).map(|base| {
                        u64::from(low_u32(u64::from(base).wrapping_add_signed(offset)))
                    }),
                    Slot::Long(_) | Slot::Predicate(_) => u64::read(&warp.registers, slot)
                        .map(|base| base.wrapping_add_signed(offset)),
                }
            }
            AddressBase::Symbol(symbol) => {
                [self.program.address(symbol).wrapping_add_signed(offset); 32]
            }
            AddressBase::Absolute => [offset.cast_unsigned(); 32],
        }
    }

    fn special(&self, warp: &Warp, register: SpecialRegister) -> Lanes<u64> {
        use SpecialRegister as R;
        let same = |x: u32| [u64::from(x); 32];
        let tid = |dimension| {
            self.program
                .thread_indices(warp.index, dimension)
                .map(u64::from)
        };
        let lane_mask = |of: fn(u32) -> u32| {
            lanes(|lane| u64::from(of(u32::try_from(lane).expect("below 32"))))
        };
        let launch = self.program.launch;
        match register {
            R::TidX => tid(0),
            R::TidY => tid(1),
            R::TidZ => tid(2),
            R::NtidX => same(launch.cta[0]),
            R::NtidY => same(launch.cta[1]),
            R::NtidZ => same(launch.cta[2]),
            R::CtaidX => same(self.cta[0]),
            R::CtaidY => same(self.cta[1]),
            R::CtaidZ => same(self.cta[2]),
            R::NctaidX => same(launch.grid[0]),
            R::NctaidY => same(launch.grid[1]),
            R::NctaidZ => same(launch.grid[2]),
            R::Laneid => lane_mask(|lane| lane),
            R::Warpid => [u64::try_from(warp.index).expect("at most 32 warps"); 32],
            R::Nwarpid => same(self.program.threads().div_ceil(32)),
            // One multiprocessor, one grid.
            R::Smid | R::Gridid => same(0),
            R::Nsmid => same(1),
            R::LanemaskEq => lane_mask(|lane| 1 << lane),
            R::LanemaskLt => lane_mask(|lane| (1 << lane) - 1),
            R::LanemaskLe => lane_mask(|lane| u32::MAX >> (31 - lane)),
            R::LanemaskGe => lane_mask(|lane| u32::MAX << lane),
            R::LanemaskGt => lane_mask(|lane| !(u32::MAX >> (31 - lane))),
            // Time is the count of executed instructions: it moves, and is the same in every run.
            R::Clock => same(low_u32(self.executed)),
            R::ClockHi => same(low_u32(self.executed >> 32)),
            R::Clock64 | R::Globaltimer => [self.executed; 32],
            R::GlobaltimerLo => same(low_u32(self.executed)),
            R::GlobaltimerHi => same(low_u32(self.executed >> 32)),
            R::DynamicSmemSize => same(launch.shared_bytes),
            // Every CTA is a cluster of its own.
            R::ClusteridX => same(self.cta[0]),
            R::ClusteridY => same(self.cta[1]),
            R::ClusteridZ => same(self.cta[2]),
            R::NclusteridX => same(launch.grid[0]),
            R::NclusteridY => same(launch.grid[1]),
            R::NclusteridZ => same(launch.grid[2]),
            R::ClusterCtaidX | R::ClusterCtaidY | R::ClusterCtaidZ | R::ClusterCtarank => same(0),
            R::ClusterNctaidX | R::ClusterNctaidY | R::ClusterNctaidZ | R::ClusterNctarank => {
                same(1)
            }
            R::TotalSmemSize => [u64::try_from(self.shared.len()).expect("at most 227 KiB"); 32],
        }
    }
}
