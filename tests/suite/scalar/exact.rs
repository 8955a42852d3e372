//! Floats as exact dyadic numbers of any length, and one rounding to a format.

use std::cmp::Ordering;

/// A natural number, 32 bits a digit, lowest first, no leading zero digits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Natural(Vec<u32>);

impl Natural {
    fn trim(mut self) -> Self {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
        self
    }

    pub(crate) fn of(x: u128) -> Self {
        Self(
            (0..4)
                .map(|i| u32::try_from(x >> (32 * i) & 0xffff_ffff).unwrap())
                .collect(),
        )
        .trim()
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    fn bits(&self) -> u32 {
        self.0.last().map_or(0, |top| {
            u32::try_from(self.0.len()).unwrap() * 32 - top.leading_zeros()
        })
    }

    fn bit(&self, at: u32) -> bool {
        self.0
            .get(usize::try_from(at / 32).unwrap())
            .is_some_and(|digit| digit >> (at % 32) & 1 == 1)
    }

    fn left(&self, by: u32) -> Self {
        let mut digits = vec![0; usize::try_from(by / 32).unwrap()];
        let mut carry = 0_u64;
        for digit in &self.0 {
            carry |= u64::from(*digit) << (by % 32);
            digits.push(u32::try_from(carry & 0xffff_ffff).unwrap());
            carry >>= 32;
        }
        digits.push(u32::try_from(carry).unwrap());
        Self(digits).trim()
    }

    /// The low 64 bits of `self >> by`.
    fn right(&self, by: u32) -> u64 {
        (0..64).fold(0, |x, i| x | u64::from(self.bit(by + i)) << i)
    }

    fn any_below(&self, at: u32) -> bool {
        (0..at.min(self.bits())).any(|i| self.bit(i))
    }

    fn compare(&self, other: &Self) -> Ordering {
        self.0
            .len()
            .cmp(&other.0.len())
            .then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }

    fn plus(&self, other: &Self) -> Self {
        let mut digits = Vec::new();
        let mut carry = 0_u64;
        for i in 0..self.0.len().max(other.0.len()) + 1 {
            let digit = |n: &Self| u64::from(n.0.get(i).copied().unwrap_or(0));
            carry += digit(self) + digit(other);
            digits.push(u32::try_from(carry & 0xffff_ffff).unwrap());
            carry >>= 32;
        }
        Self(digits).trim()
    }

    /// `self - other`, not below zero.
    fn minus(&self, other: &Self) -> Self {
        let mut digits = Vec::new();
        let mut borrow = 0_i64;
        for (i, digit) in self.0.iter().enumerate() {
            let difference =
                i64::from(*digit) - i64::from(other.0.get(i).copied().unwrap_or(0)) + borrow;
            borrow = if difference < 0 { -1 } else { 0 };
            digits.push(u32::try_from(difference & 0xffff_ffff).unwrap());
        }
        Self(digits).trim()
    }

    fn times(&self, other: &Self) -> Self {
        let mut sum = Self::default();
        for (i, digit) in self.0.iter().enumerate() {
            for (j, factor) in other.0.iter().enumerate() {
                let product = Self::of(u128::from(*digit) * u128::from(*factor));
                sum = sum.plus(&product.left(32 * u32::try_from(i + j).unwrap()));
            }
        }
        sum
    }
}

/// A format: exponent bits, fraction bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format(pub(crate) u32, pub(crate) u32);

pub(crate) const F16: Format = Format(5, 10);
pub(crate) const BF16: Format = Format(8, 7);
pub(crate) const F32: Format = Format(8, 23);
pub(crate) const F64: Format = Format(11, 52);

impl Format {
    pub(crate) fn infinity(self) -> u64 {
        ((1 << self.0) - 1) << self.1
    }
    pub(crate) fn sign(self) -> u64 {
        1 << (self.0 + self.1)
    }
    pub(crate) fn nan(self) -> u64 {
        self.sign() - 1
    }
    fn bias(self) -> i32 {
        (1 << (self.0 - 1)) - 1
    }
    pub(crate) fn is_nan(self, bits: u64) -> bool {
        bits & (self.sign() - 1) > self.infinity()
    }
}

/// An exact value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Real {
    Nan,
    Infinite(bool),
    /// `(-1)^negative * magnitude * 2^exponent`; a zero keeps its sign.
    Finite {
        negative: bool,
        magnitude: Natural,
        exponent: i32,
    },
}

impl Real {
    pub(crate) fn decode(format: Format, bits: u64) -> Self {
        let negative = bits & format.sign() != 0;
        let field = bits >> format.1 & ((1 << format.0) - 1);
        let fraction = bits & ((1 << format.1) - 1);
        if format.is_nan(bits) {
            return Self::Nan;
        }
        if bits & (format.sign() - 1) == format.infinity() {
            return Self::Infinite(negative);
        }
        let magnitude = if field == 0 {
            fraction
        } else {
            fraction | 1 << format.1
        };
        let exponent =
            i32::try_from(field.max(1)).unwrap() - format.bias() - i32::try_from(format.1).unwrap();
        Self::Finite {
            negative,
            magnitude: Natural::of(u128::from(magnitude)),
            exponent,
        }
    }

