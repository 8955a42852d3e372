//! Pass `wgmma`: registers of warpgroup products are fenced before a product takes them, and left alone until it is done.
//!
//! # Definition
//!
//! A `wgmma.mma_async` is *in flight* from its issue until a `wgmma.wait_group N` at which at most `N` younger groups have
//! been committed after its own. While it is in flight, its accumulators are neither read nor written, and its A registers
//! not written, but by products of the same shape on the same accumulators. The first product of a warp, and every product
//! that takes a register which an ordinary instruction has written, has a `wgmma.fence` after that write and before itself.
//!
//! # Method
//!
//! Data flow over the control-flow graph, forwards, to a fixpoint. For each register that a product uses: the ordinary
//! instruction that may have written it since the last fence; the product that may have it in flight, and how many groups
//! have been committed since (of several, the fewest). Where ways meet, what may be on one may be. Ages stop above the
//! greatest `N` of the function, so there are finitely many states.
//!
//! # Source
//!
//! PTX ISA 9.7.16.7: `wgmma.fence`, `wgmma.commit_group`, `wgmma.wait_group`, and what is undefined without them.
//!
//! # What an answer means
//!
//! *Proved*: on every path of the graph, for all inputs. *Refuted*: a product and an instruction that some path of the graph
//! joins; conditions are not looked at, so the path may be one that no launch takes. *Unknown*: calls or branches by a list.
//!
//! Can miss: operands in shared memory, which are the question of a run (`wgmma-operand-overwritten`); a read of an
//! accumulator followed by a product with no fence; warps of a warpgroup that execute different products. Whether the
//! accumulator counts (`scale-d`) is not looked at: it is taken to.

use super::PassResult;
use super::control_flow::Graph;
use super::finding::{result, site, wrong};
use crate::diagnostic::{Code, Diagnostic};
use crate::ptx::{Function, Instruction, Module, Op, RegisterId, Sm90, Wgmma, WgmmaA};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Name of the pass.
pub const PASS: &str = "wgmma";
/// A product takes a register with no fence since it was written.
pub const UNFENCED: Code = Code("wgmma-unfenced");
/// An accumulator is touched before the product is waited for.
pub const UNWAITED: Code = Code("wgmma-unwaited");
/// An A register is written before the product is waited for.
pub const OVERWRITTEN: Code = Code("wgmma-operand-rewritten");
/// The pass could not decide.
pub const UNDECIDED: Code = Code("wgmma-undecided");

/// A product in flight: the instruction, and the groups committed since; `None`: its own is not.
type Flight = (Option<u32>, usize);

/// What may be true of one register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Register {
    /// Ordinary instruction that wrote it since the last fence.
    written: Option<usize>,
    /// Product that accumulates in it.
    accumulates: Option<Flight>,
    /// Product that reads it.
    reads: Option<Flight>,
}

/// What may be true at a point.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    /// False where no fence has been passed on some way.
    fenced: bool,
    registers: Vec<Register>,
}

/// The one of two products that is less far.
fn least(one: Option<Flight>, other: Option<Flight>) -> Option<Flight> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

impl State {
    fn join(&mut self, other: &Self) -> bool {
        let before = self.clone();
        self.fenced &= other.fenced;
        for (mine, theirs) in self.registers.iter_mut().zip(&other.registers) {
            mine.written = match (mine.written, theirs.written) {
                (Some(one), Some(two)) => Some(one.min(two)),
                (one, two) => one.or(two),
            };
            mine.accumulates = least(mine.accumulates, theirs.accumulates);
            mine.reads = least(mine.reads, theirs.reads);
        }
        *self != before
    }

    fn flights(&mut self, f: impl Fn(Flight) -> Option<Flight>) {
        for register in &mut self.registers {
            register.accumulates = register.accumulates.and_then(&f);
            register.reads = register.reads.and_then(&f);
        }
    }
}

fn sm90(op: &Op) -> Option<&Sm90> {
    if let Op::Sm90(op) = op {
        Some(op)
    } else {
        None
    }
}

fn operands(product: &Wgmma) -> &[RegisterId] {
    match &product.a {
        WgmmaA::Registers(registers) => registers,
        WgmmaA::Shared(_) => &[],
    }
}

/// What is wrong, by code and the product that is touched, else the product itself: the first place stands for all.
type Found = BTreeMap<(&'static str, usize), Diagnostic>;

struct Pass<'m> {
    module: &'m Module,
    function: &'m Function,
    numbers: HashMap<RegisterId, usize>,
    cap: u32,
    found: Found,
}

