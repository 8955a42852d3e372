//! Float arithmetic, functions and comparisons.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "dispatch matches every instruction; only those of this class come here"
)]

use super::super::arithmetic::float::{
    self, Format, NAN_F32, NAN_HALF, canonical_f32, extremum, extremum_f32, flush_f32, fma_f32,
    saturate_f32,
};
use super::super::arithmetic::{approximate, double, function};
use super::super::launch::Approx;
use super::cta::Machine;
use super::dispatch::{Site, Spare};
use super::warp::Warp;
use super::{Halt, Lanes, lanes};
use crate::convert::f64_to_f32;
use crate::ptx::{
    Accuracy, FloatBinary, FloatUnary, MathFunction, Op, Operand, Rounding, ScalarType,
};
use crate::simd::Level;

/// `.ftz`, `.sat`, `.relu`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Finish {
    pub(super) flush: bool,
    pub(super) saturate: bool,
    pub(super) relu: bool,
}

/// The format of one element, and whether a register holds two.
pub(super) fn half_format(ty: ScalarType) -> Option<(Format, bool)> {
    match ty {
        ScalarType::F16 => Some((Format::F16, false)),
        ScalarType::F16x2 => Some((Format::F16, true)),
        ScalarType::Bf16 => Some((Format::BF16, false)),
        ScalarType::Bf16x2 => Some((Format::BF16, true)),
        _ => None,
    }
}

/// A subnormal 16-bit float to zero of its sign, where `flush`.
fn flush_half(format: Format, bits: u32, flush: bool) -> u32 {
    if flush && bits & format.infinity() == 0 {
        bits & 0x8000
    } else {
        bits
    }
}

/// Bits of a 16-bit float after `.ftz`, `.sat` and `.relu`.
pub(super) fn finish_half(format: Format, bits: u32, finish: Finish) -> u32 {
    let mut bits = flush_half(format, bits, finish.flush);
    let x = format.decode(bits);
    if finish.saturate {
        bits = if x > 0.0 {
            if x < 1.0 {
                bits
            } else {
                format.round(1.0, Rounding::NearestEven)
            }
        } else {
            0
        };
    }
    // Relu: negative values to +0; NaN stays.
    if finish.relu && (x < 0.0 || bits == 0x8000) {
        bits = 0;
    }
    bits
}

/// f32 bits after `.ftz`, `.sat` and `.relu`; NaN is canonical.
#[inline]
fn finish_f32(bits: u32, finish: Finish) -> u32 {
    let mut bits = canonical_f32(bits);
    if finish.flush {
        bits = flush_f32(bits);
    }
    if finish.saturate {
        bits = saturate_f32(bits);
    }
    if finish.relu && (f32::from_bits(bits) < 0.0 || bits == 0x8000_0000) {
        bits = 0;
    }
    bits
}

/// [`finish_f32`] of each lane.
fn finish_lanes(level: Level, value: Lanes<u32>, finish: Finish) -> Lanes<u32> {
    if finish.saturate || finish.relu {
        value.map(|x| finish_f32(x, finish))
    } else if finish.flush {
        level.map(&value, |x| flush_f32(canonical_f32(x)))
    } else {
        level.map(&value, canonical_f32)
    }
}

