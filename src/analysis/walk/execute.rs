//! What one instruction does to a state.

use super::explore::{Explorer, Here, choose};
use super::state::State;
use super::{Aligned, aligned};
use crate::analysis::access::shared_access;
use crate::analysis::value::{Value, ValueId};
use crate::ptx::{Instruction, Op, RegisterId};

impl Explorer<'_, '_> {
    /// Executes an instruction; false where the way cannot be followed further.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the others order nothing and touch no shared memory"
    )]
    pub(super) fn execute(
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
        let doing = if guard.uniform().is_some() {
            here.active.clone()
        } else {
            narrowed_to(&guard, here.active)
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
            None => false,
        };
        // A condition that all threads of the role share leaves out whole warps or none.
        let who = if guard.differs() || !here.active.is_known() {
            &doing
        } else {
            here.active
        };
        if together && !(here.branch.is_none() && !guard.differs() && self.roles[state.role].warps)
        {
            self.is_together(at, 32, who, here);
        }
        if let Op::Sm90(sm90) = op {
            self.note(state, (at, sm90), &doing);
        }
        let certain = !guard.differs() && here.branch.is_none();
        match op {
            Op::CpAsyncCommit if certain => state.commit(self.cap),
            Op::CpAsyncWait { groups } if certain => state.wait(*groups),
            Op::CpAsyncWaitAll if certain => state.wait_all(),
            Op::CpAsyncCommit | Op::CpAsyncWait { .. } | Op::CpAsyncWaitAll => {
                self.walk
                    .gaps
                    .insert((at, "threads part around a commit or wait of copies"));
            }
            Op::BarrierSync { .. } | Op::BarrierRed { .. } | Op::BarrierArrive { .. }
                if !self.barrier(state, (at, op), who, certain && guard.is_known(), here) =>
            {
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

    /// The registers an instruction writes.
    pub(super) fn assign(
        &mut self,
        state: &mut State,
        at: usize,
        instruction: &Instruction,
        guard: &Value,
        chooses: bool,
    ) {
        if !self.followed[at] {
            return;
        }
        let writes = instruction.op.writes();
        let compared = self.compared(state, at, instruction);
        let number = |register: &RegisterId| self.slice.number(*register);
        let key: Vec<Option<ValueId>> = instruction
            .op
            .reads()
            .iter()
            .map(|register| number(register).and_then(|number| state.registers[number]))
            .collect();
        let key = (state.role, at, key);
        let results = match self.results.get(&key) {
            Some(results) => results.clone(),
            None => {
                let read = |register: RegisterId| self.register(state, register);
                let results = self.context.evaluate(at, &instruction.op, &read);
                let results: Vec<_> = results
                    .into_iter()
                    .map(|(register, value)| {
                        // A wait that is repeated until it succeeds has succeeded where anything follows.
                        let value = if self.spins.contains(&at) {
                            Value::exact(1)
                        } else {
                            self.roles[state.role].view(&value)
                        };
                        (register, self.walk.values.id(value))
                    })
                    .collect();
                self.results.insert(key, results.clone());
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
}

/// The threads that are here and for which a guard holds.
fn narrowed_to(guard: &Value, active: &Value) -> Value {
    let doing = Value::combine(&[guard, active], |bits| bits[0].and(bits[1]).cut(1));
    if doing.is_known() || !(guard.differs() || active.differs()) {
        return doing;
    }
    // What is not known of a condition that differs must stay so.
    Value {
        varying: true,
        ..doing
    }
}
