//! Comparison, selection, moves and conversions.

use super::function::Body;
use super::modifiers::Modifiers;
use super::operand::Width;
use crate::ptx::ScalarType::{
    B16, B32, B64, Bf16, Bf16x2, E4m3x2, E5m2x2, F16, F16x2, F32, F64, Pred, S8, S16, S32, S64,
    Tf32, U8, U16, U32, U64,
};
use crate::ptx::error::Error;
use crate::ptx::{
    BoolOp, Compare, CvtRounding, IntegerRounding, Op, Rounding, ScalarType, TypeKind,
};

pub(super) const COMPARED: &[ScalarType] = &[
    B16, B32, B64, U16, U32, U64, S16, S32, S64, F16, F16x2, Bf16, Bf16x2, F32, F64,
];
pub(super) const SELECTED: &[ScalarType] = &[B16, B32, B64, U16, U32, U64, S16, S32, S64, F32, F64];
const MOVED: &[ScalarType] = &[Pred, B16, B32, B64, U16, U32, U64, S16, S32, S64, F32, F64];

impl Body<'_, '_> {
    /// `setp.CMP{.BOOL}{.ftz}.TYPE p{|q}, a, b{, {!}c}`
    pub(super) fn setp(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        let compare = m.need(Compare::from_text)?;
        let bool_op = m.take(BoolOp::from_text);
        let flush = m.flag("ftz");
        let ty = m.ty(COMPARED)?;
        m.check(compares(compare, ty))?;
        m.finish()?;
        let p = self.destination_or_sink(Width::Exactly(1))?;
        let q = if self.parser.accept("|") {
            self.destination_or_sink(Width::Exactly(1))?
        } else {
            None
        };
        let (a, b) = (self.then_source(ty)?, self.then_source(ty)?);
        let combine = match bool_op {
            Some(bool_op) => {
                self.comma()?;
                Some((bool_op, self.predicate()?))
            }
            None => None,
        };
        Ok(Op::Setp {
            compare,
            combine,
            flush,
            ty,
            p,
            q,
            a,
            b,
        })
    }

    pub(super) fn selp(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        let ty = m.ty(SELECTED)?;
        m.finish()?;
        let (d, a, b) = (
            self.destination(ty)?,
            self.then_source(ty)?,
            self.then_source(ty)?,
        );
        self.comma()?;
        Ok(Op::Selp {
            ty,
            d,
            a,
            b,
            c: self.destination(Pred)?,
        })
    }

    /// `mov`, with its packing and unpacking forms.
    pub(super) fn mov(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        let ty = m.ty(MOVED)?;
        m.finish()?;
        if self.parser.peek().text == "{" {
            let width = Width::Exactly(self.element(ty)?.bits());
            let d = self.vector(|body| body.destination_or_sink(width))?;
            return Ok(Op::Unpack {
                ty,
                d,
                a: self.then_source(ty)?,
            });
        }
        let d = self.destination(ty)?;
        self.comma()?;
        if self.parser.peek().text == "{" {
            let element = self.element(ty)?;
            return Ok(Op::Pack {
                ty,
                d,
                a: self.vector(|body| body.source(element))?,
            });
        }
        Ok(Op::Mov {
            ty,
            d,
            a: self.source_or_special(ty, Width::Exactly(ty.bits()))?,
        })
    }

    /// Type of the elements of the vector that follows, which fill `ty` together.
    fn element(&self, ty: ScalarType) -> Result<ScalarType, Error> {
        let texts = (1..8).map(|ahead| self.parser.look(ahead).text);
        match (
            texts
                .take_while(|text| *text != "}")
                .filter(|text| *text == ",")
                .count(),
            ty,
        ) {
            (1, B32) | (3, B64) => Ok(B16),
            (1, B64) => Ok(B32),
            _ => Err(self
                .parser
                .malformed("two halves of a b32 or b64, or four quarters of a b64")),
        }
    }

