//! Basic blocks of a function and where threads that part meet again.

use crate::ptx::{Function, InstructionId, Op};
use std::ops::Range;

/// Index into `Graph::blocks`.
pub(super) type BlockIndex = usize;

/// Instructions that run one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// Indices of the instructions.
    pub(super) instructions: Range<usize>,
    /// Where its branch goes; `None` without branch or where that is the end of the function.
    pub(super) taken: Option<BlockIndex>,
    /// What follows in the text; `None` where that is never reached from here or is the end.
    pub(super) next: Option<BlockIndex>,
    /// True where a thread may leave the function here.
    pub(super) may_end: bool,
}

/// Control flow of a function.
#[derive(Clone, Debug)]
pub(super) struct Graph {
    /// Blocks in the order of the text; the first is the entry.
    pub(super) blocks: Vec<Block>,
    /// True for a block that some block at or after it in depth-first order jumps back to.
    pub(super) is_loop_head: Vec<bool>,
    /// The first block that every path from a block to the end passes; `None` where there is none.
    pub(super) meeting: Vec<Option<BlockIndex>>,
}

/// An instruction's id as an index.
fn index(id: InstructionId) -> usize {
    usize::try_from(id.0).unwrap_or(usize::MAX)
}

/// True where control does not simply go on to the next instruction.
fn ends_block(op: &Op) -> bool {
    matches!(op, Op::Bra { .. } | Op::Ret | Op::Exit | Op::Trap)
}

impl Block {
    /// Blocks that may follow: the branch target first.
    pub(super) fn successors(&self) -> impl Iterator<Item = BlockIndex> + use<> {
        let next = self.next.filter(|next| self.taken != Some(*next));
        self.taken.into_iter().chain(next)
    }
}

impl Graph {
    /// Cuts a function at its branches and branch targets.
    pub(super) fn new(function: &Function) -> Self {
        let count = function.instructions.len();
        let mut starts = vec![false; count + 1];
        starts[0] = true;
        for (at, instruction) in function.instructions.iter().enumerate() {
            if let Op::Bra { target, .. } = &instruction.op {
                starts[index(*target).min(count)] = true;
            }
            starts[at + 1] |= ends_block(&instruction.op);
        }
        let firsts: Vec<usize> = (0..count).filter(|at| starts[*at]).collect();
        // `blocks.len()` stands for the end of the function.
        let block_at = |at: usize| firsts.partition_point(|first| *first < at);
        let blocks: Vec<Block> = firsts
            .iter()
            .enumerate()
            .map(|(block, first)| {
                let end = firsts.get(block + 1).copied().unwrap_or(count);
                let last = &function.instructions[end - 1];
                let target = if let Op::Bra { target, .. } = &last.op {
                    Some(block_at(index(*target)))
                } else {
                    None
                };
                let goes_on = !ends_block(&last.op) || last.guard.is_some();
                let inside = |block: &BlockIndex| *block < firsts.len();
                let (taken, next) = (
                    target.filter(inside),
                    goes_on.then_some(block + 1).filter(inside),
                );
                let leaves = matches!(last.op, Op::Ret | Op::Exit | Op::Trap);
                let may_end =
                    leaves || (target.is_some() && taken.is_none()) || (goes_on && next.is_none());
                Block {
                    instructions: *first..end,
                    taken,
                    next,
                    may_end,
                }
            })
            .collect();
        let is_loop_head = loop_heads(&blocks);
        let meeting = meetings(&blocks);
        Self {
            blocks,
            is_loop_head,
            meeting,
        }
    }

    /// Blocks that a thread may pass between `from` and `to` (or the end), without both.
    pub(super) fn between(&self, from: BlockIndex, to: Option<BlockIndex>) -> Vec<BlockIndex> {
        let mut seen = vec![false; self.blocks.len()];
        let mut left: Vec<BlockIndex> = self.blocks[from].successors().collect();
        while let Some(block) = left.pop() {
            if Some(block) != to && !seen[block] {
                seen[block] = true;
                left.extend(self.blocks[block].successors());
            }
        }
        (0..self.blocks.len())
            .filter(|block| seen[*block])
            .collect()
    }
}

/// Targets of edges that go back along the depth-first walk.
fn loop_heads(blocks: &[Block]) -> Vec<bool> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut heads = vec![false; blocks.len()];
    let mut marks = vec![Mark::New; blocks.len()];
    let mut stack = if blocks.is_empty() {
        Vec::new()
    } else {
        vec![(0, 0)]
    };
    while let Some((block, edge)) = stack.pop() {
        marks[block] = Mark::Open;
        match blocks[block].successors().nth(edge) {
            None => marks[block] = Mark::Done,
            Some(next) => {
                stack.push((block, edge + 1));
                match marks[next] {
                    Mark::New => stack.push((next, 0)),
                    Mark::Open => heads[next] = true,
                    Mark::Done => {}
                }
            }
        }
    }
    heads
}

