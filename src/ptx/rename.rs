//! Every name in an instruction, to be replaced: registers and symbols.

use super::instruction::Op;
use super::operand::{Address, AddressBase, Operand, Predicate, RegisterId, Symbol};
use super::sm90::{ArriveKind, Sm90, TensorPlace, WgmmaA};

/// A name in an instruction.
#[derive(Debug)]
pub(super) enum Name<'n> {
    Register(&'n mut RegisterId),
    Symbol(&'n mut Symbol),
}

struct Names<'f>(&'f mut dyn FnMut(Name<'_>));

impl Names<'_> {
    fn registers<'r>(&mut self, registers: impl IntoIterator<Item = &'r mut RegisterId>) {
        for register in registers {
            (self.0)(Name::Register(register));
        }
    }

    fn predicates<'r>(&mut self, predicates: impl IntoIterator<Item = &'r mut Predicate>) {
        for predicate in predicates {
            (self.0)(Name::Register(&mut predicate.register));
        }
    }

    fn operands<'r>(&mut self, operands: impl IntoIterator<Item = &'r mut Operand>) {
        for operand in operands {
            match operand {
                Operand::Register(register) => (self.0)(Name::Register(register)),
                Operand::Address(symbol, _) => (self.0)(Name::Symbol(symbol)),
                Operand::Immediate(_) | Operand::Special(_) => {}
            }
        }
    }

    fn address(&mut self, address: &mut Address) {
        match &mut address.base {
            AddressBase::Register(register) => (self.0)(Name::Register(register)),
            AddressBase::Symbol(symbol) => (self.0)(Name::Symbol(symbol)),
            AddressBase::Absolute => {}
        }
    }

    fn place(&mut self, place: &mut TensorPlace) {
        self.address(&mut place.map);
        self.operands(&mut place.coordinates);
    }

    /// The same names as `Sm90::walk` hands out.
    fn sm90(&mut self, op: &mut Sm90) {
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
                self.registers(&mut arrive.state);
                self.address(&mut arrive.address);
                match &mut arrive.kind {
                    ArriveKind::Count(count) => self.operands(count),
                    ArriveKind::ExpectTx(operand) | ArriveKind::NoComplete(operand) => {
                        self.operands([operand]);
                    }
                }
            }
            Sm90::MbarrierWait(wait) => {
                self.registers([&mut wait.d]);
                self.address(&mut wait.address);
                self.operands([&mut wait.phase].into_iter().chain(&mut wait.hint));
            }
            Sm90::MbarrierPending { d, state } => {
                self.registers([d]);
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
                self.address(mbarrier);
                self.operands([bytes].into_iter().chain(policy));
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
                self.operands([bytes].into_iter().chain(policy));
            }
            Sm90::BulkPrefetch { s, bytes, policy } => {
                self.address(s);
                self.operands([bytes].into_iter().chain(policy));
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
                self.registers(&mut wgmma.d);
                match &mut wgmma.a {
                    WgmmaA::Shared(descriptor) => self.operands([descriptor]),
                    WgmmaA::Registers(a) => self.registers(a),
                }
                self.operands([&mut wgmma.b, &mut wgmma.scale_d]);
            }
            Sm90::Elect { d, p, mask } => {
                self.registers(d.iter_mut().chain([p]));
                self.operands([mask]);
            }
            Sm90::Mapa { d, a, rank, .. } => {
                self.registers([d]);
                self.operands([a, rank]);
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

impl Op {
    /// Calls `each` with every register and symbol that the instruction names.
    pub(super) fn for_each_name(&mut self, each: &mut dyn FnMut(Name<'_>)) {
        let mut names = Names(each);
        let n = &mut names;
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
                n.registers([d]);
                n.operands([a]);
            }
            Self::IntegerBinary { d, a, b, .. }
            | Self::Logic { d, a, b, .. }
            | Self::Shift { d, a, b, .. }
            | Self::CvtPair { d, a, b, .. }
            | Self::AddCarry { d, a, b, .. }
            | Self::CopySign { d, a, b, .. }
            | Self::FloatBinary { d, a, b, .. }
            | Self::FloatDiv { d, a, b, .. } => {
                n.registers([d]);
                n.operands([a, b]);
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
                n.registers([d]);
                n.operands([a, b, c]);
            }
            Self::Product24 { d, a, b, c, .. } => {
                n.registers([d]);
                n.operands([a, b].into_iter().chain(c));
            }
            Self::Lop3Predicate {
                d, p, a, b, c, q, ..
            } => {
                n.registers(d.iter_mut().chain([p]));
                n.operands([a, b, c]);
                n.predicates([q]);
            }
            Self::Set {
                combine, d, a, b, ..
            } => {
                n.registers([d]);
                n.operands([a, b]);
                n.predicates(combine.iter_mut().map(|(_, c)| c));
            }
            Self::Match { d, p, a, mask, .. } => {
                n.registers([d].into_iter().chain(p));
                n.operands([a, mask]);
            }
            Self::CreatePolicy { d, arguments, .. } => {
                n.registers([d]);
                n.operands(arguments);
            }
            Self::BranchIndexed { index, .. } => n.operands([index]),
            Self::Call(call) => {
                n.operands(&mut call.arguments);
                n.operands(&mut call.results);
            }
            Self::BitFieldInsert {
                d, a, b, c, length, ..
            } => {
                n.registers([d]);
                n.operands([a, b, c, length]);
            }
            Self::Setp {
                combine,
                p,
                q,
                a,
                b,
                ..
            } => {
                n.registers(p.iter_mut().chain(q));
                n.operands([a, b]);
                n.predicates(combine.iter_mut().map(|(_, c)| c));
            }
            Self::Selp { d, a, b, c, .. } => {
                n.registers([d, c]);
                n.operands([a, b]);
            }
            Self::Pack { d, a, .. } => {
                n.registers([d]);
                n.operands(a);
            }
            Self::Unpack { d, a, .. } => {
                n.registers(d.iter_mut().flatten());
                n.operands([a]);
            }
            Self::Ld {
                hints, d, address, ..
            } => {
                n.registers(d.iter_mut().flatten());
                n.address(address);
                n.operands(&mut hints.policy);
            }
            Self::St {
                hints, address, a, ..
            } => {
                n.address(address);
                n.operands(a);
                n.operands(&mut hints.policy);
            }
            Self::PrefetchLine { address, .. } => n.address(address),
            Self::Atomic {
                d, address, b, c, ..
            } => {
                n.registers(d);
                n.address(address);
                n.operands([b].into_iter().chain(c));
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
                n.registers([d].into_iter().chain(p));
                n.operands([a, b, c, mask]);
            }
            Self::Vote { d, a, mask, .. } => {
                n.registers([d]);
                n.predicates([a]);
                n.operands([mask]);
            }
            Self::Redux { d, a, mask, .. } => {
                n.registers([d]);
                n.operands([a, mask]);
            }
            Self::ActiveMask { d } => n.registers([d]),
            Self::BarrierSync {
                barrier, threads, ..
            } => n.operands([barrier].into_iter().chain(threads)),
            Self::BarrierArrive {
                barrier, threads, ..
            } => n.operands([barrier, threads]),
            Self::BarrierRed {
                d,
                barrier,
                threads,
                a,
                ..
            } => {
                n.registers([d]);
                n.operands([barrier].into_iter().chain(threads));
                n.predicates([a]);
            }
            Self::WarpSync { mask: a } | Self::Nanosleep { a } => n.operands([a]),
            Self::CpAsync {
                source_bytes,
                ignore,
                policy,
                d,
                s,
                ..
            } => {
                n.address(d);
                n.address(s);
                n.operands(source_bytes.iter_mut().chain(policy));
                n.predicates(ignore);
            }
            Self::LdMatrix { d, address, .. } => {
                n.registers(d);
                n.address(address);
            }
            Self::StMatrix { address, a, .. } => {
                n.address(address);
                n.registers(a);
            }
            Self::Mma(mma) => {
                n.registers(mma.d.iter_mut().chain(&mut mma.a).chain(&mut mma.b));
                n.operands(&mut mma.c);
            }
            Self::Sm90(op) => n.sm90(op),
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
