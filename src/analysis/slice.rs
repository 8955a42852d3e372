//! The registers on which what a pass asks about depends, and where they are live.

use super::control_flow::Graph;
use crate::ptx::{Function, Op, RegisterId, TypeKind};
use rustc_hash::{FxHashMap, FxHashSet};

/// Registers worth following, numbered from 0.
#[derive(Debug)]
pub(super) struct Slice {
    numbers: FxHashMap<RegisterId, usize>,
    /// True for registers on which more than branches depend.
    exact: Vec<bool>,
    /// For each block, whether each register's value at its start may still be read.
    live: Vec<Vec<bool>>,
}

impl Slice {
    /// The slice of what `asked` names: the registers that an instruction's part in the question needs, `None` where it
    /// has none. The guards of those instructions, and of branches, are in the slice.
    pub(super) fn new(
        function: &Function,
        graph: &Graph,
        asked: impl Fn(&Op) -> Option<Vec<RegisterId>>,
    ) -> Self {
        let numbers = wanted(function, &asked, true);
        let more = wanted(function, &asked, false);
        let mut exact = vec![false; numbers.len()];
        for register in more.keys() {
            exact[numbers[register]] = true;
        }
        let live = liveness(function, graph, &numbers);
        Self {
            numbers,
            exact,
            live,
        }
    }

    /// Number of registers.
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Number of a register, if it is followed.
    pub(super) fn number(&self, register: RegisterId) -> Option<usize> {
        self.numbers.get(&register).copied()
    }

    /// Whether what is asked of an instruction depends on a register, and not branches alone.
    pub(super) fn is_exact(&self, number: usize) -> bool {
        self.exact[number]
    }

    /// Whether a register is live at the start of a block.
    pub(super) fn is_live(&self, block: usize, number: usize) -> bool {
        self.live[block][number]
    }
}

/// How an instruction's results follow from what it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follows {
    /// Number for number.
    Numbers,
    /// The same operands give the same result, whatever it is: floats, and what is not evaluated.
    Alike,
    /// Not from the operands alone.
    Not,
}

pub(super) fn follows(op: &Op) -> Follows {
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
        | Op::BitFind { .. }
        | Op::Selp { .. }
        | Op::Mov { .. }
        | Op::Pack { .. }
        | Op::Unpack { .. }
        | Op::Cvta { .. }
        | Op::Ld { .. } => Follows::Numbers,
        Op::Setp { ty, .. } if ty.kind() != TypeKind::Float => Follows::Numbers,
        Op::Cvt { to, from, .. }
            if to.kind() != TypeKind::Float && from.kind() != TypeKind::Float =>
        {
            Follows::Numbers
        }
        Op::Setp { .. }
        | Op::Cvt { .. }
        | Op::Product24 { .. }
        | Op::AbsoluteDifference { .. }
        | Op::Dot { .. }
        | Op::Set { .. }
        | Op::Slct { .. }
        | Op::TestProperty { .. }
        | Op::CopySign { .. }
        | Op::CvtPacked { .. }
        | Op::CvtPair { .. }
        | Op::FloatBinary { .. }
        | Op::Fma { .. }
        | Op::FloatUnary { .. }
        | Op::Math { .. }
        | Op::FloatDiv { .. }
        | Op::Shfl { .. } => Follows::Alike,
        Op::AddCarry { .. }
        | Op::MadCarry { .. }
        | Op::Lop3Predicate { .. }
        | Op::IsSpace { .. }
        | Op::Match { .. }
        | Op::Nanosleep { .. }
        | Op::CreatePolicy { .. }
        | Op::MovMatrix { .. }
        | Op::BranchIndexed { .. }
        | Op::Call(_)
        | Op::St { .. }
        | Op::PrefetchLine { .. }
        | Op::Atomic { .. }
        | Op::Vote { .. }
        | Op::Redux { .. }
        | Op::ActiveMask { .. }
        | Op::Sm90(_)
        | Op::BarrierSync { .. }
        | Op::BarrierArrive { .. }
        | Op::BarrierRed { .. }
        | Op::WarpSync { .. }
        | Op::Membar { .. }
        | Op::Fence { .. }
        | Op::CpAsync { .. }
        | Op::CpAsyncCommit
        | Op::CpAsyncWait { .. }
        | Op::CpAsyncWaitAll
        | Op::LdMatrix { .. }
        | Op::StMatrix { .. }
        | Op::Mma(_)
        | Op::Wmma(_)
        | Op::Bra { .. }
        | Op::Ret
        | Op::Exit
        | Op::Trap => Follows::Not,
    }
}

