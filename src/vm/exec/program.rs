//! A function made ready to run: slots of registers, addresses of symbols, class of each instruction.

use super::super::launch::{Launch, Layout, Options};
use super::super::target::Target;
use super::{Lanes, Slots, lanes};
use crate::convert::index;
use crate::ptx::{Function, Instruction, Module, Op, ScalarType, Symbol, TypeKind};
use crate::simd::Level;

/// Class of an instruction, for counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Class {
    Integer,
    Float,
    Function,
    Move,
    Memory,
    Matrix,
    Mma,
    AsyncCopy,
    Warp,
    Barrier,
    Branch,
}

impl Class {
    pub(crate) const ALL: [(Self, &'static str); 11] = [
        (Self::Integer, "integer"),
        (Self::Float, "float"),
        (Self::Function, "function"),
        (Self::Move, "move"),
        (Self::Memory, "memory"),
        (Self::Matrix, "matrix load"),
        (Self::Mma, "mma"),
        (Self::AsyncCopy, "async copy"),
        (Self::Warp, "warp"),
        (Self::Barrier, "barrier"),
        (Self::Branch, "branch"),
    ];

    /// Position in [`Class::ALL`].
    pub(crate) fn index(self) -> usize {
        Self::ALL
            .iter()
            .position(|(class, _)| *class == self)
            .unwrap_or(0)
    }

    fn of(op: &Op) -> Self {
        match op {
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
            | Op::BitFind { .. } => Self::Integer,
            Op::AddCarry { .. }
            | Op::MadCarry { .. }
            | Op::Product24 { .. }
            | Op::AbsoluteDifference { .. }
            | Op::Dot { .. }
            | Op::Lop3Predicate { .. }
            | Op::IsSpace { .. } => Self::Integer,
            Op::TestProperty { .. } | Op::CopySign { .. } => Self::Float,
            Op::Set { from: ty, .. } | Op::Setp { ty, .. } => {
                if ty.kind() == TypeKind::Float {
                    Self::Float
                } else {
                    Self::Integer
                }
            }
            Op::Selp { .. }
            | Op::Mov { .. }
            | Op::Pack { .. }
            | Op::Unpack { .. }
            | Op::Cvt { .. }
            | Op::CvtPair { .. }
            | Op::CvtPacked { .. }
            | Op::Slct { .. }
            | Op::CreatePolicy { .. }
            | Op::Cvta { .. } => Self::Move,
            Op::Ld { .. } | Op::St { .. } | Op::PrefetchLine { .. } | Op::Atomic { .. } => {
                Self::Memory
            }
            Op::FloatBinary { .. } | Op::Fma { .. } | Op::FloatUnary { .. } => Self::Float,
            Op::Math { .. } | Op::FloatDiv { .. } => Self::Function,
            Op::Shfl { .. }
            | Op::Vote { .. }
            | Op::Redux { .. }
            | Op::Match { .. }
            | Op::ActiveMask { .. } => Self::Warp,
            Op::BarrierSync { .. }
            | Op::BarrierArrive { .. }
            | Op::BarrierRed { .. }
            | Op::WarpSync { .. }
            | Op::Membar { .. }
            | Op::Fence { .. } => Self::Barrier,
            Op::CpAsync { .. }
            | Op::CpAsyncCommit
            | Op::CpAsyncWait { .. }
            | Op::CpAsyncWaitAll => Self::AsyncCopy,
            Op::LdMatrix { .. } | Op::StMatrix { .. } | Op::MovMatrix { .. } => Self::Matrix,
            Op::Mma(_) | Op::Wmma(_) => Self::Mma,
            Op::Bra { .. }
            | Op::BranchIndexed { .. }
            | Op::Call(_)
            | Op::Nanosleep { .. }
            | Op::Ret
            | Op::Exit
            | Op::Trap => Self::Branch,
            Op::Sm90(op) => super::sm90::class(op),
        }
    }
}

/// A launch of a function, the same for all CTAs.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    pub(crate) module: &'a Module,
    pub(crate) function: &'a Function,
    pub(crate) launch: &'a Launch,
    pub(crate) layout: Layout,
    pub(crate) target: Target,
    /// Order in which asynchronous work is done; 0 is as late as can be, oldest first.
    pub(crate) seed: u64,
    pub(crate) options: Options,
    pub(crate) slots: Slots,
    /// What the loops over lanes are compiled for.
    pub(crate) level: Level,
    /// Position of each instruction's class in [`Class::ALL`].
    pub(crate) classes: Vec<usize>,
}

impl<'a> Program<'a> {
    pub(crate) fn new(
        module: &'a Module,
        function: &'a Function,
        launch: &'a Launch,
        layout: Layout,
        options: &Options,
    ) -> Self {
        Self {
            module,
            function,
            launch,
            layout,
            target: options.target,
            options: *options,
            seed: options.seed,
            slots: Slots::new(function),
            level: Level::best(),
            classes: function
                .instructions
                .iter()
                .map(|i| Class::of(&i.op).index())
                .collect(),
        }
    }

    pub(crate) fn instructions(&self) -> &'a [Instruction] {
        &self.function.instructions
    }

    /// Threads of a CTA.
    pub(crate) fn threads(&self) -> u32 {
        self.launch.cta.iter().product()
    }

    /// Address of a symbol in its own space.
    pub(crate) fn address(&self, symbol: Symbol) -> u64 {
        match symbol {
            Symbol::Module(at) => self.layout.module_variables[index(at)],
            Symbol::Function(at) => self.layout.function_variables[index(at)],
            Symbol::Param(at) => self.layout.params[index(at)],
        }
    }

    /// Index of a thread in x, y, z.
    pub(crate) fn thread_index(&self, thread: u32) -> [u32; 3] {
        let [x, y, _] = self.launch.cta;
        [thread % x, thread / x % y, thread / x / y]
    }

    /// One dimension of `%tid` for a warp.
    pub(crate) fn thread_indices(&self, warp: usize, dimension: usize) -> Lanes<u32> {
        lanes(|lane| self.thread_index(thread_of(warp, lane))[dimension])
    }

    /// Bits that a register of this type keeps.
    pub(crate) fn register_mask(ty: ScalarType) -> u64 {
        ty.mask()
    }
}

/// Index of a thread in its CTA.
pub(crate) fn thread_of(warp: usize, lane: usize) -> u32 {
    u32::try_from(32 * warp + lane).expect("a cta has at most 1024 threads")
}
