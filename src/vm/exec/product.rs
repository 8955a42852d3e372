//! Carries, 24-bit and dotted products, selections and tests by value, `set`.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "dispatch matches every instruction; only those of this class come here"
)]

use super::super::arithmetic::integer::{lop3, sign_extend};
use super::super::memory::window;
use super::cta::Machine;
use super::dispatch::Site;
use super::registers::mask_of;
use super::warp::Warp;
use super::{Halt, Lanes, lanes};
use crate::convert::{low_u32, low_u64};
use crate::ptx::{
    BoolOp, DotShape, FloatProperty, Op, Operand, ProductHalf, ProductPart, RegisterId, ScalarType,
    Space, TypeKind,
};

/// A value of an integer type, as a 128-bit integer.
fn integer(ty: ScalarType, x: u64) -> i128 {
    if ty.kind() == TypeKind::Signed {
        i128::from(sign_extend(x & ty.mask(), ty.bits()).cast_signed())
    } else {
        i128::from(x & ty.mask())
    }
}

/// Low bits of a 128-bit integer.
fn low(x: i128) -> u64 {
    low_u64(x.cast_unsigned())
}

impl Machine<'_> {
    fn read_all<const N: usize>(&self, warp: &Warp, operands: [Operand; N]) -> [Lanes<u64>; N] {
        operands.map(|operand| self.read::<u64>(warp, operand))
    }

    fn write_type(
        &self,
        warp: &mut Warp,
        d: RegisterId,
        mask: u32,
        ty: ScalarType,
        value: &Lanes<u64>,
    ) {
        self.write(warp, d, mask, &value.map(|x| x & ty.mask()));
    }

    /// The instructions of this file.
    pub(super) fn product(&self, warp: &mut Warp, site: &Site<'_>) -> Result<(), Halt> {
        let mask = site.mask;
        match &site.instruction.op {
            Op::AddCarry {
                subtract,
                carry_in,
                carry_out,
                ty,
                d,
                a,
                b,
            } => {
                let [a, b] = self.read_all(warp, [*a, *b]);
                let carry = if *carry_in { warp.carry } else { 0 };
                let whole = lanes(|lane| {
                    let (x, y) = (
                        u128::from(a[lane] & ty.mask()),
                        u128::from(b[lane] & ty.mask()),
                    );
                    let c = u128::from(carry >> lane & 1);
                    if *subtract {
                        x.wrapping_sub(y).wrapping_sub(c)
                    } else {
                        x + y + c
                    }
                });
                if *carry_out {
                    // Beyond the width: the carry of a sum, the borrow of a difference.
                    let out = mask_of(&whole, |x| x >> ty.bits() & 1 == 1);
                    warp.carry = warp.carry & !mask | out & mask;
                }
                self.write_type(warp, *d, mask, *ty, &whole.map(low_u64));
            }
            Op::MadCarry {
                part,
                carry_in,
                carry_out,
                ty,
                d,
                a,
                b,
                c,
            } => {
                let [a, b, c] = self.read_all(warp, [*a, *b, *c]);
                let carry = if *carry_in { warp.carry } else { 0 };
                let whole = lanes(|lane| {
                    let product = integer(*ty, a[lane]).wrapping_mul(integer(*ty, b[lane]));
                    let shifted = match part {
                        ProductPart::Hi => product >> ty.bits(),
                        ProductPart::Lo | ProductPart::Wide => product,
                    };
                    u128::from(low(shifted) & ty.mask())
                        + u128::from(c[lane] & ty.mask())
                        + u128::from(carry >> lane & 1)
                });
                if *carry_out {
                    let out = mask_of(&whole, |x| x >> ty.bits() & 1 == 1);
                    warp.carry = warp.carry & !mask | out & mask;
                }
                self.write_type(warp, *d, mask, *ty, &whole.map(low_u64));
            }
            Op::Product24 {
                half,
                saturate,
                ty,
                d,
                a,
                b,
                c,
            } => {
                let [a, b] = self.read_all(warp, [*a, *b]);
                let c = c.map(|c| self.read::<u64>(warp, c));
                let part = |x: u64| {
                    if ty.kind() == TypeKind::Signed {
                        i128::from(sign_extend(x & 0xff_ffff, 24).cast_signed())
                    } else {
                        i128::from(x & 0xff_ffff)
                    }
                };
                let value = lanes(|lane| {
                    let product = part(a[lane]) * part(b[lane]);
                    let part = match half {
                        ProductHalf::Lo => low(product),
                        ProductHalf::Hi => low(product >> 16),
                    } & 0xffff_ffff;
                    match &c {
                        None => part,
                        Some(c) if *saturate => {
                            let sum = integer(*ty, part) + integer(*ty, c[lane]);
                            low(sum.clamp(i128::from(i32::MIN), i128::from(i32::MAX)))
                        }
                        Some(c) => part.wrapping_add(c[lane]),
                    }
                });
                self.write_type(warp, *d, mask, *ty, &value);
            }
            Op::AbsoluteDifference { ty, d, a, b, c } => {
                let [a, b, c] = self.read_all(warp, [*a, *b, *c]);
                let value = lanes(|lane| {
                    let difference = integer(*ty, a[lane]) - integer(*ty, b[lane]);
                    low(difference.abs()).wrapping_add(c[lane])
                });
                self.write_type(warp, *d, mask, *ty, &value);
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
                let [a, b, c] = self.read_all(warp, [*a, *b, *c]);
                let field = |x: u64, bits: u32, which: u32, ty: ScalarType| {
                    let part = x >> (bits * which) & ((1 << bits) - 1);
                    if ty.kind() == TypeKind::Signed {
                        sign_extend(part, bits)
                    } else {
                        part
                    }
                };
                let (count, a_bits, first) = match shape {
                    DotShape::Bytes => (4, 8, 0),
                    DotShape::LowHalf => (2, 16, 0),
                    DotShape::HighHalf => (2, 16, 2),
                };
                let value = lanes(|lane| {
                    (0..count).fold(c[lane], |sum, i| {
                        let x = field(a[lane], a_bits, i, *a_type);
                        let y = field(b[lane], 8, first + i, *b_type);
                        sum.wrapping_add(x.wrapping_mul(y))
                    })
                });
                self.write_type(warp, *d, mask, ScalarType::B32, &value);
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
            } => {
                let [a, b, c] = self
                    .read_all(warp, [*a, *b, *c])
                    .map(|values| values.map(low_u32));
                let value = lanes(|lane| lop3(a[lane], b[lane], c[lane], *table));
                let (some, q) = (mask_of(&value, |x| x != 0), self.predicate(warp, *q));
                let holds = match operation {
                    BoolOp::And => some & q,
                    BoolOp::Or => some | q,
                    BoolOp::Xor => some ^ q,
                };
                if let Some(d) = d {
                    self.write(warp, *d, mask, &value);
                }
                self.write_predicate(warp, *p, mask, holds);
            }
            Op::Set { .. } => self.set(warp, site),
            Op::Slct {
                flush,
                ty,
                select,
                d,
                a,
                b,
                c,
            } => {
                let [a, b, c] = self.read_all(warp, [*a, *b, *c]);
                let value = lanes(|lane| {
                    let word = low_u32(c[lane]);
                    let first = if *select == ScalarType::S32 {
                        word.cast_signed() >= 0
                    } else {
                        // A flushed subnormal is a zero, whatever its sign; NaN is not at least zero.
                        let flushed = *flush && word & 0x7f80_0000 == 0;
                        flushed || f32::from_bits(word) >= 0.0
                    };
                    if first { a[lane] } else { b[lane] }
                });
                self.write_type(warp, *d, mask, *ty, &value);
            }
            Op::TestProperty { property, ty, p, a } => {
                let [a] = self.read_all(warp, [*a]);
                let class = a.map(|x| {
                    if *ty == ScalarType::F64 {
                        f64::from_bits(x).classify()
                    } else {
                        f32::from_bits(low_u32(x)).classify()
                    }
                });
                use std::num::FpCategory as C;
                let holds = mask_of(&class, |class| match property {
                    FloatProperty::Finite => !matches!(class, C::Infinite | C::Nan),
                    FloatProperty::Infinite => class == C::Infinite,
                    FloatProperty::Number => class != C::Nan,
                    FloatProperty::NotANumber => class == C::Nan,
                    FloatProperty::Normal => class == C::Normal,
                    FloatProperty::Subnormal => class == C::Subnormal,
                });
                self.write_predicate(warp, *p, mask, holds);
            }
            Op::CopySign { ty, d, a, b } => {
                let [a, b] = self.read_all(warp, [*a, *b]);
                let sign = 1_u64 << (ty.bits() - 1);
                let value = lanes(|lane| a[lane] & sign | b[lane] & !sign);
                self.write_type(warp, *d, mask, *ty, &value);
            }
            Op::IsSpace { space, p, a } => {
                let [a] = self.read_all(warp, [*a]);
                let inside = |x: u64, start: u64| x >= start && x - start < window::BYTES;
                let holds = mask_of(&a, |x| match space {
                    Space::Shared => inside(x, window::SHARED),
                    Space::Local => inside(x, window::LOCAL),
                    Space::Param => inside(x, window::PARAM),
                    Space::Global => x >= window::GLOBAL && !self.view.is_constant(x),
                    Space::Const => x >= window::GLOBAL && self.view.is_constant(x),
                    Space::Generic => true,
                });
                self.write_predicate(warp, *p, mask, holds);
            }
            _ => unreachable!("dispatch sends these only"),
        }
        Ok(())
    }

    /// `set`: all ones or 1.0 where the comparison holds, by halves for packed types.
    fn set(&self, warp: &mut Warp, site: &Site<'_>) {
        let Op::Set {
            compare,
            combine,
            flush,
            to,
            from,
            d,
            a,
            b,
        } = &site.instruction.op
        else {
            unreachable!("called for set only")
        };
        let (first, second) = if from.kind() == TypeKind::Float {
            self.float_comparison(warp, *compare, *flush, *from, (*a, *b))
        } else {
            let holds = self.integer_comparison(warp, *compare, *from, (*a, *b));
            (holds, !holds)
        };
        let (first, second) = (
            self.combined(warp, *combine, first),
            self.combined(warp, *combine, second),
        );
        let packed = matches!(from, ScalarType::F16x2 | ScalarType::Bf16x2);
        let half = match to {
            ScalarType::F16x2 => 0x3c00,
            ScalarType::Bf16x2 => 0x3f80,
            _ => 0xffff,
        };
        let whole = match to {
            ScalarType::F32 => 0x3f80_0000,
            ScalarType::F16 => 0x3c00,
            ScalarType::Bf16 => 0x3f80,
            _ => to.mask(),
        };
        let value = lanes(|lane| {
            let one = |holds: u32, bits: u64| if holds >> lane & 1 == 1 { bits } else { 0 };
            if packed {
                one(first, half) | one(second, half) << 16
            } else {
                one(first, whole)
            }
        });
        self.write_type(warp, *d, site.mask, *to, &value);
    }
}