impl Pass<'_> {
    fn report(
        &mut self,
        code: Code,
        (at, label): (usize, &str),
        other: Option<(usize, &str)>,
        message: &str,
        help: &str,
    ) {
        let by = other.filter(|_| code != UNFENCED);
        let key = (code.0, by.map_or(at, |(by, _)| by));
        let site = |at, label: &str| site(self.module, self.function, at, label);
        let mut sites = vec![site(at, label)];
        sites.extend(other.map(|(at, label)| site(at, label)));
        self.found
            .entry(key)
            .or_insert_with(|| wrong(code, message.to_owned(), sites, help));
    }

    fn execute(&mut self, state: &mut State, at: usize, instruction: &Instruction) {
        match sm90(&instruction.op) {
            Some(Sm90::WgmmaFence) if instruction.guard.is_none() => {
                state.fenced = true;
                for register in &mut state.registers {
                    register.written = None;
                }
            }
            Some(Sm90::WgmmaCommit) => {
                let cap = self.cap;
                state.flights(|(age, by)| {
                    Some((
                        Some(age.map_or(0, |age| age.saturating_add(1).min(cap))),
                        by,
                    ))
                });
            }
            Some(Sm90::WgmmaWait { groups }) if instruction.guard.is_none() => {
                state.flights(|(age, by)| age.is_none_or(|age| age < *groups).then_some((age, by)));
            }
            Some(Sm90::Wgmma(product)) => self.product(state, at, product),
            _ => self.ordinary(state, at, instruction),
        }
    }

    fn product(&mut self, state: &mut State, at: usize, product: &Wgmma) {
        let number = |register: &RegisterId| self.numbers[register];
        let d: Vec<usize> = product.d.iter().map(number).collect();
        let a: Vec<usize> = operands(product).iter().map(number).collect();
        let fresh = d
            .iter()
            .chain(&a)
            .find_map(|register| state.registers[*register].written);
        if !state.fenced || fresh.is_some() {
            let message = if state.fenced {
                "a register is written and then taken by a wgmma with no wgmma.fence between"
            } else {
                "the first wgmma of a warp may have no wgmma.fence before it"
            };
            self.report(
                UNFENCED,
                (at, "the wgmma is issued here"),
                fresh.map(|fresh| (fresh, "written here")),
                message,
                "wgmma.fence.sync.aligned after the last write and before the first wgmma",
            );
        }
        let busy = a
            .iter()
            .find_map(|register| state.registers[*register].accumulates);
        if let Some((_, by)) = busy {
            self.unwaited(at, by, "taken as an operand here");
        }
        let others = d.iter().filter_map(|register| {
            let (_, by) = state.registers[*register].accumulates?;
            let shape = |at: usize| match sm90(&self.function.instructions[at].op) {
                Some(Sm90::Wgmma(other)) => Some((other.n, other.d.clone())),
                _ => None,
            };
            (shape(by) != shape(at)).then_some(by)
        });
        let others: BTreeSet<usize> = others.collect();
        for by in others {
            self.unwaited(at, by, "accumulated in by another shape here");
        }
        for register in d {
            state.registers[register] = Register {
                written: None,
                accumulates: Some((None, at)),
                reads: state.registers[register].reads,
            };
        }
        for register in a {
            state.registers[register].reads = Some((None, at));
        }
    }

    fn unwaited(&mut self, at: usize, by: usize, label: &str) {
        self.report(
            UNWAITED,
            (at, label),
            Some((
                by,
                "the wgmma is issued here, and a way leads on with no wait for its group",
            )),
            "an accumulator of a wgmma is touched while the wgmma is in flight",
            "wgmma.commit_group, then wgmma.wait_group for its group, before the accumulators are touched",
        );
    }

    fn ordinary(&mut self, state: &mut State, at: usize, instruction: &Instruction) {
        let reads = instruction.op.reads();
        let writes = instruction.op.writes();
        let touched = reads
            .iter()
            .chain(&writes)
            .find_map(|register| state.registers[*self.numbers.get(register)?].accumulates);
        if let Some((_, by)) = touched {
            self.unwaited(at, by, "touched here");
        }
        for register in &writes {
            let Some(number) = self.numbers.get(register).copied() else {
                continue;
            };
            if let Some((_, by)) = state.registers[number].reads {
                self.report(
                    OVERWRITTEN,
                    (at, "written here"),
                    Some((by, "the wgmma is issued here, and a way leads on with no wait for its group")),
                    "a register that a wgmma takes its A operand from is written while the wgmma is in flight",
                    "keep the fragments in other registers, or wait first",
                );
            }
            state.registers[number].written = Some(at);
        }
    }
}

