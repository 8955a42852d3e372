//! Which threads hold the same value in a register, whatever it is.
//!
//! Compilers let several threads compute one value and store it to one place: after a butterfly reduction all lanes of a
//! group hold the sum, and each stores it. Such stores race with nobody (the detector `racecheck` says the same).
//!
//! # Definition
//!
//! A register is *alike in bit b* where threads `t` and `t ^ (1 << b)` of a CTA hold the same value in it whenever both
//! have executed the same instructions equally often.
//!
//! # Method
//!
//! Per bit, along every path until nothing changes: a result is alike where all operands and the guard are. Numbers that
//! follow from thread indices alone are compared as numbers. A reduction step `op(x, shfl.bfly(x, 1 << b))` with a
//! commutative `op` is alike in `b` besides; what a warp computes together keeps only the bits that name the warp. A bit in
//! which some branch is not alike is dropped everywhere: there threads need not have executed the same.
//!
//! Loads give the same where addresses do, as long as nobody races with them, which is asked separately. Numbers are
//! compared by value: of a NaN, the bits may differ where an operation is commutative but for them.

use super::control_flow::Graph;
use super::evaluate::Context;
use super::slice::{Follows, follows};
use super::value::Value;
use crate::ptx::{
    Address, AddressBase, FloatBinary, Instruction, IntegerBinary, Op, Operand, Ordering,
    RegisterId, ShuffleMode, Space,
};
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

/// Bits of a thread's index in its CTA, of which a register may be alike in some.
pub(super) type Alike = u16;

/// A CTA has at most 2^10 threads.
const BITS: u32 = 10;
/// Alike in all threads.
const EVERYONE: Alike = (1 << BITS) - 1;
/// The bits that name a warp.
const WARPS: Alike = EVERYONE & !0x1f;

/// What every store of a function stores, by instruction.
#[derive(Clone, Debug, Default)]
pub(super) struct AlikeStores {
    stores: HashMap<usize, Alike>,
}

impl AlikeStores {
    /// Follows the whole function.
    pub(super) fn new(context: &Context<'_>) -> Self {
        let (mut stores, branches) = Tracer::new(context).flow();
        let same_way = branches.values().fold(EVERYONE, |bits, found| bits & found);
        for bits in stores.values_mut() {
            *bits &= same_way;
        }
        stores.retain(|_, bits| *bits != 0);
        Self { stores }
    }

    /// In which bits the values are alike that an instruction stores; none where it is no store.
    pub(super) fn of(&self, at: usize) -> Alike {
        self.stores.get(&at).copied().unwrap_or(0)
    }
}

/// Whether two threads hold the same value, of a register that is alike in `bits`. Every thread between them, bit by
/// bit, exists: the way goes down to what both have, and up again.
pub(super) fn joins(bits: Alike, one: usize, other: usize) -> bool {
    (one ^ other) & !usize::from(bits) == 0
}

/// What is known of a register at one place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    bits: Alike,
    /// The number of each thread, but for an unknown that all share, where it follows from thread indices.
    value: Option<Rc<Value>>,
}

/// The same of each, by its number.
type Registers = Vec<Known>;
/// The same by instruction: what stores store, on what branches depend.
type ByInstruction = HashMap<usize, Alike>;

struct Tracer<'c, 'm> {
    context: &'c Context<'m>,
    graph: Graph,
    numbers: HashMap<RegisterId, usize>,
    /// Instructions that write each register.
    writers: HashMap<RegisterId, Vec<usize>>,
}

impl<'c, 'm> Tracer<'c, 'm> {
    fn new(context: &'c Context<'m>) -> Self {
        let function = context.function;
        let mut writers: HashMap<RegisterId, Vec<usize>> = HashMap::new();
        for (at, instruction) in function.instructions.iter().enumerate() {
            for register in instruction.op.writes() {
                writers.entry(register).or_default().push(at);
            }
        }
        Self {
            context,
            graph: Graph::new(function),
            numbers: writers.keys().copied().zip(0..).collect(),
            writers,
        }
    }

