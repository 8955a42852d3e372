//! Arithmetic and logic.

use super::function::Body;
use super::modifiers::Modifiers;
use crate::ptx::ScalarType::{
    B16, B32, B64, Bf16, Bf16x2, F16, F16x2, F32, F64, Pred, S8, S16, S32, S64, Tf32, U8, U16, U32,
    U64,
};
use crate::ptx::error::Error;
use crate::ptx::{
    Accuracy, BitOp, BoolOp, FloatBinary, FloatUnary, FunnelDirection, FunnelMode, IntegerBinary,
    IntegerUnary, LogicOp, MathFunction, Op, PrmtMode, ProductPart, Rounding, ScalarType,
    ShiftDirection, TypeKind,
};

const INTEGERS: &[ScalarType] = &[U16, U32, U64, S16, S32, S64];
const SIGNED: &[ScalarType] = &[S16, S32, S64];
const BITS: &[ScalarType] = &[B16, B32, B64];
const FLOATS: &[ScalarType] = &[F16, F16x2, Bf16, Bf16x2, F32, F64];
const WORDS: &[ScalarType] = &[U32, S32, U64, S64];

/// The integer type twice as wide.
fn widened(ty: ScalarType) -> Option<ScalarType> {
    match ty {
        U16 => Some(U32),
        S16 => Some(S32),
        U32 => Some(U64),
        S32 => Some(S64),
        Pred
        | ScalarType::B8
        | B16
        | B32
        | B64
        | U8
        | U64
        | S8
        | S64
        | ScalarType::U4
        | ScalarType::S4
        | ScalarType::E4m3
        | ScalarType::E5m2
        | ScalarType::E4m3x2
        | ScalarType::E5m2x2
        | F16
        | F16x2
        | Bf16
        | Bf16x2
        | Tf32
        | F32
        | F64 => None,
    }
}

fn is_float(m: &Modifiers<'_>) -> bool {
    m.last_type().is_some_and(|ty| ty.kind() == TypeKind::Float)
}

impl Body<'_, '_> {
    /// `add`, `sub`, `mul`, `min`, `max`: by type, an integer or a float operation.
    pub(super) fn binary(
        &mut self,
        integer: Option<IntegerBinary>,
        float: FloatBinary,
        m: &mut Modifiers<'_>,
    ) -> Result<Op, Error> {
        if is_float(m) {
            return self.float_binary(float, m);
        }
        // `mul` says which part of the product.
        let operation = match integer {
            Some(operation) => operation,
            None => match m.need(ProductPart::from_text)? {
                ProductPart::Lo => IntegerBinary::MulLo,
                ProductPart::Hi => IntegerBinary::MulHi,
                ProductPart::Wide => IntegerBinary::MulWide,
            },
        };
        if m.has("cc") {
            match operation {
                IntegerBinary::Add => return self.add_carry(false, false, m),
                IntegerBinary::Sub => return self.add_carry(true, false, m),
                IntegerBinary::MulLo
                | IntegerBinary::MulHi
                | IntegerBinary::MulWide
                | IntegerBinary::Div
                | IntegerBinary::Rem
                | IntegerBinary::Min
                | IntegerBinary::Max => {}
            }
        }
        self.integer_binary(operation, m)
    }

    pub(super) fn integer_binary(
        &mut self,
        operation: IntegerBinary,
        m: &mut Modifiers<'_>,
    ) -> Result<Op, Error> {
        let saturate = m.flag("sat");
        let ty = m.ty(INTEGERS)?;
        m.check(
            !saturate
                || (ty == S32 && matches!(operation, IntegerBinary::Add | IntegerBinary::Sub)),
        )?;
        m.finish()?;
        let result = if operation == IntegerBinary::MulWide {
            widened(ty).ok_or_else(|| m.unsupported())?
        } else {
            ty
        };
        let d = self.destination(result)?;
        Ok(Op::IntegerBinary {
            operation,
            saturate,
            ty,
            d,
            a: self.then_source(ty)?,
            b: self.then_source(ty)?,
        })
    }

    fn float_binary(&mut self, operation: FloatBinary, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        let extremum = matches!(operation, FloatBinary::Min | FloatBinary::Max);
        let rounding = if extremum {
            None
        } else {
            m.take(Rounding::from_text)
        };
        let (flush, saturate, nan) = (
            m.flag("ftz"),
            !extremum && m.flag("sat"),
            extremum && m.flag("NaN"),
        );
        let xorsign = extremum && m.flag("xorsign");
        if xorsign {
            m.need_flag("abs")?;
        }
        let ty = m.ty(FLOATS)?;
        m.check(!xorsign || ty != F64)?;
        m.check(rounding.is_none_or(|rounding| self.rounds(rounding, ty)))?;
        m.finish()?;
        let d = self.destination(ty)?;
        let (a, b) = (self.then_source(ty)?, self.then_source(ty)?);
        Ok(Op::FloatBinary {
            operation,
            rounding,
            flush,
            saturate,
            nan,
            xorsign,
            ty,
            d,
            a,
            b,
        })
    }

