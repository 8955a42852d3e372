//! Moves, selections, packing, address conversion and `cvt`.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "dispatch matches every instruction; only those of this class come here"
)]

use super::super::arithmetic::byte_float::ByteFloat;
use super::super::arithmetic::double;
use super::super::arithmetic::float::{
    self, Format, bf16_nearest, canonical_f32, f16_nearest, flush_f32, saturate_f32,
};
use super::super::arithmetic::integer::sign_extend;
use super::super::memory::window;
use super::cta::Machine;
use super::dispatch::{RegisterWord, Site};
use super::warp::Warp;
use super::{Halt, Lanes, Slot, lanes};
use crate::convert::{f64_from_i128, low_u32, low_u64, saturate_f64_to_i128};
use crate::ptx::{
    CvtRounding, IntegerRounding, Op, Operand, Rounding, ScalarType, Space, TypeKind,
};

/// Bit of each lane in a mask.
const BIT_OF_LANE: Lanes<u32> = {
    let mut bits = [1; 32];
    let mut lane = 1;
    while lane < 32 {
        bits[lane] = bits[lane - 1] << 1;
        lane += 1;
    }
    bits
};

impl Machine<'_> {
    /// `mov`, `selp`, packing and `cvta`.
    pub(super) fn move_bits(&self, warp: &mut Warp, site: &Site<'_>) -> Result<(), Halt> {
        let mask = site.mask;
        match &site.instruction.op {
            Op::Mov { ty, d, a } => match ty.bits() {
                1 => {
                    let value = self.read_predicate(warp, *a);
                    self.write_predicate(warp, *d, mask, value);
                }
                64 => self.move_lanes::<u64>(warp, *d, mask, *a),
                32 => self.move_lanes::<u32>(warp, *d, mask, *a),
                _ => {
                    let keep = low_u32(ty.mask());
                    let value = self.read::<u32>(warp, *a);
                    self.write(warp, *d, mask, &value.map(|x| x & keep));
                }
            },
            Op::Selp { ty, d, a, b, c } => {
                let chosen = warp.registers.predicate(self.program.slots.of(*c));
                if ty.bits() == 64 {
                    self.select::<u64>(warp, *d, mask, (*a, *b), chosen, ty.mask());
                } else {
                    self.select::<u32>(warp, *d, mask, (*a, *b), chosen, ty.mask());
                }
            }
            Op::Pack { ty, d, a } => {
                let bits = ty.bits() / u32::try_from(a.len()).expect("two or four elements");
                let mut value = [0_u64; 32];
                for (element, operand) in (0_u32..).zip(a) {
                    let part = self.read::<u64>(warp, *operand);
                    let keep = (1_u64 << bits) - 1;
                    value = lanes(|lane| value[lane] | (part[lane] & keep) << (bits * element));
                }
                self.write(warp, *d, mask, &value);
            }
            Op::Unpack { ty, d, a } => {
                let bits = ty.bits() / u32::try_from(d.len()).expect("two or four elements");
                let value = self.read::<u64>(warp, *a);
                for (element, register) in (0_u32..).zip(d) {
                    if let Some(register) = register {
                        let keep = (1_u64 << bits) - 1;
                        self.write(
                            warp,
                            *register,
                            mask,
                            &value.map(|x| x >> (bits * element) & keep),
                        );
                    }
                }
            }
            Op::Cvta {
                to_space,
                space,
                d,
                a,
                ..
            } => {
                let base = match space {
                    Space::Shared => window::SHARED,
                    Space::Local => window::LOCAL,
                    Space::Param => window::PARAM,
                    // Global addresses, const ones among them, are generic ones.
                    Space::Global | Space::Const | Space::Generic => 0,
                };
                let value = self.read::<u64>(warp, *a).map(|x| {
                    if *to_space {
                        x.wrapping_sub(base)
                    } else {
                        x.wrapping_add(base)
                    }
                });
                self.write(warp, *d, mask, &value);
            }
            _ => unreachable!("dispatch sends moves only"),
        }
        Ok(())
    }

    fn select<W: RegisterWord>(
        &self,
        warp: &mut Warp,
        d: crate::ptx::RegisterId,
        mask: u32,
        (a, b): (Operand, Operand),
        chosen: u32,
        keep: u64,
    ) {
        let (mut spare_a, mut spare_b) = (None, None);
        let a = self.hold::<W>(warp, a, &mut spare_a);
        let b = self.hold::<W>(warp, b, &mut spare_b);
        let keep = W::from_u64(keep);
        let value = self.program.level.zip3(a, b, &BIT_OF_LANE, |a, b, bit| {
            if chosen & bit != 0 { a } else { b }.and(keep)
        });
        self.write(warp, d, mask, &value);
    }

    fn move_lanes<W: RegisterWord>(
        &self,
        warp: &mut Warp,
        d: crate::ptx::RegisterId,
        mask: u32,
        a: Operand,
    ) {
        let value = self.read::<W>(warp, a);
        self.write(warp, d, mask, &value);
    }

    /// `cvt`.
    pub(super) fn convert(&self, warp: &mut Warp, site: &Site<'_>) -> Result<(), Halt> {
        match &site.instruction.op {
            Op::CvtPair {
                rounding,
                relu,
                finite,
                to,
                d,
                a,
                b,
            } => {
                let level = self.program.level;
                let (mut spare_a, mut spare_b) = (None, None);
                let a = self.hold::<u32>(warp, *a, &mut spare_a);
                let b = self.hold::<u32>(warp, *b, &mut spare_b);
                let half = to.bits() / 2;
                let bytes = ByteFloat::of(*to);
                let format = if *to == ScalarType::F16x2 {
                    Format::F16
                } else {
                    Format::BF16
                };
                if let Some(round) = nearest_half(*to)
                    .filter(|_| *rounding == Rounding::NearestEven && !*finite && !*relu)
                {
                    let value = match round {
                        Nearest::F16 => {
                            level.zip(a, b, |a, b| f16_nearest(a) << 16 | f16_nearest(b))
                        }
                        Nearest::Bf16 => {
                            level.zip(a, b, |a, b| bf16_nearest(a) << 16 | bf16_nearest(b))
                        }
                    };
                    self.write(warp, *d, site.mask, &value);
                    return Ok(());
                }
                let one = |bits: u32| {
                    let x = f64::from(f32::from_bits(bits));
                    let x = if *relu && x <= 0.0 { 0.0 } else { x };
                    match bytes {
                        Some(bytes) => bytes.encode(x),
                        None if *finite => below_infinity(format, format.round(x, *rounding)),
                        None => format.round(x, *rounding),
                    }
                };
                let value = lanes(|lane| {
                    if site.mask >> lane & 1 == 0 {
                        0
                    } else {
                        one(a[lane]) << half | one(b[lane])
                    }
                });
                self.write(warp, *d, site.mask, &value);
                Ok(())
            }
            Op::CvtPacked {
                relu,
                to,
                from,
                d,
                a,
                ..
            } => {
                let a = self.read::<u32>(warp, *a);
                let convert = |bits: u32| match (ByteFloat::of(*from), ByteFloat::of(*to)) {
                    (Some(bytes), _) => {
                        let x = bytes.decode(bits);
                        let x = if *relu && x <= 0.0 { 0.0 } else { x };
                        Format::F16.round(x, Rounding::NearestEven)
                    }
                    (None, Some(bytes)) => {
                        let x = Format::F16.decode(bits);
                        bytes.encode(if *relu && x <= 0.0 { 0.0 } else { x })
                    }
                    (None, None) => bits,
                };
                let (narrow, wide) = (from.bits() / 2, to.bits() / 2);
                let keep = (1 << narrow) - 1;
                let value = a.map(|x| convert(x & keep) | convert(x >> narrow & keep) << wide);
                self.write(warp, *d, site.mask, &value);
                Ok(())
            }
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
                let how = Conversion {
                    rounding: *rounding,
                    flush: *flush,
                    saturate: *saturate,
                    finite: *finite,
                    relu: *relu,
                    to: *to,
                    from: *from,
                };
                let value = self.read::<u64>(warp, *a);
                let value = how.apply(&value);
                // Results of tf32 sit in 32-bit registers; every other one may go to a wider register.
                match self.program.slots.of(*d) {
                    Slot::Word(_) | Slot::Long(_) => {
                        self.write_extended(warp, *d, site.mask, &value, *to)
                    }
                    Slot::Predicate(_) => return Err(site.unsupported("cvt to a predicate")),
                }
                Ok(())
            }
            _ => unreachable!("dispatch sends cvt only"),
        }
    }
}