    /// Follows every block until nothing shrinks: what is alike on one way in and not on another is not alike.
    fn flow(&self) -> (ByInstruction, ByInstruction) {
        let (mut stores, mut branches) = (HashMap::new(), HashMap::new());
        let mut entries: Vec<Option<Registers>> = vec![None; self.graph.blocks.len()];
        // A register that nobody has written holds anything.
        if let Some(first) = entries.first_mut() {
            *first = Some(vec![Known::default(); self.numbers.len()]);
        }
        let mut left = BTreeSet::from([0]);
        while let Some(block) = left.pop_first() {
            let Some(mut registers) = entries.get(block).cloned().flatten() else {
                continue;
            };
            for at in self.graph.blocks[block].instructions.clone() {
                let instruction = &self.context.function.instructions[at];
                let op = &instruction.op;
                if let Op::St { a, .. } = op {
                    stores.insert(at, self.operands(&registers, a));
                }
                if matches!(
                    op,
                    Op::Bra { .. } | Op::Ret | Op::Exit | Op::BranchIndexed { .. }
                ) {
                    let which = self.all(&registers, op.reads());
                    branches.insert(at, which & self.guard(&registers, instruction));
                }
                self.step(&mut registers, at, op, instruction);
            }
            for next in self.graph.blocks[block].successors() {
                let entry = &mut entries[next];
                let before = entry.clone();
                match entry {
                    None => *entry = Some(registers.clone()),
                    Some(known) => {
                        for (known, found) in known.iter_mut().zip(&registers) {
                            known.bits &= found.bits;
                            if known.value != found.value {
                                known.value = None;
                            }
                        }
                    }
                }
                if *entry != before {
                    left.insert(next);
                }
            }
        }
        (stores, branches)
    }

    fn step(&self, registers: &mut Registers, at: usize, op: &Op, instruction: &Instruction) {
        let guard = self.guard(registers, instruction);
        let writes = op.writes();
        let numbers = self.evaluated(registers, at, instruction);
        let found: Vec<Known> = (0..writes.len())
            .map(|element| match numbers.get(element) {
                Some(value) => Known {
                    bits: of_numbers(self.context.threads(), value),
                    value: Some(Rc::clone(value)),
                },
                None => Known {
                    bits: self.result(registers, (at, op), element) & guard,
                    value: None,
                },
            })
            .collect();
        for (register, mut found) in writes.iter().zip(found) {
            let known = &mut registers[self.numbers[register]];
            // Where the guard does not hold, the old value stays.
            found.bits &= instruction.guard.map_or(EVERYONE, |_| known.bits);
            *known = found;
        }
    }

    /// The numbers that an instruction without a guard makes of numbers, for each register it writes; else nothing.
    fn evaluated(&self, registers: &Registers, at: usize, of: &Instruction) -> Vec<Rc<Value>> {
        let value = |register: &RegisterId| {
            let number = self.numbers.get(register)?;
            registers[*number].value.clone()
        };
        let numeric = !matches!(of.op, Op::Ld { .. }) && follows(&of.op) == Follows::Numbers;
        let reads = of.op.reads();
        if of.guard.is_some() || !numeric || reads.iter().any(|read| value(read).is_none()) {
            return Vec::new();
        }
        let read = |register| {
            value(&register).map_or_else(|| Value::unknown(true), |value| (*value).clone())
        };
        let results = self.context.evaluate(at, &of.op, &read).into_iter();
        let known =
            |value: &Value| !value.varying && value.lanes.iter().all(|lane| lane.value().is_some());
        results
            .map(|(_, value)| known(&value).then(|| Rc::new(value)))
            .collect::<Option<_>>()
            .unwrap_or_default()
    }

    fn register(&self, registers: &Registers, register: RegisterId) -> Alike {
        let number = self.numbers.get(&register);
        number.map_or(0, |number| registers[*number].bits)
    }

    fn all(&self, registers: &Registers, of: impl IntoIterator<Item = RegisterId>) -> Alike {
        of.into_iter()
            .fold(EVERYONE, |bits, one| bits & self.register(registers, one))
    }

    fn guard(&self, registers: &Registers, instruction: &Instruction) -> Alike {
        self.all(registers, instruction.guard.map(|guard| guard.register))
    }

    fn operands(&self, registers: &Registers, operands: &[Operand]) -> Alike {
        operands.iter().fold(EVERYONE, |bits, operand| {
            bits & match operand {
                Operand::Register(register) => self.register(registers, *register),
                Operand::Immediate(_) | Operand::Address(..) => EVERYONE,
                Operand::Special(_) => self.of_value(operand),
            }
        })
    }

    fn of_value(&self, operand: &Operand) -> Alike {
        let nothing = |_| Value::unknown(true);
        of_numbers(
            self.context.threads(),
            &self.context.operand(*operand, &nothing),
        )
    }

    fn address(&self, registers: &Registers, address: &Address) -> Alike {
        match address.base {
            AddressBase::Register(register) => self.register(registers, register),
            AddressBase::Symbol(_) | AddressBase::Absolute => EVERYONE,
        }
    }

