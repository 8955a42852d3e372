//! Integer arithmetic, logic, shifts and comparisons.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "dispatch matches every instruction; only those of this class come here"
)]

use super::super::arithmetic::integer::{
    Word, bit_field_extract, bit_field_insert, bit_find, lop3, permute, permute_selector,
    sign_extend,
};
use super::cta::Machine;
use super::dispatch::{RegisterWord, Site, Spare};
use super::warp::Warp;
use super::{Halt, Lanes, lanes};
use crate::convert::low_u32;
use crate::ptx::{
    BitOp, BoolOp, Compare, FunnelDirection, FunnelMode, IntegerBinary, IntegerUnary, LogicOp, Op,
    Operand, Predicate, ProductPart, RegisterId, ScalarType, ShiftDirection, TypeKind,
};
use crate::simd::Level;

fn cut<W: Word>(ty: ScalarType, x: Lanes<W>) -> Lanes<W> {
    if ty.bits() >= 32 {
        x
    } else {
        x.map(|x| W::from_u64(x.to_u64() & ty.mask()))
    }
}

impl Machine<'_> {
    /// An operand of a type that may be narrower than the word, as words: by its sign for signed types.
    #[inline]
    fn widened<'w, W: RegisterWord>(
        &self,
        warp: &'w Warp,
        ty: ScalarType,
        operand: Operand,
        spare: &'w mut Spare<W>,
    ) -> &'w Lanes<W> {
        if ty.bits() >= 32 {
            return self.hold(warp, operand, spare);
        }
        let signed = ty.kind() == TypeKind::Signed;
        spare.insert(self.read::<W>(warp, operand).map(|x| {
            let x = x.to_u64() & ty.mask();
            W::from_u64(if signed { sign_extend(x, ty.bits()) } else { x })
        }))
    }

    /// Integer instructions.
    pub(super) fn integer(&self, warp: &mut Warp, site: &Site<'_>) -> Result<(), Halt> {
        match &site.instruction.op {
            Op::IntegerBinary { ty, .. }
            | Op::IntegerUnary { ty, .. }
            | Op::Mad { ty, .. }
            | Op::Logic { ty, .. }
            | Op::Not { ty, .. }
            | Op::Shift { ty, .. }
            | Op::BitFieldExtract { ty, .. }
            | Op::BitFieldInsert { ty, .. }
            | Op::Bits { ty, .. }
            | Op::BitFind { ty, .. } => match ty.bits() {
                64 => self.word_operation::<u64>(warp, site),
                1 => self.predicate_logic(warp, site),
                _ => self.word_operation::<u32>(warp, site),
            },
            Op::FunnelShift {
                direction,
                mode,
                d,
                a,
                b,
                c,
            } => {
                let (a, b, c) = (
                    self.read::<u32>(warp, *a),
                    self.read::<u32>(warp, *b),
                    self.read::<u32>(warp, *c),
                );
                let value = lanes(|lane| {
                    let pair = u64::from(b[lane]) << 32 | u64::from(a[lane]);
                    let by = match mode {
                        FunnelMode::Clamp => c[lane].min(32),
                        FunnelMode::Wrap => c[lane] & 31,
                    };
                    match direction {
                        FunnelDirection::Left => low_u32(
                            (u128::from(pair) << by >> 32 & 0xffff_ffff)
                                .try_into()
                                .expect("32 bits"),
                        ),
                        FunnelDirection::Right => low_u32(pair >> by),
                    }
                });
                self.write(warp, *d, site.mask, &value);
                Ok(())
            }
            Op::Lop3 { d, a, b, c, table } => {
                let (a, b, c) = (
                    self.read::<u32>(warp, *a),
                    self.read::<u32>(warp, *b),
                    self.read::<u32>(warp, *c),
                );
                let value = self
                    .program
                    .level
                    .zip3(&a, &b, &c, |a, b, c| lop3(a, b, c, *table));
                self.write(warp, *d, site.mask, &value);
                Ok(())
            }
            Op::Prmt { mode, d, a, b, c } => {
                let (a, b, c) = (
                    self.read::<u32>(warp, *a),
                    self.read::<u32>(warp, *b),
                    self.read::<u32>(warp, *c),
                );
                let value = lanes(|lane| {
                    let selector = mode.map_or(c[lane], |mode| permute_selector(mode, c[lane]));
                    permute(a[lane], b[lane], selector)
                });
                self.write(warp, *d, site.mask, &value);
                Ok(())
            }
            _ => unreachable!("dispatch sends integer instructions only"),
        }
    }

    fn word_operation<W: RegisterWord>(
        &self,
        warp: &mut Warp,
        site: &Site<'_>,
    ) -> Result<(), Halt> {
        let mask = site.mask;
        let level = self.program.level;
        match &site.instruction.op {
            Op::IntegerBinary {
                operation,
                saturate,
                ty,
                d,
                a,
                b,
            } => {
                let signed = ty.kind() == TypeKind::Signed;
                if *operation == IntegerBinary::MulWide {
                    return self.multiply_wide(warp, mask, *ty, *d, (*a, *b), None);
                }
                let mut spare_a = None;
                let a = self.widened::<W>(warp, *ty, *a, &mut spare_a);
                let mut spare_b = None;
                let b = self.widened::<W>(warp, *ty, *b, &mut spare_b);
                let value = match operation {
                    IntegerBinary::Add if *saturate => {
                        lanes(|lane| saturating(a[lane], b[lane], false))
                    }
                    IntegerBinary::Sub if *saturate => {
                        lanes(|lane| saturating(a[lane], b[lane], true))
                    }
                    IntegerBinary::Add => level.zip(a, b, W::add),
                    IntegerBinary::Sub => level.zip(a, b, W::sub),
                    IntegerBinary::MulLo => level.zip(a, b, W::mul_lo),
                    IntegerBinary::MulHi if ty.bits() < 32 => {
                        // The product of narrow operands fits the word.
                        level.zip(a, b, |x, y| x.mul_lo(y).shr(ty.bits(), signed))
                    }
                    IntegerBinary::MulHi => level.zip(a, b, |x, y| x.mul_hi(y, signed)),
                    IntegerBinary::Div => level.zip(a, b, |x, y| x.div(y, signed)),
                    IntegerBinary::Rem => level.zip(a, b, |x, y| x.rem(y, signed)),
                    IntegerBinary::Min if signed => {
                        level.zip(a, b, |x, y| if y.less(x, true) { y } else { x })
                    }
                    IntegerBinary::Max if signed => {
                        level.zip(a, b, |x, y| if x.less(y, true) { y } else { x })
                    }
                    IntegerBinary::Min => {
                        level.zip(a, b, |x, y| if y.less(x, false) { y } else { x })
                    }
                    IntegerBinary::Max => {
                        level.zip(a, b, |x, y| if x.less(y, false) { y } else { x })
                    }
                    IntegerBinary::MulWide => unreachable!("handled above"),
                };
                self.write(warp, *d, mask, &cut(*ty, value));
            }
            Op::IntegerUnary {
                operation,
                ty,
                d,
                a,
            } => {
                let mut spare_a = None;
                let a = self.widened::<W>(warp, *ty, *a, &mut spare_a);
                let negate = |x: W| W::default().sub(x);
                let value = match operation {
                    IntegerUnary::Neg => a.map(negate),
                    IntegerUnary::Abs => a.map(|x| if x.is_negative() { negate(x) } else { x }),
                };
                self.write(warp, *d, mask, &cut(*ty, value));
            }
            Op::Mad {
                part,
                ty,
                d,
                a,
                b,
                c,
            } => {
                let signed = ty.kind() == TypeKind::Signed;
                if *part == ProductPart::Wide {
                    return self.multiply_wide(warp, mask, *ty, *d, (*a, *b), Some(*c));
                }
                let mut spare_a = None;
                let a = self.widened::<W>(warp, *ty, *a, &mut spare_a);
                let mut spare_b = None;
                let b = self.widened::<W>(warp, *ty, *b, &mut spare_b);
                let mut spare_c = None;
                let c = self.widened::<W>(warp, *ty, *c, &mut spare_c);
                if *part == ProductPart::Lo {
                    let value = level.zip3(a, b, c, |a, b, c| a.mul_lo(b).add(c));
                    self.write(warp, *d, mask, &cut(*ty, value));
                    return Ok(());
                }
                let value = lanes(|lane| {
                    let product = match part {
                        ProductPart::Lo | ProductPart::Wide => a[lane].mul_lo(b[lane]),
                        ProductPart::Hi if ty.bits() < 32 => {
                            a[lane].mul_lo(b[lane]).shr(ty.bits(), signed)
                        }
                        ProductPart::Hi => a[lane].mul_hi(b[lane], signed),
                    };
                    product.add(c[lane])
                });
                self.write(warp, *d, mask, &cut(*ty, value));
            }
            Op::Logic {
                operation,
                ty,
                d,
                a,
                b,
            } => {
                let (mut spare_a, mut spare_b) = (None, None);
                let a = self.hold::<W>(warp, *a, &mut spare_a);
                let b = self.hold::<W>(warp, *b, &mut spare_b);
                let value = match operation {
                    LogicOp::And => level.zip(a, b, W::and),
                    LogicOp::Or => level.zip(a, b, W::or),
                    LogicOp::Xor => level.zip(a, b, W::xor),
                };
                self.write(warp, *d, mask, &cut(*ty, value));
            }
            Op::Not { ty, d, a } => {
                let value = self.read::<W>(warp, *a).map(W::not);
                self.write(warp, *d, mask, &cut(*ty, value));
            }
            Op::Shift {
                direction,
                ty,
                d,
                a,
                b,
            } => {
                let signed = ty.kind() == TypeKind::Signed;
                let mut spare_a = None;
                let a = self.widened::<W>(warp, *ty, *a, &mut spare_a);
                let mut spare_by = None;
                let by = self.hold::<u32>(warp, *b, &mut spare_by);
                let value = match direction {
                    ShiftDirection::Left => level.zip(a, by, W::shl),
                    ShiftDirection::Right if signed => level.zip(a, by, |a, by| a.shr(by, true)),
                    ShiftDirection::Right => level.zip(a, by, |a, by| a.shr(by, false)),
                };
                self.write(warp, *d, mask, &cut(*ty, value));
            }
            Op::BitFieldExtract { ty, d, a, b, c } => {
                let signed = ty.kind() == TypeKind::Signed;
                let (a, b, c) = (
                    self.read::<W>(warp, *a),
                    self.read::<u32>(warp, *b),
                    self.read::<u32>(warp, *c),
                );
                let value = lanes(|lane| bit_field_extract(a[lane], b[lane], c[lane], signed));
                self.write(warp, *d, mask, &value);
            }
            Op::BitFieldInsert {
                d, a, b, c, length, ..
            } => {
                let (a, b) = (self.read::<W>(warp, *a), self.read::<W>(warp, *b));
                let (c, length) = (self.read::<u32>(warp, *c), self.read::<u32>(warp, *length));
                let value = lanes(|lane| bit_field_insert(a[lane], b[lane], c[lane], length[lane]));
                self.write(warp, *d, mask, &value);
            }
            Op::Bits {
                operation, d, a, ..
            } => {
                let a = self.read::<W>(warp, *a);
                let value = match operation {
                    BitOp::Popc => a.map(|x| W::from_u32(x.ones())),
                    BitOp::Clz => a.map(|x| W::from_u32(x.leading_zeros())),
                    BitOp::Brev => a.map(W::reversed),
                };
                self.write(warp, *d, mask, &value);
            }
            Op::BitFind {
                shift_amount,
                ty,
                d,
                a,
            } => {
                let signed = ty.kind() == TypeKind::Signed;
                let value = self
                    .read::<W>(warp, *a)
                    .map(|x| bit_find(x, signed, *shift_amount));
                self.write(warp, *d, mask, &value);
            }
            _ => unreachable!("only instructions with a word type come here"),
        }
        Ok(())
    }

    /// `mul.wide` and `mad.wide`.
    fn multiply_wide(
        &self,
        warp: &mut Warp,
        mask: u32,
        ty: ScalarType,
        d: RegisterId,
        (a, b): (Operand, Operand),
        c: Option<Operand>,
    ) -> Result<(), Halt> {
        let signed = ty.kind() == TypeKind::Signed;
        let extend = |x: u64| {
            if signed {
                sign_extend(x, ty.bits())
            } else {
                x & ty.mask()
            }
        };
        let (a, b) = (self.read::<u64>(warp, a), self.read::<u64>(warp, b));
        let c = c.map_or([0; 32], |c| self.read::<u64>(warp, c));
        let keep = if ty.bits() == 32 {
            u64::MAX
        } else {
            (1 << (2 * ty.bits())) - 1
        };
        let value = lanes(|lane| {
            extend(a[lane])
                .wrapping_mul(extend(b[lane]))
                .wrapping_add(c[lane])
                & keep
        });
        self.write(warp, d, mask, &value);
        Ok(())
    }

    fn predicate_logic(&self, warp: &mut Warp, site: &Site<'_>) -> Result<(), Halt> {
        match &site.instruction.op {
            Op::Logic {
                operation, d, a, b, ..
            } => {
                let (a, b) = (self.read_predicate(warp, *a), self.read_predicate(warp, *b));
                let value = match operation {
                    LogicOp::And => a & b,
                    LogicOp::Or => a | b,
                    LogicOp::Xor => a ^ b,
                };
                self.write_predicate(warp, *d, site.mask, value);
                Ok(())
            }
            Op::Not { d, a, .. } => {
                let value = !self.read_predicate(warp, *a);
                self.write_predicate(warp, *d, site.mask, value);
                Ok(())
            }
            _ => Err(site.unsupported("arithmetic on predicates")),
        }
    }

    /// `setp` on integers and bits.
    pub(super) fn compare_integers(&self, warp: &mut Warp, site: &Site<'_>) {
        let Op::Setp {
            compare,
            combine,
            ty,
            p,
            q,
            a,
            b,
            ..
        } = &site.instruction.op
        else {
            unreachable!("dispatch sends setp only")
        };
        let holds = self.integer_comparison(warp, *compare, *ty, (*a, *b));
        self.set_comparison(warp, site.mask, (*p, *q), *combine, (holds, !holds));
    }

    /// A bit a lane: `a` compares so with `b`.
    pub(super) fn integer_comparison(
        &self,
        warp: &Warp,
        compare: Compare,
        ty: ScalarType,
        (a, b): (Operand, Operand),
    ) -> u32 {
        let level = self.program.level;
        if ty.bits() == 64 {
            let (mut spare_a, mut spare_b) = (None, None);
            let a = self.hold::<u64>(warp, a, &mut spare_a);
            let b = self.hold::<u64>(warp, b, &mut spare_b);
            compare_words(level, compare, ty, a, b)
        } else {
            let mut spare_a = None;
            let a = self.widened::<u32>(warp, ty, a, &mut spare_a);
            let mut spare_b = None;
            let b = self.widened::<u32>(warp, ty, b, &mut spare_b);
            compare_words(level, compare, ty, a, b)
        }
    }

    /// The result of a comparison with the predicate it is combined with.
    pub(super) fn combined(
        &self,
        warp: &Warp,
        combine: Option<(BoolOp, Predicate)>,
        value: u32,
    ) -> u32 {
        match combine {
            None => value,
            Some((operation, predicate)) => {
                let c = self.predicate(warp, predicate);
                match operation {
                    BoolOp::And => value & c,
                    BoolOp::Or => value | c,
                    BoolOp::Xor => value ^ c,
                }
            }
        }
    }

    /// Combines the results of a `setp` with its predicate and writes them.
    pub(super) fn set_comparison(
        &self,
        warp: &mut Warp,
        mask: u32,
        (p, q): (Option<RegisterId>, Option<RegisterId>),
        combine: Option<(BoolOp, Predicate)>,
        (first, second): (u32, u32),
    ) {
        let (first, second) = (
            self.combined(warp, combine, first),
            self.combined(warp, combine, second),
        );
        if let Some(p) = p {
            self.write_predicate(warp, p, mask, first);
        }
        if let Some(q) = q {
            self.write_predicate(warp, q, mask, second);
        }
    }
}

