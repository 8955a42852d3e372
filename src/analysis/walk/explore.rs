//! Follows every path until no new state is met.

use super::event::Event;
use super::global::{Choices, asked_global};
use super::meet::Meeting;
use super::role::{EVERYONE, Role, spins};
use super::state::{Entry, State, WrittenId, WrittenSets};
use super::{Step, Walk, asked};
use crate::analysis::control_flow::{BlockIndex, Graph};
use crate::analysis::evaluate::Context;
use crate::analysis::slice::Slice;
use crate::analysis::uniformity;
use crate::analysis::value::{Value, ValueId};
use crate::ptx::{Function, Op, Predicate, RegisterId};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// States after which the walk stops.
const STATES_MAX: usize = 10_000;

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

/// What an instruction gives a role for the registers it reads.
type Results = FxHashMap<(usize, usize, Vec<Option<ValueId>>), Vec<(RegisterId, ValueId)>>;

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

/// What every walk over a function that asks the same begins with.
pub(in crate::analysis) struct Plan {
    graph: Rc<Graph>,
    slice: Rc<Slice>,
    /// Instructions that write registers of the slice.
    followed: Rc<[bool]>,
    /// Of each block, the instructions that have a part in the walk.
    parts: Rc<[Rc<[usize]>]>,
}

impl Plan {
    /// For walks over any CTA, or over CTAs of launches.
    pub(in crate::analysis) fn new(function: &Function, of_launches: bool) -> Self {
        let asked = if of_launches { asked_global } else { asked };
        let graph = Graph::new(function);
        let slice = Slice::new(function, &graph, asked);
        let instructions = &function.instructions;
        let writes = |op: &Op| {
            let mut writes = op.writes().into_iter();
            writes.any(|register| slice.number(register).is_some())
        };
        let followed: Rc<[bool]> = instructions.iter().map(|found| writes(&found.op)).collect();
        let has_part = |at: &usize| {
            let op = &instructions[*at].op;
            let jump = matches!(op, Op::Bra { .. } | Op::Ret | Op::Exit | Op::Trap);
            !jump && (followed[*at] || asked(op).is_some())
        };
        let parts = graph
            .blocks
            .iter()
            .map(|block| block.instructions.clone().filter(has_part).collect())
            .collect();
        Self {
            graph: Rc::new(graph),
            slice: Rc::new(slice),
            followed,
            parts,
        }
    }
}

/// The walk.
pub(super) struct Explorer<'c, 'm> {
    pub(super) context: &'c Context<'m>,
    pub(super) graph: Rc<Graph>,
    pub(super) slice: Rc<Slice>,
    /// Instructions that write registers of the slice.
    pub(super) followed: Rc<[bool]>,
    parts: Rc<[Rc<[usize]>]>,
    pub(super) walk: Walk,
    nodes: Vec<Node>,
    seen: FxHashMap<Rc<State>, usize>,
    at_loop_heads: FxHashMap<(usize, BlockIndex, usize), FxHashSet<ValueId>>,
    pub(super) gathered: FxHashMap<State, Vec<State>>,
    pub(super) choices: Choices,
    pub(super) meetings: FxHashMap<(Met, Met), Meeting>,
    pub(super) results: Results,
    pub(super) written: WrittenSets,
    pub(super) writes: FxHashMap<(WrittenId, Met), Option<WrittenId>>,
    pub(super) reads: FxHashSet<(WrittenId, bool, bool, Met)>,
    pub(super) cap: u32,
    pub(super) reported: FxHashSet<(usize, usize)>,
    /// Groups of threads that go their own ways for good; the first is everyone.
    pub(super) roles: Vec<Role>,
    /// Waits that are repeated until they succeed.
    pub(super) spins: FxHashSet<usize>,
    /// Accesses of each role but everyone.
    pub(super) of_roles: BTreeMap<usize, BTreeSet<Entry>>,
    /// What the block that is being run does to barriers and by copies.
    pub(super) events: Vec<Event>,
}