    /// Whether arithmetic of a type has this rounding: half precision only rounds to nearest even.
    fn rounds(&self, rounding: Rounding, ty: ScalarType) -> bool {
        match rounding {
            Rounding::NearestEven => true,
            Rounding::Zero | Rounding::Down | Rounding::Up => matches!(ty, F32 | F64),
            Rounding::NearestAway => false,
        }
    }

    pub(super) fn div(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        if !is_float(m) {
            return self.integer_binary(IntegerBinary::Div, m);
        }
        let full = m.flag("full");
        let accuracy = if full {
            Accuracy::Full
        } else {
            self.accuracy(m)?
        };
        let flush = m.flag("ftz");
        let ty = m.ty(&[F32, F64])?;
        m.check(ty == F32 || matches!(accuracy, Accuracy::Rounded(_)))?;
        m.finish()?;
        let d = self.destination(ty)?;
        Ok(Op::FloatDiv {
            accuracy,
            flush,
            ty,
            d,
            a: self.then_source(ty)?,
            b: self.then_source(ty)?,
        })
    }

    fn accuracy(&self, m: &mut Modifiers<'_>) -> Result<Accuracy, Error> {
        if m.flag("approx") {
            Ok(Accuracy::Approx)
        } else {
            m.need(Rounding::from_text).map(Accuracy::Rounded)
        }
    }

    /// `mad` on integers, and its float spelling of `fma`.
    pub(super) fn mad(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        if is_float(m) {
            return self.fma(m);
        }
        if m.has("cc") {
            return self.mad_carry(false, m);
        }
        let part = m.need(ProductPart::from_text)?;
        let ty = m.ty(INTEGERS)?;
        m.finish()?;
        let result = if part == ProductPart::Wide {
            widened(ty).ok_or_else(|| m.unsupported())?
        } else {
            ty
        };
        let d = self.destination(result)?;
        let (a, b, c) = (
            self.then_source(ty)?,
            self.then_source(ty)?,
            self.then_source(result)?,
        );
        Ok(Op::Mad {
            part,
            ty,
            d,
            a,
            b,
            c,
        })
    }

    pub(super) fn fma(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        let rounding = m.need(Rounding::from_text)?;
        let (flush, saturate, relu) = (m.flag("ftz"), m.flag("sat"), m.flag("relu"));
        let ty = m.ty(FLOATS)?;
        m.check(self.rounds(rounding, ty) && !(relu && matches!(ty, F32 | F64)))?;
        m.finish()?;
        let d = self.destination(ty)?;
        let (a, b, c) = (
            self.then_source(ty)?,
            self.then_source(ty)?,
            self.then_source(ty)?,
        );
        Ok(Op::Fma {
            rounding,
            flush,
            saturate,
            relu,
            ty,
            d,
            a,
            b,
            c,
        })
    }

    /// `neg`, `abs`.
    pub(super) fn unary(
        &mut self,
        integer: IntegerUnary,
        float: FloatUnary,
        m: &mut Modifiers<'_>,
    ) -> Result<Op, Error> {
        if is_float(m) {
            let flush = m.flag("ftz");
            let ty = m.ty(FLOATS)?;
            m.finish()?;
            return Ok(Op::FloatUnary {
                operation: float,
                flush,
                ty,
                d: self.destination(ty)?,
                a: self.then_source(ty)?,
            });
        }
        let ty = m.ty(SIGNED)?;
        m.finish()?;
        Ok(Op::IntegerUnary {
            operation: integer,
            ty,
            d: self.destination(ty)?,
            a: self.then_source(ty)?,
        })
    }

    pub(super) fn math(
        &mut self,
        function: MathFunction,
        m: &mut Modifiers<'_>,
    ) -> Result<Op, Error> {
        let accuracy = self.accuracy(m)?;
        let flush = m.flag("ftz");
        let ty = m.need(ScalarType::from_text)?;
        let rounded =
            matches!(accuracy, Accuracy::Rounded(rounding) if rounding != Rounding::NearestAway);
        m.check(match function {
            MathFunction::Rcp if ty == F64 && accuracy == Accuracy::Approx => flush,
            MathFunction::Rsqrt if ty == F64 => accuracy == Accuracy::Approx,
            MathFunction::Rcp | MathFunction::Sqrt => {
                (ty == F32 && accuracy == Accuracy::Approx) || (matches!(ty, F32 | F64) && rounded)
            }
            MathFunction::Ex2 | MathFunction::Tanh => {
                accuracy == Accuracy::Approx && matches!(ty, F32 | F16 | F16x2 | Bf16 | Bf16x2)
            }
            MathFunction::Lg2 | MathFunction::Sin | MathFunction::Cos | MathFunction::Rsqrt => {
                accuracy == Accuracy::Approx && ty == F32
            }
        })?;
        m.finish()?;
        Ok(Op::Math {
            function,
            accuracy,
            flush,
            ty,
            d: self.destination(ty)?,
            a: self.then_source(ty)?,
        })
    }

