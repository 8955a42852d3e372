//! The block operation of a tensor core: `c + sum of a[i] * b[i]`, as the hardware computes it.
//!
//! One exact, slow, scalar model over integers; `columns.rs` has the same function for whole fragments and is tested
//! against this one.
//!
//! * Operands are decoded to significand and exponent **without normalising subnormals**: the exponent of `x` is
//!   `max(floor(log2 |x|), emin(format))`.
//! * A product is exact; its exponent is the sum of the two exponents, not normalised. A zero product, and `c = 0`,
//!   take no part.
//! * `E` is the largest exponent among products and `c`; each magnitude is truncated toward zero to a multiple of
//!   `2^(E - F)`, then all are added exactly.
//! * The sum is rounded once: toward zero to f32, or to nearest even to f16.
//! * NaN in, `inf * 0` and `inf - inf` give the canonical NaN (`0x7fffffff`, `0x7fff`).
//!
//! Source: Khattak and Mikaitis (arXiv 2510.15884) and their measured vectors, which `suite/tensor_core.rs` replays;
//! the rules for NaN and infinity follow MMA-Sim and are not in the vectors.
//!
//! Can miss: what the vectors do not pin: the sign of a zero result (here `+0`), the exponent of a zero operand beside
//! a subnormal one, and the lower clamp of `E`.

/// Format of the operands `a` and `b`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    /// IEEE binary16.
    F16,
    /// bfloat16: the upper half of an f32.
    Bf16,
    /// f32 whose low 13 bits are ignored.
    Tf32,
    /// 8-bit float of 4 exponent and 3 fraction bits: no infinity, NaN is all ones.
    E4m3,
    /// 8-bit float of 5 exponent and 2 fraction bits.
    E5m2,
}

/// Format of the accumulators `c` and `d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Accumulator {
    /// IEEE binary16, rounded to nearest even.
    F16,
    /// IEEE binary32, rounded toward zero.
    F32,
}

/// Constants of one block operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Alignment {
    /// Products added in one block.
    pub terms: usize,
    /// `F`: bits kept below the largest exponent.
    pub fraction_bits: i32,
    /// Least `E`.
    pub exponent_floor: i32,
}

/// Canonical f32 NaN of the tensor core and of PTX arithmetic.
pub const NAN_F32: u32 = 0x7fff_ffff;
/// Canonical f16 NaN.
pub const NAN_F16: u16 = 0x7fff;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    /// `(-1)^negative * significand * 2^(exponent - fraction bits of the format)`, significand not 0.
    Finite {
        negative: bool,
        significand: u64,
        exponent: i32,
    },
    Zero,
    Infinite {
        negative: bool,
    },
    Nan,
}

/// Field widths of a format: exponent bits, fraction bits.
fn decode(bits: u32, exponent_bits: u32, fraction_bits: u32) -> Number {
    let negative = bits >> (exponent_bits + fraction_bits) & 1 == 1;
    let field = bits >> fraction_bits & ((1 << exponent_bits) - 1);
    let fraction = bits & ((1 << fraction_bits) - 1);
    let bias = (1_i32 << (exponent_bits - 1)) - 1;
    if field == (1 << exponent_bits) - 1 {
        return if fraction == 0 {
            Number::Infinite { negative }
        } else {
            Number::Nan
        };
    }
    if field == 0 && fraction == 0 {
        return Number::Zero;
    }
    let hidden = if field == 0 { 0 } else { 1 << fraction_bits };
    let significand = u64::from(fraction | hidden);
    Number::Finite {
        negative,
        significand,
        exponent: field.max(1).cast_signed() - bias,
    }
}

/// The exponent field of all ones is a number like the others, but for one NaN a sign.
fn decode_e4m3(bits: u32) -> Number {
    let (field, fraction) = (bits >> 3 & 15, bits & 7);
    if field < 15 {
        return decode(bits, 4, 3);
    }
    if fraction == 7 {
        return Number::Nan;
    }
    Number::Finite {
        negative: bits >> 7 == 1,
        significand: u64::from(8 | fraction),
        exponent: 8,
    }
}

impl Operand {
    /// Bits of the fraction.
    fn fraction_bits(self) -> i32 {
        match self {
            Self::F16 | Self::Tf32 => 10,
            Self::Bf16 => 7,
            Self::E4m3 => 3,
            Self::E5m2 => 2,
        }
    }

    fn decode(self, bits: u32) -> Number {
        match self {
            Self::F16 => decode(bits, 5, 10),
            Self::Bf16 => decode(bits, 8, 7),
            Self::Tf32 => decode(bits >> 13, 8, 10),
            Self::E5m2 => decode(bits & 0xff, 5, 2),
            Self::E4m3 => decode_e4m3(bits & 0xff),
        }
    }
}