impl<'c, 'm> Explorer<'c, 'm> {
    pub(super) fn new(context: &'c Context<'m>, plan: &Plan) -> Self {
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
            block_starts: plan
                .graph
                .blocks
                .iter()
                .map(|block| block.instructions.start)
                .collect(),
            ..Walk::default()
        };
        let spins = spins(context.function, &plan.graph);
        Self {
            context,
            graph: Rc::clone(&plan.graph),
            slice: Rc::clone(&plan.slice),
            followed: Rc::clone(&plan.followed),
            parts: Rc::clone(&plan.parts),
            walk,
            nodes: Vec::new(),
            seen: FxHashMap::default(),
            at_loop_heads: FxHashMap::default(),
            gathered: FxHashMap::default(),
            choices: Choices::default(),
            meetings: FxHashMap::default(),
            results: FxHashMap::default(),
            written: WrittenSets::new().0,
            writes: FxHashMap::default(),
            reads: FxHashSet::default(),
            cap,
            reported: FxHashSet::default(),
            roles: vec![Role::new(
                (0..context.threads()).collect(),
                context.threads(),
            )],
            spins,
            of_roles: BTreeMap::new(),
            events: Vec::new(),
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
            role: EVERYONE,
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
                self.walk.gaps.insert((0, "more than 10000 states"));
                break;
            }
            self.step(next);
            next += 1;
        }
        self.walk.states = self.nodes.len();
        self.compare_roles();
        self.check_named();
        self.walk.roles = self.roles.iter().map(|role| role.threads.clone()).collect();
        self.walk
    }

    /// Puts a state on the list unless it has been met.
    pub(super) fn enter(&mut self, mut state: State, parent: Option<usize>) {
        self.settle(&mut state);
        if self.graph.is_loop_head[state.block] {
            self.gather(&mut state);
        }
        let state = Rc::new(state);
        let index = match self.seen.get(&state) {
            Some(index) => *index,
            None => {
                let index = self.nodes.len();
                self.seen.insert(Rc::clone(&state), index);
                self.walk.steps.push(Step {
                    role: state.role,
                    ..Step::default()
                });
                self.nodes.push(Node { state, parent });
                index
            }
        };
        if let Some(parent) = parent {
            self.walk.steps[parent].next.push(index);
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
                state.registers[number] = state.registers[number]
                    .map(|id| self.widen((state.role, state.block, number), id));
            }
        }
        // What is known of values that no register has any more would only tell states apart.
        let held: FxHashSet<ValueId> = state.registers.iter().flatten().copied().collect();
        let kept = |id: ValueId| held.contains(&id) || self.walk.values.get(id).symbol.is_none();
        state.facts.retain(|fact, _| kept(fact.a) && kept(fact.b));
    }

    fn widen(&mut self, place: (usize, BlockIndex, usize), id: ValueId) -> ValueId {
        let number = place.2;
        let met = self.at_loop_heads.entry(place).or_default();
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
        let active = self.roles[state.role].active.clone();
        let here = Here {
            node,
            active: &active,
            branch: None,
        };
        self.events.clear();
        let goes_on = self.run_block(&mut state, here);
        self.walk.steps[node].events = std::mem::take(&mut self.events);
        if !goes_on {
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
        let parts = Rc::clone(&self.parts[state.block]);
        parts
            .iter()
            .all(|at| self.execute(state, *at, &function.instructions[*at], here))
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
            None if condition.is_known() && self.parts_for_good(state.block, &condition) => {
                self.split(node, &state, &condition);
            }
            None if condition.differs() => {
                self.part(node, state, at, &condition);
                let events = std::mem::take(&mut self.events);
                self.walk.steps[node].events.extend(events);
            }
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
            let value = self.roles[state.role].view(&value);
            state.registers[number] = Some(self.walk.values.id(value));
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
