//! The 8-bit floats of PTX: `e4m3` (no infinity, one NaN a sign, largest 448) and `e5m2` (as IEEE would have it,
//! largest finite 57344).

use super::float::Format;
use crate::convert::{low_u32, u64_to_f64};
use crate::ptx::{Rounding, ScalarType};

/// What a float of few bits holds: sign, then `significand * 2^exponent`. A subnormal number has the exponent of the
/// format's least normal one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Number {
    Finite(bool, u64, i32),
    Infinite(bool),
    Nan,
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ByteFloat {
    E4m3,
    E5m2,
}

impl ByteFloat {
    /// The element of a packed type.
    pub(crate) fn of(ty: ScalarType) -> Option<Self> {
        if matches!(ty, ScalarType::E4m3 | ScalarType::E4m3x2) {
            Some(Self::E4m3)
        } else if matches!(ty, ScalarType::E5m2 | ScalarType::E5m2x2) {
            Some(Self::E5m2)
        } else {
            None
        }
    }

    /// Bits of the fraction.
    pub(crate) fn fraction_bits(self) -> i32 {
        match self {
            Self::E4m3 => 3,
            Self::E5m2 => 2,
        }
    }

    /// What a byte holds.
    pub(crate) fn number(self, byte: u32) -> Number {
        let (fraction_bits, bias) = match self {
            Self::E4m3 => (3, 7),
            Self::E5m2 => (2, 15),
        };
        let negative = byte >> 7 & 1 == 1;
        let field = byte >> fraction_bits & ((1 << (7 - fraction_bits)) - 1);
        let fraction = byte & ((1 << fraction_bits) - 1);
        match self {
            Self::E4m3 if byte & 0x7f == 0x7f => Number::Nan,
            Self::E5m2 if field == 31 && fraction == 0 => Number::Infinite(negative),
            Self::E5m2 if field == 31 => Number::Nan,
            Self::E4m3 | Self::E5m2 => {
                let hidden = if field == 0 { 0 } else { 1 << fraction_bits };
                let exponent = field.max(1).cast_signed() - bias - self.fraction_bits();
                Number::Finite(negative, u64::from(fraction | hidden), exponent)
            }
        }
    }

    /// Value of a byte, exact.
    pub(crate) fn decode(self, byte: u32) -> f64 {
        let signed = |negative: bool, magnitude: f64| if negative { -magnitude } else { magnitude };
        match self.number(byte) {
            Number::Nan => f64::NAN,
            Number::Infinite(negative) => signed(negative, f64::INFINITY),
            Number::Finite(negative, significand, exponent) => {
                let unit = u64::from((1023 + exponent).unsigned_abs()) << 52;
                signed(negative, u64_to_f64(significand) * f64::from_bits(unit))
            }
        }
    }

    /// `x` rounded to nearest even; beyond the largest finite number that number, NaN is `0x7f`.
    pub(crate) fn encode(self, x: f64) -> u32 {
        if x.is_nan() {
            return 0x7f;
        }
        // Five exponent bits hold both: scaled by 2^-8, e4m3 has the subnormals and fields of such a format.
        let (format, scaled, largest) = match self {
            Self::E5m2 => (
                Format {
                    exponent_bits: 5,
                    fraction_bits: 2,
                },
                x,
                0x7b,
            ),
            Self::E4m3 => (
                Format {
                    exponent_bits: 5,
                    fraction_bits: 3,
                },
                x * f64::from_bits((1023 - 8) << 52),
                0x7e,
            ),
        };
        let bits = format.round(scaled, Rounding::NearestEven);
        let sign_at = format.exponent_bits + format.fraction_bits;
        let magnitude = (bits & ((1 << sign_at) - 1)).min(largest);
        low_u32(u64::from(magnitude | (bits >> sign_at & 1) << 7))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_numbers() {
        let is = |byte: u32, x: f64| {
            assert_eq!(
                ByteFloat::E4m3.decode(byte).to_bits(),
                x.to_bits(),
                "{byte:#x}"
            );
        };
        is(0x38, 1.0);
        is(0x7e, 448.0);
        is(0x81, -(2.0_f64.powi(-9)));
        assert!(ByteFloat::E4m3.decode(0xff).is_nan());
        assert_eq!(ByteFloat::E5m2.number(0x7c), Number::Infinite(false));
        assert_eq!(ByteFloat::E5m2.number(0x3c), Number::Finite(false, 4, -2));
        for byte in 0..256 {
            let wide = Format::F16.decode(byte << 8);
            let found = ByteFloat::E5m2.decode(byte);
            assert!(
                found.to_bits() == wide.to_bits() || found.is_nan() && wide.is_nan(),
                "{byte:#x}"
            );
        }
    }

    #[test]
    fn every_byte_comes_back() {
        for float in [ByteFloat::E4m3, ByteFloat::E5m2] {
            for byte in 0..256 {
                let value = float.decode(byte);
                if value.is_finite() {
                    assert_eq!(float.encode(value), byte, "{float:?} {byte:#x}");
                }
            }
        }
    }

    #[test]
    fn rounding_and_saturation() {
        let check = |float: ByteFloat, x: f64, byte: u32| {
            assert_eq!(float.encode(x), byte, "{float:?} {x}");
        };
        check(ByteFloat::E4m3, 448.0, 0x7e);
        check(ByteFloat::E4m3, 1e9, 0x7e);
        check(ByteFloat::E4m3, f64::NEG_INFINITY, 0xfe);
        check(ByteFloat::E4m3, f64::NAN, 0x7f);
        check(ByteFloat::E4m3, 1.0, 0x38);
        // Halfway between 1 and 1.125, to even; halfway between 0 and the least subnormal, to zero.
        check(ByteFloat::E4m3, 1.0625, 0x38);
        check(ByteFloat::E4m3, 1.1875, 0x3a);
        check(ByteFloat::E4m3, 2.0_f64.powi(-10), 0);
        check(ByteFloat::E4m3, -1.5 * 2.0_f64.powi(-10), 0x81);
        check(ByteFloat::E5m2, 57344.0, 0x7b);
        check(ByteFloat::E5m2, f64::INFINITY, 0x7b);
        check(ByteFloat::E5m2, 1.0, 0x3c);
        for (float, byte, value) in [
            (ByteFloat::E5m2, 0x7c, f64::INFINITY),
            (ByteFloat::E4m3, 0x7e, 448.0),
            (ByteFloat::E4m3, 0x01, 2.0_f64.powi(-9)),
            (ByteFloat::E4m3, 0xb8, -1.0),
        ] {
            assert_eq!(float.decode(byte).to_bits(), value.to_bits());
        }
    }
}