    pub(super) fn logic(&mut self, operation: LogicOp, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        let ty = m.ty(&[Pred, B16, B32, B64])?;
        m.finish()?;
        Ok(Op::Logic {
            operation,
            ty,
            d: self.destination(ty)?,
            a: self.then_source(ty)?,
            b: self.then_source(ty)?,
        })
    }

    pub(super) fn not(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        let ty = m.ty(&[Pred, B16, B32, B64])?;
        m.finish()?;
        Ok(Op::Not {
            ty,
            d: self.destination(ty)?,
            a: self.then_source(ty)?,
        })
    }

    pub(super) fn shift(
        &mut self,
        direction: ShiftDirection,
        m: &mut Modifiers<'_>,
    ) -> Result<Op, Error> {
        let ty = match direction {
            ShiftDirection::Left => m.ty(BITS)?,
            ShiftDirection::Right => m.ty(&[B16, B32, B64, U16, U32, U64, S16, S32, S64])?,
        };
        m.finish()?;
        Ok(Op::Shift {
            direction,
            ty,
            d: self.destination(ty)?,
            a: self.then_source(ty)?,
            b: self.then_source(U32)?,
        })
    }

    pub(super) fn funnel_shift(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        let (direction, mode) = (
            m.need(FunnelDirection::from_text)?,
            m.need(FunnelMode::from_text)?,
        );
        m.ty(&[B32])?;
        m.finish()?;
        let d = self.destination(B32)?;
        let (a, b, c) = (
            self.then_source(B32)?,
            self.then_source(B32)?,
            self.then_source(U32)?,
        );
        Ok(Op::FunnelShift {
            direction,
            mode,
            d,
            a,
            b,
            c,
        })
    }

    pub(super) fn lop3(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        if let Some(operation) = m.take(BoolOp::from_text) {
            return self.lop3_predicate(operation, m);
        }
        m.ty(&[B32])?;
        m.finish()?;
        let d = self.destination(B32)?;
        let (a, b, c) = (
            self.then_source(B32)?,
            self.then_source(B32)?,
            self.then_source(B32)?,
        );
        self.comma()?;
        Ok(Op::Lop3 {
            d,
            a,
            b,
            c,
            table: self.parser.number("a truth table from 0 to 255")?,
        })
    }

    pub(super) fn prmt(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        m.ty(&[B32])?;
        let mode = m.take(PrmtMode::from_text);
        m.finish()?;
        let d = self.destination(B32)?;
        let (a, b, c) = (
            self.then_source(B32)?,
            self.then_source(B32)?,
            self.then_source(B32)?,
        );
        Ok(Op::Prmt { mode, d, a, b, c })
    }

    pub(super) fn bit_field_extract(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        let ty = m.ty(WORDS)?;
        m.finish()?;
        let d = self.destination(ty)?;
        let (a, b, c) = (
            self.then_source(ty)?,
            self.then_source(U32)?,
            self.then_source(U32)?,
        );
        Ok(Op::BitFieldExtract { ty, d, a, b, c })
    }

    pub(super) fn bit_field_insert(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        let ty = m.ty(&[B32, B64])?;
        m.finish()?;
        let d = self.destination(ty)?;
        let (a, b, c) = (
            self.then_source(ty)?,
            self.then_source(ty)?,
            self.then_source(U32)?,
        );
        Ok(Op::BitFieldInsert {
            ty,
            d,
            a,
            b,
            c,
            length: self.then_source(U32)?,
        })
    }

    pub(super) fn bits(&mut self, operation: BitOp, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        let ty = m.ty(&[B32, B64])?;
        m.finish()?;
        let result = if operation == BitOp::Brev { ty } else { U32 };
        Ok(Op::Bits {
            operation,
            ty,
            d: self.destination(result)?,
            a: self.then_source(ty)?,
        })
    }

    pub(super) fn bit_find(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        let shift_amount = m.flag("shiftamt");
        let ty = m.ty(WORDS)?;
        m.finish()?;
        Ok(Op::BitFind {
            shift_amount,
            ty,
            d: self.destination(U32)?,
            a: self.then_source(ty)?,
        })
    }
}