impl Accumulator {
    fn fraction_bits(self) -> i32 {
        match self {
            Self::F16 => 10,
            Self::F32 => 23,
        }
    }

    fn decode(self, bits: u32) -> Number {
        match self {
            Self::F16 => decode(bits & 0xffff, 5, 10),
            Self::F32 => decode(bits, 8, 23),
        }
    }

    fn nan(self) -> u32 {
        match self {
            Self::F16 => u32::from(NAN_F16),
            Self::F32 => NAN_F32,
        }
    }

    fn infinity(self, negative: bool) -> u32 {
        match self {
            Self::F16 => 0x7c00 | u32::from(negative) << 15,
            Self::F32 => 0x7f80_0000 | u32::from(negative) << 31,
        }
    }
}

/// Bits of `c + sum a[i] * b[i]` for one block of `alignment.terms` products. Operands are bits of their format in the
/// low end of a word; `c` and the result are bits of the accumulator format.
pub fn block(
    alignment: Alignment,
    (a_format, b_format): (Operand, Operand),
    accumulator: Accumulator,
    a: &[u32],
    b: &[u32],
    c: u32,
) -> u32 {
    debug_assert_eq!(a.len(), alignment.terms);
    debug_assert_eq!(b.len(), alignment.terms);
    // (negative, significand, exponent of the value, fraction bits of the significand)
    let mut terms: Vec<(bool, u64, i32, i32)> = Vec::with_capacity(alignment.terms + 1);
    let mut infinity: Option<bool> = None;
    let mut infinite = |negative: bool, nan: &mut bool| match infinity {
        Some(sign) if sign != negative => *nan = true,
        _ => infinity = Some(negative),
    };
    let mut nan = false;
    for (&x, &y) in a.iter().zip(b) {
        match (a_format.decode(x), b_format.decode(y)) {
            (Number::Nan, _)
            | (_, Number::Nan)
            | (Number::Infinite { .. }, Number::Zero)
            | (Number::Zero, Number::Infinite { .. }) => nan = true,
            (Number::Zero, _) | (_, Number::Zero) => {}
            (
                Number::Infinite { negative: s },
                Number::Infinite { negative: t } | Number::Finite { negative: t, .. },
            )
            | (Number::Finite { negative: s, .. }, Number::Infinite { negative: t }) => {
                infinite(s != t, &mut nan);
            }
            (
                Number::Finite {
                    negative: s,
                    significand: m,
                    exponent: e,
                },
                Number::Finite {
                    negative: t,
                    significand: n,
                    exponent: f,
                },
            ) => terms.push((
                s != t,
                m * n,
                e + f,
                a_format.fraction_bits() + b_format.fraction_bits(),
            )),
        }
    }
    match accumulator.decode(c) {
        Number::Nan => nan = true,
        Number::Infinite { negative } => infinite(negative, &mut nan),
        Number::Zero => {}
        Number::Finite {
            negative,
            significand,
            exponent,
        } => {
            terms.push((negative, significand, exponent, accumulator.fraction_bits()));
        }
    }
    if nan {
        return accumulator.nan();
    }
    if let Some(negative) = infinity {
        return accumulator.infinity(negative);
    }
    let Some(largest) = terms.iter().map(|term| term.2).max() else {
        return 0;
    };
    let largest = largest.max(alignment.exponent_floor);
    let unit = largest - alignment.fraction_bits;
    let sum: i64 = terms
        .iter()
        .map(|&(negative, significand, exponent, fraction_bits)| {
            let magnitude = shift(significand, exponent - fraction_bits - unit).cast_signed();
            if negative { -magnitude } else { magnitude }
        })
        .sum();
    match accumulator {
        Accumulator::F32 => round_toward_zero_f32(sum, unit),
        Accumulator::F16 => u32::from(round_to_even_f16(sum, unit)),
    }
}

/// `floor(significand * 2^by)`; the callers keep the result within 40 bits.
fn shift(significand: u64, by: i32) -> u64 {
    if by >= 0 {
        significand << by
    } else {
        significand.checked_shr(by.unsigned_abs()).unwrap_or(0)
    }
}

/// Bits of `sum * 2^unit` as an accumulator of that format.
pub(super) fn round(accumulator: Accumulator, sum: i64, unit: i32) -> u32 {
    match accumulator {
        Accumulator::F32 => round_toward_zero_f32(sum, unit),
        Accumulator::F16 => u32::from(round_to_even_f16(sum, unit)),
    }
}