/// The 16-bit formats that f32 pairs are rounded to in hot code.
#[derive(Clone, Copy, Debug)]
enum Nearest {
    F16,
    Bf16,
}

fn nearest_half(ty: ScalarType) -> Option<Nearest> {
    match ty {
        ScalarType::F16 | ScalarType::F16x2 => Some(Nearest::F16),
        ScalarType::Bf16 | ScalarType::Bf16x2 => Some(Nearest::Bf16),
        _ => None,
    }
}

#[derive(Clone, Copy, Debug)]
struct Conversion {
    rounding: Option<CvtRounding>,
    flush: bool,
    saturate: bool,
    finite: bool,
    relu: bool,
    to: ScalarType,
    from: ScalarType,
}

/// The format of a float type of at most 32 bits.
fn format_of(ty: ScalarType) -> Option<Format> {
    match ty {
        ScalarType::F16 => Some(Format::F16),
        ScalarType::Bf16 => Some(Format::BF16),
        ScalarType::Tf32 => Some(Format::TF32),
        ScalarType::F32 => Some(Format::F32),
        _ => None,
    }
}

/// The largest finite number of the sign in place of infinity.
fn below_infinity(format: Format, bits: u32) -> u32 {
    let sign = 1 << (format.exponent_bits + format.fraction_bits);
    if bits & (sign - 1) == format.infinity() {
        bits - 1
    } else {
        bits
    }
}

