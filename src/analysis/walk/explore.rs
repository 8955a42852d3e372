//! Follows every path until no new state is met.

use super::global::{Choices, asked_global};
use super::meet::Meeting;
use super::state::{State, WrittenId, WrittenSets};
use super::{Aligned, Divergence, Walk, aligned, asked, is_barrier};
use crate::analysis::access::shared_access;
use crate::analysis::control_flow::{BlockIndex, Graph};
use crate::analysis::evaluate::Context;
use crate::analysis::slice::Slice;
use crate::analysis::uniformity;
use crate::analysis::value::{Value, ValueId};
use crate::ptx::{Instruction, Op, Operand, Predicate, RegisterId};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;

/// States after which the walk stops.
const STATES_MAX: usize = 20_000;

/// Distinct values of a register at a loop head before only its low bits are kept.
const VALUES_EXACT: usize = 20;

/// The same for a register that only branches ask for.
const VALUES_COUNTED: usize = 4;

/// Low bits that are kept.
const LOW_BITS: u32 = 4;

struct Node {
    state: Rc<State>,
    parent: Option<usize>,
}

/// What an instruction gives for the registers it reads.
type Results = HashMap<(usize, Vec<Option<ValueId>>), Vec<(RegisterId, ValueId)>>;

/// An access with the values of its address and guard.
pub(super) type Met = (usize, ValueId, ValueId);

/// Where on a path an instruction is executed, and by whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Here<'a> {
    /// The state's node.
    pub(super) node: usize,
    /// Threads that are on this way.
    pub(super) active: &'a Value,
    /// The branch where they parted from the others, if they have.
    pub(super) branch: Option<usize>,
}

/// The walk.
pub(super) struct Explorer<'c, 'm> {
    pub(super) context: &'c Context<'m>,
    pub(super) graph: Graph,
    pub(super) slice: Slice,
    pub(super) walk: Walk,
    nodes: Vec<Node>,
    seen: HashSet<Rc<State>>,
    at_loop_heads: HashMap<(BlockIndex, usize), HashSet<ValueId>>,
    pub(super) gathered: HashMap<State, Vec<State>>,
    pub(super) choices: Choices,
    pub(super) meetings: HashMap<(Met, Met), Meeting>,
    results: Results,
    pub(super) written: WrittenSets,
    pub(super) writes: HashMap<(WrittenId, Met), Option<WrittenId>>,
    pub(super) reads: HashSet<(WrittenId, bool, bool, Met)>,
    cap: u32,
    pub(super) reported: HashSet<(usize, usize)>,
}

impl<'c, 'm> Explorer<'c, 'm> {
    pub(super) fn new(context: &'c Context<'m>, graph: Graph) -> Self {
        let slice = match context.launch {
            None => Slice::new(context.function, &graph, asked),
            Some(_) => Slice::new(context.function, &graph, asked_global),
        };
        let waits = context
            .function
            .instructions
            .iter()
            .filter_map(|instruction| {
                if let Op::CpAsyncWait { groups } = instruction.op {
                    Some(groups)
                } else {
                    None
                }
            });
        let cap = waits.max().unwrap_or(0).saturating_add(1);
        let walk = Walk {
            block_starts: graph
                .blocks
                .iter()
                .map(|block| block.instructions.start)
                .collect(),
            ..Walk::default()
        };
        Self {
            context,
            graph,
            slice,
            walk,
            nodes: Vec::new(),
            seen: HashSet::new(),
            at_loop_heads: HashMap::new(),
            gathered: HashMap::new(),
            choices: Choices::default(),
            meetings: HashMap::new(),
            results: HashMap::new(),
            written: WrittenSets::new().0,
            writes: HashMap::new(),
            reads: HashSet::new(),
            cap,
            reported: HashSet::new(),
        }
    }

    pub(super) fn run(mut self) -> Walk {
        let (sets, empty) = WrittenSets::new();
        self.written = sets;
        if self.graph.blocks.is_empty() {
            return self.walk;
        }
        let start = State {
            block: 0,
            registers: vec![None; self.slice.len()],
            conditions: BTreeMap::new(),
            facts: BTreeMap::new(),
            entries: BTreeSet::new(),
            written: empty,
            wild: false,
            guessed: false,
        };
        self.enter(start, None);
        let mut next = 0;
        while next < self.nodes.len() {
            if self.nodes.len() > STATES_MAX {
                self.walk.gaps.insert((0, "more than 20000 states"));
                break;
            }
            self.step(next);
            next += 1;
        }
        self.walk.states = self.nodes.len();
        self.walk
    }

