//! Integer operations of PTX ISA 9.7.1 and 9.7.8 on words of 32 and 64 bits. Narrower types are computed in 32 bits and
//! cut by the caller.

use crate::convert::{low_u32, low_u64};

/// A register's bits: `u32` or `u64`.
pub(crate) trait Word: Copy + Eq + Ord + Default {
    /// Width.
    const BITS: u32;
    fn from_u64(x: u64) -> Self;
    fn to_u64(self) -> u64;
    fn from_u32(x: u32) -> Self;
    fn add(self, b: Self) -> Self;
    fn sub(self, b: Self) -> Self;
    fn mul_lo(self, b: Self) -> Self;
    fn mul_hi(self, b: Self, signed: bool) -> Self;
    fn div(self, b: Self, signed: bool) -> Self;
    fn rem(self, b: Self, signed: bool) -> Self;
    fn less(self, b: Self, signed: bool) -> bool;
    fn and(self, b: Self) -> Self;
    fn or(self, b: Self) -> Self;
    fn xor(self, b: Self) -> Self;
    fn not(self) -> Self;
    fn shl(self, by: u32) -> Self;
    fn shr(self, by: u32, signed: bool) -> Self;
    fn ones(self) -> u32;
    fn leading_zeros(self) -> u32;
    fn reversed(self) -> Self;
    fn is_negative(self) -> bool;
}

macro_rules! word {
    ($u:ty, $from_u64:expr, $hi_unsigned:expr, $hi_signed:expr) => {
        impl Word for $u {
            const BITS: u32 = <$u>::BITS;
            #[inline]
            fn from_u64(x: u64) -> Self {
                ($from_u64)(x)
            }
            #[inline]
            fn to_u64(self) -> u64 {
                u64::from(self)
            }
            #[inline]
            fn from_u32(x: u32) -> Self {
                <$u>::from(x)
            }
            #[inline]
            fn add(self, b: Self) -> Self {
                self.wrapping_add(b)
            }
            #[inline]
            fn sub(self, b: Self) -> Self {
                self.wrapping_sub(b)
            }
            #[inline]
            fn mul_lo(self, b: Self) -> Self {
                self.wrapping_mul(b)
            }
            #[inline]
            fn mul_hi(self, b: Self, signed: bool) -> Self {
                if signed {
                    ($hi_signed)(self, b)
                } else {
                    ($hi_unsigned)(self, b)
                }
            }
            #[inline]
            fn div(self, b: Self, signed: bool) -> Self {
                if b == 0 {
                    // Unspecified by PTX; all ones, as GPUs give.
                    Self::MAX
                } else if signed {
                    self.cast_signed()
                        .wrapping_div(b.cast_signed())
                        .cast_unsigned()
                } else {
                    self / b
                }
            }
            #[inline]
            fn rem(self, b: Self, signed: bool) -> Self {
                if b == 0 {
                    // Unspecified by PTX; the dividend, as GPUs give.
                    self
                } else if signed {
                    self.cast_signed()
                        .wrapping_rem(b.cast_signed())
                        .cast_unsigned()
                } else {
                    self % b
                }
            }
            #[inline]
            fn less(self, b: Self, signed: bool) -> bool {
                if signed {
                    self.cast_signed() < b.cast_signed()
                } else {
                    self < b
                }
            }
            #[inline]
            fn and(self, b: Self) -> Self {
                self & b
            }
            #[inline]
            fn or(self, b: Self) -> Self {
                self | b
            }
            #[inline]
            fn xor(self, b: Self) -> Self {
                self ^ b
            }
            #[inline]
            fn not(self) -> Self {
                !self
            }
            #[inline]
            fn shl(self, by: u32) -> Self {
                self.checked_shl(by).unwrap_or(0)
            }
            #[inline]
            fn shr(self, by: u32, signed: bool) -> Self {
                if signed {
                    (self.cast_signed() >> by.min(Self::BITS - 1)).cast_unsigned()
                } else {
                    self.checked_shr(by).unwrap_or(0)
                }
            }
            #[inline]
            fn ones(self) -> u32 {
                self.count_ones()
            }
            #[inline]
            fn leading_zeros(self) -> u32 {
                <$u>::leading_zeros(self)
            }
            #[inline]
            fn reversed(self) -> Self {
                self.reverse_bits()
            }
            #[inline]
            fn is_negative(self) -> bool {
                self.cast_signed() < 0
            }
        }
    };
}