/// f32 bits of `sum * 2^unit`, rounded toward zero, overflow to infinity.
fn round_toward_zero_f32(sum: i64, unit: i32) -> u32 {
    let sign = u32::from(sum < 0) << 31;
    let magnitude = sum.unsigned_abs();
    if magnitude == 0 {
        return 0;
    }
    let exponent = magnitude.ilog2().cast_signed() + unit;
    if exponent > 127 {
        return sign | 0x7f80_0000;
    }
    let kept = exponent.max(-126);
    let significand = u32::try_from(shift(magnitude, unit + 23 - kept)).expect("24 bits at most");
    // The hidden bit of a normal number adds 1 to the exponent field.
    sign | (((kept + 126).cast_unsigned() << 23) + significand)
}

/// f16 bits of `sum * 2^unit`, rounded to nearest even, overflow to infinity.
fn round_to_even_f16(sum: i64, unit: i32) -> u16 {
    let sign = u16::from(sum < 0) << 15;
    let magnitude = sum.unsigned_abs();
    if magnitude == 0 {
        return 0;
    }
    let exponent = (magnitude.ilog2().cast_signed() + unit).max(-14);
    if exponent > 15 {
        return sign | 0x7c00;
    }
    let by = unit + 10 - exponent;
    let mut significand = shift(magnitude, by);
    if by < 0 {
        let places = by.unsigned_abs();
        // Twice the discarded part against one unit of the last kept place, in 128 bits: no overflow for any shift.
        let discarded = u128::from(magnitude) & ((1_u128 << places.min(127)) - 1);
        let half = 1_u128 << (places.min(127) - 1);
        if discarded > half || (discarded == half && significand & 1 == 1) {
            significand += 1;
        }
    }
    let field = u64::from((exponent + 14).cast_unsigned());
    let bits = (field << 10) + significand;
    if bits >= 0x7c00 {
        sign | 0x7c00
    } else {
        sign | u16::try_from(bits).expect("15 bits")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AMPERE: Alignment = Alignment {
        terms: 8,
        fraction_bits: 24,
        exponent_floor: -132,
    };

    fn f16(x: f32) -> u32 {
        u32::from(half::f16::from_f32(x).to_bits())
    }

    fn check(a: [f32; 8], b: [f32; 8], c: f32, expected: u32) {
        let got = block(
            AMPERE,
            (Operand::F16, Operand::F16),
            Accumulator::F32,
            &a.map(f16),
            &b.map(f16),
            c.to_bits(),
        );
        assert_eq!(
            got, expected,
            "{a:?} {b:?} {c}: {got:#010x} for {expected:#010x}"
        );
    }

    #[test]
    fn sums_without_truncation_are_exact() {
        check([1.0; 8], [2.0; 8], 3.0, 19.0_f32.to_bits());
        check([0.0; 8], [2.0; 8], 3.25, 3.25_f32.to_bits());
        check([0.0; 8], [2.0; 8], 0.0, 0);
        check([1.0; 8], [2.0; 8], -16.0, 0);
    }

    #[test]
    fn small_terms_are_truncated_one_by_one() {
        // Seven times 2^-25 beside 1: each is below 2^-24 and vanishes, though the sum would not.
        let mut b = [2.0_f32.powi(-12); 8];
        let mut a = [2.0_f32.powi(-13); 8];
        (a[0], b[0]) = (1.0, 1.0);
        check(a, b, 0.0, 1.0_f32.to_bits());
    }

    #[test]
    fn specials() {
        let inf = f32::INFINITY;
        check(
            [inf, 0., 0., 0., 0., 0., 0., 0.],
            [1.0; 8],
            0.0,
            inf.to_bits(),
        );
        check([inf; 8], [0.0; 8], 0.0, NAN_F32);
        check([inf, -inf, 0., 0., 0., 0., 0., 0.], [1.0; 8], 0.0, NAN_F32);
        check([inf, 0., 0., 0., 0., 0., 0., 0.], [1.0; 8], -inf, NAN_F32);
        check([f32::NAN; 8], [1.0; 8], 0.0, NAN_F32);
        check([1.0; 8], [1.0; 8], -inf, (-inf).to_bits());
    }

    #[test]
    fn f16_results_round_to_even() {
        // 2049 lies between 2048 and 2050.
        let a = [2048.0, 1.0, 0., 0., 0., 0., 0., 0.].map(f16);
        let b = [1.0; 8].map(f16);
        let got = block(
            AMPERE,
            (Operand::F16, Operand::F16),
            Accumulator::F16,
            &a,
            &b,
            0,
        );
        assert_eq!(got, f16(2048.0));
        let a = [2048.0, 3.0, 0., 0., 0., 0., 0., 0.].map(f16);
        let got = block(
            AMPERE,
            (Operand::F16, Operand::F16),
            Accumulator::F16,
            &a,
            &b,
            0,
        );
        assert_eq!(got, f16(2052.0));
    }
}