fn is_float(ty: ScalarType) -> bool {
    ty.kind() == TypeKind::Float
}

impl Conversion {
    fn apply(&self, a: &Lanes<u64>) -> Lanes<u64> {
        match (is_float(self.from), is_float(self.to)) {
            (false, false) => a.map(|x| self.integer_to_integer(x)),
            (false, true) => a.map(|x| self.integer_to_float(x)),
            (true, false) => a.map(|x| self.float_to_integer(self.decode(x))),
            (true, true) => a.map(|x| self.float_to_float(x)),
        }
    }

    fn float_rounding(&self) -> Rounding {
        match self.rounding {
            Some(CvtRounding::Float(rounding)) => rounding,
            Some(CvtRounding::Integer(_)) | None => Rounding::NearestEven,
        }
    }

    fn signed_value(ty: ScalarType, x: u64) -> i128 {
        let x = x & ty.mask();
        if ty.kind() == TypeKind::Signed {
            i128::from(sign_extend(x, ty.bits()).cast_signed())
        } else {
            i128::from(x)
        }
    }

    fn range(ty: ScalarType) -> (i128, i128) {
        if ty.kind() == TypeKind::Signed {
            let high = i128::from(ty.mask() >> 1);
            (-high - 1, high)
        } else {
            (0, i128::from(ty.mask()))
        }
    }

    fn integer_to_integer(&self, x: u64) -> u64 {
        let value = Self::signed_value(self.from, x);
        let (low, high) = Self::range(self.to);
        let value = if self.saturate {
            value.clamp(low, high)
        } else {
            value
        };
        low_u64(value.cast_unsigned())
    }