impl Machine<'_> {
    /// An f32 operand, flushed where the instruction flushes.
    #[inline]
    pub(super) fn read_f32<'w>(
        &self,
        warp: &'w Warp,
        operand: Operand,
        flush: bool,
        spare: &'w mut Spare<u32>,
    ) -> &'w Lanes<u32> {
        if flush {
            spare.insert(self.program.level.map(&self.read(warp, operand), flush_f32))
        } else {
            self.hold(warp, operand, spare)
        }
    }

    /// Float instructions but `setp` and `cvt`.
    pub(super) fn float(&self, warp: &mut Warp, site: &Site<'_>) -> Result<(), Halt> {
        let level = self.program.level;
        match &site.instruction.op {
            Op::FloatBinary {
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
            } => {
                let finish = Finish {
                    flush: *flush,
                    saturate: *saturate,
                    relu: false,
                };
                let rounding = rounding.unwrap_or(Rounding::NearestEven);
                match ty {
                    ScalarType::F32 => {
                        let mut spare_a = None;
                        let a = self.read_f32(warp, *a, *flush, &mut spare_a);
                        let mut spare_b = None;
                        let b = self.read_f32(warp, *b, *flush, &mut spare_b);
                        let value = if *xorsign {
                            let magnitude = |x: u32| x & 0x7fff_ffff;
                            let (x, y) = (a.map(magnitude), b.map(magnitude));
                            let value = binary_f32(level, *operation, rounding, *nan, &x, &y);
                            lanes(|lane| {
                                let sign = (a[lane] ^ b[lane]) & 0x8000_0000;
                                if value[lane] > 0x7f80_0000 {
                                    value[lane]
                                } else {
                                    value[lane] | sign
                                }
                            })
                        } else {
                            binary_f32(level, *operation, rounding, *nan, a, b)
                        };
                        self.write(warp, *d, site.mask, &finish_lanes(level, value, finish));
                    }
                    ScalarType::F64 => {
                        let (a, b) = (self.read::<u64>(warp, *a), self.read::<u64>(warp, *b));
                        let value =
                            lanes(|lane| binary_f64(*operation, rounding, *nan, a[lane], b[lane]));
                        self.write(warp, *d, site.mask, &value);
                    }
                    _ => {
                        let (a, b) = (self.read::<u32>(warp, *a), self.read::<u32>(warp, *b));
                        let value = by_halves(site, *ty, |format, half| {
                            let half = |bits| flush_half(format, half(bits), *flush);
                            lanes(|lane| {
                                let (x, y) = (half(a[lane]), half(b[lane]));
                                let bits = if *xorsign {
                                    let (p, q) = (x & 0x7fff, y & 0x7fff);
                                    let bits =
                                        binary_half(format, *operation, rounding, *nan, p, q);
                                    let sign = if bits > format.infinity() { 0 } else { x ^ y };
                                    bits | sign & 0x8000
                                } else {
                                    binary_half(format, *operation, rounding, *nan, x, y)
                                };
                                finish_half(format, bits, finish)
                            })
                        })?;
                        self.write(warp, *d, site.mask, &value);
                    }
                }
                Ok(())
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
                let finish = Finish {
                    flush: *flush,
                    saturate: *saturate,
                    relu: *relu,
                };
                match ty {
                    ScalarType::F32 => {
                        let mut spare_a = None;
                        let a = self.read_f32(warp, *a, *flush, &mut spare_a);
                        let mut spare_b = None;
                        let b = self.read_f32(warp, *b, *flush, &mut spare_b);
                        let mut spare_c = None;
                        let c = self.read_f32(warp, *c, *flush, &mut spare_c);
                        let f = f32::from_bits;
                        let value = if *rounding == Rounding::NearestEven {
                            level.multiply_add(a, b, c, fma_f32)
                        } else {
                            lanes(|lane| {
                                let wide = |x: u32| f64::from(f(x));
                                let (x, y, z) = (wide(a[lane]), wide(b[lane]), wide(c[lane]));
                                float::fma(Format::F32, x, y, z, *rounding)
                            })
                        };
                        self.write(warp, *d, site.mask, &finish_lanes(level, value, finish));
                    }
                    ScalarType::F64 => {
                        let f = f64::from_bits;
                        let (a, b, c) = (
                            self.read::<u64>(warp, *a),
                            self.read::<u64>(warp, *b),
                            self.read::<u64>(warp, *c),
                        );
                        let value = lanes(|lane| {
                            double::fma(f(a[lane]), f(b[lane]), f(c[lane]), *rounding)
                        });
                        self.write(warp, *d, site.mask, &value);
                    }
                    _ => {
                        let (a, b, c) = (
                            self.read::<u32>(warp, *a),
                            self.read::<u32>(warp, *b),
                            self.read::<u32>(warp, *c),
                        );
                        let value = by_halves(site, *ty, |format, half| {
                            lanes(|lane| {
                                let wide =
                                    |x: u32| format.decode(flush_half(format, half(x), *flush));
                                let (x, y, z) = (wide(a[lane]), wide(b[lane]), wide(c[lane]));
                                finish_half(format, float::fma(format, x, y, z, *rounding), finish)
                            })
                        })?;
                        self.write(warp, *d, site.mask, &value);
                    }
                }
                Ok(())
            }
            Op::FloatUnary {
                operation,
                flush,
                ty,
                d,
                a,
            } => {
                if *ty == ScalarType::F64 {
                    let sign = 1_u64 << 63;
                    let value = self.read::<u64>(warp, *a).map(|x| match operation {
                        FloatUnary::Neg => x ^ sign,
                        FloatUnary::Abs => x & !sign,
                    });
                    self.write(warp, *d, site.mask, &value);
                    return Ok(());
                }
                let sign = match ty {
                    ScalarType::F32 => 0x8000_0000_u32,
                    ScalarType::F16x2 | ScalarType::Bf16x2 => 0x8000_8000,
                    _ => 0x8000,
                };
                let mut spare_a = None;
                let a = self.read_f32(warp, *a, *flush && *ty == ScalarType::F32, &mut spare_a);
                let value = a.map(|x| match operation {
                    FloatUnary::Neg => x ^ sign,
                    FloatUnary::Abs => x & !sign,
                });
                let value = match half_format(*ty).filter(|_| *flush) {
                    None => value,
                    Some(_) => by_halves(site, *ty, |format, half| {
                        let finish = Finish {
                            flush: true,
                            ..Finish::default()
                        };
                        value.map(|x| finish_half(format, half(x), finish))
                    })?,
                };
                self.write(warp, *d, site.mask, &value);
                Ok(())
            }
            Op::Math {
                function,
                accuracy,
                flush,
                ty,
                d,
                a,
            } => {
                let rounding = match accuracy {
                    Accuracy::Approx | Accuracy::Full => Rounding::NearestEven,
                    Accuracy::Rounded(rounding) => *rounding,
                };
                let finish = Finish {
                    flush: *flush,
                    ..Finish::default()
                };
                match ty {
                    ScalarType::F32 => {
                        let mut spare_a = None;
                        let a = self.read_f32(warp, *a, *flush, &mut spare_a);
                        let value = if (*function, rounding)
                            == (MathFunction::Ex2, Rounding::NearestEven)
                        {
                            let value = level.map(a, |x| {
                                let x = f64::from(f32::from_bits(x));
                                f64_to_f32(function::ex2(x)).to_bits()
                            });
                            finish_lanes(level, value, finish)
                        } else {
                            lanes(|lane| {
                                // Lanes that do not execute are not worth a function's evaluation.
                                if site.mask >> lane & 1 == 0 {
                                    return 0;
                                }
                                let x = f64::from(f32::from_bits(a[lane]));
                                finish_f32(evaluate(*function, Format::F32, rounding, x), finish)
                            })
                        };
                        let options = &self.program.options;
                        let value = if *accuracy == Accuracy::Approx
                            && options.approx != Approx::Nearest
                        {
                            lanes(|lane| {
                                let bits =
                                    approximate::within(*function, a[lane], value[lane], options);
                                finish_f32(bits, finish)
                            })
                        } else {
                            value
                        };
                        self.write(warp, *d, site.mask, &value);
                    }
                    ScalarType::F64 => {
                        let value = self.read::<u64>(warp, *a).map(f64::from_bits);
                        // The gross approximations see and give the high 32 bits, subnormals as zero.
                        let high = |x: u64| {
                            let x = x & !0xffff_ffff;
                            if x & 0x7ff << 52 == 0 { x & 1 << 63 } else { x }
                        };
                        let gross = |x: f64, f: fn(f64) -> f64| {
                            let result = f(f64::from_bits(high(x.to_bits())));
                            if result.is_nan() {
                                double::NAN_F64
                            } else {
                                high(result.to_bits())
                            }
                        };
                        let value = value.map(|x| match (function, accuracy) {
                            (MathFunction::Rcp, Accuracy::Rounded(rounding)) => {
                                double::divide(1.0, x, *rounding)
                            }
                            (MathFunction::Sqrt, Accuracy::Rounded(rounding)) => {
                                double::square_root(x, *rounding)
                            }
                            (MathFunction::Rcp, _) => gross(x, |x| 1.0 / x),
                            (MathFunction::Rsqrt, _) if *flush => gross(x, function::rsqrt),
                            // The parser allows no other function of f64.
                            _ => function::rsqrt(x).to_bits(),
                        });
                        self.write(warp, *d, site.mask, &value);
                    }
                    _ => {
                        let a = self.read::<u32>(warp, *a);
                        let value = by_halves(site, *ty, |format, half| {
                            lanes(|lane| {
                                let bits = finish_half(format, half(a[lane]), finish);
                                let x = format.decode(bits);
                                finish_half(
                                    format,
                                    evaluate(*function, format, rounding, x),
                                    finish,
                                )
                            })
                        })?;
                        self.write(warp, *d, site.mask, &value);
                    }
                }
                Ok(())
            }
            Op::FloatDiv {
                accuracy,
                flush,
                ty,
                d,
                a,
                b,
            } => {
                if *ty == ScalarType::F64 {
                    let rounding = match accuracy {
                        Accuracy::Rounded(rounding) => *rounding,
                        Accuracy::Approx | Accuracy::Full => Rounding::NearestEven,
                    };
                    let (a, b) = (self.read::<u64>(warp, *a), self.read::<u64>(warp, *b));
                    let value = lanes(|lane| {
                        double::divide(f64::from_bits(a[lane]), f64::from_bits(b[lane]), rounding)
                    });
                    self.write(warp, *d, site.mask, &value);
                    return Ok(());
                }
                let (mut spare_a, mut spare_b) = (None, None);
                let a = self.read_f32(warp, *a, *flush, &mut spare_a);
                let b = self.read_f32(warp, *b, *flush, &mut spare_b);
                let finish = Finish {
                    flush: *flush,
                    ..Finish::default()
                };
                let value = lanes(|lane| {
                    let (x, y) = (f32::from_bits(a[lane]), f32::from_bits(b[lane]));
                    let bits = match accuracy {
                        Accuracy::Approx
                            if y.abs() > f32::from_bits(253 << 23) && y.is_finite() =>
                        {
                            // PTX ISA 9.7.3.8: a divisor beyond 2^126 gives 0, or NaN under infinity.
                            if x.is_finite() {
                                (0.0 * x * y.signum()).to_bits()
                            } else {
                                NAN_F32
                            }
                        }
                        Accuracy::Approx
                        | Accuracy::Full
                        | Accuracy::Rounded(Rounding::NearestEven) => (x / y).to_bits(),
                        Accuracy::Rounded(rounding) => {
                            float::divide(Format::F32, f64::from(x), f64::from(y), *rounding)
                        }
                    };
                    finish_f32(bits, finish)
                });
                self.write(warp, *d, site.mask, &value);
                Ok(())
            }
            _ => unreachable!("dispatch sends float instructions only"),
        }
    }
}