    pub(crate) fn integer(x: i128) -> Self {
        Self::Finite {
            negative: x < 0,
            magnitude: Natural::of(x.unsigned_abs()),
            exponent: 0,
        }
    }

    pub(crate) fn negated(self) -> Self {
        match self {
            Self::Nan => Self::Nan,
            Self::Infinite(negative) => Self::Infinite(!negative),
            Self::Finite {
                negative,
                magnitude,
                exponent,
            } => Self::Finite {
                negative: !negative,
                magnitude,
                exponent,
            },
        }
    }

    pub(crate) fn is_negative(&self) -> bool {
        match self {
            Self::Nan => false,
            Self::Infinite(negative) | Self::Finite { negative, .. } => *negative,
        }
    }

    pub(crate) fn is_zero(&self) -> bool {
        matches!(self, Self::Finite { magnitude, .. } if magnitude.is_zero())
    }

    /// `down`: the sum of opposite values is a negative zero.
    pub(crate) fn plus(&self, other: &Self, down: bool) -> Self {
        match (self, other) {
            (Self::Nan, _) | (_, Self::Nan) => Self::Nan,
            (Self::Infinite(a), Self::Infinite(b)) => {
                if a == b {
                    Self::Infinite(*a)
                } else {
                    Self::Nan
                }
            }
            (Self::Infinite(a), Self::Finite { .. }) | (Self::Finite { .. }, Self::Infinite(a)) => {
                Self::Infinite(*a)
            }
            (
                Self::Finite {
                    negative: s,
                    magnitude: m,
                    exponent: e,
                },
                Self::Finite {
                    negative: t,
                    magnitude: n,
                    exponent: f,
                },
            ) => {
                if m.is_zero() && n.is_zero() {
                    let negative = if s == t { *s } else { down };
                    return Self::Finite {
                        negative,
                        magnitude: Natural::default(),
                        exponent: 0,
                    };
                }
                let exponent = *e.min(f);
                let m = m.left((e - exponent).unsigned_abs());
                let n = n.left((f - exponent).unsigned_abs());
                let (negative, magnitude) = if s == t {
                    (*s, m.plus(&n))
                } else {
                    match m.compare(&n) {
                        Ordering::Greater => (*s, m.minus(&n)),
                        Ordering::Less => (*t, n.minus(&m)),
                        Ordering::Equal => (down, Natural::default()),
                    }
                };
                Self::Finite {
                    negative,
                    magnitude,
                    exponent,
                }
            }
        }
    }

    pub(crate) fn times(&self, other: &Self) -> Self {
        let negative = self.is_negative() != other.is_negative();
        match (self, other) {
            (Self::Nan, _) | (_, Self::Nan) => Self::Nan,
            (Self::Infinite(_), x) | (x, Self::Infinite(_)) => {
                if x.is_zero() {
                    Self::Nan
                } else {
                    Self::Infinite(negative)
                }
            }
            (
                Self::Finite {
                    magnitude: m,
                    exponent: e,
                    ..
                },
                Self::Finite {
                    magnitude: n,
                    exponent: f,
                    ..
                },
            ) => Self::Finite {
                negative,
                magnitude: m.times(n),
                exponent: e + f,
            },
        }
    }

    /// A quotient of format values with a last bit that stands for the rest, enough for any format here.
    pub(crate) fn over(&self, other: &Self) -> Self {
        let negative = self.is_negative() != other.is_negative();
        match (self, other) {
            (Self::Nan, _) | (_, Self::Nan) | (Self::Infinite(_), Self::Infinite(_)) => Self::Nan,
            (Self::Infinite(_), _) => Self::Infinite(negative),
            (_, Self::Infinite(_)) => Self::Finite {
                negative,
                magnitude: Natural::default(),
                exponent: 0,
            },
            (
                Self::Finite {
                    magnitude: m,
                    exponent: e,
                    ..
                },
                Self::Finite {
                    magnitude: n,
                    exponent: f,
                    ..
                },
            ) => {
                if n.is_zero() {
                    return if m.is_zero() {
                        Self::Nan
                    } else {
                        Self::Infinite(negative)
                    };
                }
                let (m, n) = (m.clone(), u128::from(n.right(0)));
                // Long division, bit by bit: 120 bits behind the point.
                let mut rest = 0_u128;
                let mut quotient = Natural::default();
                let top = m.bits();
                for i in 0..top + 120 {
                    let next = i < top && m.bit(top - 1 - i);
                    rest = rest << 1 | u128::from(next);
                    quotient = quotient.left(1);
                    if rest >= n {
                        rest -= n;
                        quotient = quotient.plus(&Natural::of(1));
                    }
                }
                let magnitude = quotient.left(1).plus(&Natural::of(u128::from(rest != 0)));
                Self::Finite {
                    negative,
                    magnitude,
                    exponent: e - f - 121,
                }
            }
        }
    }