    /// Puts a state on the list unless it has been met.
    fn enter(&mut self, mut state: State, parent: Option<usize>) {
        self.settle(&mut state);
        if self.graph.is_loop_head[state.block] {
            self.gather(&mut state);
        }
        let state = Rc::new(state);
        if self.seen.insert(Rc::clone(&state)) {
            self.nodes.push(Node { state, parent });
        }
    }

    /// Forgets what is dead at the start of the state's block, and at a loop head what keeps changing.
    pub(super) fn settle(&mut self, state: &mut State) {
        for number in 0..self.slice.len() {
            if !self.slice.is_live(state.block, number) {
                state.registers[number] = None;
                state.conditions.remove(&number);
            }
        }
        if self.graph.is_loop_head[state.block] {
            self.rebase(state);
        }
        for number in 0..self.slice.len() {
            if self.graph.is_loop_head[state.block] {
                state.registers[number] =
                    state.registers[number].map(|id| self.widen(state.block, number, id));
            }
        }
        // What is known of values that no register has any more would only tell states apart.
        let held: HashSet<ValueId> = state.registers.iter().flatten().copied().collect();
        let kept = |id: ValueId| held.contains(&id) || self.walk.values.get(id).symbol.is_none();
        state.facts.retain(|fact, _| kept(fact.a) && kept(fact.b));
    }

    fn widen(&mut self, block: BlockIndex, number: usize, id: ValueId) -> ValueId {
        let met = self.at_loop_heads.entry((block, number)).or_default();
        let limit = if self.slice.is_exact(number) {
            VALUES_EXACT
        } else {
            VALUES_COUNTED
        };
        if met.len() < limit || met.contains(&id) {
            met.insert(id);
            return id;
        }
        let value = self.walk.values.get(id);
        // What only branches ask for need not be a number.
        if !self.slice.is_exact(number) && !value.differs() {
            return self.walk.values.id(Value::unknown(false));
        }
        let widened = if met.len() < VALUES_EXACT + (1 << (LOW_BITS + 1)) {
            value.low(LOW_BITS)
        } else {
            Value::unknown(value.differs())
        };
        let id = self.walk.values.id(widened);
        met.insert(id);
        id
    }

    /// Value of a register; what is not followed is unknown.
    pub(super) fn register(&self, state: &State, register: RegisterId) -> Value {
        let id = self
            .slice
            .number(register)
            .and_then(|number| state.registers[number]);
        id.map_or_else(
            || Value::unknown(true),
            |id| self.walk.values.get(id).clone(),
        )
    }

    pub(super) fn predicate(&self, state: &State, guard: Option<Predicate>) -> Value {
        guard.map_or_else(
            || Value::exact(1),
            |guard| {
                self.register(state, guard.register)
                    .map_predicate(guard.negated)
            },
        )
    }

    fn step(&mut self, node: usize) {
        let mut left = vec![Vec::new()];
        while let Some(made) = left.pop() {
            self.choices = Choices {
                made,
                ..Choices::default()
            };
            self.follow(node);
            left.append(&mut self.choices.others);
        }
    }

    fn follow(&mut self, node: usize) {
        let mut state = (*self.nodes[node].state).clone();
        let block = self.graph.blocks[state.block].clone();
        let here = Here {
            node,
            active: &Value::exact(1),
            branch: None,
        };
        if !self.run_block(&mut state, here) {
            return;
        }
        let at = block.instructions.end - 1;
        let last = &self.context.function.instructions[at];
        let leaves = matches!(last.op, Op::Bra { .. } | Op::Ret | Op::Exit | Op::Trap);
        match last.guard.filter(|_| leaves) {
            None => {
                let next = if matches!(last.op, Op::Bra { .. }) {
                    block.taken
                } else {
                    block.next
                };
                self.go(node, &state, next);
            }
            Some(guard) => self.branch(node, state, at, guard),
        }
    }

    /// Runs the instructions of the state's block; false where the way cannot be followed further.
    pub(super) fn run_block(&mut self, state: &mut State, here: Here<'_>) -> bool {
        let function = self.context.function;
        for at in self.graph.blocks[state.block].instructions.clone() {
            let instruction = &function.instructions[at];
            let jump = matches!(
                instruction.op,
                Op::Bra { .. } | Op::Ret | Op::Exit | Op::Trap
            );
            if !jump && !self.execute(state, at, instruction, here) {
                return false;
            }
        }
        true
    }

    pub(super) fn go(&mut self, node: usize, state: &State, block: Option<BlockIndex>) {
        if let Some(block) = block {
            let state = State {
                block,
                ..state.clone()
            };
            self.enter(state, Some(node));
        }
    }