/// Immediate post-dominators: Cooper, Harvey and Kennedy's iteration ("A Simple, Fast Dominance Algorithm", 2001) on the
/// reversed graph, whose root is the end of the function. A block from which the end cannot be reached has none.
fn meetings(blocks: &[Block]) -> Vec<Option<BlockIndex>> {
    let end = blocks.len();
    let mut before: Vec<Vec<BlockIndex>> = vec![Vec::new(); end + 1];
    for (at, block) in blocks.iter().enumerate() {
        for next in block.successors() {
            before[next].push(at);
        }
        if block.may_end {
            before[end].push(at);
        }
    }
    let order = postorder(&before, end);
    let mut rank = vec![None; end + 1];
    for (at, block) in order.iter().enumerate() {
        rank[*block] = Some(at);
    }
    let mut nearest: Vec<Option<BlockIndex>> = vec![None; end + 1];
    nearest[end] = Some(end);
    let mut changed = true;
    while changed {
        changed = false;
        for &block in order.iter().rev().filter(|block| **block != end) {
            let after = blocks[block].successors();
            let ends = blocks[block].may_end.then_some(end);
            let met = after
                .chain(ends)
                .filter(|next| nearest[*next].is_some())
                .reduce(|a, b| common(&nearest, &rank, a, b));
            if met.is_some() && nearest[block] != met {
                nearest[block] = met;
                changed = true;
            }
        }
    }
    nearest.truncate(end);
    nearest
        .into_iter()
        .map(|met| met.filter(|met| *met != end))
        .collect()
}

/// The first block on both ways up from two blocks.
fn common(
    nearest: &[Option<BlockIndex>],
    rank: &[Option<usize>],
    mut a: BlockIndex,
    mut b: BlockIndex,
) -> BlockIndex {
    let up = |block: BlockIndex| nearest[block].expect("a block that was reached has one");
    while a != b {
        while rank[a] < rank[b] {
            a = up(a);
        }
        while rank[b] < rank[a] {
            b = up(b);
        }
    }
    a
}

/// Nodes reached from a root, each after those reached from it.
fn postorder(edges: &[Vec<BlockIndex>], root: BlockIndex) -> Vec<BlockIndex> {
    let mut order = Vec::new();
    let mut seen = vec![false; edges.len()];
    seen[root] = true;
    let mut stack = vec![(root, 0)];
    while let Some((node, edge)) = stack.pop() {
        match edges[node].get(edge) {
            None => order.push(node),
            Some(&next) => {
                stack.push((node, edge + 1));
                if !seen[next] {
                    seen[next] = true;
                    stack.push((next, 0));
                }
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ptx::parse;

    fn graph(code: &str) -> Graph {
        let text = format!(
            ".version 9.0\n.target sm_80\n.address_size 64\n.entry k() {{\n.reg .pred %p<4>;\n.reg .b32 %r<4>;\n{code}\n}}"
        );
        Graph::new(&parse("test.ptx", &text).unwrap().functions[0])
    }

    #[test]
    fn a_loop_with_a_choice_inside() {
        let graph = graph(
            "mov.u32 %r1, 0;\nTOP: @%p1 bra SKIP;\nadd.s32 %r1, %r1, 1;\nSKIP: add.s32 %r1, %r1, 1;\n@%p2 bra TOP;\nret;",
        );
        let successors: Vec<_> = graph
            .blocks
            .iter()
            .map(|block| block.successors().collect::<Vec<_>>())
            .collect();
        assert_eq!(
            successors,
            [vec![1], vec![3, 2], vec![3], vec![1, 4], vec![]]
        );
        assert_eq!(graph.is_loop_head, [false, true, false, false, false]);
        assert_eq!(graph.meeting, [Some(1), Some(3), Some(3), Some(4), None]);
        assert_eq!(graph.between(1, Some(3)), [2]);
    }

    #[test]
    fn labels_at_the_end_and_empty_bodies() {
        assert_eq!(graph("").blocks, []);
        let graph = graph("@%p1 bra END;\nmov.u32 %r1, 1;\nEND:");
        assert_eq!(graph.blocks[0].successors().collect::<Vec<_>>(), [1]);
        assert_eq!(graph.blocks[1].successors().count(), 0);
        assert_eq!((graph.blocks[0].may_end, graph.meeting[0]), (true, None));
    }
}
