//! Which registers an instruction reads and writes.

use super::instruction::Op;
use super::operand::{Address, AddressBase, Operand, RegisterId};

/// A register as an instruction uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Use {
    /// Its value matters.
    Read(RegisterId),
    /// It gets a value (where the guard holds).
    Write(RegisterId),
}

/// Collects uses.
struct Walk<'f>(&'f mut dyn FnMut(Use));

impl Walk<'_> {
    fn write(&mut self, registers: impl IntoIterator<Item = RegisterId>) {
        registers
            .into_iter()
            .for_each(|register| (self.0)(Use::Write(register)));
    }

    fn read(&mut self, registers: impl IntoIterator<Item = RegisterId>) {
        registers
            .into_iter()
            .for_each(|register| (self.0)(Use::Read(register)));
    }

    fn operands(&mut self, operands: impl IntoIterator<Item = Operand>) {
        for operand in operands {
            match operand {
                Operand::Register(register) => (self.0)(Use::Read(register)),
                Operand::Immediate(_) | Operand::Address(_, _) | Operand::Special(_) => {}
            }
        }
    }

    fn address(&mut self, address: Address) {
        match address.base {
            AddressBase::Register(register) => (self.0)(Use::Read(register)),
            AddressBase::Symbol(_) | AddressBase::Absolute => {}
        }
    }
}

impl super::sm90::Walker for Walk<'_> {
    fn write(&mut self, register: RegisterId) {
        (self.0)(Use::Write(register));
    }

    fn operand(&mut self, operand: Operand) {
        self.operands([operand]);
    }

    fn address(&mut self, address: Address) {
        Walk::address(self, address);
    }
}

impl Op {
    /// Calls `each` with every register that is read, then with every one that is written, in the order of the
    /// text. A guard is not part of the operation.
    pub fn for_each_use(&self, mut each: impl FnMut(Use)) {
        let mut writes = Vec::new();
        self.walk(&mut Walk(&mut |one| match one {
            Use::Read(_) => each(one),
            Use::Write(_) => writes.push(one),
        }));
        writes.into_iter().for_each(each);
    }

    /// Registers that are written.
    pub fn writes(&self) -> Vec<RegisterId> {
        let mut registers = Vec::new();
        self.walk(&mut Walk(&mut |one| {
            if let Use::Write(register) = one {
                registers.push(register);
            }
        }));
        registers
    }

    /// Registers that are read.
    pub fn reads(&self) -> Vec<RegisterId> {
        let mut registers = Vec::new();
        self.walk(&mut Walk(&mut |one| {
            if let Use::Read(register) = one {
                registers.push(register);
            }
        }));
        registers
    }