    fn branch(&mut self, node: usize, state: State, at: usize, guard: Predicate) {
        let block = self.graph.blocks[state.block].clone();
        let condition = self.predicate(&state, Some(guard));
        let kind = uniformity::of(self.context.threads(), &condition);
        let worst = self.walk.branches.entry(at).or_insert(kind);
        *worst = kind.max(*worst);
        match condition.uniform() {
            Some(0) => self.go(node, &state, block.next),
            Some(_) => self.go(node, &state, block.taken),
            None if condition.differs() => self.part(node, state, at, &condition),
            None => {
                let comparison = self.comparison(&state, guard);
                let decided =
                    comparison.and_then(|(of, negated)| Some(*state.facts.get(&of)? != negated));
                for (taken, target) in [(true, block.taken), (false, block.next)] {
                    if decided.is_some_and(|decided| decided != taken) {
                        continue;
                    }
                    let mut state = state.clone();
                    state.guessed |= decided.is_none();
                    if let Some((of, negated)) = comparison {
                        state.facts.insert(of, taken != negated);
                    }
                    self.decide(&mut state, at, guard.register, taken != guard.negated);
                    self.go(node, &state, target);
                }
            }
        }
    }

    pub(super) fn write(&mut self, state: &mut State, register: RegisterId, value: Value) {
        if let Some(number) = self.slice.number(register) {
            state.registers[number] = Some(self.walk.values.id(value));
        }
    }