/// Applies `f` to the low half of each register and, for packed types, to the high half.
fn by_halves(
    site: &Site<'_>,
    ty: ScalarType,
    f: impl Fn(Format, fn(u32) -> u32) -> Lanes<u32>,
) -> Result<Lanes<u32>, Halt> {
    let Some((format, packed)) = half_format(ty) else {
        return Err(site.unsupported(format!("float arithmetic on {ty}")));
    };
    let low = f(format, |x| x & 0xffff);
    if !packed {
        return Ok(low);
    }
    let high = f(format, |x| x >> 16);
    Ok(lanes(|lane| low[lane] | high[lane] << 16))
}

fn binary_f32(
    level: Level,
    operation: FloatBinary,
    rounding: Rounding,
    nan: bool,
    a: &Lanes<u32>,
    b: &Lanes<u32>,
) -> Lanes<u32> {
    let f = f32::from_bits;
    let near = rounding == Rounding::NearestEven;
    let wide = |x: u32| f64::from(f(x));
    match operation {
        FloatBinary::Add if near => level.zip(a, b, |a, b| (f(a) + f(b)).to_bits()),
        FloatBinary::Sub if near => level.zip(a, b, |a, b| (f(a) - f(b)).to_bits()),
        FloatBinary::Mul if near => level.zip(a, b, |a, b| (f(a) * f(b)).to_bits()),
        FloatBinary::Add => {
            lanes(|lane| float::add(Format::F32, wide(a[lane]), wide(b[lane]), rounding))
        }
        FloatBinary::Sub => {
            lanes(|lane| float::add(Format::F32, wide(a[lane]), -wide(b[lane]), rounding))
        }
        FloatBinary::Mul => {
            lanes(|lane| float::multiply(Format::F32, wide(a[lane]), wide(b[lane]), rounding))
        }
        FloatBinary::Min | FloatBinary::Max => {
            let want_max = operation == FloatBinary::Max;
            level.zip(a, b, |a, b| extremum_f32(a, b, want_max, nan))
        }
    }
}

