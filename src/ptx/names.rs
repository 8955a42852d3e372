//! Which registers and symbols an instruction names: to be read, or to be replaced.

use super::instruction::Op;
use super::operand::{RegisterId, Symbol};

/// A register as an instruction uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Use {
    /// Its value matters.
    Read(RegisterId),
    /// It gets a value (where the guard holds).
    Write(RegisterId),
}

/// What an instruction does with a register that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Read,
    Write,
    /// It is named once, read and written.
    Update,
}

/// Defines `names(op, register, symbol)`, which hands out every register with its role, and every symbol, in the order of the
/// text; the guard is not part of an operation. Once over `&Op`, once over `&mut Op`: what an instruction names stands
/// here once, for both.
macro_rules! names {
    ($over:ident $(, $mut:ident)?) => {
        mod $over {
            use super::Role;
            use crate::ptx::instruction::Op;
            use crate::ptx::operand::{Address, AddressBase, Operand, Predicate, RegisterId, Symbol};
            use crate::ptx::sm90::{ArriveKind, Sm90, TensorPlace, WgmmaA};
            use crate::ptx::wmma::Wmma;

            struct Names<'f> {
                register: &'f mut dyn FnMut(Role, &$($mut)? RegisterId),
                symbol: &'f mut dyn FnMut(&$($mut)? Symbol),
            }

            pub(super) fn names(
                op: &$($mut)? Op,
                register: &mut dyn FnMut(Role, &$($mut)? RegisterId),
                symbol: &mut dyn FnMut(&$($mut)? Symbol),
            ) {
                Names { register, symbol }.op(op);
            }

            impl Names<'_> {
                fn write<'r>(&mut self, registers: impl IntoIterator<Item = &'r $($mut)? RegisterId>) {
                    for register in registers {
                        (self.register)(Role::Write, register);
                    }
                }

                fn read<'r>(&mut self, registers: impl IntoIterator<Item = &'r $($mut)? RegisterId>) {
                    for register in registers {
                        (self.register)(Role::Read, register);
                    }
                }

                fn predicate(&mut self, predicate: &$($mut)? Predicate) {
                    self.read([&$($mut)? predicate.register]);
                }

                fn operands<'r>(&mut self, operands: impl IntoIterator<Item = &'r $($mut)? Operand>) {
                    for operand in operands {
                        match operand {
                            Operand::Register(register) => self.read([register]),
                            Operand::Address(symbol, _) => (self.symbol)(symbol),
                            Operand::Immediate(_) | Operand::Special(_) => {}
                        }
                    }
                }

                fn address(&mut self, address: &$($mut)? Address) {
                    match &$($mut)? address.base {
                        AddressBase::Register(register) => self.read([register]),
                        AddressBase::Symbol(symbol) => (self.symbol)(symbol),
                        AddressBase::Absolute => {}
                    }
                }

                fn place(&mut self, place: &$($mut)? TensorPlace) {
                    self.address(&$($mut)? place.map);
                    self.operands(&$($mut)? place.coordinates);
                }

                fn op(&mut self, op: &$($mut)? Op) {
                    match op {
                        Op::IntegerUnary { d, a, .. }
                        | Op::Not { d, a, .. }
                        | Op::Bits { d, a, .. }
                        | Op::BitFind { d, a, .. }
                        | Op::Mov { d, a, .. }
                        | Op::Cvt { d, a, .. }
                        | Op::Cvta { d, a, .. }
                        | Op::CvtPacked { d, a, .. }
                        | Op::TestProperty { p: d, a, .. }
                        | Op::IsSpace { p: d, a, .. }
                        | Op::MovMatrix { d, a }
                        | Op::FloatUnary { d, a, .. }
                        | Op::Math { d, a, .. } => {
                            self.write([d]);
                            self.operands([a]);
                        }
                        Op::IntegerBinary { d, a, b, .. }
                        | Op::Logic { d, a, b, .. }
                        | Op::Shift { d, a, b, .. }
                        | Op::CvtPair { d, a, b, .. }
                        | Op::AddCarry { d, a, b, .. }
                        | Op::CopySign { d, a, b, .. }
                        | Op::FloatBinary { d, a, b, .. }
                        | Op::FloatDiv { d, a, b, .. } => {
                            self.write([d]);
                            self.operands([a, b]);
                        }
                        Op::Mad { d, a, b, c, .. }
                        | Op::FunnelShift { d, a, b, c, .. }
                        | Op::Lop3 { d, a, b, c, .. }
                        | Op::Prmt { d, a, b, c, .. }
                        | Op::BitFieldExtract { d, a, b, c, .. }
                        | Op::MadCarry { d, a, b, c, .. }
                        | Op::AbsoluteDifference { d, a, b, c, .. }
                        | Op::Dot { d, a, b, c, .. }
                        | Op::Slct { d, a, b, c, .. }
                        | Op::Fma { d, a, b, c, .. } => {
                            self.write([d]);
                            self.operands([a, b, c]);
                        }
                        Op::Product24 { d, a, b, c, .. } => {
                            self.write([d]);
                            self.operands([a, b]);
                            self.operands(c);
                        }
                        Op::Lop3Predicate {
                            d, p, a, b, c, q, ..
                        } => {
                            self.write(d);
                            self.write([p]);
                            self.operands([a, b, c]);
                            self.predicate(q);
                        }
                        Op::Set {
                            combine, d, a, b, ..
                        } => {
                            self.write([d]);
                            self.operands([a, b]);
                            if let Some((_, c)) = combine {
                                self.predicate(c);
                            }
                        }
                        Op::Match { d, p, a, mask, .. } => {
                            self.write([d]);
                            self.write(p);
                            self.operands([a, mask]);
                        }
                        Op::Nanosleep { a } => self.operands([a]),
                        Op::CreatePolicy { d, arguments, .. } => {
                            self.write([d]);
                            self.operands(arguments);
                        }
                        Op::BranchIndexed { index, .. } => self.operands([index]),
                        Op::Call(call) => {
                            self.operands(&$($mut)? call.arguments);
                            self.operands(&$($mut)? call.results);
                        }
                        Op::BitFieldInsert {
                            d, a, b, c, length, ..
                        } => {
                            self.write([d]);
                            self.operands([a, b, c, length]);
                        }
                        Op::Setp {
                            combine,
                            p,
                            q,
                            a,
                            b,
                            ..
                        } => {
                            self.write(p);
                            self.write(q);
                            self.operands([a, b]);
                            if let Some((_, c)) = combine {
                                self.predicate(c);
                            }
                        }
                        Op::Selp { d, a, b, c, .. } => {
                            self.write([d]);
                            self.operands([a, b]);
                            self.read([c]);
                        }
                        Op::Pack { d, a, .. } => {
                            self.write([d]);
                            self.operands(a);
                        }
                        Op::Unpack { d, a, .. } => {
                            for d in d {
                                self.write(d);
                            }
                            self.operands([a]);
                        }
                        Op::Ld {
                            hints, d, address, ..
                        } => {
                            for d in d {
                                self.write(d);
                            }
                            self.address(address);
                            self.operands(&$($mut)? hints.policy);
                        }
                        Op::St {
                            hints, address, a, ..
                        } => {
                            self.address(address);
                            self.operands(a);
                            self.operands(&$($mut)? hints.policy);
                        }
                        Op::PrefetchLine { address, .. } => self.address(address),
                        Op::Atomic {
                            d, address, b, c, ..
                        } => {
                            self.write(d);
                            self.address(address);
                            self.operands([b]);
                            self.operands(c);
                        }
                        Op::Shfl {
                            d,
                            p,
                            a,
                            b,
                            c,
                            mask,
                            ..
                        } => {
                            self.write([d]);
                            self.write(p);
                            self.operands([a, b, c, mask]);
                        }
                        Op::Vote { d, a, mask, .. } => {
                            self.write([d]);
                            self.predicate(a);
                            self.operands([mask]);
                        }
                        Op::Redux { d, a, mask, .. } => {
                            self.write([d]);
                            self.operands([a, mask]);
                        }
                        Op::ActiveMask { d } => self.write([d]),
                        Op::BarrierSync {
                            barrier, threads, ..
                        } => {
                            self.operands([barrier]);
                            self.operands(threads);
                        }
                        Op::BarrierArrive {
                            barrier, threads, ..
                        } => self.operands([barrier, threads]),
                        Op::BarrierRed {
                            d,
                            barrier,
                            threads,
                            a,
                            ..
                        } => {
                            self.write([d]);
                            self.operands([barrier]);
                            self.operands(threads);
                            self.predicate(a);
                        }
                        Op::WarpSync { mask } => self.operands([mask]),
                        Op::CpAsync {
                            source_bytes,
                            ignore,
                            policy,
                            d,
                            s,
                            ..
                        } => {
                            self.address(d);
                            self.address(s);
                            self.operands(source_bytes);
                            if let Some(ignore) = ignore {
                                self.predicate(ignore);
                            }
                            self.operands(policy);
                        }
                        Op::LdMatrix { d, address, .. } => {
                            self.write(d);
                            self.address(address);
                        }
                        Op::StMatrix { address, a, .. } => {
                            self.address(address);
                            self.read(a);
                        }
                        Op::Mma(mma) => {
                            self.write(&$($mut)? mma.d);
                            self.read(&$($mut)? mma.a);
                            self.read(&$($mut)? mma.b);
                            self.operands(&$($mut)? mma.c);
                        }
                        Op::Wmma(op) => self.wmma(op),
                        Op::Sm90(op) => self.sm90(op),
                        Op::Membar { .. }
                        | Op::Fence { .. }
                        | Op::CpAsyncCommit
                        | Op::CpAsyncWait { .. }
                        | Op::CpAsyncWaitAll
                        | Op::Bra { .. }
                        | Op::Ret
                        | Op::Exit
                        | Op::Trap => {}
                    }
                }

                fn wmma(&mut self, op: &$($mut)? Wmma) {
                    match op {
                        Wmma::Load(tile) => {
                            self.write(&$($mut)? tile.registers);
                            self.address(&$($mut)? tile.address);
                            self.operands(&$($mut)? tile.stride);
                        }
                        Wmma::Store(tile) => {
                            self.address(&$($mut)? tile.address);
                            self.read(&$($mut)? tile.registers);
                            self.operands(&$($mut)? tile.stride);
                        }
                        Wmma::Product { d, a, b, c, .. } => {
                            self.write(d);
                            self.read(a);
                            self.read(b);
                            self.read(c);
                        }
                    }
                }

                fn sm90(&mut self, op: &$($mut)? Sm90) {
                    match op {
                        Sm90::MbarrierInit { address, count } => {
                            self.address(address);
                            self.operands([count]);
                        }
                        Sm90::MbarrierInvalidate { address }
                        | Sm90::CpAsyncArrive { address, .. }
                        | Sm90::PrefetchTensorMap { address, .. } => self.address(address),
                        Sm90::MbarrierTx { address, bytes, .. } => {
                            self.address(address);
                            self.operands([bytes]);
                        }
                        Sm90::MbarrierArrive(arrive) => {
                            self.write(&$($mut)? arrive.state);
                            self.address(&$($mut)? arrive.address);
                            match &$($mut)? arrive.kind {
                                ArriveKind::Count(count) => self.operands(count),
                                ArriveKind::ExpectTx(operand) | ArriveKind::NoComplete(operand) => {
                                    self.operands([operand]);
                                }
                            }
                        }
                        Sm90::MbarrierWait(wait) => {
                            self.write([&$($mut)? wait.d]);
                            self.address(&$($mut)? wait.address);
                            self.operands([&$($mut)? wait.phase]);
                            self.operands(&$($mut)? wait.hint);
                        }
                        Sm90::MbarrierPending { d, state } => {
                            self.write([d]);
                            self.operands([state]);
                        }
                        Sm90::BulkLoad {
                            d,
                            s,
                            bytes,
                            mbarrier,
                            policy,
                        } => {
                            self.address(d);
                            self.address(s);
                            self.operands([bytes]);
                            self.address(mbarrier);
                            self.operands(policy);
                        }
                        Sm90::BulkStore {
                            d,
                            s,
                            bytes,
                            policy,
                            ..
                        } => {
                            self.address(d);
                            self.address(s);
                            self.operands([bytes]);
                            self.operands(policy);
                        }
                        Sm90::BulkPrefetch { s, bytes, policy } => {
                            self.address(s);
                            self.operands([bytes]);
                            self.operands(policy);
                        }
                        Sm90::TensorLoad {
                            d,
                            place,
                            mbarrier,
                            policy,
                        } => {
                            self.address(d);
                            self.place(place);
                            self.address(mbarrier);
                            self.operands(policy);
                        }
                        Sm90::TensorStore {
                            place, s, policy, ..
                        } => {
                            self.place(place);
                            self.address(s);
                            self.operands(policy);
                        }
                        Sm90::TensorPrefetch { place, policy } => {
                            self.place(place);
                            self.operands(policy);
                        }
                        Sm90::Wgmma(wgmma) => {
                            // Accumulators are read, unless `scale_d` is plainly false.
                            let role = if wgmma.scale_d == Operand::Immediate(0) {
                                Role::Write
                            } else {
                                Role::Update
                            };
                            for d in &$($mut)? wgmma.d {
                                (self.register)(role, d);
                            }
                            match &$($mut)? wgmma.a {
                                WgmmaA::Shared(descriptor) => self.operands([descriptor]),
                                WgmmaA::Registers(a) => self.read(a),
                            }
                            self.operands([&$($mut)? wgmma.b, &$($mut)? wgmma.scale_d]);
                        }
                        Sm90::Elect { d, p, mask } => {
                            self.write(d);
                            self.write([p]);
                            self.operands([mask]);
                        }
                        Sm90::Mapa { d, a, rank, .. } => {
                            self.write([d]);
                            self.operands([a]);
                            self.operands([rank]);
                        }
                        Sm90::BulkCommit
                        | Sm90::BulkWait { .. }
                        | Sm90::FenceProxyAsync { .. }
                        | Sm90::FenceMbarrierInit
                        | Sm90::WgmmaFence
                        | Sm90::WgmmaCommit
                        | Sm90::WgmmaWait { .. }
                        | Sm90::SetMaxRegisters { .. }
                        | Sm90::GridDependency { .. }
                        | Sm90::ClusterArrive { .. }
                        | Sm90::ClusterWait { .. } => {}
                    }
                }
            }
        }
    };
}