word!(
    u32,
    low_u32,
    |a, b| low_u32((u64::from(a) * u64::from(b)) >> 32),
    |a: u32, b: u32| low_u32(
        ((i64::from(a.cast_signed()) * i64::from(b.cast_signed())) >> 32).cast_unsigned()
    )
);
word!(
    u64,
    |x| x,
    |a, b| low_u64((u128::from(a) * u128::from(b)) >> 64),
    |a: u64, b: u64| low_u64(
        ((i128::from(a.cast_signed()) * i128::from(b.cast_signed())) >> 64).cast_unsigned()
    )
);

/// Low `bits` bits of `x` with its bit `bits - 1` copied upward.
#[inline]
pub(crate) fn sign_extend(x: u64, bits: u32) -> u64 {
    let by = 64 - bits;
    ((x << by).cast_signed() >> by).cast_unsigned()
}

/// `bfe`: `count` bits of `a` from bit `at`; beyond the word, zeros or (signed) copies of the sign.
pub(crate) fn bit_field_extract<W: Word>(a: W, at: u32, count: u32, signed: bool) -> W {
    let (at, count) = (at & 255, count & 255);
    if count == 0 {
        return W::default();
    }
    let sign_bit = (at + count - 1).min(W::BITS - 1);
    let negative = signed && a.shr(sign_bit, false).to_u64() & 1 == 1;
    // Bits from `at` up to the sign bit, then the fill.
    let present = if at <= sign_bit { sign_bit - at + 1 } else { 0 };
    let field = a.shr(at, false).and(low_ones::<W>(present));
    if negative {
        field.or(low_ones::<W>(present).not())
    } else {
        field
    }
}

/// `bfi`: the low `count` bits of `a` put into `b` at bit `at`.
pub(crate) fn bit_field_insert<W: Word>(a: W, b: W, at: u32, count: u32) -> W {
    let (at, count) = (at & 255, count & 255);
    let mask = low_ones::<W>(count).shl(at);
    b.and(mask.not()).or(a.shl(at).and(mask))
}

fn low_ones<W: Word>(count: u32) -> W {
    let all = W::default().not();
    all.shl(count).not()
}

/// `bfind`: index of the highest bit that differs from the sign (signed) or that is set; all ones where there is none.
pub(crate) fn bit_find<W: Word>(a: W, signed: bool, shift_amount: bool) -> u32 {
    let a = if signed && a.is_negative() {
        a.not()
    } else {
        a
    };
    if a == W::default() {
        return u32::MAX;
    }
    if shift_amount {
        a.leading_zeros()
    } else {
        W::BITS - 1 - a.leading_zeros()
    }
}

/// `prmt` without a mode: each nibble of `selector` picks a byte of `b:a`, bit 3 replicates its sign.
pub(crate) fn permute(a: u32, b: u32, selector: u32) -> u32 {
    let bytes = u64::from(b) << 32 | u64::from(a);
    let mut out = 0;
    for i in 0..4 {
        let nibble = selector >> (4 * i) & 15;
        let byte = low_u32(bytes >> (8 * (nibble & 7)) & 255);
        let byte = if nibble & 8 == 0 {
            byte
        } else if byte & 0x80 != 0 {
            0xff
        } else {
            0
        };
        out |= byte << (8 * i);
    }
    out
}