    /// Executes an instruction; false where the way cannot be followed further.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the others order nothing and touch no shared memory"
    )]
    fn execute(
        &mut self,
        state: &mut State,
        at: usize,
        instruction: &Instruction,
        here: Here<'_>,
    ) -> bool {
        let guard = self.predicate(state, instruction.guard);
        if guard.uniform() == Some(0) {
            return true;
        }
        let op = &instruction.op;
        let doing = Value::combine(&[&guard, here.active], |bits| bits[0].and(bits[1]).cut(1));
        let doing = if doing.is_known() || !(guard.differs() || here.active.differs()) {
            doing
        } else {
            // What is not known of a condition that differs must stay so.
            Value {
                varying: true,
                ..doing
            }
        };
        if self.context.launch.is_some() {
            self.global(state, at, op, &doing);
            self.assign(state, at, instruction, &guard, here.branch.is_none());
            return true;
        }
        if let Some(access) = shared_access(op) {
            self.access(state, at, access, &doing, here.node);
        }
        let together = match aligned(op) {
            Some(Aligned::Warp) => true,
            // Fewer lanes than all may be the ones that are here: that is not followed.
            Some(Aligned::Members(mask)) => {
                let read = |register| self.register(state, register);
                self.context.operand(mask, &read).uniform() == Some(0xffff_ffff)
            }
            None => match op {
                // One over a part of the CTA is another matter.
                Op::BarrierSync { threads, .. } | Op::BarrierRed { threads, .. } => {
                    self.is_whole_cta(state, *threads)
                }
                _ => false,
            },
        };
        if together && !self.is_together(at, op, &doing, here) {
            return false;
        }
        let certain = !doing.differs();
        match op {
            Op::CpAsyncCommit if certain => state.commit(self.cap),
            Op::CpAsyncWait { groups } if certain => state.wait(*groups),
            Op::CpAsyncWaitAll if certain => state.wait_all(),
            Op::CpAsyncCommit | Op::CpAsyncWait { .. } | Op::CpAsyncWaitAll => {
                self.walk
                    .gaps
                    .insert((at, "threads part around a commit or wait of copies"));
            }
            Op::BarrierSync { threads, .. } | Op::BarrierRed { threads, .. } => {
                if !self.is_whole_cta(state, *threads) {
                    self.walk
                        .gaps
                        .insert((at, "a barrier over a part of the CTA is not followed"));
                    return false;
                }
                state.barrier();
            }
            Op::BarrierArrive { .. } => {
                self.walk
                    .gaps
                    .insert((at, "a barrier over a part of the CTA is not followed"));
                return false;
            }
            Op::WarpSync { mask } => {
                let mask = self
                    .context
                    .operand(*mask, &|register| self.register(state, register));
                if mask.uniform() == Some(0xffff_ffff) {
                    state.warp_barrier();
                }
            }
            _ => {}
        }
        self.assign(state, at, instruction, &guard, false);
        true
    }

    /// Whether all threads that must execute an instruction together do; what is not so is noted. A way on which a
    /// barrier of the CTA is not met by all is not followed beyond it.
    fn is_together(&mut self, at: usize, op: &Op, doing: &Value, here: Here<'_>) -> bool {
        let threads = self.context.threads();
        let group = if is_barrier(op) { threads } else { 32 };
        let mut split = None;
        if doing.is_known() {
            let does = |thread: usize| doing.number(thread) != Some(0);
            for first in (0..threads).step_by(group) {
                let members = first..(first + group).min(threads);
                let one = members.clone().find(|thread| does(*thread));
                let other = members.clone().find(|thread| !does(*thread));
                split = split.or(one.zip(other));
            }
            if split.is_none() {
                return true;
            }
        } else if !doing.differs() {
            return true;
        }
        let known = |found: &&mut Divergence| found.at == at;
        match self.walk.divergences.iter_mut().find(known) {
            Some(found) => {
                if found.threads.is_none() && split.is_some() {
                    (found.threads, found.branch) = (split, here.branch);
                }
            }
            None => self.walk.divergences.push(Divergence {
                at,
                branch: here.branch,
                threads: split,
            }),
        }
        if is_barrier(op) {
            self.walk
                .gaps
                .insert((at, "threads may part around this barrier"));
        }
        !is_barrier(op)
    }

    fn is_whole_cta(&self, state: &State, threads: Option<Operand>) -> bool {
        threads.is_none_or(|threads| {
            let threads = self
                .context
                .operand(threads, &|register| self.register(state, register));
            threads.uniform() == u64::try_from(self.context.threads()).ok()
        })
    }

    /// The registers an instruction writes.
    fn assign(
        &mut self,
        state: &mut State,
        at: usize,
        instruction: &Instruction,
        guard: &Value,
        chooses: bool,
    ) {
        let writes = instruction.op.writes();
        if writes
            .iter()
            .all(|register| self.slice.number(*register).is_none())
        {
            return;
        }
        let compared = self.compared(state, at, instruction);
        let number = |register: &RegisterId| self.slice.number(*register);
        let key: Vec<Option<ValueId>> = instruction
            .op
            .reads()
            .iter()
            .map(|register| number(register).and_then(|number| state.registers[number]))
            .collect();
        let results = match self.results.get(&(at, key.clone())) {
            Some(results) => results.clone(),
            None => {
                let read = |register: RegisterId| self.register(state, register);
                let results = self.context.evaluate(at, &instruction.op, &read);
                let results: Vec<_> = results
                    .into_iter()
                    .map(|(register, value)| (register, self.walk.values.id(value)))
                    .collect();
                self.results.insert((at, key), results.clone());
                results
            }
        };
        let results = if chooses {
            self.chosen(state, &instruction.op, results)
        } else {
            results
        };
        // The symbols of an instruction stand for its latest result.
        self.forget(state, |symbol| symbol / 4 == at);
        for register in &writes {
            if let Some(number) = self.slice.number(*register) {
                state.conditions.remove(&number);
            }
        }
        if let Some((number, condition)) = compared {
            state.conditions.insert(number, condition);
        }
        for (register, id) in results {
            let Some(number) = self.slice.number(register) else {
                continue;
            };
            let merged = match (guard.uniform(), state.registers[number]) {
                (Some(_), _) => id,
                (None, None) => self.walk.values.id(Value::unknown(true)),
                (None, Some(old)) => {
                    let (new, old) = (self.walk.values.get(id), self.walk.values.get(old));
                    let merged = choose(guard, new, old);
                    self.walk.values.id(merged)
                }
            };
            state.registers[number] = Some(merged);
        }
    }

    /// Blocks from the entry to a node.
    pub(super) fn path(&self, node: usize) -> Vec<BlockIndex> {
        let mut path = Vec::new();
        let mut next = Some(node);
        while let Some(node) = next {
            path.push(self.nodes[node].state.block);
            next = self.nodes[node].parent;
        }
        path.reverse();
        path
    }
}

/// Thread by thread one of two values, by a guard; what both share where the guard is not known.
pub(super) fn choose(guard: &Value, new: &Value, old: &Value) -> Value {
    if !guard.is_known() {
        let mut joined = new.join(old);
        // Where all threads choose alike, what they choose is the same in all if it was before.
        joined.varying &= guard.differs() || new.differs() || old.differs();
        return joined;
    }
    if new.symbol.is_some() && new.symbol == old.symbol && new == old {
        return new.clone();
    }
    Value::combine(&[guard, new, old], |bits| {
        if bits[0].value() == Some(0) {
            bits[2]
        } else {
            bits[1]
        }
    })
}