    fn walk(&self, walk: &mut Walk<'_>) {
        match self {
            Self::IntegerUnary { d, a, .. }
            | Self::Not { d, a, .. }
            | Self::Bits { d, a, .. }
            | Self::BitFind { d, a, .. }
            | Self::Mov { d, a, .. }
            | Self::Cvt { d, a, .. }
            | Self::Cvta { d, a, .. }
            | Self::CvtPacked { d, a, .. }
            | Self::TestProperty { p: d, a, .. }
            | Self::IsSpace { p: d, a, .. }
            | Self::MovMatrix { d, a }
            | Self::FloatUnary { d, a, .. }
            | Self::Math { d, a, .. } => {
                walk.write([*d]);
                walk.operands([*a]);
            }
            Self::IntegerBinary { d, a, b, .. }
            | Self::Logic { d, a, b, .. }
            | Self::Shift { d, a, b, .. }
            | Self::CvtPair { d, a, b, .. }
            | Self::AddCarry { d, a, b, .. }
            | Self::CopySign { d, a, b, .. }
            | Self::FloatBinary { d, a, b, .. }
            | Self::FloatDiv { d, a, b, .. } => {
                walk.write([*d]);
                walk.operands([*a, *b]);
            }
            Self::Mad { d, a, b, c, .. }
            | Self::FunnelShift { d, a, b, c, .. }
            | Self::Lop3 { d, a, b, c, .. }
            | Self::Prmt { d, a, b, c, .. }
            | Self::BitFieldExtract { d, a, b, c, .. }
            | Self::MadCarry { d, a, b, c, .. }
            | Self::AbsoluteDifference { d, a, b, c, .. }
            | Self::Dot { d, a, b, c, .. }
            | Self::Slct { d, a, b, c, .. }
            | Self::Fma { d, a, b, c, .. } => {
                walk.write([*d]);
                walk.operands([*a, *b, *c]);
            }
            Self::Product24 { d, a, b, c, .. } => {
                walk.write([*d]);
                walk.operands([*a, *b]);
                walk.operands(*c);
            }
            Self::Lop3Predicate {
                d, p, a, b, c, q, ..
            } => {
                walk.write(*d);
                walk.write([*p]);
                walk.operands([*a, *b, *c]);
                walk.read([q.register]);
            }
            Self::Set {
                combine, d, a, b, ..
            } => {
                walk.write([*d]);
                walk.operands([*a, *b]);
                walk.read(combine.map(|(_, c)| c.register));
            }
            Self::Match { d, p, a, mask, .. } => {
                walk.write([*d]);
                walk.write(*p);
                walk.operands([*a, *mask]);
            }
            Self::Nanosleep { a } => walk.operands([*a]),
            Self::CreatePolicy { d, arguments, .. } => {
                walk.write([*d]);
                walk.operands(arguments.iter().copied());
            }
            Self::BranchIndexed { index, .. } => walk.operands([*index]),
            Self::Call(call) => {
                walk.operands(call.arguments.iter().copied());
                walk.operands(call.results.iter().copied());
            }
            Self::BitFieldInsert {
                d, a, b, c, length, ..
            } => {
                walk.write([*d]);
                walk.operands([*a, *b, *c, *length]);
            }
            Self::Setp {
                combine,
                p,
                q,
                a,
                b,
                ..
            } => {
                walk.write(p.iter().chain(q).copied());
                walk.operands([*a, *b]);
                walk.read(combine.map(|(_, c)| c.register));
            }
            Self::Selp { d, a, b, c, .. } => {
                walk.write([*d]);
                walk.operands([*a, *b]);
                walk.read([*c]);
            }
            Self::Pack { d, a, .. } => {
                walk.write([*d]);
                walk.operands(a.iter().copied());
            }
            Self::Unpack { d, a, .. } => {
                walk.write(d.iter().flatten().copied());
                walk.operands([*a]);
            }
            Self::Ld {
                hints, d, address, ..
            } => {
                walk.write(d.iter().flatten().copied());
                walk.address(*address);
                walk.operands(hints.policy);
            }
            Self::St {
                hints, address, a, ..
            } => {
                walk.address(*address);
                walk.operands(a.iter().copied());
                walk.operands(hints.policy);
            }
            Self::PrefetchLine { address, .. } => walk.address(*address),
            Self::Atomic {
                d, address, b, c, ..
            } => {
                walk.write(*d);
                walk.address(*address);
                walk.operands([*b]);
                walk.operands(*c);
            }
            Self::Shfl {
                d,
                p,
                a,
                b,
                c,
                mask,
                ..
            } => {
                walk.write([*d]);
                walk.write(*p);
                walk.operands([*a, *b, *c, *mask]);
            }
            Self::Vote { d, a, mask, .. } => {
                walk.write([*d]);
                walk.read([a.register]);
                walk.operands([*mask]);
            }
            Self::Redux { d, a, mask, .. } => {
                walk.write([*d]);
                walk.operands([*a, *mask]);
            }
            Self::ActiveMask { d } => walk.write([*d]),
            Self::BarrierSync {
                barrier, threads, ..
            } => {
                walk.operands([*barrier]);
                walk.operands(*threads);
            }
            Self::BarrierArrive {
                barrier, threads, ..
            } => walk.operands([*barrier, *threads]),
            Self::BarrierRed {
                d,
                barrier,
                threads,
                a,
                ..
            } => {
                walk.write([*d]);
                walk.operands([*barrier]);
                walk.operands(*threads);
                walk.read([a.register]);
            }
            Self::WarpSync { mask } => walk.operands([*mask]),
            Self::CpAsync {
                source_bytes,
                ignore,
                policy,
                d,
                s,
                ..
            } => {
                walk.address(*d);
                walk.address(*s);
                walk.operands(*source_bytes);
                walk.read(ignore.map(|ignore| ignore.register));
                walk.operands(*policy);
            }
            Self::LdMatrix { d, address, .. } => {
                walk.write(d.iter().copied());
                walk.address(*address);
            }
            Self::StMatrix { address, a, .. } => {
                walk.address(*address);
                walk.read(a.iter().copied());
            }
            Self::Mma(mma) => {
                walk.write(mma.d.iter().copied());
                walk.read(mma.a.iter().chain(&mma.b).copied());
                walk.operands(mma.c.iter().copied());
            }
            Self::Sm90(op) => op.walk(walk),
            Self::Membar { .. }
            | Self::Fence { .. }
            | Self::CpAsyncCommit
            | Self::CpAsyncWait { .. }
            | Self::CpAsyncWaitAll
            | Self::Bra { .. }
            | Self::Ret
            | Self::Exit
            | Self::Trap => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::ptx::{parse, statement};

    /// The registers of the printed statement are those that the walk finds.
    #[test]
    fn every_register_of_the_text_is_walked() {
        let text = ".version 9.0\n.target sm_80\n.address_size 64\n.entry k() {\n.reg .pred %p<8>;\n.reg .b32 %r<32>;\n.reg .b64 %d<8>;\n\
            @!%p7 mad.wide.s32 %d1, %r2, %r3, %d4;\nsetp.lt.and.s32 %p1|%p2, %r3, %r4, !%p5;\nbfi.b32 %r1, %r2, %r3, %r4, %r5;\n\
            ld.global.L2::cache_hint.v4.u32 {%r1, _, %r3, %r4}, [%d5+8], %d6;\nshfl.sync.idx.b32 %r1|%p2, %r3, %r4, %r5, %r6;\n\
            cp.async.cg.shared.global.L2::cache_hint [%r1], [%d2], 16, %r3, %d4;\nbar.red.and.pred %p1, %r2, %r3, !%p4;\n\
            mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%r1, %r2}, {%r3, %r4, %r5, %r6}, {%r7, %r8}, {%r9, %r10};\n\
            atom.relaxed.gpu.global.cas.b32 %r1, [%d2], %r3, %r4;\nstmatrix.sync.aligned.m8n8.x2.shared.b16 [%r1], {%r2, %r3};\n}";
        let module = parse("test.ptx", text).unwrap();
        let function = &module.functions[0];
        for instruction in &function.instructions {
            let text = statement(&module, function, instruction);
            let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '%'));
            let mut printed: Vec<&str> = words.filter(|word| word.starts_with('%')).collect();
            let mut walked = Vec::new();
            instruction.op.for_each_use(|one| {
                let (super::Use::Read(register) | super::Use::Write(register)) = one;
                walked.push(function.register_name(register));
            });
            walked.extend(
                instruction
                    .guard
                    .map(|guard| function.register_name(guard.register)),
            );
            printed.sort_unstable();
            walked.sort();
            assert_eq!(walked, printed, "{text}");
        }
    }
}
