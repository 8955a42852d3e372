//! Instructions of `parse/product.rs`, calls and branches by a list, as text.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the match of `statement.rs` names every instruction and sends only these here"
)]

use super::modifiers::flag;
use super::operands::Names;
use super::statement::Text;
use crate::ptx::ScalarType::{B32, B64, F32, S32, U32};
use crate::ptx::{Op, Operand, ScalarType};

impl Names<'_> {
    pub(super) fn product(self, op: &Op) -> Text {
        let word = op.opcode();
        match op {
            Op::AddCarry {
                carry_out,
                ty,
                d,
                a,
                b,
                ..
            } => self.form(
                format!("{word}{}.{ty}", flag(*carry_out, ".cc")),
                *d,
                &[(*a, *ty), (*b, *ty)],
            ),
            Op::MadCarry {
                part,
                carry_out,
                ty,
                d,
                a,
                b,
                c,
                ..
            } => self.form(
                format!("{word}.{part}{}.{ty}", flag(*carry_out, ".cc")),
                *d,
                &[(*a, *ty), (*b, *ty), (*c, *ty)],
            ),
            Op::Product24 {
                half,
                saturate,
                ty,
                d,
                a,
                b,
                c,
            } => {
                let mut operands = vec![(*a, *ty), (*b, *ty)];
                operands.extend(c.map(|c| (c, *ty)));
                self.form(
                    format!("{word}.{half}{}.{ty}", flag(*saturate, ".sat")),
                    *d,
                    &operands,
                )
            }
            Op::AbsoluteDifference { ty, d, a, b, c } => {
                self.form(format!("sad.{ty}"), *d, &[(*a, *ty), (*b, *ty), (*c, *ty)])
            }
            Op::Dot {
                shape,
                a_type,
                b_type,
                d,
                a,
                b,
                c,
            } => {
                let sum = if *a_type == U32 && *b_type == U32 {
                    U32
                } else {
                    S32
                };
                self.form(
                    format!("{shape}.{a_type}.{b_type}"),
                    *d,
                    &[(*a, B32), (*b, B32), (*c, sum)],
                )
            }
            Op::Lop3Predicate {
                operation,
                d,
                p,
                a,
                b,
                c,
                table,
                q,
            } => (
                format!("lop3.{operation}.b32"),
                vec![
                    format!("{}|{}", self.sink(*d), self.d(*p)),
                    self.operand(*a, B32),
                    self.operand(*b, B32),
                    self.operand(*c, B32),
                    table.to_string(),
                    self.predicate(*q),
                ],
            ),
            Op::Set {
                compare,
                combine,
                flush,
                to,
                from,
                d,
                a,
                b,
            } => {
                let bool_op =
                    combine.map_or_else(String::new, |(bool_op, _)| format!(".{bool_op}"));
                let opcode = format!("set.{compare}{bool_op}{}.{to}.{from}", flag(*flush, ".ftz"));
                let (opcode, mut operands) = self.form(opcode, *d, &[(*a, *from), (*b, *from)]);
                operands.extend(combine.map(|(_, c)| self.predicate(c)));
                (opcode, operands)
            }
            Op::Slct {
                flush,
                ty,
                select,
                d,
                a,
                b,
                c,
            } => self.form(
                format!("slct{}.{ty}.{select}", flag(*flush, ".ftz")),
                *d,
                &[(*a, *ty), (*b, *ty), (*c, *select)],
            ),
            Op::TestProperty { property, ty, p, a } => {
                self.form(format!("testp.{property}.{ty}"), *p, &[(*a, *ty)])
            }
            Op::CopySign { ty, d, a, b } => {
                self.form(format!("copysign.{ty}"), *d, &[(*a, *ty), (*b, *ty)])
            }
            Op::IsSpace { space, p, a } => self.form(format!("isspacep.{space}"), *p, &[(*a, B64)]),
            Op::CvtPacked {
                relu,
                finite,
                to,
                from,
                d,
                a,
            } => self.form(
                format!(
                    "cvt.rn{}{}.{to}.{from}",
                    flag(*finite, ".satfinite"),
                    flag(*relu, ".relu")
                ),
                *d,
                &[(*a, *from)],
            ),
            Op::Match {
                mode,
                ty,
                d,
                p,
                a,
                mask,
            } => {
                let p = p.map_or_else(String::new, |p| format!("|{}", self.d(p)));
                (
                    format!("match.{mode}.sync.{ty}"),
                    vec![
                        format!("{}{p}", self.d(*d)),
                        self.operand(*a, *ty),
                        self.operand(*mask, B32),
                    ],
                )
            }
            Op::Nanosleep { a } => ("nanosleep.u32".to_owned(), vec![self.operand(*a, U32)]),
            Op::CreatePolicy { kind, d, arguments } => {
                let operands: Vec<(Operand, ScalarType)> =
                    arguments.iter().map(|a| (*a, F32)).collect();
                self.form(format!("createpolicy.{kind}.b64"), *d, &operands)
            }
            Op::MovMatrix { d, a } => self.form(
                "movmatrix.sync.aligned.m8n8.trans.b16".to_owned(),
                *d,
                &[(*a, B32)],
            ),
            Op::BranchIndexed {
                uniform,
                index,
                list,
            } => {
                let lists = &self.function.branch_lists;
                let name = usize::try_from(*list).ok().and_then(|list| lists.get(list));
                (
                    format!("brx.idx{}", flag(*uniform, ".uni")),
                    vec![
                        self.operand(*index, U32),
                        name.map_or("?", |list| &list.name).to_owned(),
                    ],
                )
            }
            Op::Call(call) => {
                let list = |operands: &[Operand]| {
                    let names: Vec<String> =
                        operands.iter().map(|one| self.operand(*one, B64)).collect();
                    format!("({})", names.join(", "))
                };
                let callee = usize::try_from(call.function)
                    .ok()
                    .and_then(|index| self.module.callees.get(index));
                let mut operands = Vec::new();
                if !call.results.is_empty() {
                    operands.push(list(&call.results));
                }
                operands.push(
                    callee
                        .map_or("?", |callee| &callee.function.name)
                        .to_owned(),
                );
                if !call.arguments.is_empty() {
                    operands.push(list(&call.arguments));
                }
                (format!("call{}", flag(call.uniform, ".uni")), operands)
            }
            _ => unreachable!("`statement.rs` sends these only"),
        }
    }
}