/// The selector that a `prmt` mode stands for.
pub(crate) fn permute_selector(mode: crate::ptx::PrmtMode, c: u32) -> u32 {
    use crate::ptx::PrmtMode::{B4e, Ecl, Ecr, F4e, Rc8, Rc16};
    let row = usize::try_from(c & 3).expect("2 bits");
    match mode {
        F4e => [0x3210, 0x4321, 0x5432, 0x6543][row],
        B4e => [0x5670, 0x6701, 0x7012, 0x0123][row],
        Rc8 => [0x0000, 0x1111, 0x2222, 0x3333][row],
        Ecl => [0x3210, 0x3211, 0x3222, 0x3333][row],
        Ecr => [0x0000, 0x1110, 0x2210, 0x3210][row],
        Rc16 => [0x1010, 0x3232, 0x1010, 0x3232][row],
    }
}

/// `lop3`: bit `4 a + 2 b + c` of `table`, bit by bit.
pub(crate) fn lop3(a: u32, b: u32, c: u32, table: u8) -> u32 {
    let mut out = 0;
    for row in 0..8 {
        if table >> row & 1 == 1 {
            let pick = |x: u32, bit: u32| if row >> bit & 1 == 1 { x } else { !x };
            out |= pick(a, 2) & pick(b, 1) & pick(c, 0);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shifts_clamp() {
        assert_eq!(
            (
                0xff_u32.shl(32),
                0xff_u32.shr(40, false),
                0x8000_0000_u32.shr(99, true)
            ),
            (0, 0, u32::MAX)
        );
        assert_eq!(
            (1_u64.shl(63), (1_u64 << 63).shr(64, true)),
            (1 << 63, u64::MAX)
        );
    }

    #[test]
    fn high_products() {
        let minus_two = (-2_i32).cast_unsigned();
        assert_eq!(minus_two.mul_hi(3, true), u32::MAX);
        assert_eq!(minus_two.mul_hi(3, false), 2);
        assert_eq!(u64::MAX.mul_hi(u64::MAX, false), u64::MAX - 1);
        assert_eq!(u64::MAX.mul_hi(u64::MAX, true), 0);
        assert_eq!(0x8000_0000_u32.div(u32::MAX, true), 0x8000_0000);
        assert_eq!((7_u32.div(0, false), 7_u32.rem(0, true)), (u32::MAX, 7));
    }

    #[test]
    fn fields() {
        assert_eq!(bit_field_extract(0xf0_u32, 4, 4, false), 15);
        assert_eq!(bit_field_extract(0xf0_u32, 4, 4, true), u32::MAX);
        assert_eq!(bit_field_extract(0x8000_0000_u32, 28, 8, true), 0xffff_fff8);
        assert_eq!(bit_field_extract(0x8000_0000_u32, 40, 8, true), u32::MAX);
        assert_eq!(bit_field_extract(0x8000_0000_u32, 40, 8, false), 0);
        assert_eq!(bit_field_insert(0xabcd_u32, 0xffff_ffff, 8, 8), 0xffff_cdff);
        assert_eq!(
            bit_field_insert(0xabcd_u32, 0x1111_1111, 40, 8),
            0x1111_1111
        );
        assert_eq!(bit_field_insert(u32::MAX, 0, 16, 32), 0xffff_0000);
        assert_eq!(bit_find(0_u32, false, false), u32::MAX);
        assert_eq!(bit_find(u32::MAX, true, false), u32::MAX);
        assert_eq!(
            (bit_find(8_u32, false, false), bit_find(8_u32, false, true)),
            (3, 28)
        );
        assert_eq!((-9_i32).cast_unsigned(), !8);
        assert_eq!(bit_find(!8_u32, true, false), 3);
    }

    #[test]
    fn bytes_and_tables() {
        assert_eq!(permute(0x3322_1180, 0x7766_5544, 0x7608), 0x7766_80ff);
        assert_eq!(permute_selector(crate::ptx::PrmtMode::Rc16, 1), 0x3232);
        assert_eq!(lop3(0b1100, 0b1010, 0, 0xc0) & 15, 0b1000);
        assert_eq!(
            lop3(0xf0f0, 0xcccc, 0xaaaa, 0x96) & 0xffff,
            0xf0f0 ^ 0xcccc ^ 0xaaaa
        );
        assert_eq!(sign_extend(0x80, 8), 0xffff_ffff_ffff_ff80);
    }
}
