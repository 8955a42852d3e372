//! Follows every path until no new state is met.

use super::overlap::{Overlap, Pair, Shape, overlap};
use super::question::{asked, copied_bytes, is_jump, is_order, shared_read, waited_groups};
use super::state::{Copy, Stage, State};
use crate::analysis::control_flow::{BlockIndex, Graph};
use crate::analysis::evaluate::Context;
use crate::analysis::slice::Slice;
use crate::analysis::value::{Value, ValueId, Values, origin};
use crate::ptx::{Address, Instruction, Op, Operand, Predicate, RegisterId};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeSet;
use std::rc::Rc;

/// States after which the pass gives up.
const STATES_MAX: usize = 20_000;

/// Distinct values of a register at a loop head before only its low bits are kept.
const VALUES_EXACT: usize = 12;

/// The same for a register that only branches ask for.
const VALUES_COUNTED: usize = 4;

/// Low bits that are kept.
const LOW_BITS: u32 = 4;

/// What is wrong with a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    /// The copy is in flight.
    Distance,
    /// The copy is complete for its own thread only.
    Barrier,
}

/// A read that meets a pending copy.
#[derive(Clone, Debug)]
pub(super) struct Conflict {
    pub(super) kind: Kind,
    /// The read.
    pub(super) read: usize,
    /// The copy.
    pub(super) copy: usize,
    /// The threads and the byte.
    pub(super) pair: Pair,
    /// Blocks from the entry to the one with the read.
    pub(super) path: Vec<BlockIndex>,
}

/// Something that could not be decided: the instruction and why.
pub(super) type Undecided = (usize, String);

/// What a walk over all paths has found.
#[derive(Debug)]
pub(super) struct Exploration {
    /// In the order found: shortest paths first.
    pub(super) conflicts: Vec<Conflict>,
    /// By instruction.
    pub(super) undecided: BTreeSet<Undecided>,
    /// Blocks of the function.
    pub(super) graph: Graph,
    /// States met.
    pub(super) states: usize,
}

struct Node {
    state: Rc<State>,
    parent: Option<usize>,
}

/// What an instruction gives for the registers it reads.
type Results = FxHashMap<(usize, Vec<Option<ValueId>>), Vec<(RegisterId, ValueId)>>;

type OverlapKey = (usize, ValueId, ValueId, usize, ValueId, ValueId);

/// The walk.
pub(super) struct Explorer<'c, 'm> {
    context: &'c Context<'m>,
    graph: Graph,
    slice: Slice,
    values: Values,
    nodes: Vec<Node>,
    seen: FxHashSet<Rc<State>>,
    at_loop_heads: FxHashMap<(BlockIndex, usize), FxHashSet<ValueId>>,
    overlaps: FxHashMap<OverlapKey, Overlap>,
    results: Results,
    cap: u32,
    conflicts: Vec<Conflict>,
    conflicts_seen: FxHashSet<(Kind, usize, usize)>,
    undecided: BTreeSet<Undecided>,
}

impl<'c, 'm> Explorer<'c, 'm> {
    pub(super) fn new(context: &'c Context<'m>) -> Self {
        let graph = Graph::new(context.function);
        let slice = Slice::new(context.function, &graph, asked);
        let instructions = context.function.instructions.iter();
        let most = instructions.filter_map(|instruction| waited_groups(&instruction.op));
        let cap = most.max().unwrap_or(0).saturating_add(1);
        Self {
            context,
            graph,
            slice,
            values: Values::default(),
            nodes: Vec::new(),
            seen: FxHashSet::default(),
            at_loop_heads: FxHashMap::default(),
            overlaps: FxHashMap::default(),
            results: FxHashMap::default(),
            cap,
            conflicts: Vec::new(),
            conflicts_seen: FxHashSet::default(),
            undecided: BTreeSet::new(),
        }
    }

    pub(super) fn run(mut self) -> Exploration {
        let registers = vec![None; self.slice.len()];
        self.enter(
            State {
                block: 0,
                registers,
                copies: BTreeSet::new(),
            },
            None,
        );
        let mut next = 0;
        while next < self.nodes.len() {
            if self.nodes.len() > STATES_MAX {
                self.undecided
                    .insert((0, format!("more than {STATES_MAX} states")));
                break;
            }
            self.step(next);
            next += 1;
        }
        Exploration {
            conflicts: self.conflicts,
            undecided: self.undecided,
            graph: self.graph,
            states: self.nodes.len(),
        }
    }