names!(shared);
names!(exclusive, mut);

impl Op {
    /// Calls `each` with every register that is read, then with every one that is written, in the order of the
    /// text. A guard is not part of the operation.
    pub fn for_each_use(&self, mut each: impl FnMut(Use)) {
        self.reads()
            .into_iter()
            .for_each(|register| each(Use::Read(register)));
        self.writes()
            .into_iter()
            .for_each(|register| each(Use::Write(register)));
    }

    /// Registers that are written.
    pub fn writes(&self) -> Vec<RegisterId> {
        self.registers_but(Role::Read)
    }

    /// Registers that are read.
    pub fn reads(&self) -> Vec<RegisterId> {
        self.registers_but(Role::Write)
    }

    fn registers_but(&self, other: Role) -> Vec<RegisterId> {
        let mut registers = Vec::new();
        let mut collect = |role, register: &RegisterId| {
            if role != other {
                registers.push(*register);
            }
        };
        shared::names(self, &mut collect, &mut |_| {});
        registers
    }

    /// Calls `register` and `symbol` with every register and symbol that the instruction names, each once.
    pub(super) fn for_each_name(
        &mut self,
        register: &mut dyn FnMut(&mut RegisterId),
        symbol: &mut dyn FnMut(&mut Symbol),
    ) {
        exclusive::names(self, &mut |_, one| register(one), symbol);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ptx::{parse, statement};

    /// The registers and symbols of the printed statement are those that are handed out, each once to be replaced.
    #[test]
    fn every_name_of_the_text_is_handed_out() {
        let text = ".version 9.0\n.target sm_90a\n.address_size 64\n.shared .align 16 .b8 tile[64];\n.entry k(.param .u64 a) {\n\
            .reg .pred %p<8>;\n.reg .b32 %r<32>;\n.reg .f32 %f<8>;\n.reg .b64 %d<8>;\n\
            @!%p7 mad.wide.s32 %d1, %r2, %r3, %d4;\nsetp.lt.and.s32 %p1|%p2, %r3, %r4, !%p5;\nbfi.b32 %r1, %r2, %r3, %r4, %r5;\n\
            ld.global.L2::cache_hint.v4.u32 {%r1, _, %r3, %r4}, [%d5+8], %d6;\nshfl.sync.idx.b32 %r1|%p2, %r3, %r4, %r5, %r6;\n\
            cp.async.cg.shared.global.L2::cache_hint [%r1], [%d2], 16, %r3, %d4;\nbar.red.and.pred %p1, %r2, %r3, !%p4;\n\
            mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%r1, %r2}, {%r3, %r4, %r5, %r6}, {%r7, %r8}, {%r9, %r10};\n\
            atom.relaxed.gpu.global.cas.b32 %r1, [%d2], %r3, %r4;\nstmatrix.sync.aligned.m8n8.x2.shared.b16 [%r1], {%r2, %r3};\n\
            ld.param.u64 %d1, [a];\nmov.u32 %r1, tile;\nst.shared.u32 [tile+4], %r2;\n\
            wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%f0, %f1, %f2, %f3}, %d1, %d2, %p1, 1, 1, 0, 0;\n\
            mbarrier.try_wait.parity.shared.b64 %p1, [%r2], %r3;\n}";
        let module = parse("test.ptx", text).unwrap();
        let function = &module.functions[0];
        for instruction in &function.instructions {
            let text = statement(&module, function, instruction);
            let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '%'));
            let mut printed: Vec<&str> = words.filter(|word| word.starts_with('%')).collect();
            printed.sort_unstable();
            let guard = instruction.guard.map(|guard| guard.register);
            let sorted = |registers: Vec<RegisterId>| {
                let names = registers.into_iter().chain(guard);
                let mut names: Vec<_> = names.map(|one| function.register_name(one)).collect();
                names.sort();
                names
            };

            let (mut replaced, mut symbols) = (Vec::new(), 0);
            instruction
                .op
                .clone()
                .for_each_name(&mut |register| replaced.push(*register), &mut |_| {
                    symbols += 1
                });
            assert_eq!(sorted(replaced), printed, "{text}");
            let symbol = |word: &str| word == "a" || word == "tile";
            let words = text.split(|c: char| !(c.is_ascii_alphanumeric()));
            assert_eq!(symbols, words.filter(|word| symbol(word)).count(), "{text}");

            let mut used = Vec::new();
            instruction.op.for_each_use(|one| {
                let (Use::Read(register) | Use::Write(register)) = one;
                used.push(register);
            });
            if matches!(instruction.op, Op::Sm90(_)) {
                used.sort_unstable();
                used.dedup(); // an accumulator is read and written
            }
            assert_eq!(sorted(used), printed, "{text}");
        }
        let wgmma = &function.instructions[13].op;
        assert_eq!((wgmma.writes().len(), wgmma.reads().len()), (4, 4 + 3));
    }
}