fn binary_f64(operation: FloatBinary, rounding: Rounding, nan: bool, a: u64, b: u64) -> u64 {
    let (x, y) = (f64::from_bits(a), f64::from_bits(b));
    match operation {
        FloatBinary::Add => double::add(x, y, rounding),
        FloatBinary::Sub => double::add(x, -y, rounding),
        FloatBinary::Mul => double::multiply(x, y, rounding),
        FloatBinary::Min => extremum((x, y), (a, b), double::NAN_F64, false, nan),
        FloatBinary::Max => extremum((x, y), (a, b), double::NAN_F64, true, nan),
    }
}

fn binary_half(
    format: Format,
    operation: FloatBinary,
    rounding: Rounding,
    nan: bool,
    a: u32,
    b: u32,
) -> u32 {
    let (x, y) = (format.decode(a), format.decode(b));
    match operation {
        FloatBinary::Add => float::add(format, x, y, rounding),
        FloatBinary::Sub => float::add(format, x, -y, rounding),
        FloatBinary::Mul => float::multiply(format, x, y, rounding),
        FloatBinary::Min => extremum((x, y), (a, b), NAN_HALF, false, nan),
        FloatBinary::Max => extremum((x, y), (a, b), NAN_HALF, true, nan),
    }
}

/// A function of one value, rounded to a format.
fn evaluate(function: MathFunction, format: Format, rounding: Rounding, x: f64) -> u32 {
    match function {
        MathFunction::Ex2 => format.round(function::ex2(x), rounding),
        MathFunction::Lg2 => format.round(function::lg2(x), rounding),
        MathFunction::Rcp => float::divide(format, 1.0, x, rounding),
        MathFunction::Sqrt => float::square_root(format, x, rounding),
        MathFunction::Rsqrt => format.round(function::rsqrt(x), rounding),
        MathFunction::Sin => format.round(function::sin(x), rounding),
        MathFunction::Cos => format.round(function::cos(x), rounding),
        MathFunction::Tanh => format.round(function::tanh(x), rounding),
    }
}