    /// Puts a state on the list unless it has been met.
    fn enter(&mut self, mut state: State, parent: Option<usize>) {
        for number in 0..self.slice.len() {
            if !self.slice.is_live(state.block, number) {
                state.registers[number] = None;
            } else if self.graph.is_loop_head[state.block] {
                state.registers[number] =
                    state.registers[number].map(|id| self.widen(state.block, number, id));
            }
        }
        let state = Rc::new(state);
        if self.seen.insert(Rc::clone(&state)) {
            self.nodes.push(Node { state, parent });
        }
    }

    /// Forgets the high bits of a register that keeps changing at a loop head, then the rest.
    fn widen(&mut self, block: BlockIndex, number: usize, id: ValueId) -> ValueId {
        let met = self.at_loop_heads.entry((block, number)).or_default();
        let exact = self.slice.is_exact(number);
        if met.len() < if exact { VALUES_EXACT } else { VALUES_COUNTED } || met.contains(&id) {
            met.insert(id);
            return id;
        }
        let value = self.values.get(id);
        if !exact {
            // What only branches ask for need not be a number.
            let unknown = Value::unknown(value.differs());
            return self.values.id(unknown);
        }
        let low = value.low(LOW_BITS);
        let widened = if met.len() < VALUES_EXACT + (1 << (LOW_BITS + 1)) {
            low
        } else {
            Value::unknown(value.differs())
        };
        let id = self.values.id(widened);
        met.insert(id);
        id
    }

    /// Value of a register; what is not followed is unknown.
    fn register(&self, state: &State, register: RegisterId) -> Value {
        let id = self
            .slice
            .number(register)
            .and_then(|number| state.registers[number]);
        id.map_or_else(|| Value::unknown(true), |id| self.values.get(id).clone())
    }

    fn predicate(&self, state: &State, guard: Option<Predicate>) -> Value {
        guard.map_or_else(
            || Value::exact(1),
            |guard| {
                self.register(state, guard.register)
                    .map_predicate(guard.negated)
            },
        )
    }

    fn undecide(&mut self, at: usize, why: &str) {
        self.undecided.insert((at, why.to_owned()));
    }

    fn step(&mut self, node: usize) {
        let mut state = (*self.nodes[node].state).clone();
        let block = self.graph.blocks[state.block].clone();
        self.run_block(node, &mut state, &Value::exact(1));
        let at = block.instructions.end - 1;
        let last = &self.context.function.instructions[at];
        if matches!(last.op, Op::Bra { .. }) {
            self.branch(node, state, at, last);
        } else {
            // Threads that leave early only make fewer copies and reads.
            self.go(node, &state, block.next);
        }
    }

    /// Runs the instructions of the state's block in the threads for which `active` may hold.
    fn run_block(&mut self, node: usize, state: &mut State, active: &Value) {
        let function = self.context.function;
        for at in self.graph.blocks[state.block].instructions.clone() {
            let instruction = &function.instructions[at];
            if !is_jump(&instruction.op) {
                self.execute(node, state, at, instruction, active);
            }
        }
    }

    fn go(&mut self, node: usize, state: &State, block: Option<BlockIndex>) {
        if let Some(block) = block {
            self.enter(
                State {
                    block,
                    ..state.clone()
                },
                Some(node),
            );
        }
    }

    fn branch(&mut self, node: usize, state: State, at: usize, instruction: &Instruction) {
        let block = self.graph.blocks[state.block].clone();
        let Some(guard) = instruction.guard else {
            return self.go(node, &state, block.taken);
        };
        let condition = self.predicate(&state, Some(guard));
        match condition.uniform() {
            Some(0) => self.go(node, &state, block.next),
            Some(_) => self.go(node, &state, block.taken),
            None if condition.differs() => self.part(node, state, at, &condition),
            None => {
                for (taken, target) in [(true, block.taken), (false, block.next)] {
                    let mut state = state.clone();
                    if let Some(number) = self.slice.number(guard.register) {
                        let value = Value::exact(u64::from(taken != guard.negated));
                        state.registers[number] = Some(self.values.id(value));
                    }
                    self.go(node, &state, target);
                }
            }
        }
    }