/// `s32` sum or difference, clamped instead of wrapped.
fn saturating<W: Word>(a: W, b: W, subtract: bool) -> W {
    let (a, b) = (
        low_u32(a.to_u64()).cast_signed(),
        low_u32(b.to_u64()).cast_signed(),
    );
    let value = if subtract {
        a.saturating_sub(b)
    } else {
        a.saturating_add(b)
    };
    W::from_u32(value.cast_unsigned())
}

fn compare_words<W: Word>(
    level: Level,
    compare: Compare,
    ty: ScalarType,
    a: &Lanes<W>,
    b: &Lanes<W>,
) -> u32 {
    let signed = ty.kind() == TypeKind::Signed;
    let ordered = |signed: bool, a: &Lanes<W>, b: &Lanes<W>| {
        if signed {
            level.mask(a, b, |x, y| x.less(y, true))
        } else {
            level.mask(a, b, |x, y| x.less(y, false))
        }
    };
    let less = |signed: bool| ordered(signed, a, b);
    let greater = |signed: bool| ordered(signed, b, a);
    let equal = || level.mask(a, b, |x, y| x == y);
    match compare {
        Compare::Eq | Compare::Equ => equal(),
        Compare::Ne | Compare::Neu => !equal(),
        Compare::Lt | Compare::Ltu => less(signed),
        Compare::Le | Compare::Leu => !greater(signed),
        Compare::Gt | Compare::Gtu => greater(signed),
        Compare::Ge | Compare::Geu => !less(signed),
        Compare::Lo => less(false),
        Compare::Ls => !greater(false),
        Compare::Hi => greater(false),
        Compare::Hs => !less(false),
        // The parser allows these for floats only: no integer is NaN.
        Compare::Num => u32::MAX,
        Compare::Nan => 0,
    }
}
