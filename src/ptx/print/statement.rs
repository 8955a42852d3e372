//! Instructions as text.

use super::modifiers::{accuracy, flag, rounding, space, widened};
use super::operands::Names;
use crate::ptx::ScalarType::{B32, F32, Pred, U32};
use crate::ptx::{
    BarrierReduction, CvtRounding, Function, Instruction, Mma, Module, Op, Operand, ProductPart,
    RegisterId, ScalarType, Space, VoteMode,
};

/// One instruction as text, guard included, semicolon at the end.
pub fn statement(module: &Module, function: &Function, instruction: &Instruction) -> String {
    let names = Names { module, function };
    let guard = instruction
        .guard
        .map_or_else(String::new, |guard| format!("@{} ", names.predicate(guard)));
    let (opcode, operands) = names.op(&instruction.op);
    if operands.is_empty() {
        format!("{guard}{opcode};")
    } else {
        format!("{guard}{opcode} {};", operands.join(", "))
    }
}

pub(super) type Text = (String, Vec<String>);

impl Names<'_> {
    pub(super) fn d(self, register: RegisterId) -> String {
        self.register(register)
    }

    /// `OPCODE d, operands`, each operand with the type it is read as.
    pub(super) fn form(
        self,
        opcode: String,
        d: RegisterId,
        operands: &[(Operand, ScalarType)],
    ) -> Text {
        let sources = operands
            .iter()
            .map(|(operand, ty)| self.operand(*operand, *ty));
        (opcode, std::iter::once(self.d(d)).chain(sources).collect())
    }

    /// Opcode with modifiers, and operands.
    fn op(self, op: &Op) -> Text {
        let word = op.opcode();
        match op {
            Op::AddCarry { .. }
            | Op::MadCarry { .. }
            | Op::Product24 { .. }
            | Op::AbsoluteDifference { .. }
            | Op::Dot { .. }
            | Op::Lop3Predicate { .. }
            | Op::Set { .. }
            | Op::Slct { .. }
            | Op::TestProperty { .. }
            | Op::CopySign { .. }
            | Op::IsSpace { .. }
            | Op::CvtPacked { .. }
            | Op::Match { .. }
            | Op::Nanosleep { .. }
            | Op::CreatePolicy { .. }
            | Op::MovMatrix { .. }
            | Op::BranchIndexed { .. }
            | Op::Call(_) => self.product(op),
            Op::IntegerBinary {
                operation,
                saturate,
                ty,
                d,
                a,
                b,
            } => self.form(
                format!("{operation}{}.{ty}", flag(*saturate, ".sat")),
                *d,
                &[(*a, *ty), (*b, *ty)],
            ),
            Op::IntegerUnary {
                operation,
                ty,
                d,
                a,
            } => self.form(format!("{operation}.{ty}"), *d, &[(*a, *ty)]),
            Op::Mad {
                part,
                ty,
                d,
                a,
                b,
                c,
            } => {
                let result = if *part == ProductPart::Wide {
                    widened(*ty)
                } else {
                    *ty
                };
                self.form(
                    format!("mad.{part}.{ty}"),
                    *d,
                    &[(*a, *ty), (*b, *ty), (*c, result)],
                )
            }
            Op::Logic {
                operation,
                ty,
                d,
                a,
                b,
            } => self.form(format!("{operation}.{ty}"), *d, &[(*a, *ty), (*b, *ty)]),
            Op::Not { ty, d, a } => self.form(format!("not.{ty}"), *d, &[(*a, *ty)]),
            Op::Shift {
                direction,
                ty,
                d,
                a,
                b,
            } => self.form(format!("{direction}.{ty}"), *d, &[(*a, *ty), (*b, U32)]),
            Op::FunnelShift {
                direction,
                mode,
                d,
                a,
                b,
                c,
            } => self.form(
                format!("shf.{direction}.{mode}.b32"),
                *d,
                &[(*a, B32), (*b, B32), (*c, U32)],
            ),
            Op::Lop3 { d, a, b, c, table } => {
                let table = (Operand::Immediate(u64::from(*table)), U32);
                self.form(
                    "lop3.b32".to_owned(),
                    *d,
                    &[(*a, B32), (*b, B32), (*c, B32), table],
                )
            }
            Op::Prmt { mode, d, a, b, c } => {
                let mode = mode.map_or_else(String::new, |mode| format!(".{mode}"));
                self.form(
                    format!("prmt.b32{mode}"),
                    *d,
                    &[(*a, B32), (*b, B32), (*c, B32)],
                )
            }
            Op::BitFieldExtract { ty, d, a, b, c } => {
                self.form(format!("bfe.{ty}"), *d, &[(*a, *ty), (*b, U32), (*c, U32)])
            }
            Op::BitFieldInsert {
                ty,
                d,
                a,
                b,
                c,
                length,
            } => self.form(
                format!("bfi.{ty}"),
                *d,
                &[(*a, *ty), (*b, *ty), (*c, U32), (*length, U32)],
            ),
            Op::Bits {
                operation,
                ty,
                d,
                a,
            } => self.form(format!("{operation}.{ty}"), *d, &[(*a, *ty)]),
            Op::BitFind {
                shift_amount,
                ty,
                d,
                a,
            } => self.form(
                format!("bfind{}.{ty}", flag(*shift_amount, ".shiftamt")),
                *d,
                &[(*a, *ty)],
            ),
            Op::Setp {
                compare,
                combine,
                flush,
                ty,
                p,
                q,
                a,
                b,
            } => {
                let bool_op =
                    combine.map_or_else(String::new, |(bool_op, _)| format!(".{bool_op}"));
                let opcode = format!("setp.{compare}{bool_op}{}.{ty}", flag(*flush, ".ftz"));
                let q = q.map_or_else(String::new, |q| format!("|{}", self.d(q)));
                let mut operands = vec![
                    format!("{}{q}", self.sink(*p)),
                    self.operand(*a, *ty),
                    self.operand(*b, *ty),
                ];
                operands.extend(combine.map(|(_, c)| self.predicate(c)));
                (opcode, operands)
            }
            Op::Selp { ty, d, a, b, c } => self.form(
                format!("selp.{ty}"),
                *d,
                &[(*a, *ty), (*b, *ty), (Operand::Register(*c), Pred)],
            ),
            Op::Mov { ty, d, a } => self.form(format!("mov.{ty}"), *d, &[(*a, *ty)]),
            Op::Pack { ty, d, a } => {
                let element = if ty.bits() == 64 && a.len() == 2 {
                    B32
                } else {
                    ScalarType::B16
                };
                let source = self.vector(a, |a| self.operand(a, element));
                (format!("mov.{ty}"), vec![self.d(*d), source])
            }
            Op::Unpack { ty, d, a } => (
                format!("mov.{ty}"),
                vec![self.vector(d, |d| self.sink(d)), self.operand(*a, *ty)],
            ),
            Op::Cvt {
                rounding,
                flush,
                saturate,
                finite,
                relu,
                to,
                from,
                d,
                a,
            } => {
                let rounding = match rounding {
                    None => String::new(),
                    Some(CvtRounding::Float(rounding)) => format!(".{rounding}"),
                    Some(CvtRounding::Integer(rounding)) => format!(".{rounding}"),
                };
                let (flush, relu, saturate) = (
                    flag(*flush, ".ftz"),
                    flag(*relu, ".relu"),
                    flag(*saturate, ".sat"),
                );
                let finite = flag(*finite, ".satfinite");
                self.form(
                    format!("cvt{rounding}{flush}{finite}{relu}{saturate}.{to}.{from}"),
                    *d,
                    &[(*a, *from)],
                )
            }
            Op::CvtPair {
                rounding,
                relu,
                finite,
                to,
                d,
                a,
                b,
            } => self.form(
                format!(
                    "cvt.{rounding}{}{}.{to}.f32",
                    flag(*finite, ".satfinite"),
                    flag(*relu, ".relu")
                ),
                *d,
                &[(*a, F32), (*b, F32)],
            ),
            Op::Cvta {
                to_space,
                space,
                ty,
                d,
                a,
            } => self.form(
                format!("cvta{}.{space}.{ty}", flag(*to_space, ".to")),
                *d,
                &[(*a, *ty)],
            ),
            Op::Ld { .. }
            | Op::St { .. }
            | Op::PrefetchLine { .. }
            | Op::Atomic { .. }
            | Op::CpAsync { .. } => self.memory(op),
            Op::FloatBinary {
                operation,
                rounding: round,
                flush,
                saturate,
                nan,
                xorsign,
                ty,
                d,
                a,
                b,
            } => {
                let modifiers = [
                    &rounding(*round),
                    flag(*flush, ".ftz"),
                    flag(*saturate, ".sat"),
                    flag(*nan, ".NaN"),
                    flag(*xorsign, ".xorsign.abs"),
                ]
                .concat();
                self.form(
                    format!("{operation}{modifiers}.{ty}"),
                    *d,
                    &[(*a, *ty), (*b, *ty)],
                )
            }
            Op::Fma {
                rounding,
                flush,
                saturate,
                relu,
                ty,
                d,
                a,
                b,
                c,
            } => {
                let modifiers = [
                    flag(*flush, ".ftz"),
                    flag(*saturate, ".sat"),
                    flag(*relu, ".relu"),
                ]
                .concat();
                self.form(
                    format!("fma.{rounding}{modifiers}.{ty}"),
                    *d,
                    &[(*a, *ty), (*b, *ty), (*c, *ty)],
                )
            }
            Op::FloatUnary {
                operation,
                flush,
                ty,
                d,
                a,
            } => self.form(
                format!("{operation}{}.{ty}", flag(*flush, ".ftz")),
                *d,
                &[(*a, *ty)],
            ),
            Op::Math {
                function,
                accuracy: exactness,
                flush,
                ty,
                d,
                a,
            } => self.form(
                format!(
                    "{function}{}{}.{ty}",
                    accuracy(*exactness),
                    flag(*flush, ".ftz")
                ),
                *d,
                &[(*a, *ty)],
            ),
            Op::FloatDiv {
                accuracy: exactness,
                flush,
                ty,
                d,
                a,
                b,
            } => {
                let opcode = format!("div{}{}.{ty}", accuracy(*exactness), flag(*flush, ".ftz"));
                self.form(opcode, *d, &[(*a, *ty), (*b, *ty)])
            }
            Op::Shfl {
                mode,
                d,
                p,
                a,
                b,
                c,
                mask,
            } => {
                let p = p.map_or_else(String::new, |p| format!("|{}", self.d(p)));
                let sources = [(*a, B32), (*b, U32), (*c, U32), (*mask, B32)]
                    .map(|(operand, ty)| self.operand(operand, ty));
                (
                    format!("shfl.sync.{mode}.b32"),
                    [vec![format!("{}{p}", self.d(*d))], sources.to_vec()].concat(),
                )
            }
            Op::Vote { mode, d, a, mask } => {
                let ty = if *mode == VoteMode::Ballot { B32 } else { Pred };
                let operands = vec![self.d(*d), self.predicate(*a), self.operand(*mask, B32)];
                (format!("vote.sync.{mode}.{ty}"), operands)
            }
            Op::Redux {
                operation,
                ty,
                d,
                a,
                mask,
            } => self.form(
                format!("redux.sync.{operation}.{ty}"),
                *d,
                &[(*a, *ty), (*mask, B32)],
            ),
            Op::ActiveMask { d } => self.form("activemask.b32".to_owned(), *d, &[]),
            Op::BarrierSync {
                barrier, threads, ..
            } => {
                let operands = [Some(*barrier), *threads]
                    .into_iter()
                    .flatten()
                    .map(|operand| self.operand(operand, U32));
                (format!("{word}.sync"), operands.collect())
            }
            Op::BarrierArrive {
                barrier, threads, ..
            } => (
                format!("{word}.arrive"),
                vec![self.operand(*barrier, U32), self.operand(*threads, U32)],
            ),
            Op::BarrierRed {
                reduction,
                d,
                barrier,
                threads,
                a,
                ..
            } => {
                let ty = if *reduction == BarrierReduction::Popc {
                    U32
                } else {
                    Pred
                };
                let mut operands = vec![self.d(*d), self.operand(*barrier, U32)];
                operands.extend(threads.map(|threads| self.operand(threads, U32)));
                operands.push(self.predicate(*a));
                (format!("{word}.red.{reduction}.{ty}"), operands)
            }
            Op::WarpSync { mask } => ("bar.warp.sync".to_owned(), vec![self.operand(*mask, B32)]),
            Op::Membar { level } => (format!("membar.{level}"), Vec::new()),
            Op::Fence { sequential, scope } => (
                format!(
                    "fence.{}.{scope}",
                    if *sequential { "sc" } else { "acq_rel" }
                ),
                Vec::new(),
            ),
            Op::CpAsyncCommit => ("cp.async.commit_group".to_owned(), Vec::new()),
            Op::CpAsyncWait { groups } => {
                ("cp.async.wait_group".to_owned(), vec![groups.to_string()])
            }
            Op::CpAsyncWaitAll => ("cp.async.wait_all".to_owned(), Vec::new()),
            Op::LdMatrix {
                transposed,
                space,
                d,
                address,
            } => (
                self.matrix("ldmatrix", d.len(), *transposed, *space),
                vec![self.braced(d), self.address(*address)],
            ),
            Op::StMatrix {
                transposed,
                space,
                address,
                a,
            } => (
                self.matrix("stmatrix", a.len(), *transposed, *space),
                vec![self.address(*address), self.braced(a)],
            ),
            Op::Mma(mma) => self.mma(mma),
            Op::Bra { uniform, target } => {
                let label = self
                    .function
                    .label_at(*target)
                    .map_or("?", |label| label.name.as_str());
                (
                    format!("bra{}", flag(*uniform, ".uni")),
                    vec![label.to_owned()],
                )
            }
            Op::Ret | Op::Exit | Op::Trap => (word.to_string(), Vec::new()),
            Op::Wmma(op) => self.wmma(op),
            Op::Sm90(op) => self.sm90(op),
        }
    }

    pub(super) fn braced(self, registers: &[RegisterId]) -> String {
        format!(
            "{{{}}}",
            registers
                .iter()
                .map(|register| self.d(*register))
                .collect::<Vec<_>>()
                .join(", ")
        )
    }

    fn matrix(self, word: &str, count: usize, transposed: bool, of: Space) -> String {
        format!(
            "{word}.sync.aligned.m8n8.x{count}{}{}.b16",
            flag(transposed, ".trans"),
            space(of)
        )
    }

    fn mma(self, mma: &Mma) -> Text {
        let types = format!(
            "{}.{}.{}.{}",
            mma.d_type, mma.a_type, mma.b_type, mma.c_type
        );
        let accumulator = if mma.c_type == ScalarType::F16 {
            B32
        } else {
            mma.c_type
        };
        let c: Vec<String> = mma
            .c
            .iter()
            .map(|c| self.operand(*c, accumulator))
            .collect();
        (
            format!(
                "mma.sync.aligned.{}.row.col{}.{types}",
                mma.shape,
                flag(mma.saturate, ".satfinite")
            ),
            vec![
                self.braced(&mma.d),
                self.braced(&mma.a),
                self.braced(&mma.b),
                format!("{{{}}}", c.join(", ")),
            ],
        )
    }
}