    /// `cvt.ROUNDING.TO.FROM`
    pub(super) fn cvt(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        let float = m.take(Rounding::from_text).map(CvtRounding::Float);
        let rounding =
            float.or_else(|| m.take(IntegerRounding::from_text).map(CvtRounding::Integer));
        let (flush, saturate, relu) = (m.flag("ftz"), m.flag("sat"), m.flag("relu"));
        let finite = m.flag("satfinite");
        let allowed = &[
            U8, U16, U32, U64, S8, S16, S32, S64, F16, F16x2, Bf16, Bf16x2, E4m3x2, E5m2x2, Tf32,
            F32, F64,
        ];
        let (to, from) = (m.ty(allowed)?, m.ty(allowed)?);
        m.finish()?;
        let bytes = |ty| matches!(ty, E4m3x2 | E5m2x2);
        if matches!(to, F16x2 | Bf16x2 | E4m3x2 | E5m2x2) {
            let rounding = match rounding {
                Some(CvtRounding::Float(rounding @ (Rounding::NearestEven | Rounding::Zero))) => {
                    rounding
                }
                Some(CvtRounding::Float(_) | CvtRounding::Integer(_)) | None => {
                    return Err(m.unsupported());
                }
            };
            // Pairs of bytes round to nearest, and saturate; the way back is exact.
            m.check(!flush && !saturate)?;
            m.check(!bytes(to) || (finite && rounding == Rounding::NearestEven))?;
            if from == F32 {
                return Ok(Op::CvtPair {
                    rounding,
                    relu,
                    finite,
                    to,
                    d: self.destination(to)?,
                    a: self.then_source(F32)?,
                    b: self.then_source(F32)?,
                });
            }
            m.check(
                rounding == Rounding::NearestEven
                    && (bytes(to) && from == F16x2 || to == F16x2 && bytes(from) && !finite),
            )?;
            return Ok(Op::CvtPacked {
                relu,
                finite,
                to,
                from,
                d: self.destination(to)?,
                a: self.then_source(from)?,
            });
        }
        m.check(converts(to, from, rounding))?;
        m.check(!(relu || finite) || matches!(to, F16 | Bf16 | Tf32))?;
        let d = self.register(Width::AtLeast(to.bits()))?;
        self.comma()?;
        let a = self.source_or_special(from, Width::AtLeast(from.bits()))?;
        Ok(Op::Cvt {
            rounding,
            flush,
            saturate,
            finite,
            relu,
            to,
            from,
            d,
            a,
        })
    }

    /// `cvta{.to}.SPACE.u64`
    pub(super) fn cvta(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        let to_space = m.flag("to");
        let space = m.need(super::memory::named_space)?;
        let ty = m.ty(&[U32, U64])?;
        m.finish()?;
        Ok(Op::Cvta {
            to_space,
            space,
            ty,
            d: self.destination(ty)?,
            a: self.then_source(ty)?,
        })
    }
}

/// Whether a type has a comparison.
pub(super) fn compares(compare: Compare, ty: ScalarType) -> bool {
    match compare {
        Compare::Eq | Compare::Ne => true,
        Compare::Lt | Compare::Le | Compare::Gt | Compare::Ge => ty.kind() != TypeKind::Bits,
        Compare::Lo | Compare::Ls | Compare::Hi | Compare::Hs => ty.kind() == TypeKind::Unsigned,
        Compare::Equ
        | Compare::Neu
        | Compare::Ltu
        | Compare::Leu
        | Compare::Gtu
        | Compare::Geu
        | Compare::Num
        | Compare::Nan => ty.kind() == TypeKind::Float,
    }
}

/// Whether PTX has this conversion (PTX ISA 9.7.9.21): a rounding exactly where a result can be inexact.
fn converts(to: ScalarType, from: ScalarType, rounding: Option<CvtRounding>) -> bool {
    let (to_float, from_float) = (to.kind() == TypeKind::Float, from.kind() == TypeKind::Float);
    if matches!(from, F16x2 | Bf16x2 | E4m3x2 | E5m2x2 | Tf32) {
        return false;
    }
    match rounding {
        None => {
            let exact =
                matches!((to, from), (F32, F16 | Bf16) | (F64, F16 | Bf16 | F32)) || to == from;
            (!to_float && !from_float) || (to_float && from_float && exact)
        }
        // To an integer, or to an integer value of the same format.
        Some(CvtRounding::Integer(_)) => from_float && (!to_float || to == from),
        Some(CvtRounding::Float(Rounding::NearestAway)) => to == Tf32 && from == F32,
        Some(CvtRounding::Float(_)) => {
            let narrower = matches!(
                (to, from),
                (F16 | Bf16, F32 | F64) | (F32, F64) | (Tf32, F32) | (F16, Bf16) | (Bf16, F16)
            );
            narrower || (to_float && to != Tf32 && !from_float)
        }
    }
}