/// Checks one function.
pub(super) fn run(module: &Module, function: &Function) -> PassResult {
    let products = function.instructions.iter();
    let products = products.filter_map(|instruction| match sm90(&instruction.op) {
        Some(Sm90::Wgmma(product)) => Some(product),
        _ => None,
    });
    let used: BTreeSet<RegisterId> = products
        .flat_map(|product| product.d.iter().chain(operands(product)).copied())
        .collect();
    if used.is_empty() {
        return result(PASS, function, Vec::new(), 0);
    }
    let waits = function.instructions.iter();
    let waits = waits.filter_map(|instruction| match sm90(&instruction.op) {
        Some(Sm90::WgmmaWait { groups }) => Some(*groups),
        _ => None,
    });
    let graph = Graph::new(function);
    let mut pass = Pass {
        module,
        function,
        numbers: used.iter().copied().zip(0..).collect(),
        cap: waits.max().unwrap_or(0).saturating_add(1),
        found: Found::new(),
    };
    let mut states: Vec<Option<State>> = vec![None; graph.blocks.len()];
    states[0] = Some(State {
        fenced: false,
        registers: vec![Register::default(); used.len()],
    });
    let (mut left, mut steps) = (vec![0], 0);
    while let Some(block) = left.pop() {
        steps += 1;
        let Some(mut state) = states[block].clone() else {
            continue;
        };
        for at in graph.blocks[block].instructions.clone() {
            pass.execute(&mut state, at, &function.instructions[at]);
        }
        for next in graph.blocks[block].successors() {
            let changed = match &mut states[next] {
                Some(known) => known.join(&state),
                unknown => {
                    *unknown = Some(state.clone());
                    true
                }
            };
            if changed && !left.contains(&next) {
                left.push(next);
            }
        }
    }
    result(PASS, function, pass.found.into_values().collect(), steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Answer;
    use crate::ptx::parse;

    const D: &str = "{%f0, %f1, %f2, %f3}";

    /// Codes for a body in which `PRODUCT` is a product in %f0 to %f3 and `TAKES` one with A in %r0 to %r3.
    fn codes(body: &str) -> (Answer, Vec<&'static str>) {
        let product = format!(
            "wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {D}, %rd1, %rd2, 1, 1, 1, 0, 0;"
        );
        let takes = format!(
            "wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {D}, {{%r0, %r1, %r2, %r3}}, %rd2, 1, 1, 1, 0;"
        );
        let body = body
            .replace("PRODUCT", &product)
            .replace("TAKES", &takes)
            .replace("FENCE", "wgmma.fence.sync.aligned;")
            .replace("COMMIT", "wgmma.commit_group.sync.aligned;")
            .replace("WAIT", "wgmma.wait_group.sync.aligned");
        let text = format!(
            ".version 8.0\n.target sm_90a\n.address_size 64\n.entry k(.param .u32 n) .reqntid 128\n{{\n.reg .pred %p<4>;\n\
             .reg .b32 %r<8>;\n.reg .f32 %f<8>;\n.reg .b64 %rd<8>;\nld.param.u32 %r7, [n];\nsetp.eq.u32 %p1, %r7, 0;\n{body}\nret;\n}}\n"
        );
        let module = parse("k.ptx", &text).unwrap_or_else(|error| panic!("{error}"));
        let result = run(&module, &module.functions[0]);
        let codes = result.findings.iter().map(|finding| finding.code.0);
        (result.answer, codes.collect())
    }

    #[test]
    fn fence_commit_wait() {
        let proved = (Answer::Proved, vec![]);
        assert_eq!(
            codes("FENCE PRODUCT PRODUCT COMMIT WAIT 0; add.f32 %f4, %f0, %f1;"),
            proved
        );
        assert_eq!(
            codes("PRODUCT COMMIT WAIT 0;"),
            (Answer::Refuted, vec![UNFENCED.0])
        );
        assert_eq!(
            codes("FENCE mov.f32 %f0, 0f00000000; PRODUCT COMMIT WAIT 0;"),
            (Answer::Refuted, vec![UNFENCED.0])
        );
        assert_eq!(
            codes("FENCE PRODUCT COMMIT add.f32 %f4, %f0, %f1;"),
            (Answer::Refuted, vec![UNWAITED.0])
        );
        assert_eq!(
            codes("FENCE PRODUCT WAIT 0; add.f32 %f4, %f0, %f1;"),
            (Answer::Refuted, vec![UNWAITED.0]),
            "a wait is for committed groups"
        );
    }

    #[test]
    fn a_wait_lets_younger_groups_run() {
        assert_eq!(
            codes("FENCE PRODUCT COMMIT TAKES COMMIT WAIT 1; mov.b32 %r0, 0;"),
            (Answer::Refuted, vec![OVERWRITTEN.0])
        );
        assert_eq!(
            codes("FENCE TAKES COMMIT COMMIT WAIT 1; mov.b32 %r0, 0;"),
            (Answer::Proved, vec![])
        );
    }

    #[test]
    fn what_may_be_on_one_way_may_be() {
        assert_eq!(
            codes("FENCE PRODUCT COMMIT\n@%p1 bra OVER;\nWAIT 0;\nOVER: add.f32 %f4, %f0, %f1;"),
            (Answer::Refuted, vec![UNWAITED.0])
        );
        assert_eq!(
            codes("TOP: FENCE PRODUCT COMMIT\nWAIT 0;\nadd.f32 %f0, %f0, %f1;\n@%p1 bra TOP;"),
            (Answer::Proved, vec![])
        );
        assert_eq!(
            codes("FENCE\nTOP: PRODUCT COMMIT\nWAIT 0;\nadd.f32 %f0, %f0, %f1;\n@%p1 bra TOP;"),
            (Answer::Refuted, vec![UNFENCED.0])
        );
    }
}
