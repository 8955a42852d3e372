//! Intervals of integers that may have outgrown their register.

use crate::ptx::{ScalarType, TypeKind};

/// Beyond what any chain of instructions reaches that matters.
pub(super) const HUGE: i128 = 1 << 100;

/// What a register holds in any thread, as a number of unbounded size: the register has it modulo its width.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Number {
    pub(super) low: i128,
    pub(super) high: i128,
    /// Bits of which nothing is computed yet: whoever reads them may take them for signed or not.
    pub(super) raw: bool,
    /// The instruction that computed it.
    pub(super) made: Option<usize>,
    /// The parameter from whose address it is computed.
    pub(super) buffer: Option<usize>,
}

/// Least and greatest number of a type.
pub(super) fn range(ty: ScalarType) -> (i128, i128) {
    let bits = ty.bits().clamp(1, 64);
    if ty.kind() == TypeKind::Signed {
        (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    } else {
        (0, (1 << bits) - 1)
    }
}

impl Number {
    pub(super) fn new(low: i128, high: i128) -> Self {
        Self {
            low: low.clamp(-HUGE, HUGE),
            high: high.clamp(-HUGE, HUGE),
            raw: false,
            made: None,
            buffer: None,
        }
    }

    pub(super) fn exact(number: i128) -> Self {
        Self::new(number, number)
    }

    /// Any bits of a width.
    pub(super) fn raw(bits: u32) -> Self {
        let bits = bits.clamp(1, 64);
        Self {
            raw: true,
            ..Self::new(-(1 << (bits - 1)), (1 << bits) - 1)
        }
    }

    /// Any number of a type.
    pub(super) fn any(ty: ScalarType) -> Self {
        let (low, high) = range(ty);
        Self::new(low, high)
    }

    pub(super) fn by(self, instruction: usize) -> Self {
        Self {
            made: Some(instruction),
            ..self
        }
    }

    pub(super) fn is_exact(&self) -> Option<i128> {
        (self.low == self.high && !self.raw).then_some(self.low)
    }

    pub(super) fn within(&self, (low, high): (i128, i128)) -> bool {
        low <= self.low && self.high <= high
    }

    /// What an instruction of this type takes it for; `None` where the register may hold another number.
    pub(super) fn taken(&self, ty: ScalarType) -> Option<Self> {
        let range = range(ty);
        if self.within(range) {
            return Some(Self {
                raw: false,
                ..self.clone()
            });
        }
        self.raw.then(|| Self {
            made: None,
            ..Self::new(range.0, range.1)
        })
    }

    /// What holds of both.
    pub(super) fn join(&self, other: &Self) -> Self {
        Self {
            low: self.low.min(other.low),
            high: self.high.max(other.high),
            raw: self.raw && other.raw
                || (self.raw && other.is_small() || other.raw && self.is_small()),
            made: self.made.or(other.made),
            buffer: self.buffer.filter(|buffer| other.buffer == Some(*buffer)),
        }
    }

    /// Whether it is the same number signed or not.
    fn is_small(&self) -> bool {
        self.within((0, (1 << 31) - 1))
    }

    /// Of each bound, the nearest of some numbers that holds both what was and what is.
    pub(super) fn widen(&self, before: &Self, limits: &[i128]) -> Self {
        let mut wide = self.clone();
        if wide.high > before.high {
            let above = limits.iter().find(|limit| **limit >= wide.high);
            wide.high = above.copied().unwrap_or(HUGE);
        }
        if wide.low < before.low {
            let below = limits.iter().rev().find(|limit| **limit <= wide.low);
            wide.low = below.copied().unwrap_or(-HUGE);
        }
        wide
    }

    pub(super) fn plus(&self, other: &Self, subtract: bool) -> Self {
        let (low, high) = if subtract {
            (self.low - other.high, self.high - other.low)
        } else {
            (self.low + other.low, self.high + other.high)
        };
        Self {
            buffer: self.buffer.xor(other.buffer.filter(|_| !subtract)),
            ..Self::new(low, high)
        }
    }

    pub(super) fn times(&self, other: &Self) -> Self {
        let product = |a: i128, b: i128| a.saturating_mul(b);
        let corners = [
            product(self.low, other.low),
            product(self.low, other.high),
            product(self.high, other.low),
            product(self.high, other.high),
        ];
        let low = corners.into_iter().min().unwrap_or(-HUGE);
        Self::new(low, corners.into_iter().max().unwrap_or(HUGE))
    }

    /// Quotient, or remainder, by a number above 0; `None` where the divisor may be another.
    pub(super) fn divided(&self, by: &Self, remainder: bool) -> Option<Self> {
        if by.low < 1 {
            // A divisor of 0 gives all ones: a number like any other, where the dividend is not negative.
            return None;
        }
        let most = by.high - 1;
        Some(match (remainder, self.low >= 0) {
            (true, true) => Self::new(0, most.min(self.high)),
            (true, false) => Self::new(-most, most),
            (false, true) => Self::new(self.low / by.high, self.high / by.low),
            (false, false) => Self::new(self.low, self.high.max(0)),
        })
    }

    pub(super) fn shifted_right(&self, by: Option<i128>) -> Self {
        match by.and_then(|by| u32::try_from(by).ok()) {
            Some(by) => Self::new(self.low >> by.min(126), self.high >> by.min(126)),
            None => Self::new(self.low.min(0), self.high.max(0)),
        }
    }

    /// `and`, or where both are not negative, `or` and `xor`.
    pub(super) fn logic(&self, other: &Self, is_and: bool) -> Option<Self> {
        let mask = |number: &Self| number.is_exact().filter(|mask| *mask >= 0);
        match (is_and, self.low >= 0, other.low >= 0) {
            (true, true, true) => Some(Self::new(0, self.high.min(other.high))),
            (true, ..) => mask(self).or(mask(other)).map(|mask| Self::new(0, mask)),
            (false, true, true) => {
                let most = self.high.max(other.high).cast_unsigned();
                let bits = 128 - most.leading_zeros();
                Some(Self::new(0, (1 << bits.min(100)) - 1))
            }
            (false, ..) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn interval() -> impl Strategy<Value = (Number, i128)> {
        (-5000_i128..5000, 0_i128..3000, 0_i128..3000)
            .prop_map(|(at, below, above)| (Number::new(at - below, at + above), at))
    }

    fn holds(number: &Number, at: i128) -> bool {
        number.low <= at && at <= number.high
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn intervals_hold_what_their_members_give((a, x) in interval(), (b, y) in interval(), by in 0_i128..9) {
            prop_assert!(holds(&a.plus(&b, false), x + y));
            prop_assert!(holds(&a.plus(&b, true), x - y));
            prop_assert!(holds(&a.times(&b), x * y));
            prop_assert!(holds(&a.join(&b), x) && holds(&a.join(&b), y));
            prop_assert!(holds(&a.shifted_right(Some(by)), x >> by));
            prop_assert!(holds(&a.shifted_right(None), x >> by));
            if let Some(quotient) = a.divided(&b, false) {
                prop_assert!(holds(&quotient, x / y));
                prop_assert!(holds(&a.divided(&b, true).unwrap(), x % y));
            }
            if let Some(and) = a.logic(&b, true) {
                prop_assert!(holds(&and, x & y));
            }
            if let Some(or) = a.logic(&b, false) {
                prop_assert!(holds(&or, x | y) && holds(&or, x ^ y));
            }
            let wide = a.join(&b).widen(&a, &[-100, 0, 77, 5000]);
            prop_assert!(holds(&wide, y) && holds(&wide, x));
        }
    }

    #[test]
    fn a_number_is_taken_for_itself_or_not_at_all() {
        let u32 = ScalarType::U32;
        assert_eq!(Number::new(-1, 5).taken(u32), None);
        assert_eq!(
            Number::new(-1, 5).taken(ScalarType::S32).unwrap(),
            Number::new(-1, 5)
        );
        assert_eq!(Number::exact(1 << 32).taken(u32), None);
        assert_eq!(Number::exact(1 << 31).taken(ScalarType::S32), None);
        assert_eq!(Number::raw(32).taken(u32).unwrap(), Number::any(u32));
    }
}
