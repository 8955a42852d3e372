//! The registers on which what a pass asks about depends, and where they are live.

use super::control_flow::Graph;
use crate::ptx::{Function, Op, RegisterId, TypeKind};
use std::collections::HashMap;

/// Registers worth following, numbered from 0.
#[derive(Debug)]
pub(super) struct Slice {
    numbers: HashMap<RegisterId, usize>,
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
        let numbers = wanted(function, asked);
        let live = liveness(function, graph, &numbers);
        Self { numbers, live }
    }

    /// Number of registers.
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Number of a register, if it is followed.
    pub(super) fn number(&self, register: RegisterId) -> Option<usize> {
        self.numbers.get(&register).copied()
    }

    /// Whether a register is live at the start of a block.
    pub(super) fn is_live(&self, block: usize, number: usize) -> bool {
        self.live[block][number]
    }
}

/// True where what an instruction computes can be followed through its operands.
fn is_followed(op: &Op) -> bool {
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
        | Op::Ld { .. } => true,
        Op::Setp { ty, .. } => ty.kind() != TypeKind::Float,
        Op::Cvt { to, from, .. } => to.kind() != TypeKind::Float && from.kind() != TypeKind::Float,
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
        | Op::Match { .. }
        | Op::Nanosleep { .. }
        | Op::CreatePolicy { .. }
        | Op::MovMatrix { .. }
        | Op::BranchIndexed { .. }
        | Op::Call(_)
        | Op::CvtPair { .. }
        | Op::St { .. }
        | Op::PrefetchLine { .. }
        | Op::Atomic { .. }
        | Op::FloatBinary { .. }
        | Op::Fma { .. }
        | Op::FloatUnary { .. }
        | Op::Math { .. }
        | Op::FloatDiv { .. }
        | Op::Shfl { .. }
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
        | Op::Bra { .. }
        | Op::Ret
        | Op::Exit
        | Op::Trap => false,
    }
}

fn wanted(
    function: &Function,
    asked: impl Fn(&Op) -> Option<Vec<RegisterId>>,
) -> HashMap<RegisterId, usize> {
    let mut writers: HashMap<RegisterId, Vec<usize>> = HashMap::new();
    for (at, instruction) in function.instructions.iter().enumerate() {
        for register in instruction.op.writes() {
            writers.entry(register).or_default().push(at);
        }
    }
    let mut numbers = HashMap::new();
    let mut left: Vec<RegisterId> = Vec::new();
    for instruction in &function.instructions {
        let needed = asked(&instruction.op);
        if needed.is_some() || matches!(instruction.op, Op::Bra { .. } | Op::Ret | Op::Exit) {
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
            if is_followed(&instruction.op) {
                left.extend(instruction.op.reads());
            }
        }
    }
    numbers
}

fn liveness(
    function: &Function,
    graph: &Graph,
    numbers: &HashMap<RegisterId, usize>,
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
