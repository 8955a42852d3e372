//! Arithmetic beyond one word in and one word out: carries, 24-bit and dotted products; selections and tests by value.

use super::function::Body;
use super::modifiers::Modifiers;
use super::operand::Width;
use crate::ptx::ScalarType::{
    B32, B64, Bf16, Bf16x2, F16, F16x2, F32, F64, Pred, S16, S32, S64, U16, U32, U64,
};
use crate::ptx::error::Error;
use crate::ptx::{
    BoolOp, Compare, DotShape, FloatProperty, MatchMode, Op, Operand, PolicyKind, ProductHalf,
    ProductPart, ScalarType,
};

const CARRIED: &[ScalarType] = &[U32, S32, U64, S64];

impl Body<'_, '_> {
    /// `add`, `sub` with a carry: `.cc` gives it, `addc` and `subc` (`carry_in`) take it.
    pub(super) fn add_carry(
        &mut self,
        subtract: bool,
        carry_in: bool,
        m: &mut Modifiers<'_>,
    ) -> Result<Op, Error> {
        let carry_out = m.flag("cc");
        let ty = m.ty(CARRIED)?;
        m.finish()?;
        Ok(Op::AddCarry {
            subtract,
            carry_in,
            carry_out,
            ty,
            d: self.destination(ty)?,
            a: self.then_source(ty)?,
            b: self.then_source(ty)?,
        })
    }

    /// `mad.{lo,hi}.cc`, `madc.{lo,hi}{.cc}`
    pub(super) fn mad_carry(&mut self, carry_in: bool, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        let carry_out = m.flag("cc");
        let part = m.need(ProductPart::from_text)?;
        let ty = m.ty(CARRIED)?;
        m.check(part != ProductPart::Wide)?;
        m.finish()?;
        Ok(Op::MadCarry {
            part,
            carry_in,
            carry_out,
            ty,
            d: self.destination(ty)?,
            a: self.then_source(ty)?,
            b: self.then_source(ty)?,
            c: self.then_source(ty)?,
        })
    }

    /// `mul24` and, with an addend, `mad24`.
    pub(super) fn product24(&mut self, adds: bool, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        let half = m.need(ProductHalf::from_text)?;
        let saturate = m.flag("sat");
        let ty = m.ty(&[U32, S32])?;
        m.check(!saturate || (adds && half == ProductHalf::Hi && ty == S32))?;
        m.finish()?;
        let d = self.destination(ty)?;
        let (a, b) = (self.then_source(ty)?, self.then_source(ty)?);
        let c = if adds {
            Some(self.then_source(ty)?)
        } else {
            None
        };
        Ok(Op::Product24 {
            half,
            saturate,
            ty,
            d,
            a,
            b,
            c,
        })
    }

    /// `sad`
    pub(super) fn absolute_difference(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        let ty = m.ty(&[U16, U32, U64, S16, S32, S64])?;
        m.finish()?;
        Ok(Op::AbsoluteDifference {
            ty,
            d: self.destination(ty)?,
            a: self.then_source(ty)?,
            b: self.then_source(ty)?,
            c: self.then_source(ty)?,
        })
    }

    /// `dp4a.A.B`, `dp2a.{lo,hi}.A.B`
    pub(super) fn dot(&mut self, bytes: bool, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        let shape = if bytes {
            DotShape::Bytes
        } else {
            m.need(|part| match part {
                "lo" => Some(DotShape::LowHalf),
                "hi" => Some(DotShape::HighHalf),
                _ => None,
            })?
        };
        let (a_type, b_type) = (m.ty(&[U32, S32])?, m.ty(&[U32, S32])?);
        m.finish()?;
        // The sum is signed if either factor is.
        let sum = if a_type == U32 && b_type == U32 {
            U32
        } else {
            S32
        };
        Ok(Op::Dot {
            shape,
            a_type,
            b_type,
            d: self.destination(sum)?,
            a: self.then_source(B32)?,
            b: self.then_source(B32)?,
            c: self.then_source(sum)?,
        })
    }

    /// `lop3.OP.b32 d|p, a, b, c, table, q`
    pub(super) fn lop3_predicate(
        &mut self,
        operation: BoolOp,
        m: &mut Modifiers<'_>,
    ) -> Result<Op, Error> {
        m.check(operation != BoolOp::Xor)?;
        m.ty(&[B32])?;
        m.finish()?;
        let d = self.destination_or_sink(Width::Exactly(32))?;
        self.parser.expect("|")?;
        let p = self.destination(Pred)?;
        let (a, b, c) = (
            self.then_source(B32)?,
            self.then_source(B32)?,
            self.then_source(B32)?,
        );
        self.comma()?;
        let table = self.parser.number("a truth table from 0 to 255")?;
        self.comma()?;
        Ok(Op::Lop3Predicate {
            operation,
            d,
            p,
            a,
            b,
            c,
            table,
            q: self.predicate()?,
        })
    }