    /// A square root, likewise.
    pub(crate) fn root(&self) -> Self {
        match self {
            Self::Finite {
                magnitude,
                exponent,
                ..
            } if !magnitude.is_zero() => {
                if self.is_negative() {
                    return Self::Nan;
                }
                // As many bits as fit below the square of 2^62.
                let by = 123 - magnitude.bits();
                let mut exponent = *exponent - i32::try_from(by).unwrap();
                let mut square = u128::from(magnitude.right(0)) << by;
                if exponent % 2 != 0 {
                    square <<= 1;
                    exponent -= 1;
                }
                let mut root = 0_u128;
                for bit in (0..62).rev() {
                    let candidate = root | 1 << bit;
                    if candidate * candidate <= square {
                        root = candidate;
                    }
                }
                let magnitude = Natural::of(root << 1 | u128::from(root * root != square));
                Self::Finite {
                    negative: false,
                    magnitude,
                    exponent: exponent / 2 - 1,
                }
            }
            Self::Infinite(true) => Self::Nan,
            Self::Nan | Self::Infinite(false) | Self::Finite { .. } => self.clone(),
        }
    }

    /// Bits of the value in a format; `mode` is PTX's `rn`, `rz`, `rm`, `rp` or `rna`.
    pub(crate) fn round(&self, format: Format, mode: &str) -> u64 {
        let (negative, magnitude, exponent) = match self {
            Self::Nan => return format.nan(),
            Self::Infinite(negative) => {
                return format.infinity() | if *negative { format.sign() } else { 0 };
            }
            Self::Finite {
                negative,
                magnitude,
                exponent,
            } => (*negative, magnitude, *exponent),
        };
        let sign = if negative { format.sign() } else { 0 };
        if magnitude.is_zero() {
            return sign;
        }
        let fraction = i32::try_from(format.1).unwrap();
        let top = exponent + i32::try_from(magnitude.bits()).unwrap() - 1;
        let kept = top.max(1 - format.bias());
        let drop = kept - fraction - exponent;
        let (significand, half, rest) = if drop <= 0 {
            (magnitude.left(drop.unsigned_abs()).right(0), false, false)
        } else {
            let at = drop.unsigned_abs();
            (
                magnitude.right(at),
                magnitude.bit(at - 1),
                magnitude.any_below(at - 1),
            )
        };
        let up = match mode {
            "rn" => half && (rest || significand & 1 == 1),
            "rna" => half,
            "rz" => false,
            "rm" => negative && (half || rest),
            "rp" => !negative && (half || rest),
            _ => panic!("rounding {mode}"),
        };
        let field = u64::try_from(kept + format.bias() - 1).unwrap();
        let bits = (field << format.1) + significand + u64::from(up);
        if bits < format.infinity() {
            return sign | bits;
        }
        let stays = match mode {
            "rz" => true,
            "rm" => !negative,
            "rp" => negative,
            _ => false,
        };
        sign | (format.infinity() - u64::from(stays))
    }

    /// To an integer value, by PTX's `rni`, `rzi`, `rmi`, `rpi`; `None` for NaN.
    pub(crate) fn to_integer(&self, mode: &str) -> Option<i128> {
        let (negative, magnitude, exponent) = match self {
            Self::Nan => return None,
            Self::Infinite(negative) => return Some(if *negative { i128::MIN } else { i128::MAX }),
            Self::Finite {
                negative,
                magnitude,
                exponent,
            } => (*negative, magnitude, *exponent),
        };
        if exponent >= 0 {
            if exponent > 60 && !magnitude.is_zero() {
                return Some(if negative { i128::MIN } else { i128::MAX });
            }
            let whole = i128::from(magnitude.right(0)) << exponent;
            return Some(if negative { -whole } else { whole });
        }
        let at = exponent.unsigned_abs();
        let (half, rest) = (magnitude.bit(at - 1), magnitude.any_below(at - 1));
        let mut whole = i128::from(magnitude.right(at));
        let up = match mode {
            "rni" => half && (rest || whole & 1 == 1),
            "rzi" => false,
            "rmi" => negative && (half || rest),
            "rpi" => !negative && (half || rest),
            _ => panic!("rounding {mode}"),
        };
        whole += i128::from(up);
        Some(if negative { -whole } else { whole })
    }

    /// `None` if one is NaN.
    pub(crate) fn compare(&self, other: &Self) -> Option<Ordering> {
        let difference = match (self, other) {
            (Self::Nan, _) | (_, Self::Nan) => return None,
            (Self::Infinite(a), Self::Infinite(b)) if a == b => return Some(Ordering::Equal),
            _ => self.plus(&other.clone().negated(), false),
        };
        Some(if difference.is_zero() {
            Ordering::Equal
        } else if difference.is_negative() {
            Ordering::Less
        } else {
            Ordering::Greater
        })
    }
}