    /// Of the result that is written as number `element`.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "any other gives the same for the same operands, or nothing is said of it"
    )]
    fn result(&self, registers: &Registers, (at, op): (usize, &Op), element: usize) -> Alike {
        match op {
            Op::Mov { a, .. } | Op::Cvt { a, .. } => self.operands(registers, &[*a]),
            Op::Ld {
                ordering: Ordering::Weak,
                space: Space::Global | Space::Shared | Space::Const | Space::Param,
                address,
                ..
            } => self.address(registers, address),
            Op::Ld { .. } => 0,
            // An exchange of the whole warp moves with the lanes; its predicate does not.
            Op::Shfl { a, .. } if element == 0 && butterfly(op).is_some() => {
                self.operands(registers, &[*a])
            }
            Op::Shfl { .. }
            | Op::Vote { .. }
            | Op::Redux { .. }
            | Op::Mma(_)
            | Op::Wmma(_)
            | Op::LdMatrix { .. }
            | Op::MovMatrix { .. } => self.all(registers, op.reads()) & WARPS,
            Op::FloatBinary {
                operation: FloatBinary::Add | FloatBinary::Mul | FloatBinary::Min | FloatBinary::Max,
                a,
                b,
                ..
            }
            | Op::IntegerBinary {
                operation: IntegerBinary::Add | IntegerBinary::Min | IntegerBinary::Max,
                a,
                b,
                ..
            }
            | Op::Logic { a, b, .. } => {
                self.all(registers, op.reads()) | self.reduced(registers, at, [*a, *b])
            }
            _ if follows(op) == Follows::Not => 0,
            _ => self.all(registers, op.reads()),
        }
    }

    /// Of `op(x, shfl.bfly(x, 1 << b))` in either order: where `x` is alike, and in `b`.
    fn reduced(&self, registers: &Registers, at: usize, operands: [Operand; 2]) -> Alike {
        let [Operand::Register(a), Operand::Register(b)] = operands else {
            return 0;
        };
        [(a, b), (b, a)]
            .into_iter()
            .filter_map(|(x, exchanged)| {
                let &[shuffle] = self.writers.get(&exchanged)?.as_slice() else {
                    return None;
                };
                let instruction = &self.context.function.instructions[shuffle];
                let (of, bit) = butterfly(&instruction.op)?;
                let whole =
                    of == x && instruction.guard.is_none() && self.one_value(x, shuffle, at);
                whole.then(|| self.register(registers, x) | bit)
            })
            .fold(0, |bits, found| bits | found)
    }

    /// Whether a register has one value at two places: on one way through a block, where nothing writes it.
    fn one_value(&self, register: RegisterId, first: usize, second: usize) -> bool {
        let mut blocks = self.graph.blocks.iter();
        let together = blocks.any(|block| {
            block.instructions.contains(&first) && block.instructions.contains(&second)
        });
        let written = self.writers.get(&register);
        let between = written.is_some_and(|at| at.iter().any(|at| (first..second).contains(at)));
        first < second && together && !between
    }
}

/// What a `shfl.bfly` of a whole warp exchanges, and the bit of the lane.
fn butterfly(op: &Op) -> Option<(RegisterId, Alike)> {
    let Op::Shfl {
        mode: ShuffleMode::Bfly,
        p: None,
        a: Operand::Register(a),
        b: Operand::Immediate(lanes),
        c: Operand::Immediate(clamp),
        mask: Operand::Immediate(mask),
        ..
    } = op
    else {
        return None;
    };
    let lanes = u16::try_from(*lanes).ok().filter(|lanes| *lanes < 32)?;
    let everyone = mask & 0xffff_ffff == 0xffff_ffff;
    (everyone && *clamp == 31 && lanes.is_power_of_two()).then_some((*a, lanes))
}