/// Instructions that write each register.
fn writers(function: &Function) -> FxHashMap<RegisterId, Vec<usize>> {
    let mut writers: FxHashMap<RegisterId, Vec<usize>> = FxHashMap::default();
    for (at, instruction) in function.instructions.iter().enumerate() {
        for register in instruction.op.writes() {
            writers.entry(register).or_default().push(at);
        }
    }
    writers
}

/// Registers that hold, somewhere, what follows from no operands: products, shuffled values, atomics. Of what is
/// computed from them there is nothing to say, so that the slice need not hold the arithmetic of a kernel.
fn lost(function: &Function) -> FxHashSet<RegisterId> {
    let mut readers: FxHashMap<RegisterId, Vec<usize>> = FxHashMap::default();
    let mut left = Vec::new();
    for (at, instruction) in function.instructions.iter().enumerate() {
        for register in instruction.op.reads() {
            readers.entry(register).or_default().push(at);
        }
        if follows(&instruction.op) == Follows::Not {
            left.extend(instruction.op.writes());
        }
    }
    let mut lost = FxHashSet::default();
    while let Some(register) = left.pop() {
        if lost.insert(register) {
            for at in readers.get(&register).into_iter().flatten() {
                left.extend(function.instructions[*at].op.writes());
            }
        }
    }
    lost
}

fn wanted(
    function: &Function,
    asked: &impl Fn(&Op) -> Option<Vec<RegisterId>>,
    branches: bool,
) -> FxHashMap<RegisterId, usize> {
    let (writers, lost) = (writers(function), lost(function));
    let mut numbers = FxHashMap::default();
    let mut left: Vec<RegisterId> = Vec::new();
    for instruction in &function.instructions {
        let needed = asked(&instruction.op);
        let branch = matches!(instruction.op, Op::Bra { .. } | Op::Ret | Op::Exit);
        if needed.is_some() || (branches && branch) {
            left.extend(instruction.guard.map(|guard| guard.register));
        }
        left.extend(needed.into_iter().flatten());
    }
    while let Some(register) = left.pop() {
        let next = numbers.len();
        if numbers.contains_key(&register) {
            continue;
        }
        numbers.insert(register, next);
        for at in writers.get(&register).into_iter().flatten() {
            let instruction = &function.instructions[*at];
            left.extend(instruction.guard.map(|guard| guard.register));
            let followed = match follows(&instruction.op) {
                Follows::Numbers => true,
                Follows::Alike => !lost.contains(&register),
                Follows::Not => false,
            };
            if followed {
                left.extend(instruction.op.reads());
            }
        }
    }
    numbers
}

fn liveness(
    function: &Function,
    graph: &Graph,
    numbers: &FxHashMap<RegisterId, usize>,
) -> Vec<Vec<bool>> {
    let mut live = vec![vec![false; numbers.len()]; graph.blocks.len()];
    let mut changed = true;
    while changed {
        changed = false;
        for (at, block) in graph.blocks.iter().enumerate().rev() {
            let mut set = vec![false; numbers.len()];
            for next in block.successors() {
                set.iter_mut()
                    .zip(&live[next])
                    .for_each(|(one, other)| *one |= other);
            }
            for instruction in function.instructions[block.instructions.clone()]
                .iter()
                .rev()
            {
                let mut mark = |register: RegisterId, is_live: bool| {
                    if let Some(number) = numbers.get(&register) {
                        set[*number] = is_live;
                    }
                };
                if instruction.guard.is_none() {
                    instruction
                        .op
                        .writes()
                        .into_iter()
                        .for_each(|register| mark(register, false));
                }
                instruction
                    .op
                    .reads()
                    .into_iter()
                    .for_each(|register| mark(register, true));
                instruction
                    .guard
                    .iter()
                    .for_each(|guard| mark(guard.register, true));
            }
            if set != live[at] {
                live[at] = set;
                changed = true;
            }
        }
    }
    live
}