    /// Threads go different ways: goes on where they meet, with the copies of every way. What is written on the
    /// ways is unknown from there on.
    fn part(&mut self, node: usize, mut state: State, at: usize, condition: &Value) {
        let function = self.context.function;
        let block = self.graph.blocks[state.block].clone();
        let meeting = self.graph.meeting[state.block];
        let between = self.graph.between(state.block, meeting);
        let inside = || {
            between
                .iter()
                .flat_map(|block| self.graph.blocks[*block].instructions.clone())
        };
        if inside().any(|inside| is_order(&function.instructions[inside].op)) {
            return self.undecide(
                at,
                "threads of a CTA may part here, with commits, waits or barriers before they meet",
            );
        }
        let written: Vec<RegisterId> = inside()
            .flat_map(|inside| function.instructions[inside].op.writes())
            .collect();
        let mut ways = vec![
            (block.taken, state.clone(), condition.clone()),
            (block.next, state.clone(), condition.map_predicate(true)),
        ];
        let mut seen = FxHashSet::default();
        while let Some((block, mut way, active)) = ways.pop() {
            let Some(block) = block.filter(|block| Some(*block) != meeting) else {
                state.copies.extend(&way.copies);
                continue;
            };
            way.block = block;
            if seen.len() > STATES_MAX {
                return self.undecide(at, "too many ways before the threads meet again");
            }
            if !seen.insert((way.clone(), active.clone())) {
                continue;
            }
            self.run_block(node, &mut way, &active);
            let block = self.graph.blocks[block].clone();
            let last = &function.instructions[block.instructions.end - 1];
            let guard = self.predicate(&way, last.guard).uniform();
            let is_branch = matches!(last.op, Op::Bra { .. });
            if is_branch && guard != Some(0) {
                ways.push((block.taken, way.clone(), active.clone()));
            }
            if !is_branch || guard.is_none_or(|guard| guard == 0) {
                ways.push((block.next, way, active));
            }
        }
        for register in written {
            self.write(&mut state, register, Value::unknown(true));
        }
        self.go(node, &state, meeting);
    }