/// In which bits a value is alike whose numbers are known, but for an unknown that all threads share.
fn of_numbers(threads: usize, value: &Value) -> Alike {
    if value.varying {
        return 0;
    }
    if !value.differs() {
        return EVERYONE;
    }
    (0..BITS)
        .filter(|bit| {
            (0..threads).all(|thread| {
                let other = thread ^ (1 << bit);
                let number = value.lane(thread).value();
                other >= threads || (number.is_some() && number == value.lane(other).value())
            })
        })
        .fold(0, |bits, bit| bits | 1 << bit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ptx::parse;

    /// Bits in which the store of `%f9` is alike after `code`.
    fn of(code: &str) -> Alike {
        let text = format!(
            ".version 8.0\n.target sm_80\n.address_size 64\n.shared .align 16 .b8 tile[1024];\n\
             .entry k(.param .u64 p) .reqntid 128\n{{\n.reg .pred %p<4>;\n.reg .f32 %f<16>;\n.reg .b32 %r<16>;\n\
             .reg .b64 %rd<4>;\nmov.u32 %r1, %tid.x;\nand.b32 %r2, %r1, 28;\nshl.b32 %r3, %r1, 2;\nmov.u32 %r4, tile;\n\
             add.u32 %r5, %r4, %r3;\nadd.u32 %r6, %r4, %r2;\nld.shared.f32 %f1, [%r5];\n{code}\nst.shared.f32 [%r6], %f9;\nret;\n}}\n"
        );
        let module = parse("k.ptx", &text).unwrap();
        let context = Context::new(&module, &module.functions[0]).unwrap();
        let at = module.functions[0]
            .instructions
            .iter()
            .position(|instruction| matches!(instruction.op, Op::St { .. }));
        AlikeStores::new(&context).of(at.unwrap())
    }

    #[test]
    fn a_butterfly_makes_its_lanes_alike() {
        let step = |d: u32, a: u32, lanes: u32| {
            format!("shfl.sync.bfly.b32 %f8, %f{a}, {lanes}, 31, -1;\nmax.f32 %f{d}, %f{a}, %f8;\n")
        };
        // Of 128 threads the three highest bits tell none apart.
        assert_eq!(of(&step(9, 1, 2)), 0x382);
        let two = "shfl.sync.bfly.b32 %f2, %f1, 2, 31, -1;\nmax.f32 %f3, %f1, %f2;\n\
                   shfl.sync.bfly.b32 %f4, %f3, 1, 31, -1;\nadd.f32 %f9, %f4, %f3;\n";
        assert_eq!(of(two), 0x383);
        for (what, code) in [
            (
                "it is not commutative",
                two.replace("add.f32", "sub.f32")
                    .replace("max.f32", "sub.f32"),
            ),
            ("lanes are left out", two.replace("31, -1", "31, 15")),
            ("segments are narrower", two.replace("31, -1", "7711, -1")),
            (
                "another is exchanged",
                two.replace("max.f32 %f3, %f1", "max.f32 %f3, %f9")
                    .replace("b32 %f4, %f3", "b32 %f4, %f1"),
            ),
            (
                "it is written in between",
                two.replace("max.f32 %f3, %f1, %f2;", "ld.shared.f32 %f3, [%r5+4];")
                    .replace("add.f32", "ld.shared.f32 %f3, [%r5];\nadd.f32"),
            ),
        ] {
            assert_eq!(of(&code) & 1, 0, "{what}");
        }
    }

    #[test]
    fn loads_are_alike_where_addresses_are() {
        // `tid & 28` leaves out the lowest bits and the warp's.
        assert_eq!(of("ld.shared.f32 %f9, [%r6];"), 0x3e3);
        assert_eq!(of("ld.shared.f32 %f9, [%r5];"), 0x380);
        assert_eq!(of("ld.volatile.shared.f32 %f9, [%r6];"), 0);
        assert_eq!(of("ld.shared.f32 %f9, [tile];"), EVERYONE);
    }

    #[test]
    fn guards_and_branches_count() {
        let guard = |limit: u32| {
            format!(
                "mov.f32 %f9, 0f00000000;\nsetp.lt.u32 %p1, %r1, {limit};\n@%p1 ld.shared.f32 %f9, [%r6];"
            )
        };
        assert_eq!(of(&guard(64)), 0x3a3);
        assert_eq!(of(&guard(63)), 0x380);
        let branch = |of: &str| {
            format!(
                "mov.f32 %f9, 0f00000000;\nsetp.lt.u32 %p1, {of}, 16;\n@%p1 bra A;\nmov.f32 %f9, 0f3f800000;\nA:"
            )
        };
        assert_eq!(of(&branch("%r2")), 0x3e3 | 0x0c);
        assert_eq!(of(&branch("%r4")), EVERYONE);
        // Two ways to one number.
        let twice = "mov.f32 %f9, 0f00000000;\nand.b32 %r7, %r1, 96;\nsetp.lt.u32 %p1, %r4, 16;\n@%p1 bra A;\nand.b32 %r7, %r1, 96;\n\
                     A:\nadd.u32 %r8, %r7, %r4;\nld.shared.f32 %f9, [%r8];";
        assert_eq!(of(twice), 0x39f);
        assert_eq!(of(&twice.replacen("96", "97", 1)), 0x39e);
        // What a register holds on the way here counts, not what it holds elsewhere.
        let reused = "mov.f32 %f2, 0f00000000;\nmov.f32 %f9, %f2;\nld.shared.f32 %f2, [%r5];";
        assert_eq!(of(reused), EVERYONE);
    }
}