    fn integer_to_float(&self, x: u64) -> u64 {
        let value = Self::signed_value(self.from, x);
        match format_of(self.to) {
            None => double::from_integer(value, self.float_rounding()),
            Some(format) => {
                // Beyond 53 bits: keep 53 and a sticky last bit.
                let extra = (128 - value.unsigned_abs().leading_zeros()).saturating_sub(53);
                let kept = value.unsigned_abs() >> extra;
                let lost = value.unsigned_abs() & ((1 << extra) - 1) != 0;
                let kept = i128::try_from(kept | u128::from(lost)).expect("53 bits");
                let scale = f64::from_bits(u64::from(1023 + extra) << 52);
                let magnitude = f64_from_i128(kept) * scale;
                let exact = if value < 0 { -magnitude } else { magnitude };
                let bits = u64::from(format.round(exact, self.float_rounding()));
                if self.saturate {
                    self.clamp_float(bits)
                } else {
                    bits
                }
            }
        }
    }

    /// Value of a float operand, flushed where asked.
    fn decode(&self, x: u64) -> f64 {
        match format_of(self.from) {
            None => f64::from_bits(x),
            Some(format) => {
                let bits = low_u32(x & self.from.mask());
                let flush = self.flush && self.from == ScalarType::F32;
                format.decode(if flush { flush_f32(bits) } else { bits })
            }
        }
    }

    /// To an integer value, clamped to the range. NaN gives 0, or the bit pattern `1000..` where 64-bit types take part.
    fn float_to_integer(&self, x: f64) -> u64 {
        if x.is_nan() {
            let wide = self.from == ScalarType::F64 || self.to.bits() == 64;
            return if wide { 1 << (self.to.bits() - 1) } else { 0 };
        }
        let rounded = self.as_integral(x).unwrap_or_else(|| x.trunc());
        let (low, high) = Self::range(self.to);
        low_u64(
            saturate_f64_to_i128(rounded)
                .clamp(low, high)
                .cast_unsigned(),
        )
    }

    fn as_integral(&self, x: f64) -> Option<f64> {
        match self.rounding {
            Some(CvtRounding::Integer(rounding)) => Some(match rounding {
                IntegerRounding::NearestEven => x.round_ties_even(),
                IntegerRounding::Zero => x.trunc(),
                IntegerRounding::Down => x.floor(),
                IntegerRounding::Up => x.ceil(),
            }),
            Some(CvtRounding::Float(_)) | None => None,
        }
    }

    fn float_to_float(&self, x: u64) -> u64 {
        let value = self.decode(x);
        let value = self.as_integral(value).unwrap_or(value);
        let value = if self.relu && value <= 0.0 {
            0.0
        } else {
            value
        };
        match (format_of(self.to), self.to) {
            (None, _) => {
                let saturated = if value > 0.0 { value.min(1.0) } else { 0.0 };
                if self.saturate {
                    saturated.to_bits()
                } else {
                    value.to_bits()
                }
            }
            (Some(format), ScalarType::Tf32) => {
                let bits = format.round(value, self.float_rounding());
                let bits = if self.finite {
                    below_infinity(format, bits)
                } else {
                    bits
                };
                u64::from(if value.is_nan() {
                    float::NAN_F32
                } else {
                    bits << 13
                })
            }
            (Some(format), _) => {
                let bits = format.round(value, self.float_rounding());
                let bits = if self.finite {
                    below_infinity(format, bits)
                } else if self.to == ScalarType::F32 && self.flush {
                    flush_f32(canonical_f32(bits))
                } else {
                    bits
                };
                if self.saturate {
                    self.clamp_float(u64::from(bits))
                } else {
                    u64::from(bits)
                }
            }
        }
    }

    /// `.sat` of a float result.
    fn clamp_float(&self, bits: u64) -> u64 {
        let low = low_u32(bits);
        match self.to {
            ScalarType::F32 => u64::from(saturate_f32(low)),
            _ => match format_of(self.to) {
                Some(format) => {
                    let x = format.decode(low);
                    let one = u64::from(format.round(1.0, Rounding::NearestEven));
                    if x > 0.0 { bits.min(one) } else { 0 }
                }
                None => bits,
            },
        }
    }
}