    fn write(&mut self, state: &mut State, register: RegisterId, value: Value) {
        if let Some(number) = self.slice.number(register) {
            state.registers[number] = Some(self.values.id(value));
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the others move no copy")]
    fn execute(
        &mut self,
        node: usize,
        state: &mut State,
        at: usize,
        instruction: &Instruction,
        active: &Value,
    ) {
        let guard = self.predicate(state, instruction.guard);
        let always = guard.uniform().is_some_and(|guard| guard != 0);
        if guard.uniform() == Some(0) {
            return;
        }
        let here = || Value::combine(&[&guard, active], |bits| bits[0].and(bits[1]));
        if let Some((address, shape)) = shared_read(&instruction.op) {
            self.read(node, state, at, (address, &here(), shape));
        }
        match &instruction.op {
            Op::CpAsync { d, .. } => {
                let address = self
                    .context
                    .address(*d, &|register| self.register(state, register));
                let (address, guard) = (self.values.id(address), self.values.id(here()));
                state.copies.insert(Copy {
                    instruction: at,
                    address,
                    guard,
                    stage: Stage::Open,
                });
            }
            op if is_order(op) && !always => {
                self.undecide(at, "the guard of this instruction is not known to hold");
            }
            Op::CpAsyncCommit => state.commit(self.cap),
            Op::CpAsyncWait { groups } => state.wait(*groups),
            Op::CpAsyncWaitAll => state.wait_all(),
            Op::BarrierSync { threads, .. } | Op::BarrierRed { threads, .. } => {
                if self.is_whole_cta(state, *threads) {
                    state.barrier();
                } else {
                    self.undecide(at, "a barrier over a part of the CTA is not followed");
                }
            }
            Op::BarrierArrive { .. } => {
                self.undecide(at, "a barrier over a part of the CTA is not followed")
            }
            Op::WarpSync { mask } => {
                let mask = self
                    .context
                    .operand(*mask, &|register| self.register(state, register));
                if always && mask.uniform() == Some(0xffff_ffff) {
                    state.warp_barrier();
                }
            }
            _ => {}
        }
        self.assign(state, at, instruction, &guard);
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
    fn assign(&mut self, state: &mut State, at: usize, instruction: &Instruction, guard: &Value) {
        let writes = instruction.op.writes();
        if writes
            .iter()
            .all(|register| self.slice.number(*register).is_none())
        {
            return;
        }
        let reads = instruction.op.reads();
        let key: Vec<Option<ValueId>> = reads
            .iter()
            .map(|register| {
                self.slice
                    .number(*register)
                    .and_then(|number| state.registers[number])
            })
            .collect();
        let results = match self.results.get(&(at, key.clone())) {
            Some(results) => results.clone(),
            None => {
                let read = |register: RegisterId| self.register(state, register);
                let results = self.context.evaluate(at, &instruction.op, &read);
                let results: Vec<_> = results
                    .into_iter()
                    .map(|(register, value)| (register, self.values.id(value)))
                    .collect();
                self.results.insert((at, key), results.clone());
                results
            }
        };
        self.forget_symbols(state, at);
        for (register, id) in results {
            let Some(number) = self.slice.number(register) else {
                continue;
            };
            let merged = match (guard.uniform(), state.registers[number]) {
                (Some(_), _) => id,
                (None, None) => self.values.id(Value::unknown(true)),
                (None, Some(old)) => {
                    let (new, old) = (self.values.get(id), self.values.get(old));
                    let merged = if guard.is_known() {
                        Value::combine(&[guard, new, old], |bits| {
                            if bits[0].value() == Some(0) {
                                bits[2]
                            } else {
                                bits[1]
                            }
                        })
                    } else {
                        new.join(old)
                    };
                    self.values.id(merged)
                }
            };
            state.registers[number] = Some(merged);
        }
    }

    /// The symbols of an instruction stand for its latest result: what still holds an earlier one is unknown.
    fn forget_symbols(&mut self, state: &mut State, at: usize) {
        for id in state.registers.iter_mut().flatten() {
            let value = self.values.get(*id);
            if value.symbol.is_some_and(|symbol| origin(symbol) / 4 == at) {
                let forgotten = value.forgotten();
                *id = self.values.id(forgotten);
            }
        }
    }

    fn read(
        &mut self,
        node: usize,
        state: &State,
        at: usize,
        (address, guard, shape): (Address, &Value, Shape),
    ) {
        if state.copies.is_empty() {
            return;
        }
        let address = self
            .context
            .address(address, &|register| self.register(state, register));
        let (address, guard) = (self.values.id(address), self.values.id(guard.clone()));
        for copy in &state.copies {
            let key = (
                at,
                address,
                guard,
                copy.instruction,
                copy.address,
                copy.guard,
            );
            let found = match self.overlaps.get(&key) {
                Some(found) => *found,
                None => {
                    let get = |id: ValueId| self.values.get(id);
                    let bytes =
                        copied_bytes(&self.context.function.instructions[copy.instruction].op);
                    let read = (get(address), get(guard), shape);
                    let found = overlap(
                        self.context.threads(),
                        read,
                        (get(copy.address), get(copy.guard), bytes),
                    );
                    self.overlaps.insert(key, found);
                    found
                }
            };
            let (kind, pair) = match copy.stage {
                Stage::Open | Stage::Committed(_) => (Kind::Distance, found.any),
                Stage::Waited => (Kind::Barrier, found.threads),
                Stage::Warp => (Kind::Barrier, found.warps),
            };
            match pair {
                Some(pair) if self.conflicts_seen.insert((kind, at, copy.instruction)) => {
                    let path = self.path(node);
                    self.conflicts.push(Conflict {
                        kind,
                        read: at,
                        copy: copy.instruction,
                        pair,
                        path,
                    });
                }
                Some(_) => {} // reported before
                None if found.undecided => {
                    self.undecided.insert((
                        at,
                        "an address of this read or of a pending copy is not known".to_owned(),
                    ));
                }
                None => {}
            }
        }
    }

    /// Blocks from the entry to a node.
    fn path(&self, node: usize) -> Vec<BlockIndex> {
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