    /// `set.CMP{.BOOL}{.ftz}.TO.FROM d, a, b{, {!}c}`
    pub(super) fn set(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        let compare = m.need(Compare::from_text)?;
        let bool_op = m.take(BoolOp::from_text);
        let flush = m.flag("ftz");
        let to = m.ty(&[U16, S16, U32, S32, F16, F16x2, Bf16, Bf16x2, F32])?;
        let from = m.ty(super::conversion::COMPARED)?;
        let packed = matches!(from, F16x2 | Bf16x2);
        let half = packed || matches!(from, F16 | Bf16);
        m.check(super::conversion::compares(compare, from))?;
        m.check(if matches!(to, U16 | S16) {
            half && !packed
        } else {
            matches!(to, U32 | S32) || to == F32 && !half || to == from && half
        })?;
        m.finish()?;
        let d = self.destination(to)?;
        let (a, b) = (self.then_source(from)?, self.then_source(from)?);
        let combine = match bool_op {
            Some(bool_op) => {
                self.comma()?;
                Some((bool_op, self.predicate()?))
            }
            None => None,
        };
        Ok(Op::Set {
            compare,
            combine,
            flush,
            to,
            from,
            d,
            a,
            b,
        })
    }

    /// `slct{.ftz}.TYPE.{s32,f32} d, a, b, c`
    pub(super) fn slct(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        let flush = m.flag("ftz");
        let ty = m.ty(super::conversion::SELECTED)?;
        let select = m.ty(&[S32, F32])?;
        m.check(!flush || select == F32)?;
        m.finish()?;
        Ok(Op::Slct {
            flush,
            ty,
            select,
            d: self.destination(ty)?,
            a: self.then_source(ty)?,
            b: self.then_source(ty)?,
            c: self.then_source(select)?,
        })
    }

    /// `testp.PROPERTY.{f32,f64} p, a`
    pub(super) fn test_property(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        let property = m.need(FloatProperty::from_text)?;
        let ty = m.ty(&[F32, F64])?;
        m.finish()?;
        Ok(Op::TestProperty {
            property,
            ty,
            p: self.destination(Pred)?,
            a: self.then_source(ty)?,
        })
    }

    /// `copysign.{f32,f64} d, a, b`
    pub(super) fn copysign(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        let ty = m.ty(&[F32, F64])?;
        m.finish()?;
        Ok(Op::CopySign {
            ty,
            d: self.destination(ty)?,
            a: self.then_source(ty)?,
            b: self.then_source(ty)?,
        })
    }

    /// `isspacep.SPACE p, a`
    pub(super) fn is_space(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        let space = m.need(super::memory::named_space)?;
        m.finish()?;
        let p = self.destination(Pred)?;
        self.comma()?;
        Ok(Op::IsSpace {
            space,
            p,
            a: self.source_of(B64, Width::AtLeast(32))?,
        })
    }

    /// `match.{any,all}.sync.{b32,b64} d{|p}, a, mask`
    pub(super) fn match_lanes(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        m.need_flag("sync")?;
        let mode = m.need(MatchMode::from_text)?;
        let ty = m.ty(&[B32, B64])?;
        m.finish()?;
        let d = self.destination(B32)?;
        let p = if mode == MatchMode::All && self.parser.accept("|") {
            Some(self.destination(Pred)?)
        } else {
            None
        };
        Ok(Op::Match {
            mode,
            ty,
            d,
            p,
            a: self.then_source(ty)?,
            mask: self.then_source(B32)?,
        })
    }

    /// `createpolicy.fractional.L2::PRIORITY{.L2::PRIORITY}.b64 d{, fraction}`
    pub(super) fn create_policy(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        m.ty(&[B64])?;
        let kind = m.rest();
        let kind = PolicyKind::from_text(&kind).ok_or_else(|| m.unsupported())?;
        let d = self.destination(B64)?;
        let mut arguments: Vec<Operand> = Vec::new();
        if self.parser.peek().text == "," {
            arguments.push(self.then_source(F32)?);
        }
        Ok(Op::CreatePolicy { kind, d, arguments })
    }
}
